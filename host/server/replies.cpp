#include "host/server/replies.hpp"

#include <boost/asio/redirect_error.hpp>

#include <stdexcept>

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

std::optional<store::DeliveryRow> Replies::store_answer(store::Tx& tx, const std::string& requester,
                                                        const std::string& fcid, const es::Response& r) const {
  auto call = tx.find_call(requester, fcid);
  if (!call) return std::nullopt;
  // The ledger's copy answers nobody: what the receiver wants to find in the header is with the call.
  store::CallRow plain = *call;
  plain.reply_parameters.clear();
  call->response = envelope(plain, r);
  const bool kept = call->response.size() <= kMostKept;
  if (!kept) call->response = envelope(plain, too_large(r));
  tx.set_call_response(requester, fcid, call->response, anchored_ms());
  return store_message(tx, *call, kept ? r : too_large(r));
}

std::optional<store::DeliveryRow> Replies::store_repeat(store::Tx& tx, const store::CallRow& call) const {
  if (call.reply == store::ReplyKind::sync) return std::nullopt;
  auto r = read_stored(call.response, call.ns);
  if (!r) throw std::runtime_error("stored answer cannot be read: " + r.error().text());
  return store_message(tx, call, *r);
}

std::optional<store::DeliveryRow> Replies::store_message(store::Tx& tx, const store::CallRow& call,
                                                         const es::Response& r) const {
  if (call.reply == store::ReplyKind::sync) return std::nullopt;
  store::DeliveryRow d;
  d.party = call.requester;
  d.kind = call.reply == store::ReplyKind::poll ? store::DeliveryKind::poll : store::DeliveryKind::callback;
  d.address = call.reply_to;
  d.body = envelope(call, r);
  d.created_ms = anchored_ms();
  // A call has one message at most: the answer is bound to the last request that asked for it.
  if (call.delivery != 0 && tx.delete_delivery(call.delivery)) d.replaces = call.delivery;
  d.id = tx.insert_delivery(d);
  tx.set_call_delivery(call.requester, call.fcid, d.id);
  return d;
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
