// A board whose core can be disturbed: one bit of one flop or memory flips, as a particle would do it. Test equipment:
// its model is built with every signal reachable (cmake/verilate.cmake), and no program of the product is linked with
// it.
#pragma once

#include <memory>
#include <random>
#include <string>

#include "drivers/simulated/board/board.hpp"

namespace kf::ecc {

class FaultyBoard : public Board {
 public:
  // Between two cycles. A flop or memory of the engine is chosen, then an element and a bit of it, all evenly; gives
  // "u_core.u_control.pc_q[0] bit 3". `only`: a regular expression that the name has to match; empty: any.
  virtual std::string flip(std::mt19937_64& random, const std::string& only) = 0;
  virtual std::size_t places() = 0;  // flops and memories
};

// Style fast, II = 1, a product's core. As Board::make otherwise.
std::unique_ptr<FaultyBoard> make_faulty_board(const BoardOptions& o);

}  // namespace kf::ecc
