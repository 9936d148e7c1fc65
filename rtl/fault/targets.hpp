// The flops and memories of a verilated model by name, and flips of their bits. The model is built with --vpi and the
// file that flops.py writes, so that Verilator keeps a table of their names.
//
// A wire may share its name with a flop. What holds state is therefore found by trying: a bit is flipped and the model
// evaluated without a clock edge. A wire is computed again and forgets the flip, a flop or memory keeps it. What
// depends on a flop by logic alone sees the flip.
#pragma once

#include <verilated_sym_props.h>
#include <verilated_syms.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kf::fault {

struct Target {
  std::string name;  // below the root: "u_core.u_seq.abort_q"
  unsigned char* data = nullptr;
  std::size_t bits = 1;          // of one element
  std::size_t elements = 1;      // of a memory or array
  std::size_t element_size = 1;  // bytes
  std::size_t all_bits() const { return bits * elements; }
};

inline void flip(const Target& t, std::size_t element, std::size_t bit) {
  t.data[element * t.element_size + bit / 8] ^= static_cast<unsigned char>(1U << bit % 8);
}

/// Every signal below that module that might be a flop or memory, by name: the same list, in the same order, for every
/// model of a class. The thread's context is the model's.
inline std::vector<Target> candidates(std::string_view root = "TOP.kf_engine") {
  std::vector<Target> out;
  for (const auto& [scope_name, scope] : *Verilated::scopeNameMap()) {
    const std::string_view scope_text = scope_name;
    if (!scope_text.starts_with(root) || scope->varsp() == nullptr || scope_text.find("unnamedblk") != scope_text.npos)
      continue;
    for (const auto& [name, var] : *scope->varsp()) {
      // Parameters, which are constants of the model, are written in capitals in this RTL.
      if (!var.isPublicRW() || std::islower(static_cast<unsigned char>(name[0])) == 0 || var.vltype() == VLVT_STRING)
        continue;
      Target t;
      t.name = std::string(scope_text.substr(std::min(root.size() + 1, scope_text.size()))) +
               (scope_text.size() > root.size() ? "." : "") + name;
      t.data = static_cast<unsigned char*>(var.datap());
      t.element_size = var.entSize();
      t.elements = var.udims() > 0 ? static_cast<std::size_t>(var.elements(1)) : 1;
      t.bits = var.dims() > var.udims() ? static_cast<std::size_t>(var.packed().elements()) : 1;
      out.push_back(std::move(t));
    }
  }
  std::sort(out.begin(), out.end(), [](const Target& a, const Target& b) { return a.name < b.name; });
  return out;
}

/// Is it one? A flipped bit that stands for a clock may have made an edge: `top` is of no use for anything else
/// afterwards, unless it stood idle.
template <class Top>
bool holds(Top& top, const Target& t) {
  flip(t, 0, 0);
  const unsigned char flipped = t.data[0];
  top.eval();
  if (t.data[0] != flipped) return false;
  flip(t, 0, 0);
  top.eval();
  return true;
}

/// Every flop and memory below `root`, by name. `top` is idle. Secret-free; one thread.
template <class Top>
std::vector<Target> targets(Top& top, std::string_view root = "TOP.kf_engine") {
  std::vector<Target> out = candidates(root);
  std::erase_if(out, [&](const Target& t) { return !holds(top, t); });
  return out;
}

}  // namespace kf::fault
