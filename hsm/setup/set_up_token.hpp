// Making a token ready for the engine. Threading: blocks; any one thread. Reasons: those of HsmEngine::start.
#pragma once

#include <string>
#include <vector>

#include "hsm/engine/hsm_engine.hpp"

namespace kf::hsm {

// `keyferry init`: creates the token in a free slot when no token of that label exists, the identity key pairs
// (non-extractable, sensitive, sign only) and the wrap key (AES-256, non-extractable). Idempotent. Runs in a worker
// process.
struct TokenSetup {
  HsmConfig config;
  std::string token_label;
  std::string so_pin_file;
};
struct TokenSetupReport {
  bool token_created = false;
  std::vector<std::string> keys_created;
};
Result<TokenSetupReport> set_up_token(const TokenSetup& s);

}  // namespace kf::hsm
