// The verbs of `keyferry`. Each gives the exit status: 0 done, 1 failed, 2 wrong usage or configuration (one clear
// line).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/server/config.hpp"

namespace kf::server {

struct InitCommand {
  InitOptions options;
  bool force_config = false;
};
int run_init(const InitCommand& c);

struct ImportCommand {
  std::string config, owner, type, template_file, csv_file, pol2;
  std::vector<std::string> packages;
  std::uint64_t required_memory = 65536;
};
int run_profile_import(const ImportCommand& c);
int run_profile_list(const std::string& config, bool rows);
int run_profile_sample(const std::string& out);
int run_profile_inspect(const std::string& file);

int run_identity_show(const std::string& config);
int run_identity_export(const std::string& config, const std::string& curve, const std::string& out);
int run_identity_import(const std::string& config, const std::string& curve, const std::string& certificate);

int run_status(const std::string& config, bool json);
int run_check_config(const std::string& config);

int complain(int status, const std::string& line);  // "keyferry: line" on stderr

}  // namespace kf::server
