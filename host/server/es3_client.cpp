#include "host/server/es3_client.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>

#include "host/base/calendar.hpp"
#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/server/guard.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
std::string parameter(std::string_view uri, std::string_view name) {  // value of name= in the query of a MessageID
  const std::size_t q = uri.find('?');
  if (q == std::string_view::npos) return {};
  std::string_view rest = uri.substr(q + 1);
  while (!rest.empty()) {
    const std::size_t amp = std::min(rest.find('&'), rest.size());
    const std::string_view item = rest.substr(0, amp);
    if (item.size() > name.size() && item.starts_with(name) && item[name.size()] == '=')
      return std::string(item.substr(name.size() + 1));
    rest = amp == rest.size() ? std::string_view() : rest.substr(amp + 1);
  }
  return {};
}
}  // namespace

std::string brief_of(const Error& e) {
  const auto has = [&](std::string_view what) { return e.detail.find(what) != std::string::npos; };
  const auto fault = e.kind.as<net::NetFault>();
  if (!fault) return "not sent";
  switch (*fault) {
    case net::NetFault::connect:
      return "no connection";
    case net::NetFault::busy:
      return "too many calls are waiting";
    case net::NetFault::timeout:
      return "no answer in time";
    case net::NetFault::late:
      return "not sent in time";
    case net::NetFault::lost:
      return has(" alert ") ? "TLS: the SM-SR refused the connection" : "connection lost";
    case net::NetFault::stale:
      return "connection lost";
    case net::NetFault::answer:
      return has("over the limit") ? "answer too large" : "not an HTTP answer";
    case net::NetFault::tls:
      break;
    default:
      return "not sent";
  }
  if (has("certificate has expired")) return "TLS: certificate expired";
  if (has("mismatch")) return "TLS: certificate of another host";
  if (has("certificate verify failed")) return "TLS: certificate not trusted";
  if (has("alert")) return "TLS: the SM-SR refused the connection";
  return "TLS: handshake failed";
}

bool is_quick(es::Function f) {
  return f == es::Function::get_eis || f == es::Function::profile_download_completed ||
         f == es::Function::update_policy_rules || f == es::Function::update_subscription_address;
}

net::ClientOptions client_options(const Settings& c, const net::Url& u, std::size_t max_connections) {
  net::ClientOptions o;
  o.host = u.host;
  o.port = u.port;
  o.tls = c.tls;
  o.max_connections = max_connections;
  o.max_body = c.max_eis_body;
  return o;
}

net::HttpClient& Es3Client::client_of(const Party& p) {
  auto& slot = clients_[&p];
  if (!slot)
    slot = std::make_unique<net::HttpClient>(io_, client_options(config_, *net::parse_url(p.url), p.max_connections));
  return *slot;
}

void Es3Client::call(const Party& smsr, const std::string& transaction, es::Request r, std::int64_t timeout_ms,
                     std::uint32_t validity_s, bool resend_safe, Done done, Taken taken) {
  const bool synchronous = smsr.synchronous || is_quick(r.function);
  r.interface = es::Interface::es3;
  r.function_call_identifier = transaction;
  r.validity_period = std::max<std::uint32_t>(1, validity_s);
  es::SendHeader h;
  h.from = es::make_address(config_.es3_url, config_.oid.str(), config_.name);
  h.to = es::make_address(smsr.url, smsr.oid.str(), "");
  h.reply_to = synchronous ? std::string(es::kWsaAnonymous)
                           : es::make_address(smsr.callback_url, config_.oid.str(), config_.name);
  h.message_id = es::make_message_id(config_.oid.str(), random_uuid(), transaction, iso_seconds(wall_now()));
  h.action = es::action_of(r, smsr.dialect);

  Pending p;
  p.transaction = transaction;
  p.message_id = h.message_id;
  p.party = &smsr;
  p.function = r.function;
  p.done = std::move(done);
  p.taken = std::move(taken);
  p.timer = std::make_unique<asio::steady_timer>(io_, std::chrono::milliseconds(std::max<std::int64_t>(1, timeout_ms)));
  p.timer->async_wait([this, transaction](const boost::system::error_code& ec) {
    if (!ec) finish(transaction, CallFailure{download::CallFault::timeout, "no answer in time", "no answer in time"});
  });
  pending_[transaction] = std::move(p);
  ++metrics_.es3_calls;
  net::Request q;
  q.target = net::parse_url(smsr.url)->target;
  q.content_type = es::soap_content_type(h.action);
  // ValidityPeriod counts from when the message is sent: whatever it waited for here is taken off.
  q.send_by = std::chrono::steady_clock::now() + std::chrono::seconds(*r.validity_period);
  q.compose = [this, &smsr, until = q.send_by, h = std::move(h), r = std::make_shared<es::Request>(std::move(r))] {
    Stopwatch w(metrics_.soap_ns);
    const auto left = std::chrono::floor<std::chrono::seconds>(until - std::chrono::steady_clock::now()).count();
    r->validity_period = static_cast<std::uint32_t>(std::max<std::int64_t>(1, left));
    return es::write_message(h, *r, smsr.ns, smsr.dialect);
  };
  asio::co_spawn(io_, send(transaction, &smsr, std::move(q), timeout_ms, resend_safe, synchronous),
                 [this, transaction](const std::exception_ptr& e) {
                   if (!e) return;
                   report(metrics_, "a call to an SM-SR", e);
                   finish(transaction, CallFailure{download::CallFault::lost, "internal failure: " + text_of(e),
                                                   "internal failure"});
                 });
}

asio::awaitable<void> Es3Client::send(std::string transaction, const Party* p, net::Request q, std::int64_t timeout_ms,
                                      bool resend_safe, bool synchronous) {
  // An acknowledgement (202) is quick; a synchronous answer takes as long as the function.
  const auto wait = net::Millis(synchronous ? timeout_ms : std::min<std::int64_t>(timeout_ms, 60'000));
  auto answer = co_await client_of(*p).call(std::move(q), wait, resend_safe);
  if (!answer) {
    using net::NetFault;
    const Error& why = answer.error();
    const bool unreachable = why.is(NetFault::connect, NetFault::tls, NetFault::busy, NetFault::late);
    finish(transaction, CallFailure{unreachable                 ? download::CallFault::unreachable
                                    : why.is(NetFault::timeout) ? download::CallFault::timeout
                                                                : download::CallFault::lost,
                                    why.text(), brief_of(why)});
    co_return;
  }
  // Taken, and answered by a callback: 202 as a rule, with a line of text from some; stacks that know of no callbacks
  // say 204, or 200 and nothing.
  const bool nothing = answer->status / 100 == 2 && answer->body.empty();
  if (nothing || (!synchronous && answer->status == 202 && !es::read_fault(answer->body))) {
    if (synchronous)
      finish(transaction,
             CallFailure{download::CallFault::fault,
                         "HTTP " + std::to_string(answer->status) + " although a synchronous answer was asked for",
                         "HTTP " + std::to_string(answer->status) + " without an answer"});
    if (const auto it = pending_.find(transaction); it != pending_.end() && it->second.taken)
      std::exchange(it->second.taken, {})();
    co_return;  // the callback will come
  }
  if (answer->status != 200) {
    const std::string brief = "HTTP " + std::to_string(answer->status);
    auto f = es::read_fault(answer->body);
    // 503, and the fault that says "nothing was done, send again", did not execute anything; nor did a 4xx, but for
    // 408: somebody's wait was over, and nobody knows for what.
    const bool nothing_done =
        answer->status == 503 || (answer->status == 500 && f && f->code == es::FaultCode::receiver);
    const bool refused = answer->status >= 400 && answer->status < 500 && answer->status != 408;
    // Said of a second try, it says nothing of the first.
    const bool first_lost = answer->resent && (nothing_done || refused);
    finish(transaction, CallFailure{first_lost     ? download::CallFault::lost
                                    : nothing_done ? download::CallFault::unreachable
                                    : refused      ? download::CallFault::refused
                                                   : download::CallFault::fault,
                                    f ? brief + ": " + clip_text(f->reason, 300) : brief, brief, true});
    co_return;
  }
  es::CodecOptions o;
  if (p->ns != es::kNs3) o.namespaces.push_back(p->ns);
  o.takes = [](es::Interface i, es::Function, es::Direction d) {
    return i == es::Interface::es3 && d == es::Direction::response;
  };
  o.from_when_missing = p->oid.str();  // the connection says who it is
  std::variant<es::Message, es::Fault> m;
  {
    Stopwatch w(metrics_.soap_ns);
    m = es::parse_message(answer->body, o);
  }
  if (auto* f = std::get_if<es::Fault>(&m)) {
    peer_warn("es3 answer", p->oid.str(), "answer of SM-SR " + p->oid.str() + " not understood: " + f->reason);
    finish(transaction, CallFailure{download::CallFault::fault, "answer not understood: " + clip_text(f->reason, 300),
                                    "answer not understood"});
    co_return;
  }
  auto& msg = std::get<es::Message>(m);
  note_unknown_elements(metrics_, p->oid.str(), msg.unknown_elements);
  auto it = pending_.find(transaction);
  auto* r = std::get_if<es::Response>(&msg.body);
  if (it == pending_.end()) co_return;
  if (r == nullptr || r->function != it->second.function ||
      (!msg.header.relates_to.empty() && msg.header.relates_to != it->second.message_id)) {
    finish(transaction,
           CallFailure{download::CallFault::fault, "answer to something else", "answer to something else"});
    co_return;
  }
  finish(transaction, std::move(*r));
}

Es3Client::Incoming Es3Client::on_callback(const Party& from, const es::Message& m, std::string& transaction) {
  const auto& r = std::get<es::Response>(m.body);
  transaction = m.header.relates_to.empty() ? m.header.transaction_id : parameter(m.header.relates_to, "TransactionId");
  auto it = pending_.find(transaction);
  if (it == pending_.end()) return Incoming::unknown;
  Pending& p = it->second;
  if (p.party != &from) return Incoming::wrong_party;
  if (!m.header.relates_to.empty() && m.header.relates_to != p.message_id) return Incoming::unknown;
  if (r.function != p.function) return Incoming::wrong_function;
  finish(transaction, r);
  return Incoming::taken;
}

void Es3Client::finish(const std::string& transaction, CallResult r) {
  auto it = pending_.find(transaction);
  if (it == pending_.end()) return;
  Done done = std::move(it->second.done);
  pending_.erase(it);
  guarded(metrics_, "the answer of an SM-SR", [&] { done(std::move(r)); });
}

void Es3Client::stop() {
  pending_.clear();
  clients_.clear();
}

}  // namespace kf::server
