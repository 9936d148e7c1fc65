// Throw-away SoftHSM tokens, set up on first use and removed at the end of the test program; the fault shim in front of
// them; helpers to drive an engine.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "hsm/engine/hsm_engine.hpp"

namespace kf::hsm::testing {

// Its own directory below the temporary directory, removed with everything in it. `in_memory`: below /dev/shm where
// there is one, for tokens with hundreds of objects.
class ScratchDir {
 public:
  explicit ScratchDir(bool in_memory = false);
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  ~ScratchDir();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The shared token's configuration; workers = 1. Aborts the program with the reason when it cannot be set up.
HsmConfig token_config();
// Two SoftHSM tokens, "a" and "b", in directories of their own, that hold the same identity keys and the same wrap key;
// workers = 1 each. Set up on first use, as above.
HsmConfig two_tokens();
// A token with 500 more key pairs, labelled bystander-0 ... bystander-499 (P-256).
HsmConfig crowded_token();

// The fault shim in front of one token: writes its script, reads its log. Grammar: tests/hsm/shim/README.md.
class Shim {
 public:
  // Puts the shim between the workers of `token` and its module; script and log lie in `dir` under `name`. Clear
  // weather.
  Shim(const ScratchDir& dir, TokenConfig& token, const std::string& name = "shim");
  // New rules instead of the old ones, all counters at zero. Every call that begins after this returned obeys them.
  void set(std::string_view rules);
  void clear() { set({}); }
  // Which functions are logged from the next set() on; empty: all. Long runs log little.
  void log_only(std::string functions) { log_only_ = std::move(functions); }
  // The device is not there until back(): then it has been reset, no session has survived.
  void take_away() { set("gone"); }
  void bring_back();

  struct Call {
    std::int64_t begin = 0;  // ns, CLOCK_MONOTONIC
    std::int64_t end = 0;    // 0: it never returned
    int pid = 0;
    int tid = 0;
    std::string function;
    unsigned long session = 0;  // unique over all processes
    unsigned long rv = 0;
  };
  [[nodiscard]] std::vector<Call> calls() const;
  [[nodiscard]] std::size_t count(std::string_view function) const;
  [[nodiscard]] std::size_t count(std::string_view function, unsigned long rv) const;
  // Pairs of neighbouring calls on one session handle of which the second began before the first had returned.
  [[nodiscard]] std::size_t overlaps() const;
  void forget_calls();
  [[nodiscard]] const std::string& script() const { return script_; }

 private:
  std::string module_, script_, log_, log_only_;
  unsigned serial_ = 0;
  unsigned resets_ = 0;
};

// The shared token behind a shim.
struct Shimmed {
  HsmConfig config;
  Shim shim;
};
Shimmed shimmed(const ScratchDir& dir, std::string_view rules = {});

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
