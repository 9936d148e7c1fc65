#include "hsm/worker/probe_steps.hpp"

#include <array>

namespace kf::hsm::worker {
namespace {

struct Step {
  std::string_view name;
  bool needs_token;
  Result<Json> (*run)(ProbeContext&, const Json&);
};
constexpr std::array kSteps{
    Step{"library", false, &step_library},
    Step{"mechanisms", false, &step_mechanisms},
    Step{"return-codes", false, &step_return_codes},
    Step{"token", true, &step_token},
    Step{"keys", true, &step_keys},
    Step{"objects", true, &step_objects},
    Step{"sessions", true, &step_sessions},
    Step{"random", true, &step_random},
    Step{"wrap", true, &step_wrap},
    Step{"pair", true, &step_pair},
    Step{"ecdh", true, &step_ecdh},
    Step{"sign", true, &step_sign},
    Step{"verify", true, &step_verify},
    Step{"copy", true, &step_copy},
};

}  // namespace

Status ProbeContext::need_token() const {
  if (token) return {};
  return no_token ? *no_token : Error{"hsm-token", "no token was named"};
}

Json attempt(const calls::Outcome& o) {
  if (o.ok()) return {{"ok", true}};
  return {{"ok", false}, {"why", o.text()}};
}
Json attempt(const char* call, CK_RV rv) { return attempt(calls::Outcome{rv, call}); }
Json refusal(const Error& e) { return {{"ok", false}, {"why", e.detail.empty() ? e.reason : e.detail}}; }

std::string clean(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return text;
}

Result<std::string> probe_step(ProbeContext& x, const std::string& name, const std::string& arguments) {
  const Json a = Json::parse(arguments.empty() ? "{}" : arguments, nullptr, false);
  if (!a.is_object()) return Error{"hsm-call", "step " + name + ": the arguments are no JSON object"};
  for (const Step& s : kSteps) {
    if (s.name != name) continue;
    if (s.needs_token) KF_CHECK(x.need_token());
    try {
      KF_TRY(const Json j, s.run(x, a));
      return j.dump(-1, ' ', false, Json::error_handler_t::replace);
    } catch (const Json::exception& e) {  // an argument of the wrong type
      return Error{"hsm-call", "step " + name + ": " + e.what()};
    }
  }
  return Error{"hsm-call", "no step is called '" + name + "'"};
}

}  // namespace kf::hsm::worker
