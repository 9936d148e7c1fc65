// What a CK_RV means for the work at hand: one table, data, printed by the probe.
#pragma once

#include <p11-kit/pkcs11.h>

#include <span>
#include <string>
#include <string_view>

#include "host/base/result.hpp"

namespace kf::p11 {

enum class RvClass : std::uint8_t {
  ok,
  job,      // this job's input is at fault: fail it, keep everything else
  session,  // drop the session, retry the job on a new one
  key,      // the handle is stale: look it up once, retry
  busy,     // try again later or elsewhere
  device,   // counts towards "token down"; every code that is not in the table
  fatal,    // replace the worker process
};
struct RvRow {
  CK_RV rv;
  std::string_view name;
  RvClass cls;
};
std::span<const RvRow> rv_table() noexcept;
RvClass rv_class(CK_RV rv) noexcept;
std::string_view to_string(RvClass c) noexcept;
std::string rv_text(CK_RV rv);  // "CKR_PIN_INCORRECT", or "CKR_0x80000001"

// "C_Login: CKR_PIN_INCORRECT (job)" under the given reason; `hint` says what to do about it.
Error rv_error(std::string reason, std::string_view call, CK_RV rv, std::string_view hint = {});

}  // namespace kf::p11
