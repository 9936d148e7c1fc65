#include "host/es/xml.hpp"

#include <algorithm>
#include <array>

#include "host/base/ids.hpp"
#include "host/base/text.hpp"

namespace kf::es {
namespace {

constexpr std::string_view kXmlNs = "http://www.w3.org/XML/1998/namespace";

std::string_view trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\n\r";
  const std::size_t from = s.find_first_not_of(kSpace);
  if (from == std::string_view::npos) return {};
  return s.substr(from, s.find_last_not_of(kSpace) - from + 1);
}

bool digits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

constexpr std::array<std::uint8_t, 256> make_hex_table() {
  std::array<std::uint8_t, 256> t{};
  for (auto& v : t) v = 0xFF;
  for (unsigned i = 0; i < 10; ++i) t['0' + i] = static_cast<std::uint8_t>(i);
  for (unsigned i = 0; i < 6; ++i) t['A' + i] = t['a' + i] = static_cast<std::uint8_t>(10 + i);
  return t;
}
constexpr auto kHexValue = make_hex_table();

}  // namespace

bool same_letters(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  if (a == b) return true;
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}

std::string clip(std::string_view s, std::size_t max) {
  if (s.size() <= max) return std::string(s);
  return clip_text(s, max) + "...";
}

Error schema_error(std::string detail) { return Error{"schema", std::move(detail)}; }

// --- document ---

Status Document::load(std::string_view xml) {
  if (xml.starts_with("\xEF\xBB\xBF")) xml.remove_prefix(3);
  KF_CHECK(check_document(xml));
  text_ = xml;
  copy_.assign(xml);
  const auto r = doc_.load_buffer_inplace(copy_.data(), copy_.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!r) return Error{"bad-xml", std::string(r.description()) + " at octet " + std::to_string(r.offset)};
  if (!doc_.document_element()) return Error{"bad-xml", "there is no document element"};
  return {};
}

std::string_view Document::raw_content(pugi::xml_node element) const {
  // check_document() has seen that every tag is closed and every quote, comment and section ends.
  const std::string_view s = text_;
  std::size_t at = static_cast<std::size_t>(element.offset_debug());
  const auto tag_end = [&](std::size_t i) {  // i inside a start tag; index of its '>'
    for (; s[i] != '>'; ++i) {
      if (s[i] == '"' || s[i] == '\'') i = s.find(s[i], i + 1);
    }
    return i;
  };
  at = tag_end(at);
  if (s[at - 1] == '/') return {};
  const std::size_t from = at + 1;
  std::size_t depth = 1;
  while (true) {
    at = s.find('<', at + 1);
    if (s.substr(at, 4) == "<!--") {
      at = s.find("-->", at + 4) + 2;
    } else if (s.substr(at, 9) == "<![CDATA[") {
      at = s.find("]]>", at + 9) + 2;
    } else if (s[at + 1] == '?') {
      at = s.find("?>", at + 2) + 1;
    } else if (s[at + 1] == '/') {
      if (--depth == 0) return s.substr(from, at - from);
    } else {
      at = tag_end(at);
      if (s[at - 1] != '/') ++depth;
    }
  }
}

// --- namespaces ---

std::pair<std::string_view, std::string_view> split_qname(std::string_view q) {
  const std::size_t colon = q.find(':');
  if (colon == std::string_view::npos) return {{}, q};
  return {q.substr(0, colon), q.substr(colon + 1)};
}

bool is_binding(std::string_view attribute, std::string_view& prefix) {
  if (!attribute.starts_with("xmlns")) return false;
  if (attribute.size() == 5) {
    prefix = {};
    return true;
  }
  if (attribute[5] != ':') return false;
  prefix = attribute.substr(6);
  return true;
}

namespace {
thread_local std::uint64_t steps = 0;
}
std::uint64_t namespace_steps() { return steps; }
void count_namespace_steps(std::size_t n) { steps += n; }

Scope::Scope(const Scope& parent, pugi::xml_node element) : parent_(&parent) {
  std::string_view prefix;
  for (const pugi::xml_attribute a : element.attributes()) {
    if (!is_binding(a.name(), prefix)) continue;
    std::string_view bound = a.value();
    if (bound.empty() && !prefix.empty()) bound = {};  // xmlns:p="" binds nothing
    own_.push_back({prefix, bound});
  }
  in_force_ = parent.in_force_ + own_.size();
}

std::vector<std::pair<std::string_view, std::string_view>> Scope::in_force() const {
  std::vector<std::pair<std::string_view, std::string_view>> out;
  for (const Scope* s = this; s != nullptr; s = s->parent_) {
    for (const Binding& b : s->own_) {
      count_namespace_steps(out.size());
      if (std::ranges::none_of(out, [&](const auto& x) { return x.first == b.prefix; }))
        out.emplace_back(b.prefix, b.uri);
    }
  }
  return out;
}

std::string_view Scope::uri(std::string_view prefix) const {
  if (cached_ && prefix == last_prefix_) return last_uri_;
  const auto mine = std::find_if(own_.begin(), own_.end(), [&](const Binding& b) { return b.prefix == prefix; });
  count_namespace_steps(own_.size());
  std::string_view found;
  if (mine != own_.end())
    found = mine->uri;
  else if (parent_ != nullptr)
    found = parent_->uri(prefix);
  else if (prefix.empty())
    found = "";
  else if (prefix == "xml")
    found = kXmlNs;
  cached_ = true;
  last_prefix_ = prefix;
  last_uri_ = found;
  return found;
}

Result<Name> Scope::name_of(pugi::xml_node child) const {
  if (in_force_ > kMaxNamespaces)
    return Error{"bad-xml", "more than " + std::to_string(kMaxNamespaces) + " namespace declarations in force"};
  const auto [prefix, local] = split_qname(child.name());
  const std::string_view ns = uri(prefix);
  if (ns.data() == nullptr) return Error{"bad-xml", "namespace prefix " + clip(prefix) + " is not bound"};
  return Name{ns, local};
}

void Context::ignored(const Name& n) const {
  if (unknown.size() >= kMaxUnknown) return;
  const auto known = [&](const std::string& u) {  // looked at a hundred thousand times, so nothing is put together
    if (n.ns == ns) return u == n.local;
    return u.size() == n.ns.size() + n.local.size() + 2 && u.starts_with('{') && u.ends_with(n.local) &&
           std::string_view(u).substr(1, n.ns.size()) == n.ns;
  };
  if (std::any_of(unknown.begin(), unknown.end(), known)) return;
  std::string s;
  if (n.ns != ns) s.append("{").append(clip(n.ns)).append("}");
  s.append(clip(n.local));
  if (std::find(unknown.begin(), unknown.end(), s) == unknown.end()) unknown.push_back(std::move(s));
}

// --- elements ---

Result<std::size_t> Sequence::next(std::string_view name) {
  const auto fits = [name](const Rule& r) {
    return same_letters(name, r.name) || (!r.alias.empty() && same_letters(name, r.alias));
  };
  std::size_t i = next_;
  while (i < rules_.size() && !fits(rules_[i])) ++i;
  if (i == rules_.size()) {
    for (i = 0; i < next_ && !fits(rules_[i]);) ++i;
    if (i == next_) return rules_.size();
  }
  const std::uint64_t bit = std::uint64_t{1} << i;
  if ((seen_ & bit) != 0 && !rules_[i].many) return schema_error(std::string(rules_[i].name) + " occurs twice");
  seen_ |= bit;
  next_ = i;
  return i;
}

Status Sequence::finish() const {
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    if (rules_[i].required && (seen_ >> i & 1) == 0) return schema_error(std::string(rules_[i].name) + " is missing");
  }
  return {};
}

Result<std::string_view> Element::text(std::string& scratch) const {
  const pugi::xml_node first = node.first_child();
  if (!first) return std::string_view("");
  if (first.type() != pugi::node_element && !first.next_sibling()) return trim(first.value());
  scratch.clear();
  for (const pugi::xml_node n : node.children()) {
    if (n.type() == pugi::node_element) return schema_error(std::string(name) + " must hold text only");
    scratch += n.value();
  }
  return trim(scratch);
}

bool Element::blank() const {
  for (const pugi::xml_node n : node.children()) {
    if (n.type() == pugi::node_element || !trim(n.value()).empty()) return false;
  }
  return true;
}

Status read_text(const Element& e, std::string& out, std::size_t max) {
  out.clear();
  std::string scratch;
  KF_TRY(const std::string_view t, e.text(scratch));
  if (t.size() > max) return schema_error(std::string(e.name) + " is longer than " + std::to_string(max) + " octets");
  out.assign(t);
  return {};
}

Status read_bool(const Element& e, bool& out) {
  std::string scratch;
  KF_TRY(const std::string_view t, e.text(scratch));
  if (t == "true" || t == "1")
    out = true;
  else if (t == "false" || t == "0")
    out = false;
  else
    return schema_error(std::string(e.name) + " must be true, false, 1 or 0");
  return {};
}

namespace {
// An integer as XML Schema writes it: leading '+' and zeros are allowed. Values over 64 bits stay at the maximum.
bool parse_unsigned(std::string_view t, std::uint64_t& out) {
  if (t.starts_with('+')) t.remove_prefix(1);
  if (!digits(t)) return false;
  out = 0;
  for (char c : t) {
    const auto d = static_cast<std::uint64_t>(c - '0');
    out = out > (UINT64_MAX - d) / 10 ? UINT64_MAX : out * 10 + d;
  }
  return true;
}
}  // namespace

Status read_uint(const Element& e, std::uint64_t& out) {
  std::string scratch;
  KF_TRY(const std::string_view t, e.text(scratch));
  if (!parse_unsigned(t, out) || out == UINT64_MAX) {
    return schema_error(std::string(e.name) + " must be a non-negative integer");
  }
  return {};
}

Status read_period(const Element& e, std::optional<std::uint32_t>& out) {
  std::string scratch;
  KF_TRY(const std::string_view t, e.text(scratch));
  std::uint64_t v = 0;
  if (!parse_unsigned(t, v) || v == 0) return schema_error(std::string(e.name) + " must be a positive integer");
  out = static_cast<std::uint32_t>(std::min<std::uint64_t>(v, UINT32_MAX));
  return {};
}

Result<Bytes> decode_hex(std::string_view s) {
  if (s.size() % 2 != 0) return Error{"bad-hex", "odd number of hex digits"};
  Bytes out(s.size() / 2);
  unsigned bad = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const unsigned hi = kHexValue[static_cast<unsigned char>(s[2 * i])];
    const unsigned lo = kHexValue[static_cast<unsigned char>(s[2 * i + 1])];
    bad |= hi | lo;
    out[i] = static_cast<std::uint8_t>(hi << 4 | lo);
  }
  if (bad > 15) return Error{"bad-hex", "character that is not a hex digit"};
  return out;
}

Status read_hex(const Element& e, Bytes& out) {
  std::string scratch;
  KF_TRY(const std::string_view t, e.text(scratch));
  auto b = decode_hex(t);
  if (!b) return schema_error(std::string(e.name) + " must be hexBinary: " + b.error().detail);
  out = std::move(b).value();
  return {};
}

Status read_hex_text(const Element& e, std::string& out, std::size_t min, std::size_t max) {
  Bytes b;
  KF_CHECK(read_hex(e, b));
  if (b.size() < min || b.size() > max) {
    return schema_error(std::string(e.name) + " must be of " + std::to_string(min) + " to " + std::to_string(max) +
                        " bytes");
  }
  out = to_hex(b);
  return {};
}

Status read_aid(const Element& e, std::string& out) { return read_hex_text(e, out, 5, 16); }

Status read_oid(const Element& e, std::string& out) {
  KF_CHECK(read_text(e, out));
  if (!parse_oid(out)) return schema_error(std::string(e.name) + " must be a dotted object identifier");
  return {};
}

// Check digits are not the codec's business: a wrong one is a FAILED answer, not a fault (docs/spec/interfaces.md 6.1).
Status read_eid(const Element& e, std::string& out) {
  KF_CHECK(read_text(e, out));
  if (out.size() == 32 && digits(out)) return {};
  return schema_error(std::string(e.name) + " must be 32 digits");
}

Status read_iccid(const Element& e, std::string& out) {
  KF_CHECK(read_text(e, out));
  if (out.size() <= 20 && iccid_value(out).size() >= 6 && digits(iccid_value(out))) return {};
  return schema_error(std::string(e.name) + " must be 6 to 20 digits, padded with F or not");
}

// yyyy-mm-ddThh:mm:ss (years of more digits and before our era exist), then a fraction and a zone or not. Values of the
// fields only as far as they cannot be dates.
Status read_date_time(const Element& e, std::string& out) {
  KF_CHECK(read_text(e, out));
  const Error bad = schema_error(std::string(e.name) + " must be a dateTime");
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
  std::string_view t = out;
  if (t.starts_with('-')) t.remove_prefix(1);
  const std::size_t year = std::min(t.find('-'), t.size());
  if (year < 4 || year > 9 || !digits(t.substr(0, year))) return bad;
  t.remove_prefix(year - 4);
  if (t.size() < kForm.size()) return bad;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    if (kForm[i] == 'd' ? t[i] < '0' || t[i] > '9' : t[i] != kForm[i]) return bad;
  }
  const auto two = [&](std::size_t i) { return (t[i] - '0') * 10 + (t[i + 1] - '0'); };
  if (two(5) < 1 || two(5) > 12 || two(8) < 1 || two(8) > 31 || two(11) > 24 || two(14) > 59 || two(17) > 60)
    return bad;
  t.remove_prefix(kForm.size());
  if (t.starts_with('.')) {
    std::size_t n = 1;
    while (n < t.size() && t[n] >= '0' && t[n] <= '9') ++n;
    if (n == 1) return bad;
    t.remove_prefix(n);
  }
  const bool zone =
      t.size() == 6 && (t[0] == '+' || t[0] == '-') && t[3] == ':' && digits(t.substr(1, 2)) && digits(t.substr(4));
  if (!t.empty() && t != "Z" && !zone) return bad;
  return {};
}

void append_escaped(std::string& out, std::string_view s) {
  for (std::size_t i = 0; i < s.size();) {
    std::size_t run = i;  // the common case: a stretch of plain characters
    while (run < s.size() && s[run] >= 0x20 && s[run] != '&' && s[run] != '<' && s[run] != '>' && s[run] != '"') ++run;
    out.append(s, i, run - i);
    i = run;
    if (i == s.size()) return;
    const std::size_t n = xml_char(s.substr(i, 4));
    switch (s[i]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\r':
        out += "&#13;";
        break;
      default:
        n == 0 ? out += '?' : out.append(s, i, n);
        break;
    }
    i += std::max<std::size_t>(n, 1);
  }
}

}  // namespace kf::es
