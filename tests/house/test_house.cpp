// The rules of the house, checked over the source tree.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {
namespace fs = std::filesystem;
const fs::path kRoot = KF_SOURCE_DIR;

std::string slurp(const fs::path& p) {
  std::ifstream f(p, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream s(text);
  for (std::string l; std::getline(s, l);) out.push_back(l);
  return out;
}

struct Room {
  std::string name, dir;
  std::set<std::string> rooms, private_rooms;
};

std::set<std::string> names(const std::string& list) {
  std::set<std::string> out;
  std::istringstream s(list);
  for (std::string x; std::getline(s, x, ',');) out.insert(x);
  return out;
}

std::vector<Room> rooms() {
  std::vector<Room> out;
  for (const auto& line : lines_of(slurp(KF_EDGES_FILE))) {
    std::istringstream s(line);
    Room r;
    std::string open, closed;
    std::getline(s, r.name, '|');
    std::getline(s, r.dir, '|');
    std::getline(s, open, '|');
    std::getline(s, closed, '|');
    r.rooms = names(open);
    r.private_rooms = names(closed);
    out.push_back(std::move(r));
  }
  return out;
}

bool is_source(const fs::path& p) { return p.extension() == ".cpp" || p.extension() == ".hpp"; }
std::vector<fs::path> sources() {
  std::vector<fs::path> out;
  for (const char* top : {"host", "hsm", "tests", "bench", "drivers"})
    for (const auto& e : fs::recursive_directory_iterator(kRoot / top))
      if (e.is_regular_file() && is_source(e.path())) out.push_back(e.path());
  return out;
}
std::string in_tree(const fs::path& p) { return fs::relative(p, kRoot).string(); }

// The room that a file belongs to; folders below a room are its own.
const Room* room_of(const fs::path& file, const std::vector<Room>& all) {
  for (fs::path dir = file.parent_path(); !dir.empty(); dir = dir.parent_path())
    for (const Room& r : all)
      if (r.dir == dir) return &r;
  return nullptr;
}

std::string text(const std::set<std::string>& s) {
  std::string out;
  for (const auto& x : s) out += " " + x;
  return out;
}

// ROOMS: what a room's headers include. PRIVATE: what its other files include. Neither more nor less than that.
TEST(House, EdgesAreWhatTheIncludesSay) {
  const std::vector<Room> all = rooms();
  ASSERT_GT(all.size(), 12U) << "no edges found in " << KF_EDGES_FILE;
  std::map<std::string, Room> found;
  std::size_t checked = 0;
  for (const auto& p : sources()) {
    const std::string file = p.filename().string();
    const Room* r = room_of(in_tree(p), all);
    if (r == nullptr || file.starts_with("test_") || file == "smdp_stub.hpp") continue;  // tests beside a room
    for (const auto& line : lines_of(slurp(p))) {
      if (!line.starts_with("#include \"")) continue;
      const std::string path = line.substr(10, line.find('"', 10) - 10);
      const Room* other = room_of(path, all);
      if (other == nullptr || other == r) continue;
      ++checked;
      EXPECT_TRUE(r->rooms.count(other->name) + r->private_rooms.count(other->name) != 0)
          << in_tree(p) << " includes " << path << ", which is no allowed edge of " << r->name;
      (p.extension() == ".hpp" ? found[r->name].rooms : found[r->name].private_rooms).insert(other->name);
    }
  }
  EXPECT_GT(checked, 100U);
  for (const Room& r : all) {
    Room& f = found[r.name];
    for (const auto& x : f.rooms) f.private_rooms.erase(x);
    EXPECT_EQ(text(r.rooms), text(f.rooms)) << "ROOMS of " << r.name << " against the includes of its headers";
    EXPECT_EQ(text(r.private_rooms), text(f.private_rooms)) << "PRIVATE of " << r.name << " against its other includes";
  }
}

TEST(House, SimulatorsShareNoProtocolCodeWithTheProduct) {
  for (const auto& p : sources()) {
    const std::string rel = in_tree(p);
    const std::string file = p.filename().string();
    if (!rel.starts_with("tests/sim/") || file.starts_with("test_") || file == "smdp_stub.hpp")
      continue;  // the tests' host side
    const bool card = rel.starts_with("tests/sim/card/");
    for (const auto& line : lines_of(slurp(p))) {
      if (!line.starts_with("#include \"host/") && !line.starts_with("#include \"hsm/")) continue;
      EXPECT_EQ(line.find("host/es8/"), std::string::npos) << rel << ": " << line;
      EXPECT_EQ(line.find("host/crypto/symmetric"), std::string::npos) << rel << ": " << line;
      EXPECT_EQ(line.find("hsm/"), std::string::npos) << rel << ": " << line;
      if (card) {
        EXPECT_NE(line.find("host/base/"), std::string::npos) << rel << ": the card uses host/base only: " << line;
      }
    }
  }
}

TEST(House, OnlyTheCompositionRootKnowsHsmsAndCores) {
  unsigned known = 0;
  for (const auto& p : sources()) {
    const std::string rel = in_tree(p);
    if (!rel.starts_with("host/")) continue;
    for (const auto& line : lines_of(slurp(p))) {
      if (!line.starts_with("#include \"hsm/") && !line.starts_with("#include \"drivers/")) continue;
      ++known;
      EXPECT_TRUE(rel.starts_with("host/main/")) << rel << ": " << line;
    }
  }
  EXPECT_GT(known, 5U);
}

TEST(House, OnlyTheWorkerTouchesPkcs11) {
  for (const auto& p : sources()) {
    const std::string rel = in_tree(p);
    if (rel.starts_with("hsm/p11/") || rel.starts_with("hsm/worker/") || rel.starts_with("tests/")) continue;
    const std::string text = slurp(p);
    // drivers/p11 is a module and loads none.
    if (!rel.starts_with("drivers/p11/")) {
      EXPECT_EQ(text.find("p11-kit/pkcs11.h"), std::string::npos) << rel;
    }
    EXPECT_EQ(text.find("dlopen("), std::string::npos) << rel;
  }
}

TEST(House, NoMemcmpInTheProduct) {  // secrets are compared with equal_ct; for the rest there is operator==
  for (const auto& p : sources()) {
    const std::string rel = in_tree(p);
    if (!rel.starts_with("host/") && !rel.starts_with("hsm/")) continue;
    for (const auto& line : lines_of(slurp(p)))
      EXPECT_FALSE(line.find("memcmp(") != std::string::npos && line.find("CRYPTO_memcmp") == std::string::npos)
          << rel << ": " << line;
  }
}

// Subjects and reasons of SGP.02, as the tables of docs/spec/interfaces.md 6 have them.
std::set<std::string> status_code_numbers() {
  std::set<std::string> out;
  static const std::regex cell(R"(\| (\d+(?:\.\d+)+) (?=\|))");
  bool within = false;
  for (const auto& line : lines_of(slurp(kRoot / "docs/spec/interfaces.md"))) {
    if (line.starts_with("#")) within = line.starts_with("## 6. ");
    if (!within) continue;
    for (std::sregex_iterator i(line.begin(), line.end(), cell), end; i != end; ++i) out.insert((*i)[1]);
  }
  return out;
}

TEST(House, StatusCodesAreNumbersInOnePlaceOnly) {  // of the product: host/es/status_codes.hpp
  const auto numbers = status_code_numbers();
  for (const char* known : {"1.6", "8.2.1", "3.10", "5.1"}) EXPECT_EQ(numbers.count(known), 1U) << known;
  static const std::regex literal(R"rx("(\d+\.(?:\d+(?:\.\d+)*)?)")rx");
  std::size_t found = 0;
  for (const auto& p : sources()) {
    const std::string rel = in_tree(p);
    if (!rel.starts_with("host/")) continue;
    const std::string text = slurp(p);
    for (std::sregex_iterator i(text.begin(), text.end(), literal), end; i != end; ++i) {
      const std::string number = (*i)[1];
      if (numbers.count(number) == 0 && !number.ends_with('.')) continue;
      ++found;
      EXPECT_EQ(rel, "host/es/status_codes.hpp") << rel << " has \"" << number << "\"; it has a name there";
    }
  }
  EXPECT_GT(found, 80U) << "the search finds too little";
}

TEST(House, NoLoopWalksATemporarysItems) {  // items() refers to its object, which is gone before the first turn
  const std::regex pattern(R"(^ *for \(.*: .*\)\.items\(\)\))");
  const std::string bad = std::string("  for (auto& x : f(1)") + ".items()) {";
  EXPECT_TRUE(std::regex_search(bad, pattern));
  for (const auto& p : sources())
    for (const auto& line : lines_of(slurp(p)))
      EXPECT_FALSE(std::regex_search(line, pattern)) << in_tree(p) << ": " << line;
}

TEST(House, NoCoroutineOfTheServerIsDetached) {  // `detached` swallows what it throws: host/server/guard.hpp
  for (const auto& p : sources()) {
    if (!in_tree(p).starts_with("host/server/") && !in_tree(p).starts_with("host/main/")) continue;
    EXPECT_EQ(slurp(p).find(std::string("asio::") + "detached"), std::string::npos) << in_tree(p);
  }
}

TEST(House, NoUnfinishedWork) {
  const std::vector<std::string> words{std::string("TO") + "DO", std::string("FIX") + "ME", std::string("XX") + "X ",
                                       std::string("HA") + "CK"};
  for (const auto& p : sources()) {
    const std::string text = slurp(p);
    for (const auto& w : words) EXPECT_EQ(text.find(w), std::string::npos) << in_tree(p) << " says " << w;
  }
}

TEST(House, FilesAreReadable) {
  for (const auto& p : sources()) {
    const auto n = lines_of(slurp(p)).size();
    EXPECT_LE(n, 900U) << in_tree(p) << " has " << n << " lines; split it";
  }
}

TEST(House, EveryRoomHasAReadme) {
  for (const auto& r : rooms()) EXPECT_TRUE(fs::exists(kRoot / r.dir / "README.md")) << r.dir << " has no README.md";
}

TEST(House, NoMachinePaths) {
  const std::vector<std::string> paths{std::string("/wo") + "rk/", std::string("/ro") + "ot/",
                                       std::string("/fa") + "rm/"};
  for (const auto& p : sources()) {
    const std::string text = slurp(p);
    for (const auto& w : paths) EXPECT_EQ(text.find(w), std::string::npos) << in_tree(p) << " holds " << w;
  }
}

// Two types of one name in one namespace are one type to the linker, which keeps the functions of either: programs that
// hold both then break in ways that only a sanitizer sees.
TEST(House, ATypeHasItsNameForItself) {
  const std::regex opens("namespace ([A-Za-z0-9_:]*) ?\\{.*");
  const std::regex defines(
      "(?:enum )?(?:struct|class) (?:alignas\\([^)]*\\) )?([A-Za-z0-9_]+)(?: final)?(?: : [^;(]*)? \\{.*");
  std::map<std::string, std::set<std::string>> where;
  for (const auto& p : sources()) {
    const std::string file = in_tree(p);
    if (file.rfind("tests/", 0) == 0) continue;  // programs of their own
    std::vector<std::string> within;
    for (const auto& line : lines_of(slurp(p))) {
      std::smatch m;
      if (line.rfind("namespace ", 0) == 0 && std::regex_match(line, m, opens)) {
        within.push_back(m[1]);
      } else if (line.rfind("}  // namespace", 0) == 0) {
        if (!within.empty()) within.pop_back();
      } else if ((line.rfind("struct ", 0) == 0 || line.rfind("class ", 0) == 0 || line.rfind("enum ", 0) == 0) &&
                 std::ranges::find(within, "") == within.end() && std::regex_match(line, m, defines)) {
        std::string name;
        for (const auto& n : within) name += n + "::";
        where[name + std::string(m[1])].insert(file);
      }
    }
  }
  EXPECT_GT(where.size(), 300U) << "the search finds too little";
  for (const auto& [name, files] : where) {
    EXPECT_EQ(files.size(), 1U) << name << " is defined in" << text(files);
  }
}

// --- Citations -------------------------------------------------------------------------------------------------------
// Form: docs/spec/crypto.md 5.2, or several numbers in a row, or a row of a table (A16, L7), or a title in quotes.

// What can be cited in a document by number.
const std::set<std::string>& anchors_of(const std::string& document) {
  static std::map<std::string, std::set<std::string>> known;
  const auto [it, fresh] = known.try_emplace(document);
  if (!fresh) return it->second;
  static const std::regex heading(R"(^#+ (\d+(?:\.\d+)*)\.? .*)"), row(R"(^\| ([AL]\d+) \|.*)");
  for (const auto& line : lines_of(slurp(kRoot / document))) {
    std::smatch m;
    if (std::regex_match(line, m, heading) || std::regex_match(line, m, row)) it->second.insert(m[1]);
  }
  return it->second;
}

// Citations in `text` that lead nowhere. `in_spec`: pages of docs/spec name each other without the folder.
std::vector<std::string> dead_citations(const std::string& text, bool in_spec, std::size_t& checked) {
  static const std::regex line_end(R"(\n\s*(?://+ ?|# )?)");
  static const std::regex citation(R"rx((docs/[\w/-]+\.md|\b(?:crypto|interfaces|pkcs11)\.md))rx"
                                   R"rx(((?:(?:[:,]? | to | and )(?:\d+(?:\.\d+)*|[AL]\d+)\b)*)(?:, "([^"]+)")?)rx");
  static const std::regex number(R"(\d+(?:\.\d+)*|[AL]\d+)");
  std::vector<std::string> out;
  const std::string flat = std::regex_replace(text, line_end, " ");
  for (std::sregex_iterator i(flat.begin(), flat.end(), citation), end; i != end; ++i) {
    std::string document = (*i)[1];
    if (!document.starts_with("docs/")) {
      if (!in_spec) continue;
      document.insert(0, "docs/spec/");
    }
    ++checked;
    if (!fs::exists(kRoot / document)) {
      out.push_back(document + " does not exist");
      continue;
    }
    const std::string numbers = (*i)[2], title = (*i)[3];
    for (std::sregex_iterator n(numbers.begin(), numbers.end(), number); n != end; ++n)
      if (anchors_of(document).count(n->str()) == 0) out.push_back(document + " has no " + n->str());
    if (!title.empty() && slurp(kRoot / document).find(title) == std::string::npos)
      out.push_back(document + " does not say \"" + title + "\"");
  }
  return out;
}

// Every file of the source tree: what a build or a run of the programs leaves there is not looked at.
std::vector<fs::path> tree() {
  std::vector<fs::path> out;
  for (auto i = fs::recursive_directory_iterator(kRoot); i != fs::recursive_directory_iterator(); ++i) {
    const std::string name = i->path().filename().string();
    if (i.depth() == 0 && (name == "build" || name == "var" || name.starts_with('.')))
      i.disable_recursion_pending();
    else if (i->is_regular_file())
      out.push_back(i->path());
  }
  return out;
}

TEST(House, CitationsLeadSomewhere) {
  std::size_t checked = 0;
  for (const char* dead : {"docs/no-such-page.md", "docs/spec/crypto.md 5.99", "docs/spec/crypto.md 5.1,\n// 99",
                           "docs/spec/crypto.md A99", "docs/spec/interfaces.md 4.2, \"no such words\""})
    EXPECT_EQ(dead_citations(dead, false, checked).size(), 1U) << dead;
  EXPECT_TRUE(dead_citations("docs/spec/crypto.md 4.6 to 4.8 and 6.1, A16.", false, checked).empty());
  EXPECT_EQ(dead_citations("see interfaces.md 99", true, checked).size(), 1U);
  checked = 0;
  const std::set<std::string> kinds{".cpp", ".hpp", ".sv", ".py", ".md", ".txt", ".json"};
  for (const auto& p : tree()) {
    const std::string rel = in_tree(p);
    if (kinds.count(p.extension().string()) == 0 || rel == "tests/house/test_house.cpp") continue;
    const std::string text = slurp(p);
    if (text.find(".md") == std::string::npos) continue;
    for (const auto& dead : dead_citations(text, rel.starts_with("docs/spec/"), checked))
      ADD_FAILURE() << rel << ": " << dead;
  }
  EXPECT_GT(checked, 250U) << "the search finds too little";
}

// The comment of a line; none where // stands in a string.
std::string comment_of(const std::string& line) {
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\')
      ++i;
    else if (line[i] == '\'' && i + 2 < line.size() && line[i + 2] == '\'')
      i += 2;
    else if (line[i] == '"')
      quoted = !quoted;
    else if (!quoted && line.compare(i, 2, "//") == 0)
      return line.substr(i + 2);
  }
  return {};
}

TEST(House, CommentsNameNoFileThatIsNotHere) {
  std::vector<std::string> files;
  for (const auto& p : tree()) files.push_back("/" + in_tree(p));
  const auto here = [&](const std::string& name) {
    return std::ranges::any_of(files, [&](const auto& f) { return f.ends_with("/" + name); });
  };
  const std::regex file(R"([A-Za-z0-9_][A-Za-z0-9_./-]*\.(?:md|hpp|cpp|sv|py)\b)");
  // Sections of a page that is not named. Ln by itself is good beside the table of lessons, in tests/hsm.
  const std::regex bare(R"(\b(?:crypto|interfaces) (?:section )?\d|\b[Rr]ule \d|(?:^ |\()A\d+(?:[:)]|$)|sgp02-)");
  const std::regex lesson(R"((?:^ |\()L\d+(?:[:,)]|$))");
  for (const char* bad :
       {"as crypto 5.2 has it", "(interfaces 4.2)", "rule 11: a card fault", " A8: accepted", "(A13)"})
    EXPECT_TRUE(std::regex_search(bad, bare)) << bad;
  EXPECT_FALSE(here("no-such-file.md"));
  EXPECT_EQ(comment_of(R"(f("http://x");  // y)"), " y");
  std::size_t checked = 0;
  for (const auto& p : sources()) {
    const std::string rel = in_tree(p);
    for (const auto& line : lines_of(slurp(p))) {
      const std::string comment = comment_of(line);
      if (comment.empty()) continue;
      EXPECT_FALSE(std::regex_search(comment, bare)) << rel << " cites a section without its page:" << comment;
      EXPECT_FALSE(!rel.starts_with("tests/hsm/") && std::regex_search(comment, lesson))
          << rel << " cites a lesson without its page:" << comment;
      for (std::sregex_iterator i(comment.begin(), comment.end(), file), end; i != end; ++i) {
        ++checked;
        EXPECT_TRUE(here(i->str())) << rel << " names " << i->str() << ", which is not in the tree:" << comment;
      }
    }
  }
  EXPECT_GT(checked, 250U) << "the search finds too little";
}

}  // namespace
