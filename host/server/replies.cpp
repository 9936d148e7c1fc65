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
  h.to = c.reply_to.empty() ? std::string(es::kWsaAnonymous) : c.reply_to;  // byte for byte (rule 4)
  h.message_id = es::make_message_id(config_.oid.str(), random_uuid(), random_uuid(), iso_seconds(wall_now()));
  h.relates_to = c.message_id;
  const es::Dialect d = dialect_of(c.requester);
  h.action = es::action_of(r, c.reply == store::ReplyKind::sync ? es::Way::answer : es::Way::callback, d);
  if (c.reply == store::ReplyKind::poll) h.message_pending = false;
  return es::write_message(h, r, c.ns, d);
}

std::optional<store::DeliveryRow> Replies::store_answer(store::Tx& tx, const std::string& requester,
                                                        const std::string& fcid, const es::Response& r) const {
  auto call = tx.find_call(requester, fcid);
  if (!call) return std::nullopt;
  call->response = envelope(*call, r);
  tx.set_call_response(requester, fcid, call->response);
  return store_repeat(tx, *call);
}

std::optional<store::DeliveryRow> Replies::store_repeat(store::Tx& tx, const store::CallRow& call) const {
  if (call.reply == store::ReplyKind::sync) return std::nullopt;
  auto r = read_stored(call.response, call.ns);
  if (!r) throw std::runtime_error("stored answer cannot be read: " + r.error().text());
  store::DeliveryRow d;
  d.party = call.requester;
  d.kind = call.reply == store::ReplyKind::poll ? store::DeliveryKind::poll : store::DeliveryKind::callback;
  d.address = call.reply_to;
  d.body = envelope(call, *r);
  d.created_ms = anchored_ms();
  d.id = tx.insert_delivery(d);
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
    it->second->answer = answer;
    it->second->timer.cancel();
  }
  waiters_.erase(range.first, range.second);
}

asio::awaitable<std::shared_ptr<const es::Response>> Replies::wait(std::string requester, std::string fcid) {
  auto w = std::make_shared<Waiter>(io_);
  waiters_.emplace(std::make_pair(std::move(requester), std::move(fcid)), w);
  boost::system::error_code ec;
  co_await w->timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  co_return w->answer;
}

void Replies::stop() {
  for (auto& [k, w] : waiters_) w->timer.cancel();
  waiters_.clear();
}

}  // namespace kf::server
