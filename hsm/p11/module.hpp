// The PKCS#11 module of this process: loaded, initialised once, finalised by finalize() when nothing runs any more.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hsm/p11/rv.hpp"

namespace kf::p11 {

class Module {
 public:
  // dlopen, C_GetFunctionList, C_Initialize (with OS locking). Reasons: hsm-module.
  static Result<std::unique_ptr<Module>> load(const std::string& path);
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  // C_Finalize; never dlclose: vendor libraries leave threads and exit handlers behind (docs/spec/pkcs11.md L15).
  ~Module();

  [[nodiscard]] CK_FUNCTION_LIST& f() const noexcept { return *functions_; }
  [[nodiscard]] bool one_thread_only() const noexcept { return one_thread_; }  // it cannot lock
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] Result<std::vector<CK_SLOT_ID>> slots_with_token() const;  // reasons: hsm-module
  [[nodiscard]] std::string library() const;                               // manufacturer, description, version

 private:
  Module(std::string path, CK_FUNCTION_LIST* f) : path_(std::move(path)), functions_(f) {}
  std::string path_;
  CK_FUNCTION_LIST* functions_;
  bool one_thread_ = false;
};

// A fixed-width, blank-padded PKCS#11 text field without its padding.
template <std::size_t N>
std::string padded_text(const unsigned char (&field)[N]) {
  std::size_t n = N;
  while (n > 0 && (field[n - 1] == ' ' || field[n - 1] == 0)) --n;
  return {reinterpret_cast<const char*>(field), n};
}

}  // namespace kf::p11
