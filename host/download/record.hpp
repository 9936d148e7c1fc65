// What is persisted of a download: identities, state, counters, causes. Never a key, a challenge or profile bytes;
// the subscription address is read again from the (sealed) inventory.
#pragma once

#include "host/download/machine.hpp"

namespace kf::download {

std::string to_record(const Download& d);               // one line of JSON
Result<Download> from_record(std::string_view record);  // reasons: bad-record

}  // namespace kf::download
