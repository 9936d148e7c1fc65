#include "hsm/probe/probe_hands.hpp"

#include <utility>

namespace kf::hsm {
namespace {
using Json = nlohmann::json;
using State = ProbeAttempt::State;

ProbeToken token_of(const Json& j) {
  ProbeToken t;
  t.label = j.at("label");
  t.manufacturer = j.at("manufacturer");
  t.model = j.at("model");
  t.serial = j.at("serial");
  t.uri = j.at("uri");
  t.hardware = j.at("hardware");
  t.firmware = j.at("firmware");
  t.flags = strings_of(j, "flags");
  t.initialised = j.at("initialised");
  t.user_pin = j.at("user_pin");
  t.login_required = j.at("login_required");
  t.random = j.at("random");
  t.pin_min = j.at("pin_min");
  t.pin_max = j.at("pin_max");
  t.sessions_max = j.at("sessions_max");
  t.sessions_open = j.at("sessions_open");
  t.rw_sessions_max = j.at("rw_sessions_max");
  t.rw_sessions_open = j.at("rw_sessions_open");
  return t;
}

}  // namespace

bool is_loss(const Error& e) { return e.reason == "hsm-worker-lost" || e.reason == "hsm-worker"; }

ProbeAttempt attempt_of(const Json& j, const char* key) {
  const auto it = j.find(key);
  if (it == j.end() || !it->is_object()) return {};
  if (it->value("ok", false)) return {State::good, {}};
  return {State::refused, it->value("why", std::string())};
}

std::vector<std::string> strings_of(const Json& j, const char* key) {
  std::vector<std::string> out;
  for (const Json& s : j.value(key, Json::array())) out.push_back(s.get<std::string>());
  return out;
}

ProbeSlot slot_of(const Json& j) {
  ProbeSlot s;
  s.id = j.at("id");
  s.info = attempt_of(j, "info");
  s.description = j.value("description", "");
  s.manufacturer = j.value("manufacturer", "");
  s.flags = strings_of(j, "flags");
  if (const auto t = j.find("token"); t != j.end()) s.token = token_of(*t);
  return s;
}

void Hands::use(TokenConfig t, bool log_in) {
  client_.reset();
  token_ = std::move(t);
  log_in_ = log_in;
}

Status Hands::ready() {
  if (client_ && client_->pid() > 0) return {};
  KF_TRY(client_, start({}));
  return {};
}

Result<std::unique_ptr<DirectClient>> Hands::start(const std::vector<HsmConfig::IdentityKey>& keys) const {
  HsmConfig c;
  c.worker_path = o_.worker_path;
  c.start_limit = o_.start_limit;
  c.identity_keys = keys;
  return DirectClient::start(c, token_, log_in_, o_.stop);
}

std::optional<Json> Hands::step(const std::string& name, const Json& args, const std::string& what, ProbeAttempt& why) {
  why = {};
  if (stopped()) return std::nullopt;
  if (!may(name)) {
    why.why = "not tried after " + std::to_string(kLossesPerKind) + " crashes or hangs";
    return std::nullopt;
  }
  Result<std::string> text = std::string();
  if (const Status s = ready(); s) {
    text = client_->step(name, args.dump(), o_.step_limit);
  } else {
    text = s.error();
  }
  if (text) {
    Json j = Json::parse(*text, nullptr, false);
    if (j.is_object()) return j;
    text = Error{"hsm-worker", "the worker's answer cannot be read"};
  }
  const Error& e = text.error();
  if (is_loss(e)) {
    note(name, what, e);
    why = {State::lost, e.detail};
  } else if (e.reason != "interrupted") {
    why = {State::refused, e.detail};
  }
  return std::nullopt;
}

ProbeAttempt Hands::attempt(const std::string& name, const Json& args, const std::string& what, const char* key) {
  ProbeAttempt why;
  const auto j = step(name, args, what, why);
  return j ? attempt_of(*j, key) : why;
}

void Hands::note(const std::string& kind, const std::string& what, const Error& e) {
  r_.incidents.push_back({what, e.detail});
  ++losses_[kind];
  ++all_losses_;
  client_.reset();
}

bool Hands::may(const std::string& kind) const {
  const auto it = losses_.find(kind);
  return all_losses_ < kLossesInAll && (it == losses_.end() || it->second < kLossesPerKind);
}

Status Hands::end() {
  if (!client_) return {};
  const Status s = client_->end();
  client_.reset();
  return s;
}

}  // namespace kf::hsm
