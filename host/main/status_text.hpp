// The status document for people: what is wrong, in words, and the page that `keyferry status` prints. Pure functions
// that take any JSON, whole or not: a field that is missing or of another type is shown as nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kf::server {

// One line for each thing that an operator should look at; empty: all is well. The server puts them into its document
// as "trouble", so that every reader of it says the same.
std::vector<std::string> status_trouble(const nlohmann::json& status);

// The page. What others wrote (names of tokens, reasons) is escaped.
std::string status_text(const nlohmann::json& status);

}  // namespace kf::server
