// What the fault campaign is asked on its command line.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "../test/arguments.hpp"

namespace kf::fault {

struct Options {
  std::string table = "table.bin", program = "all";
  int curve = 0;
  std::size_t count = 200;
  std::uint64_t seed = 0;
  std::int64_t from = 0;  // cycles of the batch in which a flip may be; negative: before its end
  std::uint64_t to = ~std::uint64_t{0};
  std::regex target{".*"}, open{"^$"};
  bool by_bit = false, list = false, events = false, no_errors = false, rest = false, zeroise = false;
  std::optional<std::size_t> bit;
  std::size_t jobs = std::max(1U, std::thread::hardware_concurrency());
};

inline bool one_of(const std::string& option, const std::string& value, const char* no, const char* yes) {
  if (value != no && value != yes) throw std::runtime_error(option + " '" + value + "': " + no + " or " + yes);
  return value == yes;
}
inline std::regex regex(const std::string& option, const std::string& value) {
  try {
    return std::regex(value);
  } catch (const std::regex_error& e) {
    throw std::runtime_error(option + " '" + value + "': no regular expression: " + e.what());
  }
}

/// Throws what is wrong with an argument; nothing after --help.
inline std::optional<Options> options(int argc, char** argv) {
  Options o;
  o.seed = std::random_device{}();
  for (rtl::Arguments a(argc, argv); a.next();) {
    if (a.is("--help")) {
      std::puts(
          "fault --table FILE [--program generate|ecka|sign|verify|check|all] [--curve 0|1] [--count N, of each "
          "program]\n"
          "      [--seed N] [--target REGEX] [--by signal|bit] [--from CYCLE|-CYCLES] [--to CYCLE] [--list] "
          "[--events]\n"
          "      [--open REGEX] [--no-errors] [--jobs N] [--bit N] [--rest | --zeroise]\n"
          "Flips one bit in a random cycle of a batch, so often, and judges what comes out: rtl/fault/README.md");
      return std::nullopt;
    }
    if (a.is("--table"))
      o.table = a.text();
    else if (a.is("--program"))
      o.program = a.text();
    else if (a.is("--curve"))
      o.curve = a.number(0, 1);
    else if (a.is("--count"))
      o.count = a.number<std::size_t>(1);
    else if (a.is("--seed"))
      o.seed = a.number<std::uint64_t>();
    else if (a.is("--from"))
      o.from = a.number<std::int64_t>();
    else if (a.is("--to"))
      o.to = a.number<std::uint64_t>(1);
    else if (a.is("--target"))
      o.target = regex("--target", a.text());
    else if (a.is("--open"))
      o.open = regex("--open", a.text());
    else if (a.is("--by"))
      o.by_bit = one_of("--by", a.text(), "signal", "bit");
    else if (a.is("--list"))
      o.list = true;
    else if (a.is("--events"))
      o.events = true;
    else if (a.is("--jobs"))
      o.jobs = a.number<std::size_t>(1, 1024);
    else if (a.is("--bit"))
      o.bit = a.number<std::size_t>();
    else if (a.is("--rest"))
      o.rest = true;
    else if (a.is("--zeroise"))
      o.zeroise = true;
    else if (a.is("--no-errors"))
      o.no_errors = true;
    else
      a.unknown();
  }
  if (o.from >= 0 && o.to <= static_cast<std::uint64_t>(o.from)) throw std::runtime_error("--to: behind --from");
  if (std::FILE* f = std::fopen(o.table.c_str(), "rb"))
    std::fclose(f);
  else
    throw std::runtime_error("--table " + o.table + ": " + std::strerror(errno));
  if (o.rest && o.zeroise) throw std::runtime_error("--rest or --zeroise");
  constexpr std::array<std::string_view, 6> programs{"all", "generate", "ecka", "sign", "verify", "check"};
  if (std::ranges::find(programs, o.program) == programs.end())
    throw std::runtime_error("--program: generate, ecka, sign, verify, check or all");
  return o;
}

}  // namespace kf::fault
