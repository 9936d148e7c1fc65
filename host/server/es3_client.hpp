// ES3 calls to SM-SRs: sends a request, waits for the answer on the same connection or by callback, reports exactly
// once. SGP.02 5.4; docs/spec/interfaces.md 1.4, 1.5. Loop thread only. Never retries by itself (that is the download's
// business), except once on a fresh connection where the caller says that the request may be repeated.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <unordered_map>
#include <variant>

#include "host/download/machine.hpp"
#include "host/es/soap.hpp"
#include "host/server/metrics.hpp"
#include "host/server/settings.hpp"

namespace kf::server {

namespace asio = boost::asio;

struct CallFailure {
  download::CallFault fault{};
  std::string detail;     // for the log: addresses, libraries' texts
  std::string brief;      // for anybody: "no connection", "TLS: certificate not trusted", "HTTP 404"
  bool answered = false;  // by an HTTP server, which may not know what the SM-SR behind it did
};
using CallResult = std::variant<es::Response, CallFailure>;

class Es3Client {
 public:
  Es3Client(asio::io_context& io, const Settings& c, Metrics& m) : io_(io), config_(c), metrics_(m) {}
  using Done = std::function<void(CallResult)>;
  using Taken = std::function<void()>;

  // `transaction` is unique per call; FunctionCallIdentifier is the same. validity_s, less what the message waited
  // for a connection, goes into ValidityPeriod; it is not sent, and fails as unreachable, once that has passed.
  // `taken`: the SM-SR has accepted it and holds no connection of ours any more; `done` comes by callback.
  void call(const Party& smsr, const std::string& transaction, es::Request r, std::int64_t timeout_ms,
            std::uint32_t validity_s, bool resend_safe, Done done, Taken taken = {});

  enum class Incoming { taken, unknown, wrong_party, wrong_function };
  // A response element POSTed to our callback URL (docs/spec/interfaces.md 1.4). `transaction` is filled in where it
  // could be read.
  Incoming on_callback(const Party& from, const es::Message& m, std::string& transaction);
  void stop();

 private:
  struct Pending {
    std::string transaction, message_id;
    const Party* party = nullptr;
    es::Function function{};
    Done done;
    Taken taken;
    std::unique_ptr<asio::steady_timer> timer;
  };
  asio::awaitable<void> send(std::string transaction, const Party* p, net::Request q, std::int64_t timeout_ms,
                             bool resend_safe, bool synchronous);
  void finish(const std::string& transaction, CallResult r);
  net::HttpClient& client_of(const Party& p);

  asio::io_context& io_;
  const Settings& config_;
  Metrics& metrics_;
  std::unordered_map<std::string, Pending> pending_;  // by transaction
  std::unordered_map<const Party*, std::unique_ptr<net::HttpClient>> clients_;
};

// What may be told to others of an error of host/net: a class in a few words, nothing of ours or of a library.
std::string brief_of(const Error& net_error);
// GetEIS, ProfileDownloadCompleted, UpdatePolicyRules, UpdateSubscriptionAddress: no card is asked, so the answer is
// wanted on the same connection.
bool is_quick(es::Function f);
net::ClientOptions client_options(const Settings& c, const net::Url& u, std::size_t max_connections);

}  // namespace kf::server
