// Taken up again after a restart of the SM-DP: docs/spec/interfaces.md 4.2, "SM-DP restart".
#include "host/download/machine_impl.hpp"

namespace kf::download {

void Machine::restart(bool planned) {
  Download& x = d();
  if (!planned) ++x.restarts;
  x.taken_up = true;
  x.pending_call = 0;
  x.enable_call = x.calls;
  // The old life may have made calls that its last record does not know: a fresh block of numbers keeps
  // FunctionCallIdentifiers unique, and the commit keeps a second crash from taking the same block.
  x.calls = (x.calls / kCallsOfALife + 1) * kCallsOfALife;
  out_.persist = true;
  switch (x.state) {
    case State::received:
    case State::getting_eis:
    case State::checking:
    case State::cleaning_stale:
    case State::creating_isdp:
      return start();  // a Created entry of the old life is stale now and is cleaned before a new one is made
    case State::sending_cert:
    case State::sending_key:
    case State::installing:
      x.again_after_delete = x.restarts <= 1;
      return begin_delete({Code::provider_failed, x.isd_p_aid, "interrupted by a restart of the SM-DP"});
    case State::completing:
      return probe();
    case State::enabling:
      return probe();
    case State::deleting:
      if (!x.cause) x.cause = Cause{Code::provider_failed, x.isd_p_aid, "interrupted by a restart of the SM-DP"};
      x.tries = 0;
      if (x.isd_p_aid.empty()) return probe();
      return call_delete(iccid());
    default:
      return;
  }
}

}  // namespace kf::download
