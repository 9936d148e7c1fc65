// What the tests of this folder share: the TS.48 packages and a way to damage a package with lengths kept right.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "host/profile/package.hpp"

namespace kf::profile::test {

inline const char* const kTs48[] = {"ts48v7-saip23-bertlv-suci.der", "ts48v7-saip23-bertlv-suci-noramrfm.der",
                                    "ts48v7-saip23-nobertlv.der", "ts48v7-saip23-nobertlv-noramrfm.der"};

inline Bytes shared_profile(const std::string& name) {  // empty when the shared folder is absent
  std::ifstream in(std::filesystem::path(KF_SOURCE_DIR) / ".." / "shared" / "profiles" / name, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

#define KF_SHARED_PROFILE(var, name)                                 \
  const ::kf::Bytes var = ::kf::profile::test::shared_profile(name); \
  if (var.empty()) GTEST_SKIP() << "../shared/profiles/" << (name) << " is absent"

inline Bytes part(ByteView in, const Element& e) { return to_bytes(in.subspan(e.offset, e.size)); }

inline std::vector<Slot> slots_of(ByteView der, Field f) {
  auto all = find_slots(der);
  EXPECT_TRUE(all.ok()) << (all.ok() ? "" : all.error().text());
  std::vector<Slot> out;
  if (all)
    for (const Slot& s : *all)
      if (s.field == f) out.push_back(s);
  return out;
}

inline std::string slot_hex(ByteView der, const Slot& s) { return to_hex(der.subspan(s.offset, s.size)); }

}  // namespace kf::profile::test
