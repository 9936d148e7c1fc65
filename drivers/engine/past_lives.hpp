// What is known of a core's place beyond the core that is there now: what those did that were lost. Inner header of
// this room; the engine's turn only.
#pragma once

#include <cstdint>
#include <string>

#include "drivers/engine/core_engine.hpp"
#include "drivers/engine/core_unit.hpp"

namespace kf::ecc {

struct PastLives {
  UnitCounts counts;
  std::uint64_t losses = 0, bad_completions = 0, repeats = 0;
  std::string why;  // of the last loss, or why there is none now

  void add(const CoreUnit& lost, std::string reason);
};

// One line of the engine's report; `now` is null while there is no core.
CoreEngineStats::Core stats_of(const PastLives& past, const CoreUnit* now, bool opening);

}  // namespace kf::ecc
