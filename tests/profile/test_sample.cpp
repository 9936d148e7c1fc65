// The project's own template: a valid package of the size of a meter profile, shaped like the TS.48 ones.
#include <map>
#include <set>

#include "tests/profile/support.hpp"

namespace kf::profile {
namespace {

TEST(Sample, IsAPackage) {
  const Bytes der = sample_package();
  EXPECT_GE(der.size(), 4096U);
  EXPECT_LE(der.size(), 8192U);
  const auto p = parse_package(der);
  ASSERT_TRUE(p.ok()) << p.error().text();
  EXPECT_EQ(p->header.major, 2U);
  EXPECT_EQ(p->header.minor, 3U);
  EXPECT_EQ(p->header.profile_type, "Keyferry sample profile");
  EXPECT_TRUE(parse_iccid(p->header.iccid_digits).ok());
  EXPECT_EQ(p->header.services, (std::vector<std::string>{"usim", "milenage"}));
  std::set<std::string> names;
  std::set<std::uint32_t> ids;
  std::size_t optional = 0;
  for (const Element& e : p->elements) {
    names.insert(e.name);
    if (e.identification) {
      EXPECT_TRUE(ids.insert(*e.identification).second) << "identification twice";
    }
    if (!e.mandated) ++optional;
  }
  for (const char* n : {"mf", "pukCodes", "pinCodes", "usim", "opt-usim", "akaParameter", "securityDomain",
                        "genericFileManagement", "rfm", "end"})
    EXPECT_EQ(names.count(n), 1U) << n;
  EXPECT_EQ(optional, 1U) << "one PE for the PE-warning path";
}

TEST(Sample, HasEverySlotOnce) {
  const Bytes der = sample_package();
  for (const Field f : {Field::iccid_header, Field::iccid_ef, Field::imsi, Field::ki, Field::opc, Field::pin1,
                        Field::puk1, Field::adm1})
    EXPECT_EQ(test::slots_of(der, f).size(), 1U) << field_name(f);
  EXPECT_EQ(template_imsi(der, find_slots(der).value()), "999700000000001");
  EXPECT_EQ(test::slots_of(der, Field::ki)[0].size, 16U);
  EXPECT_EQ(test::slots_of(der, Field::opc)[0].size, 16U);
}

TEST(Sample, IsTheSameEveryTime) { EXPECT_EQ(sample_package(), sample_package()); }

// The set of tag paths of each kind of PE: "B3/A3/A1/83". A file-management list of a PE may differ in length and
// order.
void paths_of(ByteView in, const std::string& prefix, std::set<std::string>& out) {
  while (!in.empty()) {
    const auto t = read_tlv(in);
    ASSERT_TRUE(t.ok()) << prefix << " " << t.error().text();
    const std::string path =
        prefix + (prefix.empty() ? "" : "/") +
        to_hex(t->tag > 0xFF ? Bytes{static_cast<std::uint8_t>(t->tag >> 8), static_cast<std::uint8_t>(t->tag)}
                             : Bytes{static_cast<std::uint8_t>(t->tag)});
    out.insert(path);
    if ((t->whole[0] & 0x20) != 0) paths_of(t->value, path, out);
  }
}

TEST(Sample, IsShapedLikeTs48) {
  std::set<std::string> known;
  for (const char* name : test::kTs48) {
    KF_SHARED_PROFILE(der, name);
    paths_of(der, "", known);
  }
  std::set<std::string> ours;
  paths_of(sample_package(), "", ours);
  // What the sample uses and TS.48 does not, each valid by the SAIP module.
  const std::set<std::string> extra{
      "A0/A5/84",  // service milenage: TS.48 uses the USIM test algorithm
      "B0/A3/83",  // EF.PL with a fillFileContent, where TS.48 has a fillPattern
      "B3/AB/82",  // EF.SMSP: an offset and the parameters
      "B3/AB/83",
      "B3/AD/83",     // EF.SPN, where TS.48 has a fillPattern
      "B3/B3/A1/80",  // EF.FPLMN with a size
      "B4/A2/A1/80",  // EF.LI with a size and languages
      "B4/A2/83",
      "B4/BF3A/83",  // EF.EHPLMN with networks
  };
  for (const std::string& path : ours)
    EXPECT_TRUE(known.count(path) != 0 || extra.count(path) != 0) << path << " is not in TS.48";
  for (const std::string& path : extra)
    EXPECT_TRUE(ours.count(path) != 0 && known.count(path) == 0) << path << " is needlessly listed";
}

// Files by their ID: a file that both have must sit at the same place with the same kind of descriptor.
void files_of(ByteView in, const std::string& prefix, std::map<std::string, std::string>& out) {
  const auto list = read_tlvs(in);
  if (!list) return;
  const auto descriptor = find_tlv(*list, 0x82);
  const auto id = find_tlv(*list, 0x83);
  if (descriptor && id && descriptor->value.size() <= 4 && id->value.size() == 2 && find_tlv(*list, 0x8B))
    out[prefix + " " + to_hex(id->value)] = to_hex(descriptor->value.first(2));
  for (const Tlv& t : *list)
    if ((t.whole[0] & 0x20) != 0)
      files_of(t.value, prefix.size() < 8 ? prefix + "/" + std::to_string(t.tag) : prefix, out);
}

TEST(Sample, HasFilesWhereTs48HasThem) {
  KF_SHARED_PROFILE(der, test::kTs48[0]);
  std::map<std::string, std::string> theirs, ours;
  files_of(der, "", theirs);
  files_of(sample_package(), "", ours);
  std::size_t compared = 0;
  for (const auto& [file, kind] : ours) {
    const auto it = theirs.find(file);
    if (it == theirs.end() || file.rfind("/161", 0) == 0) continue;  // generic files are each profile's own
    ++compared;
    EXPECT_EQ(it->second, kind) << file;
  }
  EXPECT_GE(compared, 30U);
}

}  // namespace
}  // namespace kf::profile
