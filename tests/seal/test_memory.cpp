// Nothing secret stays in memory when an engine has done its work: all writable memory of the process (heap with what
// was freed, stacks, data) is searched for keys, round keys and plaintext.
#include <gtest/gtest.h>

#include "host/base/random.hpp"
#include "host/es8/scp03t.hpp"
#include "tests/seal/memory_search.hpp"
#include "tests/seal/scripts.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace kf {
namespace {

using memory::kPiece;
using memory::list;
using memory::Needles;
using memory::Vault;

TEST(Memory, ALeakWouldBeFound) {
  Vault vault;
  Needles needles;
  needles.add_schedule(vault, vault.random(16), "key");
  EXPECT_EQ(needles.size(), 11U);
  EXPECT_EQ(list(needles.search(vault)), "");
  const auto secret = vault.random(64);
  needles.add(secret, "secret");
  {
    Bytes careless(4096);  // freed without being wiped
    std::ranges::copy(secret, careless.begin() + 1001);
    EXPECT_NE(needles.search(vault).size(), 0U);
  }
  EXPECT_NE(list(needles.search(vault)).find("secret at 32"), std::string::npos);
}

class Memory : public testing::TestWithParam<std::string_view> {};

TEST_P(Memory, HoldsNoKeyAndNoPlaintextAfterwards) {
  Vault vault;
  Needles needles;
  const auto e = seal::engine(GetParam());
  std::vector<Bytes> outs;
  std::vector<std::vector<Block16>> mcvs;
  std::vector<seal::SealJob> jobs(50);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    seal::SealJob& j = jobs[i];
    j.s_enc = vault.random(16 + 8 * (i % 3));
    j.s_mac = vault.random(j.s_enc.size());
    j.plain = vault.random(700 + 137 * i);
    needles.add_schedule(vault, j.s_enc, "s_enc");
    needles.add_schedule(vault, j.s_mac, "s_mac");
    needles.add(j.plain, "plaintext");
    for (std::size_t s = 0; s < j.segments(); ++s)  // the tail, that an engine handles by itself
      needles.add(j.part(s).last(std::min<std::size_t>(kPiece, j.part(s).size())), "tail");
    outs.emplace_back(j.sealed());
    mcvs.emplace_back(j.segments());
  }
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].out = outs[i];
    jobs[i].mcv = mcvs[i];
  }
  e->seal(jobs);
  EXPECT_EQ(list(needles.search(vault)), "") << "after sealing";

  // Back again as if they were answers: the same keys, plaintext into the vault.
  std::vector<seal::OpenJob> answers(30);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    seal::OpenJob& a = answers[i];
    a.s_enc = jobs[i].s_enc;
    a.s_rmac = jobs[i].s_mac;
    a.value = ByteView(outs[i]).first(16 * 4 + seal::kMacSize);
    a.plain = vault.take(16 * 4);
  }
  e->open(answers);
  std::vector<seal::MacJob> macs(40);
  for (std::size_t i = 0; i < macs.size(); ++i) {
    macs[i].key = jobs[i].s_mac;
    macs[i].rest = ByteView(outs[i]).first(1 + i);
  }
  e->cmac(macs);
  EXPECT_EQ(list(needles.search(vault)), "") << "after opening";
}

TEST_P(Memory, WholeScriptsTakeTheirSessionKeysWithThem) {
  Vault vault;
  Needles needles;
  const auto e = seal::engine(GetParam());
  std::vector<es8::KeySet> keys(20);
  std::vector<es8::ScriptOrder> orders(20);
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const std::size_t n = 16 + 8 * (i % 3);
    keys[i] = {SecretBytes(n), SecretBytes(n), SecretBytes(n), 0x30};
    random_fill(keys[i].enc.expose_mut());
    random_fill(keys[i].mac.expose_mut());
    needles.add_schedule(vault, keys[i].enc.expose(), "key_enc");
    needles.add_schedule(vault, keys[i].mac.expose(), "key_mac");
    orders[i].keys = &keys[i];
    orders[i].isd_p = Aid::of("A0000005591010FFFFFFFF8900001300");
    orders[i].counter = {0, 0, 1};
    orders[i].profile = vault.random(3000);
    needles.add(orders[i].profile, "profile");
  }
  {
    const auto runs = es8::seal_scripts(orders, *e);
    for (const auto& r : runs) {
      ASSERT_TRUE(r.ok());
      needles.add_schedule(vault, r->session.keys.s_enc.expose(), "s_enc");
      needles.add_schedule(vault, r->session.keys.s_mac.expose(), "s_mac");
      needles.add_schedule(vault, r->session.keys.s_rmac.expose(), "s_rmac");
    }
    EXPECT_NE(needles.search(vault).size(), 0U) << "the scripts hold their keys as long as they live";
  }
  keys.clear();
  EXPECT_EQ(list(needles.search(vault)), "");
}

INSTANTIATE_TEST_SUITE_P(All, Memory, testing::ValuesIn(seal::engine_names()), [](const auto& p) {
  std::string n(p.param);
  std::ranges::replace(n, '-', '_');
  return n;
});

}  // namespace
}  // namespace kf

#else
TEST(Memory, IsNotSearchedUnderASanitizer) {
  GTEST_SKIP() << "the sanitizer keeps copies of freed memory and shadows of its own";
}
#endif
