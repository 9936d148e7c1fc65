// Everything the probe found, as JSON. Keys in words; an attempt is {"state": ..., "why": ...}.
#include <nlohmann/json.hpp>

#include "hsm/probe/probe_report.hpp"

namespace kf::hsm {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson attempt(const ProbeAttempt& a) {
  static constexpr const char* kStates[] = {"not tried", "good", "refused", "lost"};
  OrderedJson j{{"state", kStates[static_cast<std::size_t>(a.state)]}};
  if (!a.why.empty()) j["why"] = a.why;
  return j;
}

OrderedJson token(const ProbeToken& t) {
  return {{"label", t.label},
          {"serial", t.serial},
          {"manufacturer", t.manufacturer},
          {"model", t.model},
          {"hardware", t.hardware},
          {"firmware", t.firmware},
          {"uri", t.uri},
          {"initialised", t.initialised},
          {"login_required", t.login_required},
          {"flags", t.flags},
          {"pin_min", t.pin_min},
          {"pin_max", t.pin_max},
          {"sessions_max", t.sessions_max},
          {"sessions_open", t.sessions_open},
          {"rw_sessions_max", t.rw_sessions_max},
          {"rw_sessions_open", t.rw_sessions_open}};
}

OrderedJson slot(const ProbeSlot& s) {
  OrderedJson j{{"id", s.id},
                {"description", s.description},
                {"manufacturer", s.manufacturer},
                {"flags", s.flags},
                {"info", attempt(s.info)}};
  if (!s.token) return j;
  j["token"] = token(*s.token);
  j["mechanism_list"] = attempt(s.mechanism_list);
  j["mechanism_count"] = s.mechanism_count;
  j["mechanisms"] = OrderedJson::object();
  for (const ProbeMechanism& m : s.mechanisms)
    j["mechanisms"][m.name] = {{"listed", m.listed}, {"min", m.min}, {"max", m.max}, {"flags", m.flags}};
  return j;
}

OrderedJson curve(const ProbeCurve& c) {
  OrderedJson j{{"curve", curve_name(c.curve)},
                {"pair", attempt(c.pair)},
                {"pair_plain", attempt(c.pair_plain)},
                {"read_write_session", c.read_write},
                {"public_point", c.point_der ? "OCTET STRING" : "raw"},
                {"destroyed", attempt(c.destroyed)},
                {"ecdh_raw", attempt(c.ecdh_raw)},
                {"ecdh_octet_string", attempt(c.ecdh_der)},
                {"without_value_len", attempt(c.without_value_len)},
                {"value_octets", c.value_octets},
                {"kdfs", OrderedJson::object()},
                {"off_curve_accepted", attempt(c.off_curve)},
                {"sign", attempt(c.sign)},
                {"verify_octet_string", attempt(c.verify_der)},
                {"verify_raw", attempt(c.verify_raw)},
                {"copy_of_session_key", attempt(c.copy)}};
  for (const auto& [name, a] : c.kdfs) j["kdfs"][name] = attempt(a);
  return j;
}

OrderedJson rate(const ProbeRate& r) {
  static constexpr const char* kKinds[] = {"", "sign", "sign_with_copy", "ecka", "set", "verify"};
  OrderedJson j{{"kind", kKinds[static_cast<std::size_t>(r.kind)]},
                {"curve", curve_name(r.curve)},
                {"processes", r.processes},
                {"threads", r.threads},
                {"per_second", r.per_second},
                {"p50_us", r.p50_us},
                {"p95_us", r.p95_us},
                {"p99_us", r.p99_us}};
  if (!r.problem.empty()) j["problem"] = r.problem;
  return j;
}

template <class T, class F>
OrderedJson list(const std::vector<T>& from, F&& f) {
  OrderedJson out = OrderedJson::array();
  for (const T& t : from) out.push_back(f(t));
  return out;
}

}  // namespace

std::string probe_json(const ProbeReport& r, const ProbeHead& h) {
  static constexpr const char* kAnswers[] = {"yes", "no", "unknown"};
  const ProbeAdvice advice = advise(r);
  OrderedJson j{{"program", h.program},     {"when", h.when},
                {"module", r.module_path},  {"library", r.library},
                {"cryptoki", r.cryptoki},   {"token_uri", r.token_uri},
                {"logged_in", r.logged_in}, {"tried", r.tried},
                {"cores", r.cores},         {"verdicts", OrderedJson::object()}};
  for (const CustodyVerdict& v : judge(r))
    j["verdicts"][v.policy] = {{"answer", kAnswers[static_cast<std::size_t>(v.answer)]}, {"text", v.text}};
  j["left_out"] = r.left_out;
  j["incidents"] = list(r.incidents, [](const auto& i) { return OrderedJson{{"step", i.step}, {"what", i.what}}; });
  j["advice"] = {{"workers", advice.workers}, {"threads", advice.threads}, {"why", advice.why}, {"toml", advice.toml}};
  j["slot_count"] = r.slot_count;
  j["slots"] = list(r.slots, slot);
  if (r.tried) {
    j["key_list"] = attempt(r.key_list);
    j["key_count"] = r.key_count;
    j["keys"] = list(r.keys, [](const ProbeKey& k) {
      return OrderedJson{{"kind", k.kind},   {"type", k.type}, {"label", k.label}, {"id", k.id},
                         {"curve", k.curve}, {"bits", k.bits}, {"flags", k.flags}};
    });
    j["identities"] = list(r.identities, [](const ProbeIdentity& i) {
      return OrderedJson{{"name", i.name},
                         {"curve", i.curve ? std::string(curve_name(*i.curve)) : std::string()},
                         {"found", attempt(i.found)},
                         {"sign", attempt(i.sign)},
                         {"copy", attempt(i.copy)},
                         {"copy_guarded", i.copy_guarded}};
    });
    j["curves"] = list(r.curves, curve);
    j["random"] = attempt(r.random);
    j["aes_key"] = attempt(r.aes_key);
    j["aes_gcm"] = attempt(r.gcm);
    j["aes_key_wrap"] = attempt(r.key_wrap);
    j["aes_key_wrap_pad"] = attempt(r.key_wrap_pad);
    j["sessions_opened"] = r.sessions_opened;
    j["sessions"] = attempt(r.sessions);
    j["session_objects_left"] = r.objects_left ? OrderedJson(*r.objects_left) : OrderedJson(nullptr);
    j["ended"] = attempt(r.ended);
    j["operations"] = list(r.operations, rate);
    j["threads"] = list(r.threads, rate);
    j["processes"] = list(r.processes, rate);
  }
  j["return_codes"] = list(r.return_codes, [](const ProbeReturnCode& c) {
    return OrderedJson{{"code", c.code}, {"name", c.name}, {"class", c.cls}};
  });
  return j.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace kf::hsm
