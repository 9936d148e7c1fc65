// Opening protected answers, many together, on every engine of this machine. The input is a list of answers: a byte of
// options, a length, that many octets. Bits 0-1: key length; bit 2: the octets are plaintext (whole blocks of them)
// that is encrypted and given its right R-MAC, so that padding is reached; else they are the value as received, cut to
// a possible length. Without the keys nothing else may open; all engines must agree.
#include <algorithm>
#include <memory>

#include "host/base/secret.hpp"
#include "host/base/tlv.hpp"
#include "host/crypto/symmetric.hpp"
#include "host/seal/sealer.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
using namespace kf;

struct Answer {
  Bytes s_enc, s_rmac, value, plain;
  Block16 mcv{};
  std::uint64_t counter = 1;
  bool genuine = false;
};

std::vector<Answer> read(ByteView in) {
  std::vector<Answer> out;
  while (in.size() >= 3 && out.size() < 300) {
    const std::uint8_t options = in[0];
    const std::size_t n = std::min<std::size_t>(in[1] << 8 | in[2], in.size() - 3);
    const ByteView body = in.subspan(3, n);
    in = in.subspan(3 + n);
    Answer a;
    const std::size_t key = 16 + 8 * std::size_t{options % 4U % 3U};
    a.s_enc.assign(key, static_cast<std::uint8_t>(options));
    a.s_rmac.assign(key, static_cast<std::uint8_t>(options ^ 0xFF));
    a.mcv.fill(static_cast<std::uint8_t>(out.size()));
    a.counter = out.size() * 0x0101'0101U + 1;
    a.genuine = (options & 4) != 0;
    if (a.genuine) {
      a.plain = to_bytes(body.first(std::min<std::size_t>(body.size() / 16 * 16, 65520)));
      Block16 icv{};
      icv[0] = 0x80;
      for (std::size_t i = 0; i < 8; ++i) icv[15 - i] = static_cast<std::uint8_t>(a.counter >> (8 * i));
      Bytes cipher = a.plain;
      if (!cipher.empty()) aes_cbc_encrypt(a.s_enc, aes_ecb_block(a.s_enc, icv), cipher);
      Bytes head{0x86};
      append_ber_length(head, cipher.size() + seal::kMacSize);
      const Block16 mac = aes_cmac(a.s_rmac, concat(a.mcv, head, cipher));
      a.value = concat(cipher, ByteView(mac).first(seal::kMacSize));
    } else {
      a.value = to_bytes(body.first(std::min<std::size_t>(body.size(), 65528)));
      a.value.resize(a.value.size() < 8 ? 8 : (a.value.size() - 8) / 16 * 16 + 8);
    }
    out.push_back(std::move(a));
  }
  return out;
}

const std::vector<std::unique_ptr<seal::ScriptSealer>>& engines() {
  static const auto all = [] {
    std::vector<std::unique_ptr<seal::ScriptSealer>> v;
    for (const auto n : seal::engine_names()) v.push_back(std::move(seal::make_sealer(n)).value());
    return v;
  }();
  return all;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto answers = read(ByteView(data, size));
  for (const auto& e : engines()) {
    std::vector<Bytes> plain;
    plain.reserve(answers.size());
    for (const Answer& a : answers) plain.emplace_back(a.value.size() - seal::kMacSize);
    std::vector<seal::OpenJob> jobs(answers.size());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      jobs[i].s_enc = answers[i].s_enc;
      jobs[i].s_rmac = answers[i].s_rmac;
      jobs[i].mcv = answers[i].mcv;
      jobs[i].counter = answers[i].counter;
      jobs[i].value = answers[i].value;
      jobs[i].plain = plain[i];
    }
    e->open(jobs);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const Answer& a = answers[i];
      if (!a.genuine) {
        FUZZ_CHECK(jobs[i].status == seal::OpenStatus::bad_rmac && jobs[i].size == 0);
        continue;
      }
      // The padding from its definition: the last octet that is not 00 is an 80 in the last block.
      std::size_t end = a.plain.size();
      while (end > 0 && a.plain[end - 1] == 0) --end;
      const bool padded = end > 0 && a.plain[end - 1] == 0x80 && a.plain.size() - end < 16;
      if (a.plain.empty()) {
        FUZZ_CHECK(jobs[i].status == seal::OpenStatus::ok && jobs[i].size == 0);
      } else if (!padded) {
        FUZZ_CHECK(jobs[i].status == seal::OpenStatus::bad_padding && jobs[i].size == 0);
      } else {
        FUZZ_CHECK(jobs[i].status == seal::OpenStatus::ok && jobs[i].size == end - 1);
        FUZZ_CHECK(
            std::equal(a.plain.begin(), a.plain.begin() + static_cast<std::ptrdiff_t>(end - 1), jobs[i].plain.begin()));
      }
    }
  }
  return 0;
}
