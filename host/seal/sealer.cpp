// Which engines there are.
#include "host/seal/sealer.hpp"

#include "host/seal/engine.hpp"

namespace kf::seal {
namespace {

std::unique_ptr<ScriptSealer> make(std::string_view name) {
  if (name == "openssl") return make_openssl_sealer();
#if defined(KF_SEAL_X86)
  if (name == "ipsec-mb") return make_ipsec_sealer();
  if (name.starts_with("lanes")) return make_lanes_sealer(name);
#endif
  return nullptr;
}

}  // namespace

std::vector<std::string_view> engine_names() {
  static const auto all = [] {
    std::vector<std::string_view> names;
    for (const std::string_view n : {"openssl", "ipsec-mb", "lanes-aesni", "lanes-vaes256", "lanes-vaes512"})
      if (make(n) != nullptr) names.push_back(n);
    return names;
  }();
  return all;
}

Result<std::unique_ptr<ScriptSealer>> make_sealer(std::string_view name) {
  auto s = make(name == "best" ? engine_names().back() : name);
  if (s == nullptr) {
    std::string there;
    for (const auto n : engine_names()) there += (there.empty() ? "" : ", ") + std::string(n);
    return Error{"no-engine", "\"" + std::string(name) + "\": this processor and build have " + there};
  }
  return s;
}

ScriptSealer& default_sealer() {
  static thread_local const std::unique_ptr<ScriptSealer> mine = make(engine_names().back());
  return *mine;
}

}  // namespace kf::seal
