// `keyferry init`: token, identity key pairs and wrap key, each created only when missing.
#pragma once

#include "hsm/p11/module.hpp"
#include "hsm/wire/wire.hpp"

namespace kf::hsm::worker {
// Arguments: SO PIN file, token label. Answer: u32 created, u32 n, n labels. Reasons: hsm-pin, hsm-token, hsm-key,
// hsm-call.
Result<SecretBytes> provision(p11::Module& m, const wire::Configuration& c, wire::Reader& args);
Result<SecretBytes> user_pin(const wire::Configuration& c);  // from file or environment
}  // namespace kf::hsm::worker
