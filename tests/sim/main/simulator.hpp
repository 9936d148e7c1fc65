// The whole test world in one object: SM-SR, fleet, M2M SP sink, and the control interface. `keyferry-sim run` is its
// main; tests may hold one in their own process. One io_context, one thread. Test equipment only.
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/fleet/fleet.hpp"
#include "tests/sim/operator/sink.hpp"
#include "tests/sim/smsr/smsr.hpp"

namespace kf::sim {

struct SimulatorOptions {
  std::string pki_dir = "var/pki";  // made when it is missing
  Curve curve = Curve::p256;
  FleetOptions fleet;
  std::string smdp_url;  // where ES3 notifications go; a bare origin gets /es3/callback
  std::string smdp_oid = "2.999.20";
  std::string smdp_cert;  // PEM; empty: tls-smdp.pem of the PKI directory
  std::vector<Party> more_parties;
  std::string listen_address = "127.0.0.1";
  std::uint16_t es3_port = 0, es5_port = 0, m2m_port = 0, control_port = 0;  // 0: any free port
  std::vector<std::string> faults;
  std::string audit_file;
  bool strict = false;          // the SM-SR takes only what the published v3 descriptions have
  std::string record;           // folder for the envelopes of the SM-SR
  std::string hostile;          // how the SM-SR misbehaves (tests/sim/smsr/hostile.hpp); empty: not at all
  net::Millis hold{60'000};     // how long the SM-SR holds a POST
  net::Millis silence{10'000};  // then it triggers again
  std::chrono::seconds enable_timeout{120};
  bool m2m = true;  // send ES4 notifications to the sink
};

class Simulator {
 public:
  Simulator(asio::io_context& io, SimulatorOptions o);
  ~Simulator();
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  Status start();  // PKI, cards, servers. Reasons: those of the parts, bad-fault
  void stop();

  [[nodiscard]] std::string ready_line() const;                                                    // one line of JSON
  [[nodiscard]] std::string report(const std::string& eid = {}, bool touched_only = false) const;  // JSON
  [[nodiscard]] std::string summary() const;  // JSON, counters only
  Status add_fault(const std::string& spec) { return faults_.add(spec); }
  void clear_faults() { faults_.clear(); }
  [[nodiscard]] std::vector<std::string> faults() const { return faults_.list(); }
  Status set_hostile(const std::string& spec);  // empty: well-behaved from now on. Reasons: bad-hostile
  void set_smdp_url(const std::string& url);
  void flush_audit() { smsr_->flush_audit(); }

  [[nodiscard]] std::string es3_url() const;
  [[nodiscard]] Smsr& smsr() { return *smsr_; }
  [[nodiscard]] Fleet& fleet() { return *fleet_; }
  [[nodiscard]] NotificationSink& sink() { return *sink_; }

 private:
  asio::io_context& io_;
  SimulatorOptions options_;
  FaultPlan faults_;
  std::optional<Eum> eum_;
  std::unique_ptr<Fleet> fleet_;
  std::unique_ptr<Smsr> smsr_;
  std::unique_ptr<NotificationSink> sink_;
};

// Plain HTTP on loopback: GET /summary, GET /report[?eid=...][?touched=1], GET /faults, POST /fault, POST /hostile,
// POST /config, POST /quit.
class Control {
 public:
  Control(asio::io_context& io, Simulator& s, std::uint16_t port, std::function<void()> quit);
  ~Control();
  Status start();
  void stop();
  [[nodiscard]] std::uint16_t port() const;

 private:
  asio::awaitable<net::Response> handle(net::Request r);
  Simulator& sim_;
  std::function<void()> quit_;
  net::HttpServer server_;
};

std::string notification_endpoint(const std::string& url);  // a bare origin gets /es3/callback

}  // namespace kf::sim
