// The engine port: elliptic-curve work as a span of requests in, completions polled out.
//
// Contract, the same for the software engine, the HSM workers and the ECC core:
//  * submit() accepts the first n requests and returns n; n < offered is the back-pressure ("full"), never a wait.
//  * completions are delivered by poll() only, never inside submit(), in any order, exactly once per accepted request.
//  * event_fd() is readable while completions may be waiting (level-triggered; poll() until it returns 0 clears it).
//  * one thread calls submit() and poll(); an engine's own threads are its own business.
//  * every received point is checked (host/crypto/ec.hpp check_point) before it is submitted; engines check again.
// SGP.02 v4.2 3.1.2; docs/architecture.md, "Custody".
#pragma once

#include <chrono>
#include <span>
#include <string_view>

#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"

namespace kf {

enum class EccOp : std::uint8_t {
  sign,            // SK.DP.ECDSA (by curve) over `hash`           -> signature
  ephemeral_ecka,  // fresh pair, ECKA with `peer`, scalar erased  -> epk, shs   (in one request: the scalar never
                   // waits)
  verify,          // `signature` over `hash` with public `peer`   -> status ok or bad_signature
};

enum class EccStatus : std::uint8_t {
  ok,
  bad_signature,  // verify only: the answer is "no"
  bad_input,      // the request itself is at fault (off-curve point, unknown curve)
  no_key,         // no identity key for that curve
  engine_down,    // the engine cannot serve now; nothing was produced
  failed,         // the engine tried and failed; nothing was produced
  busy,           // the device stayed full through every retry; nothing was produced
  timed_out,      // not done by its deadline; nothing was delivered, nothing will be
};
std::string_view to_string(EccStatus s);

struct EccRequest {
  std::uint64_t id = 0;  // the caller's
  EccOp op = EccOp::sign;
  Curve curve = Curve::p256;
  Digest32 hash{};
  Point peer{};
  Signature signature{};
  std::chrono::steady_clock::time_point deadline{};  // zero: the engine's own limit
};

struct EccCompletion {
  std::uint64_t id = 0;
  EccOp op = EccOp::sign;
  EccStatus status = EccStatus::failed;
  Signature signature{};
  Point epk{};
  SecretArray<32> shs;  // ShS: x coordinate, leading zeros kept
};

class EccEngine {
 public:
  EccEngine() = default;
  EccEngine(const EccEngine&) = delete;
  EccEngine& operator=(const EccEngine&) = delete;
  virtual ~EccEngine() = default;
  virtual std::string_view name() const noexcept = 0;  // "software", "hsm", "core": what reports print
  virtual std::size_t submit(std::span<const EccRequest> requests) noexcept = 0;
  virtual std::size_t poll(std::span<EccCompletion> out) noexcept = 0;
  virtual int event_fd() const noexcept = 0;
};

}  // namespace kf
