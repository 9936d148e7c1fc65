#include "host/server/es2_service.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/crypto/ec.hpp"
#include "host/server/peer_log.hpp"
#include "host/server/station.hpp"

namespace kf::server {
namespace {
constexpr std::chrono::minutes kLongWait{5};  // silent connections are often cut by then on their way

// docs/spec/interfaces.md 1.4
store::ReplyKind reply_kind(std::string_view reply_to) {
  if (reply_to.empty() || reply_to == es::kWsaAnonymous) return store::ReplyKind::sync;
  return reply_to.starts_with(es::kMakeConnectionPrefix) ? store::ReplyKind::poll : store::ReplyKind::callback;
}

// "Identical body" is the same function and the same element values (docs/spec/interfaces.md 10.8): a canonical
// envelope of them, hashed.
Bytes digest_of(es::Request r) {
  r.function_call_identifier.clear();
  if (r.iccid) r.iccid = canonical_iccid(*r.iccid);
  const Digest32 d = sha256(view(es::write_message(es::SendHeader{}, r, es::kNs3, es::Dialect::reference)));
  return Bytes(d.begin(), d.end());
}
}  // namespace

es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, es::StatusCode code) {
  es::Response x;
  x.interface = i;
  x.function = r.function;
  x.other_name = r.other_name;
  x.processing_start = x.processing_end = iso_seconds(wall_now());
  x.status = s;
  x.code = std::move(code);
  return x;
}
es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, es::Code code, std::string identifier,
                         std::string message) {
  return make_failed(i, r, s, es::status_code(code, std::move(identifier), std::move(message)));
}

namespace {
void log_refusal(const Party& from, es::Function f, const es::Response& r) {
  peer_warn("es2 refusal", from.oid.str(),
            "ES2." + std::string(es::function_name(f)) + " of " + from.oid.str() + " refused: " + r.code->subject +
                "/" + r.code->reason + " " + r.code->message);
}
}  // namespace

namespace {
es::Response refusal(const es::Request& r, Accepted& a) {
  if (a.kind == Accepted::Kind::used_otherwise)
    return make_failed(es::Interface::es2, r, es::ExecStatus::failed, es::Code::function_in_use,
                       r.function_call_identifier, "FunctionCallIdentifier was used for another request");
  download::Cause& c = *a.cause;
  return make_failed(
      es::Interface::es2, r, es::ExecStatus::failed,
      es::StatusCode{std::move(c.subject), std::move(c.reason), std::move(c.identifier), std::move(c.message)});
}
}  // namespace

void show_only_to(const Party& op, es::Eis& eis) {
  std::erase_if(eis.profiles, [&](const es::ProfileInfo& p) { return p.mno_id != op.oid.str(); });
  for (auto& k : eis.isd_r.keysets) k.certificates.clear(), k.certs.clear();
}

net::Admission Es2Service::admit(const net::Request& head) const {
  const auto u = net::parse_url(p_.config.es2_url);
  auto verdict = admit_soap(p_.config, head, Role::operator_, u ? u->target : "/es2", "/");
  if (verdict.status != 0) ++p_.metrics.refused;
  return verdict;
}

net::Response Es2Service::fault(const es::Fault& f) const {
  ++p_.metrics.faults_sent;
  es::Fault g = f;
  if (g.from.empty()) g.from = es::make_address(p_.config.es2_url, p_.config.oid.str(), p_.config.name);
  return fault_response(g);
}

net::Response Es2Service::now(const Party& to, const es::Message& m, const es::Response& r) const {
  net::Response x;
  x.body = p_.replies.synchronous(to, m.header, r, m.ns);
  x.content_type = es::soap_content_type(es::action_of(x.body));
  return x;
}

asio::awaitable<net::Response> Es2Service::handle(net::Request http) {
  ++p_.metrics.es2_requests;
  const Party* from = p_.config.by_peer(http.peer);
  if (from == nullptr) co_return net::Response{.status = 403, .content_type = {}, .headers = {}, .body = {}};
  if (method_of(http) != Method::post)
    co_return description_response(*from, http.target, "es2-smdp.wsdl", p_.config.es2_url);
  es::CodecOptions o;
  if (from->ns != es::kNs3) o.namespaces.push_back(from->ns);
  o.from_when_missing = es::make_address(from->url, from->oid.str(), "");
  o.ascii = declared_ascii(http);
  o.takes = [](es::Interface i, es::Function, es::Direction d) {
    return i == es::Interface::es2 && d == es::Direction::request;
  };
  std::variant<es::Message, es::Fault> parsed;
  {
    Stopwatch w(p_.metrics.soap_ns);
    parsed = es::parse_message(http.body, o);
  }
  if (auto* f = std::get_if<es::Fault>(&parsed)) {
    peer_warn("es2 fault", from->oid.str(), "ES2 message of " + from->oid.str() + " refused: " + f->reason);
    co_return fault(*f);
  }
  es::Message& m = std::get<es::Message>(parsed);
  note_unknown_elements(p_.metrics, from->oid.str(), m.unknown_elements);
  if (std::holds_alternative<es::MakeConnection>(m.body)) co_return co_await poll(from, std::move(m));
  auto* r = std::get_if<es::Request>(&m.body);
  if (r == nullptr || r->interface != es::Interface::es2 || es::is_notification(*r)) {
    peer_warn("es2 fault", from->oid.str(),
              "ES2 message of " + from->oid.str() + " refused: not a function that an SM-DP offers on ES2");
    es::Fault f;
    f.subcode = "wsa:ActionNotSupported";
    f.reason = "No function for this wsa:Action";
    f.header = m.header;
    co_return fault(f);
  }
  if (auto refused = refuse(*from, m, *r)) {
    log_refusal(*from, r->function, *refused);
    ++p_.metrics.refused;
    co_return now(*from, m, *refused);
  }
  if (draining_) co_return later(*from, m, "this SM-DP is about to stop");
  if (r->function == es::Function::download_profile) co_return co_await order(from, std::move(m));
  co_return co_await relay(from, std::move(m));
}

// What is understood but cannot be done, before acceptance, in the order of docs/spec/interfaces.md 6.1.
std::optional<es::Response> Es2Service::refuse(const Party& from, const es::Message& m, const es::Request& r) const {
  auto failed = [&](es::Code code, std::string id, std::string why) {
    return make_failed(es::Interface::es2, r, es::ExecStatus::failed, code, std::move(id), std::move(why));
  };
  // Without an EntityId the certificate alone says who it is, and the address that the message came to whom it is for.
  if (!m.header.from_entity.empty() && m.header.from_entity != from.oid.str())
    return failed(es::Code::requester_unknown, m.header.from_entity,
                  "EntityId in From is not the one of the certificate");
  if (!m.header.to_entity.empty() && m.header.to_entity != p_.config.oid.str())
    return failed(es::Code::provider_invalid_destination, m.header.to_entity, "EntityId in To is not this SM-DP");
  const std::string& reply = m.header.reply_to;
  if (reply_kind(reply) == store::ReplyKind::callback) {
    const auto u = net::parse_url(reply);
    bool known = false;
    if (u && u->tls)
      for (const auto& h : from.reply_hosts) known = known || reply_allowed(from, h, *u);
    if (!known)
      return failed(es::Code::requester_not_allowed, "",
                    "ReplyTo is on a host or a port that is not registered for this requester: " +
                        printable(u ? u->authority() : reply, 100));
  }
  switch (r.function) {
    case es::Function::download_profile:
    case es::Function::get_eis:
    case es::Function::enable_profile:
    case es::Function::disable_profile:
    case es::Function::delete_profile:
    case es::Function::update_policy_rules:
    case es::Function::update_subscription_address:
    case es::Function::audit_eis:
    case es::Function::update_connectivity_parameters:
      break;
    default:
      return failed(es::Code::function_unsupported, "", "function not implemented");
  }
  if (r.validity_period && *r.validity_period < p_.config.min_validity_s) {
    auto x = make_failed(es::Interface::es2, r, es::ExecStatus::expired, es::Code::function_expired, "",
                         "ValidityPeriod is too short");
    x.acceptable_validity_period = p_.config.min_validity_s;
    return x;
  }
  if (auto e = parse_eid(r.eid); !e) return failed(es::Code::eid_invalid, r.eid, e.error().detail);
  if (r.iccid)
    if (auto i = parse_iccid(*r.iccid); !i) return failed(es::Code::iccid_invalid, *r.iccid, i.error().detail);
  if (r.function == es::Function::download_profile && !r.iccid && !r.profile_type)
    return failed(es::Code::iccid_missing, "", "neither Iccid nor ProfileType");
  const Party* smsr = p_.config.by_oid(r.smsr_id);
  if (smsr == nullptr || smsr->role != Role::smsr)
    return failed(es::Code::smsr_unknown, r.smsr_id, "SM-SR is not known");
  return std::nullopt;
}

store::CallRow Es2Service::call_row(const Party& from, const es::Message& m) const {
  const auto& r = std::get<es::Request>(m.body);
  store::CallRow c;
  c.requester = from.oid.str();
  c.fcid = r.function_call_identifier;
  c.function = es::function_name(r.function);
  c.digest = digest_of(r);
  c.reply_to = m.header.reply_to;
  c.reply_parameters = m.header.reply_parameters;
  c.message_id = m.header.message_id;
  c.ns = m.ns;
  c.received_ms = anchored_ms();
  c.reply = reply_kind(c.reply_to);
  if (c.reply == store::ReplyKind::sync) c.reply_to.clear();
  return c;
}

asio::awaitable<net::Response> Es2Service::order(const Party* from, es::Message m) {
  const es::Request r = std::get<es::Request>(m.body);
  if (!downloads_.may_wait(from->oid)) co_return later(*from, m, "too many of your orders wait");
  const store::CallRow call = call_row(*from, m);
  download::Order o;
  o.id = random_uuid();
  o.requester = from->oid;
  o.function_call_identifier = r.function_call_identifier;
  o.eid = Eid::trusted(r.eid);
  o.smsr = p_.config.by_oid(r.smsr_id)->oid;
  o.by_profile_type = !r.iccid;
  o.enable = r.enable_profile;
  o.received_ms = call.received_ms;
  o.deadline_ms = call.received_ms + std::int64_t{r.validity_period.value_or(p_.config.default_validity_s)} * 1000;

  OrderAsked asked{call, std::move(o), canonical_iccid(r.iccid.value_or("")), r.iccid.value_or(""), r.profile_type};
  auto accepted = co_await p_.orders.accept(std::move(asked));
  if (!accepted) co_return not_stored(*from, m, accepted.error());  // nothing was done: the disk is full, say
  Accepted a = std::move(*accepted);
  if (a.kind == Accepted::Kind::started) {
    station(a.order.id, "accepted");
    p_.replies.bind(call);
    guarded(p_.metrics, "reading a subscription", [&] {
      if (auto s = p_.inventory.subscription(a.profile)) a.order.subscription = *s;
    });
    // Never throws: it is committed.
    downloads_.start(std::move(a.order), std::move(a.profile), std::move(a.installed));
  }
  co_return co_await answer_accepted(from, &m, std::move(a));
}

asio::awaitable<net::Response> Es2Service::answer_accepted(const Party* from, const es::Message* m, Accepted a) {
  const auto& r = std::get<es::Request>(m->body);
  if (a.kind == Accepted::Kind::refused || a.kind == Accepted::Kind::used_otherwise) {
    const es::Response no = refusal(r, a);
    if (r.function == es::Function::download_profile) {
      log_refusal(*from, r.function, no);
      ++p_.metrics.refused;
    }
    co_return now(*from, *m, no);
  }
  if (a.kind == Accepted::Kind::over_quota)
    co_return later(*from, *m, "what is stored for you has reached its limit; fetch or wait");
  if (a.kind == Accepted::Kind::answered) co_return co_await answer_again(from, m, std::move(a));
  if (a.kind == Accepted::Kind::running) p_.replies.rebind(a.call);
  const bool synchronous = reply_kind(m->header.reply_to) == store::ReplyKind::sync;
  if (!synchronous) co_return accepted_response();
  const auto since = std::chrono::steady_clock::now();
  const Replies::Waited waited = co_await p_.replies.wait(from->oid.str(), r.function_call_identifier);
  if (const auto took = std::chrono::steady_clock::now() - since; took >= kLongWait)
    peer_line(spdlog::level::info, "long wait", from->oid.str(),
              std::string(es::function_name(r.function)) + " " + r.function_call_identifier + " of " + from->oid.str() +
                  " waited " + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(took).count()) +
                  " s on its connection; a callback would not need one");
  if (waited.displaced) co_return displaced(*from, *m, r);
  if (!waited.answer) co_return stopping(*m, r);
  co_return now(*from, *m, *waited.answer);
}

// The answer that is kept, for the request that came now.
asio::awaitable<net::Response> Es2Service::answer_again(const Party* from, const es::Message* m, Accepted a) {
  const auto kept = Replies::read_stored(a.call.response, a.ns);
  if (!kept)
    co_return not_stored(*from, *m,
                         Error{store::StoreFault::job, "the stored answer cannot be read: " + kept.error().text()});
  if (a.call.reply == store::ReplyKind::sync) co_return now(*from, *m, *kept);
  std::string message = p_.replies.message(a.call, *kept);
  auto delivery = co_await p_.orders.answer_again(std::move(a.call), std::move(message));
  if (!delivery) co_return not_stored(*from, *m, delivery.error());
  if (*delivery) p_.delivery.add(std::move(**delivery));
  co_return accepted_response();
}

asio::awaitable<net::Response> Es2Service::poll(const Party* from, es::Message m) {
  // Only the party that placed the request may poll its address: the TLS identity decides
  // (docs/spec/interfaces.md 10.3).
  const std::string address = std::get<es::MakeConnection>(m.body).address;
  auto got = co_await p_.messages.poll(from->oid.str(), address);
  if (!got) co_return later(*from, m, "temporary failure");
  if (!got->message) co_return accepted_response();
  net::Response x;
  x.body = std::move(got->message->body);
  x.content_type = es::soap_content_type(es::action_of(x.body));
  if (got->more) es::tell_pending(x.body);  // as stored it says that nothing is
  ++p_.metrics.deliveries;
  co_return x;
}

// ---- relays: everything but DownloadProfile ----
asio::awaitable<net::Response> Es2Service::relay(const Party* from, es::Message m) {
  const es::Request r = std::get<es::Request>(m.body);
  const Party* smsr = p_.config.by_oid(r.smsr_id);
  const store::CallRow call = call_row(*from, m);
  const std::string full = relays_.reserve(*from, *smsr);
  // All but GetEIS and AuditEIS name an ICCID.
  RelayAsked asked{call, canonical_iccid(r.iccid.value_or("")), r.iccid.value_or(""), !full.empty()};
  auto accepted = co_await p_.orders.accept(std::move(asked));
  const bool begins = accepted.ok() && accepted->kind == Accepted::Kind::started;
  if (full.empty() && !begins) relays_.cancel(*from, *smsr);
  if (!accepted) co_return not_stored(*from, m, accepted.error());
  if (accepted->kind == Accepted::Kind::no_room) co_return later(*from, m, full);
  if (begins) {
    p_.replies.bind(call);
    relays_.begin(*from, *smsr, r,
                  call.received_ms + std::int64_t{r.validity_period.value_or(p_.config.default_validity_s)} * 1000);
  }
  co_return co_await answer_accepted(from, &m, std::move(*accepted));
}

}  // namespace kf::server
