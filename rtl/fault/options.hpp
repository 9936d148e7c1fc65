// What the fault campaign is asked on its command line.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <random>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

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

/// Throws what is wrong with an argument; nothing after --help.
inline std::optional<Options> options(int argc, char** argv) {
  Options o;
  o.seed = std::random_device{}();
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&] {
      if (i + 1 == argc) throw std::runtime_error(a + " wants a value");
      return std::string(argv[++i]);
    };
    const auto one_of = [&](const std::string& v, const char* no, const char* yes) {
      if (v != no && v != yes) throw std::runtime_error(a + ": " + no + " or " + yes);
      return v == yes;
    };
    if (a == "--help") {
      std::puts(
          "fault --table FILE [--program generate|ecka|sign|verify|check|all] [--curve 0|1] [--count N, of each "
          "program]\n"
          "      [--seed N] [--target REGEX] [--by signal|bit] [--from CYCLE|-CYCLES] [--to CYCLE] [--list] "
          "[--events]\n"
          "      [--open REGEX] [--no-errors] [--jobs N] [--bit N] [--rest | --zeroise]\n"
          "Flips one bit in a random cycle of a batch, so often, and judges what comes out: rtl/fault/README.md");
      return std::nullopt;
    }
    if (a == "--table")
      o.table = value();
    else if (a == "--program")
      o.program = value();
    else if (a == "--curve")
      o.curve = std::stoi(value());
    else if (a == "--count")
      o.count = std::stoul(value());
    else if (a == "--seed")
      o.seed = std::stoull(value());
    else if (a == "--from")
      o.from = std::stoll(value());
    else if (a == "--to")
      o.to = std::max(std::stoull(value()), 1ULL);
    else if (a == "--target")
      o.target = value();
    else if (a == "--open")
      o.open = value();
    else if (a == "--by")
      o.by_bit = one_of(value(), "signal", "bit");
    else if (a == "--list")
      o.list = true;
    else if (a == "--events")
      o.events = true;
    else if (a == "--jobs")
      o.jobs = std::max(1UL, std::stoul(value()));
    else if (a == "--bit")
      o.bit = std::stoul(value());
    else if (a == "--rest")
      o.rest = true;
    else if (a == "--zeroise")
      o.zeroise = true;
    else if (a == "--no-errors")
      o.no_errors = true;
    else
      throw std::runtime_error("unknown option " + a);
  }
  if (o.count == 0) throw std::runtime_error("--count: at least 1");
  if (o.rest && o.zeroise) throw std::runtime_error("--rest or --zeroise");
  if (o.curve != 0 && o.curve != 1) throw std::runtime_error("--curve: 0 (P-256) or 1 (brainpoolP256r1)");
  constexpr std::array<std::string_view, 6> programs{"all", "generate", "ecka", "sign", "verify", "check"};
  if (std::ranges::find(programs, o.program) == programs.end())
    throw std::runtime_error("--program: generate, ecka, sign, verify, check or all");
  return o;
}

}  // namespace kf::fault
