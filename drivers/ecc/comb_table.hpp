// The comb tables of both curves (multiples of the generators), which a host loads into the core before it works.
// Generated at build time by rtl/microcode/gen.py. Public data, any thread.
#pragma once

#include <cstdint>
#include <span>

namespace kf::ecc {

// In the order in which TABLE_DATA takes them: 16 words an entry, from entry 0 on.
std::span<const std::uint32_t> comb_table();

}  // namespace kf::ecc
