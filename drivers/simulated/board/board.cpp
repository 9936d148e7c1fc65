#include "drivers/simulated/board/board.hpp"

#include <algorithm>

namespace kf::ecc {

// One maker for each model, in board_of.cpp.
#define KF_BOARD_MODEL(name, style, ii, test) std::unique_ptr<Board> make_##name(const BoardOptions& o);
#include "generated/board_models.inc"
#undef KF_BOARD_MODEL

namespace {

struct Entry {
  BoardModel model;
  std::unique_ptr<Board> (*make)(const BoardOptions&);
};
const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
#define KF_BOARD_MODEL(name, style, ii, test) {{#name, Style::style, ii, test != 0}, make_##name},
#include "generated/board_models.inc"
#undef KF_BOARD_MODEL
  };
  return all;
}

}  // namespace

std::string_view to_string(Style s) { return s == Style::fast ? "fast" : "pipelined"; }

std::optional<Style> style_by_name(std::string_view n) {
  for (const Style s : {Style::fast, Style::pipelined})
    if (n == to_string(s)) return s;
  return std::nullopt;
}

std::span<const BoardModel> board_models() {
  static const std::vector<BoardModel> models = [] {
    std::vector<BoardModel> m;
    for (const Entry& e : entries()) m.push_back(e.model);
    return m;
  }();
  return models;
}

Result<std::unique_ptr<Board>> Board::make(const BoardOptions& o) {
  if (o.seed && !o.test_build)
    return Error{"bad-option", "a product's core takes no seed: its entropy is the system's"};
  if (o.broken_samples && !o.test_build) return Error{"bad-option", "a product's core takes no broken noise source"};
  if (o.memory.empty() && o.memory_bytes == 0) return Error{"bad-option", "a board needs memory"};
  if (reinterpret_cast<std::uintptr_t>(o.memory.data()) % 64 != 0 || o.dma_base % 4096 != 0)
    return Error{"bad-option", "memory must be aligned to 64 bytes, its address on the bus to 4096"};
  if (o.stalls > 250) return Error{"bad-option", "stalls must leave room for progress: at most 250 in 256"};
  for (const Entry& e : entries())
    if (e.model.style == o.style && e.model.ii == o.ii && e.model.test_build == o.test_build) return e.make(o);
  if (entries().empty()) return Error{"no-model", "this build holds no simulated core (sanitizers leave it out)"};
  return Error{"no-model", "no core was built with style " + std::string(to_string(o.style)) + ", II " +
                               std::to_string(o.ii) + (o.test_build ? ", test build" : ", product")};
}

}  // namespace kf::ecc
