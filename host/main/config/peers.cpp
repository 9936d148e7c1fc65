// [smdp], [listen], [tls] and [[party]]: who we are to others, and who they are.
#include <algorithm>
#include <charconv>

#include "host/main/config/section.hpp"

namespace kf::server {
namespace {

void read_listener(Section& s, std::string_view k, std::string& host, std::uint16_t& port) {
  const std::string v =
      s.str(k, (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port));
  const std::size_t colon = v.rfind(':');
  std::string h = v.substr(0, colon == std::string::npos ? 0 : colon);
  if (h.size() > 2 && h.front() == '[' && h.back() == ']') h = h.substr(1, h.size() - 2);
  unsigned p = 0;
  const char* from = colon == std::string::npos ? v.data() + v.size() : v.data() + colon + 1;
  const auto [end, fault] = std::from_chars(from, v.data() + v.size(), p);
  if (h.empty() || fault != std::errc() || end != v.data() + v.size() || p == 0 || p > 65535)
    return s.bad(k, "must look like 127.0.0.1:8443 or [::1]:8443");
  if (!net::is_ip_address(h))
    return s.bad(k, "\"" + h + "\" is no IP address: listeners take addresses, not names (127.0.0.1, 0.0.0.0, [::])");
  host = h;
  port = static_cast<std::uint16_t>(p);
}

void read_listen(Section s, Config& c) {
  read_listener(s, "es2", c.es2_address, c.es2_port);
  read_listener(s, "es3", c.es3_address, c.es3_port);
  if (s.good("es2") && s.good("es3") && c.es2_port == c.es3_port) {
    const auto every = [](const std::string& a) { return a == "0.0.0.0" || a == "::"; };
    if (c.es2_address == c.es3_address || every(c.es2_address) || every(c.es3_address))
      s.bad("es3", "has the port of listen.es2: two listeners need two ports");
  }
  c.admin_socket = s.path("admin_socket", "");
  if (c.admin_socket.size() > kMaxSocketPath)
    s.bad("admin_socket",
          "path too long for a Unix socket (" + std::to_string(kMaxSocketPath) + " characters): " + c.admin_socket);
  s.done();
}

void read_operator(Section& p, Party& y) {
  y.reply_hosts = p.strings("reply_hosts");
  if (y.reply_hosts.empty() && !y.url.empty()) y.reply_hosts.push_back(net::parse_url(y.url)->host);
}

void read_smsr(Section& p, Party& y) {
  y.scp03t_in_22 = p.one_of("scp03t", "bare", {"bare", "in-22"}) == "in-22";
  y.scp03t_online = p.one_of("install", "script", {"script", "stepwise"}) == "stepwise";
  y.send_data_limit = static_cast<std::size_t>(p.integer("send_data_limit", 0, 0, 1 << 20));
  y.synchronous = p.boolean("synchronous", false);
  y.callback_url = p.https_url("callback_url", "");
}

// Which certificates are this party's: docs/choices.md, "renewed TLS certificate".
void read_certificates(Section& p, Party& y) {
  const std::string given = p.str("fingerprint", "");
  if (!given.empty()) {
    const auto h = from_hex(given);
    if (h && h->size() == 32)
      y.fingerprints.push_back(to_hex(*h));
    else
      p.bad("fingerprint", "must be the SHA-256 of the certificate, 64 hex digits");
  }
  std::vector<std::string> files;
  if (p.is_list("certificate"))
    files = p.files("certificate");
  else if (given.empty() || p.has("certificate"))
    files.push_back(p.file("certificate"));
  if (given.empty() && files.empty()) p.bad("certificate", "required");
  if (!p.good("certificate")) files.clear();
  // Each names the host that we call: then the names are its owner's alone, as far as the CA is to be believed.
  bool covered = !files.empty() && p.good("url");
  for (const std::string& f : files) {
    const auto fp = net::certificate_fingerprint(f);
    const auto names = net::certificate_names(f);
    if (!fp || !names) {
      p.bad("certificate", fp ? names.error().text() : fp.error().text());
      continue;
    }
    y.fingerprints.push_back(*fp);
    if (!names->empty()) y.names.push_back(*names);
    covered = covered && !names->empty() && net::certificate_covers(f, net::parse_url(y.url)->host);
  }
  const bool by_names = y.role == Role::smsr && covered;
  y.by_subject = p.one_of("match", by_names ? "subject" : "certificate", {"certificate", "subject"}) == "subject";
  if (y.by_subject && y.names.empty() && p.good("certificate"))
    p.bad("match", "\"subject\" needs a `certificate` file with a subject and a SubjectAltName");
}

// Two parties must be told apart by what each is known by.
void compare(const Section& p, const Party& y, const Party& other) {
  for (const std::string& fp : y.fingerprints)
    if (std::ranges::find(other.fingerprints, fp) != other.fingerprints.end())
      return p.bad("certificate", "used by two parties");
  for (const std::string& n : y.names)
    if ((y.by_subject || other.by_subject) && std::ranges::find(other.names, n) != other.names.end())
      p.bad("match", "\"subject\" cannot tell this party from " + other.oid.str() + ": same issuer and names");
}

void read_party(Section& p, Config& c) {
  Party y;
  const std::string role = p.str("role");
  if (role != "operator" && role != "smsr") p.bad("role", "must be \"operator\" or \"smsr\"");
  y.role = role == "smsr" ? Role::smsr : Role::operator_;
  y.oid = p.oid("oid");
  y.name = p.str("name", y.oid.str());
  y.url = p.https_url("url");
  y.ns = p.str("namespace", std::string(es::kNs3));
  if (y.ns == es::kNs1) p.bad("namespace", "version 1 messages are not supported");
  const std::string dialect = p.str("dialect", "wsdl-3");
  if (dialect != "wsdl-3" && dialect != "reference") p.bad("dialect", "must be \"wsdl-3\" or \"reference\"");
  y.dialect = dialect == "reference" ? es::Dialect::reference : es::Dialect::wsdl3;
  read_certificates(p, y);
  y.max_connections = static_cast<std::size_t>(p.integer("max_connections", 32, 1, 1024));
  if (role == "operator") read_operator(p, y);
  if (role == "smsr") read_smsr(p, y);
  if (p.good("role")) p.done();  // else nobody knows which keys it may have
  if (p.good("oid") && y.oid == c.oid) p.bad("oid", "is smdp.oid, this SM-DP's own");
  for (const Party& other : c.parties) {
    if (p.good("oid") && other.oid == y.oid) p.bad("oid", "used by two parties");
    compare(p, y, other);
  }
  c.parties.push_back(std::move(y));
}

}  // namespace

void read_peers(Section& root, Config& c) {
  Section smdp = root.table("smdp");
  c.oid = smdp.oid("oid");
  c.name = smdp.str("name", "Keyferry");
  c.es2_url = smdp.https_url("es2_url");
  c.es3_url = smdp.https_url("es3_url");
  smdp.done();

  read_listen(root.table("listen"), c);

  Section tls = root.table("tls");
  c.tls = {tls.file("certificate"), tls.file("key"), tls.file("ca")};
  tls.done();

  for (Section& p : root.tables("party")) read_party(p, c);
  if (c.parties.empty()) root.bad("party", "at least one [[party]] is needed");
  for (Party& p : c.parties)
    if (p.callback_url.empty()) p.callback_url = c.es3_url + "/callback";
}

}  // namespace kf::server
