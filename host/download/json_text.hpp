// Writes JSON text piece by piece, without a tree of it in memory: a download writes its record at every step that has
// to be kept, and most of what a tree costs is allocation. Reading is nlohmann's. Private to this room.
#pragma once

#include <charconv>
#include <concepts>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace kf::download {

class JsonText {
 public:
  JsonText() { s_.reserve(1024); }
  JsonText& begin(char open) {  // '{' or '['
    comma();
    s_ += open;
    first_ = true;
    return *this;
  }
  JsonText& end(char close) {
    s_ += close;
    first_ = false;
    return *this;
  }
  JsonText& key(std::string_view name) {
    value(name);
    s_ += ':';
    first_ = true;  // no comma before its value
    return *this;
  }
  // Never throws for what a text holds: what is not UTF-8 is replaced.
  JsonText& value(std::string_view text) {
    comma();
    for (const char c : text)
      if (static_cast<signed char>(c) < 0x20 || c == '"' || c == '\\') {  // octets beyond ASCII are negative
        s_ += nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        return *this;
      }
    s_ += '"';
    s_ += text;
    s_ += '"';
    return *this;
  }
  JsonText& value(const char* text) { return value(std::string_view(text)); }
  JsonText& value(const std::string& text) { return value(std::string_view(text)); }
  JsonText& value(bool b) { return raw(b ? "true" : "false"); }
  template <std::integral T>
  requires(!std::same_as<T, bool> && !std::same_as<T, char>) JsonText& value(T n) {
    char digits[24];
    return raw({digits, std::to_chars(digits, digits + sizeof digits, n).ptr});
  }
  JsonText& null() { return raw("null"); }
  template <class T>
  JsonText& field(std::string_view name, const T& v) {
    key(name);
    return value(v);
  }
  std::string take() { return std::move(s_); }

 private:
  JsonText& raw(std::string_view text) {
    comma();
    s_ += text;
    return *this;
  }
  void comma() {
    if (!first_) s_ += ',';
    first_ = false;
  }
  std::string s_;
  bool first_ = true;
};

}  // namespace kf::download
