// Lines on stderr for the operator; never a PIN, a key or a shared secret. One thread.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

namespace kf::hsm::worker {
inline void log_line(const std::string& text) {
  std::fprintf(stderr, "keyferry-hsm-worker[%d]: %s\n", static_cast<int>(::getpid()), text.c_str());
}
}  // namespace kf::hsm::worker
