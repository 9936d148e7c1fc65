// What a bad SM-SR does, call by call: a seeded random choice of delays, silence, lies and poison.
//
// Written NAME=PERCENT,...: each name is one behaviour and how often a call gets it (`all` sets a mixture of
// everything, a later item changes it); the times at the end are milliseconds. The simulator stays truthful about
// itself: /report is the ledger of what is really on the cards, /summary says how much is still to be executed. One
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/es/types.hpp"
#include "host/net/http.hpp"

namespace kf::sim {

struct HostileOptions {
  std::uint64_t seed = 0;  // 0: of the system's, shown in the summary
  // Percent of calls:
  unsigned slow = 0;       // executed after up to `slow_ms`
  unsigned late = 0;       // executed after up to `late_ms`, never after its ValidityPeriod; the answer comes then
  unsigned silent = 0;     // neither executed nor answered
  unsigned mute = 0;       // executed, the callback never comes
  unsigned belated = 0;    // answered FAILED 8.1/5.4 (delivered, no answer) and executed up to `late_ms` later
  unsigned lagging = 0;    // executed at once, answered up to `late_ms` later
  unsigned twice = 0;      // two callbacks
  unsigned forget = 0;     // a repetition is not known as one: 8.2.1/3.3 to CreateISDP while the first is at work
  unsigned http = 0;       // 503, 401 or 302 in place of 202; half of those with 503 are executed
  unsigned garbage = 0;    // 200 with octets that are no SOAP
  unsigned huge = 0;       // GetEIS: thousands of foreign profiles
  unsigned poison = 0;     // texts that want to break whoever stores or shows them
  unsigned completed = 0;  // ProfileDownloadCompleted is refused
  unsigned deletion = 0;   // DeleteISDP is refused
  unsigned eis = 0;        // a change of a profile shows in the EIS up to `lie_ms` later
  unsigned slow_ms = 300, late_ms = 3000, lie_ms = 1500;
};

struct HostileName {
  std::string_view name;
  unsigned HostileOptions::*value;
  std::string_view text;
};
const std::vector<HostileName>& hostile_names();
// Reasons: bad-hostile (detail lists the names).
Result<HostileOptions> parse_hostile(std::string_view spec, HostileOptions start = {});

class Hostility {
 public:
  using Clock = std::chrono::steady_clock;
  using Millis = std::chrono::milliseconds;

  // What happens to one call.
  struct Ways {
    Millis before{0}, after{0};  // waited before it is executed, and before it is answered
    bool executed = true, answered = true, twice = false, forgotten = false, refused = false, belated = false;
    unsigned http = 0;  // answered so at once, in place of 202
    bool garbage = false, huge = false;
    unsigned poison = 0;  // which kind; 0: none
  };

  void configure(HostileOptions o);  // counts and the ledger of cards are kept
  void calm() { options_ = quiet(); }
  [[nodiscard]] bool on() const noexcept { return on_; }
  Ways choose(const es::Request& q);
  // Until when the EIS goes on saying what was true before; the past when it tells the truth.
  Clock::time_point lies_until();

  // An ICCID is being put on that card. Remembers when another card still has it.
  void put(const std::string& iccid, const std::string& eid);
  void gone(const std::string& iccid, const std::string& eid);

  // What was done to that card, by whom asked, line by line: to understand a test that failed.
  void note(const std::string& eid, const std::string& line);
  [[nodiscard]] std::string story(const std::string& eid) const;
  [[nodiscard]] std::string text() const;  // JSON: seed, what was done how often, pending, two_cards
  std::uint64_t pending = 0;               // calls that wait to be executed

 private:
  HostileOptions quiet() const;
  bool chance(unsigned percent, std::string_view name);
  Millis up_to(unsigned ms);
  bool on_ = false;
  HostileOptions options_;
  std::mt19937_64 random_;
  std::map<std::string, std::uint64_t, std::less<>> done_;
  std::map<std::string, std::set<std::string>> where_;  // ICCID -> EIDs
  std::vector<std::string> two_cards_;
  std::map<std::string, std::string> stories_;  // by EID
};

// A message spoilt in the way of `kind`.
std::string poisoned(std::string xml, unsigned kind);
net::Response hostile_answer(const Hostility::Ways& w);
void enlarge(es::Eis& eis);  // many profiles of others

}  // namespace kf::sim
