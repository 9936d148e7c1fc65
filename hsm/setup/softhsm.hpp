// A private SoftHSM below one directory: for `keyferry init` on a machine without an HSM, and for tests.
//
// Layout: DIR/softhsm2.conf, DIR/tokens/ (0700), DIR/pin, DIR/so-pin (0600, random). Nothing outside DIR is touched.
#pragma once

#include <string>

#include "hsm/setup/set_up_token.hpp"

namespace kf::hsm {

// The module among the usual paths, or $SOFTHSM2_MODULE. Reasons: hsm-module.
Result<std::string> find_softhsm_module();
// Writes the configuration file anew, keeps the tokens; the value is its absolute path. Reasons: hsm-token.
Result<std::string> write_softhsm_conf(const std::string& dir);
// A random PIN in a new file of mode 0600; an existing file is kept. Reasons: hsm-pin.
Status write_pin_file(const std::string& path);

// All of the above and what set_up_token() and HsmEngine::start() need for it: identity keys on both curves with the
// labels "SK.DP.ECDSA P-256" and "SK.DP.ECDSA brainpoolP256r1", wrap key "KEK".
Result<TokenSetup> softhsm_setup(const std::string& dir, const std::string& token_label);

}  // namespace kf::hsm
