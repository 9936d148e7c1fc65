#include "host/server/replies.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <utility>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/random.hpp"

namespace kf::server {

es::Dialect Replies::dialect_of(const std::string& requester) const {
  const Party* p = config_.by_oid(requester);
  return p == nullptr ? es::Dialect::wsdl3 : p->dialect;
}

std::string Replies::envelope(const store::CallRow& c, const es::Response& r) const {
  es::SendHeader h;
  h.from = es::make_address(config_.es2_url, config_.oid.str(), config_.name);
  // Octet for octet: docs/spec/interfaces.md 10.4.
  h.to = c.reply_to.empty() ? std::string(es::kWsaAnonymous) : c.reply_to;
  h.message_id = es::make_message_id(config_.oid.str(), random_uuid(), random_uuid(), iso_seconds(wall_now()));
  h.relates_to = c.message_id;
  h.reply_parameters = c.reply_parameters;
  const es::Dialect d = dialect_of(c.requester);
  h.action = es::action_of(r, c.reply == store::ReplyKind::sync ? es::Way::answer : es::Way::callback, d);
  if (c.reply == store::ReplyKind::poll) h.message_pending = false;
  return es::write_message(h, r, c.ns, d);
}

namespace {
es::Response too_large(const es::Response& r) {
  es::Response x;
  x.interface = r.interface;
  x.function = r.function;
  x.other_name = r.other_name;
  x.processing_start = r.processing_start;
  x.processing_end = r.processing_end;
  x.status = es::ExecStatus::failed;
  x.code = es::status_code(es::Code::provider_failed, "", "answer too large to keep");
  return x;
}
}  // namespace

// Of what it repeats in its header a party may send a lot; then the book is asked. As many are held as orders and
// relays are open, so only what an envelope is written from.
void Replies::bind(store::CallRow call) {
  constexpr std::size_t kMostHeld = 1024;
  Key key{call.requester, call.fcid};
  if (call.reply_parameters.size() > kMostHeld) return;
  call.digest = {};
  call.function = {};
  call.response = {};
  bound_.insert_or_assign(std::move(key), std::move(call));
}

void Replies::rebind(const store::CallRow& call) {
  if (bound_.erase({call.requester, call.fcid}) != 0) bind(call);
}

void Replies::forget(const std::string& requester, const std::string& fcid) { bound_.erase({requester, fcid}); }

BoundAnswer Replies::answer(const std::string& requester, const std::string& fcid, const es::Response& r) const {
  if (const auto at = bound_.find({requester, fcid}); at != bound_.end()) return written_for(at->second, r);
  BoundAnswer a;
  a.call.requester = requester;
  a.call.fcid = fcid;
  return a;
}

void Replies::rewrite(BoundAnswer& a, store::CallRow bound_to, const es::Response& r) const {
  const unsigned before = a.rewritten;
  a = written_for(std::move(bound_to), r);
  a.rewritten = before + 1;
}

BoundAnswer Replies::written_for(store::CallRow call, const es::Response& r) const {
  BoundAnswer a;
  // The ledger's copy answers nobody: what the receiver wants to find in the header is with the call.
  const std::string parameters = std::exchange(call.reply_parameters, {});
  a.kept = envelope(call, r);
  const bool small = a.kept.size() <= kMostKept;
  const es::Response told = small ? r : too_large(r);
  if (!small) a.kept = envelope(call, told);
  call.reply_parameters = parameters;
  if (call.reply != store::ReplyKind::sync) a.message = parameters.empty() ? a.kept : envelope(call, told);
  a.call = std::move(call);
  return a;
}

std::string Replies::synchronous(const Party& to, const es::MessageHeader& request, const es::Response& r,
                                 const std::string& ns) const {
  es::SendHeader h;
  h.from = es::make_address(config_.es2_url, config_.oid.str(), config_.name);
  h.to = request.from.empty() ? std::string(es::kWsaAnonymous) : request.from;
  h.message_id = es::make_message_id(config_.oid.str(), random_uuid(),
                                     request.transaction_id.empty() ? random_uuid() : request.transaction_id,
                                     iso_seconds(wall_now()));
  h.relates_to = request.message_id;
  h.reply_parameters = request.reply_parameters;
  h.action = es::action_of(r, es::Way::answer, to.dialect);
  return es::write_message(h, r, ns, to.dialect);
}

Result<es::Response> Replies::read_stored(const std::string& xml, const std::string& ns) {
  es::CodecOptions o;
  o.namespaces.push_back(ns);
  auto m = es::parse_message(xml, o);
  if (auto* f = std::get_if<es::Fault>(&m)) return Error{"bad-record", f->reason};
  auto* r = std::get_if<es::Response>(&std::get<es::Message>(m).body);
  if (r == nullptr) return Error{"bad-record", "not a response"};
  return std::move(*r);
}

void Replies::wake(const std::string& requester, const std::string& fcid, const es::Response& r) {
  forget(requester, fcid);
  const auto range = waiters_.equal_range({requester, fcid});
  if (range.first == range.second) return;
  auto answer = std::make_shared<const es::Response>(r);
  for (auto it = range.first; it != range.second; ++it) {
    it->second->outcome.answer = answer;
    it->second->timer.cancel();
  }
  waiters_.erase(range.first, range.second);
}

asio::awaitable<Replies::Waited> Replies::wait(std::string requester, std::string fcid) {
  auto w = std::make_shared<Waiter>(io_);
  const auto key = std::make_pair(std::move(requester), std::move(fcid));
  if (waiters_.count(key) >= kMostWaiting) {
    const auto oldest = waiters_.lower_bound(key);  // among equal keys the order is that of their coming
    oldest->second->outcome.displaced = true;
    oldest->second->timer.cancel();
    waiters_.erase(oldest);
  }
  waiters_.emplace(key, w);
  boost::system::error_code ec;
  co_await w->timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  co_return w->outcome;
}

void Replies::stop() {
  for (auto& [k, w] : waiters_) w->timer.cancel();
  waiters_.clear();
}

}  // namespace kf::server
