// Key slots that a core answers with `fault` however often they are erased. The generation of such a slot is damaged in
// the core's memory, and the core never writes it anew, since an old handle might fit then (rtl/core/kf_keyslots.sv):
// the slot is out of use until the core is reset. One object for one opening of a core; not thread-safe.
#pragma once

#include <cstdint>
#include <map>

#include "drivers/ecc/ecc_regs.hpp"

namespace kf::ecc {

class WornSlots {
 public:
  // A fault may be another job's: the core answers all that it holds with it when it has overwritten everything.
  static constexpr unsigned kErasures = 3;

  // The erasure of that slot ended so. True: erase it no more, and use it no more.
  bool worn(std::uint16_t slot, JobStatus erased) {
    if (erased != JobStatus::fault) {
      faults_.erase(slot);
      return false;
    }
    return ++faults_[slot] >= kErasures;
  }

 private:
  std::map<std::uint16_t, unsigned> faults_;  // in a row
};

}  // namespace kf::ecc
