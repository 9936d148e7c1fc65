// Nothing secret stays behind in the pipeline: keys of the card, session keys and their schedules, personal data and
// the segments that hold it. What was freed is searched as well as what is in use.
#include <gtest/gtest.h>

#include <future>

#include "host/pipeline/seal_pipeline.hpp"
#include "host/profile/package.hpp"
#include "tests/seal/memory_search.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace kf::pipeline {
namespace {

using memory::list;
using memory::Needles;
using memory::Vault;

// The needles of the session keys pass over this thread's stack; the pipeline works on others.
[[gnu::noinline]] void scrub_own_stack() {
  std::array<std::uint8_t, 32'768> below;
  wipe(below.data(), below.size());
}

TEST(PipelineMemory, HoldsNoKeyAndNothingPersonalAfterwards) {
  Vault vault;
  Needles needles;
  const Bytes shared = profile::sample_package();
  const auto slots = profile::find_slots(shared);
  ASSERT_TRUE(slots.ok());
  auto made = SealPipeline::make({.threads = 2});
  ASSERT_TRUE(made.ok());
  constexpr std::size_t kOrders = 70;
  std::vector<std::promise<Sealed>> results(kOrders);
  for (std::size_t i = 0; i < kOrders; ++i) {
    Order o;
    const std::size_t n = 16 + 8 * (i % 3);
    o.keys = {SecretBytes(n), SecretBytes(n), SecretBytes(n), 0x30};
    for (SecretBytes* k : {&o.keys.enc, &o.keys.mac, &o.keys.dek}) {
      random_fill(k->expose_mut());
      needles.add_schedule(vault, k->expose(), "key of the card");
    }
    o.isd_p = Aid::of("A0000005591010FFFFFFFF8900001300");
    o.counter = {0, 0, 1};
    random_fill(o.hc);
    o.about_bytes = shared.size();
    const ByteView ki = vault.random(16);
    const ByteView opc = vault.random(16);
    needles.add(ki, "Ki");
    needles.add(opc, "OPc");
    o.package = [&shared, &slots, ki, opc, i]() -> Result<Package> {
      profile::Personal p;
      p.iccid = Iccid::trusted(iccid_with_luhn("89000123456789" + std::to_string(10'000 + i)));
      p.ki = SecretBytes(ki);
      p.opc = SecretBytes(opc);
      KF_TRY(profile::Segmented cut, profile::personalise_segments(shared, *slots, p, 1007));
      return Package{nullptr, std::move(cut.own), std::move(cut.segments), cut.bytes};
    };
    (*made)->submit(std::move(o), [&results, i](Sealed s) { results[i].set_value(std::move(s)); });
  }
  for (auto& r : results) {
    const Sealed s = r.get_future().get();
    ASSERT_TRUE(s.status.ok()) << s.status.error().text();
    needles.add_schedule(vault, s.session->keys.s_enc.expose(), "s_enc");
    needles.add_schedule(vault, s.session->keys.s_mac.expose(), "s_mac");
    needles.add_schedule(vault, s.session->keys.s_rmac.expose(), "s_rmac");
    if (&r == &results.front()) {
      EXPECT_NE(needles.search(vault).size(), 0U) << "a session holds its keys as long as it lives";
    }
  }
  results.clear();
  scrub_own_stack();
  EXPECT_EQ(list(needles.search(vault)), "");
  made->reset();
  EXPECT_EQ(list(needles.search(vault)), "") << "after its end";
}

}  // namespace
}  // namespace kf::pipeline

#else
TEST(PipelineMemory, IsNotSearchedUnderASanitizer) {
  GTEST_SKIP() << "the sanitizer keeps copies of freed memory and shadows of its own";
}
#endif
