// The bounded entries between the engine and one worker: free -> queued -> sent -> done -> free, each step once.
//
// Pure bookkeeping: no I/O, no lock (the engine's mutex guards it), no allocation after construction.
#pragma once

#include <vector>

#include "host/crypto/engine.hpp"
#include "hsm/wire/wire.hpp"

namespace kf::hsm {

class Lane {
 public:
  explicit Lane(std::size_t entries);

  [[nodiscard]] bool full() const noexcept { return free_.empty(); }
  [[nodiscard]] std::size_t queued() const noexcept { return queued_.size(); }
  [[nodiscard]] std::size_t sent() const noexcept { return sent_; }
  [[nodiscard]] bool has_done() const noexcept { return done_.size() != 0; }

  void accept(const EccRequest& r) noexcept;                          // free -> queued; not when full
  void accept_and_refuse(const EccRequest& r, EccStatus s) noexcept;  // free -> done
  // Copies the first queued jobs without moving them; mark_sent(n) moves the first n once the message left.
  std::size_t peek(std::span<wire::JobEntry> out) const noexcept;
  void mark_sent(std::size_t n) noexcept;            // queued -> sent
  bool complete(const wire::DoneEntry& d) noexcept;  // sent -> done; false: no such job is out
  std::size_t fail_all(EccStatus s) noexcept;        // queued, sent -> done
  bool collect(EccCompletion& out) noexcept;         // done -> free; the entry is wiped

 private:
  enum class State : std::uint8_t { free, queued, sent, done };
  struct Entry {
    State state = State::free;
    std::uint32_t generation = 0;  // in the tag: an answer to an earlier life of the entry is recognised
    std::uint64_t id = 0;
    wire::JobEntry job{};
    wire::DoneEntry done{};
  };
  class IndexFifo {
   public:
    explicit IndexFifo(std::size_t capacity) : a_(capacity) {}
    [[nodiscard]] std::size_t size() const noexcept { return n_; }
    [[nodiscard]] std::uint32_t at(std::size_t i) const noexcept { return a_[(head_ + i) % a_.size()]; }
    void push(std::uint32_t v) noexcept { a_[(head_ + n_++) % a_.size()] = v; }
    std::uint32_t pop() noexcept {
      const std::uint32_t v = a_[head_];
      head_ = (head_ + 1) % a_.size();
      --n_;
      return v;
    }

   private:
    std::vector<std::uint32_t> a_;
    std::size_t head_ = 0;
    std::size_t n_ = 0;
  };
  std::uint32_t take_free(const EccRequest& r) noexcept;
  void finish(std::uint32_t index, EccStatus s) noexcept;

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
  IndexFifo queued_;
  IndexFifo done_;
  std::size_t sent_ = 0;
};

}  // namespace kf::hsm
