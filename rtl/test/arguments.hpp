// The command line of a bench: options by name, each value looked at. A number that is none, or a forgotten value, would
// otherwise be a bench that tests nothing and passes.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kf::rtl {

/// while (a.next()) if (a.is("--seed")) seed = a.number<std::uint64_t>(); ... else a.unknown();
/// Everything throws std::runtime_error, which names the option and what it was given.
class Arguments {
 public:
  Arguments(int argc, char** argv) : argc_(argc), argv_(argv) {}

  bool next() {
    if (at_ + 1 >= argc_) return false;
    name_ = argv_[++at_];
    return true;
  }
  [[nodiscard]] bool is(std::string_view name) const { return name_ == name; }
  std::string text() {
    if (at_ + 1 >= argc_) throw std::runtime_error(name_.empty() ? "too few arguments" : name_ + " wants a value");
    return argv_[++at_];
  }
  template <std::integral T>
  T number(T least = std::numeric_limits<T>::min(), T most = std::numeric_limits<T>::max()) {
    const std::string value = text();
    T n{};
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (error != std::errc{} || end != value.data() + value.size() || n < least || n > most)
      throw std::runtime_error(name_ + " '" + value + "': a whole number from " + std::to_string(least) + " to " +
                               std::to_string(most));
    return n;
  }
  [[noreturn]] void unknown() const { throw std::runtime_error("unknown option '" + name_ + "'"); }

 private:
  int argc_;
  char** argv_;
  int at_ = 0;
  std::string name_;
};

}  // namespace kf::rtl
