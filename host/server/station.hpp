// The stations of a download, as lines of the log at level debug: "download <id> station <name>". docs/architecture.md
// lists them in their order, each with the code that is there; tests/e2e holds the list against the log of a download.
//
// A name is of ours, never of a peer's. Loop thread.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

namespace kf::server {

inline void station(const std::string& download, std::string_view name, std::string_view of = {}) {
  spdlog::debug("download {} station {}{}", download, name, of);
}

}  // namespace kf::server
