#include "tests/sim/operator/sink.hpp"

namespace kf::sim {

Notification notification_of(const es::Request& r, const es::MessageHeader& h) {
  Notification n;
  n.interface = r.interface;
  n.function = r.function;
  n.eid = r.eis ? r.eis->eid : r.eid;
  n.iccid = r.iccid.value_or("");
  n.completion_timestamp = r.completion_timestamp;
  n.from_entity = h.from_entity;
  n.received = std::chrono::steady_clock::now();
  return n;
}

NotificationSink::NotificationSink(asio::io_context& io, SinkOptions o) : io_(io), options_(std::move(o)) {}
NotificationSink::~NotificationSink() = default;

Status NotificationSink::start() {
  net::ServerOptions o;
  o.listen_address = options_.listen_address;
  o.port = options_.port;
  o.tls = options_.tls;
  o.admit = [](const net::Request& head) { return head.method == "POST" ? 0u : 405u; };
  server_ =
      std::make_unique<net::HttpServer>(io_, std::move(o), [this](net::Request r) { return handle(std::move(r)); });
  return server_->start();
}

void NotificationSink::stop() {
  if (server_) server_->stop();
}

std::uint16_t NotificationSink::port() const { return server_ ? server_->port() : std::uint16_t{0}; }
std::string NotificationSink::url() const {
  return "https://" + options_.listen_address + ":" + std::to_string(port()) + options_.path;
}

asio::awaitable<net::Response> NotificationSink::handle(net::Request r) {
  net::Response out;
  auto parsed = es::parse_message(r.body, {});
  if (auto* f = std::get_if<es::Fault>(&parsed)) {
    ++refused_;
    out.status = f->http_status;
    out.content_type = es::kSoapContentType;
    out.body = es::write_fault(*f);
    co_return out;
  }
  out.status = 202;
  const auto& m = std::get<es::Message>(parsed);
  const auto* q = std::get_if<es::Request>(&m.body);
  if (q == nullptr || !es::is_notification(*q)) {
    ++refused_;
    co_return out;
  }
  ++total_;
  std::string name(es::interface_name(q->interface));
  name.append("-").append(q->function == es::Function::other ? std::string_view(q->other_name)
                                                             : es::function_name(q->function));
  ++counts_[name];
  if (kept_.size() >= options_.keep && !kept_.empty()) kept_.erase(kept_.begin());
  if (options_.keep > 0) kept_.push_back(notification_of(*q, m.header));
  co_return out;
}

}  // namespace kf::sim
