#include "tests/vectors/runner.hpp"

#include <fstream>
#include <ostream>

namespace kf::vectors {

bool Fields::has(const std::string& key) const {
  seen_.insert(key);
  return j_.is_object() && j_.contains(key) && !j_[key].is_null();
}
const Json& Fields::at(const std::string& key) const {
  if (!has(key)) throw Mismatch("the file has no " + name_ + "." + key);
  return j_[key];
}
Bytes Fields::bytes(const std::string& key) const {
  return value_of(from_hex(at(key).get<std::string>()), key.c_str());
}
std::optional<Bytes> Fields::maybe(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  return bytes(key);
}
std::string Fields::text(const std::string& key) const { return at(key).get<std::string>(); }
std::size_t Fields::number(const std::string& key) const { return at(key).get<std::size_t>(); }
std::uint8_t Fields::octet(const std::string& key) const { return fixed<1>(bytes(key))[0]; }
std::vector<Bytes> Fields::list(const std::string& key) const {
  std::vector<Bytes> out;
  for (const Json& e : at(key)) out.push_back(value_of(from_hex(e.get<std::string>()), key.c_str()));
  return out;
}
std::vector<std::string> Fields::keys() const {
  std::vector<std::string> out;
  if (j_.is_object())
    for (const auto& [k, v] : j_.items()) out.push_back(k);
  return out;
}
void Fields::expect(const std::string& key, ByteView got) const {
  seen_.insert(key);
  if (!j_.is_object() || !j_.contains(key)) return;
  if (j_[key].is_null()) throw Mismatch(name_ + "." + key + " is null, got " + to_hex(got));
  same(name_ + "." + key, got, bytes(key));
}
void Fields::expect_text(const std::string& key, const std::string& got) const {
  seen_.insert(key);
  if (!j_.is_object() || !j_.contains(key)) return;
  const std::string want = j_[key].is_null()     ? "null"
                           : j_[key].is_string() ? j_[key].get<std::string>()
                                                 : j_[key].dump();
  if (got != want) throw Mismatch(name_ + "." + key + ": got " + got + ", the file has " + want);
}
void Fields::expect_list(const std::string& key, const std::vector<Bytes>& got) const {
  if (!has(key)) return;
  const std::vector<Bytes> want = list(key);
  if (got.size() != want.size())
    throw Mismatch(name_ + "." + key + ": got " + std::to_string(got.size()) + " entries, the file has " +
                   std::to_string(want.size()));
  for (std::size_t i = 0; i < got.size(); ++i) same(name_ + "." + key + "[" + std::to_string(i) + "]", got[i], want[i]);
}
void Fields::all_looked_at() const {
  for (const std::string& k : keys())
    if (!seen_.contains(k)) throw Mismatch("nobody compares " + name_ + "." + k);
}

Curve curve_of(const Fields& f, const std::string& key) {
  const auto c = curve_by_name(f.text(key));
  if (!c) throw Mismatch("unknown curve " + f.text(key));
  return *c;
}
void need(const VectorEngine& e, Curve c) {
  if (!e.carries(c)) throw Skip(std::string(e.name()) + " does not carry " + std::string(curve_name(c)));
}
void same(const std::string& what, ByteView got, ByteView wanted) {
  if (!std::equal(got.begin(), got.end(), wanted.begin(), wanted.end()))
    throw Mismatch(what + ": got " + to_hex(got) + ", the file has " + to_hex(wanted));
}

void same_verdict_on_point(VectorEngine& e, Curve c, ByteView encoded, bool accepted) {
  if (encoded.size() != 65 || encoded[0] != 4 || !e.carries(c)) return;  // no pair of coordinates
  Point q{};
  std::copy(encoded.begin(), encoded.end(), q.begin());
  if (const auto verdict = e.accepts_point(c, q); verdict && *verdict != accepted)
    throw Mismatch(std::string(e.name()) + (*verdict ? " takes" : " refuses") +
                   " a point that the product judges otherwise");
}
void same_verdict_on_scalar(VectorEngine& e, Curve c, ByteView d, bool accepted) {
  if (d.size() != 32 || !e.carries(c)) return;
  Scalar s{};
  std::copy(d.begin(), d.end(), s.begin());
  if (const auto verdict = e.accepts_scalar(c, s); verdict && *verdict != accepted)
    throw Mismatch(std::string(e.name()) + (*verdict ? " takes" : " refuses") +
                   " a scalar that the product judges otherwise");
}

const std::map<std::string, GroupFunction>& groups() {
  static const std::map<std::string, GroupFunction> all = [] {
    std::map<std::string, GroupFunction> g;
    add_crypto_groups(g);
    add_pki_groups(g);
    add_es8_groups(g);
    add_public_groups(g);
    return g;
  }();
  return all;
}

void Runner::failed(const std::string& group, const std::string& file, const std::string& id, const std::string& why) {
  ++counts_[group].failed;
  err_ << "MISMATCH " << file << " " << id << ": " << why << "\n";
}
void Runner::skipped(const std::string& group, const std::string& why) {
  ++counts_[group].skipped;
  ++why_skipped_[group][why];
}

void Runner::unknown(const std::string& file, const std::string& what, std::size_t cases) {
  err_ << "UNKNOWN GROUP " << file << ": " << what << " (" << cases << " cases)\n";
  unknown_group_ = true;
  unknown_cases_ += cases;
}
void Runner::unreadable(const std::string& file, const std::string& why) {
  err_ << "UNREADABLE " << file << ": " << why << "\n";
  broken_file_ = true;
}

void Runner::run_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const Json file = in ? Json::parse(in, nullptr, false) : Json();
  if (!file.is_object()) {
    return unreadable(path, in ? "not a JSON object" : "cannot be opened");
  }
  try {
    if (file.contains("cases")) {
      run_ours(path, file);
    } else if (!run_wycheproof(path, file, engine_, *this)) {
      unknown(path, "neither our schema nor Wycheproof's", 0);
    }
  } catch (const std::exception& e) {  // a file that breaks its own schema
    unreadable(path, e.what());
  }
}

void Runner::run_ours(const std::string& path, const Json& file) {
  static const Json kNothing;
  std::map<std::string, std::size_t> strangers;
  for (const Json& c : file.at("cases")) {
    const std::string id = c.value("id", "(no id)");
    const std::string group = c.contains("kind") ? c["kind"].get<std::string>() : file.value("group", "(no group)");
    const auto f = groups().find(group);
    if (f == groups().end()) {
      ++strangers[group];
      continue;
    }
    const bool valid = c.at("valid").get<bool>();
    Case k{c, file, Fields(c.contains("in") ? c["in"] : kNothing, "in"),
           Fields(c.contains("out") ? c["out"] : kNothing, "out"), engine_};
    try {
      std::string reason = f->second(k);
      if (valid) {
        if (!reason.empty()) throw Mismatch("a valid case was refused: " + reason);
        k.out.all_looked_at();
      } else {
        const std::string want = c.value("reason", "");
        if (reason.empty()) throw Mismatch("accepted, but the file wants " + want);
        // The chain prefixes what concerns the EUM certificate; the files name the check only.
        if (reason != want && reason.starts_with("eum:")) reason = reason.substr(4);
        if (reason != want) throw Mismatch("refused for " + reason + ", the file wants " + want);
      }
      passed(group);
    } catch (const Skip& e) {
      skipped(group, e.what());
    } catch (const std::exception& e) {
      failed(group, path, id, e.what());
    }
  }
  for (const auto& [group, cases] : strangers) unknown(path, group, cases);
}

void Runner::report() {
  for (const auto& [group, n] : counts_) {
    out_ << group << ": " << n.passed << " passed, " << n.failed << " failed, " << n.skipped << " skipped";
    const char* separator = " (";
    for (const auto& [why, times] : why_skipped_[group]) {
      out_ << separator << times << ": " << why;
      separator = "; ";
    }
    if (!why_skipped_[group].empty()) out_ << ")";
    out_ << "\n";
  }
  if (unknown_group_) out_ << "of groups that this tool does not know: " << unknown_cases_ << " cases, not run\n";
  if (const std::string remarks = engine_.remarks(); !remarks.empty()) out_ << remarks << "\n";
}

int Runner::exit_status() const {
  if (broken_file_) return 1;
  for (const auto& [group, n] : counts_)
    if (n.failed > 0) return 1;
  return unknown_group_ ? 2 : 0;
}

}  // namespace kf::vectors
