// The card's answers to a sealed session: cryptogram, R-MAC, R-ENCRYPTION, error tags. sgp02-crypto.md 6.2 to 6.6.
#include <algorithm>

#include "host/crypto/symmetric.hpp"
#include "host/es8/scp03t.hpp"

namespace kf::es8 {
namespace {
constexpr std::size_t kMac = 8;
bool is_error(const CardAnswer& a) { return a.tag >> 8 == 0x9F; }

Error format_error(const CardAnswer& a, const char* expected) {
  return {"bad-format", std::string(expected) + ", got " +
                            to_hex(ByteView(a.whole).first(std::min<std::size_t>(16, a.whole.size())))};
}

// 86 with data: R-MAC under the MCV after the command (it does not move the MCV), then decrypt and unpad.
Result<Bytes> open_segment_answer(const SealedScript& s, std::size_t segment, const CardAnswer& a) {
  const ByteView value = a.value;
  if (value.empty()) return Bytes{};
  if (value.size() > 0xFFFF || value.size() < kMac || (value.size() - kMac) % 16 != 0)
    return format_error(a, "86 with whole blocks and an R-MAC");
  const ByteView cipher = value.first(value.size() - kMac);
  Cmac mac(s.keys.s_rmac.expose());
  mac.update(s.mcv[segment + 1]);
  Bytes header{0x86};
  append_ber_length(header, value.size());
  mac.update(header);
  mac.update(cipher);
  const Block16 m = mac.finish();
  if (!equal_ct(ByteView(m).first(kMac), value.last(kMac)))
    return Error{"bad-rmac", "answer to segment " + std::to_string(segment + 1)};
  if (cipher.empty()) return Bytes{};  // an R-MAC over an empty answer (A17)
  Block16 icv{};
  icv[0] = 0x80;
  const std::size_t counter = segment + 1;
  for (std::size_t b = 0; b < sizeof counter; ++b) icv[15 - b] = static_cast<std::uint8_t>(counter >> (8 * b));
  icv = aes_ecb_block(s.keys.s_enc.expose(), icv);
  Bytes plain = to_bytes(cipher);
  aes_cbc_decrypt(s.keys.s_enc.expose(), icv, plain);
  std::size_t n = plain.size();
  while (n > 0 && plain[n - 1] == 0x00) --n;
  if (n == 0 || plain[n - 1] != 0x80 || plain.size() - n >= 16) {
    return Error{"bad-padding", "answer to segment " + std::to_string(segment + 1)};
  }
  plain.resize(n - 1);
  return plain;
}
}  // namespace

Result<InitializeUpdateAnswer> parse_initialize_update_answer(const CardAnswer& a) {
  if (is_error(a)) return Error{"scp-error", to_hex(a.whole)};
  if (a.tag != 0x84 || a.value.size() != 32) return format_error(a, "84 20");
  const auto at = a.value.begin();
  InitializeUpdateAnswer r;
  r.kvn = at[10];  // behind ten bytes of diversification data
  if (at[11] != 0x03 || at[12] != 0x70) return Error{"bad-format", "not SCP03 with i = 70"};
  std::copy_n(at + 13, 8, r.cc.begin());
  std::copy_n(at + 21, 8, r.cryptogram.begin());
  std::copy_n(at + 29, 3, r.counter.begin());
  return r;
}

Result<OpenedAnswers> open_answers(const SealedScript& s, std::size_t from, const std::vector<CardAnswer>& answers) {
  OpenedAnswers out;
  if (from > s.tlvs.size() || answers.size() > s.tlvs.size() - from)
    return Error{"bad-format", "more answers than commands"};
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const CardAnswer& a = answers[i];
    if (is_error(a)) {  // never protected; the session is over whatever follows
      out.error_tlv = a.whole;
      return out;
    }
    if (out.other_counter) return Error{"bad-cryptogram", "85 accepted under another card challenge"};
    const std::size_t command = from + i;
    if (command + 1 == s.first_segment()) {
      if (a.tag != 0x85 || !a.value.empty()) return format_error(a, "85 00");
    } else if (command < s.first_segment()) {
      KF_TRY(const InitializeUpdateAnswer r, parse_initialize_update_answer(a));
      if (r.kvn != s.tlvs[0][2]) return Error{"bad-format", "the card answered for another key version"};
      if (r.cc != s.cc)
        out.other_counter = r.counter;
      else if (!equal_ct(card_cryptogram(s.keys, s.hc, s.cc), r.cryptogram))
        return Error{"bad-cryptogram", "the card does not know the key set"};
    } else {
      if (a.tag != 0x86) return format_error(a, "86");
      KF_TRY(const Bytes plain, open_segment_answer(s, command - s.first_segment(), a));
      append(out.data, plain);
      ++out.segments_accepted;
    }
    ++out.accepted;
  }
  return out;
}

}  // namespace kf::es8
