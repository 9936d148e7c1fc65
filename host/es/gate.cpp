// The gate in front of pugixml: check_document().
#include <algorithm>
#include <array>
#include <cstring>

#include "host/es/xml.hpp"

namespace kf::es {
namespace {

bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool name_char(char c) { return name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':'; }

Status bad(std::string what) { return Error{"bad-xml", std::move(what)}; }

// Every octet belongs to a permitted character. Eight plain ASCII octets at a time: all but a few are.
Status check_characters(std::string_view s) {
  std::size_t i = 0;
  while (i < s.size()) {
    while (i + 8 <= s.size()) {
      std::uint64_t w = 0;
      std::memcpy(&w, s.data() + i, 8);
      constexpr std::uint64_t kHigh = 0x8080808080808080U;
      constexpr std::uint64_t kSpace = 0x2020202020202020U;
      // No octet over 7F, and none under 20: for octets under 80 the subtraction borrows into bit 7 exactly then.
      if (((w | (w - kSpace)) & kHigh) != 0) break;
      i += 8;
    }
    for (std::size_t n = 0; n < 8 && i < s.size(); ++n) {
      const std::size_t len = xml_char(s.substr(i, 4));
      if (len == 0) return bad("octet " + std::to_string(i) + " is not UTF-8 text that XML permits");
      i += len;
    }
  }
  return {};
}

class Gate {
 public:
  explicit Gate(std::string_view s) : s_(s) {}

  Status run() {
    KF_CHECK(declaration());
    while (at_ < s_.size()) {
      if (s_[at_] != '<') {
        KF_CHECK(text());
      } else if (starts("<!--")) {
        KF_CHECK(comment());
      } else if (starts("<![CDATA[")) {
        if (depth_ == 0) return bad("CDATA outside the document element");
        KF_CHECK(skip_past("]]>", 9, "CDATA section"));
      } else if (starts("<!")) {
        return bad("document type declarations and entities are not accepted");
      } else if (starts("<?")) {
        KF_CHECK(instruction());
      } else if (starts("</")) {
        KF_CHECK(end_tag());
      } else {
        KF_CHECK(start_tag());
      }
    }
    if (depth_ != 0) return bad("the document ends inside element " + clip(open_[depth_ - 1]));
    if (!root_) return bad("there is no document element");
    return {};
  }

 private:
  [[nodiscard]] bool starts(std::string_view p) const { return s_.substr(at_, p.size()) == p; }
  [[nodiscard]] char peek() const { return at_ < s_.size() ? s_[at_] : '\0'; }
  bool skip_space() {
    const std::size_t from = at_;
    while (space(peek())) ++at_;
    return at_ != from;
  }
  Status skip_past(std::string_view end, std::size_t from, const char* what) {
    const std::size_t e = s_.find(end, at_ + from);
    if (e == std::string_view::npos) return bad(std::string(what) + " without end");
    at_ = e + end.size();
    return {};
  }

  Result<std::string_view> name() {
    const std::size_t from = at_;
    std::size_t colons = 0;
    if (!name_start(peek())) return Error{"bad-xml", "a name was expected at octet " + std::to_string(at_)};
    for (; name_char(peek()); ++at_) {
      if (s_[at_] == ':' && (++colons > 1 || at_ + 1 >= s_.size() || !name_start(s_[at_ + 1]))) {
        return Error{"bad-xml", "colon out of place at octet " + std::to_string(at_)};
      }
    }
    if (at_ - from > kMaxName) return Error{"bad-xml", "a name of more than " + std::to_string(kMaxName) + " octets"};
    return s_.substr(from, at_ - from);
  }

  Result<std::string_view> quoted() {
    const char q = peek();
    if (q != '"' && q != '\'') return Error{"bad-xml", "a quote was expected at octet " + std::to_string(at_)};
    const std::size_t e = s_.find(q, at_ + 1);
    if (e == std::string_view::npos) return Error{"bad-xml", "attribute value without end"};
    const std::string_view v = s_.substr(at_ + 1, e - at_ - 1);
    at_ = e + 1;
    return v;
  }

  // name S? '=' S? quoted
  Status pair(std::string_view& key, std::string_view& value) {
    KF_TRY(key, name());
    skip_space();
    if (peek() != '=') return bad("attribute " + clip(key) + " has no value");
    ++at_;
    skip_space();
    KF_TRY(value, quoted());
    return {};
  }

  Status declaration() {
    if (!starts("<?xml") || at_ + 5 >= s_.size() || !space(s_[5])) return {};
    at_ += 5;
    int stage = 0;  // version, encoding, standalone: in this order
    while (true) {
      const bool gap = skip_space();
      if (starts("?>")) break;
      if (!gap) return bad("malformed XML declaration");
      std::string_view key;
      std::string_view value;
      KF_CHECK(pair(key, value));
      if (key == "version" && stage == 0) {
        if (value != "1.0") return bad("XML version " + clip(value) + " is not accepted");
        stage = 1;
      } else if (key == "encoding" && stage == 1) {
        KF_CHECK(encoding(value));
        stage = 2;
      } else if (key == "standalone" && (stage == 1 || stage == 2) && (value == "yes" || value == "no")) {
        stage = 3;
      } else {
        return bad("malformed XML declaration");
      }
    }
    if (stage == 0) return bad("malformed XML declaration");
    at_ += 2;
    return {};
  }

  // A document that is ASCII in fact is UTF-8, whatever superset of ASCII its sender had in mind.
  [[nodiscard]] Status encoding(std::string_view name) const {
    if (same_letters(name, "UTF-8")) return {};
    if (!same_letters(name, "ISO-8859-1") && !same_letters(name, "US-ASCII"))
      return bad("encoding " + clip(name) + " is not accepted, only UTF-8");
    if (!is_ascii(s_)) return bad("encoding " + clip(name) + " is accepted for plain ASCII only; send UTF-8");
    return {};
  }

  Status comment() {
    const std::size_t e = s_.find("--", at_ + 4);
    if (e == std::string_view::npos) return bad("comment without end");
    if (s_.substr(e, 3) != "-->") return bad("'--' inside a comment");
    at_ = e + 3;
    return {};
  }

  Status instruction() {
    at_ += 2;
    KF_TRY(const std::string_view target, name());
    if (same_letters(target, "xml")) return bad("XML declaration out of place");
    if (!space(peek()) && !starts("?>")) return bad("malformed processing instruction");
    return skip_past("?>", 0, "processing instruction");
  }

  Status text() {
    const std::size_t e = std::min(s_.find('<', at_), s_.size());
    const std::string_view t = s_.substr(at_, e - at_);
    if (depth_ == 0) {
      for (char c : t) {
        if (!space(c)) return bad("text outside the document element");
      }
    } else {
      if (t.find("]]>") != std::string_view::npos) return bad("']]>' in text");
      KF_CHECK(references(t));
    }
    at_ = e;
    return {};
  }

  static Status references(std::string_view t) {
    for (std::size_t i = t.find('&'); i != std::string_view::npos; i = t.find('&', i + 1)) {
      const std::string_view r = t.substr(i + 1, 12);  // the longest legal one is much shorter
      const std::size_t end = r.find(';');
      if (end == std::string_view::npos) return bad("'&' that begins no reference");
      const std::string_view ref = r.substr(0, end);
      if (ref == "amp" || ref == "lt" || ref == "gt" || ref == "quot" || ref == "apos") continue;
      if (ref.size() < 2 || ref[0] != '#') return bad("entity &" + clip(ref) + "; is not accepted");
      const bool hex_form = ref[1] == 'x';
      const std::string_view digits = ref.substr(hex_form ? 2 : 1);
      std::uint32_t v = 0;
      if (digits.empty()) return bad("malformed character reference");
      for (char c : digits) {
        std::uint32_t d = 99;
        if (c >= '0' && c <= '9')
          d = static_cast<std::uint32_t>(c - '0');
        else if (hex_form && (c | 0x20) >= 'a' && (c | 0x20) <= 'f')
          d = static_cast<std::uint32_t>((c | 0x20) - 'a') + 10;
        if (d == 99) return bad("malformed character reference");
        v = v * (hex_form ? 16 : 10) + d;
        if (v > 0x10FFFF) return bad("character reference out of range");
      }
      const bool good =
          v == 9 || v == 10 || v == 13 || (v >= 0x20 && v < 0xD800) || (v >= 0xE000 && v < 0xFFFE) || v >= 0x10000;
      if (!good) return bad("reference to a character that XML does not permit");
    }
    return {};
  }

  Status start_tag() {
    ++at_;
    KF_TRY(const std::string_view n, name());
    if (depth_ == 0 && root_) return bad("a second document element");
    std::array<std::string_view, kMaxAttributes> keys;
    std::size_t count = 0;
    while (true) {
      const bool gap = skip_space();
      if (peek() == '>' || starts("/>")) break;
      if (!gap) return bad("malformed start tag of " + clip(n));
      if (count == keys.size()) return bad("more than " + std::to_string(kMaxAttributes) + " attributes on " + clip(n));
      std::string_view value;
      KF_CHECK(pair(keys[count], value));
      if (value.find('<') != std::string_view::npos) return bad("'<' in an attribute value");
      KF_CHECK(references(value));
      for (std::size_t i = 0; i < count; ++i) {
        if (keys[i] == keys[count]) return bad("attribute " + clip(keys[i]) + " occurs twice");
      }
      ++count;
    }
    root_ = true;
    // An empty element counts too: the limit is about elements, not about tags.
    if (depth_ == kMaxDepth) return bad("elements nested more than " + std::to_string(kMaxDepth) + " deep");
    if (peek() == '>') {
      open_[depth_++] = n;
      ++at_;
    } else {
      at_ += 2;
    }
    return {};
  }

  Status end_tag() {
    at_ += 2;
    KF_TRY(const std::string_view n, name());
    skip_space();
    if (peek() != '>') return bad("malformed end tag of " + clip(n));
    ++at_;
    if (depth_ == 0 || open_[depth_ - 1] != n) return bad("end tag " + clip(n) + " has no start tag");
    --depth_;
    return {};
  }

  std::string_view s_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  bool root_ = false;
  std::array<std::string_view, kMaxDepth> open_;
};

}  // namespace

std::size_t xml_char(std::string_view s) {
  if (s.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(s[i])); };
  const std::uint32_t a = byte(0);
  if (a < 0x80) return a >= 0x20 || a == 9 || a == 10 || a == 13 ? 1 : 0;
  const std::size_t n = a >= 0xF0 ? 4 : a >= 0xE0 ? 3 : 2;
  if (a < 0xC2 || a > 0xF4 || s.size() < n) return 0;
  std::uint32_t v = a & (0x7FU >> n);
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    v = v << 6 | (byte(i) & 0x3F);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (v < kLeast[n] || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000) || v == 0xFFFE || v == 0xFFFF) return 0;
  return n;
}

bool is_ascii(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Status check_document(std::string_view xml) {
  if (xml.size() >= 2 && (xml.substr(0, 2) == "\xFE\xFF" || xml.substr(0, 2) == "\xFF\xFE")) {
    return bad("encoding UTF-16 is not accepted, only UTF-8");
  }
  KF_CHECK(check_characters(xml));
  return Gate(xml).run();
}

}  // namespace kf::es
