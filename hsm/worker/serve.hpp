// The worker's loop after start-up.
#pragma once

#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {
// Until the socket closes (0), a protocol error or a fatal CK_RV (an exit status other than 0).
int serve(int fd, TokenOps& ops);
}  // namespace kf::hsm::worker
