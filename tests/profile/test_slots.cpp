// Finding the places of a subscription in a template, and writing one subscription into it.
#include <algorithm>
#include <set>

#include "tests/profile/support.hpp"

namespace kf::profile {
namespace {
using test::slot_hex;
using test::slots_of;

// A package of one PE between the sample's header and end.
Bytes around(const Bytes& pe) {
  const Bytes whole = sample_package();
  const Package p = parse_package(whole).value();
  return concat(test::part(whole, p.elements.front()), pe, test::part(whole, p.elements.back()));
}
Bytes around(std::string_view pe) { return around(hex(pe)); }

std::string swapped(std::string digits) {
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) std::swap(digits[i], digits[i + 1]);
  return digits;
}

Personal person(std::string iccid = "89000000000000000014") {
  Personal p;
  p.iccid = parse_iccid(iccid_with_luhn(iccid.substr(0, iccid.size() - 1))).value();
  return p;
}

class Ts48Slots : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(All, Ts48Slots, testing::Range<std::size_t>(0, 4));

TEST_P(Ts48Slots, AreTheOnesOfTheReference) {
  KF_SHARED_PROFILE(der, test::kTs48[GetParam()]);
  for (const Field f : {Field::iccid_header, Field::iccid_ef, Field::imsi, Field::pin1, Field::puk1, Field::adm1})
    EXPECT_EQ(slots_of(der, f).size(), 1U) << field_name(f);
  EXPECT_EQ(slots_of(der, Field::ki).size(), 2U);   // USIM and ISIM
  EXPECT_EQ(slots_of(der, Field::opc).size(), 0U);  // the USIM test algorithm ignores it
  EXPECT_EQ(slot_hex(der, slots_of(der, Field::iccid_header)[0]), "89000123456789012341");
  EXPECT_EQ(slot_hex(der, slots_of(der, Field::iccid_ef)[0]), "98001032547698103214");
  EXPECT_EQ(slot_hex(der, slots_of(der, Field::imsi)[0]), "080910101032547698");
  for (const Slot& s : slots_of(der, Field::ki)) EXPECT_EQ(slot_hex(der, s), "000102030405060708090A0B0C0D0E0F");
  EXPECT_EQ(slot_hex(der, slots_of(der, Field::pin1)[0]), "30303030FFFFFFFF");
  EXPECT_EQ(slot_hex(der, slots_of(der, Field::puk1)[0]), "3131313131313131");
  EXPECT_EQ(slot_hex(der, slots_of(der, Field::adm1)[0]), "3535353535353535");
  EXPECT_EQ(template_imsi(der, find_slots(der).value()), "001010123456789");
}

TEST(Slots, LieWhereTheProfilesReadmeSays) {
  KF_SHARED_PROFILE(der, test::kTs48[0]);
  EXPECT_EQ(slots_of(der, Field::iccid_header)[0].offset, 44U);
  EXPECT_EQ(slots_of(der, Field::iccid_ef)[0].offset, 252U);
  EXPECT_EQ(slots_of(der, Field::imsi)[0].offset, 2723U);
}

// Writes every field, and proves that only the slots' bytes changed and that the result is a package again.
void personalise_everything(const Bytes& der) {
  const auto slots = find_slots(der);
  ASSERT_TRUE(slots.ok()) << slots.error().text();
  Personal p = person();
  p.imsi = "26201987654321";
  p.pin1 = "7531";
  p.puk1 = "86421357";
  p.adm1 = "99887766";
  const Bytes ki = hex("F0E1D2C3B4A5968778695A4B3C2D1E0F");
  const Bytes opc = hex("A1A2A3A4A5A6A7A8A9AAABACADAEAFB0");
  p.ki = SecretBytes(ByteView(ki));
  const bool has_opc = std::any_of(slots->begin(), slots->end(), [](const Slot& s) { return s.field == Field::opc; });
  if (has_opc) p.opc = SecretBytes(ByteView(opc));
  const auto out = personalise(der, *slots, p);
  ASSERT_TRUE(out.ok()) << out.error().text();
  ASSERT_EQ(out->size(), der.size());

  std::set<std::size_t> inside;
  for (const Slot& s : *slots) {
    for (std::size_t i = 0; i < s.size; ++i) inside.insert(s.offset + i);
    std::string want;
    switch (s.field) {
      case Field::iccid_header:
        want = p.iccid.str();
        break;
      case Field::iccid_ef:
        want = swapped(p.iccid.str());
        break;
      case Field::imsi:
        want = "0821261089674523F1";
        break;
      case Field::ki:
        want = to_hex(ki);
        break;
      case Field::opc:
        want = to_hex(opc);
        break;
      case Field::pin1:
        want = "37353331FFFFFFFF";
        break;
      case Field::puk1:
        want = "3836343231333537";
        break;
      case Field::adm1:
        want = "3939383837373636";
        break;
    }
    EXPECT_EQ(slot_hex(*out, s), want) << field_name(s.field);
  }
  for (std::size_t i = 0; i < der.size(); ++i)
    if (inside.count(i) == 0) {
      ASSERT_EQ((*out)[i], der[i]) << "byte " << i << " is outside every slot";
    }

  const auto again = parse_package(*out);
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(again->header.iccid_digits, p.iccid.str());
  const auto same = find_slots(*out);
  ASSERT_TRUE(same.ok());
  ASSERT_EQ(same->size(), slots->size());
  for (std::size_t i = 0; i < slots->size(); ++i) {
    EXPECT_EQ((*same)[i].field, (*slots)[i].field);
    EXPECT_EQ((*same)[i].offset, (*slots)[i].offset);
  }
  EXPECT_EQ(template_imsi(*out, *same), p.imsi);
}

TEST_P(Ts48Slots, ArePersonalisedAndNothingElse) {
  KF_SHARED_PROFILE(der, test::kTs48[GetParam()]);
  personalise_everything(der);
}

TEST(Slots, OfTheSampleArePersonalisedAndNothingElse) { personalise_everything(sample_package()); }

TEST(Slots, AreFoundByStructureNotByBytes) {
  // A generic file holds the very bytes of an ICCID file, of an IMSI and of an AKA parameter: no slot may point there.
  const Bytes decoy = concat(hex("83022FE2830A98990000000000000000"), hex("83026F07830908091010103254769883"),
                             hex("8210000102030405060708090A0B0C0D0E0F831000000000000000000000000000000000"));
  Bytes inner = concat(hex("8000"), make_tlv(0x81, decoy));
  const Bytes pe = make_tlv(0xA1, concat(hex("A003810120"), make_tlv(0xA1, make_tlv(0x30, inner))));
  const auto slots = find_slots(around(pe));
  ASSERT_TRUE(slots.ok()) << slots.error().text();
  ASSERT_EQ(slots->size(), 1U);
  EXPECT_EQ((*slots)[0].field, Field::iccid_header);
}

std::string slot_refusal(const Bytes& der) {
  const auto s = find_slots(der);
  return s.ok() ? "accepted" : s.error().reason;
}

TEST(Slots, EfIccidMustBePatchable) {
  const auto mf = [](std::string_view parts) {
    return around(make_tlv(0xB0, concat(hex("A003810120"), hex("810667810F010201"), make_tlv(0xA4, hex(parts)))));
  };
  EXPECT_EQ(slot_refusal(mf("A100830A98000000000000000000")), "accepted");
  EXPECT_EQ(slot_refusal(mf("A100")), "bad-profile");                                // no content
  EXPECT_EQ(slot_refusal(mf("A1008309980000000000000000")), "bad-profile");          // 9 bytes
  EXPECT_EQ(slot_refusal(mf("A1008305980000000083050000000000")), "bad-profile");    // in two parts
  EXPECT_EQ(slot_refusal(mf("A100820101830A98000000000000000000")), "bad-profile");  // not at the beginning
  EXPECT_EQ(slot_refusal(mf("A100830A98000000000000000000830A98000000000000000000")), "bad-profile");  // twice
  EXPECT_EQ(slot_refusal(around(make_tlv(0xB0, hex("A003810120")))), "bad-profile");  // no EF.ICCID at all
}

TEST(Slots, EfImsiMustBePatchable) {
  const auto usim = [](std::string_view parts) {
    return around(make_tlv(0xB3, concat(hex("A003810120"), hex("810667810F010204"), make_tlv(0xA3, hex(parts)))));
  };
  EXPECT_EQ(slots_of(usim("A1008309080910101032547698"), Field::imsi).size(), 1U);
  EXPECT_EQ(slots_of(usim("A100"), Field::imsi).size(), 0U);  // left to the template's default: no place
  EXPECT_EQ(slot_refusal(usim("A10083080809101010325476")), "bad-profile");
  EXPECT_EQ(slot_refusal(usim("A100820100"
                              "8309080910101032547698")),
            "bad-profile");
}

Bytes aka(std::string_view algorithm, std::string_view key, std::string_view opc) {
  return make_tlv(0xA4,
                  concat(hex("A003810120"),
                         make_tlv(0xA1, make_tlv(0xA1, concat(make_tlv(0x80, hex(algorithm)), hex("810101"),
                                                              make_tlv(0x82, hex(key)), make_tlv(0x83, hex(opc)))))));
}
constexpr const char* k16 = "00112233445566778899AABBCCDDEEFF";
constexpr const char* k16b = "10112233445566778899AABBCCDDEEFF";

TEST(Slots, FollowTheAlgorithm) {
  const std::string k32 = std::string(k16) + k16b;
  EXPECT_EQ(slots_of(around(aka("01", k16, k16)), Field::opc).size(), 1U);
  EXPECT_EQ(slots_of(around(aka("03", k16, k16)), Field::opc).size(), 0U);
  EXPECT_EQ(slots_of(around(aka("03", k16, "")), Field::ki).size(), 1U);
  ASSERT_EQ(slots_of(around(aka("02", k32, k32)), Field::ki).size(), 1U);  // TUAK with 256 bits
  EXPECT_EQ(slots_of(around(aka("02", k32, k32)), Field::ki)[0].size, 32U);
  EXPECT_EQ(slots_of(around(aka("02", k32, k32)), Field::opc)[0].size, 32U);
  EXPECT_EQ(slot_refusal(around(aka("01", "0011", k16))), "bad-profile");
  EXPECT_EQ(slot_refusal(around(aka("01", k16, ""))), "bad-profile");
  // mappingParameter: the key is another application's.
  const Bytes mapped = around("A415A003810120A10EA00C8001008107A0000000871002");
  EXPECT_EQ(slot_refusal(mapped), "accepted");
  EXPECT_EQ(slots_of(mapped, Field::ki).size(), 0U);
  EXPECT_EQ(slot_refusal(around("A405A003810120")), "bad-profile");
}

TEST(Slots, OneSubscriptionMustFillAllPlacesOfAField) {
  EXPECT_EQ(slot_refusal(around(concat(aka("01", k16, k16), aka("01", k16, k16)))), "accepted");
  EXPECT_EQ(slot_refusal(around(concat(aka("01", k16, k16), aka("01", k16b, k16)))), "bad-profile");
  EXPECT_EQ(slot_refusal(around(concat(aka("01", k16, k16), aka("01", k16, k16b)))), "bad-profile");
}

TEST(Slots, TakeOnlyTheReferencesThatAreMeant) {
  // PIN 81 (local) and PIN 02 are not PIN1; a PE that shares another DF's PINs (filePath) has no value.
  const Bytes pins = around(
      "A226A003810120A11FA01D"
      "300D"
      "8001028108"
      "3030303030303030"
      "300C"
      "80020081"
      "8106"
      "303030303030");
  EXPECT_EQ(slot_refusal(pins), "bad-profile");  // a value of 6 bytes
  const Bytes good = around(
      "A228A003810120A121A01F"
      "300D"
      "8001028108"
      "3030303030303030"
      "300E"
      "80020081"
      "8108"
      "3030303030303030");
  EXPECT_EQ(slot_refusal(good), "accepted");
  EXPECT_EQ(slots_of(good, Field::pin1).size(), 0U);
  EXPECT_EQ(slot_refusal(around("A20BA003810120A10481027FD0")), "accepted");
}

// ---- values ---------------------------------------------------------------------------------------------------------
TEST(Imsi, IsCodedAsInTs31102) {
  EXPECT_EQ(to_hex(imsi_octets("001010123456789")), "080910101032547698");
  EXPECT_EQ(to_hex(imsi_octets("00101012345678")), "0801101010325476F8");
  EXPECT_EQ(to_hex(imsi_octets("0010101234567")), "0709101010325476FF");
  EXPECT_EQ(to_hex(imsi_octets("262019")), "04212610F9FFFFFFFF");
}

TEST(Imsi, IsReadBackForEveryLength) {
  const Bytes sample = sample_package();
  const auto slots = find_slots(sample).value();
  const std::string digits = "987654321012345";
  for (std::size_t n = 6; n <= 15; ++n) {
    Personal p = person();
    p.imsi = digits.substr(0, n);
    const auto out = personalise(sample, slots, p);
    ASSERT_TRUE(out.ok());
    EXPECT_EQ(template_imsi(*out, slots), p.imsi);
  }
}

TEST(Personalise, PadsNineteenDigits) {
  const Bytes sample = sample_package();
  Personal p = person("8900000000000000000");
  ASSERT_EQ(p.iccid.str().size(), 19U);
  const auto out = personalise(sample, find_slots(sample).value(), p);
  ASSERT_TRUE(out.ok()) << out.error().text();
  EXPECT_EQ(parse_package(*out)->header.iccid_digits, p.iccid.str());
  EXPECT_EQ(slot_hex(*out, slots_of(*out, Field::iccid_header)[0]), p.iccid.str() + "F");
  const std::string ef = slot_hex(*out, slots_of(*out, Field::iccid_ef)[0]);
  EXPECT_EQ(ef.substr(18), std::string("F") + p.iccid.str().back());
}

TEST(Personalise, LeavesWhatIsEmpty) {
  const Bytes sample = sample_package();
  const auto slots = find_slots(sample).value();
  const auto out = personalise(sample, slots, person());
  ASSERT_TRUE(out.ok());
  for (const Slot& s : slots) {
    const bool changed = slot_hex(*out, s) != slot_hex(sample, s);
    EXPECT_EQ(changed, s.field == Field::iccid_header || s.field == Field::iccid_ef) << field_name(s.field);
  }
}

class Refused : public testing::Test {
 protected:
  Bytes sample = sample_package();
  std::vector<Slot> slots = find_slots(sample).value();
  Personal p = person();
  // The name of the field in the error; the value must not be in it.
  void expect(const char* field, const std::string& value) {
    const auto out = personalise(sample, slots, p);
    ASSERT_FALSE(out.ok()) << field;
    EXPECT_EQ(out.error().reason, "bad-personal");
    EXPECT_EQ(out.error().detail.rfind(field, 0), 0U) << out.error().text();
    if (!value.empty()) {
      EXPECT_EQ(out.error().text().find(value), std::string::npos) << out.error().text();
    }
    p = person();
  }
  void without(Field f) {
    std::erase_if(slots, [f](const Slot& s) { return s.field == f; });
  }
};

TEST_F(Refused, BadIccid) {
  p.iccid = Iccid{};
  expect("iccid", "");
  p.iccid = Iccid::trusted("89000000000000000001");  // Luhn
  expect("iccid", "89000000000000000001");
}
TEST_F(Refused, BadImsi) {
  for (const char* v : {"12345", "1234567890123456", "12345678901234a", "+12345678"}) {
    p.imsi = v;
    expect("imsi", v);
  }
}
TEST_F(Refused, KeysOfTheWrongLength) {
  for (const std::size_t n : {1U, 15U, 17U, 32U}) {
    p.ki = SecretBytes(n);
    expect("ki", "");
    p.opc = SecretBytes(n);
    expect("opc", "");
  }
}
TEST_F(Refused, BadPins) {
  for (const char* v : {"123", "123456789", "12a4", "123 "}) {
    p.pin1 = v;
    expect("pin1", v);
    p.adm1 = v;
    expect("adm1", v);
  }
  for (const char* v : {"1234567", "123456789", "1234567x"}) {
    p.puk1 = v;
    expect("puk1", v);
  }
}
TEST_F(Refused, ValuesWithoutAPlace) {
  without(Field::opc);
  without(Field::imsi);
  without(Field::adm1);
  p.opc = SecretBytes(16);
  expect("opc", "");
  p.imsi = "001010123456789";
  expect("imsi", "001010123456789");
  p.adm1 = "12345678";
  expect("adm1", "12345678");
  without(Field::iccid_header);
  expect("iccid", "");
}
TEST_F(Refused, SlotsOfAnotherTemplate) {
  slots.push_back({Field::iccid_ef, sample.size() - 9, 10});
  expect("EF.ICCID", "");
  slots.back() = {Field::iccid_ef, static_cast<std::size_t>(-5), 10};
  expect("EF.ICCID", "");
  slots.back() = {Field::iccid_ef, 100, 9};
  expect("EF.ICCID", "");
}

}  // namespace
}  // namespace kf::profile
