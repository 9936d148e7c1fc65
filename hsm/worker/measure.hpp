// The reference ceiling: a tight loop of PKCS#11 calls, with nothing around them but two clock reads.
#pragma once

#include "hsm/p11/token.hpp"
#include "hsm/wire/measure.hpp"

namespace kf::hsm::worker {
// Signs with the identity key that the configuration names for the curve, with a session key pair when it names none.
// Starts `threads` threads, each with a session and keys of its own, and ends them. Reasons: hsm-key (no such key, or
// no copy permitted), hsm-token (sessions, ECDH).
Result<wire::MeasureRate> measure(p11::Module& m, CK_SLOT_ID slot, const wire::Configuration& c,
                                  const wire::MeasureRun& run);
}  // namespace kf::hsm::worker
