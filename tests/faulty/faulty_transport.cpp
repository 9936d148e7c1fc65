#include "tests/faulty/faulty_transport.hpp"

#include <atomic>
#include <utility>

namespace kf::ecc {
namespace {

constexpr std::uint64_t kPhase = std::uint64_t{kCompletionPhase} << 32;  // in the word with the status

}  // namespace

bool FaultyTransport::count(Fault f) {
  ++injected_[static_cast<std::size_t>(f)];
  return true;
}
bool FaultyTransport::happens(Fault f) { return !calm_ && (random_() & 0xFFFF) < script_[f] && count(f); }

std::uint32_t FaultyTransport::read(std::uint32_t offset) {
  if (stuck_) return kAllOnes;
  return offset == kRegCqTail && late_left_ != 0 ? late_from_ : inner_->read(offset);
}

void FaultyTransport::write(std::uint32_t offset, std::uint32_t value) {
  if (stuck_) return;
  switch (offset) {
    case kRegCqBaseLo:
      cq_at_ = (cq_at_ & ~std::uint64_t{kAllOnes}) | value;
      break;
    case kRegCqBaseHi:
      cq_at_ = (cq_at_ & kAllOnes) | std::uint64_t{value} << 32;
      break;
    case kRegCqLog2:
      cq_log2_ = value;
      seen_ = tail_ = 0;
      early_done_ = false;
      late_left_ = 0;
      break;
    case kRegSqTail:
      tail_ = value;
      if (happens(Fault::doorbell)) return;
      break;
    case kRegCqHead:
      if (happens(Fault::head)) return;
      break;
    default:
      break;
  }
  inner_->write(offset, value);
}

void FaultyTransport::pause() {
  if (stuck_)
    Transport::pause();
  else
    inner_->pause();
}

void FaultyTransport::rearm_interrupt() {
  if (!stuck_) inner_->rearm_interrupt();
}

std::uint64_t& FaultyTransport::last_word(std::uint32_t index) const {
  auto* ring = reinterpret_cast<Completion*>(inner_->dma().data() + (cq_at_ - inner_->dma_base()));
  return *reinterpret_cast<std::uint64_t*>(&ring[index & ((1U << cq_log2_) - 1)].status);
}
bool FaultyTransport::there(std::uint32_t index) const {
  const bool first_lap = (index >> cq_log2_ & 1) == 0;
  const std::uint64_t word = std::atomic_ref(last_word(index)).load(std::memory_order_acquire);
  return ((word & kPhase) != 0) == first_lap;
}
void FaultyTransport::flip_phase(std::uint32_t index) { std::atomic_ref(last_word(index)).fetch_xor(kPhase); }

void FaultyTransport::damage(std::uint32_t index) {
  // The driver reads registers while it looks, and time passes with that: it may have taken this one already.
  if ((last_word(index) & kAllOnes) == kAllOnes) return;
  auto& c =
      *reinterpret_cast<Completion*>(reinterpret_cast<std::uint8_t*>(&last_word(index)) - offsetof(Completion, status));
  if (happens(Fault::tag)) {
    c.tag ^= std::uint64_t{1} << (random_() & 63);
  } else if (happens(Fault::status)) {
    c.status = static_cast<std::uint8_t>(c.status ^ 1U << (random_() & 7));
  } else if (happens(Fault::output)) {
    const unsigned bit = random_() & 511;
    (bit < 256 ? c.x : c.y)[bit / 8 % 32] ^= static_cast<std::uint8_t>(1U << bit % 8);
  } else if (happens(Fault::swap)) {
    std::swap(c.x, c.y);
  } else if (happens(Fault::phase)) {
    flip_phase(index);
  } else if (happens(Fault::late)) {
    flip_phase(index);
    late_from_ = index;
    late_left_ = script_.late_syncs;
  }
}

void FaultyTransport::sync() {
  inner_->sync();
  if (stuck_ || cq_log2_ == 31) return;
  if (late_left_ != 0 && --late_left_ == 0)
    for (std::uint32_t i = late_from_; i != seen_; ++i) flip_phase(i);
  for (; seen_ != tail_; ++seen_, early_done_ = false) {
    // An entry that was made to look right cannot be told by its phase: the core's index says when it was written.
    if (early_done_ ? static_cast<std::int32_t>(inner_->read(kRegCqTail) - seen_) <= 0 : !there(seen_)) break;
    ++completions_;
    if (!calm_ && completions_ == script_[Fault::stuck]) {
      stuck_ = count(Fault::stuck);
      return;
    }
    if (!calm_ && completions_ == script_[Fault::reset] && count(Fault::reset)) {
      script_.reset();
      return;
    }
    if (late_left_ != 0)
      flip_phase(seen_);  // what comes behind a late one is late, too
    else if (!early_done_)
      damage(seen_);
  }
  if (seen_ != tail_ && late_left_ == 0 && !early_done_ && !there(seen_) && happens(Fault::early)) {
    flip_phase(seen_);
    early_done_ = true;
  }
}

}  // namespace kf::ecc
