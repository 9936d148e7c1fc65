// The frame that every HTML report shares: style sheet, cards, tiles, rows of facts. One file, no script, nothing
// fetched, light and dark by the reader's system. Text functions only; add(), raw() and open() take HTML, the others
// escape.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "bench/report/machine.hpp"

namespace kf::bench {

class Page {
 public:
  explicit Page(std::string_view title);  // everything before the first heading
  template <class... A>
  void add(fmt::format_string<A...> f, A&&... a) {
    fmt::format_to(std::back_inserter(s_), f, std::forward<A>(a)...);
    s_ += '\n';
  }
  void raw(std::string_view s) { s_ += s; }
  void open(std::string_view title, std::string_view about);  // a card; both HTML
  void close();
  void tile(std::string_view value, std::string_view what, std::string_view css = "");
  void fact(std::string_view name, std::string_view value);  // within a table
  void facts(const Machine& m);                              // machine and system
  // A table of rows; the first `words` columns hold words, the others numbers.
  void table(std::size_t words, const std::vector<std::string>& heads);
  void row(const std::vector<std::string>& cells);
  void end_table();
  [[nodiscard]] std::string take();  // with its end

 private:
  void cells(const std::vector<std::string>& texts, std::string_view tag);
  std::string s_;
  std::size_t words_ = 0;  // of the open table
};

}  // namespace kf::bench
