// Free TCP ports on loopback for processes that must be told theirs.
#pragma once

#include <cstdint>
#include <vector>

#include "host/base/result.hpp"

namespace kf::proc {

// `n` different ports that could be bound just now, outside the range from which the kernel gives out outgoing ports,
// so that nothing takes them by chance before they are used. They are ours for as long as this process lives: other
// programs that ask here get others (a lock on an empty file a port below the temporary directory, which stays; where
// it cannot be made there is none). Reasons: proc-ports.
Result<std::vector<std::uint16_t>> free_ports(std::size_t n);

}  // namespace kf::proc
