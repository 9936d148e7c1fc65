// The steps of the probe: each asks the module one thing, by trying it, and answers with JSON. Independent of each
// other and of their order, so that a crash or a hang costs one step.
//
// An attempt is {"ok": true} or {"ok": false, "why": "C_DeriveKey: CKR_MECHANISM_INVALID"}; hsm/probe/probe.cpp reads
// what is written here.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "hsm/p11/token.hpp"
#include "hsm/worker/probe_calls.hpp"

namespace kf::hsm::worker {

using Json = nlohmann::json;

struct ProbeContext {
  std::unique_ptr<p11::Module> module;
  std::unique_ptr<p11::Token> token;  // none: survey only. After the module: closed before it
  std::optional<Error> no_token;      // why there is none
  bool logged_in = false;
  [[nodiscard]] Status need_token() const;
};

// Reasons: hsm-call (no such step, malformed arguments), hsm-token, hsm-key, hsm-module.
Result<std::string> probe_step(ProbeContext& x, const std::string& name, const std::string& arguments);

Json attempt(const calls::Outcome& o);
Json attempt(const char* call, CK_RV rv);
Json refusal(const Error& e);
std::string clean(std::string text);  // printable: control characters become '?'

// probe_survey.cpp: no login needed.
Result<Json> step_library(ProbeContext& x, const Json& a);
Result<Json> step_mechanisms(ProbeContext& x, const Json& a);  // {"slot": id}
Result<Json> step_return_codes(ProbeContext& x, const Json& a);
// probe_objects.cpp
Result<Json> step_token(ProbeContext& x, const Json& a);  // the slot of the token that the URI names
Result<Json> step_keys(ProbeContext& x, const Json& a);
Result<Json> step_objects(ProbeContext& x, const Json& a);   // {"curves": those with ECDH}: session objects left
Result<Json> step_sessions(ProbeContext& x, const Json& a);  // {"cap": how many at most}
Result<Json> step_random(ProbeContext& x, const Json& a);
Result<Json> step_wrap(ProbeContext& x, const Json& a);  // {"what": "generate" | "gcm" | "AES_KEY_WRAP" | ...}
// probe_curves.cpp, all with {"curve": "P-256"}
Result<Json> step_pair(ProbeContext& x, const Json& a);
Result<Json> step_ecdh(ProbeContext& x,
                       const Json& a);  // "der", "value_len", "off_curve": bool, "kdf": "NULL", "SHA256"...
Result<Json> step_sign(ProbeContext& x, const Json& a);    // "key": label, URI, or empty for a session pair
Result<Json> step_verify(ProbeContext& x, const Json& a);  // "raw": bool
Result<Json> step_copy(ProbeContext& x, const Json& a);    // "key" as for sign

}  // namespace kf::hsm::worker
