// The crypto floor: what one download's cryptography costs when nothing else is done. CPU seconds, not wall time.
#pragma once

#include "bench/report/burst_report.hpp"
#include "host/crypto/curve.hpp"
#include "host/main/config/config.hpp"

namespace kf::bench {

// On the token of `c` (a worker of its own is started) and in software; what ECC cores do costs no processor anything.
// Where several engines shared an operation, each counts by its part of `operations` (op -> engine -> count, as the
// report has it). `package` has the size of a personalised one. Reasons: those of HsmEngine::start, floor (an operation
// failed), interrupted.
Result<CryptoFloor> measure_floor(const server::Config& c, Curve curve, const Bytes& package, unsigned repetitions,
                                  const Json& operations);

}  // namespace kf::bench
