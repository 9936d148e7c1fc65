#include "host/server/request_gate.hpp"

#include "host/server/descriptions.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {

net::Response fault_response(const es::Fault& f) {
  net::Response r;
  r.status = f.http_status;
  r.body = es::write_fault(f);
  r.content_type = es::soap_content_type(es::action_of(r.body));
  return r;
}

net::Response description_response(const Party& to, std::string_view target, std::string_view wsdl,
                                   std::string_view url) {
  net::Response r;
  if (auto text = description(target, wsdl, url, to.ns)) {
    r.content_type = "text/xml; charset=utf-8";
    r.body = std::move(*text);
  } else {
    r.status = 404;
    r.content_type = "text/plain; charset=utf-8";
    r.body = "there is no such description; ?wsdl names the others\n";
  }
  return r;
}

net::Response accepted_response() {
  net::Response r;
  r.status = 202;
  return r;
}

namespace {

bool ascii_superset(std::string_view charset) {
  return net::same_token(charset, "us-ascii") || net::same_token(charset, "iso-8859-1");
}

// What is in the body, and whether we can read it: an attachment, a compressed body or another character set must not
// end in a misleading complaint about XML.
net::Admission admit_content(const net::Request& head) {
  const auto type = net::parse_media_type(head.content_type);
  if (!type) return {415, "Content-Type: " + type.error().detail + "; send application/soap+xml"};
  if (type->type.starts_with("multipart/"))
    return {415, "multipart bodies (MTOM, attachments) are not read; send application/soap+xml"};
  if (type->type != "application/soap+xml" && type->type != "text/xml")
    return {415, "the media type is neither application/soap+xml nor text/xml"};
  const std::string_view charset = type->parameter("charset");
  if (!charset.empty() && !net::same_token(charset, "utf-8") && !ascii_superset(charset))
    return {415, "the character set must be utf-8"};
  for (const auto& [name, value] : head.headers) {
    if (net::same_token(name, "Content-Encoding") && !net::same_token(value, "identity"))
      return {415, "a body with a Content-Encoding is not read; send it as it is"};
  }
  return {};
}

}  // namespace

Method method_of(const net::Request& r) {
  if (r.method == "POST") return Method::post;
  if (r.method == "GET") return Method::get;
  return r.method == "HEAD" ? Method::head : Method::other;
}

bool declared_ascii(const net::Request& r) {
  const auto type = net::parse_media_type(r.content_type);
  return type.ok() && ascii_superset(type->parameter("charset"));
}

net::Admission admit_soap(const Settings& c, const net::Request& head, Role role, std::string_view path,
                          std::string_view second_path) {
  const Party* p = c.by_peer(head.peer);
  if (p == nullptr || p->role != role) {
    std::string why = "interface not allowed";
    if (p == nullptr) {
      why = "certificate of no registered party, " + head.peer.subject;
      if (const Party* known = c.by_names(head.peer.names))
        why += "; issuer and names are those of " + known->oid.str() +
               ": if this is its new certificate, add it to the list or set match = \"subject\"";
    }
    peer_warn("refused", p == nullptr ? head.peer.network : p->oid.str(),
              "refused " + head.target.substr(0, 80) + " from " + (p == nullptr ? "" : p->oid.str() + " at ") +
                  head.peer.address + ": " + why);
    return {403, p == nullptr ? "the certificate of this connection is none that is registered here"
                              : "this certificate is registered for the other interface"};
  }
  const std::string served = "; messages are POSTed to " + std::string(path);
  const std::string_view target = std::string_view(head.target).substr(0, head.target.find('?'));
  const Method method = method_of(head);
  if ((method == Method::get || method == Method::head) && asks_for_description(head.target))
    return target == path || target == second_path ? net::Admission() : net::Admission(404, "nothing is here" + served);
  if (method != Method::post) return {405, "this method is not served, except GET of ?wsdl and ?xsd" + served};
  if (target != path && target != second_path) return {404, "nothing is here" + served};
  return admit_content(head);
}

// A registered host stands for the two ports that are known to be its Operator's: 443, and the one of the Operator's
// own URL. Any other is registered by name, so that nobody makes us connect to ports of its choice.
bool reply_allowed(const Party& from, const std::string& registered, const net::Url& u) {
  if (registered == u.host + ":" + std::to_string(u.port) || registered == u.authority()) return true;
  const auto own = net::parse_url(from.url);
  return registered == u.host && (u.port == 443 || (own && own->port == u.port));
}

}  // namespace kf::server
