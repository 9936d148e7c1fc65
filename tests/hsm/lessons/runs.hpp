// Runs of two lengths: short among the lessons, long in the soak.
#pragma once

#include <chrono>
#include <cstdint>

#include "host/crypto/curve.hpp"

namespace kf::hsm::testing {

// L4: 1,000 jobs in flight over processes and threads; the shim's log shows no overlapping calls on one session.
void no_session_is_shared(std::chrono::milliseconds length);
// L9: so many jobs with 500 keys in the token, and no look-up after the first of them.
void no_look_ups(std::uint64_t jobs);
// L15: start and stop; the exit status is 0 each time.
void start_and_stop(int cycles);
// L16: so many download sets; no object left, each worker within its budget, the server's memory as it was.
void memory_stays(std::uint64_t sets, std::size_t leak_kib_per_set);
// L21: so many signatures, all verified with OpenSSL, those with leading zeros among them.
void signatures_keep_their_zeros(Curve c, std::uint64_t signatures);
// L17: download sets, sealed records and persistent key pairs made at the same time, workers crash now and then.
void objects_made_in_parallel(std::chrono::milliseconds length);

}  // namespace kf::hsm::testing
