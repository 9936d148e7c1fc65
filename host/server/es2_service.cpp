#include "host/server/es2_service.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>

#include <stdexcept>

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

void show_only_to(const Party& op, es::Eis& eis) {
  std::erase_if(eis.profiles, [&](const es::ProfileInfo& p) { return p.mno_id != op.oid.str(); });
  for (auto& k : eis.isd_r.keysets) k.certificates.clear(), k.certs.clear();
}

struct Es2Service::Accepted {
  enum class Kind { started, running, answered, refused, over_quota, full } kind = Kind::started;
  std::optional<es::Response> response;        // answered, refused
  std::optional<store::DeliveryRow> delivery;  // answered by callback or polling
  store::ProfileRow profile;                   // started: the reserved one
  std::vector<std::string> installed;          // started: on that eUICC
};

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

// The part of acceptance that all functions share: a repeat is answered or bound to the new request
// (docs/spec/interfaces.md 1.6). What it adds to the store is a message in place of the one before, and it counts.
bool Es2Service::settle_repeat(store::Tx& tx, const store::CallRow& c, const es::Request& r, Accepted& a) const {
  auto old = tx.find_call(c.requester, c.fcid);
  if (!old) return false;
  if (old->digest != c.digest || old->function != c.function) {
    a.kind = Accepted::Kind::refused;
    a.response = make_failed(es::Interface::es2, r, es::ExecStatus::failed, es::Code::function_in_use, c.fcid,
                             "FunctionCallIdentifier was used for another request");
    return true;
  }
  if (c.reply != store::ReplyKind::sync && tx.usage(c.requester).bytes >= p_.config.stored_bytes) {
    a.kind = Accepted::Kind::over_quota;
    return true;
  }
  tx.rebind_call(c);
  if (old->response.empty()) {
    a.kind = Accepted::Kind::running;
    return true;
  }
  store::CallRow bound = c;
  bound.response = old->response;
  bound.delivery = old->delivery;
  auto stored = Replies::read_stored(old->response, old->ns);
  if (!stored) throw std::runtime_error("the stored answer cannot be read: " + stored.error().text());
  a.kind = Accepted::Kind::answered;
  a.response = std::move(*stored);
  a.delivery = p_.replies.store_repeat(tx, bound);
  return true;
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

  auto order = std::make_shared<download::Order>(std::move(o));
  const std::function<Accepted(store::Tx&)> work = [this, call, r, order](store::Tx& tx) {
    Accepted a;
    if (settle_repeat(tx, call, r, a)) return a;
    if (over_quota(tx, call.requester)) {
      a.kind = Accepted::Kind::over_quota;
      return a;
    }
    store::ProfileRow profile;
    if (auto no = choose_profile(tx, call.requester, r, *order, profile)) {
      a.kind = Accepted::Kind::refused;
      a.response = make_failed(es::Interface::es2, r, es::ExecStatus::failed,
                               es::StatusCode{std::move(no->subject), std::move(no->reason), std::move(no->identifier),
                                              std::move(no->message)});
      return a;
    }
    const std::string& iccid = profile.iccid;
    tx.set_profile(iccid, store::ProfileState::reserved, order->eid.str(), order->smsr.str(), order->id);
    store::CallRow row = call;
    row.download_id = order->id;
    tx.insert_call(row);
    download::Download d;
    d.order = *order;
    tx.put_download(order->id, download::to_record(d), false, call.received_ms);
    a.installed = tx.installed_profiles(order->eid.str(), order->smsr.str());
    a.profile = std::move(profile);
    a.profile.state = store::ProfileState::reserved;
    return a;
  };
  auto accepted = co_await p_.storage.tx<Accepted>(work);
  if (!accepted) {  // nothing was done: the disk is full, say
    co_return not_stored(*from, m, accepted.error());
  }
  Accepted a = std::move(*accepted);
  if (a.kind == Accepted::Kind::started) {
    station(order->id, "accepted");
    guarded(p_.metrics, "reading a subscription", [&] {
      if (auto s = p_.inventory.subscription(a.profile)) order->subscription = *s;
    });
    downloads_.start(*order, a.profile, std::move(a.installed));  // never throws: it is committed
  } else if (a.kind == Accepted::Kind::refused) {
    log_refusal(*from, r.function, *a.response);
    ++p_.metrics.refused;
  }
  co_return co_await answer_accepted(from, &m, std::move(a));
}

asio::awaitable<net::Response> Es2Service::answer_accepted(const Party* from, const es::Message* m, Accepted a) {
  const auto& r = std::get<es::Request>(m->body);
  if (a.kind == Accepted::Kind::refused) co_return now(*from, *m, *a.response);
  if (a.kind == Accepted::Kind::over_quota)
    co_return later(*from, *m, "what is stored for you has reached its limit; fetch or wait");
  const bool synchronous = reply_kind(m->header.reply_to) == store::ReplyKind::sync;
  if (a.kind == Accepted::Kind::answered) {
    if (a.delivery) p_.delivery.add(std::move(*a.delivery));
    if (!synchronous) co_return accepted_response();
    co_return now(*from, *m, *a.response);
  }
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

asio::awaitable<net::Response> Es2Service::poll(const Party* from, es::Message m) {
  // Only the party that placed the request may poll its address: the TLS identity decides
  // (docs/spec/interfaces.md 10.3).
  const std::string address = std::get<es::MakeConnection>(m.body).address;
  struct Polled {
    std::optional<store::DeliveryRow> row;
    bool more = false;
  };
  const std::function<Polled(store::Tx&)> work = [address, party = from->oid.str()](store::Tx& tx) {
    Polled p;
    p.row = tx.next_polled(party, address);
    if (p.row) tx.delete_delivery(p.row->id);
    p.more = tx.more_polled(party, address);
    return p;
  };
  auto got = co_await p_.storage.tx<Polled>(work);
  if (!got) co_return later(*from, m, "temporary failure");
  if (!got->row) co_return accepted_response();
  net::Response x;
  x.body = std::move(got->row->body);
  x.content_type = es::soap_content_type(es::action_of(x.body));
  if (got->more) {  // the stored envelope says that nothing is pending
    const std::string_view no = "pending=\"false\"";
    if (const auto at = x.body.find(no); at != std::string::npos) x.body.replace(at, no.size(), "pending=\"true\"");
  }
  ++p_.metrics.deliveries;
  co_return x;
}

// ---- relays: everything but DownloadProfile ----
asio::awaitable<net::Response> Es2Service::relay(const Party* from, es::Message m) {
  const es::Request r = std::get<es::Request>(m.body);
  const Party* smsr = p_.config.by_oid(r.smsr_id);
  const store::CallRow call = call_row(*from, m);
  const std::string full = relays_.reserve(*from, *smsr);
  const std::function<Accepted(store::Tx&)> work = [this, call, r, full](store::Tx& tx) {
    Accepted a;
    if (settle_repeat(tx, call, r, a)) return a;
    if (!full.empty() || over_quota(tx, call.requester)) {
      a.kind = full.empty() ? Accepted::Kind::over_quota : Accepted::Kind::full;
      return a;
    }
    if (r.iccid) {  // all but GetEIS and AuditEIS name one
      auto profile = tx.get_profile(canonical_iccid(*r.iccid));
      if (!profile || profile->owner != call.requester) {
        a.kind = Accepted::Kind::refused;
        a.response = make_failed(es::Interface::es2, r, es::ExecStatus::failed, es::Code::iccid_unknown,
                                 r.iccid.value_or(""), "ICCID unknown");
        return a;
      }
    }
    tx.insert_call(call);
    return a;
  };
  auto accepted = co_await p_.storage.tx<Accepted>(work);
  const bool begins = accepted.ok() && accepted->kind == Accepted::Kind::started;
  if (full.empty() && !begins) relays_.cancel(*from, *smsr);
  if (!accepted) {
    co_return not_stored(*from, m, accepted.error());
  }
  if (accepted->kind == Accepted::Kind::full) co_return later(*from, m, full);
  if (begins)
    relays_.begin(*from, *smsr, r,
                  call.received_ms + std::int64_t{r.validity_period.value_or(p_.config.default_validity_s)} * 1000);
  co_return co_await answer_accepted(from, &m, std::move(*accepted));
}

}  // namespace kf::server
