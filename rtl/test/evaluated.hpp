// What tells a verilated engine whether anything outside of it changed since it was last evaluated: inputs, or flops
// and memories that a bench reaches by name.
//
// Verilator assumes at each evaluation that everything outside did, and first computes anew all logic that depends on
// it. In a model whose flops can be reached that is nearly all logic, twice a cycle: two thirds of the time. build.sh
// puts this header before the model's sources and lets the model ask the flag instead. Engine::tick clears it where
// it knows that nothing changed; anywhere else it stands, and an evaluation is complete.
#pragma once

namespace kf::rtl {
inline bool changed_outside = true;
}
