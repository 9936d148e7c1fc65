#include "tests/sim/operator/operator.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>

#include "host/base/calendar.hpp"
#include "host/base/random.hpp"

namespace kf::sim {

Result<Pattern> parse_pattern(std::string_view s) {
  if (s == "sync") return Pattern::sync;
  if (s == "callback") return Pattern::callback;
  if (s == "polling") return Pattern::polling;
  return Error{"bad-pattern", "'" + std::string(s) + "': sync, callback or polling"};
}

std::string Outcome::text() const {
  if (response) {
    static constexpr std::array<const char*, 4> names{"EXECUTED_SUCCESS", "EXECUTED_WITHWARNING", "FAILED", "EXPIRED"};
    std::string s = names[static_cast<std::size_t>(response->status)];
    if (response->code) {
      s += " " + response->code->subject + "/" + response->code->reason;
      if (!response->code->message.empty()) s += ": " + response->code->message;
    }
    return s;
  }
  if (fault)
    return "fault " + std::to_string(http_status) + " " + std::string(es::fault_code_name(fault->code)) + " " +
           fault->subcode + ": " + fault->reason;
  return "error " + error;
}

struct Operator::Waiting {
  explicit Waiting(asio::io_context& io) : timer(io) {}
  asio::steady_timer timer;
  std::optional<es::Response> response;
  std::string error;
};

Operator::Operator(asio::io_context& io, OperatorOptions o)
    : io_(io), options_(std::move(o)), record_(options_.record, "operator") {
  if (options_.listen_host.empty()) options_.listen_host = options_.listen_address;
}
Operator::~Operator() = default;

// Of whatever the SM-DP sent.
bool Operator::acceptable(const std::string& xml) {
  record_(xml);
  if (!options_.strict) return true;
  auto complaint = strict_complaint(xml);
  if (!complaint) return true;
  ++counters_.refused;
  counters_.complaint = std::move(*complaint);
  return false;
}

Status Operator::start() {
  KF_TRY(const net::Url url, net::parse_url(options_.smdp_url));
  target_ = url.target;
  net::ClientOptions c;
  c.host = url.host;
  c.port = url.port;
  c.plain = !url.tls;
  c.tls = options_.tls;
  c.max_connections = options_.max_connections;
  client_ = std::make_unique<net::HttpClient>(io_, std::move(c));
  net::ServerOptions s;
  s.listen_address = options_.listen_address;
  s.port = options_.port;
  s.tls = options_.tls;
  s.admit = [this](const net::Request& head) {
    const std::string_view path = std::string_view(head.target).substr(0, head.target.find('?'));
    return head.method != "POST" ? 405u : path != options_.path ? 404u : 0u;
  };
  server_ =
      std::make_unique<net::HttpServer>(io_, std::move(s), [this](net::Request r) { return handle(std::move(r)); });
  return server_->start();
}

void Operator::stop() {
  if (server_) server_->stop();
  if (client_) client_->close_idle();
}

std::uint16_t Operator::port() const { return server_ ? server_->port() : std::uint16_t{0}; }
std::string Operator::callback_url() const {
  return "https://" + options_.listen_host + ":" + std::to_string(port()) + options_.path;
}

std::string Operator::new_message_id() const {
  return es::make_message_id(options_.oid, random_uuid(), "urn:uuid:" + random_uuid(), iso_seconds(wall_now()));
}

std::string Operator::envelope(const es::Request& q, const std::string& message_id, const std::string& reply_to) const {
  es::SendHeader h;
  h.from = es::make_address(callback_url(), options_.oid, options_.name);
  h.to = es::make_address(options_.smdp_url, options_.smdp_oid, {});
  h.reply_to = reply_to;
  h.message_id = message_id;
  h.action = es::action_of(q, options_.dialect);
  return es::write_message(h, q, es::kNs3, options_.dialect);
}

asio::awaitable<Outcome> Operator::order(Order o, Pattern p, net::Millis timeout) {
  es::Request q;
  q.interface = es::Interface::es2;
  q.function = es::Function::download_profile;
  q.function_call_identifier = o.call_id;
  q.validity_period = o.validity;
  q.eid = std::move(o.eid);
  q.smsr_id = std::move(o.smsr_id);
  if (!o.iccid.empty()) q.iccid = std::move(o.iccid);
  if (!o.profile_type.empty()) q.profile_type = std::move(o.profile_type);
  q.enable_profile = o.enable;
  return call(std::move(q), p, timeout);
}

asio::awaitable<Outcome> Operator::call(es::Request q, Pattern p, net::Millis timeout) {
  if (q.function_call_identifier.empty()) q.function_call_identifier = "op-" + random_uuid();
  Outcome out;
  out.call_id = q.function_call_identifier;
  out.eid = q.eid;
  out.message_id = new_message_id();
  std::string reply_to;
  if (p == Pattern::callback) reply_to = es::make_address(callback_url(), options_.oid, options_.name);
  if (p == Pattern::polling) reply_to = std::string(es::kMakeConnectionPrefix) + random_uuid();

  net::Request r;
  r.target = target_;
  r.content_type = es::kSoapContentType;
  r.body = envelope(q, out.message_id, reply_to);
  record_(r.body);
  const auto w = std::make_shared<Waiting>(io_);
  if (p != Pattern::sync) waiting_[out.message_id] = w;
  call_of_[out.message_id] = out.call_id;
  ++counters_.sent;
  out.sent = Clock::now();
  const auto deadline = out.sent + timeout;
  const net::Millis first_timeout = p == Pattern::sync ? timeout : std::min(timeout, options_.accept_timeout);
  auto answer = co_await client_->call(std::move(r), first_timeout, true);
  out.accepted = out.done = Clock::now();
  const auto leave = [&] { waiting_.erase(out.message_id); };
  if (!answer.ok()) {
    leave();
    out.error = answer.error().text();
    co_return out;
  }
  out.http_status = answer->status;
  if (answer->status == 200) {
    auto m = es::parse_message(answer->body, {});
    if (!acceptable(answer->body))
      out.error = "strict: " + counters_.complaint;
    else if (auto* f = std::get_if<es::Fault>(&m))
      out.error = "answer not understood: " + f->reason;
    else if (auto* resp = std::get_if<es::Response>(&std::get<es::Message>(m).body))
      out.response = std::move(*resp);
    else
      out.error = "the answer is no response";
    if (out.response) {
      ++counters_.outcomes;
      remember(out.message_id, *out.response);
    }
    leave();
    co_return out;
  }
  if (answer->status != 202) {
    leave();
    auto f = es::read_fault(answer->body);
    if (f.ok())
      out.fault = std::move(f).value();
    else
      out.error = "HTTP " + std::to_string(answer->status);
    co_return out;
  }
  if (p == Pattern::sync) {
    out.error = "HTTP 202 to a synchronous call";
    co_return out;
  }
  ++counters_.accepted;
  if (p == Pattern::polling) {
    co_await poll(w, reply_to, deadline);
  } else {
    while (!w->response && Clock::now() < deadline) {
      w->timer.expires_at(deadline);
      boost::system::error_code ec;
      co_await w->timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
  }
  leave();
  out.done = Clock::now();
  if (w->response) {
    out.response = std::move(w->response);
    ++counters_.outcomes;
  } else {
    out.error = w->error.empty() ? "net-timeout: no outcome in time" : w->error;
  }
  co_return out;
}

asio::awaitable<void> Operator::poll(std::shared_ptr<Waiting> w, std::string address, Clock::time_point deadline) {
  while (!w->response && Clock::now() < deadline) {
    es::SendHeader h;
    h.from = es::make_address(callback_url(), options_.oid, options_.name);
    h.to = es::make_address(options_.smdp_url, options_.smdp_oid, {});
    h.message_id = new_message_id();
    h.action = "http://docs.oasis-open.org/ws-rx/wsmc/200702/MakeConnection";
    net::Request r;
    r.target = target_;
    r.content_type = es::kSoapContentType;
    r.body = es::write_make_connection(h, address);
    ++counters_.polls;
    auto answer = co_await client_->call(std::move(r), options_.accept_timeout, true);
    if (answer.ok() && answer->status == 200) {
      if (!acceptable(answer->body)) {
        w->error = "strict: " + counters_.complaint;
        co_return;
      }
      auto parsed = es::parse_message(answer->body, {});
      if (auto* m = std::get_if<es::Message>(&parsed)) {
        take_response(*m);
        continue;
      }
      w->error = "answer not understood: " + std::get<es::Fault>(parsed).reason;
      co_return;
    }
    if (answer.ok() && answer->status != 202) {
      w->error = "HTTP " + std::to_string(answer->status) + " to MakeConnection";
      co_return;
    }
    asio::steady_timer timer(io_, options_.poll_interval);
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
}

void Operator::remember(const std::string& message_id, const es::Response& r) {
  const auto call = call_of_.find(message_id);
  if (call == call_of_.end()) return;
  std::string end = std::to_string(static_cast<int>(r.status)) + " " + r.iccid.value_or("");
  if (r.code) end += " " + r.code->subject + "/" + r.code->reason;
  const auto [known, fresh] = end_of_.emplace(call->second, end);
  if (!fresh && known->second != end) contradictions_.push_back(call->second + ": " + known->second + ", then " + end);
}

bool Operator::take_response(es::Message& m) {
  auto* resp = std::get_if<es::Response>(&m.body);
  if (resp != nullptr) remember(m.header.relates_to, *resp);
  const auto it = waiting_.find(m.header.relates_to);
  if (resp == nullptr || it == waiting_.end()) {
    if (answered_.contains(m.header.relates_to))
      ++counters_.repeated_callbacks;
    else
      ++counters_.unknown_callbacks;
    return false;
  }
  answered_[m.header.relates_to] = true;
  it->second->response = std::move(*resp);
  it->second->timer.cancel();
  return true;
}

asio::awaitable<net::Response> Operator::handle(net::Request r) {
  net::Response out;
  if (!acceptable(r.body)) {
    out.status = 400;
    co_return out;
  }
  auto parsed = es::parse_message(r.body, {});
  if (auto* f = std::get_if<es::Fault>(&parsed)) {
    ++counters_.refused;
    out.status = f->http_status;
    out.content_type = es::kSoapContentType;
    out.body = es::write_fault(*f);
    co_return out;
  }
  out.status = 202;
  auto& m = std::get<es::Message>(parsed);
  const auto type = net::parse_media_type(r.content_type);
  if (type && type->parameter("action") == m.header.action) ++counters_.with_action;
  if (const auto* q = std::get_if<es::Request>(&m.body)) {
    if (!es::is_notification(*q)) {
      ++counters_.refused;
      co_return out;
    }
    ++counters_.notifications;
    Notification n = notification_of(*q, m.header);
    if (on_notification) on_notification(n);
    if (notifications_.size() < options_.keep_notifications) notifications_.push_back(std::move(n));
    for (auto* t : notification_waits_) t->cancel();
  } else {
    ++counters_.callbacks;
    take_response(m);
  }
  co_return out;
}

asio::awaitable<bool> Operator::wait_notification(es::Function f, std::string iccid, net::Millis timeout) {
  const auto deadline = Clock::now() + timeout;
  asio::steady_timer timer(io_);
  notification_waits_.push_back(&timer);
  const auto there = [&] {
    return std::any_of(notifications_.begin(), notifications_.end(),
                       [&](const Notification& n) { return n.function == f && n.iccid == iccid; });
  };
  while (!there() && Clock::now() < deadline) {
    timer.expires_at(deadline);
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  std::erase(notification_waits_, &timer);
  co_return there();
}

asio::awaitable<Result<net::Response>> Operator::raw_post(Raw raw, net::Millis timeout) {
  net::Request r;
  r.method = std::move(raw.method);
  r.target = raw.target.empty() ? target_ : std::move(raw.target);
  r.content_type = std::move(raw.content_type);
  r.headers = std::move(raw.headers);
  r.body = std::move(raw.body);
  co_return co_await client_->call(std::move(r), timeout, false);
}

}  // namespace kf::sim
