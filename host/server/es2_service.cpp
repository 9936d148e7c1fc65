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

namespace kf::server {
namespace {
// The store's key: an ICCID that refuse() let pass, without padding.
std::string canonical_iccid(std::string_view received) { return std::string(iccid_value(received)); }

// "Identical body" is the same function and the same element values (rule 8): a canonical envelope of them, hashed.
Bytes digest_of(es::Request r) {
  r.function_call_identifier.clear();
  if (r.iccid) r.iccid = canonical_iccid(*r.iccid);
  const Digest32 d = sha256(view(es::write_message(es::SendHeader{}, r, es::kNs3, es::Dialect::reference)));
  return Bytes(d.begin(), d.end());
}
}  // namespace

es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, std::string subject,
                         std::string reason, std::string identifier, std::string message) {
  es::Response x;
  x.interface = i;
  x.function = r.function;
  x.other_name = r.other_name;
  x.processing_start = x.processing_end = iso_seconds(wall_now());
  x.status = s;
  x.code = es::StatusCode{std::move(subject), std::move(reason), std::move(identifier), std::move(message)};
  return x;
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
  enum class Kind { started, running, answered, refused, over_quota } kind = Kind::started;
  std::optional<es::Response> response;        // answered, refused
  std::optional<store::DeliveryRow> delivery;  // answered by callback or polling
  store::ProfileRow profile;                   // started: the reserved one
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
  if (http.method == "GET") co_return description_response(*from, http.target, "es2-smdp.wsdl", p_.config.es2_url);
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

// What is understood but cannot be done, before acceptance (6.1, in its order).
std::optional<es::Response> Es2Service::refuse(const Party& from, const es::Message& m, const es::Request& r) const {
  auto failed = [&](std::string subject, std::string reason, std::string id, std::string why) {
    return make_failed(es::Interface::es2, r, es::ExecStatus::failed, std::move(subject), std::move(reason),
                       std::move(id), std::move(why));
  };
  // Without an EntityId the certificate alone says who it is, and the address that the message came to whom it is for.
  if (!m.header.from_entity.empty() && m.header.from_entity != from.oid.str())
    return failed("1.1", "1.1", m.header.from_entity, "EntityId in From is not the one of the certificate");
  if (!m.header.to_entity.empty() && m.header.to_entity != p_.config.oid.str())
    return failed("1.2", "3.4", m.header.to_entity, "EntityId in To is not this SM-DP");
  const std::string& reply = m.header.reply_to;
  if (!reply.empty() && reply != es::kWsaAnonymous && !reply.starts_with(es::kMakeConnectionPrefix)) {
    const auto u = net::parse_url(reply);
    bool known = false;
    if (u && u->tls)
      for (const auto& h : from.reply_hosts) known = known || reply_allowed(from, h, *u);
    if (!known) return failed("1.1", "1.2", "", "ReplyTo is on a host that is not registered for this requester");
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
      return failed("1.6", "3.1", "", "function not implemented");
  }
  if (r.validity_period && *r.validity_period < p_.config.min_validity_s) {
    auto x =
        make_failed(es::Interface::es2, r, es::ExecStatus::expired, "1.6", "5.3", "", "ValidityPeriod is too short");
    x.acceptable_validity_period = p_.config.min_validity_s;
    return x;
  }
  if (auto e = parse_eid(r.eid); !e) return failed("8.1.1", "2.1", r.eid, e.error().detail);
  if (r.iccid)
    if (auto i = parse_iccid(*r.iccid); !i) return failed("8.2.1", "2.1", *r.iccid, i.error().detail);
  if (r.function == es::Function::download_profile && !r.iccid && !r.profile_type)
    return failed("8.2.1", "2.3", "", "neither Iccid nor ProfileType");
  const Party* smsr = p_.config.by_oid(r.smsr_id);
  if (smsr == nullptr || smsr->role != Role::smsr) return failed("8.7", "3.9", r.smsr_id, "SM-SR is not known");
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
  c.message_id = m.header.message_id;
  c.ns = m.ns;
  c.received_ms = anchored_ms();
  if (c.reply_to.empty() || c.reply_to == es::kWsaAnonymous) {
    c.reply = store::ReplyKind::sync;
    c.reply_to.clear();
  } else {
    c.reply = c.reply_to.starts_with(es::kMakeConnectionPrefix) ? store::ReplyKind::poll : store::ReplyKind::callback;
  }
  return c;
}

namespace {
// The part of acceptance that all functions share: a repeat is answered or bound to the new request (1.6).
template <class A>
bool settle_repeat(store::Tx& tx, const store::CallRow& c, const Replies& replies, const es::Request& r, A& a) {
  auto old = tx.find_call(c.requester, c.fcid);
  if (!old) return false;
  if (old->digest != c.digest || old->function != c.function) {
    a.kind = A::Kind::refused;
    a.response = make_failed(es::Interface::es2, r, es::ExecStatus::failed, "1.6", "3.3", c.fcid,
                             "FunctionCallIdentifier was used for another request");
    return true;
  }
  tx.rebind_call(c);
  if (old->response.empty()) {
    a.kind = A::Kind::running;
    return true;
  }
  store::CallRow bound = c;
  bound.response = old->response;
  auto stored = Replies::read_stored(old->response, old->ns);
  if (!stored) throw std::runtime_error("the stored answer cannot be read: " + stored.error().text());
  a.kind = A::Kind::answered;
  a.response = std::move(*stored);
  a.delivery = replies.store_repeat(tx, bound);
  return true;
}
}  // namespace

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
    if (settle_repeat(tx, call, p_.replies, r, a)) return a;
    if (over_quota(tx, call.requester)) {
      a.kind = Accepted::Kind::over_quota;
      return a;
    }
    auto refuse_with = [&](const char* subject, const char* reason, const std::string& id, const char* why) {
      a.kind = Accepted::Kind::refused;
      a.response = make_failed(es::Interface::es2, r, es::ExecStatus::failed, subject, reason, id, why);
      return a;
    };
    std::string iccid = canonical_iccid(r.iccid.value_or(""));
    if (iccid.empty()) {
      if (!tx.profile_type_known(call.requester, *r.profile_type))
        return refuse_with("8.2.5", "3.9", *r.profile_type, "ProfileType unknown");
      auto free = tx.free_iccid(call.requester, *r.profile_type);
      if (!free) return refuse_with("8.2.5", "3.7", *r.profile_type, "no free profile of this ProfileType is left");
      iccid = *free;
    }
    auto profile = tx.get_profile(iccid);
    // The same answer for an unknown ICCID and another Operator's: nothing is learnt by guessing.
    if (!profile || profile->owner != call.requester) return refuse_with("8.2.1", "3.9", iccid, "ICCID unknown");
    if (r.profile_type && *r.profile_type != profile->profile_type)
      return refuse_with("8.2.5", "3.10", *r.profile_type, "the ICCID is of another ProfileType");
    // What is, or may be, on an eUICC may be ordered for that one again; its EIS decides whether there is room for it.
    const bool same_euicc = profile->eid == order->eid.str();
    if (profile->state == store::ProfileState::reserved)
      return refuse_with("8.2.1", "3.3", iccid, "profile is in a running download");
    if (profile->state == store::ProfileState::installed && !same_euicc)
      return refuse_with("8.2.1", "3.3", iccid, "profile is already installed");
    // Another SM-SR's EIS would prove nothing of where an uncertain one is.
    if (profile->state == store::ProfileState::uncertain && (!same_euicc || profile->smsr != order->smsr.str()))
      return refuse_with("8.2.1", "3.3", iccid, "profile may be on an eUICC, which is being looked after");
    if (profile->state == store::ProfileState::installed) {
      order->iccid_was = download::IccidState::installed;
      order->smsr_was = profile->smsr;
    }
    if (profile->state == store::ProfileState::uncertain) order->iccid_was = download::IccidState::uncertain;
    order->iccid = Iccid::trusted(iccid);
    if (r.iccid && *r.iccid != iccid) order->iccid_as_ordered = *r.iccid;
    order->profile_type = profile->profile_type;
    order->required_memory = profile->required_memory;
    order->pol2 = pol2_from_json(profile->pol2);
    tx.set_profile(iccid, store::ProfileState::reserved, order->eid.str(), order->smsr.str(), order->id);
    store::CallRow row = call;
    row.download_id = order->id;
    tx.insert_call(row);
    download::Download d;
    d.order = *order;
    tx.put_download(order->id, download::to_record(d), false, call.received_ms);
    a.profile = std::move(*profile);
    a.profile.state = store::ProfileState::reserved;
    return a;
  };
  auto accepted = co_await p_.storage.tx<Accepted>(work);
  if (!accepted) {  // nothing was done: the disk is full, say
    co_return not_stored(*from, m, accepted.error());
  }
  Accepted a = std::move(*accepted);
  if (a.kind == Accepted::Kind::started) {
    guarded(p_.metrics, "reading a subscription", [&] {
      if (auto s = p_.inventory.subscription(a.profile)) order->subscription = *s;
    });
    downloads_.start(*order, a.profile);
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
  const std::string& reply = m->header.reply_to;
  const bool synchronous = reply.empty() || reply == es::kWsaAnonymous;
  if (a.kind == Accepted::Kind::answered) {
    if (a.delivery) p_.delivery.add(std::move(*a.delivery));
    if (!synchronous) co_return accepted_response();
    co_return now(*from, *m, *a.response);
  }
  if (!synchronous) co_return accepted_response();
  auto answer = co_await p_.replies.wait(from->oid.str(), r.function_call_identifier);
  if (!answer) {  // the server stops; the outcome is kept and the call may be repeated
    net::Response x;
    x.status = 503;
    x.headers.emplace_back("Retry-After", "10");
    co_return x;
  }
  co_return now(*from, *m, *answer);
}

asio::awaitable<net::Response> Es2Service::poll(const Party* from, es::Message m) {
  // Only the party that placed the request may poll its address: the TLS identity decides (rule 3).
  const std::string address = std::get<es::MakeConnection>(m.body).address;
  struct Polled {
    std::optional<store::DeliveryRow> row;
    std::int64_t more = 0;
  };
  const std::function<Polled(store::Tx&)> work = [address, party = from->oid.str()](store::Tx& tx) {
    Polled p;
    p.row = tx.next_polled(party, address);
    if (p.row) tx.delete_delivery(p.row->id);
    p.more = tx.polled_count(party, address);
    return p;
  };
  auto got = co_await p_.storage.tx<Polled>(work);
  if (!got) co_return net::Response{.status = 503, .content_type = {}, .headers = {}, .body = {}};
  if (!got->row) co_return accepted_response();
  net::Response x;
  x.body = std::move(got->row->body);
  x.content_type = es::soap_content_type(es::action_of(x.body));
  if (got->more > 0) {  // the stored envelope says that nothing is pending
    const std::string_view no = "pending=\"false\"";
    if (const auto at = x.body.find(no); at != std::string::npos) x.body.replace(at, no.size(), "pending=\"true\"");
  }
  ++p_.metrics.deliveries;
  co_return x;
}

// ---- relays: everything but DownloadProfile ----
asio::awaitable<net::Response> Es2Service::relay(const Party* from, es::Message m) {
  const es::Request r = std::get<es::Request>(m.body);
  const store::CallRow call = call_row(*from, m);
  const std::function<Accepted(store::Tx&)> work = [this, call, r](store::Tx& tx) {
    Accepted a;
    if (settle_repeat(tx, call, p_.replies, r, a)) return a;
    if (over_quota(tx, call.requester)) {
      a.kind = Accepted::Kind::over_quota;
      return a;
    }
    if (r.iccid) {  // all but GetEIS and AuditEIS name one
      auto profile = tx.get_profile(canonical_iccid(*r.iccid));
      if (!profile || profile->owner != call.requester) {
        a.kind = Accepted::Kind::refused;
        a.response = make_failed(es::Interface::es2, r, es::ExecStatus::failed, "8.2.1", "3.9", r.iccid.value_or(""),
                                 "ICCID unknown");
        return a;
      }
    }
    tx.insert_call(call);
    return a;
  };
  auto accepted = co_await p_.storage.tx<Accepted>(work);
  if (!accepted) {
    co_return not_stored(*from, m, accepted.error());
  }
  if (accepted->kind == Accepted::Kind::started) {
    const std::int64_t deadline =
        call.received_ms + std::int64_t{r.validity_period.value_or(p_.config.default_validity_s)} * 1000;
    ++relays_;
    asio::co_spawn(p_.io, run_relay(from, r, deadline), [this, from, r](const std::exception_ptr& e) {
      if (e) relay_broke(*from, r, e);
    });
  }
  co_return co_await answer_accepted(from, &m, std::move(*accepted));
}

asio::awaitable<void> Es2Service::run_relay(const Party* from, es::Request r, std::int64_t deadline_ms) {
  const Party* smsr = p_.config.by_oid(r.smsr_id);
  es::Request q;
  q.function = r.function == es::Function::delete_profile ? es::Function::delete_isdp : r.function;  // rule 1
  q.eid = r.eid;
  if (r.iccid) q.iccid = canonical_iccid(*r.iccid);
  q.pol2 = r.pol2;
  q.subscription = r.subscription;
  q.connectivity_parameters = r.connectivity_parameters;
  const std::int64_t left_ms = std::max<std::int64_t>(1000, deadline_ms - anchored_ms());
  const bool switches = q.function == es::Function::enable_profile || q.function == es::Function::disable_profile;
  const std::int64_t limit = is_quick(q.function) ? p_.config.timeouts.get_eis
                             : switches           ? p_.config.timeouts.enable
                                                  : p_.config.timeouts.card;
  const std::string start = iso_seconds(wall_now());
  auto done = [this, from, smsr, r, start, asked = std::chrono::steady_clock::now()](CallResult result) {
    try {
      if (const auto* ok = std::get_if<es::Response>(&result); ok != nullptr && ok->eis)
        p_.follow_ups.seen(*smsr, *ok->eis, asked);
      relay_done(*from, r, start, std::move(result));
    } catch (...) {
      relay_broke(*from, r, std::current_exception());
    }
  };
  p_.es3.call(*smsr, random_uuid(), std::move(q), std::min(limit, left_ms), static_cast<std::uint32_t>(left_ms / 1000),
              true, done);
  co_return;
}

void Es2Service::relay_done(const Party& from, const es::Request& r, const std::string& start, CallResult result) {
  es::Response out;
  if (auto* f = std::get_if<CallFailure>(&result)) {
    const bool expired = f->fault == download::CallFault::timeout;
    out = make_failed(es::Interface::es2, r, expired ? es::ExecStatus::expired : es::ExecStatus::failed,
                      expired ? "1.6" : "8.7", expired ? "5.3" : "5.1", r.smsr_id,
                      "no usable answer from the SM-SR: " + f->brief);
    spdlog::warn("relay of {} to SM-SR {} failed: {}", es::function_name(r.function), r.smsr_id,
                 printable(f->detail, 500));
  } else {
    out = std::move(std::get<es::Response>(result));
    out.interface = es::Interface::es2;
    out.function = r.function;
    out.isd_p_aid.clear();
    if (out.eis) show_only_to(from, *out.eis);
    const bool carried_out = out.status == es::ExecStatus::success || out.status == es::ExecStatus::with_warning;
    if (carried_out && r.iccid) follow_smsr(r);
  }
  out.processing_start = start;
  out.processing_end = iso_seconds(wall_now());
  answer_call(from.oid.str(), r.function_call_identifier, std::move(out));
  --relays_;
}

// Another SM-SR than the download went through did what its Operator asked of it: it manages the card now, and its
// notifications count.
void Es2Service::follow_smsr(const es::Request& r) {
  p_.storage.submit(
      [iccid = canonical_iccid(*r.iccid), eid = r.eid, smsr = r.smsr_id](store::Tx& tx) {
        const auto p = tx.get_profile(iccid);
        if (p && p->state == store::ProfileState::installed && p->eid == eid && p->smsr != smsr)
          tx.set_profile(iccid, p->state, eid, smsr, p->download_id);
      },
      [](const Status& s) {
        if (!s) spdlog::warn("the SM-SR of a profile was not noted: {}", s.error().text());
      });
}

void Es2Service::answer_call(const std::string& requester, const std::string& fcid, es::Response r) {
  auto response = std::make_shared<es::Response>(std::move(r));
  auto delivery = std::make_shared<std::optional<store::DeliveryRow>>();
  p_.storage.submit([this, requester, fcid, response,
                     delivery](store::Tx& tx) { *delivery = p_.replies.store_answer(tx, requester, fcid, *response); },
                    [this, requester, fcid, response, delivery](const Status& s) {
                      guarded(p_.metrics, "the answer to a relay", [&] {
                        if (!s) answer_not_stored(requester, fcid, s.error());
                        if (s.ok() && *delivery) p_.delivery.add(std::move(**delivery));
                        p_.replies.wake(requester, fcid, *response);
                      });
                    });
}

void Es2Service::end_interrupted(std::vector<store::CallRow> calls) {
  for (const auto& c : calls) {
    es::Request r;
    for (auto f :
         {es::Function::get_eis, es::Function::enable_profile, es::Function::disable_profile,
          es::Function::delete_profile, es::Function::update_policy_rules, es::Function::update_subscription_address,
          es::Function::audit_eis, es::Function::update_connectivity_parameters})
      if (c.function == es::function_name(f)) r.function = f;
    answer_call(c.requester, c.fcid,
                make_failed(es::Interface::es2, r, es::ExecStatus::failed, "1.2", "4.2", "",
                            "interrupted by a restart of the SM-DP"));
  }
}

}  // namespace kf::server
