// What the head of a request decides before anything of its body is read: who asks, for what, in which form. The same
// for both listeners.
#pragma once

#include "host/es/soap.hpp"
#include "host/net/http.hpp"
#include "host/server/settings.hpp"

namespace kf::server {

net::Admission admit_soap(const Settings& c, const net::Request& head, Role role, std::string_view path,
                          std::string_view second_path);
enum class Method { get, head, post, other };
Method method_of(const net::Request& r);
// The media type says ISO-8859-1 or US-ASCII: see es::CodecOptions::ascii.
bool declared_ascii(const net::Request& r);
// May answers go to `u`, an https address, as far as this entry of reply_hosts is concerned?
bool reply_allowed(const Party& from, const std::string& registered, const net::Url& u);

// GET ...?wsdl and ?xsd=NAME: docs/interfaces as that party would write and read it.
net::Response description_response(const Party& to, std::string_view target, std::string_view wsdl,
                                   std::string_view url);
net::Response fault_response(const es::Fault& f);
net::Response accepted_response();

}  // namespace kf::server
