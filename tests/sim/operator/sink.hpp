// Receives one-way notifications over HTTPS and keeps count: the M2M SP's side of ES4, and the Operator's of ES2.
// docs/spec/interfaces.md 2.1, 2.3. One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/es/soap.hpp"
#include "host/net/http.hpp"

namespace kf::sim {

namespace asio = boost::asio;

struct Notification {
  es::Interface interface = es::Interface::es2;
  es::Function function = es::Function::handle_profile_downloaded;
  std::string eid, iccid, completion_timestamp;
  std::string from_entity;
  std::chrono::steady_clock::time_point received;
};

struct SinkOptions {
  std::string listen_address = "127.0.0.1";
  std::uint16_t port = 0;
  net::TlsFiles tls;
  std::string path = "/es4/notify";
  std::string oid = "2.999.50";
  std::size_t keep = 1000;  // the last so many notifications are kept, all are counted
};

class NotificationSink {
 public:
  NotificationSink(asio::io_context& io, SinkOptions o);
  ~NotificationSink();
  Status start();
  void stop();
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::string url() const;
  [[nodiscard]] const std::map<std::string, std::uint64_t>& counts() const noexcept { return counts_; }  // by function
  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }  // not understood, or no notification
  [[nodiscard]] const std::vector<Notification>& kept() const noexcept { return kept_; }

 private:
  asio::awaitable<net::Response> handle(net::Request r);
  asio::io_context& io_;
  SinkOptions options_;
  std::unique_ptr<net::HttpServer> server_;
  std::map<std::string, std::uint64_t> counts_;
  std::vector<Notification> kept_;
  std::uint64_t total_ = 0, refused_ = 0;
};

// A request that is a notification, as a Notification.
Notification notification_of(const es::Request& r, const es::MessageHeader& h);

}  // namespace kf::sim
