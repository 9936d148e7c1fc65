#include "host/server/es3_service.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/server/es2_service.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
constexpr std::int64_t kMostNotifications = 10'000;  // of one SM-SR that wait for one Operator
}

net::Admission Es3Service::admit(const net::Request& head) const {
  const auto u = net::parse_url(p_.config.es3_url);
  const std::string base = u ? u->target : "/es3";
  auto verdict = admit_soap(p_.config, head, Role::smsr, base, base + "/callback");
  if (verdict.status != 0) ++p_.metrics.refused;
  return verdict;
}

asio::awaitable<net::Response> Es3Service::handle(net::Request http) {
  const Party* from = p_.config.by_peer(http.peer);
  if (from == nullptr) co_return net::Response{.status = 403, .content_type = {}, .headers = {}, .body = {}};
  if (method_of(http) != Method::post)
    co_return description_response(*from, http.target, "es3-smdp.wsdl", p_.config.es3_url + "/callback");
  es::CodecOptions o;
  if (from->ns != es::kNs3) o.namespaces.push_back(from->ns);
  o.ascii = declared_ascii(http);
  o.takes = [](es::Interface i, es::Function, es::Direction d) {  // answers and notifications
    return i == es::Interface::es3 && d != es::Direction::request;
  };
  o.from_when_missing = from->oid.str();
  std::variant<es::Message, es::Fault> parsed;
  {
    Stopwatch w(p_.metrics.soap_ns);
    parsed = es::parse_message(http.body, o);
  }
  auto refuse = [&](es::Fault f) {
    ++p_.metrics.faults_sent;
    peer_warn("es3 fault", from->oid.str(), "ES3 message of " + from->oid.str() + " refused: " + f.reason);
    f.from = es::make_address(p_.config.es3_url, p_.config.oid.str(), p_.config.name);
    return fault_response(f);
  };
  if (auto* f = std::get_if<es::Fault>(&parsed)) co_return refuse(*f);
  const es::Message& m = std::get<es::Message>(parsed);
  note_unknown_elements(p_.metrics, from->oid.str(), m.unknown_elements);
  if (m.header.from_entity != from->oid.str() && !m.header.from_entity.empty()) {
    // docs/spec/interfaces.md 10.6: a message of another party than its certificate's is dropped, counted and logged.
    ++p_.metrics.callbacks_dropped;
    peer_warn("es3 sender", from->oid.str(),
              "ES3 message dropped: certificate of " + from->oid.str() + ", EntityId " + m.header.from_entity);
    co_return accepted_response();
  }
  if (auto* r = std::get_if<es::Response>(&m.body); r != nullptr && r->interface == es::Interface::es3) {
    net::Response x = callback(*from, m);
    co_return x;
  }
  if (auto* r = std::get_if<es::Request>(&m.body);
      r != nullptr && r->interface == es::Interface::es3 && es::is_notification(*r)) {
    ++p_.metrics.notifications_in;
    // Accepted is what is stored: a sender that is faster than the store waits for it.
    if (co_await notification(from, *r)) co_return accepted_response();
    es::Fault f;
    f.http_status = 503;
    f.code = es::FaultCode::receiver;
    f.reason = "The notification could not be stored, send again later";
    f.header = m.header;
    co_return refuse(std::move(f));
  }
  es::Fault f;
  f.subcode = "wsa:ActionNotSupported";
  f.reason = "No function for this wsa:Action";
  f.header = m.header;
  co_return refuse(std::move(f));
}

net::Response Es3Service::callback(const Party& from, const es::Message& m) {
  std::string transaction;
  switch (p_.es3.on_callback(from, m, transaction)) {
    case Es3Client::Incoming::taken:
      ++p_.metrics.es3_callbacks;
      return accepted_response();
    case Es3Client::Incoming::wrong_function: {
      ++p_.metrics.faults_sent;
      peer_warn("callback", from.oid.str(),
                "callback of " + from.oid.str() + " answers another function than was asked");
      es::Fault f;
      f.reason = "This callback answers another function than was asked";
      f.header = m.header;
      return fault_response(f);
    }
    case Es3Client::Incoming::wrong_party:
      ++p_.metrics.callbacks_dropped;
      peer_warn("callback", from.oid.str(),
                "callback dropped: " + from.oid.str() + " answers a call that went to another SM-SR");
      return accepted_response();
    case Es3Client::Incoming::unknown:
      break;
  }
  ++p_.metrics.callbacks_dropped;  // repeated, late or made up: the sender is not told
  peer_line(spdlog::level::info, "late callback", from.oid.str(),
            "callback of " + from.oid.str() + " belongs to no open call");
  downloads_.late_callback(from, transaction, std::get<es::Response>(m.body));
  return accepted_response();
}

asio::awaitable<bool> Es3Service::notification(const Party* from, es::Request r) {
  if (r.function == es::Function::handle_smsr_change) co_return co_await smsr_change(from, std::move(r));
  std::string iccid(iccid_value(r.iccid.value_or("")));
  auto row = co_await p_.orders.profile(std::move(iccid));
  if (!row) co_return false;
  if (!*row || (*row)->eid != r.eid) {
    peer_warn("notification", from->oid.str(),
              "notification " + std::string(es::function_name(r.function)) + " of " + from->oid.str() +
                  " for an EID or ICCID that is not ours: " + r.eid + " " + r.iccid.value_or(""));
    co_return true;
  }
  const store::ProfileRow& p = **row;
  if (p.smsr != from->oid.str()) {
    ++p_.metrics.alarms;
    peer_line(spdlog::level::err, "foreign notification", from->oid.str(),
              "ALARM notification " + std::string(es::function_name(r.function)) + " for EID " + r.eid + " from " +
                  from->oid.str() + ", which does not manage it; dropped");
    co_return true;
  }
  if (r.function == es::Function::handle_profile_enabled) downloads_.enabled_seen(r.eid, p.smsr, p.iccid);
  const Party* op = p_.config.by_oid(p.owner);
  if (op == nullptr) co_return true;
  // The published descriptions do not have it, and who ordered the download is told the outcome anyway.
  if (r.function == es::Function::handle_profile_downloaded && op->dialect == es::Dialect::wsdl3) co_return true;
  r.iccid = p.iccid;
  co_return co_await pass_on(*from, *op, std::move(r));
}

// The EIS that the new SM-SR shows of a card it has taken over. Which of our profiles that SM-SR serves is not changed
// by it: the Operator names the SM-SR in every order and request.
asio::awaitable<bool> Es3Service::smsr_change(const Party* from, es::Request r) {
  if (r.eis->smsr_id != from->oid.str()) {
    ++p_.metrics.alarms;
    peer_line(spdlog::level::err, "foreign notification", from->oid.str(),
              "ALARM HandleSMSRChangeNotification for EID " + r.eis->eid + " from " + from->oid.str() +
                  ", whose EIS names another SM-SR; dropped");
    co_return true;
  }
  const Party* op = p_.config.by_oid(r.mno_id);
  if (op == nullptr || op->role != Role::operator_) {
    peer_warn("notification", from->oid.str(),
              "HandleSMSRChangeNotification of " + from->oid.str() + " for an Operator that is not ours: " + r.mno_id);
    co_return true;
  }
  show_only_to(*op, *r.eis);
  co_return co_await pass_on(*from, *op, std::move(r));
}

// Each SM-SR has its even share of what may wait for an Operator. True: stored.
asio::awaitable<bool> Es3Service::pass_on(const Party& from, const Party& op, es::Request n) {
  n.interface = es::Interface::es2;
  es::SendHeader h;
  h.from = es::make_address(p_.config.es2_url, p_.config.oid.str(), p_.config.name);
  h.to = es::make_address(op.url, op.oid.str(), "");
  h.message_id = es::make_message_id(p_.config.oid.str(), random_uuid(), random_uuid(), iso_seconds(wall_now()));
  h.action = es::action_of(n, op.dialect);
  store::DeliveryRow d;
  d.party = op.oid.str();
  d.kind = store::DeliveryKind::notification;
  d.address = op.url;
  d.body = es::write_message(h, n, op.ns, op.dialect);
  d.created_ms = anchored_ms();
  d.source = from.oid.str();
  const std::int64_t most = p_.config.stored_bytes / std::ranges::count(p_.config.parties, Role::smsr, &Party::role);
  auto stored = co_await p_.messages.add_notification(d, kMostNotifications, most);
  if (!stored) {
    peer_line(spdlog::level::err, "notification not stored", d.source,
              "notification of SM-SR " + d.source + " for " + d.party + " not stored: " + stored.error().text());
    co_return false;
  }
  d.id = *stored;
  p_.delivery.add(std::move(d));
  co_return true;
}

}  // namespace kf::server
