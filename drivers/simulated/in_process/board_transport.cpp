#include "drivers/simulated/in_process/board_transport.hpp"

#include "drivers/ecc/ecc_regs.hpp"

namespace kf::ecc {

std::uint32_t BoardTransport::read(std::uint32_t offset) { return board_.read(offset); }
// What the bus refuses (SLVERR) a processor does not hear of: its writes are posted.
void BoardTransport::write(std::uint32_t offset, std::uint32_t value) { board_.write(offset, value); }
std::span<std::uint8_t> BoardTransport::dma() const { return board_.memory(); }
std::uint64_t BoardTransport::dma_base() const { return board_.dma_base(); }
void BoardTransport::rearm_interrupt() {
  board_.write(kRegIrqStatus, kIrqStatusCompletion.mask() | kIrqStatusError.mask() | kIrqStatusEntropy.mask());
}
void BoardTransport::run(std::uint64_t cycles) { board_.run(cycles); }

}  // namespace kf::ecc
