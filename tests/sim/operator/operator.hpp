// The Operator: orders downloads from an SM-DP over ES2 and receives outcomes and notifications. For benches and tests.
//
// Three patterns (docs/spec/interfaces.md 1.4): the answer in the HTTP response, by callback to this Operator's own
// HTTPS server, or fetched with MakeConnection. Outcomes are correlated by RelatesTo. One io_context, one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/es/soap.hpp"
#include "host/net/http.hpp"
#include "tests/sim/operator/sink.hpp"
#include "tests/sim/strict/strict.hpp"

namespace kf::sim {

using Clock = std::chrono::steady_clock;

enum class Pattern { sync, callback, polling };
Result<Pattern> parse_pattern(std::string_view s);  // "sync", "callback", "polling"; reasons: bad-pattern

struct OperatorOptions {
  std::string smdp_url;  // ES2 endpoint, for example https://127.0.0.1:8443/es2
  std::string smdp_oid = "2.999.20";
  std::string oid = "2.999.10", name = "Operator-Sim";
  es::Dialect dialect = es::Dialect::wsdl3;  // of what it sends
  net::TlsFiles tls;
  std::string listen_address = "127.0.0.1";  // callbacks and notifications
  std::string listen_host;                   // host in ReplyTo; empty: listen_address
  std::uint16_t port = 0;
  std::string path = "/es2/callback";
  net::Millis accept_timeout{30'000};  // for the 202
  net::Millis poll_interval{500};      // between two MakeConnections that brought nothing
  std::size_t max_connections = 32;
  std::size_t keep_notifications = 100'000;
  bool strict = false;  // refuses what the published v3 descriptions do not have
  std::string record;   // folder for every envelope received and sent; empty: none
};

struct Order {  // ES2.DownloadProfile
  std::string eid, smsr_id = "2.999.30";
  std::string iccid, profile_type;  // exactly one (the SM-DP checks)
  bool enable = false;
  std::optional<std::uint32_t> validity;  // seconds
  std::string call_id;                    // FunctionCallIdentifier; empty: a fresh one
};

struct Outcome {
  std::string call_id, message_id;
  std::string eid;                       // as asked
  unsigned http_status = 0;              // of the first answer
  std::optional<es::Response> response;  // the final answer
  std::optional<es::Fault> fault;        // instead of it
  std::string error;                     // instead of both: "net-timeout: ..." and the like
  Clock::time_point sent{}, accepted{}, done{};
  [[nodiscard]] bool succeeded() const {
    return response &&
           (response->status == es::ExecStatus::success || response->status == es::ExecStatus::with_warning);
  }
  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(done - sent).count(); }
  [[nodiscard]] std::string text() const;  // "EXECUTED_SUCCESS", "FAILED 8.1.1/1.1: ...", "fault ...", "error ..."
};

struct OperatorCounters {
  std::uint64_t sent = 0, accepted = 0, outcomes = 0, callbacks = 0, unknown_callbacks = 0, repeated_callbacks = 0;
  std::uint64_t polls = 0, notifications = 0, refused = 0;
  std::uint64_t with_action = 0;  // callbacks and notifications whose media type names their Action
  std::string complaint;          // the last one of a strict Operator
};

class Operator {
 public:
  Operator(asio::io_context& io, OperatorOptions o);
  ~Operator();
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;
  Status start();  // the callback server; needed for Pattern::callback and for notifications
  void stop();
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::string callback_url() const;  // to be registered at the SM-DP

  // Places an order and waits for its outcome, at most `timeout`.
  asio::awaitable<Outcome> order(Order o, Pattern p, net::Millis timeout);
  // Any ES2 function; fills in function_call_identifier when it is empty.
  asio::awaitable<Outcome> call(es::Request q, Pattern p, net::Millis timeout);
  // A body exactly as given, for bad-input tests. `target` empty: the path of smdp_url.
  struct Raw {
    std::string body;
    std::string content_type = std::string(es::kSoapContentType);
    std::string method = "POST";
    std::string target;
    net::Headers headers;
  };
  asio::awaitable<Result<net::Response>> raw_post(Raw r, net::Millis timeout);
  // The envelope that call() would send, to be spoilt by a test. `reply_to` empty: synchronous.
  [[nodiscard]] std::string envelope(const es::Request& q, const std::string& message_id,
                                     const std::string& reply_to) const;
  [[nodiscard]] std::string new_message_id() const;

  [[nodiscard]] const std::vector<Notification>& notifications() const noexcept { return notifications_; }
  // Waits until a notification of that kind for that ICCID is there.
  asio::awaitable<bool> wait_notification(es::Function f, std::string iccid, net::Millis timeout);
  std::function<void(const Notification&)> on_notification;
  [[nodiscard]] const OperatorCounters& counters() const noexcept { return counters_; }
  // Calls that were told two different ends, whatever the way and the number of times: "CALL: FIRST, then SECOND".
  [[nodiscard]] const std::vector<std::string>& contradictions() const noexcept { return contradictions_; }

 private:
  struct Waiting;
  asio::awaitable<net::Response> handle(net::Request r);
  bool take_response(es::Message& m);
  void remember(const std::string& message_id, const es::Response& r);
  asio::awaitable<void> poll(std::shared_ptr<Waiting> w, std::string address, Clock::time_point deadline);

  asio::io_context& io_;
  OperatorOptions options_;
  std::string target_;
  std::unique_ptr<net::HttpClient> client_;
  std::unique_ptr<net::HttpServer> server_;
  std::unordered_map<std::string, std::shared_ptr<Waiting>> waiting_;  // by MessageID
  std::unordered_map<std::string, bool> answered_;                     // MessageIDs whose outcome came by callback
  std::vector<Notification> notifications_;
  std::vector<asio::steady_timer*> notification_waits_;
  bool acceptable(const std::string& xml);
  OperatorCounters counters_;
  Recorder record_;
  std::unordered_map<std::string, std::string> call_of_, end_of_;  // call by MessageID, end by call
  std::vector<std::string> contradictions_;
};

}  // namespace kf::sim
