// The worker's loops after start-up, on the main thread: the control socket.
#pragma once

#include "hsm/worker/crew.hpp"

namespace kf::hsm::worker {
// Mode serve: calls go to the crew. Until the socket closes (0) or a protocol error (1).
int serve(int fd, Crew& crew);
// Mode test_vectors: no ring, calls are answered here. Likewise, and 3 after a CK_RV of class fatal.
int serve_calls(int fd, TokenOps& ops);
}  // namespace kf::hsm::worker
