#include "tests/sim/main/operator_cli.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>

#include <iostream>

#include "host/base/text.hpp"
#include "tests/sim/operator/operator.hpp"

namespace kf::sim {
namespace {

constexpr std::array kFunctions{
    std::pair{"GetEIS", es::Function::get_eis}, std::pair{"EnableProfile", es::Function::enable_profile},
    std::pair{"DisableProfile", es::Function::disable_profile},
    std::pair{"DeleteProfile", es::Function::delete_profile}, std::pair{"AuditEIS", es::Function::audit_eis}};

nlohmann::ordered_json describe(const Outcome& o) {
  nlohmann::ordered_json j;
  j["eid"] = o.eid;
  j["call"] = o.call_id;
  j["outcome"] = o.text();
  j["http"] = o.http_status;
  j["seconds"] = o.seconds();
  if (o.response) {
    if (o.response->iccid) j["iccid"] = *o.response->iccid;
    if (o.response->euicc_response_data) j["euicc_response_data"] = to_hex(*o.response->euicc_response_data);
    if (o.response->eis) {
      j["remaining_memory"] = o.response->eis->remaining_memory;
      j["profiles"] = nlohmann::ordered_json::array();
      for (const auto& p : o.response->eis->profiles)
        j["profiles"].push_back(
            {{"iccid", p.iccid}, {"isd_p_aid", p.isd_p_aid}, {"state", p.state}, {"type", p.profile_type}});
    }
  }
  return j;
}

// What others wrote is in it: ASCII, so that nothing of it speaks to a terminal.
std::string line_of(const nlohmann::ordered_json& j) {
  return j.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

asio::awaitable<void> drive(asio::io_context& io, Operator& op, const OperatorCli& c, Pattern pattern, int& status) {
  Outcome o;
  const net::Millis timeout(c.timeout * 1000);
  if (c.command == "order") {
    Order order;
    order.eid = c.eid;
    order.smsr_id = c.smsr_oid;
    order.iccid = c.iccid;
    order.profile_type = c.type;
    order.enable = c.enable;
    order.call_id = c.call_id;
    if (c.validity != 0) order.validity = c.validity;
    o = co_await op.order(std::move(order), pattern, timeout);
  } else {
    es::Request q;
    q.interface = es::Interface::es2;
    for (const auto& [name, f] : kFunctions)
      if (c.function == name) q.function = f;
    q.function_call_identifier = c.call_id;
    q.eid = c.eid;
    q.smsr_id = c.smsr_oid;
    if (!c.iccid.empty()) q.iccid = c.iccid;
    if (c.validity != 0) q.validity_period = c.validity;
    o = co_await op.call(std::move(q), pattern, timeout);
  }
  std::cout << line_of(describe(o)) << std::endl;
  status = o.succeeded() ? 0 : o.response || o.fault ? 3 : 1;
  if (c.linger > 0) {
    asio::steady_timer timer(io, std::chrono::seconds(c.linger));
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  io.stop();
}

}  // namespace

void add_operator_commands(CLI::App& app, OperatorCli& o) {
  auto* op = app.add_subcommand("operator", "an Operator by hand: one ES2 call, its outcome as one line of JSON");
  op->require_subcommand(1);
  const auto common = [&o](CLI::App* s, const char* name) {
    s->callback([&o, name] { o.command = name; });
    s->add_option("--smdp-url", o.smdp_url, "ES2 endpoint of the SM-DP")->capture_default_str();
    s->add_option("--smdp-oid", o.smdp_oid, "EntityId of the SM-DP")->capture_default_str();
    s->add_option("--pki", o.pki_dir, "tls-operator.pem, tls-operator.key and tls-root.pem are there")
        ->capture_default_str();
    s->add_option("--oid", o.oid, "EntityId of this Operator")->capture_default_str();
    s->add_option("--eid", o.eid, "32 digits")->required();
    s->add_option("--smsr", o.smsr_oid, "OID of the SM-SR")->capture_default_str();
    s->add_option("--iccid", o.iccid, "the profile");
    s->add_option("--pattern", o.pattern, "how the outcome comes: sync, callback or polling")
        ->capture_default_str()
        ->check(CLI::IsMember({"sync", "callback", "polling"}));
    s->add_option("--call-id", o.call_id, "FunctionCallIdentifier; give the same twice to see idempotence");
    s->add_option("--validity", o.validity, "ValidityPeriod, seconds")->check(CLI::Range(1u, 31'536'000u));
    s->add_option("--timeout", o.timeout, "seconds to wait for the outcome")
        ->capture_default_str()
        ->check(CLI::Range(1u, 604'800u));
    s->add_option("--linger", o.linger, "seconds to go on listening for notifications")
        ->check(CLI::Range(0u, 604'800u));
    s->add_option(
         "--port", o.port,
         "of the server for callbacks and notifications, 0: any. Notifications come to the url that the\n"
         "SM-DP's configuration names for this Operator; after `keyferry init` that is port 9443. Outcomes by\n"
         "callback go there too, or to 443: the SM-DP refuses other ports of a host")
        ->check(CLI::Range(0, 65535))
        ->capture_default_str();
    s->add_option("--listen-host", o.listen_host, "host name in ReplyTo");
  };
  auto* order = op->add_subcommand("order", "DownloadProfile, by --iccid or --type");
  common(order, "order");
  order->add_option("--type", o.type, "profile type; the SM-DP picks a profile");
  order->add_flag("--enable", o.enable, "and enable it");
  auto* call = op->add_subcommand("call", "another ES2 function");
  common(call, "call");
  std::vector<std::string> names;
  for (const auto& f : kFunctions) names.emplace_back(f.first);
  call->add_option("function", o.function, "its name")->required()->check(CLI::IsMember(names));
}

int run_operator_command(const OperatorCli& c) {
  const auto pattern = parse_pattern(c.pattern);
  if (!pattern.ok()) {
    std::cerr << "keyferry-sim: " << one_line(pattern.error().text()) << "\n";
    return 2;
  }
  asio::io_context io(1);
  OperatorOptions o;
  o.smdp_url = c.smdp_url;
  o.smdp_oid = c.smdp_oid;
  o.oid = c.oid;
  o.port = c.port;
  o.listen_host = c.listen_host;
  o.path = "/es2";  // where `keyferry init` sends this Operator's notifications; callbacks come below it
  o.tls = {c.pki_dir + "/tls-operator.pem", c.pki_dir + "/tls-operator.key", c.pki_dir + "/tls-root.pem"};
  Operator op(io, std::move(o));
  if (const auto s = op.start(); !s.ok()) {
    std::cerr << "keyferry-sim: " << one_line(s.error().text()) << "\n";
    return 1;
  }
  op.on_notification = [](const Notification& n) {
    std::cout << line_of({{"notification", es::function_name(n.function)}, {"eid", n.eid}, {"iccid", n.iccid}})
              << std::endl;
  };
  int status = 1;
  asio::co_spawn(io, drive(io, op, c, *pattern, status), asio::detached);
  io.run();
  op.stop();
  return status;
}

}  // namespace kf::sim
