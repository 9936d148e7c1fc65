// keyferry-sim: the test world of an SM-DP. `run` starts SM-SR, fleet and sink; `operator` is an Operator by hand.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <iostream>

#include "host/base/command_line.hpp"
#include "host/base/text.hpp"
#include "tests/sim/main/operator_cli.hpp"
#include "tests/sim/main/simulator.hpp"

namespace {

using namespace kf;
using namespace kf::sim;

constexpr std::uint64_t kLastCard = 999'999'999'999;  // an EID of the fleet has twelve digits for the number

std::string fault_help() {
  std::string s =
      "Faults (--fault NAME[=VALUE][@COUNT][:SELECTOR], may be repeated; SELECTOR is every-N or the last digits\n"
      "of an EID, COUNT limits faults of SM-SR and link per EID):\n";
  for (const auto& f : fault_catalogue()) {
    std::string left = "  " + std::string(f.name);
    if (!f.value.empty()) left += "[=" + std::string(f.value) + "]";
    if (left.size() < 34) left.resize(34, ' ');
    s += left + "  " + std::string(f.text) + "\n";
  }
  return s;
}

std::string hostile_help() {
  std::string s = "\nHostility (--hostile NAME=PERCENT,...; seed=N repeats a run, all=PERCENT sets every one):\n";
  for (const auto& n : hostile_names()) {
    std::string left = "  " + std::string(n.name);
    if (left.size() < 14) left.resize(14, ' ');
    s += left + "  " + std::string(n.text) + "\n";
  }
  return s;
}

int run(SimulatorOptions o) {
  asio::io_context io(1);
  Simulator sim(io, o);
  const auto fail = [](const Error& e) {
    std::cerr << "keyferry-sim: " << one_line(e.text()) << "\n";
    return e.reason == "bad-fault" || e.reason == "bad-url" ? 2 : 1;
  };
  if (const auto s = sim.start(); !s.ok()) return fail(s.error());
  ::signal(SIGPIPE, SIG_IGN);  // who reads our lines may go first
  ::signal(SIGHUP, SIG_IGN);   // a terminal that closes does not end a fleet; it has no file to turn
  asio::signal_set signals(io, SIGINT, SIGTERM);
  Control control(io, sim, o.control_port, [&io] { asio::post(io, [&io] { io.stop(); }); });
  if (const auto s = control.start(); !s.ok()) return fail(s.error());
  signals.async_wait([&io](const boost::system::error_code& ec, int) {
    if (!ec) io.stop();
  });
  auto ready = nlohmann::ordered_json::parse(sim.ready_line());
  ready["control_port"] = control.port();
  std::cout << ready.dump() << std::endl;
  io.run();
  sim.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Test equipment for an SM-DP of GSMA SGP.02: an SM-SR, a fleet of eUICCs, an M2M SP and an Operator.\n"
      "Never part of the product."};
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.footer(
      "Try it, with an SM-DP set up by `keyferry init` and running (ES2 on 8443, ES3 on 8444):\n"
      "  keyferry-sim run --euiccs 10 --es3-port 9444 --control-port 9500 --smdp-url https://127.0.0.1:8444\n"
      "and in another terminal:\n"
      "  keyferry-sim operator order --eid $(keyferry-sim eid 0) --type 'Keyferry sample profile' --enable --port 9443 "
      "--linger 2\n"
      "  curl -s http://127.0.0.1:9500/summary\n"
      "9444 and 9443 are where that SM-DP looks for its SM-SR and its Operator; with --port 9443 the Operator gets "
      "the\n"
      "notifications, too. README.md (\"The first hour by hand\") has every step before and after.\n"
      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the SM-DP said no.");

  const CLI::Range port_number(0, 65535);
  SimulatorOptions o;
  std::string curve = "P-256", radio = "none";
  std::vector<std::string> parties;
  unsigned hold = 60'000, silence = 10'000;
  bool plain_es5 = false;
  auto* r = app.add_subcommand("run",
                               "SM-SR (ES3 over HTTPS, ES5 over HTTP), fleet of eUICCs, M2M SP sink; prints one line\n"
                               "of JSON when ready, ends on SIGINT, SIGTERM or POST /quit");
  r->add_option("--pki", o.pki_dir, "directory of the test PKI; what is missing is made")->capture_default_str();
  r->add_option("--curve", curve, "P-256 or brainpoolP256r1: CI, EUM and cards")->capture_default_str();
  r->add_option("--euiccs", o.fleet.euiccs, "how many cards")->capture_default_str()->check(CLI::Range(1u, 1'000'000u));
  r->add_option("--first", o.fleet.first, "number of the first EID (see: keyferry-sim eid N)")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{0}, kLastCard));
  r->add_option("--memory", o.fleet.memory, "bytes for profiles on each card")->capture_default_str();
  r->add_option("--rc-length", o.fleet.rc_length, "length of the card's RC, 16 or 32")
      ->check(CLI::IsMember({16u, 32u}))
      ->capture_default_str();
  r->add_flag("--r-mac-on-empty", o.fleet.r_mac_on_empty, "cards answer 86 08 R-MAC instead of 86 00");
  r->add_option("--smdp-url", o.smdp_url,
                "where ES3 notifications go; a bare origin gets /es3/callback. May be set later:\n"
                "POST /config {\"smdp_url\":...}");
  r->add_option("--smdp-oid", o.smdp_oid, "OID of the SM-DP")->capture_default_str();
  r->add_option("--smdp-cert", o.smdp_cert, "its TLS certificate (default: tls-smdp.pem of --pki)");
  r->add_option("--listen", o.listen_address, "IPv4 address of all servers")->capture_default_str();
  r->add_option("--es3-port", o.es3_port, "0: any free port")->check(port_number)->capture_default_str();
  r->add_option("--es5-port", o.es5_port, "0: any free port")->check(port_number)->capture_default_str();
  r->add_option("--m2m-port", o.m2m_port, "0: any free port")->check(port_number)->capture_default_str();
  r->add_option("--control-port", o.control_port, "0: any free port; always on loopback, plain HTTP")
      ->check(port_number)
      ->capture_default_str();
  r->add_flag("--plain-es5", plain_es5, "ES5 without TLS-PSK");
  r->add_option("--radio", radio,
                "simulated radio, ms an exchange: none, constant:MS, uniform:MIN:MAX, lognormal:MEDIAN:SIGMA")
      ->capture_default_str();
  r->add_option("--seed", o.fleet.seed, "of the simulated radio")->capture_default_str();
  r->add_option("--hold", hold, "ms the SM-SR holds a POST when there is nothing to do and MoreToDo was set")
      ->capture_default_str()
      ->check(CLI::Range(1u, 86'400'000u));
  r->add_option("--silence", silence, "ms without a word from a card before it is triggered again")
      ->capture_default_str()
      ->check(CLI::Range(1u, 86'400'000u));
  r->add_option("--fault", o.faults, "inject a fault, see below");
  r->add_option("--hostile", o.hostile,
                "the SM-SR misbehaves by chance, for example seed=7,all=4,late=10; POST /hostile changes it, an empty\n"
                "body ends it. See below");
  std::string strict;
  r->add_option("--strict", strict,
                "wsdl-3: the SM-SR refuses what the published v3 interface descriptions do not have")
      ->check(CLI::IsMember({"wsdl-3"}));
  r->add_option("--record", o.record, "write every envelope that the SM-SR receives or sends into this folder");
  r->add_option("--audit", o.audit_file, "write everything relayed to this file, one JSON object a line");
  bool no_m2m = false;
  r->add_flag("--no-m2m", no_m2m, "send no ES4 notifications");
  r->footer(fault_help() + hostile_help() +
            "\nControl (plain HTTP on loopback): GET /summary, GET /report[?eid=EID][?touched=1], GET /faults,\n"
            "POST /fault (a fault as text, or {\"clear\":true,\"add\":[...]}), POST /config, POST /quit.");

  std::uint64_t n = 0;
  auto* eid = app.add_subcommand("eid", "prints the n-th EID of the fleet");
  eid->add_option("n", n, "number, from 0")->required()->check(CLI::Range(std::uint64_t{0}, kLastCard));

  OperatorCli op;
  add_operator_commands(app, op);

  if (const auto ended = parse_command_line(app, "keyferry-sim", argc, argv)) return *ended;

  if (*eid) {
    std::cout << fleet_eid(n) << "\n";
    return end_program("keyferry-sim", 0);
  }
  if (*r) {
    const auto c = curve_by_name(curve);
    if (!c || *c == Curve::frp256v1) {
      std::cerr << "keyferry-sim: --curve " << curve << ": P-256 or brainpoolP256r1\n";
      return 2;
    }
    o.curve = *c;
    o.strict = !strict.empty();
    auto rd = Radio::parse(radio);
    if (!rd.ok()) {
      std::cerr << "keyferry-sim: " << one_line(rd.error().text()) << "\n";
      return 2;
    }
    o.fleet.radio = *rd;
    o.fleet.psk = !plain_es5;
    o.hold = net::Millis(hold);
    o.silence = net::Millis(silence);
    o.fleet.post_timeout = net::Millis(hold * 2 + 60'000);
    o.m2m = !no_m2m;
    return run(std::move(o));
  }
  return end_program("keyferry-sim", run_operator_command(op));
}
