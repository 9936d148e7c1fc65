#include "hsm/engine/lane.hpp"

#include <algorithm>
#include <cstring>

namespace kf::hsm {

Lane::Lane(std::size_t entries) : entries_(entries), queued_(entries), done_(entries) {
  free_.reserve(entries);
  for (std::size_t i = entries; i-- > 0;) free_.push_back(static_cast<std::uint32_t>(i));
}

std::uint32_t Lane::take_free(const EccRequest& r) noexcept {
  const std::uint32_t index = free_.back();
  free_.pop_back();
  Entry& e = entries_[index];
  e.id = r.id;
  ++e.generation;
  e.job.tag = (std::uint64_t{e.generation} << 32) | index;
  e.job.op = static_cast<std::uint8_t>(r.op);
  e.job.curve = static_cast<std::uint8_t>(r.curve);
  std::memcpy(e.job.hash, r.hash.data(), sizeof e.job.hash);
  std::memcpy(e.job.peer, r.peer.data(), sizeof e.job.peer);
  std::memcpy(e.job.signature, r.signature.data(), sizeof e.job.signature);
  return index;
}

void Lane::accept(const EccRequest& r) noexcept {
  const std::uint32_t index = take_free(r);
  entries_[index].state = State::queued;
  queued_.push(index);
}

void Lane::finish(std::uint32_t index, EccStatus s) noexcept {
  Entry& e = entries_[index];
  wipe(&e.done, sizeof e.done);
  e.done.op = e.job.op;
  e.done.status = static_cast<std::uint8_t>(s);
  e.state = State::done;
  done_.push(index);
}

void Lane::accept_and_refuse(const EccRequest& r, EccStatus s) noexcept { finish(take_free(r), s); }

std::size_t Lane::peek(std::span<wire::JobEntry> out) const noexcept {
  const std::size_t n = std::min(out.size(), queued_.size());
  for (std::size_t i = 0; i < n; ++i) out[i] = entries_[queued_.at(i)].job;
  return n;
}

void Lane::mark_sent(std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) entries_[queued_.pop()].state = State::sent;
  sent_ += n;
}

bool Lane::complete(const wire::DoneEntry& d) noexcept {
  const auto index = static_cast<std::uint32_t>(d.tag);
  if (index >= entries_.size()) return false;
  Entry& e = entries_[index];
  if (e.state != State::sent || e.job.tag != d.tag || e.job.op != d.op ||
      d.status > static_cast<std::uint8_t>(EccStatus::failed)) {
    return false;
  }
  e.done = d;
  e.state = State::done;
  done_.push(index);
  --sent_;
  return true;
}

std::size_t Lane::fail_all(EccStatus s) noexcept {
  std::size_t n = 0;
  while (queued_.size() != 0) {
    finish(queued_.pop(), s);
    ++n;
  }
  for (std::uint32_t i = 0; sent_ != 0 && i < entries_.size(); ++i) {
    if (entries_[i].state != State::sent) continue;
    finish(i, s);
    --sent_;
    ++n;
  }
  return n;
}

bool Lane::collect(EccCompletion& out) noexcept {
  if (done_.size() == 0) return false;
  const std::uint32_t index = done_.pop();
  Entry& e = entries_[index];
  out.id = e.id;
  out.op = static_cast<EccOp>(e.done.op);
  out.status = static_cast<EccStatus>(e.done.status);
  std::memcpy(out.signature.data(), e.done.signature, out.signature.size());
  std::memcpy(out.epk.data(), e.done.epk, out.epk.size());
  std::memcpy(out.shs.expose_mut().data(), e.done.shs, sizeof e.done.shs);
  wipe(&e.done, sizeof e.done);
  e.state = State::free;
  free_.push_back(index);
  return true;
}

}  // namespace kf::hsm
