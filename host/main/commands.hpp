// The verbs of `keyferry`. Each gives the exit status: 0 done, 1 failed, 2 wrong usage or configuration (one clear
// line).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/main/config/config.hpp"

namespace kf::server {

struct InitCommand {
  InitOptions options;
  bool force_config = false;
  bool new_store = false;          // where the store of a finished set-up is lost
  std::vector<std::string> given;  // options that were named: those that change nothing any more are told
};
int run_init(const InitCommand& c);

struct ImportCommand {
  std::string config, owner, type, template_file, csv_file, pol2;
  std::vector<std::string> packages;
  std::string imsi, msisdn;           // of one complete package
  std::uint64_t required_memory = 0;  // 0: from the package
  bool skip_unknown_columns = false;
};
int run_profile_import(const ImportCommand& c);
int run_profile_list(const std::string& config, bool rows);
int run_profile_release(const std::string& config, const std::string& iccid, bool yes);
int run_profile_sample(const std::string& out);
int run_profile_inspect(const std::string& file);

int run_identity_show(const std::string& config);
int run_identity_export(const std::string& config, const std::string& curve, const std::string& out);
int run_identity_import(const std::string& config, const std::string& curve, const std::string& certificate);

// 0 whenever the page was printed, also for a module that will not do; 1 no survey possible; 130 after Ctrl-C.
struct ProbeCommand {
  std::string module, token, pin_file, pin_env, report_json, report_html;
  std::vector<std::string> identity, environment;
  double seconds = 1;
  unsigned max_threads = 8, max_processes = 0;
};
int run_probe(const ProbeCommand& c);

// `socket` empty: the one that the configuration names; nothing else in that file needs to be right.
// 0 all is well, 1 nobody answers, 3 the server runs and something needs a person: what, stands under "health".
int run_status(const std::string& config, const std::string& socket, bool json);
int run_token(const std::string& config, const std::string& socket, const std::string& verb,
              const std::string& token);  // drain, resume
// Every mistake at once. `with_token`: logs in, too.
int run_check_config(const std::string& config, bool with_token);

std::string line_of(const Error& e);
int status_of(const Error& e);  // 2 for a wrong configuration, else 1
// ": cannot be written", with what errno says: behind the name of a file just after a stream failed on it.
std::string cannot_write();
int complain(int status, const std::string& lines);  // "keyferry: line" on stderr for each

}  // namespace kf::server
