// What the machine lets one process hold, asked before a run needs it: a limit that is met in the middle of a run looks
// like a fault of whatever was measured.
#pragma once

#include <cstdint>
#include <string>

#include "host/base/result.hpp"

namespace kf::proc {

// Raises the limit of open files of this process, which its children inherit, to `wanted` at least: to all that is
// allowed, and beyond where the process may. Reasons: proc-limit (detail: what is allowed).
Status need_descriptors(std::uint64_t wanted);
// How many connections to one address can be open at once (net.ipv4.ip_local_port_range); 0: unknown.
std::uint64_t local_ports();

}  // namespace kf::proc
