#include "bench/hsm/target.hpp"

#include <algorithm>

#include "host/main/config/config.hpp"
#include "hsm/setup/softhsm.hpp"
#include "hsm/setup/test_token.hpp"

namespace kf::bench {
namespace {

Error usage(std::string what) { return {"usage", std::move(what)}; }

Result<hsm::HsmConfig::IdentityKey> identity_of(const std::string& s) {
  hsm::HsmConfig::IdentityKey k{Curve::p256, s, {}};
  if (const auto at = s.find('='); at != std::string::npos && !s.starts_with("pkcs11:")) {
    const auto curve = curve_by_name(s.substr(0, at));
    if (!curve || *curve == Curve::frp256v1)
      return usage("--identity " + s + ": must be LABEL or CURVE=LABEL with P-256 or brainpoolP256r1");
    k.curve = *curve;
    k.label = s.substr(at + 1);
  }
  if (k.label.empty()) return usage("--identity " + s + ": the label is missing");
  return k;
}

Result<Target> from_config(const HsmBenchOptions& o) {
  auto c = server::load_config(o.config);
  if (!c) return usage(c.error().detail.empty() ? c.error().reason : c.error().detail);
  Target t;
  t.config = std::move(c->hsm);
  if (t.config.identity_keys.empty()) return usage(o.config + ": no identity key is configured");
  t.what = o.config;
  return t;
}

Result<Target> from_module(const HsmBenchOptions& o) {
  if (o.token.empty()) return usage("--module: needs --token, for example --token pkcs11:token=keyferry");
  if (o.pin_file.empty() == o.pin_env.empty()) return usage("--module: needs one of --pin-file and --pin-env");
  if (o.identities.empty())
    return usage("--module: needs --identity, the label of the key that signs (`keyferry probe` lists the keys)");
  Target t;
  hsm::TokenConfig k;
  k.module_path = o.module;
  k.token_uri = o.token;
  k.pin_file = o.pin_file;
  k.pin_env = o.pin_env;
  t.config.tokens.push_back(std::move(k));
  for (const std::string& i : o.identities) {
    KF_TRY(auto key, identity_of(i));
    for (const auto& other : t.config.identity_keys)
      if (other.curve == key.curve)
        return usage("--identity " + i + ": a second key on " + std::string(curve_name(key.curve)));
    t.config.identity_keys.push_back(std::move(key));
  }
  t.what = o.module + ", " + o.token;
  return t;
}

Result<Target> from_softhsm(const HsmBenchOptions& o) {
  for (const auto& [name, value] :
       {std::pair{"--token", &o.token}, {"--pin-file", &o.pin_file}, {"--pin-env", &o.pin_env}})
    if (!value->empty()) return usage(std::string(name) + ": only with --module");
  if (!o.identities.empty()) return usage("--identity: only with --module");
  Target t;
  KF_TRY(t.config, hsm::make_throwaway_token(o.dir));
  t.what = "SoftHSM, a token of its own in " + o.dir;
  return t;
}

}  // namespace

void Messages::add(const std::string& line) {
  const std::lock_guard lock(mutex_);
  lines_.push_back(line);
  if (lines_.size() > kMost) lines_.pop_front();
}

std::vector<std::string> Messages::latest() const {
  const std::lock_guard lock(mutex_);
  return {lines_.begin(), lines_.end()};
}

Result<Target> find_target(const HsmBenchOptions& o) {
  if (!o.config.empty() && !o.module.empty()) return usage("--module: not together with --config");
  if (!o.config.empty())
    for (const auto& [name, value] :
         {std::pair{"--token", &o.token}, {"--pin-file", &o.pin_file}, {"--pin-env", &o.pin_env}})
      if (!value->empty()) return usage(std::string(name) + ": not together with --config");
  if (!o.config.empty() && !o.identities.empty()) return usage("--identity: not together with --config");
  std::vector<std::pair<std::string, std::string>> environment;
  for (const std::string& e : o.environment) {
    const auto at = e.find('=');
    if (at == std::string::npos || at == 0) return usage("--env " + e + ": must be NAME=VALUE");
    environment.emplace_back(e.substr(0, at), e.substr(at + 1));
  }
  KF_TRY(Target t, !o.config.empty() ? from_config(o) : !o.module.empty() ? from_module(o) : from_softhsm(o));
  t.messages = std::make_shared<Messages>();
  t.config.log = [m = t.messages](const std::string& line) { m->add(line); };
  for (auto& k : t.config.tokens) {
    if (o.threads != 0) k.threads = o.threads;
    for (const auto& e : environment) k.environment.push_back(e);
    t.workers += k.workers;
  }
  if (o.workers != 0) t.workers = o.workers;
  return t;
}

hsm::HsmConfig with_workers(const hsm::HsmConfig& c, unsigned processes) {
  hsm::HsmConfig out = c;
  const auto tokens = static_cast<unsigned>(c.tokens.size());
  out.tokens.resize(std::min<std::size_t>(tokens, processes));
  for (unsigned i = 0; i < out.tokens.size(); ++i)
    out.tokens[i].workers = processes / tokens + (i < processes % tokens ? 1 : 0);
  return out;
}

}  // namespace kf::bench
