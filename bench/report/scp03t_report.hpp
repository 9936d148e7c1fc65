// The numbers of one run of `keyferry-bench scp03t` as a value, with its JSON and its document. Pure.
// Everything is CPU time of one thread; rounds are interleaved, so that what disturbs one way disturbs all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/report/machine.hpp"
#include "bench/report/numbers.hpp"
#include "host/report/document.hpp"

namespace kf::bench {

inline constexpr std::string_view kNaive =
    "naive";                                       // contexts and keys once a download, an EVP call a segment and mode
inline constexpr std::string_view kCopy = "copy";  // the same octets copied once: what memory alone would allow

// One way to seal so many packages of one size together.
struct SealRow {
  std::size_t bytes = 0, in_flight = 0;
  std::string engine;                   // kNaive, kCopy or an engine's name
  std::vector<double> bytes_per_cpu_s;  // plaintext, by round
};

// One step of the path from the template to the SOAP body.
struct StepRow {
  std::string way;                  // kNaive or "product"
  std::string step;                 // personalise, cut, seal, hex, envelope, wipe; all: the sum
  std::vector<double> ns_per_byte;  // of plaintext, by round
};

struct Scp03tReport {
  std::string version, commit, build, started, command;
  Machine machine;
  double other_cpus = 0;  // CPUs that other programs kept busy during the run, on average
  bool interrupted = false;
  unsigned rounds = 0, key_bits = 128;
  std::string engine;                // that the product takes here
  std::vector<std::string> engines;  // that were measured
  std::vector<SealRow> seal;
  std::size_t path_bytes = 0, path_downloads = 0, path_batch = 0, path_memory_bytes = 0;
  std::vector<StepRow> path;
  double derive_naive_ns = 0, derive_product_ns = 0;  // session keys and 85 of one download; not in the path
  std::vector<std::string> left_out;                  // cells beyond the memory limit
  std::uint64_t checked = 0, wrong = 0;               // packages compared octet for octet

  [[nodiscard]] const SealRow* row(std::size_t bytes, std::size_t in_flight, std::string_view engine) const;
  [[nodiscard]] bool clean() const { return checked > 0 && wrong == 0 && !interrupted; }
};

// An engine over the naive loop, round by round; empty: not measured.
std::optional<Spread> seal_ratio(const Scp03tReport& r, std::size_t bytes, std::size_t in_flight,
                                 std::string_view engine);
std::optional<Spread> path_ratio(const Scp03tReport& r);  // naive time over the product's

OrderedJson to_json(const Scp03tReport& r);
report::Document document(const Scp03tReport& r);

}  // namespace kf::bench
