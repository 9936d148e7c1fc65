// The subscriptions of a burst: valid for the product's CSV reader, and expected packages that equal what the product's
// personaliser makes (two implementations that share nothing).
#include <gtest/gtest.h>

#include <set>

#include "bench/burst/subscriptions.hpp"
#include "host/crypto/ec.hpp"
#include "host/profile/csv.hpp"
#include "host/profile/package.hpp"

namespace kf::bench {
namespace {

const std::vector<std::string> kEids = {eid_with_check_digits("890010120123412340000000000000"),
                                        eid_with_check_digits("890010120123412340000000000001"),
                                        eid_with_check_digits("890010120123412340000000000002")};

TEST(Subscriptions, ProductReadsAndPersonalisesThemAsExpected) {
  const auto t = load_template("");
  ASSERT_TRUE(t);
  const auto s = make_subscriptions(*t, kEids);
  ASSERT_TRUE(s) << s.error().text();
  const auto slots = profile::find_slots(t->der);
  ASSERT_TRUE(slots);
  const auto csv = profile::parse_csv(text(s->csv.expose()), *slots);
  ASSERT_TRUE(csv.errors.empty()) << csv.errors.front().message;
  ASSERT_EQ(csv.rows.size(), kEids.size());
  for (std::size_t i = 0; i < kEids.size(); ++i) {
    EXPECT_EQ(s->list[i].eid, kEids[i]);
    EXPECT_EQ(s->list[i].iccid, csv.rows[i].personal.iccid.str());
    EXPECT_TRUE(parse_iccid(s->list[i].iccid));
    const auto made = profile::personalise(t->der, *slots, csv.rows[i].personal);
    ASSERT_TRUE(made) << made.error().text();
    EXPECT_EQ(sha256(*made), s->list[i].expected);
    EXPECT_NE(sha256(t->der), s->list[i].expected);
  }
}

TEST(Subscriptions, KeysDifferFromOneToTheNext) {
  const auto t = load_template("");
  const auto s = make_subscriptions(*t, kEids);
  ASSERT_TRUE(s);
  std::set<Bytes> seen;
  const auto slots = profile::find_slots(t->der);
  const auto csv = profile::parse_csv(text(s->csv.expose()), *slots);
  for (const auto& r : csv.rows) {
    seen.insert(to_bytes(r.personal.ki.expose()));
    seen.insert(to_bytes(r.personal.opc.expose()));
  }
  EXPECT_EQ(seen.size(), 2 * kEids.size());
}

TEST(Template, ErrorsNameTheFile) {
  const auto missing = load_template("/nonexistent/profile.der");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().detail.find("/nonexistent/profile.der"), std::string::npos);
  const std::string not_a_package = std::string(KF_SOURCE_DIR) + "/CMakeLists.txt";
  const auto bad = load_template(not_a_package);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().detail.find("CMakeLists.txt"), std::string::npos);
}

}  // namespace
}  // namespace kf::bench
