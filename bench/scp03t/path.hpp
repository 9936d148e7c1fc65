// From the template to the SOAP body of SendData, both ways, each step timed by itself.
#pragma once

#include <array>

#include "host/es/soap.hpp"
#include "host/profile/package.hpp"
#include "host/seal/sealer.hpp"

namespace kf::bench {

struct PathTimes {  // CPU seconds of this thread
  double personalise = 0, cut = 0, seal = 0, hex = 0, envelope = 0, wipe = 0;
  [[nodiscard]] double all() const { return personalise + cut + seal + hex + envelope + wipe; }
};

class Path {
 public:
  // A template of `bytes` made of the project's sample, with the sample's slots spread over it.
  Path(std::size_t bytes, std::size_t downloads, std::size_t key_size, std::uint64_t seed);

  // `batch` downloads are in flight; engine and batch of one call are what the product has.
  PathTimes product(seal::ScriptSealer& engine, std::size_t batch);
  PathTimes naive();
  // Bodies of the last run that differ from those of the run before; both must have run.
  [[nodiscard]] std::size_t differing() const;
  [[nodiscard]] std::size_t memory(std::size_t batch) const;  // in flight
  // Session keys, cryptograms and 85 of all downloads: seconds for one download.
  double derive_product(seal::ScriptSealer& engine, std::size_t batch);
  double derive_naive();

 private:
  struct Download {
    profile::Personal personal;
    Bytes s_enc, s_mac;
    Bytes key_enc, key_mac;
    Block16 chain{};
  };
  void note(std::size_t i, std::string_view body);
  std::size_t bytes_;
  Bytes template_;
  std::vector<profile::Slot> slots_;
  std::vector<Download> downloads_;
  es::Request request_;
  es::SendHeader header_;
  std::vector<std::uint64_t> now_, before_;  // fingerprints of the bodies
};

}  // namespace kf::bench
