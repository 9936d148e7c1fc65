// The PIN from its file or environment variable. Reasons: hsm-pin.
#pragma once

#include "host/base/secret.hpp"

namespace kf::hsm::worker {
// First line of the file, 1..255 octets, line end removed; a warning is logged when others may read the file.
Result<SecretBytes> read_pin_file(const std::string& path, std::string_view what);
// The value leaves the environment: wiped in place, then unset.
Result<SecretBytes> take_pin_from_environment(const std::string& name, std::string_view what);
}  // namespace kf::hsm::worker
