// The hardening that cmake/options.cmake asks for, looked for in the product's binaries with readelf.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::string readelf(const std::string& arguments) {
  std::string out;
  FILE* p = ::popen(("LC_ALL=C readelf -W " + arguments + " 2>&1").c_str(), "r");
  if (p == nullptr) return out;
  std::array<char, 65536> chunk{};
  for (std::size_t n = 0; (n = std::fread(chunk.data(), 1, chunk.size(), p)) > 0;) out.append(chunk.data(), n);
  return ::pclose(p) == 0 ? out : std::string();
}

std::vector<std::string> lines_with(const std::string& text, const std::string& word) {
  std::vector<std::string> out;
  std::istringstream s(text);
  for (std::string l; std::getline(s, l);)
    if (l.find(word) != std::string::npos) out.push_back(l);
  return out;
}

// The compiler's options are in what it wrote for debuggers: one line for each different set of them. _FORTIFY_SOURCE
// is a macro and not among them; the functions that it puts in place of others are.
std::set<std::string> missing(const std::string& file, bool program, bool optimised) {
  std::set<std::string> out;
  const std::string elf = readelf("-h -l -d --dyn-syms '" + file + "'");
  const std::string flags = [&] {
    const auto lines = lines_with(elf, "(FLAGS_1)");
    return lines.empty() ? std::string() : lines[0];
  }();
  const auto stack = lines_with(elf, "GNU_STACK");
  const auto need = [&](bool there, const char* what) {
    if (!there) out.insert(what);
  };
  need(std::regex_search(elf, std::regex("Type: +DYN")) && (!program || flags.find(" PIE") != std::string::npos),
       "position independent");
  need(!lines_with(elf, "GNU_RELRO").empty() && flags.find(" NOW") != std::string::npos, "full RELRO");
  need(stack.size() == 1 && std::regex_search(stack[0], std::regex(" RW +0x")), "noexecstack");
  need(!lines_with(elf, " __stack_chk_fail@").empty(), "stack protector");
  need(!optimised || std::regex_search(elf, std::regex(" __[a-z0-9_]+_chk@")), "_FORTIFY_SOURCE");

  std::vector<std::string> options{"-fstack-protector-strong", "-fstack-clash-protection"};
#if defined(__x86_64__) || defined(__i386__)
  options.emplace_back("-fcf-protection=full");
#endif
  const auto compiled = lines_with(readelf("-p .debug_str '" + file + "'"), "  GNU C");
  need(!compiled.empty(), "the compiler's options");
  for (const auto& line : compiled)
    for (const auto& o : options)
      if ((line + " ").find(" " + o + " ") == std::string::npos) out.insert(o);
  return out;
}

std::string text(const std::set<std::string>& s) {
  std::string out;
  for (const auto& x : s) out += (out.empty() ? "" : ", ") + x;
  return out;
}

TEST(Hardening, EveryBinaryOfTheProductHasAllOfIt) {
  if (std::string(KF_SANITIZE) != "") GTEST_SKIP() << "built with sanitizers: " KF_SANITIZE;
  std::istringstream products(KF_PRODUCTS);
  unsigned seen = 0;
  for (std::string file; std::getline(products, file, '|'); ++seen)
    EXPECT_EQ(text(missing(file, !file.ends_with(".so"), KF_OPTIMISED)), "") << file;
  EXPECT_GE(seen, 4U) << KF_PRODUCTS;
}

TEST(Hardening, ABinaryWithoutItIsSeen) {
  if (std::string(KF_SANITIZE) != "") GTEST_SKIP() << "built with sanitizers: " KF_SANITIZE;
  const auto found = missing(KF_UNHARDENED, true, true);
  for (const char* what : {"position independent", "full RELRO", "noexecstack", "stack protector", "_FORTIFY_SOURCE",
                           "-fstack-protector-strong", "-fstack-clash-protection"})
    EXPECT_EQ(found.count(what), 1U) << what;
#if defined(__x86_64__) || defined(__i386__)
  EXPECT_EQ(found.count("-fcf-protection=full"), 1U);
#endif
  EXPECT_EQ(missing("/nowhere/keyferry", true, true).count("the compiler's options"), 1U);
}

}  // namespace
