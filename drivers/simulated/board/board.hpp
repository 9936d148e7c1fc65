// The simulated board: the ECC core's RTL (kf_ecc_top) run by Verilator, with its clock, its noise source and the
// memory that its DMA reads and writes. What is seen here is what a driver sees of a board: registers, memory, an
// interrupt line. Time passes only in read(), write() and run(). One thread at a time; a board is slow to make (a
// megabyte of state) and cheap to keep.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/result.hpp"

namespace kf::ecc {

enum class Style : std::uint8_t { fast, pipelined };  // written for simulation speed; the one that is synthesised
std::string_view to_string(Style s);
std::optional<Style> style_by_name(std::string_view n);

// A core that was verilated for this program. A test build takes scalars and nonces from descriptors; a product never
// does.
struct BoardModel {
  std::string_view name;
  Style style;
  unsigned ii;
  bool test_build;
};
std::span<const BoardModel> board_models();  // empty where none was built (sanitizers)

struct BoardOptions {
  Style style = Style::fast;
  unsigned ii = 1;  // cycles from one multiplication to the next
  bool test_build = false;

  // Memory that the core may reach; aligned to 64 bytes, outlives the board. Empty: memory_bytes of the board's own.
  std::span<std::uint8_t> memory;
  std::size_t memory_bytes = std::size_t{1} << 20;
  std::uint64_t dma_base =
      0x12'3400'0000;  // address of its first byte on the core's bus: above 4 GiB, so that all bits count

  unsigned latency = 40;  // cycles from a read's address to its data, from a write's last data to its answer
  unsigned stalls = 0;    // in 256: how often each ready and valid of the memory is held back; 0: never
  // Of entropy and stalls. None: entropy from the operating system, as a product must have it; only test builds take a
  // seed.
  std::optional<std::uint64_t> seed;
  // A broken noise source, test builds only: after `good_samples` it gives these again and again; empty: none any more.
  std::optional<std::vector<std::uint8_t>> broken_samples;
  std::uint64_t good_samples = 0;
};

// One write into a register file of the core.
struct WriteBack {
  std::uint64_t cycle;
  std::uint8_t unit;  // 0 multiplier, 1 adder
  std::uint8_t context, index;
  std::array<std::uint32_t, 8> data;
  bool operator==(const WriteBack&) const = default;
};

class Board {
 public:
  Board() = default;
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;
  virtual ~Board() = default;
  // After reset. Reasons: no-model (none was built with that style, II and variant), bad-option.
  static Result<std::unique_ptr<Board>> make(const BoardOptions& o);

  // AXI4-Lite, one access at a time; aborts the program when the bus does not answer.
  virtual std::uint32_t read(std::uint32_t offset) = 0;
  virtual bool write(std::uint32_t offset, std::uint32_t value) = 0;  // false: refused by the bus (SLVERR)
  virtual void run(std::uint64_t cycles) = 0;
  virtual std::uint64_t run_until_interrupt(
      std::uint64_t at_most) = 0;  // the cycles that passed; 0 when it stands already
  [[nodiscard]] virtual bool interrupt() const = 0;
  virtual void reset() = 0;  // a few cycles of rst; memory keeps its bytes

  [[nodiscard]] virtual std::uint64_t cycles() const = 0;
  [[nodiscard]] virtual double cpu_seconds() const = 0;            // of the calling threads, spent in here
  [[nodiscard]] virtual std::uint64_t stray_accesses() const = 0;  // beyond the memory: answered with DECERR
  [[nodiscard]] virtual std::span<std::uint8_t> memory() const = 0;
  [[nodiscard]] virtual std::uint64_t dma_base() const = 0;

  // The scalars that stand in key slots now, little-endian; for test equipment that must know what nobody else may.
  virtual void key_slots(std::vector<std::array<std::uint8_t, 32>>& into) const = 0;

  virtual void record_writes(std::vector<WriteBack>* into) = 0;  // from now on; null: no more
};

}  // namespace kf::ecc
