// Result<T>: what anything outside our own code can cause is a value, not an exception.
//
// Error.kind is what code decides on: an enumerator of the room that made the error, where anybody has to tell its
// errors apart. Error.reason is its slug ("bad-signature", "truncated") for logs and tests; Error.detail is for people
// and never carries a secret. Thread-compatible, no allocation on success.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace kf {

// An enumerator of some room's enum class, or none. Equal only to one of the same class.
class ErrorKind {
 public:
  ErrorKind() = default;
  template <class E>
  requires std::is_enum_v<E> ErrorKind(E e)  // NOLINT(google-explicit-constructor)
      : of_(&kTag<E>), value_(static_cast<int>(e)) {}
  template <class E>
  requires std::is_enum_v<E>
  [[nodiscard]] std::optional<E> as() const {
    return of_ == &kTag<E> ? std::optional(static_cast<E>(value_)) : std::nullopt;
  }
  bool operator==(const ErrorKind&) const = default;

 private:
  template <class E>
  static constexpr char kTag = 0;  // its address stands for the class
  const char* of_ = nullptr;
  int value_ = 0;
};

struct Error {
  Error() = default;
  explicit Error(std::string slug) : reason(std::move(slug)) {}
  Error(std::string slug, std::string text) : reason(std::move(slug)), detail(std::move(text)) {}
  // slug(E), beside E, names it.
  template <class E>
  requires std::is_enum_v<E> Error(E e, std::string text)
      : reason(std::string_view(slug(e))), detail(std::move(text)), kind(e) {}

  std::string reason;
  std::string detail;
  ErrorKind kind{};
  template <class... E>
  [[nodiscard]] bool is(E... any) const {
    return ((kind == ErrorKind(any)) || ...);
  }
  [[nodiscard]] std::string text() const { return detail.empty() ? reason : reason + ": " + detail; }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Error e) : v_(std::in_place_index<1>, std::move(e)) {}      // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool ok() const noexcept { return v_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] T& value() & {
    require();
    return *std::get_if<0>(&v_);
  }
  [[nodiscard]] const T& value() const& {
    require();
    return *std::get_if<0>(&v_);
  }
  [[nodiscard]] T&& value() && {
    require();
    return std::move(*std::get_if<0>(&v_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  [[nodiscard]] const Error& error() const& { return *std::get_if<1>(&v_); }
  [[nodiscard]] Error&& error() && { return std::move(*std::get_if<1>(&v_)); }

 private:
  void require() const {
    if (!ok()) std::abort();
  }  // reading a value that is not there is our own bug
  std::variant<T, Error> v_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error e) : e_(std::move(e)), ok_(false) {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  explicit operator bool() const noexcept { return ok_; }
  [[nodiscard]] const Error& error() const& { return e_; }
  [[nodiscard]] Error&& error() && { return std::move(e_); }

 private:
  Error e_;
  bool ok_ = true;
};
using Status = Result<void>;

}  // namespace kf

// KF_TRY(auto x, f()): x is the value, or the enclosing function returns the error.
#define KF_CAT2(a, b) a##b
#define KF_CAT(a, b) KF_CAT2(a, b)
#define KF_TRY(decl, expr) KF_TRY_IMPL(KF_CAT(kf_try_, __LINE__), decl, expr)
#define KF_TRY_IMPL(tmp, decl, expr)            \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  decl = std::move(tmp).value()
#define KF_CHECK(expr)                                                                 \
  do {                                                                                 \
    if (auto kf_check_ = (expr); !kf_check_.ok()) return std::move(kf_check_).error(); \
  } while (false)
