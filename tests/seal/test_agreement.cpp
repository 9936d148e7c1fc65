// Every engine leaves the octets that the reference leaves, whatever is sealed together.
#include "tests/seal/scripts.hpp"

#include <atomic>
#include <thread>

#include "host/base/tlv.hpp"

namespace kf::seal {
namespace {

class Engines : public testing::TestWithParam<std::string_view> {};

void compare(ScriptSealer& e, const std::vector<Download>& batch, const char* what) {
  const auto want = seal_all(*engine("openssl"), batch);
  const auto got = seal_all(e, batch);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    ASSERT_EQ(got[i].mcv, want[i].mcv) << e.name() << ", " << what << ", job " << i << " of " << batch.size() << ", "
                                       << batch[i].plain.size() << " octets cut every " << batch[i].segment;
    ASSERT_TRUE(got[i] == want[i]) << e.name() << ", " << what << ", job " << i << " of " << batch.size();
  }
}

TEST_P(Engines, EveryLengthOfASegment) {
  std::mt19937_64 g(1);
  const auto e = engine(GetParam());
  std::vector<Download> batch;
  for (std::size_t n = 0; n <= 1100; ++n) batch.push_back(random_download(g, n % 3 * 8 + 16, n, 1007));
  compare(*e, batch, "lengths");
  batch.clear();
  for (std::size_t n = 1; n <= 300; ++n) batch.push_back(random_download(g, 16, 700, n));
  compare(*e, batch, "segments");
  batch.clear();
  for (const std::size_t n : {65519, 65518, 65000, 16384, 1024, 1023, 1025})
    batch.push_back(random_download(g, 16, 140'000, n));
  compare(*e, batch, "long segments");
}

TEST_P(Engines, EveryNumberOfDownloads) {
  std::mt19937_64 g(2);
  const auto e = engine(GetParam());
  for (std::size_t jobs = 0; jobs <= 130; jobs += jobs < 40 ? 1 : 9) {
    std::vector<Download> batch;
    for (std::size_t i = 0; i < jobs; ++i) batch.push_back(random_download(g, 16, 2500, 1007));
    compare(*e, batch, "number");
  }
}

TEST_P(Engines, RandomBatches) {
  const auto e = engine(GetParam());
  for (unsigned seed = 10; seed < 22; ++seed) {
    std::mt19937_64 g(seed);
    compare(*e, random_batch(g, 1 + g() % 130, seed % 3 == 0 ? 70'000 : 6000), "random");
  }
}

TEST_P(Engines, AScriptMayBeSealedInPieces) {
  std::mt19937_64 g(5);
  const auto e = engine(GetParam());
  const Download whole = random_download(g, 16, 20 * 1007, 1007);
  const auto want = seal_all(*engine("openssl"), {whole});
  Download first = whole, second = whole;
  first.plain.resize(7 * 1007);
  second.plain.erase(second.plain.begin(), second.plain.begin() + 7 * 1007);
  const auto a = seal_all(*e, {first});
  second.first_counter += 7;
  second.chain = a[0].chain;
  const auto b = seal_all(*e, {second});
  EXPECT_EQ(concat(a[0].out, b[0].out), want[0].out);
  EXPECT_EQ(b[0].chain, want[0].chain);
}

INSTANTIATE_TEST_SUITE_P(All, Engines, testing::ValuesIn(engine_names()), [](const auto& p) {
  std::string n(p.param);
  std::ranges::replace(n, '-', '_');
  return n;
});

TEST(Threads, EachHasAnEngineOfItsOwn) {
  std::vector<std::vector<Download>> batches;
  std::vector<std::vector<Sealed>> want, got(4);
  std::mt19937_64 g(6);
  for (std::size_t t = 0; t < got.size(); ++t) {
    batches.push_back(random_batch(g, 40, 5000));
    want.push_back(seal_all(*engine("openssl"), batches.back()));
  }
  std::vector<ScriptSealer*> engines(got.size());
  std::vector<std::thread> threads;
  std::atomic<int> there{0};
  for (std::size_t t = 0; t < got.size(); ++t)
    threads.emplace_back([&, t] {
      engines[t] = &default_sealer();
      ++there;
      while (there < static_cast<int>(got.size())) std::this_thread::yield();  // all of them are alive at once
      for (int i = 0; i < 5; ++i) got[t] = seal_all(default_sealer(), batches[t]);
    });
  for (auto& t : threads) t.join();
  for (std::size_t t = 0; t < got.size(); ++t) EXPECT_TRUE(got[t] == want[t]) << t;
  std::ranges::sort(engines);
  EXPECT_TRUE(std::ranges::adjacent_find(engines) == engines.end()) << "two threads shared an engine";
}

TEST(Sizes, AreThoseOfTheTlvs) {
  EXPECT_EQ(sealed_tlv_size(1007), 1020U);
  EXPECT_EQ(sealed_tlv_size(1), 26U);
  EXPECT_EQ(sealed_size(0, 1007), 0U);
  EXPECT_EQ(sealed_size(1007, 1007), 1020U);
  EXPECT_EQ(sealed_size(1008, 1007), 1046U);
  EXPECT_EQ(segment_count(1008, 1007), 2U);
}

TEST(Names, AreThereAndAnUnknownOneIsNamed) {
  EXPECT_EQ(engine_names().front(), "openssl");
  EXPECT_EQ(engine("best")->name(), engine_names().back());
  EXPECT_EQ(default_sealer().name(), engine_names().back());
  const auto e = make_sealer("lanes-quantum");
  ASSERT_FALSE(e.ok());
  EXPECT_EQ(e.error().reason, "no-engine");
  EXPECT_NE(e.error().detail.find("lanes-quantum"), std::string::npos);
  EXPECT_NE(e.error().detail.find("openssl"), std::string::npos);
}

}  // namespace
}  // namespace kf::seal
