// `keyferry-sim operator ...`: an Operator by hand.
#pragma once

#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace kf::sim {

struct OperatorCli {
  std::string command;  // "order", "call"
  std::string smdp_url = "https://127.0.0.1:8443/es2", smdp_oid = "2.999.20", oid = "2.999.10", pki_dir = "var/pki";
  std::string eid, smsr_oid = "2.999.30", iccid, type, pattern = "sync", call_id, function;
  std::string listen_host;
  std::uint16_t port = 0;
  bool enable = false;
  unsigned validity = 0;   // seconds, 0: not given
  unsigned timeout = 300;  // seconds
  unsigned linger = 0;     // seconds to wait for notifications afterwards
};
void add_operator_commands(CLI::App& app, OperatorCli& o);
int run_operator_command(const OperatorCli& o);  // exit status as the help of keyferry-sim says

}  // namespace kf::sim
