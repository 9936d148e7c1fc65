#include "host/seal/waves.hpp"

#include <algorithm>

#include "host/base/secret.hpp"

namespace kf::seal {

Waves::Waves(unsigned lanes, std::size_t segments, std::size_t most)
    : lanes_(lanes), budget_(segments), most_(most), filled_(lanes), current_(lanes), memory_(lanes * (kJobs + 1)) {
  segments_.resize(std::max(budget_, std::size_t{lanes}));
  free_.reserve(memory_.size());
  fresh_.reserve(memory_.size());
  busy_.reserve(memory_.size());
}

void Waves::start(std::span<SealJob* const> jobs) {
  queue_ = jobs;
  std::ranges::fill(current_, nullptr);
  busy_.clear();
  free_.clear();
  for (std::size_t i = memory_.size(); i-- > 0;) free_.push_back(&memory_[i]);
}

void Waves::finish() {
  wipe(memory_.data(), most_used_ * sizeof(Work));
  most_used_ = 0;
}

Work* Waves::take() {
  while (!queue_.empty()) {
    SealJob* job = queue_.front();
    queue_ = queue_.subspan(1);
    const std::size_t n = job->segments();
    if (n == 0) continue;
    Work* w = free_.back();
    free_.pop_back();
    most_used_ = std::max(most_used_, static_cast<std::size_t>(w - memory_.data()) + 1);
    w->job = job;
    w->next = 0;
    w->count = n;
    w->at = job->out.data();
    w->enc_rounds = static_cast<unsigned>(job->s_enc.size() / 4 + 6);
    w->mac_rounds = static_cast<unsigned>(job->s_mac.size() / 4 + 6);
    fresh_.push_back(w);
    return w;
  }
  return nullptr;
}

void Waves::fill(unsigned lane) {
  Work& w = *current_[lane];
  while (filled_[lane] < quota_ && w.next < w.count) {
    const ByteView part = w.job->part(w.next);
    Segment& s = segments_[lane * quota_ + filled_[lane]++];
    s.work = &w;
    s.index = w.next;
    s.counter = w.job->first_counter + w.next;
    s.plain = part.data();
    s.plain_size = part.size();
    s.whole = part.size() / 16;
    s.tlv = w.at;
    s.head = put_header(w.at, s.cipher_size() + kMacSize);
    std::uint8_t* last = s.cipher() + 16 * s.whole;
    const std::size_t tail = part.size() % 16;
    std::fill_n(last, 16, std::uint8_t{0});
    std::copy_n(part.data() + 16 * s.whole, tail, last);
    last[tail] = 0x80;
    w.at = last + 16 + kMacSize;
    ++w.next;
  }
  if (w.next < w.count) return;
  current_[lane] = nullptr;
  busy_.push_back(&w);  // its keys are needed until the wave is through
}

bool Waves::next() {
  fresh_.clear();
  for (Work* w : busy_) free_.push_back(w);
  busy_.clear();
  std::ranges::fill(filled_, std::size_t{0});

  // Those under way move to the front: fewer lanes, fewer registers.
  const auto end = std::stable_partition(current_.begin(), current_.end(), [](const Work* w) { return w != nullptr; });
  // Few downloads get long turns, so that their segments still fill the lanes for encryption.
  const auto under_way = static_cast<std::size_t>(end - current_.begin());
  const std::size_t wanted = std::clamp<std::size_t>(under_way + queue_.size(), 1, lanes_);
  quota_ = std::clamp<std::size_t>(budget_ / wanted, 1, most_);

  for (unsigned l = 0; l < lanes_; ++l)
    if (current_[l] != nullptr) fill(l);
  // In turns, one download a lane and empty lanes first, so that no lane is long while others are empty.
  bool more = true;
  for (std::size_t turn = 0; turn < kJobs && more; ++turn) {
    more = turn == 0;
    for (unsigned l = 0; l < lanes_; ++l) {
      if (filled_[l] >= (turn == 0 ? 1 : quota_) || current_[l] != nullptr) continue;
      current_[l] = take();
      if (current_[l] == nullptr) break;
      fill(l);
      more = true;
    }
  }
  used_ = 0;
  rows_ = 0;
  for (unsigned l = 0; l < lanes_; ++l) {
    if (filled_[l] > 0) used_ = l + 1;
    rows_ = std::max(rows_, filled_[l]);
  }
  return rows_ > 0;
}

}  // namespace kf::seal
