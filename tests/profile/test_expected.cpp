// Personalisation against the independent method of tests/sim/expect: same bytes by a different way.
#include <algorithm>

#include "host/profile/csv.hpp"
#include "tests/profile/support.hpp"
#include "tests/sim/expect/expect.hpp"

namespace kf::profile {
namespace {

std::vector<std::pair<std::string, Bytes>> templates() {
  std::vector<std::pair<std::string, Bytes>> out{{"sample", sample_package()}};
  for (const char* name : test::kTs48)
    if (Bytes b = test::shared_profile(name); !b.empty()) out.emplace_back(name, std::move(b));
  return out;
}

TEST(Expected, AgreesOnEveryTemplate) {
  if (templates().size() == 1) GTEST_LOG_(INFO) << "../shared/profiles is absent: only the sample package is compared";
  for (const auto& [name, der] : templates()) {
    SCOPED_TRACE(name);
    const auto slots = find_slots(der);
    ASSERT_TRUE(slots.ok()) << slots.error().text();
    const bool has_opc = std::any_of(slots->begin(), slots->end(), [](const Slot& s) { return s.field == Field::opc; });
    for (unsigned n = 0; n < 200; ++n) {
      sim::ExpectedValues want;
      const std::string serial = std::to_string(1000000 + n * 7919);
      want.iccid = iccid_with_luhn((n % 3 == 0 ? "894900000" : "8949000001") + serial + (n % 2 == 0 ? "00" : "77"));
      want.imsi = ("262019" + serial + "987654321").substr(0, 6 + n % 10);
      for (unsigned i = 0; i < 16; ++i) want.ki.push_back(static_cast<std::uint8_t>(n * 31 + i * 17 + 1));
      if (has_opc)
        for (unsigned i = 0; i < 16; ++i) want.opc.push_back(static_cast<std::uint8_t>(n * 13 + i * 29 + 2));
      Personal p;
      const auto iccid = parse_iccid(want.iccid);
      ASSERT_TRUE(iccid.ok()) << want.iccid;
      p.iccid = *iccid;
      p.imsi = want.imsi;
      p.ki = SecretBytes(ByteView(want.ki));
      p.opc = SecretBytes(ByteView(want.opc));
      const auto ours = personalise(der, *slots, p);
      const auto theirs = sim::expected_package(der, want);
      ASSERT_TRUE(ours.ok()) << ours.error().text();
      ASSERT_TRUE(theirs.ok()) << theirs.error().text();
      ASSERT_EQ(*ours, *theirs) << n;
    }
  }
}

// From the operator's file to the package, as the import does it.
TEST(Expected, AgreesFromCsvToPackage) {
  const Bytes der = sample_package();
  const auto slots = find_slots(der).value();
  const std::string iccid = iccid_with_luhn("8949000000123456789");
  const auto csv = parse_csv("iccid;imsi;ki;opc\n" + iccid +
                                 ";262011234567890;0102030405060708090A0B0C0D0E0F10;1112131415161718191a1b1c1d1e1f20\n",
                             slots);
  ASSERT_EQ(csv.rows.size(), 1U);
  const auto ours = personalise(der, slots, csv.rows[0].personal);
  const auto theirs = sim::expected_package(der, {iccid, "262011234567890", hex("0102030405060708090A0B0C0D0E0F10"),
                                                  hex("1112131415161718191A1B1C1D1E1F20")});
  ASSERT_TRUE(ours.ok() && theirs.ok());
  EXPECT_EQ(*ours, *theirs);
}

TEST(Expected, LeavesWhatIsEmpty) {
  const Bytes der = sample_package();
  const auto same = sim::expected_package(der, {parse_package(der)->header.iccid_digits, "", {}, {}});
  ASSERT_TRUE(same.ok()) << same.error().text();
  EXPECT_EQ(*same, der);
}

TEST(Expected, RefusesWhatItCannotFind) {
  const Bytes der = sample_package();
  const std::string iccid = iccid_with_luhn("8949000000123456789");
  const auto reason = [&iccid](const Bytes& b, sim::ExpectedValues v) {
    v.iccid = v.iccid.empty() ? iccid : v.iccid;
    const auto r = sim::expected_package(b, v);
    return r.ok() ? "accepted" : r.error().reason;
  };
  EXPECT_EQ(reason(der, {"", "262011234567890", {}, {}}), "accepted");
  EXPECT_EQ(reason(der, {"8949", "", {}, {}}), "bad-value");
  EXPECT_EQ(reason(der, {"", "", Bytes(15), {}}), "bad-value");
  EXPECT_EQ(reason(der, {"", "", {}, Bytes(32)}), "bad-value");
  EXPECT_EQ(reason({}, {"", "", {}, {}}), "bad-template");
  Bytes other = der;  // EF.ICCID no longer holds the header's digits
  other[test::slots_of(der, Field::iccid_ef)[0].offset] ^= 0x10;
  EXPECT_EQ(reason(other, {"", "", {}, {}}), "bad-template");
}

}  // namespace
}  // namespace kf::profile
