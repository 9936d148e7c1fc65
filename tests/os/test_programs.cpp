// Where programs of ours are looked for: beside, in ../bin, in the libexec folder of an installation.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "host/os/programs.hpp"

namespace kf::os {
namespace {
namespace fs = std::filesystem;

struct Tree {
  fs::path root = fs::temp_directory_path() / ("kf-os-" + std::to_string(::getpid()));
  Tree() { fs::create_directories(root); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() { fs::remove_all(root); }
  void put(const std::string& file, fs::perms mode = fs::perms::owner_all) const {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << "#!/bin/sh\n";
    fs::permissions(root / file, mode);
  }
  [[nodiscard]] std::string find(const std::string& folder) const {
    return fs::relative(find_program(root / folder, "x").value_or(root / "none"), root).string();
  }
};

TEST(Programs, TheNearestPlaceCounts) {
  const Tree t;
  fs::create_directories(t.root / "bin");
  EXPECT_EQ(t.find("bin"), "none");
  t.put("libexec/keyferry/x");
  EXPECT_EQ(t.find("bin"), "libexec/keyferry/x");
  EXPECT_EQ(t.find("lib"), "libexec/keyferry/x");
  t.put("bin/x");
  EXPECT_EQ(t.find("tests"), "bin/x");
  EXPECT_EQ(t.find("lib"), "bin/x");
  t.put("tests/x");
  EXPECT_EQ(t.find("tests"), "tests/x");
}

TEST(Programs, WhatCannotBeRunIsNone) {
  const Tree t;
  t.put("bin/x", fs::perms::owner_read);
  EXPECT_EQ(t.find("bin"), "none");
  fs::remove(t.root / "bin/x");
  fs::create_directories(t.root / "bin/x");
  EXPECT_EQ(t.find("bin"), "none") << "a folder of that name";
}

// Without /proc nobody knows where we are; a program in the working directory would be given a PIN.
TEST(Programs, NothingIsLookedForInTheWorkingDirectory) {
  const Tree t;
  t.put("x");
  t.put("bin/x");
  const fs::path before = fs::current_path();
  fs::current_path(t.root);
  EXPECT_FALSE(find_program("", "x").has_value());
  fs::current_path(before);
}

TEST(Programs, OurOwnFolderIsThatOfTheTest) { EXPECT_TRUE(fs::exists(own_folder() / "test_os")); }

}  // namespace
}  // namespace kf::os
