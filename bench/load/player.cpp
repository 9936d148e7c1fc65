#include "bench/load/player.hpp"

#include <poll.h>

#include <algorithm>

#include "bench/process/child.hpp"

namespace kf::bench {
namespace {

// Number of a request: serial of its unit, place of its unit, and which of the unit's two operations it is.
constexpr unsigned kSlotBits = 16;
constexpr std::uint64_t number_of(std::uint64_t serial, std::size_t slot, unsigned step) {
  return (serial << (kSlotBits + 1)) | (static_cast<std::uint64_t>(slot) << 1) | step;
}
constexpr std::size_t slot_of(std::uint64_t id) { return (id >> 1) & ((1U << kSlotBits) - 1); }

}  // namespace

std::string_view to_string(Work w) {
  switch (w) {
    case Work::sign:
      return "sign";
    case Work::ecka:
      return "ecka";
    case Work::set:
      return "set";
    case Work::verify:
      return "verify";
  }
  return "";
}

Player::Player(EccEngine& e, const Material& m, Judge& j, std::uint64_t& serial, std::size_t most_units,
               std::uint64_t judge_every)
    : engine_(e),
      material_(m),
      judge_(j),
      serial_(serial),
      judge_every_(std::max<std::uint64_t>(judge_every, 1)),
      slots_(std::min(most_units, kMostUnits)),
      done_(128) {
  free_.reserve(slots_.size());
  for (std::size_t i = slots_.size(); i-- > 0;) free_.push_back(i);
  waiting_.reserve(256);
  ended_.reserve(256);
}

bool Player::begin(Work w, std::size_t curve, Clock::time_point due, bool second_half) {
  if (free_.empty()) return false;
  const std::size_t slot = free_.back();
  free_.pop_back();
  ++under_way_;
  ++serial_;
  Slot& s = slots_[slot];
  s.work = w;
  s.curve = curve;
  s.due = due;
  s.judged = serial_ % judge_every_ == 0;
  if (w == Work::sign || second_half)
    ask(slot, EccOp::sign, number_of(serial_, slot, 1));
  else if (w == Work::verify)
    ask(slot, EccOp::verify, number_of(serial_, slot, 0));
  else
    ask(slot, EccOp::ephemeral_ecka, number_of(serial_, slot, 0));
  return true;
}

void Player::ask(std::size_t slot, EccOp op, std::uint64_t id) {
  slots_[slot].id = id;
  slots_[slot].accepted = false;
  waiting_.push_back(material_.request(id, op, slots_[slot].curve));
}

void Player::end(std::size_t slot, bool ok, Clock::time_point now) {
  ended_.push_back({slots_[slot].due, now, ok});
  slots_[slot].id = 0;
  free_.push_back(slot);
  --under_way_;
  completed_ += ok ? 1U : 0U;
}

void Player::take(EccCompletion& c, Clock::time_point now) {
  ++tally_.operations;
  const std::size_t slot = slot_of(c.id);
  if (slot >= slots_.size() || slots_[slot].id != c.id || !slots_[slot].accepted) {
    ++tally_.wrong;  // nobody asked for this, or it came before
    ++tally_.failures["a completion that was not asked for"];
    return;
  }
  Slot& s = slots_[slot];
  const bool no = c.op == EccOp::verify && c.status == EccStatus::bad_signature;  // an answer, for the judge
  if (c.status != EccStatus::ok && !no) {
    ++tally_.failed;
    ++tally_.failures["engine: " + std::string(to_string(c.status))];
    end(slot, false, now);
    return;
  }
  if (s.judged) {
    Material::Answer a;
    a.id = c.id;
    a.op = c.op;
    a.status = c.status;
    a.curve = s.curve;
    a.signature = c.signature;
    a.epk = c.epk;
    a.shs = std::move(c.shs);
    judge_.put(std::move(a));
  }
  if (s.work == Work::set && c.op == EccOp::ephemeral_ecka)
    ask(slot, EccOp::sign, c.id | 1);
  else
    end(slot, true, now);
}

std::size_t Player::turn() {
  ended_.clear();
  if (waiting_from_ < waiting_.size()) {
    const std::size_t n = engine_.submit(std::span(waiting_).subspan(waiting_from_));
    for (std::size_t i = 0; i < n; ++i) slots_[slot_of(waiting_[waiting_from_ + i].id)].accepted = true;
    waiting_from_ += n;
    if (waiting_from_ == waiting_.size() || waiting_from_ >= 4096) {
      waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(waiting_from_));
      waiting_from_ = 0;
    }
  }
  std::size_t taken = 0;
  while (const std::size_t n = engine_.poll(done_)) {
    const auto now = Clock::now();
    for (std::size_t i = 0; i < n; ++i) take(done_[i], now);
    taken += n;
  }
  return taken;
}

void Player::wait(Clock::time_point until) const {
  const auto left = std::clamp<std::chrono::nanoseconds>(until - Clock::now(), std::chrono::nanoseconds(0),
                                                         std::chrono::milliseconds(500));
  const timespec t{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  pollfd p{engine_.event_fd(), POLLIN, 0};
  ::ppoll(&p, 1, &t, nullptr);
}

void Player::drain(std::chrono::milliseconds limit) {
  auto end_at = Clock::now() + limit;
  bool told = false;
  while (under_way_ > 0) {
    const auto now = Clock::now();
    if (proc::interrupted() && !told) {
      end_at = std::min(end_at, now + std::chrono::seconds(1));
      told = true;
    }
    if (now >= end_at) break;
    if (turn() == 0) wait(std::min(end_at, now + std::chrono::milliseconds(50)));
  }
  for (std::size_t slot = 0; slot < slots_.size() && under_way_ > 0; ++slot) {
    if (slots_[slot].id == 0) continue;
    if (slots_[slot].accepted) {
      ++tally_.lost;
    } else {
      ++tally_.failed;
      ++tally_.failures["engine: not accepted"];
    }
    end(slot, false, Clock::now());
  }
  waiting_.clear();
  waiting_from_ = 0;
}

}  // namespace kf::bench
