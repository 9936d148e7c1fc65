// The data key and sealed records under the token's wrap key.
#include <algorithm>
#include <atomic>
#include <thread>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm {
namespace {

using namespace testing;

TEST(Records, DataKeyComesBackFromItsWrapping) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const auto wrapped = e->new_wrapped_data_key();
  ASSERT_TRUE(wrapped.ok()) << wrapped.error().text();
  EXPECT_EQ(wrapped->size(), 40U);
  const auto key = e->unwrap_data_key(*wrapped);
  ASSERT_TRUE(key.ok()) << key.error().text();
  EXPECT_EQ(key->size(), 32U);
  EXPECT_FALSE(std::ranges::all_of(key->expose(), [](auto b) { return b == 0; }));
  const auto other = e->new_wrapped_data_key();
  ASSERT_TRUE(other.ok());
  EXPECT_NE(*wrapped, *other);
  EXPECT_EQ(std::search(wrapped->begin(), wrapped->end(), key->expose().begin(), key->expose().begin() + 8),
            wrapped->end());

  for (std::size_t i = 0; i < wrapped->size(); i += 7) {
    Bytes altered = *wrapped;
    altered[i] ^= 1;
    const auto r = e->unwrap_data_key(altered);
    ASSERT_FALSE(r.ok()) << "octet " << i;
    EXPECT_EQ(r.error().reason, "hsm-unwrap");
  }
  EXPECT_EQ(e->unwrap_data_key({}).error().reason, "hsm-unwrap");
  // A later process opens what an earlier one wrapped.
  const auto later = start(token_config());
  ASSERT_TRUE(later);
  const auto again = later->unwrap_data_key(*wrapped);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(equal_ct(again->expose(), key->expose()));
  EXPECT_EQ(*e->session_objects(), 0U);
}

TEST(Records, SealOpenAndEveryAlterationIsRefused) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  for (const std::size_t n : {0UL, 1UL, 16UL, 99UL, 1000UL, 16384UL}) {
    const Bytes context = random_bytes(n == 1 ? 0 : 20);  // one case without AAD
    const Bytes plain = random_bytes(n);
    const auto sealed = e->seal_record(context, plain);
    ASSERT_TRUE(sealed.ok()) << n << ": " << sealed.error().text();
    ASSERT_EQ(sealed->size(), n + 28);
    const auto opened = e->open_record(context, *sealed);
    ASSERT_TRUE(opened.ok()) << n << ": " << opened.error().text();
    EXPECT_TRUE(equal_ct(opened->expose(), plain)) << n;
    if (n >= 16) {
      EXPECT_EQ(std::search(sealed->begin(), sealed->end(), plain.begin(), plain.begin() + 16), sealed->end()) << n;
    }
    for (const std::size_t at : {std::size_t{0}, sealed->size() / 2, sealed->size() - 1}) {
      Bytes altered = *sealed;
      altered[at] ^= 0x80;
      const auto r = e->open_record(context, altered);
      ASSERT_FALSE(r.ok()) << n << " at " << at;
      EXPECT_EQ(r.error().reason, "hsm-open");
    }
    EXPECT_FALSE(e->open_record(hex("00"), *sealed).ok()) << "another AAD";
    EXPECT_FALSE(e->open_record(context, ByteView(*sealed).first(sealed->size() - 1)).ok());
  }
  const Bytes plain = random_bytes(48);
  EXPECT_NE(*e->seal_record({}, plain), *e->seal_record({}, plain)) << "the IV is fresh";
  EXPECT_EQ(e->seal_record({}, random_bytes(16385)).error().reason, "hsm-seal");
  EXPECT_EQ(e->open_record({}, random_bytes(27)).error().reason, "hsm-open");
  EXPECT_EQ(e->open_record({}, random_bytes(200'000)).error().reason, "hsm-call");
}

TEST(Records, SealingFromManyThreadsOvertakesJobs) {
  HsmConfig c = token_config();
  c.tokens.front().workers = 2;
  const auto e = start(c);
  ASSERT_TRUE(e);
  std::vector<EccRequest> rs;
  for (std::uint64_t i = 0; i < 1500; ++i) rs.push_back(ecka_case(i, Curve::p256).request);
  std::atomic<bool> good{true};
  std::atomic<int> rounds{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      while (!stop) {
        const Bytes plain = random_bytes(80);
        const Bytes context{static_cast<std::uint8_t>(t)};
        const auto sealed = e->seal_record(context, plain);
        const auto opened = sealed.ok() ? e->open_record(context, *sealed) : Result<SecretBytes>(Error{"unsealed", ""});
        if (!opened.ok() || !equal_ct(opened->expose(), plain)) good = false;
        ++rounds;
      }
    });
  }
  const auto answers = run_all(*e, rs);
  stop = true;
  for (auto& t : threads) t.join();
  EXPECT_TRUE(good);
  EXPECT_GT(rounds.load(), 100) << "an admin call waits for one job, not for a batch";
  for (const auto& [id, a] : answers) ASSERT_EQ(a.status, EccStatus::ok);
}

}  // namespace
}  // namespace kf::hsm
