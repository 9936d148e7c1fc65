#include "tests/sim/smsr/es5.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <charconv>

#include "host/base/ids.hpp"

namespace kf::sim {
namespace {

constexpr std::string_view kProtocol = "globalplatform-remote-admin/1.0";
constexpr std::string_view kAgentPath = "/server/adminagent";

std::string aid_path(ByteView aid) {  // <RID>/<PIX>
  std::string s = to_hex(aid.first(std::min<std::size_t>(5, aid.size())));
  if (aid.size() > 5) s += "/" + to_hex(aid.subspan(5));
  return s;
}

net::Response plain_answer(unsigned status) {
  net::Response r;
  r.status = status;
  r.headers.emplace_back("X-Admin-Protocol", kProtocol);
  return r;
}

std::string_view query_value(std::string_view target, std::string_view name) {
  auto at = target.find('?');
  while (at != std::string_view::npos) {
    std::string_view part = target.substr(at + 1);
    const auto end = part.find('&');
    at = end == std::string_view::npos ? end : at + 1 + end;
    part = part.substr(0, end);
    if (part.size() > name.size() && part.starts_with(name) && part[name.size()] == '=')
      return part.substr(name.size() + 1);
  }
  return {};
}

}  // namespace

struct Es5::Command {
  Command(asio::io_context& io, Order o) : order(std::move(o)), done_timer(io) {}
  Order order;
  asio::steady_timer done_timer;
  bool sent = false, done = false;
  bool confirmation = false;  // 3A08: nobody waits in run()
  std::uint64_t number = 0;   // cmd= of the URI the result comes to
  CommandOutcome outcome;
};

struct Es5::Card {
  CardId id;
  std::shared_ptr<const SecretBytes> psk;
  std::deque<std::shared_ptr<Command>> queue;
  asio::steady_timer* held = nullptr;  // of the POST that is being held
  std::uint64_t post = 0;              // the latest POST; older ones that are still held give up
  std::uint64_t command_number = 0;
  bool session_open = false;
  bool keep_open = false;
  Clock::time_point last_heard{};
  std::optional<CardNotification> notification;
  std::optional<Notified> notified;
  asio::steady_timer* waiting = nullptr;  // in wait_notification()
};

Es5::Es5(asio::io_context& io, Es5Options o, MtSms sms) : io_(io), options_(std::move(o)), sms_(std::move(sms)) {}
Es5::~Es5() = default;

void Es5::add(const CardId& id, std::shared_ptr<const SecretBytes> psk) {
  auto c = std::make_unique<Card>();
  c->id = id;
  c->psk = std::move(psk);
  cards_[id.eid] = std::move(c);
}

Status Es5::start() {
  net::ServerOptions o;
  o.listen_address = options_.listen_address;
  o.port = options_.port;
  o.max_connections = options_.max_connections;
  o.idle_timeout = std::max(net::Millis{75'000}, options_.hold * 2);
  if (options_.psk) {
    o.psk = [this](const std::string& identity) -> Result<SecretBytes> {
      KF_TRY(const std::string eid, eid_of_psk_identity(identity));
      const auto it = cards_.find(eid);
      if (it == cards_.end()) return Error{"unknown-eid", eid};
      return it->second->psk->clone();
    };
  } else {
    o.plain = true;
  }
  server_ =
      std::make_unique<net::HttpServer>(io_, std::move(o), [this](net::Request r) { return handle(std::move(r)); });
  return server_->start();
}

void Es5::stop() {
  if (server_) server_->stop();
  for (auto& [eid, c] : cards_) {
    c->keep_open = false;
    if (c->held != nullptr) c->held->cancel();
  }
}

std::uint16_t Es5::port() const { return server_ ? server_->port() : std::uint16_t{0}; }

void Es5::trigger(Card& c) {
  Trigger t;
  t.address = options_.listen_address;
  t.port = port();
  t.psk_identity = psk_identity_of(c.id.eid);
  t.host = options_.host;
  t.agent_id = "aid/" + aid_path(isd_r_aid().bytes());
  t.uri = std::string(kAgentPath) + "?cmd=" + std::to_string(++c.command_number);
  ++counters_.triggers;
  c.last_heard = Clock::now();  // the silence is counted from here
  sms_(c.id.eid, encode_trigger(t));
}

void Es5::wake(Card& c) {
  c.last_heard = Clock::now();
  if (c.held != nullptr)
    c.held->cancel();
  else if (!c.session_open)
    trigger(c);
  // else: the card is about to post; it gets the command then
}

asio::awaitable<CommandOutcome> Es5::run(const std::string& eid, Order order, Clock::time_point deadline) {
  const auto it = cards_.find(eid);
  if (it == cards_.end()) co_return CommandOutcome{};
  Card& c = *it->second;
  if (order.card_resets) c.notified.reset();
  const auto cmd = std::make_shared<Command>(io_, std::move(order));
  c.queue.push_back(cmd);
  if (c.queue.front() == cmd) wake(c);
  unsigned triggers = 1;
  while (!cmd->done) {
    const auto now = Clock::now();
    if (now >= deadline) {
      cmd->outcome.kind = CommandOutcome::Kind::expired;
      break;
    }
    if (c.queue.front() == cmd && now >= c.last_heard + options_.silence) {
      if (triggers++ >= options_.triggers) {
        ++counters_.failed;
        cmd->outcome.kind = cmd->sent ? CommandOutcome::Kind::lost : CommandOutcome::Kind::unreachable;
        break;
      }
      ++counters_.retriggers;
      c.session_open = false;
      trigger(c);
    }
    const auto silent_at = std::max(c.last_heard + options_.silence, now + net::Millis(1));
    cmd->done_timer.expires_at(std::min(deadline, c.queue.front() == cmd ? silent_at : now + options_.silence));
    boost::system::error_code ec;
    co_await cmd->done_timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  if (!cmd->done) {
    cmd->done = true;
    const bool was_front = !c.queue.empty() && c.queue.front() == cmd;
    std::erase(c.queue, cmd);
    if (was_front && !c.queue.empty()) {
      c.session_open = false;  // the session of a lost command is not to be trusted
      wake(c);
    }
  }
  co_return std::move(cmd->outcome);
}

asio::awaitable<std::optional<Es5::Notified>> Es5::wait_notification(const std::string& eid,
                                                                     Clock::time_point deadline) {
  const auto it = cards_.find(eid);
  if (it == cards_.end()) co_return std::nullopt;
  Card& c = *it->second;
  asio::steady_timer timer(io_);
  c.waiting = &timer;
  while (!c.notified && Clock::now() < deadline) {
    timer.expires_at(deadline);
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  if (c.waiting == &timer) c.waiting = nullptr;
  auto out = std::move(c.notified);
  c.notified.reset();
  co_return out;
}

void Es5::finish(Card& c, CommandOutcome o) {
  const auto cmd = c.queue.front();
  c.queue.pop_front();
  if (cmd->confirmation) {
    if (c.notification) {
      c.notified = Notified{*c.notification, std::move(o.answer)};
      c.notification.reset();
      if (c.waiting != nullptr) c.waiting->cancel();
    }
    return;
  }
  cmd->outcome = std::move(o);
  cmd->done = true;
  cmd->done_timer.cancel();
  c.keep_open = cmd->order.more_to_do;
  if (cmd->order.card_resets) c.keep_open = false;
}

void Es5::take_result(Card& c, const net::Request& r) {
  counters_.bytes_from_cards += r.body.size();
  std::uint64_t number = 0;
  const auto n = query_value(r.target, "cmd");
  std::from_chars(n.data(), n.data() + n.size(), number);
  if (c.queue.empty() || !c.queue.front()->sent || c.queue.front()->number != number) {
    ++counters_.late_answers;  // of a command that is no longer waited for
    return;
  }
  CommandOutcome o;
  const std::string* status = net::find_header(r.headers, "X-Admin-Script-Status");
  if (status != nullptr && *status != "ok") {
    o.kind = CommandOutcome::Kind::bad_answer;
    o.detail = "X-Admin-Script-Status: " + *status;
  }
  auto answer = read_answer(view(r.body));
  if (answer.ok()) {
    if (o.detail.empty()) o.kind = CommandOutcome::Kind::answered;
    o.answer = std::move(answer).value();
  } else {
    o.kind = CommandOutcome::Kind::bad_answer;
    if (o.detail.empty()) o.detail = answer.error().text();
  }
  finish(c, std::move(o));
}

void Es5::take_silence(Card& c, bool resume) {  // a POST without a result although a script was handed out
  Command& cmd = *c.queue.front();
  const bool continues = cmd.order.chain == Chain::subsequent || cmd.order.chain == Chain::last;
  // Resume: the card kept its context (every chain here starts with 11) and says that it has no result. Without it the
  // card began afresh, and a script in the middle of a chain would meet a card that may have executed it or lost the
  // context.
  if (resume || !continues) {
    ++counters_.resends;
    cmd.sent = false;
    return;
  }
  ++counters_.failed;
  CommandOutcome o;
  o.kind = CommandOutcome::Kind::lost;
  o.detail = "the card began afresh in the middle of a script chain";
  finish(c, std::move(o));
}

void Es5::take_notification(Card& c, std::string_view hex_digits) {
  const auto bytes = from_hex(hex_digits);
  if (!bytes.ok()) {
    ++counters_.refused;
    return;
  }
  auto n = read_notification(*bytes);
  if (!n.ok() || n->eid != c.id.eid) {
    ++counters_.refused;
    return;
  }
  ++counters_.notifications;
  const bool repeated = c.notification && c.notification->sequence == n->sequence;
  c.notification = std::move(n).value();
  if (repeated && !c.queue.empty() && c.queue.front()->confirmation) {
    c.queue.front()->sent = false;
    return;
  }
  Order o;
  o.commands = as_command(confirm_notification_apdu(c.notification->sequence));
  o.target = to_bytes(isd_r_aid().bytes());
  const auto cmd = std::make_shared<Command>(io_, std::move(o));
  cmd->confirmation = true;
  c.queue.push_front(cmd);
}

net::Response Es5::script_response(Card& c, Command& cmd) {
  cmd.sent = true;
  c.last_heard = Clock::now();
  cmd.number = ++c.command_number;
  net::Response r;
  r.status = 200;
  r.chunked = true;
  r.content_type = "application/vnd.globalplatform.card-content-mgt;version=1.0";
  r.headers.reserve(3);
  r.headers.emplace_back("X-Admin-Protocol", kProtocol);
  r.headers.emplace_back("X-Admin-Next-URI", std::string(kAgentPath) + "?cmd=" + std::to_string(cmd.number));
  r.headers.emplace_back("X-Admin-Targeted-Application", "//aid/" + aid_path(cmd.order.target));
  const Bytes body = script_template(cmd.order.commands, cmd.order.chain);
  r.body.assign(text(body));
  ++counters_.scripts;
  counters_.bytes_to_cards += body.size();
  return r;
}

asio::awaitable<net::Response> Es5::next_command(Card& c) {
  const std::uint64_t mine = ++c.post;
  if (c.held != nullptr) c.held->cancel();  // an older POST of a session that is gone
  const auto until = Clock::now() + options_.hold;
  for (;;) {
    if (c.post != mine) co_return plain_answer(204);
    if (!c.queue.empty() && !c.queue.front()->sent) co_return script_response(c, *c.queue.front());
    if (!c.keep_open || Clock::now() >= until) break;
    ++counters_.held;
    asio::steady_timer timer(io_);
    timer.expires_at(until);
    c.held = &timer;
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    if (c.held == &timer) c.held = nullptr;
  }
  c.session_open = false;
  c.keep_open = false;
  ++counters_.sessions_ended;
  co_return plain_answer(204);  // no Next-URI: end of the session
}

asio::awaitable<net::Response> Es5::handle(net::Request r) {
  ++counters_.posts;
  // //se-id/eid/<EID>;//aa-id/...
  const std::string* from = net::find_header(r.headers, "X-Admin-From");
  const std::string* protocol = net::find_header(r.headers, "X-Admin-Protocol");
  constexpr std::string_view prefix = "//se-id/eid/";
  if (from == nullptr || protocol == nullptr || *protocol != kProtocol || !from->starts_with(prefix) ||
      from->size() < prefix.size() + 32 || !r.target.starts_with(kAgentPath)) {
    ++counters_.refused;
    co_return plain_answer(400);
  }
  const std::string eid = from->substr(prefix.size(), 32);
  if (options_.psk) {
    const auto known = eid_of_psk_identity(r.peer.psk_identity);
    if (!known.ok() || *known != eid) {
      ++counters_.refused;
      co_return plain_answer(403);
    }
  }
  const auto it = cards_.find(eid);
  if (it == cards_.end()) {
    ++counters_.refused;
    co_return plain_answer(404);
  }
  Card& c = *it->second;
  c.last_heard = Clock::now();
  c.session_open = true;
  const std::string* resume_header = net::find_header(r.headers, "X-Admin-Resume");
  const bool resume = resume_header != nullptr && *resume_header == "true";
  if (resume) ++counters_.resumes;
  const auto msg = query_value(r.target, "msg");
  if (!msg.empty())
    take_notification(c, msg);
  else if (!r.body.empty())
    take_result(c, r);
  else if (!c.queue.empty() && c.queue.front()->sent)
    take_silence(c, resume);
  co_return co_await next_command(c);
}

}  // namespace kf::sim
