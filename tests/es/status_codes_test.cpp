// The table of status codes against the page that it cites, and what is read from the codes of others.
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "host/es/status_codes.hpp"
#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

std::string page() {
  std::ifstream f(std::string(KF_SOURCE_DIR) + "/docs/spec/interfaces.md");
  return {std::istreambuf_iterator<char>(f), {}};
}
// What stands under that number, up to the next heading.
std::string section(const std::string& text, std::string_view number) {
  for (const char* level : {"\n## ", "\n### "}) {
    for (const char* end : {". ", " "}) {
      const std::size_t at = text.find(level + std::string(number) + end);
      if (at != std::string::npos) return text.substr(at, text.find("\n#", at + 1) - at);
    }
  }
  return {};
}
std::string pair_of(const CodeRow& row) { return std::string(row.subject) + "/" + std::string(row.reason); }
bool holds(const std::string& text, const std::string& pair) {  // and not as a part of a longer one
  return std::regex_search(
      text, std::regex("(^|[^\\d.])" + std::regex_replace(pair, std::regex("\\."), "\\.") + "(?![\\d]|\\.\\d)"));
}

TEST(StatusCodes, EachIsUsedWhereTheTableSays) {
  const std::string text = page();
  EXPECT_TRUE(holds("FAILED 8.2.1/3.1.", "8.2.1/3.1"));
  for (const char* other : {"8.2.1/3.10", "1.8.2.1/3.1", "8.2.1/3.1.2"}) EXPECT_FALSE(holds(other, "8.2.1/3.1"));
  for (const CodeRow& row : kCodes)
    EXPECT_TRUE(holds(section(text, row.section), pair_of(row)))
        << pair_of(row) << " is not in docs/spec/interfaces.md " << row.section;
}

TEST(StatusCodes, EachPartHasItsWordInSection6) {
  const std::string words = section(page(), "6");
  for (const CodeRow& row : kCodes)
    for (const std::string_view part : {row.subject, row.reason})
      EXPECT_NE(words.find("| " + std::string(part) + " |"), std::string::npos) << part << " has no word";
}

TEST(StatusCodes, NoneStandsThereTwiceAndNoneIsMissing) {
  std::set<std::string> named{"8.1.1/1.1", "8.2.1/3.5"};  // of SM-SRs, and nothing to the SM-DP
  for (const CodeRow& row : kCodes) EXPECT_TRUE(named.insert(pair_of(row)).second) << pair_of(row);
  const std::string text = page();
  const std::regex pair(R"((?:^|[^\d.])(\d(?:\.\d+)+/\d(?:\.\d+)+))");
  std::size_t found = 0;
  for (std::sregex_iterator i(text.begin(), text.end(), pair), end; i != end; ++i, ++found)
    EXPECT_TRUE(named.contains((*i)[1])) << (*i)[1] << " has no name";
  EXPECT_GT(found, 50U) << "the search finds too little";
}

TEST(StatusCodes, APairIsToldByBothOfItsParts) {
  Response r;
  EXPECT_FALSE(says(r, Code::iccid_in_use));
  r.code = StatusCode{"8.2.1", "3.3", "89", "in use"};
  EXPECT_TRUE(says(r, Code::iccid_in_use));
  EXPECT_FALSE(says(r, Code::iccid_unknown));
  EXPECT_FALSE(says(r, Code::function_in_use));
  EXPECT_EQ(status_code(Code::iccid_in_use, "89", "in use"), *r.code);
}

TEST(StatusCodes, AReasonIsReadWhateverItsSubject) {
  const std::pair<const char*, Reason> rows[] = {
      {"4.4", Reason::busy},   {"5.1", Reason::inaccessible}, {"5.3", Reason::expired}, {"5.2", Reason::no_end},
      {"5.4", Reason::no_end}, {"5.5", Reason::no_end},       {"5.", Reason::no_end},   {"5.10", Reason::no_end},
      {"4.2", Reason::other},  {"15.1", Reason::other},       {"5", Reason::other},     {"", Reason::other}};
  for (const auto& [code, reason] : rows) EXPECT_EQ(reason_of(std::string_view(code)), reason) << code;
  EXPECT_EQ(reason_of(Response{}), Reason::other);
}

}  // namespace
}  // namespace kf::es::test
