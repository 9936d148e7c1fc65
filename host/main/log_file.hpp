// The log: to stderr, or to a file that can be opened anew while the server runs (logrotate renames it and sends
// SIGHUP). Thread-safe.
#pragma once

#include "host/main/config/config.hpp"

namespace kf::server {

// Reasons: log (the file cannot be opened).
Status set_up_log(const Config& c);
// Opens the configured file again under its name. Where that fails the old one is written on. Reasons: log.
Status reopen_log();
// What of the log was lost since its file took lines last; empty: nothing.
std::string log_trouble();

}  // namespace kf::server
