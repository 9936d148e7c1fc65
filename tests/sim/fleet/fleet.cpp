#include "tests/sim/fleet/fleet.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "host/base/ids.hpp"
#include "host/base/tlv.hpp"

namespace kf::sim {

struct Fleet::Card {
  Card(CardId i, EuiccIdentity identity, std::shared_ptr<const SecretBytes> key, Euicc::Random random = {})
      : id(std::move(i)), psk(std::move(key)), euicc(std::move(identity), {}, std::move(random)) {}
  CardId id;
  std::shared_ptr<const SecretBytes> psk;
  Euicc euicc;
  unsigned fault_version = 0;
  unsigned scripts = 0;    // executed or lost since the start, for lost-session and lost-script
  bool active = false;     // a session is running or about to
  bool triggered = false;  // a trigger arrived (meanwhile)
  Trigger trigger;
  bool lost = false;        // the last session broke
  bool has_result = false;  // a result that was not taken yet
  Bytes result;
  std::string script_status, result_uri;
  std::optional<Bytes> notification;
};

Fleet::Fleet(asio::io_context& io, FleetOptions o, FaultPlan& faults)
    : io_(io), options_(std::move(o)), faults_(faults), rng_(options_.seed) {}
Fleet::~Fleet() = default;

std::vector<EuiccRecord> Fleet::make_cards(const Eum& eum) {
  std::vector<EuiccRecord> out;
  out.reserve(options_.euiccs);
  for (unsigned i = 0; i < options_.euiccs; ++i) {
    auto made = eum.make(fleet_eid(options_.first + i), i, options_.memory, options_.smsr_oid);
    EuiccIdentity id;
    id.eid = made.record.eid;
    id.curve = eum.curve() == Curve::p256 ? CardCurve::p256 : CardCurve::brainpool_p256r1;
    id.sk_ecasd = std::move(made.sk_ecasd);
    id.cert_ecasd = made.record.eis.ecasd.keysets.front().certs.front().value;
    id.pk_ci = eum.pk_ci();
    id.ci_ski = eum.ci_ski();
    id.memory = options_.memory;
    id.rc_length = options_.rc_length;
    id.r_mac_on_empty = options_.r_mac_on_empty;
    Card& c = *cards_.emplace_back(
        std::make_unique<Card>(CardId{made.record.eid, made.record.index}, std::move(id), made.record.psk));
    by_eid_.emplace(c.id.eid, &c);
    out.push_back(std::move(made.record));
  }
  return out;
}

void Fleet::add_card(const EuiccRecord& record, EuiccIdentity identity, Euicc::Random random) {
  Card& c = *cards_.emplace_back(
      std::make_unique<Card>(CardId{record.eid, record.index}, std::move(identity), record.psk, std::move(random)));
  by_eid_[c.id.eid] = &c;
}

Status Fleet::preinstall(const std::string& eid, const std::string& isdp_aid, std::uint32_t memory) {
  const auto it = by_eid_.find(eid);
  if (it == by_eid_.end()) return Error{"unknown-eid", eid};
  KF_TRY(const Bytes aid, from_hex(isdp_aid));
  // INSTALL [for install], as docs/spec/interfaces.md 3 writes it.
  Bytes data = hex("10A0000005591010FFFFFFFF8900000D0010A0000005591010FFFFFFFF8900000E00");
  append(data, {static_cast<std::uint8_t>(aid.size())});
  append(data, aid);
  append(data, hex("0380C0000EC90481020370EF068304"));
  append(data, {static_cast<std::uint8_t>(memory >> 24), static_cast<std::uint8_t>(memory >> 16),
                static_cast<std::uint8_t>(memory >> 8), static_cast<std::uint8_t>(memory), 0x00});
  Bytes apdu = hex("80E60C00");
  apdu.push_back(static_cast<std::uint8_t>(data.size()));
  append(apdu, data);
  apdu.push_back(0x00);
  Bytes script = hex("AE80");
  append_tlv(script, 0x22, apdu);
  append(script, {0x00, 0x00});
  const ScriptResult r = it->second->euicc.process_script(script, {});
  if (to_hex(r.body).find("9000") == std::string::npos) return Error{"card-refused", to_hex(r.body)};
  return {};
}

void Fleet::arm(Card& c) {
  if (c.fault_version == faults_.version()) return;
  c.fault_version = faults_.version();
  EuiccFaults f;
  const auto has = [&](std::string_view name) { return faults_.find(name, c.id) != nullptr; };
  f.wrong_receipt = has("wrong-receipt");
  f.wrong_r_mac = has("wrong-rmac");
  f.wrong_counter = has("wrong-counter");
  f.omit_dr = has("omit-dr");
  f.pol1_forbids_delete = has("pol1-forbids-delete");
  f.enable_rolls_back = has("enable-fails");
  f.refuse_install = has("install-refused");
  f.delete_fails = has("delete-fails");
  if (const auto* s = faults_.find("memory-full", c.id)) f.memory_full = s->value != "eis";
  if (const auto* s = faults_.find("pe-rejected", c.id)) f.pe_error_at = fault_number(*s, 3);
  if (const auto* s = faults_.find("pe-warning", c.id)) {
    f.pe_error_at = fault_number(*s, 9);
    f.pe_error_aborts = false;
  }
  if (const auto* s = faults_.find("scp-error", c.id)) f.scp_error_at_segment = fault_number(*s, 0);
  c.euicc.faults() = f;
}

void Fleet::receive_sms(const std::string& eid, Bytes payload) {
  const auto it = by_eid_.find(eid);
  if (it == by_eid_.end()) return;  // an SMS to a number that nobody has
  Card& c = *it->second;
  if (!faults_.empty() && faults_.find("unreachable", c.id) != nullptr) return;
  auto t = decode_trigger(payload);
  if (!t.ok()) {
    ++counters_.errors;
    return;
  }
  ++counters_.triggers;
  c.trigger = std::move(t).value();
  c.triggered = true;
  if (c.active) return;  // no parallel sessions: it is looked at when the running one ends
  c.active = true;
  asio::co_spawn(io_, wake_up(c), asio::detached);
}

asio::awaitable<void> Fleet::radio_delay(Card& c) {
  auto us = options_.radio.sample(rng_);
  if (!faults_.empty())
    if (const auto* s = faults_.find("slow-radio", c.id)) us += std::chrono::milliseconds(fault_number(*s, 2000));
  if (us.count() == 0) co_return;
  asio::steady_timer timer(io_, us);
  boost::system::error_code ec;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
}

asio::awaitable<void> Fleet::wake_up(Card& c) {
  co_await radio_delay(c);  // the SMS itself
  unsigned notification_tries = 0;
  while (c.triggered || (c.notification && notification_tries < 3)) {
    if (c.notification) {  // REFRESH and attach are over: tell the SM-SR first
      ++notification_tries;
      ++counters_.notifications;
      co_await session(c, true);
      if (!c.notification) notification_tries = 0;
    } else {
      c.triggered = false;
      co_await session(c, false);
    }
  }
  c.active = false;
}

asio::awaitable<void> Fleet::session(Card& c, bool notification) {
  arm(c);
  ++counters_.sessions;
  ++*open_;
  struct Leave {
    std::shared_ptr<std::size_t> n;
    ~Leave() { --*n; }
  } const leave{open_};

  net::ClientOptions o;
  o.host = c.trigger.address;
  o.port = c.trigger.port;
  o.verify_host = false;
  o.max_connections = 1;
  if (options_.psk) {
    o.psk_identity = c.trigger.psk_identity;
    o.psk_key = c.psk;
  } else {
    o.plain = true;
  }
  net::HttpClient client(io_, std::move(o));

  const bool resume = c.lost && !notification;
  std::string target = c.trigger.uri;
  if (notification) {
    target = target.substr(0, target.find('?')) + "?msg=" + to_hex(*c.notification);
  } else if (resume) {
    ++counters_.resumes;
    if (c.has_result) target = c.result_uri;
  }
  const std::string from = "//se-id/eid/" + c.id.eid + ";//aa-id/aid/" + c.trigger.agent_id;
  bool first = true;
  for (;;) {
    co_await radio_delay(c);
    net::Request r;
    r.target = target;
    r.host = c.trigger.host;
    r.chunked = true;
    r.headers.emplace_back("X-Admin-Protocol", "globalplatform-remote-admin/1.0");
    r.headers.emplace_back("X-Admin-From", from);
    if (first && resume) r.headers.emplace_back("X-Admin-Resume", "true");
    if (c.has_result && !(first && notification)) {
      r.content_type = "application/vnd.globalplatform.card-content-mgt-response;version=1.0";
      r.headers.emplace_back("X-Admin-Script-Status", c.script_status);
      r.body.assign(text(c.result));
      counters_.answer_bytes += c.result.size();
    }
    ++counters_.posts;
    auto answer = co_await client.call(std::move(r), options_.post_timeout, false);
    if (!answer.ok()) {
      if (answer.error().reason == "net-connect") ++counters_.no_connection;
      ++counters_.lost_sessions;
      c.lost = true;
      co_return;
    }
    const net::Response& resp = *answer;
    c.lost = false;
    if (!(first && notification)) c.has_result = false;
    if (first && notification && resp.status < 300) c.notification.reset();
    first = false;
    const std::string* next = net::find_header(resp.headers, "X-Admin-Next-URI");
    if (resp.status == 204) {
      if (next == nullptr) co_return;
      target = *next;
      continue;
    }
    if (resp.status != 200) {
      ++counters_.errors;
      co_return;
    }
    ++c.scripts;
    if (!faults_.empty()) {
      if (const auto* s = faults_.find("lost-script", c.id); s != nullptr && c.scripts == fault_number(*s, 1)) {
        ++counters_.lost_sessions;
        c.lost = true;
        co_return;
      }
      arm(c);
    }
    Bytes aid;  // absent: the ISD-R
    if (const std::string* t = net::find_header(resp.headers, "X-Admin-Targeted-Application")) {
      std::string digits;  // //aid/<RID>/<PIX>
      if (t->starts_with("//aid/"))
        for (const char ch : std::string_view(*t).substr(6))
          if (ch != '/') digits.push_back(ch);
      if (auto b = from_hex(digits); b.ok()) aid = std::move(b).value();
    }
    ++counters_.scripts;
    counters_.script_bytes += resp.body.size();
    ScriptResult done = c.euicc.process_script(view(resp.body), aid);
    if (auto n = c.euicc.take_notification()) c.notification = std::move(n);
    if (next == nullptr) co_return;  // execute, return nothing, close
    c.has_result = true;
    c.result = std::move(done.body);
    c.script_status = std::move(done.script_status);
    c.result_uri = *next;
    target = *next;
    if (!faults_.empty()) {
      if (const auto* s = faults_.find("lost-session", c.id); s != nullptr && c.scripts == fault_number(*s, 1)) {
        ++counters_.lost_sessions;
        c.lost = true;
        co_return;
      }
    }
  }
}

std::vector<CardReport> Fleet::report() const {
  std::vector<CardReport> out;
  out.reserve(cards_.size());
  for (const auto& c : cards_) out.push_back({c->id.eid, c->id.index, c->euicc.free_memory(), c->euicc.profiles()});
  return out;
}

std::optional<CardReport> Fleet::report(const std::string& eid) const {
  const auto it = by_eid_.find(eid);
  if (it == by_eid_.end()) return std::nullopt;
  const Card& c = *it->second;
  return CardReport{c.id.eid, c.id.index, c.euicc.free_memory(), c.euicc.profiles()};
}

Euicc* Fleet::card(const std::string& eid) {
  const auto it = by_eid_.find(eid);
  return it == by_eid_.end() ? nullptr : &it->second->euicc;
}

}  // namespace kf::sim
