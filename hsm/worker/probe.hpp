// Mode probe: steps of `keyferry probe` and direct measurements, one call after the other, in a worker that the module
// may crash or hang at any of them.
#pragma once

#include "hsm/wire/wire.hpp"

namespace kf::hsm::worker {
// Loads the module, finds the token when there is a URI, logs in when there is a PIN source, answers ready and then
// calls until the socket closes. The exit status of the worker.
int run_probe(int fd, const wire::Configuration& c);
}  // namespace kf::hsm::worker
