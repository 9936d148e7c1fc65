// N simulated eUICCs in one process: each waits for a trigger, opens an administration session to the SM-SR's ES5
// server over HTTP (TLS 1.2 PSK by default), executes the scripts it is given and posts the results.
// docs/spec/interfaces.md 5.
//
// One io_context, one thread, no thread per card: a card without a session is one struct. Deterministic in its radio
// for a given seed. The card's own behaviour is tests/sim/card; here is only its modem side.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>

#include "host/net/http.hpp"
#include "tests/sim/card/euicc.hpp"
#include "tests/sim/fleet/eum.hpp"
#include "tests/sim/fleet/faults.hpp"
#include "tests/sim/fleet/radio.hpp"
#include "tests/sim/fleet/trigger.hpp"

namespace kf::sim {

namespace asio = boost::asio;

struct FleetOptions {
  unsigned euiccs = 1;
  std::uint64_t first = 0;        // the fleet is fleet_eid(first) ... fleet_eid(first + euiccs - 1)
  std::uint32_t memory = 524288;  // bytes for profiles on each card
  std::string smsr_oid = "2.999.30";
  bool psk = true;                    // false: plain HTTP on ES5
  Radio radio;                        // simulated radio
  std::uint64_t seed = 1;             // of the radio
  net::Millis post_timeout{180'000};  // a POST without an answer: longer than the SM-SR holds it
  unsigned rc_length = 16;            // 16 or 32
  bool r_mac_on_empty = false;        // docs/spec/crypto.md A17
};

struct FleetCounters {
  std::uint64_t triggers = 0, sessions = 0, posts = 0, scripts = 0, lost_sessions = 0, resumes = 0;
  std::uint64_t no_connection = 0;  // a card could not open one: its own limits, or the SM-SR is away
  std::uint64_t script_bytes = 0, answer_bytes = 0, notifications = 0, errors = 0;
};

struct CardReport {
  std::string eid;
  std::uint64_t index = 0;
  std::uint32_t free_memory = 0;
  std::vector<InstalledProfile> profiles;
};

class Fleet {
 public:
  Fleet(asio::io_context& io, FleetOptions o, FaultPlan& faults);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // Makes every card with that EUM and returns what the SM-SR's EIS is filled with, in the order of the fleet.
  std::vector<EuiccRecord> make_cards(const Eum& eum);
  // One card made elsewhere, for replaying a recorded run: with its keys and its source of randomness.
  void add_card(const EuiccRecord& record, EuiccIdentity identity, Euicc::Random random);
  // Puts an ISD-P on a card that nobody ordered (state SELECTABLE), for stale entries. Reasons: unknown-eid,
  // card-refused.
  Status preinstall(const std::string& eid, const std::string& isdp_aid, std::uint32_t memory);

  // The MT-SMS stand-in: the trigger for one card.
  void receive_sms(const std::string& eid, Bytes payload);

  [[nodiscard]] std::vector<CardReport> report() const;
  [[nodiscard]] std::optional<CardReport> report(const std::string& eid) const;
  [[nodiscard]] const FleetCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] std::size_t size() const noexcept { return cards_.size(); }
  [[nodiscard]] std::size_t sessions_open() const noexcept { return *open_; }
  // Test hook: the card itself.
  Euicc* card(const std::string& eid);

 private:
  struct Card;
  asio::awaitable<void> wake_up(Card& c);
  asio::awaitable<void> session(Card& c, bool notification);
  asio::awaitable<void> radio_delay(Card& c);
  void arm(Card& c);  // brings the fault plan into the card when it changed

  asio::io_context& io_;
  FleetOptions options_;
  FaultPlan& faults_;
  std::mt19937_64 rng_;
  std::vector<std::unique_ptr<Card>> cards_;
  std::unordered_map<std::string, Card*> by_eid_;
  FleetCounters counters_;
  std::shared_ptr<std::size_t> open_ = std::make_shared<std::size_t>(0);  // outlives a session that is cut off at exit
};

}  // namespace kf::sim
