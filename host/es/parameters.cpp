// ReferenceParameters of an endpoint: what its owner wants to find in the header of each message to it (WS-Addressing
// 1.0, Core 3.3 and SOAP Binding 4).
#include <algorithm>
#include <vector>

#include "host/es/codec.hpp"

namespace kf::es {
namespace {

// Names in another document mean what they meant in this one only when every prefix is bound.
Status check_prefixes(pugi::xml_node n, const Scope& parent) {
  const Scope scope(parent, n);
  KF_CHECK(scope.name_of(n));
  std::string_view declared;
  for (const pugi::xml_attribute a : n.attributes()) {
    if (is_binding(a.name(), declared)) {
      if (!declared.empty() && *a.value() == '\0')
        return schema_error("prefix " + clip(declared) + " is bound to nothing");
    } else if (const auto prefix = split_qname(a.name()).first;
               !prefix.empty() && scope.uri(prefix).data() == nullptr) {
      return schema_error("prefix " + clip(prefix) + " is not bound");
    }
  }
  for (const pugi::xml_node child : n.children())
    if (child.type() == pugi::node_element) KF_CHECK(check_prefixes(child, scope));
  return {};
}

// What stands before a colon anywhere in `text`: every prefix that is used there, as names may stand in text, too.
void append_prefixes(std::vector<std::string_view>& out, std::string_view text) {
  const auto in_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || static_cast<unsigned char>(c) >= 0x80;
  };
  std::size_t from = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_name(text[i])) continue;
    if (text[i] == ':' && i > from) out.push_back(text.substr(from, i - from));
    from = i + 1;
  }
}

Error too_large() {
  return schema_error("more than " + std::to_string(kMaxReferenceParameters) + " octets with what they need");
}

// One parameter as a header block that stands for itself: with every binding that it uses, and marked. Bindings come
// from outside the parameters, so their number and length are the message's: nothing is searched in them, and nothing
// is put together that is too large.
Status append_block(std::string& out, pugi::xml_node n, const Scope& scope, const Document& document) {
  const std::string_view name = n.name();
  const std::string_view content = document.raw_content(n);
  std::string attributes, bindings;
  std::vector<std::string_view> used;
  append_prefixes(used, name);
  append_prefixes(used, content);
  std::size_t count = 1;
  std::string_view declared;
  for (const pugi::xml_attribute a : n.attributes()) {
    const auto prefix = split_qname(a.name()).first;
    if (is_binding(a.name(), declared) || (!prefix.empty() && scope.uri(prefix) == kNsWsa)) continue;  // ours to say
    append_prefixes(used, a.name());
    append_prefixes(used, a.value());
    attributes.append(" ").append(a.name()).append("=\"");
    append_escaped(attributes, a.value());
    attributes += '"';
    ++count;
  }
  std::ranges::sort(used);
  std::string mark = "wsa";  // bound by our envelope; by another name where the parameter means something else by it
  for (const auto& [prefix, uri] : scope.in_force()) {
    if (uri.empty() || prefix == "xml" || (!prefix.empty() && !std::ranges::binary_search(used, prefix))) continue;
    if (out.size() + attributes.size() + bindings.size() + prefix.size() + uri.size() > kMaxReferenceParameters)
      return too_large();
    bindings.append(prefix.empty() ? " xmlns" : " xmlns:").append(prefix).append("=\"");
    append_escaped(bindings, uri);
    bindings += '"';
    ++count;
    if (prefix == "wsa" && uri != kNsWsa) mark = "a";
  }
  if (mark != "wsa") {
    while (scope.uri(mark).data() != nullptr) mark += 'a';
    bindings.append(" xmlns:").append(mark).append("=\"").append(kNsWsa).append("\"");
    ++count;
  }
  if (count > kMaxAttributes) return schema_error("too many attributes and prefixes in one of them");
  out.append("<").append(name).append(attributes).append(bindings);
  out.append(" ").append(mark).append(":IsReferenceParameter=\"true\">");
  out.append(content).append("</").append(name).append(">");
  if (out.size() > kMaxReferenceParameters) return too_large();
  return {};
}

}  // namespace

Status read_reference_parameters(const Element& e, const Document& document, std::string& out) {
  std::string blocks;
  std::size_t count = 0;
  if (document.raw_content(e.node).size() > kMaxReferenceParameters)
    return schema_error("more than " + std::to_string(kMaxReferenceParameters) + " octets");
  for (const pugi::xml_node n : e.node.children()) {
    if (n.type() != pugi::node_element) return schema_error("text between them");
    if (++count > kMaxParameters) return schema_error("more than " + std::to_string(kMaxParameters) + " of them");
    KF_CHECK(check_prefixes(n, e.scope));
    const Scope scope(e.scope, n);
    KF_TRY(const Name name, scope.name_of(n));
    if (name.ns.empty()) return schema_error("a header block without a namespace");
    if (name.ns == kNsWsa || name.ns == kNsWsmc || name.ns == kNsEnv || name.ns == kNsEnv11)
      return schema_error(clip(name.local) + " is a header block of SOAP or WS-Addressing");
    KF_CHECK(append_block(blocks, n, scope, document));
  }
  out = std::move(blocks);
  return {};
}

}  // namespace kf::es
