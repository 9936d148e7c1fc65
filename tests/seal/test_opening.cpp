// Opening protected answers: every engine says of each answer what the reference says, whatever is opened together.
#include <gtest/gtest.h>

#include "host/base/secret.hpp"
#include "host/seal/engine.hpp"
#include "tests/seal/scripts.hpp"

namespace kf::seal {
namespace {

struct Answer {
  Bytes s_enc, s_rmac, value, data;
  Block16 mcv{};
  std::uint64_t counter = 1;
  OpenStatus expected = OpenStatus::ok;
};

// From the definition (docs/spec/crypto.md 6.6): with a padding that may be wrong and an R-MAC that may be wrong.
Answer random_answer(std::mt19937_64& g) {
  Answer a;
  const std::size_t key = 16 + 8 * (g() % 3);
  a.s_enc = random_octets(g, key);
  a.s_rmac = random_octets(g, key);
  for (auto& b : a.mcv) b = static_cast<std::uint8_t>(g());
  a.counter = g() % 4 == 0 ? g() : 1 + g() % 300;
  Bytes plain;
  const std::uint64_t kind = g() % 8;
  if (kind > 0) {
    a.data = random_octets(g, g() % 20 == 0 ? g() % 65'000 : g() % 200);
    plain = a.data;
    plain.push_back(0x80);
    plain.resize((plain.size() + 15) / 16 * 16);
  }
  if (kind == 1) {
    a.expected = OpenStatus::bad_padding;
    if (g() % 2 == 0)
      std::fill(plain.begin(), plain.end(), std::uint8_t{0});
    else
      plain.back() = 0x01;
  }
  if (!plain.empty()) aes_cbc_encrypt(a.s_enc, aes_ecb_block(a.s_enc, counter_block(a.counter, 0x80)), plain);
  Bytes head(5);
  head.resize(put_header(head.data(), plain.size() + kMacSize));
  const Block16 mac = aes_cmac(a.s_rmac, concat(a.mcv, head, plain));
  a.value = concat(plain, ByteView(mac).first(kMacSize));
  if (kind == 2) {
    a.expected = OpenStatus::bad_rmac;
    a.value[g() % a.value.size()] ^= static_cast<std::uint8_t>(1U << g() % 8);
  }
  if (a.expected != OpenStatus::ok) a.data.clear();
  return a;
}

class Opening : public testing::TestWithParam<std::string_view> {};

TEST_P(Opening, SaysWhatWasPutIn) {
  const auto e = engine(GetParam());
  std::mt19937_64 g(7);
  std::array<std::size_t, 3> seen{};
  for (const std::size_t n : {0, 1, 2, 7, 33, 64, 129, 400}) {
    std::vector<Answer> answers;
    std::vector<Bytes> plain;
    std::vector<OpenJob> jobs(n);
    for (std::size_t i = 0; i < n; ++i) answers.push_back(random_answer(g));
    plain.reserve(answers.size());
    for (const Answer& a : answers) plain.emplace_back(a.value.size() - kMacSize, std::uint8_t{0xEE});
    for (std::size_t i = 0; i < n; ++i) {
      const Answer& a = answers[i];
      jobs[i].s_enc = a.s_enc;
      jobs[i].s_rmac = a.s_rmac;
      jobs[i].mcv = a.mcv;
      jobs[i].counter = a.counter;
      jobs[i].value = a.value;
      jobs[i].plain = plain[i];
    }
    e->open(jobs);
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_EQ(jobs[i].status, answers[i].expected) << i << " of " << n << ", " << answers[i].value.size();
      ASSERT_EQ(to_hex(jobs[i].plain.first(jobs[i].size)), to_hex(answers[i].data)) << i;
      if (jobs[i].status == OpenStatus::bad_rmac) {  // what is not authentic is not decrypted
        ASSERT_TRUE(std::ranges::count(plain[i], 0xEE) == static_cast<std::ptrdiff_t>(plain[i].size()));
      }
      ++seen[static_cast<std::size_t>(jobs[i].status)];
    }
  }
  for (const std::size_t n : seen) EXPECT_GT(n, 20U);
}

TEST_P(Opening, EveryChangedBitIsSeen) {
  const auto e = engine(GetParam());
  std::mt19937_64 g(8);
  Answer a;
  do a = random_answer(g);
  while (a.expected != OpenStatus::ok || a.data.empty() || a.value.size() > 100);
  std::vector<Bytes> values;
  std::vector<Bytes> plain(a.value.size() * 8, Bytes(a.value.size() - kMacSize));
  std::vector<OpenJob> jobs(plain.size());
  for (std::size_t bit = 0; bit < jobs.size(); ++bit) {
    values.push_back(a.value);
    values.back()[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
  }
  for (std::size_t bit = 0; bit < jobs.size(); ++bit) {
    jobs[bit].s_enc = a.s_enc;
    jobs[bit].s_rmac = a.s_rmac;
    jobs[bit].mcv = a.mcv;
    jobs[bit].counter = a.counter;
    jobs[bit].value = values[bit];
    jobs[bit].plain = plain[bit];
  }
  e->open(jobs);
  for (std::size_t bit = 0; bit < jobs.size(); ++bit) EXPECT_EQ(jobs[bit].status, OpenStatus::bad_rmac) << bit;
}

TEST_P(Opening, MacsOfAnyLength) {
  const auto e = engine(GetParam());
  std::mt19937_64 g(9);
  std::vector<Bytes> keys, messages;
  for (std::size_t n = 1; n <= 200; ++n) {
    keys.push_back(random_octets(g, 16 + 8 * (n % 3)));
    messages.push_back(random_octets(g, n));
  }
  std::vector<MacJob> jobs(keys.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].key = keys[i];
    for (auto& b : jobs[i].first) b = static_cast<std::uint8_t>(g());
    jobs[i].rest = messages[i];
  }
  e->cmac(jobs);
  for (std::size_t i = 0; i < jobs.size(); ++i)
    EXPECT_EQ(to_hex(jobs[i].mac), to_hex(aes_cmac(keys[i], concat(jobs[i].first, messages[i])))) << i + 1;
}

INSTANTIATE_TEST_SUITE_P(All, Opening, testing::ValuesIn(engine_names()), [](const auto& p) {
  std::string n(p.param);
  std::ranges::replace(n, '-', '_');
  return n;
});

}  // namespace
}  // namespace kf::seal
