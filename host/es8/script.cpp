#include "host/es8/script.hpp"

#include <algorithm>
#include <iterator>

namespace kf::es8 {

std::string_view slug(ScriptFault f) {
  static constexpr std::string_view kSlugs[] = {"missing-answer", "card-status", "bad-plan",    "bad-rc",
                                                "bad-receipt",    "missing-dr",  "bad-format",  "bad-cryptogram",
                                                "bad-challenge",  "bad-rmac",    "bad-padding", "scp-error"};
  return kSlugs[static_cast<std::size_t>(f)];
}

Bytes wrap_c_apdus(const std::vector<Bytes>& apdus) {
  Bytes out;
  for (const Bytes& a : apdus) append_tlv(out, 0x22, a);
  return out;
}

Bytes remote_script_indefinite(ByteView data) {
  Bytes out;
  out.reserve(data.size() + 4);
  append(out, {0xAE, 0x80});
  append(out, data);
  append(out, {0x00, 0x00});
  return out;
}

Bytes remote_script_definite(ByteView data) { return make_tlv(0xAA, data); }

namespace {
bool is_scp03t_tag(std::uint32_t tag) { return tag == 0x84 || tag == 0x85 || tag == 0x86 || tag >> 8 == 0x9F; }

CardAnswer answer_of(const Tlv& t) { return {t.tag, to_bytes(t.value), to_bytes(t.whole)}; }

// More than any script of ours has commands; in memory an answer of two octets takes fifty times as many.
constexpr std::size_t kMostAnswers = 4096;

// A peer that carries SCP03t answers as the value of 23, one or several, perhaps with a status word behind; anything
// else is an R-APDU, and nothing comes back.
std::vector<CardAnswer> scp03t_inside(ByteView r_apdu) {
  std::vector<CardAnswer> out;
  while (!r_apdu.empty()) {
    if (!out.empty() && r_apdu.size() == 2 && r_apdu[0] == 0x90 && r_apdu[1] == 0x00) break;
    const auto inner = read_tlv(r_apdu);
    if (!inner || !is_scp03t_tag(inner->tag) || out.size() >= kMostAnswers) return {};
    out.push_back(answer_of(*inner));
  }
  return out;
}

Status take(const Tlv& t, bool unwrap_scp03t, std::vector<CardAnswer>& out) {
  if (out.size() >= kMostAnswers) return Error{ScriptFault::bad_format, "more answers than any script has commands"};
  if (t.tag == 0x80 || t.tag == 0x83) return {};  // number of executed commands, chaining result
  if (t.tag == 0x90) return Error{ScriptFault::bad_format, "the card reports a bad script format: " + to_hex(t.whole)};
  if (t.tag == 0x23 && unwrap_scp03t) {
    if (auto inner = scp03t_inside(t.value); !inner.empty()) {
      std::move(inner.begin(), inner.end(), std::back_inserter(out));
      return {};
    }
  }
  out.push_back(answer_of(t));
  return {};
}

Status take_all(ByteView in, bool unwrap_scp03t, std::vector<CardAnswer>& out) {
  while (!in.empty()) {
    KF_TRY(const Tlv t, read_tlv(in));
    KF_CHECK(take(t, unwrap_scp03t, out));
  }
  return {};
}
}  // namespace

Result<std::vector<CardAnswer>> parse_euicc_response_data(ByteView in, bool unwrap_scp03t) {
  std::vector<CardAnswer> out;
  while (!in.empty()) {
    if (in.size() >= 2 && in[0] == 0xAF && in[1] == 0x80) {
      in = in.subspan(2);
      for (bool open = true; open;) {
        if (in.size() < 2) return Error{"truncated", "AF80 without its end 0000"};
        if (in[0] == 0x00 && in[1] == 0x00) {
          in = in.subspan(2);
          open = false;
        } else {
          KF_TRY(const Tlv t, read_tlv(in));
          KF_CHECK(take(t, unwrap_scp03t, out));
        }
      }
      continue;
    }
    KF_TRY(const Tlv t, read_tlv(in));
    if (t.tag == 0xAB || t.tag == 0xAF)
      KF_CHECK(take_all(t.value, unwrap_scp03t, out));
    else
      KF_CHECK(take(t, unwrap_scp03t, out));
  }
  return out;
}

std::vector<Bytes> cut_between_tlvs(const std::vector<Bytes>& tlvs, std::size_t limit) {
  std::vector<Bytes> out;
  for (const Bytes& t : tlvs) {
    if (out.empty() || (limit != 0 && out.back().size() + t.size() > limit)) out.emplace_back();
    append(out.back(), t);
  }
  return out;
}

}  // namespace kf::es8
