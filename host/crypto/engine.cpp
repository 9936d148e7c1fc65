#include "host/crypto/engine.hpp"

namespace kf {
std::string_view to_string(EccStatus s) {
  switch (s) {
    case EccStatus::ok:
      return "ok";
    case EccStatus::bad_signature:
      return "bad-signature";
    case EccStatus::bad_input:
      return "bad-input";
    case EccStatus::no_key:
      return "no-key";
    case EccStatus::engine_down:
      return "engine-down";
    case EccStatus::failed:
      return "failed";
    case EccStatus::busy:
      return "busy";
    case EccStatus::timed_out:
      return "timed_out";
  }
  return "unknown";
}
}  // namespace kf
