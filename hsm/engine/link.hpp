// One life of one worker, as the scheduler and the supervisor share it: the ring, and a few words about its end.
//
// Who may do what: the ring's engine side belongs to the engine's thread from the moment of Mail::ready to Mail::lost;
// the supervisor only reads what the worker's threads are busy with. The atomics are the only other thing both touch.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "hsm/wire/ring.hpp"

namespace kf::hsm {

enum class TokenState : std::uint8_t {
  starting,  // no worker yet, hope
  up,
  down,     // does not serve; a worker is tried every second
  refused,  // PIN or key refused: nothing is tried any more
};

struct Link {
  std::size_t token = 0;   // index into HsmConfig.tokens
  std::size_t worker = 0;  // index over all workers
  unsigned threads = 1;    // that take jobs from the ring
  std::unique_ptr<wire::Ring> ring;
  std::atomic<bool> idle{false};  // set by the scheduler: asked to retire and nothing left in it
};
using LinkPtr = std::shared_ptr<Link>;

// From the supervisor to the engine's thread.
struct Mail {
  enum class Kind : std::uint8_t { ready, lost, retire, token } kind = Kind::token;
  LinkPtr link;           // ready, lost, retire
  std::size_t token = 0;  // token
  TokenState state = TokenState::starting;
};

}  // namespace kf::hsm
