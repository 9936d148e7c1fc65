// Which of several engines gets the next request: the one that is likely to answer it first. Every engine of the choice
// may do the work (the routing policy says so); this is about load only.
//
// An engine's unit is what a request takes there, divided by how many were open when it came: a batching engine takes
// the same time for 64 as for one, so its unit falls while it has company. The next request goes where
// unit x (open + 1) is least. An engine of which nothing is known yet gets a few to learn by. An engine that has not
// answered for a while has its unit halved again and again, so that it is asked some time; one that said it cannot
// serve is left alone for a moment unless nobody else is there.
//
// Times are the caller's clock. No thread of its own: the loop thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace kf::server {

class LoadSplit {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  explicit LoadSplit(std::size_t engines) : engines_(engines) {}

  // One of `among` (indices of engines, not empty; at equal prospects the first); it counts as given to it.
  std::size_t choose(const std::vector<std::size_t>& among, Time now);
  // What choose() saw for that engine; goes with the request until answered().
  [[nodiscard]] std::size_t open(std::size_t engine) const { return engines_[engine].open; }
  // `served`: false when the engine said that it cannot serve now. `open_then`: open() right after choose().
  void answered(std::size_t engine, Duration took, std::size_t open_then, bool served, Time now);
  // Unit in seconds; 0: nothing known.
  [[nodiscard]] double unit(std::size_t engine, Time now) const;

 private:
  struct Engine {
    std::size_t open = 0;
    double unit_s = 0;
    Time measured{};  // when unit_s was last touched
    Time avoided_until{};
  };
  std::vector<Engine> engines_;
};

}  // namespace kf::server
