// Reads vector files, runs each case, counts. A case function returns the reason of the refusal, or "" when everything
// was accepted and matched; a wrong byte is thrown as Mismatch (this is a test tool: nothing here is linked into the
// product).
#pragma once

#include <iosfwd>
#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

#include "host/base/bytes.hpp"
#include "tests/vectors/engine.hpp"

namespace kf::vectors {

using Json = nlohmann::json;

struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Skip : std::runtime_error {  // the engine does not carry the curve, or an option the product does not have
  using std::runtime_error::runtime_error;
};

// One side of a case ("in" or "out"). Every member of "out" must be looked at: a field nobody compares is a mismatch.
class Fields {
 public:
  Fields(const Json& object, std::string name) : j_(object), name_(std::move(name)) {}
  [[nodiscard]] bool has(const std::string& key) const;  // present and not null
  [[nodiscard]] const Json& at(const std::string& key) const;
  [[nodiscard]] Bytes bytes(const std::string& key) const;
  [[nodiscard]] std::optional<Bytes> maybe(const std::string& key) const;
  [[nodiscard]] std::string text(const std::string& key) const;
  [[nodiscard]] std::size_t number(const std::string& key) const;
  [[nodiscard]] std::uint8_t octet(const std::string& key) const;
  [[nodiscard]] std::vector<Bytes> list(const std::string& key) const;
  [[nodiscard]] std::vector<std::string> keys() const;
  void expect(const std::string& key, ByteView got) const;  // when present; Mismatch on a difference
  void expect_text(const std::string& key, const std::string& got) const;
  void expect_list(const std::string& key, const std::vector<Bytes>& got) const;
  void all_looked_at() const;

 private:
  const Json& j_;
  std::string name_;
  mutable std::set<std::string> seen_;
};

struct Case {
  const Json& json;  // the case itself
  const Json& file;  // the whole file, for cases that continue another
  Fields in, out;
  VectorEngine& engine;
};

using GroupFunction = std::string (*)(Case&);
const std::map<std::string, GroupFunction>& groups();  // our schema: by "group" or "kind"
void add_crypto_groups(std::map<std::string, GroupFunction>& g);
void add_pki_groups(std::map<std::string, GroupFunction>& g);
void add_es8_groups(std::map<std::string, GroupFunction>& g);
void add_public_groups(std::map<std::string, GroupFunction>& g);

// Shared by the groups.
Curve curve_of(const Fields& f, const std::string& key = "curve");
void need(const VectorEngine& e, Curve c);  // Skip when the engine does not carry it
void same(const std::string& what, ByteView got, ByteView wanted);
// The engine's own checks, where it has some, must judge raw input as the product does; Mismatch otherwise.
void same_verdict_on_point(VectorEngine& e, Curve c, ByteView encoded, bool accepted);
void same_verdict_on_scalar(VectorEngine& e, Curve c, ByteView d, bool accepted);
template <class T>
T value_of(Result<T> r, const char* what) {
  if (!r) throw Mismatch(std::string(what) + ": " + r.error().text());
  return std::move(r).value();
}
template <std::size_t N>
std::array<std::uint8_t, N> fixed(const Bytes& b) {
  if (b.size() != N)
    throw Mismatch("expected " + std::to_string(N) + " bytes, the file has " + std::to_string(b.size()));
  std::array<std::uint8_t, N> a{};
  std::copy(b.begin(), b.end(), a.begin());
  return a;
}

struct Count {
  std::size_t passed = 0, failed = 0, skipped = 0;
};
class Runner {
 public:
  Runner(VectorEngine& e, std::ostream& out, std::ostream& err) : engine_(e), out_(out), err_(err) {}
  void run_file(const std::string& path);
  void report();                          // one line per group
  [[nodiscard]] int exit_status() const;  // 0, 1 mismatch or unreadable file, else 2 unknown group
  // For the Wycheproof schemas (wycheproof.cpp): counts one case of a group.
  void passed(const std::string& group) { ++counts_[group].passed; }
  void failed(const std::string& group, const std::string& file, const std::string& id, const std::string& why);
  void skipped(const std::string& group, const std::string& why);
  void unknown(const std::string& file, const std::string& what, std::size_t cases);  // the others go on
  void unreadable(const std::string& file, const std::string& why);

 private:
  void run_ours(const std::string& path, const Json& file);
  VectorEngine& engine_;
  std::ostream& out_;
  std::ostream& err_;
  std::map<std::string, Count> counts_;
  std::map<std::string, std::map<std::string, std::size_t>> why_skipped_;
  std::size_t unknown_cases_ = 0;
  bool broken_file_ = false, unknown_group_ = false;
};

// True when the file is of one of Wycheproof's schemas; false: not known.
bool run_wycheproof(const std::string& path, const Json& file, VectorEngine& engine, Runner& r);

}  // namespace kf::vectors
