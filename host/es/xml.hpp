// XML for the codec: a gate that refuses what must never be parsed, pugixml behind it, namespaces, typed text.
// Internal to host/es. docs/spec/interfaces.md 6.1 (first rows), 10.18.
#pragma once

#include <cstdint>
#include <optional>
#include <pugixml.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/bytes.hpp"

namespace kf::es {

inline constexpr std::string_view kNsEnv = "http://www.w3.org/2003/05/soap-envelope";
inline constexpr std::string_view kNsEnv11 = "http://schemas.xmlsoap.org/soap/envelope/";
inline constexpr std::string_view kNsWsa = "http://www.w3.org/2005/08/addressing";
inline constexpr std::string_view kNsWsmc = "http://docs.oasis-open.org/ws-rx/wsmc/200702";
inline constexpr std::string_view kNsDs = "http://www.w3.org/2000/09/xmldsig#";

inline constexpr std::size_t kMaxDepth = 64;       // elements
inline constexpr std::size_t kMaxAttributes = 32;  // of one element
inline constexpr std::size_t kMaxNamespaces = 64;  // declarations in force at one element: bounds every prefix look-up
inline constexpr std::size_t kMaxName = 512;       // octets of the name of an element or attribute
inline constexpr std::size_t kMaxUnknown = 16;     // ignored elements remembered of one message

// Well-formedness as XML 1.0 asks for it, in one pass without recursion, because pugixml forgives a lot (undeclared
// entities, several roots, bad UTF-8, double attributes). Refused although XML allows it: any document type
// declaration, any encoding but UTF-8 (ISO-8859-1 and US-ASCII may be declared by a document that is ASCII in fact),
// version other than 1.0, depth over kMaxDepth, more than kMaxAttributes on an element, names over kMaxName.
// `xml` is without byte order mark. Reasons: bad-xml.
Status check_document(std::string_view xml);

// The document: its own copy of the text, parsed in place. Views into it live as long as it does.
class Document {
 public:
  Document() = default;
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;
  Status load(std::string_view xml);  // reasons: bad-xml. `xml` must outlive the document (raw_content reads it)
  [[nodiscard]] pugi::xml_node root() const { return doc_.document_element(); }

  // The octets between start and end tag as they were received.
  [[nodiscard]] std::string_view raw_content(pugi::xml_node element) const;
  // Where the name of an element stands in the text that raw_content() cuts from.
  [[nodiscard]] const char* raw_name(pugi::xml_node element) const { return text_.data() + element.offset_debug(); }

 private:
  std::string_view text_;
  std::string copy_;
  pugi::xml_document doc_;
};

struct Name {
  std::string_view ns, local;
};

// Namespace bindings in force at one element. Lives on the stack while the element is read, chained to the parent's.
class Scope {
 public:
  Scope() = default;  // outside the document element
  Scope(const Scope& parent, pugi::xml_node element);
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // nullptr data: the prefix is not bound. The empty prefix is always bound, to "" when nothing else was said.
  [[nodiscard]] std::string_view uri(std::string_view prefix) const;
  // Reasons: bad-xml (prefix not bound, more than kMaxNamespaces declarations in force).
  [[nodiscard]] Result<Name> name_of(pugi::xml_node child) const;  // the scope must be that of `child` itself
  // Prefix and URI of all declarations in force, each prefix once.
  [[nodiscard]] std::vector<std::pair<std::string_view, std::string_view>> in_force() const;

 private:
  struct Binding {
    std::string_view prefix, uri;
  };
  const Scope* parent_ = nullptr;
  std::vector<Binding> own_;                         // what the element itself declares
  std::size_t in_force_ = 0;                         // with those of the parents
  mutable std::string_view last_prefix_, last_uri_;  // one entry of memory: siblings share their prefix
  mutable bool cached_ = false;
};

std::pair<std::string_view, std::string_view> split_qname(std::string_view qname);  // prefix, local
// "xmlns" binds the empty prefix, "xmlns:p" binds p; other attributes bind nothing.
bool is_binding(std::string_view attribute, std::string_view& prefix);

// How many declarations this thread has looked at so far to resolve prefixes. A test can hold that against the size of
// a message; it cannot hold time against it.
std::uint64_t namespace_steps();
void count_namespace_steps(std::size_t n);

// What one message is read with.
struct Context {
  const Document& document;
  std::string_view ns;                // of the function element and all its known children
  std::vector<std::string>& unknown;  // ignored elements, each once, at most kMaxUnknown
  void ignored(const Name& n) const;
};

struct Element {
  pugi::xml_node node;
  const Scope& scope;
  std::string_view name;  // local name, for messages

  // Text with comments taken out and outer white space trimmed; in `scratch` when it had to be put together.
  // Reasons: schema (the element has child elements).
  [[nodiscard]] Result<std::string_view> text(std::string& scratch) const;
  [[nodiscard]] bool blank() const;  // nothing inside but white space and comments
};

// One known child. Names are matched without regard to case (Smsr-id and SmSr-id, pol2 and Pol2 all occur), children
// come in any order: a name says what an element is, its place says nothing more.
struct Rule {
  std::string_view name;
  bool required = false;
  bool many = false;
  std::string_view alias = {};
};

std::string clip(std::string_view s, std::size_t max = 80);  // peer's text for our messages
Error schema_error(std::string detail);                      // reason "schema"

// Finds the rule a child matches, and checks repetition and completeness on the way.
class Sequence {
 public:
  explicit Sequence(std::span<const Rule> rules) : rules_(rules) {}
  // Index of the rule, or rules.size() for an unknown element. Reasons: schema.
  Result<std::size_t> next(std::string_view name);
  [[nodiscard]] Status finish() const;  // reasons: schema (missing)

 private:
  std::span<const Rule> rules_;
  std::size_t next_ = 0;  // where most peers have their next element
  std::uint64_t seen_ = 0;
};

// Calls on_child(index into rules, Element) for every known child in c.ns. Others go to c.ignored(). Text between the
// children is a schema error. Recursion happens only through the callbacks, along the known structure.
template <class OnChild>
Status read_children(const Element& e, const Context& c, std::span<const Rule> rules, OnChild on_child) {
  Sequence seq(rules);
  for (pugi::xml_node n : e.node.children()) {
    if (n.type() != pugi::node_element) return schema_error("text inside " + std::string(e.name));
    const Scope scope(e.scope, n);
    KF_TRY(const Name name, scope.name_of(n));
    std::size_t i = rules.size();
    if (name.ns == c.ns) {
      KF_TRY(i, seq.next(name.local));
    }
    if (i == rules.size()) {
      c.ignored(name);
      continue;
    }
    KF_CHECK(on_child(i, Element{n, scope, rules[i].name}));
  }
  return seq.finish();
}

// Typed text. Each names the element in its error; reasons: schema.
inline constexpr std::size_t kMaxText = 4096;  // octets; text that has a meaning is far shorter
Status read_text(const Element& e, std::string& out, std::size_t max = kMaxText);
Status read_bool(const Element& e, bool& out);
Status read_uint(const Element& e, std::uint64_t& out);
Status read_period(const Element& e, std::optional<std::uint32_t>& out);  // positiveInteger; clamped to 32 bits
Status read_hex(const Element& e, Bytes& out);
Status read_hex_text(const Element& e, std::string& out, std::size_t min, std::size_t max);  // bytes; upper case
Status read_aid(const Element& e, std::string& out);
Status read_oid(const Element& e, std::string& out);
Status read_eid(const Element& e, std::string& out);
Status read_iccid(const Element& e, std::string& out);
Status read_date_time(const Element& e, std::string& out);

// The same ASCII letters, without regard to case; the common case, the same octets, costs one comparison.
bool same_letters(std::string_view a, std::string_view b);

// Hex with a table: SendData bodies are the bulk of the traffic. Reasons: bad-hex.
Result<Bytes> decode_hex(std::string_view s);

// Text for element content and for double-quoted attributes. What XML cannot carry (control characters, bad UTF-8)
// becomes '?'.
void append_escaped(std::string& out, std::string_view s);
bool is_ascii(std::string_view s);
// Length of the UTF-8 sequence of a permitted XML character at the front of `s`, 0 when there is none.
std::size_t xml_char(std::string_view s);

}  // namespace kf::es
