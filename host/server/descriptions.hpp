// The interface descriptions of docs/interfaces, built in, as the server gives them to a party that asks: GET URL?wsdl,
// and GET URL?xsd=NAME for what those import. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kf::server {

// "?wsdl" (in any case of letters) or "?xsd=NAME" at the end of a request target.
bool asks_for_description(std::string_view target);

// `wsdl`: the file that ?wsdl means on this interface, "es2-smdp.wsdl". The text with `url` as the address of the
// service and of the schemas it imports, and `ns` for the namespace of the messages. Nothing: there is no such schema.
std::optional<std::string> description(std::string_view target, std::string_view wsdl, std::string_view url,
                                       std::string_view ns);

}  // namespace kf::server
