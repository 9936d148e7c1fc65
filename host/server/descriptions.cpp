#include "host/server/descriptions.hpp"

#include <algorithm>

#include "host/es/soap.hpp"

namespace kf::server {
namespace {

struct File {
  std::string_view name, text;
};
constexpr File kFiles[] = {
#include "generated/descriptions.inc"
};

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

std::string query_of(std::string_view target) {
  const std::size_t q = target.find('?');
  return q == std::string_view::npos ? "" : lower(target.substr(q + 1));
}

void replace_all(std::string& s, std::string_view from, std::string_view to) {
  for (std::size_t at = s.find(from); at != std::string::npos; at = s.find(from, at + to.size()))
    s.replace(at, from.size(), to);
}

std::string escaped(std::string_view s) {  // for a double-quoted attribute
  std::string out;
  for (const char c : s) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

}  // namespace

bool asks_for_description(std::string_view target) {
  const std::string q = query_of(target);
  return q == "wsdl" || q == "singlewsdl" || q.starts_with("xsd=");
}

std::optional<std::string> description(std::string_view target, std::string_view wsdl, std::string_view url,
                                       std::string_view ns) {
  const std::string q = query_of(target);
  const bool schema = q.starts_with("xsd=");
  const std::string_view name = schema ? std::string_view(q).substr(4) : wsdl;
  if (schema && !name.ends_with(".xsd")) return std::nullopt;
  const auto* file = std::find_if(std::begin(kFiles), std::end(kFiles), [&](const File& f) { return f.name == name; });
  if (file == std::end(kFiles)) return std::nullopt;
  std::string text(file->text);
  if (ns != es::kNs3) replace_all(text, es::kNs3, escaped(ns));
  const std::string here = escaped(url);
  for (const File& f : kFiles) {
    if (f.name.ends_with(".xsd"))
      replace_all(text, "schemaLocation=\"" + std::string(f.name) + "\"",
                  "schemaLocation=\"" + here + "?xsd=" + std::string(f.name) + "\"");
  }
  const std::string_view address = "<soap:address location=\"";
  if (const std::size_t at = text.find(address); at != std::string::npos) {
    const std::size_t from = at + address.size();
    text.replace(from, text.find('"', from) - from, here);
  }
  return text;
}

}  // namespace kf::server
