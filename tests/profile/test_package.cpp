// The walk over a package: what is accepted, what is refused and why.
#include <array>

#include "tests/profile/support.hpp"

namespace kf::profile {
namespace {
using test::part;

struct Line {
  std::uint32_t tag;
  const char* name;
  int id;  // -1: none
  std::array<std::size_t, 4> size;
};
// docs/spec/interfaces.md 7.5; size 0: not in that file. The end element's identification is 31, or 27 without RAM and
// RFM.
constexpr std::array kTable{Line{0xA0, "header", -1, {162, 162, 160, 160}},
                            Line{0xB0, "mf", 4, {779, 779, 779, 779}},
                            Line{0xA3, "pukCodes", 5, {42, 42, 42, 42}},
                            Line{0xA2, "pinCodes", 2, {78, 78, 78, 78}},
                            Line{0xB2, "telecom", 7, {535, 535, 535, 535}},
                            Line{0xA2, "pinCodes", 3, {36, 36, 36, 36}},
                            Line{0xA1, "genericFileManagement", 23, {1018, 1027, 991, 1000}},
                            Line{0xB3, "usim", 8, {1205, 1205, 1205, 1205}},
                            Line{0xB4, "opt-usim", 9, {2529, 2529, 2529, 2529}},
                            Line{0xA2, "pinCodes", 10, {36, 36, 36, 36}},
                            Line{0xA4, "akaParameter", 11, {55, 55, 55, 55}},
                            Line{0xB8, "gsm-access", 12, {140, 140, 140, 140}},
                            Line{0xBC, "df-5gs", 13, {298, 298, 298, 298}},
                            Line{0xBD, "df-saip", 14, {68, 68, 68, 68}},
                            Line{0xB9, "csim", 15, {1796, 1796, 1796, 1796}},
                            Line{0xBA, "opt-csim", 16, {1445, 1445, 1445, 1445}},
                            Line{0xA2, "pinCodes", 17, {36, 36, 36, 36}},
                            Line{0xA5, "cdmaParameter", 18, {113, 113, 113, 113}},
                            Line{0xB5, "isim", 19, {474, 474, 474, 474}},
                            Line{0xB6, "opt-isim", 20, {94, 94, 94, 94}},
                            Line{0xA2, "pinCodes", 21, {36, 36, 36, 36}},
                            Line{0xA4, "akaParameter", 22, {55, 55, 55, 55}},
                            Line{0xA1, "genericFileManagement", 24, {338, 338, 243, 243}},
                            Line{0xA1, "genericFileManagement", 25, {433, 433, 433, 433}},
                            Line{0xA6, "securityDomain", 26, {361, 218, 361, 218}},
                            Line{0xA7, "rfm", 27, {36, 0, 36, 0}},
                            Line{0xA7, "rfm", 28, {58, 0, 58, 0}},
                            Line{0xA7, "rfm", 29, {58, 0, 58, 0}},
                            Line{0xA7, "rfm", 30, {62, 0, 62, 0}},
                            Line{0xAA, "end", 31, {9, 9, 9, 9}}};
constexpr std::array<std::size_t, 4> kTotal{12385, 12037, 12261, 11913};

class Ts48 : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(All, Ts48, testing::Range<std::size_t>(0, 4));

TEST_P(Ts48, HasTheElementsOfTheReference) {
  const std::size_t column = GetParam();
  KF_SHARED_PROFILE(der, test::kTs48[column]);
  ASSERT_EQ(der.size(), kTotal[column]);
  const auto p = parse_package(der);
  ASSERT_TRUE(p.ok()) << p.error().text();
  std::size_t i = 0;
  std::size_t at = 0;
  for (const Line& line : kTable) {
    if (line.size[column] == 0) continue;
    ASSERT_LT(i, p->elements.size());
    const Element& e = p->elements[i++];
    SCOPED_TRACE(line.name + std::string(" at ") + std::to_string(at));
    EXPECT_EQ(e.tag, line.tag);
    EXPECT_EQ(e.name, line.name);
    EXPECT_EQ(e.offset, at);
    EXPECT_EQ(e.size, line.size[column]);
    EXPECT_TRUE(e.mandated);
    const int id = line.tag == 0xAA && column % 2 == 1 ? 27 : line.id;
    EXPECT_EQ(e.identification ? static_cast<int>(*e.identification) : -1, id);
    at += e.size;
  }
  EXPECT_EQ(i, p->elements.size());
  EXPECT_EQ(at, der.size());
}

TEST_P(Ts48, HasTheHeaderOfTheReference) {
  KF_SHARED_PROFILE(der, test::kTs48[GetParam()]);
  const auto p = parse_package(der);
  ASSERT_TRUE(p.ok()) << p.error().text();
  EXPECT_EQ(p->header.major, 2U);
  EXPECT_EQ(p->header.minor, 3U);
  EXPECT_EQ(p->header.profile_type, "GSMA Generic eUICC Test Profile");
  EXPECT_EQ(p->header.iccid_digits, "89000123456789012341");
  EXPECT_EQ(to_hex(p->header.iccid), "89000123456789012341");
  EXPECT_FALSE(p->header.pol);
  std::vector<std::string> services{"usim", "isim", "csim", "usim-test-algorithm"};
  if (GetParam() < 2) services.emplace_back("ber-tlv");
  for (const char* s : {"get-identity", "profile-a-x25519", "profile-b-p256"}) services.emplace_back(s);
  EXPECT_EQ(p->header.services, services);
}

TEST_P(Ts48, IsRefusedAtEveryTruncation) {
  KF_SHARED_PROFILE(der, test::kTs48[GetParam()]);
  for (std::size_t n = 0; n < der.size(); n += n < 1000 ? 1 : 37) {
    const auto p = parse_package(ByteView(der).first(n));
    ASSERT_FALSE(p.ok()) << n;
    EXPECT_TRUE(p.error().reason == "truncated" || p.error().reason == "bad-profile") << n << p.error().text();
  }
}

// ---- refusals, on the project's own package
// --------------------------------------------------------------------------
std::string refusal(const Bytes& der) {
  const auto p = parse_package(der);
  return p.ok() ? "accepted" : p.error().reason;
}

struct Parts {
  Bytes whole = sample_package();
  Package p = parse_package(whole).value();
  Bytes header = part(whole, p.elements.front());
  Bytes mf = part(whole, p.elements[1]);
  Bytes end = part(whole, p.elements.back());
};

TEST(Package, RefusesEveryTruncation) {
  const Bytes whole = sample_package();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto p = parse_package(ByteView(whole).first(n));
    ASSERT_FALSE(p.ok()) << n;
  }
}

TEST(Package, NeedsHeaderFirstAndEndLast) {
  const Parts s;
  EXPECT_EQ(refusal(concat(s.header, s.mf, s.end)), "accepted");
  EXPECT_EQ(refusal({}), "truncated");
  EXPECT_EQ(refusal(concat(s.mf, s.header, s.end)), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, s.mf)), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, s.header, s.end)), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, s.end, s.mf)), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, s.mf, s.end, s.end)), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, s.mf, s.end, Bytes{0x00})), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, s.mf, s.end, Bytes{0xFF})), "bad-profile");
  EXPECT_EQ(refusal(concat(s.header, Bytes{0x00, 0x00}, s.end)), "bad-tag");
  EXPECT_EQ(refusal(concat(s.header, hex("3003800101"), s.end)), "bad-tag");  // universal class
  EXPECT_EQ(refusal(concat(s.header, hex("8103800101"), s.end)), "bad-tag");  // primitive
}

TEST(Package, NamesThePlace) {
  const Parts s;
  const auto twice = parse_package(concat(s.header, s.header, s.end));
  ASSERT_FALSE(twice.ok());
  EXPECT_EQ(twice.error().detail, "PE 2 (header): second header");
  Bytes bad = s.whole;
  bad[s.p.elements[5].offset + 2] ^= 0x01;  // the long length of PE usim
  const auto p = parse_package(bad);
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.error().detail.find("PE 6 (usim)"), std::string::npos) << p.error().text();
}

TEST(Package, WantsDerLengths) {
  const Parts s;
  const auto with = [&s](std::string_view pe) { return refusal(concat(s.header, hex(pe), s.end)); };
  EXPECT_EQ(with("B107A0058000810120"), "accepted");
  EXPECT_EQ(with("B18107A0058000810120"), "bad-length");
  EXPECT_EQ(with("B1820007A0058000810120"), "bad-length");
  EXPECT_EQ(with("B183000007A0058000810120"), "bad-length");
  EXPECT_EQ(with("B18400000007A0058000810120"), "bad-length");
  EXPECT_EQ(with("B180A00580008101200000"), "bad-length");
  EXPECT_EQ(with("B108A0058000810120"), "truncated");  // swallows the first byte of the end element
  EXPECT_EQ(with("B106A0058000810120"), "truncated");  // the member ends behind its PE
}

TEST(Package, ChecksEachPeHeader) {
  const Parts s;
  const auto with = [&s](std::string_view pe) { return refusal(concat(s.header, hex(pe), s.end)); };
  EXPECT_EQ(with("B105A003810120"), "accepted");  // not mandated
  EXPECT_EQ(with("B100"), "bad-profile");
  EXPECT_EQ(with("B103810120"), "bad-profile");
  EXPECT_EQ(with("B104A0028000"), "bad-profile");          // identification missing
  EXPECT_EQ(with("B108A006800100810120"), "bad-profile");  // mandated is not NULL
  EXPECT_EQ(with("B107A0058101208000"), "bad-profile");    // out of order
  EXPECT_EQ(with("B108A006810120810121"), "bad-profile");  // doubled
  EXPECT_EQ(with("B104A0028100"), "bad-length");           // empty INTEGER
  EXPECT_EQ(with("B106A00481020020"), "bad-length");       // not minimal
  EXPECT_EQ(with("B105A003810180"), "bad-length");         // negative
  EXPECT_EQ(with("B107A0058103008000"), "bad-profile");    // 32768
  EXPECT_EQ(with("B106A00481027FFF"), "accepted");         // 32767
}

TEST(Package, KnowsLaterTags) {
  const Parts s;
  const Bytes der =
      concat(s.header, hex("BF1F05A003810107"), hex("BF2005A003810108"), hex("BF810005A003810109"), hex("AB00"), s.end);
  const auto p = parse_package(der);
  ASSERT_TRUE(p.ok()) << p.error().text();
  EXPECT_EQ(p->elements[1].tag, 0xBF1FU);
  EXPECT_EQ(p->elements[1].name, "df-5gprose");
  EXPECT_EQ(p->elements[2].name, "iot");
  EXPECT_EQ(p->elements[3].name, "unknown");
  EXPECT_EQ(p->elements[4].name, "reserved");
  EXPECT_EQ(refusal(concat(s.header, hex("BF1E05A003810107"), s.end)), "bad-tag");      // short form would do
  EXPECT_EQ(refusal(concat(s.header, hex("BF801F05A003810107"), s.end)), "bad-tag");    // leading zero
  EXPECT_EQ(refusal(concat(s.header, hex("BF81808005A003810107"), s.end)), "bad-tag");  // four bytes
}

TEST(Package, TakesLengthsOfThreeBytes) {
  const Parts s;
  Bytes body = hex("A003810107");
  const Bytes block(0x10000, 0x5A);
  append(body, hex("C483010000"));
  append(body, block);
  Bytes pe{0xA8, 0x83, 0x01, 0x00, static_cast<std::uint8_t>(body.size() - 0x10000)};
  append(pe, body);
  const auto p = parse_package(concat(s.header, pe, s.end));
  ASSERT_TRUE(p.ok()) << p.error().text();
  EXPECT_EQ(p->elements[1].size, pe.size());
}

TEST(Package, LimitsNesting) {
  const Parts s;
  const auto nested = [&s](unsigned levels) {
    Bytes inner;
    for (unsigned i = 0; i < levels; ++i) inner = make_tlv(0x30, inner);
    return refusal(concat(s.header, make_tlv(0xB1, concat(hex("A003810107"), inner)), s.end));
  };
  EXPECT_EQ(nested(10), "accepted");
  EXPECT_EQ(nested(17), "bad-profile");
  EXPECT_EQ(nested(5000), "bad-profile");
}

TEST(Package, ChecksTheHeader) {
  const Parts s;
  const auto with = [&s](std::string_view fields) { return refusal(concat(make_tlv(0xA0, hex(fields)), s.mf, s.end)); };
  const std::string version = "800102810103";
  const std::string type = "820154";
  const std::string iccid = "830A89000123456789012341";
  const std::string lists =
      "A502"
      "8100"
      "A608"
      "060667810F010201";
  EXPECT_EQ(with(version + type + iccid + lists), "accepted");
  EXPECT_EQ(with(version + iccid + lists), "accepted");
  EXPECT_EQ(with(version + iccid + "A500A600"), "accepted");
  EXPECT_EQ(with(version + iccid + lists + "8700" + "A800"), "accepted");
  EXPECT_EQ(with(version + type + lists), "bad-profile");
  EXPECT_EQ(with(type + iccid + lists), "bad-profile");
  EXPECT_EQ(with(version + iccid), "bad-profile");
  EXPECT_EQ(with(version + iccid + "A500"), "bad-profile");
  EXPECT_EQ(with(version + "8209890001234567890123" + lists), "bad-profile");
  EXPECT_EQ(with(version + "8309890001234567890123" + lists), "bad-profile");
  EXPECT_EQ(with(version + "830A8900012345678901234A" + lists), "bad-profile");
  EXPECT_EQ(with(version + "830A89000123456789012FFF" + lists), "bad-profile");
  EXPECT_EQ(with(version + iccid + type + lists), "bad-profile");
  EXPECT_EQ(with(version + "8200" + iccid + lists), "bad-profile");
  EXPECT_EQ(with(version + "8202C080" + iccid + lists), "bad-profile");  // overlong UTF-8
  EXPECT_EQ(with(version + "8203E08080" + iccid + lists), "bad-profile");
  EXPECT_EQ(with(version + "8204F0808080" + iccid + lists), "bad-profile");
  EXPECT_EQ(with(version + "8203EDA080" + iccid + lists), "bad-profile");    // a surrogate
  EXPECT_EQ(with(version + "8204F4908080" + iccid + lists), "bad-profile");  // above 10FFFF
  EXPECT_EQ(with(version + "8202C280" + iccid + lists), "bad-profile");      // a C1 control
  EXPECT_EQ(with(version + "8202C3A9" + iccid + lists), "accepted");
  EXPECT_EQ(with(version + "8203E282AC" + iccid + lists), "accepted");
  EXPECT_EQ(with(version + "8204F09F9491" + iccid + lists), "accepted");
  EXPECT_EQ(with(version + "82021B5B" + iccid + lists), "bad-profile");  // a terminal escape
  EXPECT_EQ(with(version + iccid + "A503810100A600"), "bad-profile");    // service is not NULL
  EXPECT_EQ(with(version + iccid + "A500A6020400"), "bad-profile");      // no OID
}

TEST(Package, ReadsNineteenDigitsAndPol1) {
  const Parts s;
  const Bytes header = make_tlv(0xA0, hex("800102810103830A8900012345678901234F84020580A5028100A600"));
  const auto p = parse_package(concat(header, s.mf, s.end));
  ASSERT_TRUE(p.ok()) << p.error().text();
  EXPECT_EQ(p->header.iccid_digits, "8900012345678901234");
  ASSERT_TRUE(p->header.pol);
  EXPECT_EQ(to_hex(*p->header.pol), "0580");
  EXPECT_EQ(p->header.services, std::vector<std::string>{"usim"});
}

}  // namespace
}  // namespace kf::profile
