// Plays units of work (one operation, or a set of two that follow each other) on an engine, from one thread.
#pragma once

#include <chrono>
#include <functional>

#include "bench/load/answers.hpp"

namespace kf::bench {

enum class Work : std::uint8_t { sign, ecka, set, verify };
std::string_view to_string(Work w);  // "sign", "ecka", "set", "verify"

class Player {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMostUnits = 1 << 16;
  struct Ended {
    Clock::time_point due, at;
    bool ok = false;
  };
  // `serial` counts the units of the whole run, so that no two requests of it have the same number. Of every
  // `judge_every`-th unit each answer goes to the judge.
  Player(EccEngine& e, const Material& m, Judge& j, std::uint64_t& serial, std::size_t most_units,
         std::uint64_t judge_every);

  // One more unit, submitted in the next turn; `due` comes back with its end. False: most_units are under way.
  // `second_half`: a set that only signs.
  bool begin(Work w, std::size_t curve, Clock::time_point due, bool second_half = false);
  // Submits what waits and takes what is done. The units that ended so are in ended() until the next turn.
  std::size_t turn();
  [[nodiscard]] const std::vector<Ended>& ended() const { return ended_; }
  [[nodiscard]] std::size_t under_way() const { return under_way_; }
  [[nodiscard]] std::uint64_t completed() const { return completed_; }  // units that ended well
  void wait(Clock::time_point until) const;  // for a completion, until then at the latest, half a second at most
  // Turns until nothing is under way; after `limit`, or a second after Ctrl-C, what is missing counts as lost.
  void drain(std::chrono::milliseconds limit);
  [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
  struct Slot {
    std::uint64_t id = 0;  // of the request under way, 0: none
    bool accepted = false;
    bool judged = false;
    Work work = Work::sign;
    std::size_t curve = 0;
    Clock::time_point due;
  };
  void ask(std::size_t slot, EccOp op, std::uint64_t id);
  void take(EccCompletion& c, Clock::time_point now);
  void end(std::size_t slot, bool ok, Clock::time_point now);

  EccEngine& engine_;
  const Material& material_;
  Judge& judge_;
  std::uint64_t& serial_;
  std::uint64_t judge_every_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
  std::vector<EccRequest> waiting_;
  std::size_t waiting_from_ = 0;
  std::vector<EccCompletion> done_;
  std::vector<Ended> ended_;
  std::size_t under_way_ = 0;
  std::uint64_t completed_ = 0;
  Tally tally_;
};

}  // namespace kf::bench
