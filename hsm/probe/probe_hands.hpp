// The probe's hands: the worker that makes one step in the module at a time, and what is told of workers that were
// lost. Private to this room.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hsm/probe/probe.hpp"

namespace kf::hsm {

// Was a worker lost by this, by a crash or a hang of the module?
bool is_loss(const Error& e);
// The attempt `key` in a worker's answer: absent, good or refused.
ProbeAttempt attempt_of(const nlohmann::json& j, const char* key);
std::vector<std::string> strings_of(const nlohmann::json& j, const char* key);
ProbeSlot slot_of(const nlohmann::json& j);

// A worker that is there when a step wants it, and what became of those that were lost.
class Hands {
 public:
  static constexpr unsigned kLossesPerKind = 3;  // crashes or hangs in one kind of step, then that kind is left alone
  static constexpr unsigned kLossesInAll = 8;

  Hands(const ProbeOptions& o, ProbeReport& r) : o_(o), r_(r) {}

  // From now on workers are started like this. Ends the present one.
  void use(TokenConfig t, bool log_in);
  Status ready();
  [[nodiscard]] Result<std::unique_ptr<DirectClient>> start(const std::vector<HsmConfig::IdentityKey>& keys) const;
  // The answer of one step. Empty with a loss: noted as an incident; `why` tells.
  std::optional<nlohmann::json> step(const std::string& name, const nlohmann::json& args, const std::string& what,
                                     ProbeAttempt& why);
  // The attempt `key` in the answer of one step.
  ProbeAttempt attempt(const std::string& name, const nlohmann::json& args, const std::string& what, const char* key);
  void note(const std::string& kind, const std::string& what, const Error& e);
  [[nodiscard]] bool may(const std::string& kind) const;
  Status end();
  [[nodiscard]] bool stopped() const { return o_.stop != nullptr && o_.stop->load(); }

 private:
  const ProbeOptions& o_;
  ProbeReport& r_;
  TokenConfig token_;
  bool log_in_ = false;
  std::unique_ptr<DirectClient> client_;
  std::map<std::string, unsigned> losses_;
  unsigned all_losses_ = 0;
};

}  // namespace kf::hsm
