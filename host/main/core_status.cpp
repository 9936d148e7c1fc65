#include "host/main/core_status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "host/base/text.hpp"
#include "host/server/metrics.hpp"

namespace kf::server {

using Json = nlohmann::json;

namespace {
// In the order in which they worry; what is 0 is not shown.
constexpr std::array<std::pair<const char*, const char*>, 9> kFaultCounters{{
    {"cycle_gate_faults", "batches of a wrong cycle count"},
    {"parity_faults", "parity errors"},
    {"entropy_failures", "failures of the entropy source"},
    {"faults", "jobs answered with fault"},
    {"bad_completions", "completions that could not be right"},
    {"bad_descriptors", "descriptors refused"},
    {"axi_errors", "transfers that failed"},
    {"repeats", "doorbells or indices repeated"},
    {"exceptions", "exceptional cases"},
}};
}  // namespace

Json core_status(const ecc::CoreEngineStats& s) {
  const auto up = std::ranges::count_if(s.cores, [](const auto& c) { return c.state == "up"; });
  Json cores = Json::array();
  for (const auto& c : s.cores) {
    cores.push_back({{"state", c.state},
                     {"where", clip_text(c.where, 200)},
                     {"why", clip_text(c.why, 1000)},
                     {"generated", c.generated},
                     {"agreed", c.agreed},
                     {"verified", c.verified},
                     {"batches", c.batches},
                     {"losses", c.losses},
                     {"faults", c.faults},
                     {"exceptions", c.exceptions},
                     {"known_answers", c.known_answers},
                     {"cycles", c.cycles},
                     {"busy_cycles", c.busy_cycles},
                     {"bad_descriptors", c.bad_descriptors},
                     {"axi_errors", c.axi_errors},
                     {"parity_faults", c.parity_faults},
                     {"cycle_gate_faults", c.cycle_gate_faults},
                     {"entropy_failures", c.entropy_failures},
                     {"bad_completions", c.bad_completions},
                     {"repeats", c.repeats},
                     {"keys_ready", c.keys_ready}});
  }
  return {{"health", up == 0 ? "red" : (static_cast<std::size_t>(up) == s.cores.size() ? "green" : "yellow")},
          {"cores", cores},
          {"batch_size", histogram_json(s.batch_size)},
          {"queue_us", histogram_json(s.queue_us)},
          {"retries", s.retries},
          {"timed_out", s.timed_out},
          {"thread_s", s.thread_cpu_seconds},
          {"turns_s", s.turn_cpu_seconds}};
}

std::string core_lines(const Json& j) {
  std::string out;
  std::size_t i = 0;
  for (const Json& c : j.value("cores", Json::array())) {
    const std::string why = printable(c.value("why", ""), 1000);
    out += fmt::format(
        "core {}     {}, {}: {} key pairs, {} agreements, {} verifications in {} batches, {} keys ready, {} losses{}\n",
        i++, printable(c.value("where", "nowhere")), c.value("state", ""), c.value("generated", 0),
        c.value("agreed", 0), c.value("verified", 0), c.value("batches", 0), c.value("keys_ready", 0),
        c.value("losses", 0), why.empty() ? "" : "\n           " + why);
    std::string faults;
    for (const auto& [key, what] : kFaultCounters) {
      if (const auto n = c.value(key, std::uint64_t{0}); n != 0)
        faults += fmt::format("{}{} {}", faults.empty() ? "" : ", ", n, what);
    }
    if (!faults.empty()) out += fmt::format("           {}\n", faults);
  }
  return out;
}

}  // namespace kf::server
