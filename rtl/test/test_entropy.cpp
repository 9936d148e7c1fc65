// kf_entropy: the words are those of OpenSSL's CTR-DRBG with seeds from OpenSSL's AES-CBC; alarms of every kind; flipped bits.
//
//   KF_VECTORS=FILE       ctr_drbg.txt, which is compared with both
//   KF_WRITE_VECTORS=FILE writes it anew
//   KF_FLIPS=N            so many flipped bits
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <verilated.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>

#include "../fault/targets.hpp"
#include "Vkf_entropy.h"
#include "Vkf_entropy___024root.h"

namespace kf::rtl {
namespace {

#define KF_TEXT_OF(x) #x
#define KF_TEXT(x) KF_TEXT_OF(x)

using Bytes = std::vector<std::uint8_t>;
constexpr std::size_t kStart = 4096, kSeedSamples = 384, kRequests = 8;  // build.sh: LOG2_RESEED 3
constexpr std::size_t kStarve = 1024;                                    // LOG2_STARVE 10
enum Cause : unsigned { kRepetition = 1, kProportion = 2, kBlock = 4, kStarved = 8, kKnownAnswer = 16, kFault = 32 };

std::uint64_t seed() {
  static const std::uint64_t s = [] {
    const char* p = std::getenv("KF_SEED");
    const std::uint64_t v = p != nullptr ? std::strtoull(p, nullptr, 0) : std::random_device{}();
    std::printf("seed %llu (KF_SEED repeats it)\n", static_cast<unsigned long long>(v));
    return v;
  }();
  return s;
}
Bytes random_bytes(std::mt19937_64& r, std::size_t n) {
  Bytes b(n);
  for (auto& x : b) x = static_cast<std::uint8_t>(r());
  return b;
}
std::string hex(const Bytes& b) {
  std::string s;
  for (const auto x : b) {
    s += "0123456789abcdef"[x >> 4];
    s += "0123456789abcdef"[x & 15];
  }
  return s;
}
Bytes unhex(const std::string& s) {
  Bytes b;
  for (std::size_t i = 0; i + 1 < s.size(); i += 2)
    b.push_back(static_cast<std::uint8_t>(std::stoul(s.substr(i, 2), nullptr, 16)));
  return b;
}

// ------------------------------------------------------------------ the reference

/// The seed that 384 samples make: three CBC-MACs.
Bytes conditioned(const Bytes& samples) {
  Bytes out, key(32), zero(16);
  for (std::size_t at = 0; at < kSeedSamples; at += 128) {
    std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> c(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    Bytes all(128);
    int n = 0;
    if (EVP_EncryptInit_ex(c.get(), EVP_aes_256_cbc(), nullptr, key.data(), zero.data()) != 1 ||
        EVP_EncryptUpdate(c.get(), all.data(), &n, samples.data() + at, 128) != 1 || n != 128)
      throw std::runtime_error("OpenSSL: CBC");
    out.insert(out.end(), all.end() - 16, all.end());
  }
  return out;
}

class Reference {
 public:
  explicit Reference(Bytes seed) {
    EVP_RAND* test = EVP_RAND_fetch(nullptr, "TEST-RAND", nullptr);
    EVP_RAND* ctr = EVP_RAND_fetch(nullptr, "CTR-DRBG", nullptr);
    source_ = EVP_RAND_CTX_new(test, nullptr);
    drbg_ = EVP_RAND_CTX_new(ctr, source_);
    EVP_RAND_free(test);
    EVP_RAND_free(ctr);
    unsigned strength = 256;
    std::array params{OSSL_PARAM_construct_uint(OSSL_RAND_PARAM_STRENGTH, &strength), OSSL_PARAM_construct_end()};
    need(EVP_RAND_CTX_set_params(source_, params.data()));
    give(seed);
    need(EVP_RAND_instantiate(source_, 256, 0, nullptr, 0, nullptr));
    int df = 0;
    char cipher[] = "AES-256-CTR";
    std::array more{OSSL_PARAM_construct_utf8_string(OSSL_DRBG_PARAM_CIPHER, cipher, 0),
                    OSSL_PARAM_construct_int(OSSL_DRBG_PARAM_USE_DF, &df), OSSL_PARAM_construct_end()};
    // An empty personalisation, not none: for none OpenSSL takes one of its own.
    need(EVP_RAND_instantiate(drbg_, 256, 0, reinterpret_cast<const unsigned char*>(""), 0, more.data()));
  }
  Reference(const Reference&) = delete;
  ~Reference() {
    EVP_RAND_CTX_free(drbg_);
    EVP_RAND_CTX_free(source_);
  }
  void reseed(Bytes seed) {
    give(seed);
    need(EVP_RAND_reseed(drbg_, 0, nullptr, 0, nullptr, 0));
  }
  Bytes request(const std::optional<Bytes>& additional = std::nullopt) {
    Bytes out(64);
    need(EVP_RAND_generate(drbg_, out.data(), out.size(), 256, 0, additional ? additional->data() : nullptr,
                           additional ? additional->size() : 0));
    return out;
  }

 private:
  static void need(int ok) {
    if (ok != 1) throw std::runtime_error("OpenSSL: CTR-DRBG");
  }
  void give(Bytes& seed) {
    std::array params{OSSL_PARAM_construct_octet_string(OSSL_RAND_PARAM_TEST_ENTROPY, seed.data(), seed.size()),
                      OSSL_PARAM_construct_end()};
    need(EVP_RAND_CTX_set_params(source_, params.data()));
  }
  EVP_RAND_CTX *source_ = nullptr, *drbg_ = nullptr;
};

// ------------------------------------------------------------------ the module

class Source {
 public:
  explicit Source(std::function<std::optional<std::uint8_t>()> samples) : samples_(std::move(samples)) {
    top_.rst = 1;
    for (int i = 0; i < 3; ++i) tick();
    top_.rst = 0;
  }
  ~Source() { top_.final(); }

  void tick() {
    if (!top_.s_raw_valid) {
      if (const auto s = samples_()) {
        top_.s_raw_data = *s;
        top_.s_raw_valid = 1;
      }
    }
    top_.clk = 0;
    top_.eval();
    const bool raw = top_.s_raw_valid && top_.s_raw_ready && !top_.rst;
    word.reset();
    if (top_.m_word_valid && top_.m_word_ready) word = top_.m_word_data;
    mixed = top_.mix_ready_o != 0;
    top_.clk = 1;
    top_.eval();
    ++cycles;
    if (raw) {
      taken.push_back(static_cast<std::uint8_t>(top_.s_raw_data));
      top_.s_raw_valid = 0;
    }
  }
  bool wait_for_word(std::uint64_t limit = 100'000) {
    for (const std::uint64_t end = cycles + limit; cycles < end && !top_.alarm_o; tick()) {
      top_.clk = 0;
      top_.eval();
      if (top_.m_word_valid) return true;
    }
    return false;
  }
  bool wait_for_alarm(std::uint64_t limit) {
    for (const std::uint64_t end = cycles + limit; cycles < end && !top_.alarm_o;) tick();
    return top_.alarm_o != 0;
  }
  std::uint32_t take() {
    if (!wait_for_word()) throw std::runtime_error("no word");
    top_.m_word_ready = 1;
    tick();
    top_.m_word_ready = 0;
    return word.value();
  }
  Bytes request() {
    Bytes out;
    for (int i = 0; i < 16; ++i) {
      const std::uint32_t w = take();
      for (int b = 3; b >= 0; --b) out.push_back(static_cast<std::uint8_t>(w >> 8 * b));
    }
    return out;
  }
  void mix(const Bytes& additional) {
    for (int i = 0; i < 12; ++i) {
      std::uint32_t w = 0;
      for (int b = 0; b < 4; ++b) w = w << 8 | additional[static_cast<std::size_t>(4 * i + b)];
      top_.mix_data_i[11 - i] = w;
    }
    top_.mix_valid_i = 1;
    const std::uint64_t end = cycles + 5000;
    do {
      tick();
      if (cycles > end) throw std::runtime_error("a request with additional input does not end");
    } while (!mixed);
    top_.mix_valid_i = 0;
  }
  unsigned cause() { return top_.state_o & 63U; }
  bool seeded() { return (top_.state_o & 128U) != 0; }
  Vkf_entropy& top() { return top_; }
  Vkf_entropy___024root& root() { return *top_.rootp; }

  std::uint64_t cycles = 0;
  std::vector<std::uint8_t> taken;
  std::optional<std::uint32_t> word;
  bool mixed = false;

 private:
  std::function<std::optional<std::uint8_t>()> samples_;
  Vkf_entropy top_;
};

std::function<std::optional<std::uint8_t>()> good(std::uint64_t s) {
  return [r = std::mt19937_64(s)]() mutable { return static_cast<std::uint8_t>(r()); };
}
std::function<std::optional<std::uint8_t>()> circle(std::uint64_t s, std::size_t period) {
  std::mt19937_64 r(s);
  return [b = random_bytes(r, period), i = std::size_t{0}]() mutable { return b[i++ % b.size()]; };
}

// The reference for a source's words: seeds from the samples that were taken.
class Words {
 public:
  explicit Words(Source& s) : source_(s), drbg_(next()) {}
  Bytes request(const std::optional<Bytes>& additional = std::nullopt) {
    if (made_ == kRequests) {
      drbg_.reseed(next());
      made_ = 0;
      ++reseeds;
    }
    ++made_;
    return drbg_.request(additional);
  }
  unsigned reseeds = 0;

 private:
  Bytes next() {
    const auto from = source_.taken.begin() + static_cast<std::ptrdiff_t>(kStart + kSeedSamples * seeds_++);
    if (source_.taken.end() - from < static_cast<std::ptrdiff_t>(kSeedSamples)) throw std::runtime_error("no seed yet");
    return conditioned(Bytes(from, from + kSeedSamples));
  }
  Source& source_;
  std::size_t seeds_ = 0, made_ = 0;
  Reference drbg_;
};

TEST(Drbg, TheKnownAnswerIsOpensslsToo) {
  Bytes one, two;
  for (unsigned i = 0; i < kSeedSamples; ++i) {
    one.push_back(static_cast<std::uint8_t>(i >> 1));
    two.push_back(static_cast<std::uint8_t>(~(i >> 1)));
  }
  Reference r(conditioned(one));
  r.request(Bytes(48));
  r.reseed(conditioned(two));
  const Bytes last = r.request();
  EXPECT_EQ(hex(Bytes(last.begin() + 48, last.end())), KF_TEXT(KF_KNOWN_ANSWER));
}

TEST(Drbg, WordsAreOpenssls) {
  std::mt19937_64 r(seed());
  Source s(good(seed() + 1));
  ASSERT_TRUE(s.wait_for_word());
  EXPECT_TRUE(s.seeded());
  std::printf("first word after %llu cycles, %zu samples\n", static_cast<unsigned long long>(s.cycles), s.taken.size());
  Words w(s);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(s.wait_for_word());
    const Bytes want = w.request();
    if (r() % 3 != 0) {
      ASSERT_EQ(hex(s.request()), hex(want)) << "request " << i;
      continue;
    }
    // Additional input; a request that was made ahead is thrown away, taken in part or not at all.
    for (std::uint64_t n = r() % 16; n > 0; --n) s.take();
    ASSERT_TRUE(s.wait_for_word());
    const Bytes additional = random_bytes(r, 48);
    s.mix(additional);
    ASSERT_EQ(hex(s.request()), hex(w.request(additional))) << "request " << i;
  }
  EXPECT_GT(w.reseeds, 20U);
  EXPECT_FALSE(s.top().alarm_o);
}

TEST(Drbg, ASlowSourceIsWaitedFor) {
  std::uint64_t n = 0;
  Source s([r = std::mt19937_64(seed()), &n]() mutable -> std::optional<std::uint8_t> {
    if (++n % 600 != 0) return std::nullopt;
    return static_cast<std::uint8_t>(r());
  });
  ASSERT_TRUE(s.wait_for_word(600 * 5000));
  Words w(s);
  std::uint64_t longest = 0;
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t from = s.cycles;
    ASSERT_TRUE(s.wait_for_word(600 * 500));
    longest = std::max(longest, s.cycles - from);
    ASSERT_EQ(hex(s.request()), hex(w.request()));
  }
  EXPECT_GT(longest, 100'000U);  // no word from a spent seed
}

TEST(Drbg, SpeedOfRequests) {
  Source s(good(seed()));
  ASSERT_TRUE(s.wait_for_word());
  std::mt19937_64 r(seed());
  s.request();
  s.wait_for_word();
  std::uint64_t from = s.cycles;
  for (int i = 0; i < 5; ++i) s.request();
  std::printf("512 bits in %llu cycles", static_cast<unsigned long long>((s.cycles - from) / 5));
  EXPECT_LE(s.cycles - from, 5 * 215U);
  s.wait_for_word();
  from = s.cycles;
  s.mix(random_bytes(r, 48));
  std::printf(", a request with additional input in %llu\n", static_cast<unsigned long long>(s.cycles - from));
  EXPECT_LE(s.cycles - from, 350U);
}

TEST(Drbg, ZeroisationForgetsAndSeedsAnew) {
  Source s(good(seed()));
  ASSERT_TRUE(s.wait_for_word());
  s.request();
  s.top().wipe_i = 1;
  s.tick();
  s.top().wipe_i = 0;
  auto& r = s.root();
  const auto zero = [](const auto& v) { return std::all_of(std::begin(v.m_storage), std::end(v.m_storage), [](auto x) { return x == 0; }); };
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__key_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__v_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__seed_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__input_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__out_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__first_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__u_aes__DOT__state_o));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_drbg__DOT__u_aes__DOT__keys_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_health__DOT__last_q));
  EXPECT_TRUE(zero(r.kf_entropy__DOT__u_health__DOT__reference_q));
  EXPECT_FALSE(s.seeded());
  const std::size_t at = s.taken.size();
  ASSERT_TRUE(s.wait_for_word());
  const auto from = s.taken.begin() + static_cast<std::ptrdiff_t>(at);
  Reference w(conditioned(Bytes(from, from + kSeedSamples)));
  EXPECT_EQ(hex(s.request()), hex(w.request()));
}

// ------------------------------------------------------------------ vectors in a file

TEST(Drbg, VectorsOfTheFile) {
  if (const char* path = std::getenv("KF_WRITE_VECTORS")) {
    std::ofstream f(path);
    f << "# AES-256 CTR_DRBG without derivation function (SP 800-90A), seeds conditioned by CBC-MAC (key 0).\n"
         "# Origin: computed by OpenSSL " OPENSSL_VERSION_STR
         " (EVP_RAND CTR-DRBG over TEST-RAND, AES-256-CBC) in rtl/test/test_entropy.cpp,\n"
         "# KF_WRITE_VECTORS=FILE; samples and additional input from a Mersenne Twister.\n"
         "# samples: 384 bytes; seed: what they become. The first seed instantiates, another one reseeds, after 8 requests.\n"
         "# request: output of 64 bytes. additional: the next request has this additional input, 48 bytes.\n";
    std::mt19937_64 r(20261130);
    for (int c = 0; c < 4; ++c) {
      f << "case " << c << "\n";
      std::unique_ptr<Reference> d;
      for (int s = 0; s < 3; ++s) {
        const Bytes samples = random_bytes(r, kSeedSamples);
        const Bytes seed_now = conditioned(samples);
        f << "samples " << hex(samples) << "\nseed " << hex(seed_now) << "\n";
        if (d == nullptr)
          d = std::make_unique<Reference>(seed_now);
        else
          d->reseed(seed_now);
        for (std::size_t i = 0; i < kRequests; ++i) {
          std::optional<Bytes> additional;
          if (c > 0 && i % 2 == 1) additional = random_bytes(r, 48);
          if (additional) f << "additional " << hex(*additional) << "\n";
          f << "request " << hex(d->request(additional)) << "\n";
        }
      }
    }
  }
  const char* path = std::getenv("KF_VECTORS");
  if (path == nullptr) GTEST_SKIP() << "KF_VECTORS is not set";
  struct Case {
    Bytes samples;
    std::vector<std::pair<std::optional<Bytes>, Bytes>> requests;
    std::vector<Bytes> seeds;
  };
  std::vector<Case> cases;
  std::ifstream f(path);
  ASSERT_TRUE(f) << path;
  std::optional<Bytes> additional;
  for (std::string line; std::getline(f, line);) {
    std::istringstream words(line);
    std::string key, value;
    words >> key >> value;
    if (key.empty() || key[0] == '#') continue;
    if (key == "case") {
      cases.emplace_back();
    } else if (key == "samples") {
      const Bytes b = unhex(value);
      cases.back().samples.insert(cases.back().samples.end(), b.begin(), b.end());
    } else if (key == "seed") {
      cases.back().seeds.push_back(unhex(value));
    } else if (key == "additional") {
      additional = unhex(value);
    } else if (key == "request") {
      cases.back().requests.emplace_back(additional, unhex(value));
      additional.reset();
    } else {
      FAIL() << line;
    }
  }
  ASSERT_EQ(cases.size(), 4U);
  for (const Case& c : cases) {
    std::unique_ptr<Reference> d;
    std::size_t n = 0;
    Source s([&, filler = good(7)]() mutable { return n < kStart || n - kStart >= c.samples.size() ? (++n, filler()) : c.samples[n++ - kStart]; });
    for (std::size_t i = 0; i < c.requests.size(); ++i) {
      if (i % kRequests == 0) {
        const Bytes& now = c.seeds.at(i / kRequests);
        const auto from = c.samples.begin() + static_cast<std::ptrdiff_t>(i / kRequests * kSeedSamples);
        EXPECT_EQ(hex(conditioned(Bytes(from, from + kSeedSamples))), hex(now));
        if (d == nullptr)
          d = std::make_unique<Reference>(now);
        else
          d->reseed(now);
      }
      const auto& [with, want] = c.requests[i];
      EXPECT_EQ(hex(d->request(with)), hex(want)) << "OpenSSL, request " << i;
      // The module is always a request ahead, which additional input throws away; so the one before it is taken in half.
      if (i + 1 < c.requests.size() && c.requests[i + 1].first) {
        for (std::size_t w = 0; w < 4; ++w) {
          const std::uint32_t got = s.take();
          EXPECT_EQ(got, std::uint32_t{want[4 * w]} << 24 | want[4 * w + 1] << 16 | want[4 * w + 2] << 8 | want[4 * w + 3]);
        }
        continue;
      }
      if (with) s.mix(*with);
      EXPECT_EQ(hex(s.request()), hex(want)) << "request " << i;
    }
  }
}

// ------------------------------------------------------------------ alarms

void expect_alarm(Source& s, unsigned cause, std::uint64_t limit, const char* what) {
  ASSERT_TRUE(s.wait_for_alarm(limit)) << what;
  s.tick();
  EXPECT_EQ(s.cause() & cause, cause) << what << ", cause " << s.cause();
  // From now on nothing: no word, no sample taken, until reset.
  const std::size_t samples = s.taken.size();
  s.top().m_word_ready = 1;
  for (int i = 0; i < 3000; ++i) {
    s.tick();
    ASSERT_FALSE(s.word) << what;
    ASSERT_TRUE(s.top().alarm_o);
  }
  EXPECT_EQ(s.taken.size(), samples) << what;
  EXPECT_FALSE(s.seeded());
}

TEST(Alarm, AStuckSource) {
  Source s([] { return std::uint8_t{0x55}; });
  expect_alarm(s, kRepetition, 40, "stuck");
  EXPECT_EQ(s.taken.size(), 21U);
}

TEST(Alarm, OneSampleTooOften) {
  // Never so many of it in a row that the repetition count, 21, is reached first.
  Source s([r = std::mt19937_64(seed()), row = 0]() mutable {
    auto sample = static_cast<std::uint8_t>(r() % 100 < 55 ? 7 : r());
    row = sample == 7 ? row + 1 : 0;
    if (row > 15) {
      sample = 8;
      row = 0;
    }
    return sample;
  });
  expect_alarm(s, kProportion, 20'000, "one value in 55 % of the samples");
}

TEST(Alarm, ABlockAgainAndAgain) {
  // Whatever goes in a circle is found before a seed is made of it. 32 samples are 256 bits; each of them comes 16 times in 512, which no cut-off sees.
  for (const std::size_t period : {5U, 7U, 16U, 31U, 32U, 33U, 64U, 100U, 384U, 512U, 1000U, 2048U, 4064U, 4096U}) {
    Source s(circle(seed() + period, period));
    ASSERT_TRUE(s.wait_for_alarm(kStart + 3000)) << period;
    EXPECT_EQ(s.cause(), unsigned{kBlock}) << period;
    EXPECT_EQ(s.taken.size(), period + 32) << period;
    EXPECT_FALSE(s.seeded());
  }
}

TEST(Alarm, ASourceThatBeginsToRepeatLater) {
  std::mt19937_64 r(seed());
  const Bytes block = random_bytes(r, 48);
  bool repeat = false;
  std::size_t i = 0;
  Source s([&] { return repeat ? block[i++ % 32] : static_cast<std::uint8_t>(r()); });
  ASSERT_TRUE(s.wait_for_word());
  repeat = true;
  // Conditioned, 128 samples of it are always the same: the first seed made of it has three equal thirds.
  unsigned requests = 0;
  while (!s.top().alarm_o && s.wait_for_word()) {
    s.request();
    ++requests;
  }
  expect_alarm(s, kBlock, 1, "later");
  EXPECT_LE(requests, 2 * kRequests);
}

TEST(Alarm, ADrySource) {
  Source never([]() -> std::optional<std::uint8_t> { return std::nullopt; });
  expect_alarm(never, kStarved, kStarve + 10, "never a sample");
  EXPECT_GE(never.cycles, kStarve);
  bool dry = false;
  Source later([&, r = std::mt19937_64(seed())]() mutable -> std::optional<std::uint8_t> {
    return dry ? std::nullopt : std::optional(static_cast<std::uint8_t>(r()));
  });
  ASSERT_TRUE(later.wait_for_word());
  dry = true;
  for (unsigned n = 0; !later.top().alarm_o; ++n) {
    ASSERT_LT(n, 3 * kRequests);
    if (later.wait_for_word()) later.request();
  }
  expect_alarm(later, kStarved, 1, "dry later");
}

TEST(Alarm, NoneFromASourceAsStated) {
  // 2 bits a sample, the least that is allowed: four values, all with the same chance.
  Source s([r = std::mt19937_64(seed())]() mutable { return static_cast<std::uint8_t>(0x11 * (r() & 3)); });
  std::uint64_t words = 0;
  while (s.cycles < 2'000'000) {
    ASSERT_TRUE(s.wait_for_word()) << "cause " << s.cause() << " after " << s.taken.size() << " samples";
    s.take();
    ++words;
  }
  std::printf("%zu samples, %llu words, no alarm\n", s.taken.size(), static_cast<unsigned long long>(words));
}

TEST(Alarm, AWrongKnownAnswer) {
  Source s(good(seed()));
  auto& r = s.root();
  // Key and check word in step, so that nothing but the answer is wrong; between the two requests of the test.
  while (r.kf_entropy__DOT__u_drbg__DOT__u_seq__DOT__test_q != 1) s.tick();
  r.kf_entropy__DOT__u_drbg__DOT__key_q[0] ^= 1;
  r.kf_entropy__DOT__u_drbg__DOT__check_q ^= 1;
  expect_alarm(s, kKnownAnswer, 5000, "known answer");
}

TEST(Alarm, OutputThatRepeats) {
  // Key, counter and check word put back as they were: the same request a second time.
  Source s(good(seed()));
  ASSERT_TRUE(s.wait_for_word());
  s.request();
  ASSERT_TRUE(s.wait_for_word());
  auto& r = s.root();
  while (r.kf_entropy__DOT__u_drbg__DOT__u_seq__DOT__op_q != 0) s.tick();
  const auto key = r.kf_entropy__DOT__u_drbg__DOT__key_q;
  const auto v = r.kf_entropy__DOT__u_drbg__DOT__v_q;
  const auto check = r.kf_entropy__DOT__u_drbg__DOT__check_q;
  s.request();
  ASSERT_TRUE(s.wait_for_word());
  while (r.kf_entropy__DOT__u_drbg__DOT__u_seq__DOT__op_q != 0) s.tick();
  r.kf_entropy__DOT__u_drbg__DOT__key_q = key;
  r.kf_entropy__DOT__u_drbg__DOT__v_q = v;
  r.kf_entropy__DOT__u_drbg__DOT__check_q = check;
  for (int i = 0; i < 16; ++i) s.take();
  expect_alarm(s, kBlock, 500, "the same request twice");
}

// ------------------------------------------------------------------ flipped bits

TEST(Flips, StateIsCheckedAndNothingRepeats) {
  // A flip in the sequence, the key or the counter is an alarm or changes no word, and so is one in the cipher unless it works on samples. One in a number on
  // its way may change words, never
  // repeat one or make it zero.
  std::mt19937_64 r(seed());
  struct Drawn {
    std::vector<std::uint32_t> words;
    bool alarm;
  };
  const auto run = [](const std::function<void(Source&)>& at, std::uint64_t when, std::uint64_t data) {
    Source s(good(data));
    Drawn d{};
    s.top().m_word_ready = 1;
    while (s.cycles < 9000 && !s.top().alarm_o) {
      if (s.cycles == when) at(s);
      s.tick();
      if (s.word) d.words.push_back(*s.word);
    }
    d.alarm = s.top().alarm_o != 0;
    return d;
  };
  const std::uint64_t data = seed() + 5;
  const Drawn right = run([](Source&) {}, 0, data);
  ASSERT_FALSE(right.alarm);
  ASSERT_GT(right.words.size(), 100U);
  const std::string checked = "^u_drbg[.](u_seq|u_twin|key_q|v_q|check_q|first_q)";
  std::map<std::string, std::array<unsigned, 3>> seen;
  const int flips = std::getenv("KF_FLIPS") != nullptr ? std::atoi(std::getenv("KF_FLIPS")) : 500;
  for (int i = 0; i < flips; ++i) {
    std::string name;
    bool samples = true;  // what the cipher works on, if on anything
    const std::uint64_t when = 5 + r() % 8900;
    const Drawn d = run(
        [&](Source& s) {
          auto all = fault::targets(s.top(), "TOP.kf_entropy");
          const auto op = std::ranges::find(all, std::string("u_drbg.u_seq.op_q"), &fault::Target::name);
          samples = *op->data < 2;  // REST, COND
          // Every fourth one in the cipher.
          if (i % 4 == 0) std::erase_if(all, [](const fault::Target& t) { return !t.name.starts_with("u_drbg.u_aes."); });
          const fault::Target& t = all[r() % all.size()];
          name = t.name;
          fault::flip(t, r() % t.elements, r() % t.bits);
        },
        when, data);
    std::set<std::uint64_t> pairs;
    std::size_t differ = 0;
    for (std::size_t w = 0; w < d.words.size(); ++w) {
      EXPECT_NE(d.words[w], 0U) << name << " at " << when;
      if (w > 0) {
        EXPECT_TRUE(pairs.insert(std::uint64_t{d.words[w - 1]} << 32 | d.words[w]).second) << name << " at " << when << ": a word again";
      }
      if (w >= right.words.size() || d.words[w] != right.words[w]) ++differ;
    }
    ++seen[name][d.alarm ? 1 : differ == 0 ? 0 : 2];
    if (std::regex_search(name, std::regex(checked)) || (!samples && name.starts_with("u_drbg.u_aes."))) {
      EXPECT_TRUE(d.alarm || differ == 0) << name << " at cycle " << when << " changes words without an alarm";
      EXPECT_EQ(differ, 0U) << name << " at cycle " << when << ": a changed word left before the alarm";
    }
    if (!d.alarm && name.rfind("u_health.", 0) != 0) {  // there a flip may begin the start-up anew
      EXPECT_GT(d.words.size() + 40, right.words.size()) << name << " at " << when << ": words stop";
    }
  }
  std::array<unsigned, 3> all{};
  for (const auto& [name, n] : seen) {
    std::printf("  %-28s %4u no effect, %4u alarm, %4u other words\n", name.c_str(), n[0], n[1], n[2]);
    for (std::size_t k = 0; k < 3; ++k) all[k] += n[k];
  }
  std::printf("%d flips: %u no effect, %u alarm, %u other words\n", flips, all[0], all[1], all[2]);
}

}  // namespace
}  // namespace kf::rtl
