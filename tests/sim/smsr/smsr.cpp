// Server, idempotence, answers, notifications. The functions themselves: functions.cpp.
#include "tests/sim/smsr/smsr.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <openssl/evp.h>

#include <algorithm>

#include "host/base/calendar.hpp"
#include "host/base/ids.hpp"
#include "host/base/random.hpp"
#include "tests/sim/smsr/smsr_parts.hpp"

namespace kf::sim {
namespace {

constexpr std::string_view kEs3Path = "/es3";

// Function and element values, so that a repeat in other white space is still a repeat (docs/spec/interfaces.md 10.8).
Bytes digest_of(const es::Request& q) {
  std::string s;
  s.reserve(256 + q.data.size());
  const auto add = [&s](std::string_view v) { s.append(std::to_string(v.size())).append(":").append(v); };
  add(es::function_name(q.function));
  add(q.other_name);
  add(q.validity_period ? std::to_string(*q.validity_period) : "-");
  add(q.eid);
  add(q.iccid.value_or("-"));
  add(q.profile_type.value_or("-"));
  add(q.mno_id);
  add(std::to_string(q.required_memory));
  add(q.more_to_do ? (*q.more_to_do ? "1" : "0") : "-");
  add(text(q.sd_aid));
  add(text(q.data));
  add(text(q.connectivity_parameters));
  if (q.subscription) {
    add(q.subscription->imsi);
    add(q.subscription->msisdn);
  }
  if (q.pol2) {
    add("pol2");
    for (const auto& r : *q.pol2) add(r.subject + "|" + r.action + "|" + r.qualification);
  }
  Bytes d(32);
  if (EVP_Digest(s.data(), s.size(), d.data(), nullptr, EVP_sha256(), nullptr) != 1) std::abort();
  return d;
}

net::Response empty_answer(unsigned status) {
  net::Response r;
  r.status = status;
  return r;
}

net::Response fault_answer(const es::Fault& f) {
  net::Response r;
  r.status = f.http_status;
  r.content_type = es::kSoapContentType;
  r.body = es::write_fault(f);
  return r;
}

void spoil_hex(std::string& xml) {  // what Response cannot say: text that is not hexadecimal
  constexpr std::string_view tag = "EuiccResponseData>";
  const auto at = xml.find(tag);
  if (at != std::string::npos && at + tag.size() + 2 < xml.size()) xml.replace(at + tag.size(), 2, "ZZ");
}

void drop_hex_digit(std::string& xml) {
  constexpr std::string_view tag = "EuiccResponseData>";
  const auto at = xml.find(tag);
  if (at != std::string::npos) xml.erase(at + tag.size(), 1);
}

}  // namespace

es::Response succeeded(const es::Request& q) {
  es::Response a;
  a.interface = q.interface;
  a.function = q.function;
  a.other_name = q.other_name;
  a.status = es::ExecStatus::success;
  return a;
}

es::Response failed(const es::Request& q, std::string_view subject, std::string_view reason, std::string identifier,
                    std::string message) {
  es::Response a = succeeded(q);
  a.status = es::ExecStatus::failed;
  a.code = es::StatusCode{std::string(subject), std::string(reason), std::move(identifier), std::move(message)};
  return a;
}

Smsr::Smsr(asio::io_context& io, SmsrOptions o, FaultPlan& faults, const Eum& eum, MtSms sms)
    : io_(io),
      options_(std::move(o)),
      faults_(faults),
      eum_(eum),
      es5_(io, options_.es5, std::move(sms)),
      record_(options_.record, "smsr") {}
Smsr::~Smsr() = default;

void Smsr::register_euicc(EuiccRecord record) {
  auto e = std::make_unique<Euicc>();
  e->id = {record.eid, record.index};
  e->next_isdp = options_.first_isdp;
  es5_.add(e->id, record.psk);
  e->record = std::move(record);
  euiccs_[e->id.eid] = std::move(e);
}

Result<std::string> Smsr::add_stale_entry(const std::string& eid, const std::string& smdp_oid, std::uint32_t memory) {
  Euicc* e = find(eid);
  if (e == nullptr) return Error{"unknown-eid", eid};
  EisEntry entry;
  // An ICCID of its own per eUICC: 8999900000 and the last nine digits of the place in the fleet.
  std::string digits = std::to_string(1'000'000'000 + e->id.index % 1'000'000'000).substr(1);
  entry.info.iccid = iccid_with_luhn("8999900000" + digits);
  entry.info.isd_p_aid = isdp_aid_for(e->next_isdp++);
  entry.info.mno_id = "2.999.10";
  entry.info.state = "Created";
  entry.info.smdp_id = smdp_oid;
  entry.info.allocated_memory = memory;
  entry.info.pol2 = es::Pol2{};
  const std::string aid = entry.info.isd_p_aid;
  e->entries.push_back(std::move(entry));
  return aid;
}

void Smsr::set_party_url(const std::string& oid, const std::string& url) {
  for (auto& p : options_.parties)
    if (p.oid == oid) p.url = url;
}

Smsr::Euicc* Smsr::find(const std::string& eid) {
  const auto it = euiccs_.find(eid);
  return it == euiccs_.end() ? nullptr : it->second.get();
}

const std::vector<EisEntry>* Smsr::entries(const std::string& eid) const {
  const auto it = euiccs_.find(eid);
  return it == euiccs_.end() ? nullptr : &it->second->entries;
}

std::uint64_t Smsr::remaining_memory(const std::string& eid) const {
  const auto it = euiccs_.find(eid);
  return it == euiccs_.end() ? 0 : it->second->remaining();
}

Status Smsr::start() {
  if (!options_.audit_file.empty()) {
    audit_.open(options_.audit_file, std::ios::out | std::ios::trunc);
    if (!audit_) return Error{"no-file", options_.audit_file};
  }
  if (!options_.hostile.empty()) {
    KF_TRY(HostileOptions h, parse_hostile(options_.hostile));
    hostility_.configure(std::move(h));
  }
  KF_CHECK(es5_.start());
  net::ServerOptions o;
  o.listen_address = options_.listen_address;
  o.port = options_.es3_port;
  o.tls = options_.tls;
  o.admit = [this](const net::Request& head) { return admit(head); };
  server_ =
      std::make_unique<net::HttpServer>(io_, std::move(o), [this](net::Request r) { return handle(std::move(r)); });
  return server_->start();
}

void Smsr::stop() {
  if (server_) server_->stop();
  es5_.stop();
  flush_audit();
}

void Smsr::flush_audit() {
  if (audit_.is_open()) audit_.flush();
}

std::uint16_t Smsr::es3_port() const { return server_ ? server_->port() : std::uint16_t{0}; }
std::string Smsr::address() const {
  return "https://" + options_.listen_address + ":" + std::to_string(es3_port()) + std::string(kEs3Path);
}

const Party* Smsr::party_of(const std::string& fingerprint) const {
  for (const auto& p : options_.parties)
    if (!p.fingerprint.empty() && p.fingerprint == fingerprint) return &p;
  return nullptr;
}

unsigned Smsr::admit(const net::Request& head) const {
  const Party* p = party_of(head.peer.fingerprint);
  const std::string_view path = std::string_view(head.target).substr(0, head.target.find('?'));
  if (p == nullptr || p->role != Party::Role::smdp) return 403;  // ES3 is for SM-DPs
  if (path != kEs3Path) return 404;
  if (head.method != "POST") return 405;
  if (head.content_type.find("application/soap+xml") == std::string::npos &&
      head.content_type.find("text/xml") == std::string::npos)
    return 415;
  return 0;
}

bool Smsr::reply_allowed(const Party& p, const std::string& reply_to) const {
  const auto to = net::parse_url(reply_to);
  if (!to.ok()) return false;
  if (const auto own = net::parse_url(p.url); own.ok() && own->host == to->host) return true;
  if (p.url.empty() && p.reply_hosts.empty()) return to->host == "127.0.0.1" || to->host == "localhost";
  return std::find(p.reply_hosts.begin(), p.reply_hosts.end(), to->host) != p.reply_hosts.end();
}

std::string Smsr::new_message_id(std::string_view transaction_id) const {
  return es::make_message_id(options_.oid, random_uuid(), transaction_id, iso_seconds(wall_now()));
}

net::Response Smsr::answer_200(const Answer& a, const Reply& reply) const {
  es::SendHeader h;
  h.from = es::make_address(address(), options_.oid, options_.name);
  h.to = reply.to;
  h.message_id = new_message_id(reply.transaction_id);
  h.relates_to = reply.relates_to;
  h.action = es::action_of(a, es::Way::answer, options_.dialect);
  net::Response r;
  r.content_type = es::kSoapContentType;
  r.body = es::write_message(h, a, reply.ns, options_.dialect);
  record_(r.body);
  return r;
}

asio::awaitable<net::Response> Smsr::handle(net::Request r) {
  ++counters_.requests;
  const Party* party = party_of(r.peer.fingerprint);
  if (party == nullptr) co_return empty_answer(403);
  record_(r.body);
  auto parsed = es::parse_message(r.body, {});
  if (auto* f = std::get_if<es::Fault>(&parsed)) {
    ++counters_.faults;
    co_return fault_answer(*f);
  }
  auto& message = std::get<es::Message>(parsed);
  es::Fault fault;
  fault.header = message.header;
  if (options_.strict)
    if (auto complaint = strict_complaint(r.body)) {
      ++counters_.faults;
      ++counters_.failed["strict: " + *complaint];
      fault.reason = "Not as described: " + *complaint;
      co_return fault_answer(fault);
    }
  auto* body = std::get_if<es::Request>(&message.body);
  if (body == nullptr || body->interface != es::Interface::es3 || es::is_notification(*body)) {
    ++counters_.faults;
    fault.subcode = "wsa:ActionNotSupported";
    fault.reason = "not a function of ES3 towards an SM-SR";
    co_return fault_answer(fault);
  }
  if (message.header.from_entity != party->oid) {  // docs/spec/interfaces.md 10.6
    ++counters_.faults;
    fault.reason = "EntityId in wsa:From is not that of the TLS certificate";
    co_return fault_answer(fault);
  }
  const auto request = std::make_shared<const es::Request>(std::move(*body));
  const std::string name(es::function_name(request->function));
  ++counters_.functions[name];

  Reply reply;
  reply.to = message.header.from;
  reply.relates_to = message.header.message_id;
  reply.transaction_id = message.header.transaction_id;
  reply.ns = message.ns;
  const std::string& reply_to = message.header.reply_to;
  reply.synchronous = reply_to.empty() || reply_to == es::kWsaAnonymous;

  std::optional<Answer> refusal;
  if (message.header.to_entity != options_.oid)
    refusal = failed(*request, "1.2", "3.4", message.header.to_entity, "this SM-SR is " + options_.oid);
  else if (!reply.synchronous && !reply_allowed(*party, reply_to))
    refusal = failed(*request, "1.1", "1.2", {}, "ReplyTo names a host that is not registered for " + party->oid);

  // The EID may be absent in functions that are not implemented.
  const Euicc* known = find(request->eid);
  const CardId id{request->eid, known != nullptr ? known->id.index : 0};
  if (!refusal && !faults_.empty() && faults_.fire("http-500", id, name) != nullptr) {
    es::Fault f = std::move(fault);
    f.http_status = 500;
    f.code = es::FaultCode::receiver;
    f.reason = "Temporary failure, nothing was done, send again";
    co_return fault_answer(f);
  }

  if (!refusal && !faults_.empty() && faults_.fire("http-404", id, name) != nullptr) co_return empty_answer(404);

  std::shared_ptr<Call> call;
  bool fresh = false;
  if (!refusal) {
    const std::string key = party->oid + " " + request->function_call_identifier;
    Bytes digest = digest_of(*request);
    if (const auto it = calls_.find(key); it != calls_.end()) {
      ++counters_.repeats;
      if (it->second->digest != digest)
        refusal = failed(*request, "1.6", "3.3", request->function_call_identifier,
                         "call identifier reused with other content");
      else
        call = it->second;
    } else {
      fresh = true;
      call = std::make_shared<Call>();
      call->digest = std::move(digest);
      call->id = id;
      if (request->function != es::Function::get_eis) {  // reading again is harmless and an EIS is large
        calls_.emplace(key, call);
        call_order_.push_back(key);
        if (call_order_.size() > options_.remembered_calls) {
          calls_.erase(call_order_.front());
          call_order_.pop_front();
        }
      }
    }
  }
  if (refusal) {
    ++counters_.refused;
    co_return answer_200(*refusal, reply);
  }
  if (fresh) {
    call->request = request;
    call->received = Clock::now();
    if (hostility_.on()) call->ways = hostility_.choose(*request);
    if (call->ways.forgotten) calls_.erase(party->oid + " " + request->function_call_identifier);
    if (call->ways.http != 0 || call->ways.garbage) co_return turn_away(std::move(call), party);
  }

  if (!reply.synchronous && faults_.fire("reply-sync", id, name) != nullptr) reply.synchronous = true;
  if (!reply.synchronous) {
    reply.to = reply_to;
    if (!call->done) {
      call->owed.push_back(std::move(reply));
      if (fresh) asio::co_spawn(io_, run_call(call, party), asio::detached);
    } else {
      asio::co_spawn(io_, deliver(call, std::move(reply)), asio::detached);
    }
    co_return empty_answer(202);
  }

  ++counters_.synchronous;
  if (fresh) {
    co_await run_call(call, party);
  } else if (!call->done) {
    asio::steady_timer timer(io_, std::chrono::hours(24));
    call->waiting.push_back(&timer);
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  net::Response out = answer_200(call->answer, reply);
  if (call->ways.poison != 0) out.body = poisoned(std::move(out.body), call->ways.poison);
  if (request->function == es::Function::send_data)
    if (const auto* s = faults_.find("bad-hex-answer", id)) {
      if (s->value == "nothex")
        spoil_hex(out.body);
      else if (s->value.empty() || s->value == "odd")
        drop_hex_digit(out.body);
    }
  co_return out;
}

asio::awaitable<void> Smsr::run_call(std::shared_ptr<Call> call, const Party* party) {
  const std::string started = iso_seconds(wall_now());
  const auto request = call->request;
  const std::chrono::seconds validity =
      request->validity_period ? std::chrono::seconds(*request->validity_period) : options_.default_validity;
  const auto deadline = call->received + validity;
  if (hostility_.on())
    call->answer = co_await execute_hostile(call, party, deadline);
  else
    call->answer = co_await execute(party, request, deadline);
  call->answer.processing_start = started;
  call->answer.processing_end = iso_seconds(wall_now());
  if (call->answer.code)
    ++counters_.failed[std::string(es::function_name(request->function)) + " " + call->answer.code->subject + "/" +
                       call->answer.code->reason];
  call->done = true;
  call->request.reset();
  for (auto* t : call->waiting) t->cancel();
  call->waiting.clear();
  for (auto& reply : call->owed) asio::co_spawn(io_, deliver(call, std::move(reply)), asio::detached);
  call->owed.clear();
}

asio::awaitable<void> Smsr::deliver(std::shared_ptr<Call> call, Reply reply) {
  const std::string_view name = es::function_name(call->answer.function);
  const bool armed = !faults_.empty();
  if (armed && faults_.fire("dropped-answer", call->id, name) != nullptr) co_return;
  if (!call->ways.answered) {
    call->ways.answered = true;  // a repetition gets its answer
    co_return;
  }
  es::SendHeader h;
  h.from = es::make_address(address(), options_.oid, options_.name);
  h.to = reply.to;
  h.message_id = new_message_id(reply.transaction_id);
  if (!armed || faults_.fire("callback-no-relatesto", call->id, name) == nullptr) h.relates_to = reply.relates_to;
  h.action = es::action_of(call->answer, es::Way::callback, options_.dialect);
  auto body = std::make_shared<std::string>(es::write_message(h, call->answer, reply.ns, options_.dialect));
  if (armed && call->answer.function == es::Function::send_data)
    if (const auto* s = faults_.fire("bad-hex-answer", call->id)) {
      if (s->value == "nothex")
        spoil_hex(*body);
      else if (s->value.empty() || s->value == "odd")
        drop_hex_digit(*body);
    }
  if (call->ways.poison != 0) *body = poisoned(std::move(*body), call->ways.poison);
  const bool twice = call->ways.twice || (armed && faults_.fire("callback-twice", call->id, name) != nullptr);
  const int times = twice ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    ++counters_.callbacks;
    const auto sent = co_await post(reply.to, body, 4);
    if (!sent.ok() || sent->status >= 300) ++counters_.callback_failures;
  }
}

asio::awaitable<Result<net::Response>> Smsr::post(const std::string& url, std::shared_ptr<const std::string> body,
                                                  int tries) {
  const auto to = net::parse_url(url);
  if (!to.ok()) co_return to.error();
  auto& client = clients_[to->authority()];
  if (!client) {
    net::ClientOptions o;
    o.host = to->host;
    o.port = to->port;
    o.plain = !to->tls;
    o.tls = options_.tls;
    client = std::make_unique<net::HttpClient>(io_, std::move(o));
  }
  net::HttpClient& c = *client;
  const std::string target = to->target;
  record_(*body);
  Result<net::Response> answer = Error{"net-connect", "not tried"};
  for (int i = 0; i < tries; ++i) {
    if (i > 0) {
      asio::steady_timer timer(io_, std::chrono::milliseconds(250 << i));
      boost::system::error_code ec;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
    net::Request r;
    r.target = target;
    r.content_type = es::kSoapContentType;
    r.body = *body;
    answer = co_await c.call(std::move(r), net::Millis(30'000), true);
    if (answer.ok() && answer->status < 500) break;
  }
  co_return answer;
}

void Smsr::notify(es::Function f, const std::string& eid, const es::ProfileInfo& about) {
  if (options_.strict && f == es::Function::handle_profile_downloaded) return;  // not in the descriptions
  es::Request n;
  n.function = f;
  n.eid = eid;
  n.iccid = about.iccid;
  n.completion_timestamp = iso_seconds(wall_now());
  for (const auto& p : options_.parties) {
    const bool es3 = p.role == Party::Role::smdp && p.oid == about.smdp_id;
    if (p.url.empty() || !(es3 || p.role == Party::Role::m2m)) continue;
    n.mno_id = es3 ? about.mno_id : "";
    asio::co_spawn(io_, post_notification(es3 ? es::Interface::es3 : es::Interface::es4, n, &p), asio::detached);
  }
}

asio::awaitable<void> Smsr::post_notification(es::Interface i, es::Request n, const Party* to) {
  n.interface = i;
  es::SendHeader h;
  h.from = es::make_address(address(), options_.oid, options_.name);
  h.to = es::make_address(to->url, to->oid, {});
  h.message_id = new_message_id("urn:uuid:" + random_uuid());
  h.action = es::action_of(n, options_.dialect);
  const auto body = std::make_shared<const std::string>(es::write_message(h, n, es::kNs3, options_.dialect));
  ++counters_.notifications;
  const std::string url = to->url;
  const auto sent = co_await post(url, body, 3);
  if (!sent.ok() || sent->status >= 300) ++counters_.notification_failures;
}

void Smsr::audit(std::string_view eid, std::string_view function, std::string_view direction, ByteView data) {
  counters_.relayed_bytes += data.size();
  if (!audit_.is_open()) return;
  std::string line = R"({"time":")" + iso_time(wall_now()) + R"(","eid":")";
  line.reserve(line.size() + 160 + 2 * data.size());
  line.append(eid).append(R"(","function":")").append(function).append(R"(","direction":")").append(direction);
  line.append(R"(","data":")");
  append_hex(line, data);
  line.append("\"}\n");
  audit_ << line;
}

}  // namespace kf::sim
