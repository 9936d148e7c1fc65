// From orders to what is sent: personalised template -> segments -> sealed commands -> hexBinary of each SendData, for
// many downloads side by side (SCP03t, docs/spec/crypto.md 6).
//
// Orders wait in a queue that holds keys only; a download that waits there simply does not go on, which is the
// back-pressure. They are taken in batches, so that the segments of several downloads fill the lanes of the sealer
// (host/seal); a batch grows by itself while the threads are busy. A batch is one token of a oneTBB pipeline and its
// stages never wait for anything. What is taken is bounded by `bytes_in_flight`.
//
// Order within a download only; downloads overtake each other. Keys and personal data are wiped when a batch has been
// sealed. Threading: submit() and stats() from any thread; callbacks run on a thread of the pipeline and must be quick.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/histogram.hpp"
#include "host/es8/parts.hpp"
#include "host/es8/scp03t.hpp"

namespace kf::pipeline {

// A package as segments, each a view into `own` or into what `keep` keeps.
struct Package {
  std::shared_ptr<const void> keep;
  SecretBytes own;
  std::vector<ByteView> segments;
  std::size_t bytes = 0;
};

struct Order {
  es8::KeySet keys;
  Aid isd_p;
  es8::Challenge hc{};
  es8::SequenceCounter counter{};                     // of the offline script
  std::optional<es8::InitializeUpdateAnswer> online;  // instead: 84 was answered with this
  std::function<Result<Package>()> package;           // called on a thread of the pipeline; the reasons are its own
  std::size_t about_bytes = 0;                        // of the package: what the order counts against the bound
  std::size_t send_data_limit = 0;                    // octets of Data in one SendData, 0: no limit
  bool in_22 = false;                                 // each command inside a 22
};

struct Sealed {
  Status status;  // those of Order::package and es8::seal_online; pipeline-stopped
  std::shared_ptr<es8::SealedScript> session;
  std::vector<es8::SendPart> parts;
  std::size_t bytes = 0, segments = 0;
};

struct Options {
  unsigned threads = 2;
  std::size_t bytes_in_flight = std::size_t{64} << 20;  // plain, sealed and hexBinary of what was taken
  std::size_t batch = 64;                               // orders sealed in one call, at most
  std::string engine = "best";                          // host/seal/sealer.hpp
};

struct Stats {
  std::uint64_t orders = 0, bytes = 0, segments = 0;
  double personalise_s = 0, seal_s = 0, encode_s = 0;  // CPU of the pipeline's threads
  Histogram batch;                                     // orders in a batch
  std::size_t peak_bytes = 0;                          // highest count against the bound
  std::string engine;
};

class SealPipeline {
 public:
  // Reasons: no-engine (no such sealer here; the text lists them).
  static Result<std::unique_ptr<SealPipeline>> make(const Options& o);
  ~SealPipeline();  // finishes what was taken; what still waits is called back with pipeline-stopped
  SealPipeline(const SealPipeline&) = delete;
  SealPipeline& operator=(const SealPipeline&) = delete;

  void submit(Order order, std::function<void(Sealed)> done);
  [[nodiscard]] Stats stats() const;

 private:
  struct Impl;
  explicit SealPipeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What one order of so many bytes counts for while it is in the pipeline: the package, the commands, and these in hex.
std::size_t memory_of(std::size_t package_bytes);

}  // namespace kf::pipeline
