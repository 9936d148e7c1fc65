// `keyferry status|token|check-config`: what is asked of the running server, and of the configuration before it runs.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "host/base/text.hpp"
#include "host/main/admin_socket.hpp"
#include "host/main/commands.hpp"
#include "host/main/hsm_status.hpp"
#include "host/main/preflight.hpp"
#include "host/main/status_text.hpp"

namespace kf::server {
using Json = nlohmann::json;

std::string line_of(const Error& e) { return e.detail.empty() ? e.reason : e.detail; }
int status_of(const Error& e) { return e.reason == "config" ? 2 : 1; }

namespace {

// Asks the server; of the configuration it needs the socket alone. Reasons: config, admin.
Result<Json> ask(const std::string& config, const std::string& socket, const std::string& line) {
  std::string path = socket;
  if (path.empty()) {
    auto c = load_config_for(config, {"listen.admin_socket"});
    if (!c)
      return Error{"config", c.error().detail + "\nwithout a configuration: --socket PATH, the server's admin socket"};
    path = c->admin_socket;
  }
  if (path.empty())
    return Error{"config", config + ": listen.admin_socket: not set, so the server cannot be asked anything"};
  KF_TRY(const std::string answer, ask_server(path, line));
  Json j = Json::parse(answer, nullptr, false);
  if (j.is_discarded() || !j.is_object()) return Error{"admin", "the server's answer cannot be read"};
  return j;
}

}  // namespace

int run_status(const std::string& config, const std::string& socket, bool json) {
  const auto j = ask(config, socket, "status");
  if (!j) return complain(status_of(j.error()), line_of(j.error()));
  std::fputs((json ? j->dump(1) + "\n" : clean_lines(status_text(*j))).c_str(), stdout);
  return status_trouble(*j).empty() ? 0 : 3;
}

int run_token(const std::string& config, const std::string& socket, const std::string& verb, const std::string& token) {
  const auto j = ask(config, socket, verb + " " + token);
  if (!j) return complain(status_of(j.error()), line_of(j.error()));
  std::fputs(clean_lines(hsm_lines(j->value("hsm", Json::object()))).c_str(), stdout);
  if (!j->value("ok", false)) return complain(2, "token \"" + token + "\": no token of that name (see above)");
  return 0;
}

int run_check_config(const std::string& config, bool with_token) {
  auto r = read_config(config);
  if (!r) return complain(2, r.error().detail);
  check_files(r->config, r->mistakes);
  check_modules(r->config, r->mistakes);
  const bool ask_token = with_token && std::ranges::none_of(r->mistakes.list(), [](const Mistake& m) {
                           return m.key.starts_with("token") || m.key.starts_with("hsm") ||
                                  (m.key.starts_with("identity") && !m.key.ends_with(".certificate"));
                         });
  if (ask_token) check_token(r->config, r->mistakes);
  for (const Mistake& m : check_names(r->config)) complain(0, "warning: " + config + ": " + m.key + ": " + m.what);
  if (const std::size_t n = r->mistakes.list().size(); n != 0) {
    complain(2, r->mistakes.text(config));
    return complain(2, config + ": " + std::to_string(n) + (n == 1 ? " mistake" : " mistakes") +
                           (with_token && !ask_token ? "; the token is asked once these are mended" : ""));
  }
  std::printf("%s: good (%zu parties, %zu identities, custody %s)%s\n", config.c_str(), r->config.parties.size(),
              r->config.identities.size(), std::string(custody_name(r->config.custody)).c_str(),
              with_token ? "; token, keys and store fit" : "; --token checks what needs the PIN, too");
  return 0;
}

}  // namespace kf::server
