#include "tests/sim/main/simulator.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "host/pki/test_pki.hpp"

namespace kf::sim {
namespace {

using nlohmann::ordered_json;

const char* card_state(IsdpState s) {
  switch (s) {
    case IsdpState::selectable:
      return "SELECTABLE";
    case IsdpState::personalized:
      return "PERSONALIZED";
    case IsdpState::disabled:
      return "DISABLED";
    case IsdpState::enabled:
      return "ENABLED";
  }
  return "?";
}

bool installed(const InstalledProfile& p) {
  return p.verified && (p.state == IsdpState::disabled || p.state == IsdpState::enabled);
}

double cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return s(u.ru_utime) + s(u.ru_stime);
}

ordered_json counters(const Smsr& smsr, const Fleet& fleet, const NotificationSink* sink) {
  const auto& a = smsr.counters();
  const auto& b = smsr.es5_counters();
  const auto& c = fleet.counters();
  ordered_json j;
  j["es3"] = {{"requests", a.requests},
              {"functions", a.functions},
              {"failed", a.failed},
              {"faults", a.faults},
              {"refused", a.refused},
              {"repeats", a.repeats},
              {"synchronous", a.synchronous},
              {"callbacks", a.callbacks},
              {"callback_failures", a.callback_failures},
              {"notifications", a.notifications},
              {"notification_failures", a.notification_failures},
              {"relayed_bytes", a.relayed_bytes}};
  j["es5"] = {{"triggers", b.triggers},
              {"retriggers", b.retriggers},
              {"posts", b.posts},
              {"scripts", b.scripts},
              {"resends", b.resends},
              {"resumes", b.resumes},
              {"sessions_ended", b.sessions_ended},
              {"held", b.held},
              {"late_answers", b.late_answers},
              {"notifications", b.notifications},
              {"refused", b.refused},
              {"failed", b.failed},
              {"bytes_to_cards", b.bytes_to_cards},
              {"bytes_from_cards", b.bytes_from_cards}};
  j["fleet"] = {{"triggers", c.triggers},
                {"sessions", c.sessions},
                {"sessions_open", fleet.sessions_open()},
                {"posts", c.posts},
                {"scripts", c.scripts},
                {"lost_sessions", c.lost_sessions},
                {"no_connection", c.no_connection},
                {"resumes", c.resumes},
                {"notifications", c.notifications},
                {"errors", c.errors}};
  j["m2m"] = {{"notifications", sink != nullptr ? sink->total() : 0},
              {"refused", sink != nullptr ? sink->refused() : 0}};
  if (sink != nullptr) j["m2m"]["functions"] = sink->counts();
  return j;
}

void raise_file_limit() {  // two ends of every administration session live in this process
  rlimit l{};
  if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
  }
}

}  // namespace

std::string notification_endpoint(const std::string& url) {
  const auto u = net::parse_url(url);
  if (!u.ok() || u->target != "/") return url;
  return url + (url.back() == '/' ? "es3/callback" : "/es3/callback");
}

Simulator::Simulator(asio::io_context& io, SimulatorOptions o) : io_(io), options_(std::move(o)) {}
Simulator::~Simulator() = default;

Status Simulator::start() {
  raise_file_limit();
  for (const auto& f : options_.faults) KF_CHECK(faults_.add(f));
  const TestPkiParties oids = default_parties();
  KF_CHECK(ensure_test_pki(options_.pki_dir, options_.curve, oids));
  KF_TRY(Eum eum, Eum::load(options_.pki_dir, options_.curve));
  eum_.emplace(std::move(eum));

  fleet_ = std::make_unique<Fleet>(io_, options_.fleet, faults_);
  auto records = fleet_->make_cards(*eum_);

  const auto tls_of = [&](const std::string& who) {
    const std::string stem = options_.pki_dir + "/tls-" + who;
    return net::TlsFiles{stem + ".pem", stem + ".key", options_.pki_dir + "/tls-root.pem"};
  };
  SinkOptions sink;
  sink.listen_address = options_.listen_address;
  sink.port = options_.m2m_port;
  sink.tls = tls_of("m2m");
  sink_ = std::make_unique<NotificationSink>(io_, std::move(sink));
  KF_CHECK(sink_->start());

  SmsrOptions s;
  s.tls = tls_of("smsr");
  s.listen_address = options_.listen_address;
  s.es3_port = options_.es3_port;
  s.es5.listen_address = options_.listen_address;
  s.es5.port = options_.es5_port;
  s.es5.psk = options_.fleet.psk;
  s.es5.hold = options_.hold;
  s.es5.silence = options_.silence;
  s.enable_timeout = options_.enable_timeout;
  s.audit_file = options_.audit_file;
  s.strict = options_.strict;
  s.record = options_.record;
  s.hostile = options_.hostile;
  Party smdp;
  smdp.role = Party::Role::smdp;
  smdp.oid = options_.smdp_oid;
  smdp.name = "SM-DP";
  smdp.url = notification_endpoint(options_.smdp_url);
  const std::string smdp_cert = options_.smdp_cert.empty() ? options_.pki_dir + "/tls-smdp.pem" : options_.smdp_cert;
  KF_TRY(smdp.fingerprint, net::certificate_fingerprint(smdp_cert));
  Party op;
  op.role = Party::Role::mno;
  op.oid = oids.op.str();
  op.name = "Operator";
  KF_TRY(op.fingerprint, net::certificate_fingerprint(options_.pki_dir + "/tls-operator.pem"));
  Party m2m;
  m2m.role = Party::Role::m2m;
  m2m.oid = oids.m2m.str();
  m2m.name = "M2M SP";
  KF_TRY(m2m.fingerprint, net::certificate_fingerprint(options_.pki_dir + "/tls-m2m.pem"));
  if (options_.m2m) m2m.url = sink_->url();
  s.parties = {smdp, op, m2m};
  s.parties.insert(s.parties.end(), options_.more_parties.begin(), options_.more_parties.end());

  // The stand-in for the MT-SMS: a queue inside the process that carries the same parameter bytes.
  smsr_ = std::make_unique<Smsr>(io_, std::move(s), faults_, *eum_, [this](const std::string& eid, Bytes payload) {
    fleet_->receive_sms(eid, std::move(payload));
  });
  for (auto& r : records) {
    const CardId id{r.eid, r.index};
    smsr_->register_euicc(std::move(r));
    if (const auto* f = faults_.find("eis-stale", id)) {
      constexpr std::uint32_t memory = 65536;
      KF_TRY(const std::string aid,
             smsr_->add_stale_entry(id.eid, f->value.empty() ? options_.smdp_oid : f->value, memory));
      KF_CHECK(fleet_->preinstall(id.eid, aid, memory));
    }
  }
  return smsr_->start();
}

void Simulator::stop() {
  if (smsr_) smsr_->stop();
  if (sink_) sink_->stop();
}

Status Simulator::set_hostile(const std::string& spec) {
  if (spec.empty()) {
    smsr_->hostility().calm();
    return {};
  }
  KF_TRY(HostileOptions o, parse_hostile(spec));
  smsr_->hostility().configure(std::move(o));
  return {};
}

void Simulator::set_smdp_url(const std::string& url) {
  smsr_->set_party_url(options_.smdp_oid, notification_endpoint(url));
}

std::string Simulator::es3_url() const {
  return "https://" + options_.listen_address + ":" + std::to_string(smsr_->es3_port()) + "/es3";
}

std::string Simulator::ready_line() const {
  ordered_json j;
  j["ready"] = true;
  j["es3_port"] = smsr_->es3_port();
  j["es5_port"] = smsr_->es5_port();
  j["m2m_port"] = sink_->port();
  j["es3_url"] = es3_url();
  j["euiccs"] = options_.fleet.euiccs;
  j["eid_first"] = fleet_eid(options_.fleet.first);
  j["eid_last"] = fleet_eid(options_.fleet.first + options_.fleet.euiccs - 1);
  j["curve"] = curve_name(options_.curve);
  j["radio"] = options_.fleet.radio.text();
  j["faults"] = faults_.list();
  if (!options_.hostile.empty()) j["hostile"] = ordered_json::parse(smsr_->hostility().text());
  j["pid"] = getpid();
  return j.dump();
}

std::string Simulator::summary() const {
  std::uint64_t verified = 0, unverified = 0, enabled = 0, isdps = 0, created = 0, disabled = 0, eis_enabled = 0,
                bytes = 0;
  for (const auto& card : fleet_->report()) {
    for (const auto& p : card.profiles) {
      ++isdps;
      if (installed(p)) {
        ++verified;
        bytes += p.bytes;
      } else if (p.state == IsdpState::disabled || p.state == IsdpState::enabled) {
        ++unverified;
      }
      if (p.state == IsdpState::enabled) ++enabled;
    }
    if (const auto* entries = smsr_->entries(card.eid))
      for (const auto& e : *entries) {
        if (e.info.state == "Created") ++created;
        if (e.info.state == "Disabled") ++disabled;
        if (e.info.state == "Enabled") ++eis_enabled;
      }
  }
  ordered_json j;
  j["euiccs"] = fleet_->size();
  j["verified"] = verified;
  j["not_verified"] = unverified;
  j["profile_bytes"] = bytes;
  j["isdps"] = isdps;
  j["card_enabled"] = enabled;
  j["created_left"] = created;
  j["eis_disabled"] = disabled;
  j["eis_enabled"] = eis_enabled;
  j["relayed_bytes"] = smsr_->counters().relayed_bytes;
  j["notifications"] = sink_->total();
  j["cpu_s"] = cpu_seconds();
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  j["peak_rss_bytes"] = static_cast<std::uint64_t>(u.ru_maxrss) * 1024;
  j["counters"] = counters(*smsr_, *fleet_, sink_.get());
  j["hostile"] = ordered_json::parse(smsr_->hostility().text());
  return j.dump();
}

std::string Simulator::report(const std::string& eid, bool touched_only) const {
  ordered_json list = ordered_json::array();
  const auto add = [&](const CardReport& card) {
    ordered_json profiles = ordered_json::array();
    const auto* entries = smsr_->entries(card.eid);
    std::vector<bool> seen(entries != nullptr ? entries->size() : 0);
    for (const auto& p : card.profiles) {
      ordered_json x;
      x["isdp_aid"] = p.isdp_aid;
      x["iccid"] = p.iccid;
      x["card_state"] = card_state(p.state);
      x["eis_state"] = nullptr;
      for (std::size_t i = 0; i < seen.size(); ++i) {
        const auto& e = (*entries)[i];
        if (e.info.isd_p_aid != p.isdp_aid) continue;
        seen[i] = true;
        x["eis_iccid"] = e.info.iccid;
        x["eis_state"] = e.in_creation ? "In-Creation" : e.info.state;
        x["smdp"] = e.info.smdp_id;
      }
      x["verified"] = p.verified;
      x["sha256"] = to_hex(p.sha256);
      x["bytes"] = p.bytes;
      x["elements"] = p.elements;
      profiles.push_back(std::move(x));
    }
    for (std::size_t i = 0; i < seen.size(); ++i)  // in the EIS only
      if (!seen[i]) {
        const auto& e = (*entries)[i];
        profiles.push_back({{"isdp_aid", e.info.isd_p_aid},
                            {"iccid", e.info.iccid},
                            {"card_state", nullptr},
                            {"eis_state", e.in_creation ? "In-Creation" : e.info.state},
                            {"smdp", e.info.smdp_id}});
      }
    if (touched_only && profiles.empty()) return;
    list.push_back({{"eid", card.eid},
                    {"index", card.index},
                    {"card_free_memory", card.free_memory},
                    {"eis_remaining_memory", smsr_->remaining_memory(card.eid)},
                    {"profiles", std::move(profiles)}});
  };
  if (eid.empty())
    for (const auto& card : fleet_->report()) add(card);
  else if (const auto card = fleet_->report(eid))
    add(*card);
  ordered_json j;
  j["euiccs"] = std::move(list);
  j["counters"] = counters(*smsr_, *fleet_, sink_.get());
  j["cpu_s"] = cpu_seconds();
  return j.dump();
}

}  // namespace kf::sim
