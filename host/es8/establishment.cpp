#include "host/es8/establishment.hpp"

#include <algorithm>
#include <cstdio>

#include "host/crypto/symmetric.hpp"

namespace kf::es8 {
namespace {
constexpr std::size_t kMaxBlock = 255;  // one byte Lc
constexpr std::uint8_t kKeyTypeAes = 0x88;
constexpr std::uint8_t kMoreBlocks = 0x09;  // DGI coding, an answer is expected
constexpr std::uint8_t kLastBlock = 0x89;

// Data cut into STORE DATA commands (docs/spec/crypto.md A2): P2 counts on from `first`, Le = 00 on the last one.
std::vector<Bytes> store_data(ByteView data, std::uint8_t last_p1, std::uint8_t first) {
  std::vector<Bytes> out;
  std::uint8_t block = first;
  do {
    const ByteView part = data.first(std::min(data.size(), kMaxBlock));
    data = data.subspan(part.size());
    Bytes c;
    c.reserve(part.size() + 6);
    append(c, {0x80, 0xE2, data.empty() ? last_p1 : kMoreBlocks, block++, static_cast<std::uint8_t>(part.size())});
    append(c, part);
    if (data.empty()) c.push_back(0x00);
    out.push_back(std::move(c));
  } while (!data.empty());
  return out;
}

void append_lv(Bytes& out, ByteView v) {
  append_ber_length(out, v.size());
  append(out, v);
}

// All status words 9000 and one answer per command; the data of the last answer without its status word.
Result<ByteView> last_data(const std::vector<CardAnswer>& answers, std::size_t commands_sent) {
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const CardAnswer& a = answers[i];
    if (a.tag != 0x23 || a.value.size() < 2)
      return Error{ScriptFault::missing_answer,
                   "answer " + std::to_string(i + 1) + " is not an R-APDU: " + to_hex(a.whole)};
    if (a.sw() != 0x9000) {
      char sw[8];
      std::snprintf(sw, sizeof sw, "%04X", static_cast<unsigned>(a.sw()));
      return Error{ScriptFault::card_status, std::string(sw) + " to command " + std::to_string(i + 1)};
    }
  }
  if (answers.empty() || answers.size() < commands_sent)
    return Error{ScriptFault::missing_answer,
                 std::to_string(answers.size()) + " answers to " + std::to_string(commands_sent) + " commands"};
  return ByteView(answers.back().value).first(answers.back().value.size() - 2);
}
}  // namespace

Status check_plan(const KeySetPlan& p) {
  if ((p.scenario_param & 0x08) == 0 || (p.scenario_param & 0xF0) != 0)
    return Error{ScriptFault::bad_plan, "scenario parameter: b4 is always set, b5 to b8 never"};
  if (p.key_usage != 0x10 && p.key_usage != 0x5C) return Error{ScriptFault::bad_plan, "key usage is 10 or 5C"};
  if (p.key_length != 16 && p.key_length != 24 && p.key_length != 32)
    return Error{ScriptFault::bad_plan, "key length is 16, 24 or 32"};
  if (p.kid == 0 || p.kid > 0x7F) return Error{ScriptFault::bad_plan, "key identifier is 01 to 7F"};
  if (p.kvn < 0x30 || p.kvn > 0x3F) return Error{ScriptFault::bad_plan, "SCP03 key versions are 30 to 3F"};
  if (p.with_ids()) {
    if (p.host_id.empty() || p.host_id.size() > 16) return Error{ScriptFault::bad_plan, "HostID has 1 to 16 bytes"};
    if (p.sdin.empty() || p.sdin.size() > 16) return Error{ScriptFault::bad_plan, "SDIN has 1 to 16 bytes"};
    if (p.sin.empty() || p.sin.size() > 16) return Error{ScriptFault::bad_plan, "SIN has 1 to 16 bytes"};
  }
  return {};
}

Bytes control_reference_template(const KeySetPlan& p) {
  Bytes v;
  append(v, {0x90,        0x02, 0x03, p.scenario_param, 0x95, 0x01, p.key_usage, 0x80, 0x01,
             kKeyTypeAes, 0x81, 0x01, p.key_length,     0x82, 0x01, p.kid,       0x83, 0x01,
             p.kvn,       0x91, 0x00});
  if (p.with_ids()) {
    append_tlv(v, 0x45, p.sdin);
    append_tlv(v, 0x84, p.host_id);
  }
  return make_tlv(0xA6, v);
}

Bytes install_for_personalization(const Aid& isd_p) {
  const ByteView aid = isd_p.bytes();
  Bytes c;
  append(c, {0x80, 0xE6, 0x20, 0x00, static_cast<std::uint8_t>(aid.size() + 6), 0x00, 0x00,
             static_cast<std::uint8_t>(aid.size())});
  append(c, aid);
  append(c, {0x00, 0x00, 0x00, 0x00});  // three empty lengths, Le
  return c;
}

std::vector<Bytes> store_data_certificate(ByteView cert_dp) {
  Bytes dgi;
  append_dgi(dgi, 0x3A01, cert_dp);
  return store_data(dgi, kMoreBlocks, 0);  // b8 stays clear: STORE DATA #2 is the last of the sequence
}

Bytes signing_input(ByteView crt, ByteView epk, ByteView rc) {
  Bytes m;
  append_dgi(m, 0x3A02, crt);
  append_dgi(m, 0x7F49, epk);
  append_dgi(m, 0x0085, rc);
  return m;
}

std::vector<Bytes> store_data_key(ByteView crt, ByteView epk, ByteView signature64, std::uint8_t first_block) {
  Bytes dgis;
  append_dgi(dgis, 0x3A02, crt);
  append_dgi(dgis, 0x7F49, epk);
  append_dgi(dgis, 0x5F37, signature64);
  return store_data(dgis, kLastBlock, first_block);
}

Result<Bytes> rc_of(const std::vector<CardAnswer>& answers, std::size_t commands_sent) {
  KF_TRY(ByteView data, last_data(answers, commands_sent));
  if (data.empty()) return Error{ScriptFault::bad_rc, "no data in the answer to STORE DATA #1"};
  KF_TRY(const Tlv t, read_tlv(data));
  if (t.tag != 0x85 || !data.empty()) return Error{ScriptFault::bad_rc, "expected one TLV 85"};
  if (t.value.size() != 16 && t.value.size() != 32)  // docs/spec/crypto.md A20
    return Error{ScriptFault::bad_rc, "RC has 16 or 32 bytes, not " + std::to_string(t.value.size())};
  return to_bytes(t.value);
}

Result<KeyAnswer> key_answer_of(const std::vector<CardAnswer>& answers, std::size_t commands_sent,
                                const KeySetPlan& p) {
  KF_TRY(ByteView data, last_data(answers, commands_sent));
  KeyAnswer out;
  bool have_receipt = false;
  while (!data.empty()) {
    KF_TRY(const Tlv t, read_tlv(data));
    if (t.tag == 0x85 && !out.dr && !have_receipt) {
      out.dr = to_bytes(t.value);
    } else if (t.tag == 0x86 && !have_receipt) {
      have_receipt = true;
      out.receipt = to_bytes(t.value);
    } else {
      return Error{ScriptFault::bad_receipt, "unexpected TLV in the answer to STORE DATA #2"};
    }
  }
  if (p.with_dr() && !out.dr) return Error{ScriptFault::missing_dr, "the plan asks for DR and the card sent none"};
  if (p.with_dr() && out.dr->size() != 16)  // 256-bit curves
    return Error{ScriptFault::missing_dr, "DR has 16 bytes, not " + std::to_string(out.dr->size())};
  if (!p.with_dr() && out.dr) return Error{ScriptFault::bad_receipt, "DR that nobody asked for"};
  if (out.receipt.size() != 16)
    return Error{ScriptFault::bad_receipt, "a receipt has 16 bytes, not " + std::to_string(out.receipt.size())};
  return out;
}

Bytes shared_info(const KeySetPlan& p, const std::optional<Bytes>& dr) {
  Bytes si{p.key_usage, kKeyTypeAes, p.key_length};
  if (p.with_dr() && dr) append(si, *dr);
  if (p.with_ids()) {
    append_lv(si, p.host_id);
    append_lv(si, p.sin);
    append_lv(si, p.sdin);
  }
  return si;
}

DerivedKeys derive_keys(ByteView shs, const KeySetPlan& p, const std::optional<Bytes>& dr) {
  const std::size_t n = p.key_length;
  const bool three = p.key_usage == 0x10;
  const SecretBytes data = x963_kdf(shs, shared_info(p, dr), (three ? 4 : 2) * n);
  const auto part = [&](std::size_t i) { return SecretBytes(data.expose().subspan(i * n, n)); };
  return {part(0), {part(1), part(three ? 2 : 1), part(three ? 3 : 1), p.kvn}};
}

Bytes receipt_input(ByteView crt, const std::optional<Bytes>& dr) {
  Bytes m = to_bytes(crt);
  if (dr) append_tlv(m, 0x85, *dr);
  return m;
}

bool receipt_matches(const DerivedKeys& k, ByteView crt, const KeyAnswer& a) {
  const Block16 mac = aes_cmac(k.receipt_key.expose(), receipt_input(crt, a.dr));
  return equal_ct(mac, a.receipt);
}

}  // namespace kf::es8
