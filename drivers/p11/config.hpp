// What the module is told from outside: the TOML file that KEYFERRY_P11_CONF names, or the defaults (one simulated
// core).
//
//   token_objects = "refused" | "volatile"
//   default_usage = "refuse" | "sign" | "derive"
//   log = "stderr" | "none" | FILE
//   [[core]]  transport = "simulator" (program) | "vfio" (device, memory_bytes, memory_address) | "uio"
//             (registers, registers_offset, memory, memory_bytes, memory_address, interrupt)
//   [[key]]   use = "sign" | "derive", curve, label, core: a pair made anew at each start, gone at its end
//             use = "verify", point: a public key, in hexadecimal: 04, X, Y
//
// docs/pkcs11-module.md. Threading: any.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "drivers/core/uio_transport.hpp"
#include "drivers/core/vfio_transport.hpp"
#include "drivers/p11/core_service.hpp"
#include "drivers/p11/object.hpp"

namespace kf::p11core {

struct SimulatedCore {
  std::string program;  // empty: the keyferry-ecc-sim that came with the module
};
struct StartKey {
  enum class Use : std::uint8_t { sign, derive, verify } use = Use::sign;
  ecc::CurveNumber curve = ecc::CurveNumber::p256;
  std::string label;
  Point point{};  // of verify; on the curve
  unsigned core = 0;
};
struct Configuration {
  std::vector<std::variant<SimulatedCore, ecc::VfioOptions, ecc::UioOptions>> cores{SimulatedCore{}};
  std::vector<StartKey> keys;
  bool volatile_token_objects = false;
  Usage default_usage = Usage::refuse;
  std::string log = "stderr";
};

// Reasons: p11-conf; the text names the file and the key.
Result<Configuration> read_configuration();

[[nodiscard]] bool is_simulated(const Configuration& c, std::size_t core);
[[nodiscard]] const char* place_of(const Configuration& c, std::size_t core);  // for the slot's description
// How the service of that core opens it. `any_thread`: a simulated core outlives the thread that does.
CoreService::Open opener(const Configuration& c, std::size_t core, bool any_thread);

}  // namespace kf::p11core
