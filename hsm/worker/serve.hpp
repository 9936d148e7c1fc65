// Mode test_vectors: calls on the control socket, no ring.
#pragma once

#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {
// Until the socket closes (0), a protocol error (1), a CK_RV of class fatal (3).
int serve_calls(int fd, TokenOps& ops);
}  // namespace kf::hsm::worker
