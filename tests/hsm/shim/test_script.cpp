// The grammar of the fault shim: what it understands, and that it says where it does not.
#include <gtest/gtest.h>

#include "tests/hsm/shim/script.hpp"

namespace kf::shim {
namespace {

TEST(ShimScript, ReadsEveryKeyword) {
  const auto s = parse(R"(# a comment
module "/usr/lib/a module.so"   # another
log /tmp/shim.log
log-only C_Login,C_Logout
rv C_SignInit nth 12 CKR_DEVICE_ERROR
rv * percent 2.5 0x101
rv-after C_Login always CKR_USER_ALREADY_LOGGED_IN
delay C_Sign every 3 12.5
hang C_DeriveKey once
crash C_GenerateKeyPair first 2 segv
leak 64 C_DeriveKey
dead-sessions every 2
dying-sessions from 100
dead-objects once
sessions 2
sessions-total 7
gone
gone-between 1000 2000
resets 3
token-flags 0x20000
announce max-sessions all-ones
announce max-rw-sessions 1
hide-mechanism CKM_ECDH1_DERIVE
hide-mechanism 0x1080
refuse-kdf CKD_NULL
der-only
need-value-len
refuse-value-len
forbid-copy CKR_ACTION_PROHIBITED
hide-object "SK.DP.ECDSA P-256"
wrong-key "SK.DP.ECDSA P-256" other private
)");
  ASSERT_TRUE(s.ok()) << s.error().text();
  EXPECT_EQ(s->module, "/usr/lib/a module.so");
  EXPECT_EQ(s->log, "/tmp/shim.log");
  ASSERT_TRUE(s->log_only);
  EXPECT_EQ(s->log_only->count(), 2U);
  EXPECT_TRUE(s->log_only->test(static_cast<std::size_t>(Fn::C_Logout)));
  ASSERT_EQ(s->rules.size(), 10U);
  const auto rule = [&](std::size_t i, Rule::Kind k, std::optional<Fn> f, When::Kind w, std::uint64_t n) {
    const Rule& r = s->rules[i];
    EXPECT_TRUE(r.kind == k && r.function == f && r.when.kind == w && r.when.n == n) << "line " << r.line;
  };
  rule(0, Rule::Kind::rv, Fn::C_SignInit, When::Kind::nth, 12);
  rule(1, Rule::Kind::rv, std::nullopt, When::Kind::percent, 0);
  rule(2, Rule::Kind::rv_after, Fn::C_Login, When::Kind::always, 0);
  rule(3, Rule::Kind::delay, Fn::C_Sign, When::Kind::every, 3);
  rule(4, Rule::Kind::hang, Fn::C_DeriveKey, When::Kind::once, 0);
  rule(5, Rule::Kind::crash, Fn::C_GenerateKeyPair, When::Kind::first, 2);
  rule(6, Rule::Kind::leak, Fn::C_DeriveKey, When::Kind::always, 0);
  rule(7, Rule::Kind::dead_sessions, std::nullopt, When::Kind::every, 2);
  rule(8, Rule::Kind::dying_sessions, std::nullopt, When::Kind::from, 100);
  rule(9, Rule::Kind::dead_objects, std::nullopt, When::Kind::once, 0);
  EXPECT_EQ(s->rules[0].code, CK_RV{CKR_DEVICE_ERROR});
  EXPECT_EQ(s->rules[0].line, 5U);
  EXPECT_EQ(s->rules[1].code, 0x101U);
  EXPECT_DOUBLE_EQ(s->rules[1].when.percent, 2.5);
  EXPECT_DOUBLE_EQ(s->rules[3].milliseconds, 12.5);
  EXPECT_TRUE(s->rules[5].segv);
  EXPECT_EQ(s->rules[6].kib, 64U);
  EXPECT_EQ(s->sessions, 2U);
  EXPECT_EQ(s->sessions_total, 7U);
  EXPECT_TRUE(s->gone);
  EXPECT_EQ(s->gone_from, 1000);
  EXPECT_EQ(s->gone_until, 2000);
  EXPECT_EQ(s->resets, 3U);
  EXPECT_EQ(s->token_flags, 0x20000U);
  EXPECT_EQ(s->max_sessions, ~0UL);
  EXPECT_EQ(s->max_rw_sessions, 1U);
  EXPECT_EQ(s->hidden_mechanisms, (std::vector<CK_MECHANISM_TYPE>{CKM_ECDH1_DERIVE, CKM_AES_KEY_GEN}));
  EXPECT_EQ(s->refused_kdfs, std::vector<unsigned long>{CKD_NULL});
  EXPECT_TRUE(s->der_only && s->need_value_len && s->refuse_value_len);
  EXPECT_EQ(s->forbid_copy, CK_RV{CKR_ACTION_PROHIBITED});
  EXPECT_EQ(s->hidden_labels, std::vector<std::string>{"SK.DP.ECDSA P-256"});
  ASSERT_EQ(s->wrong_keys.size(), 1U);
  EXPECT_EQ(s->wrong_keys[0].other, "other");
  EXPECT_TRUE(s->wrong_keys[0].private_only);
}

TEST(ShimScript, SaysWhereItDoesNotUnderstand) {
  const struct {
    const char* line;
    const char* mentions;
  } rows[] = {
      {"rain", "unknown keyword 'rain'"},
      {"rv C_Sing always CKR_OK", "'C_Sing' is no function"},
      {"rv C_Sign sometimes CKR_OK", "'sometimes' is no WHEN"},
      {"rv C_Sign nth 0 CKR_OK", "counted from 1"},
      {"rv C_Sign nth x CKR_OK", "'x' is no number"},
      {"rv C_Sign always CKR_SOMETHING", "'CKR_SOMETHING' is no return code"},
      {"rv C_Sign always", "expected return code at the end"},
      {"rv C_Sign percent 101 1", "more than 100"},
      {"delay C_Sign always -1", "'-1' is no number of milliseconds"},
      {"crash C_Sign once politely", "'politely' is neither abort nor segv"},
      {"sessions", "expected number at the end"},
      {"sessions 2 3", "'3' is too much"},
      {"gone-between 20 10", "later than the first"},
      {"announce max-players 2", "neither max-sessions"},
      {"cryptoki 256", "one octet"},
      {"hide-mechanism CKM_LOVE", "'CKM_LOVE' is no mechanism"},
      {"log-only C_Login,,C_Logout", "'' is no function"},
      {"hide-object \"SK", "not closed"},
      {"raw-only\nder-only", "leave nothing"},
      {"module", "expected path"},
  };
  for (const auto& row : rows) {
    const auto s = parse("module m.so\n" + std::string(row.line) + "\n");
    ASSERT_FALSE(s.ok()) << row.line;
    EXPECT_EQ(s.error().reason, "shim-script");
    EXPECT_NE(s.error().detail.find(row.mentions), std::string::npos) << s.error().text();
    if (s.error().detail.find("leave nothing") == std::string::npos) {
      EXPECT_TRUE(s.error().detail.starts_with("line 2: ")) << s.error().text();
    }
  }
  EXPECT_FALSE(parse("").ok()) << "a script without a module";
}

TEST(ShimScript, TellsRawPointsFromWrappedOnes) {
  for (const unsigned long n : {28UL, 32UL, 48UL, 66UL}) {
    std::vector<unsigned char> raw(2 * n + 1, 0x04);
    std::vector<unsigned char> der{0x04};
    if (raw.size() >= 0x80) der.push_back(0x81);
    der.push_back(static_cast<unsigned char>(raw.size()));
    der.insert(der.end(), raw.begin(), raw.end());
    EXPECT_TRUE(is_der_point(der.data(), der.size())) << n;
    for (unsigned second = 0; second < 256; ++second) {  // whatever the x coordinate begins with
      raw[1] = static_cast<unsigned char>(second);
      EXPECT_FALSE(is_der_point(raw.data(), raw.size())) << n << ", " << second;
    }
  }
  EXPECT_FALSE(is_der_point(nullptr, 67));
}

}  // namespace
}  // namespace kf::shim
