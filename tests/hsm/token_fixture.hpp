// One throw-away SoftHSM token per test program, set up on first use and removed at the end; helpers to drive an
// engine.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "hsm/engine/hsm_engine.hpp"

namespace kf::hsm::testing {

// Its own directory below the temporary directory, removed with everything in it.
class ScratchDir {
 public:
  ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  ~ScratchDir();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The shared token's configuration; workers = 1. Aborts the program with the reason when it cannot be set up.
HsmConfig token_config();
// The same through the spy module; the log file (may not exist yet) is the second.
struct Spied {
  HsmConfig config;
  std::string log;
  [[nodiscard]] std::size_t count(std::string_view call) const;
};
Spied spied(const ScratchDir& dir, std::vector<std::pair<std::string, std::string>> extra = {});

std::unique_ptr<HsmEngine> start(const HsmConfig& c);

// Submits all (in pieces when the engine pushes back), polls until every request is answered or `seconds` are over.
// Fails the test when an id is unknown or answered twice.
std::map<std::uint64_t, EccCompletion> run_all(HsmEngine& e, const std::vector<EccRequest>& requests, int seconds = 120,
                                               const std::function<void(std::size_t answered)>& during = {});

// Requests with random hashes and fresh software peers.
EccRequest sign_request(std::uint64_t id, Curve c);
struct EckaCase {
  EccRequest request;
  SecretArray<32> peer_d;
};
EckaCase ecka_case(std::uint64_t id, Curve c);

}  // namespace kf::hsm::testing
