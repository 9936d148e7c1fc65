// Lines of a report for the terminal: indented rows with a head of fixed width. Text functions only.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>

namespace kf::bench {

class Text {
 public:
  template <class... A>
  void line(fmt::format_string<A...> f, A&&... a) {
    fmt::format_to(std::back_inserter(out_), f, std::forward<A>(a)...);
    out_ += '\n';
  }
  template <class... A>
  void row(std::string_view head, fmt::format_string<A...> f, A&&... a) {
    fmt::format_to(std::back_inserter(out_), "  {:<12} ", head);
    line(f, std::forward<A>(a)...);
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

}  // namespace kf::bench
