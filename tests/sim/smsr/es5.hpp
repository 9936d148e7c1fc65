// The SM-SR's side of the administration sessions: triggers a card, hands it scripts over HTTP, collects the results.
//
// One queue of commands per card, one command out at a time. A POST without work is held until a command comes (the
// session stays open while MoreToDo says so) or a time-out ends the session with 204. A session that fell silent is
// triggered again; a script is sent a second time only when there is no result for it and the chain allows it.
// docs/spec/interfaces.md 5. One io_context, one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "host/net/http.hpp"
#include "tests/sim/fleet/faults.hpp"
#include "tests/sim/fleet/trigger.hpp"
#include "tests/sim/smsr/script.hpp"

namespace kf::sim {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

struct Es5Options {
  std::string listen_address = "127.0.0.1";  // IPv4
  std::uint16_t port = 0;
  bool psk = true;                    // false: plain HTTP
  std::string host = "smsr.example";  // Host name agreed with the cards
  net::Millis hold{60'000};           // how long a POST is held when there is nothing to do and MoreToDo was set
  net::Millis silence{10'000};        // no word from the card for that long: trigger again
  unsigned triggers = 3;              // then the command fails
  std::size_t max_connections = 120'000;  // more than a burst can have in flight
};

struct Es5Counters {
  std::uint64_t triggers = 0, retriggers = 0, posts = 0, scripts = 0, resends = 0, resumes = 0, sessions_ended = 0;
  std::uint64_t late_answers = 0, notifications = 0, refused = 0, failed = 0, held = 0;
  std::uint64_t bytes_to_cards = 0, bytes_from_cards = 0;
};

struct CommandOutcome {
  enum class Kind {
    answered,
    unreachable,  // reason 5.1: never taken by the card, nothing happened
    lost,         // reason 5.4: taken, no answer, it may have been executed
    expired,      // the deadline passed
    bad_answer,   // the answer is no response script, or its X-Admin-Script-Status is not ok
  };
  Kind kind = Kind::unreachable;
  ScriptAnswer answer;
  std::string detail;
};

class Es5 {
 public:
  Es5(asio::io_context& io, Es5Options o, MtSms sms);
  ~Es5();
  Es5(const Es5&) = delete;
  Es5& operator=(const Es5&) = delete;

  void add(const CardId& id, std::shared_ptr<const SecretBytes> psk);
  Status start();
  void stop();
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] const Es5Counters& counters() const noexcept { return counters_; }

  struct Order {
    Bytes commands;  // 22 ... or 84 85 86 ..., without template
    Bytes target;    // AID; the ISD-R or an ISD-P
    Chain chain = Chain::none;
    bool more_to_do = false;   // keep the session open afterwards
    bool card_resets = false;  // Enable, Disable: the card leaves the session after the result
  };
  // Queues one script and waits for the card's answer.
  asio::awaitable<CommandOutcome> run(const std::string& eid, Order order, Clock::time_point deadline);

  // Waits for the card's notification after an accepted Enable or Disable; the confirmation (3A08) has then been sent
  // and answered. Empty: none came until the deadline.
  struct Notified {
    CardNotification notification;
    ScriptAnswer confirmation;
  };
  asio::awaitable<std::optional<Notified>> wait_notification(const std::string& eid, Clock::time_point deadline);

 private:
  struct Command;
  struct Card;
  asio::awaitable<net::Response> handle(net::Request r);
  asio::awaitable<net::Response> next_command(Card& c);
  net::Response script_response(Card& c, Command& cmd);
  void take_result(Card& c, const net::Request& r);
  void take_silence(Card& c, bool resume);
  void take_notification(Card& c, std::string_view hex_digits);
  void finish(Card& c, CommandOutcome o);
  void trigger(Card& c);
  void wake(Card& c);

  asio::io_context& io_;
  Es5Options options_;
  MtSms sms_;
  std::unique_ptr<net::HttpServer> server_;
  std::unordered_map<std::string, std::unique_ptr<Card>> cards_;
  Es5Counters counters_;
};

}  // namespace kf::sim
