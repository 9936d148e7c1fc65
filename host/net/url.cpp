#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/address_v6.hpp>

#include <algorithm>
#include <charconv>

#include "host/net/http.hpp"

namespace kf::net {

std::string_view slug(NetFault f) {
  static constexpr std::string_view kSlugs[] = {"net-connect", "net-busy",    "net-request",  "net-late",
                                                "net-tls",     "net-timeout", "net-lost",     "net-stale",
                                                "net-answer",  "net-bind",    "net-tls-files"};
  return kSlugs[static_cast<std::size_t>(f)];
}

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool iequal(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

Error bad(std::string_view url, const char* why) {
  // The URL may come from a peer: show the beginning of it, printable.
  std::string shown(url.substr(0, 80));
  for (char& c : shown) {
    if (c < 0x20 || c >= 0x7F) c = '?';
  }
  return {"bad-url", std::string(why) + ": " + shown};
}

}  // namespace

bool same_token(std::string_view a, std::string_view b) { return iequal(a, b); }

std::string_view MediaType::parameter(std::string_view name) const {
  for (const auto& [n, v] : parameters) {
    if (n == name) return v;
  }
  return {};
}

namespace {
// What is left of a Content-Type field.
class MediaTypeReader {
 public:
  explicit MediaTypeReader(std::string_view s) : s_(s) {}
  bool done() {
    space();
    return s_.empty();
  }
  bool take(char c) {
    if (s_.empty() || s_.front() != c) return false;
    s_.remove_prefix(1);
    return true;
  }
  void space() { s_.remove_prefix(std::min(s_.find_first_not_of(" \t"), s_.size())); }
  std::string token() {
    const auto is_token = [](char c) {
      return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
             std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    };
    const auto end = std::find_if_not(s_.begin(), s_.end(), is_token);
    std::string out(s_.begin(), end);
    s_.remove_prefix(out.size());
    return out;
  }
  // A token or a quoted string. False: the quote does not end.
  bool value(std::string& out) {
    if (!take('"')) {
      out = token();
      // Some write a URI here without its quotes.
      for (; !out.empty() && !s_.empty() && s_.front() != ';' && s_.front() != ' ' && s_.front() != '\t';
           s_.remove_prefix(1)) {
        if (s_.front() == '"' || s_.front() == ',') return false;
        out += s_.front();
      }
      return !out.empty();
    }
    for (; !s_.empty() && s_.front() != '"'; s_.remove_prefix(1)) {
      if (s_.front() == '\\' && s_.size() > 1) s_.remove_prefix(1);
      out += s_.front();
    }
    return take('"');
  }

 private:
  std::string_view s_;
};

std::string lower_case(std::string s) {
  std::transform(s.begin(), s.end(), s.begin(), lower);
  return s;
}
}  // namespace

Result<MediaType> parse_media_type(std::string_view field) {
  const auto bad = [](const char* why) { return Error{"bad-media-type", why}; };
  MediaTypeReader in(field);
  in.space();
  MediaType m;
  m.type = lower_case(in.token());
  if (m.type.empty() || !in.take('/')) return bad("a type and a subtype are expected");
  const std::string subtype = lower_case(in.token());
  if (subtype.empty()) return bad("a subtype is expected");
  m.type += "/" + subtype;
  while (!in.done()) {
    if (!in.take(';')) return bad("a parameter is expected");
    if (in.done()) break;  // a semicolon at the end, or two of them, mean nothing
    std::string name = lower_case(in.token()), value;
    if (name.empty()) continue;
    in.space();
    if (!in.take('=')) return bad("a parameter has no value");
    in.space();
    if (!in.value(value)) return bad("a parameter has no value");
    m.parameters.emplace_back(std::move(name), std::move(value));
  }
  return m;
}

const std::string* find_header(const Headers& h, std::string_view name) {
  for (const auto& [n, v] : h) {
    if (iequal(n, name)) return &v;
  }
  return nullptr;
}

std::string Url::authority() const {
  std::string a = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (tls ? 443 : 80)) a += ":" + std::to_string(port);
  return a;
}

bool is_ip_address(const std::string& s) {
  boost::system::error_code ec;
  boost::asio::ip::make_address(s, ec);
  return !ec;
}

Result<Url> parse_url(std::string_view s) {
  Url u;
  std::string_view rest = s;
  const auto scheme_end = s.find("://");
  const auto scheme = s.substr(0, scheme_end == std::string_view::npos ? 0 : scheme_end);
  if (iequal(scheme, "https")) {
    u.tls = true;
    u.port = 443;
  } else if (iequal(scheme, "http")) {
    u.tls = false;
    u.port = 80;
  } else {
    return bad(s, "neither http nor https");
  }
  rest.remove_prefix(scheme_end + 3);
  if (!std::all_of(rest.begin(), rest.end(), [](char c) { return c > 0x20 && c < 0x7F; }))
    return bad(s, "a character that must be escaped");
  const auto authority_end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, authority_end);
  const std::string_view path = rest.substr(authority_end);
  if (path.find('#') != std::string_view::npos) return bad(s, "a fragment");
  if (authority.find('@') != std::string_view::npos) return bad(s, "user information");

  std::string_view port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return bad(s, "host without ]");
    u.host = std::string(authority.substr(1, close - 1));
    boost::system::error_code ec;
    if (boost::asio::ip::make_address_v6(u.host, ec); ec || u.host.find('%') != std::string::npos)
      return bad(s, "not an IPv6 address");
    authority.remove_prefix(close + 1);
    has_port = authority.starts_with(':');
    if (!has_port && !authority.empty()) return bad(s, "rubbish after ]");
    if (has_port) port = authority.substr(1);
  } else {
    const auto colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    u.host = std::string(authority.substr(0, colon));
    if (has_port) port = authority.substr(colon + 1);
    if (u.host.empty() || u.host.size() > 253) return bad(s, "host missing or too long");
    if (!std::all_of(u.host.begin(), u.host.end(), [](char c) {
          return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' || c == '_';
        }))
      return bad(s, "not a host name");
  }
  std::transform(u.host.begin(), u.host.end(), u.host.begin(), lower);
  if (has_port) {
    unsigned value = 0;
    const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (ec != std::errc() || end != port.data() + port.size() || value == 0 || value > 65535) return bad(s, "bad port");
    u.port = static_cast<std::uint16_t>(value);
  }
  if (!path.empty()) u.target = path.front() == '/' ? std::string(path) : "/" + std::string(path);
  return u;
}

}  // namespace kf::net
