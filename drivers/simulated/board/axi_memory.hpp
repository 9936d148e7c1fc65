// Memory behind the core's AXI4 master, one cycle at a time: before() offers what memory drives in this cycle, after()
// takes what the core drove. Reads are answered in order, writes too; a write's answer comes when its bytes are in
// memory. Inner header of this room.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <span>

namespace kf::ecc {

[[noreturn]] inline void broken(
    const char* what) {  // the core broke a rule of its buses: nothing can be trusted any more
  std::fprintf(stderr, "simulated board: %s\n", what);
  std::abort();
}

class AxiMemory {
 public:
  AxiMemory(std::span<std::uint8_t> memory, std::uint64_t base, unsigned latency, unsigned stalls, std::uint64_t seed)
      : memory_(memory), base_(base), latency_(latency), stalls_(stalls), random_(seed) {}

  template <class Top>
  void before(Top& t, std::uint64_t now) {
    t.m_axi_arready = !stall();
    t.m_axi_awready = !stall();
    t.m_axi_wready = !stall();
    if (t.m_axi_rvalid == 0 && !reads_.empty() && reads_.front().due <= now && !stall()) {
      const Burst& r = reads_.front();
      const std::uint8_t* from = at(r.address + 32 * beat_);
      if (from != nullptr) std::memcpy(&t.m_axi_rdata[0], from, 32);
      t.m_axi_rresp = from != nullptr ? kOkay : kDecodeError;
      t.m_axi_rlast = beat_ + 1 == r.beats;
      t.m_axi_rvalid = 1;
    }
    if (t.m_axi_bvalid == 0 && !answers_.empty() && answers_.front().due <= now && !stall()) {
      t.m_axi_bresp = answers_.front().response;
      t.m_axi_bvalid = 1;
    }
  }

  // Between the settling of the signals and the clock edge.
  template <class Top>
  void after(Top& t, std::uint64_t now) {
    if (t.m_axi_arvalid != 0 && t.m_axi_arready != 0) {
      check_burst(t.m_axi_araddr, t.m_axi_arlen, t.m_axi_arsize, t.m_axi_arburst);
      reads_.push_back({t.m_axi_araddr, t.m_axi_arlen + 1U, now + latency_});
    }
    if (t.m_axi_awvalid != 0 && t.m_axi_awready != 0) {
      check_burst(t.m_axi_awaddr, t.m_axi_awlen, t.m_axi_awsize, t.m_axi_awburst);
      writes_.push_back({t.m_axi_awaddr, t.m_axi_awlen + 1U, 0});
    }
    if (t.m_axi_wvalid != 0 && t.m_axi_wready != 0) {
      if (t.m_axi_wstrb != ~0U) broken("a completion left out bytes");
      Beat b;
      std::memcpy(b.data, &t.m_axi_wdata[0], 32);
      b.last = t.m_axi_wlast != 0;
      data_.push_back(b);
    }
    while (!writes_.empty() && !data_.empty()) store(now);
    t_done(t);
  }

  void forget() {  // at reset: what was under way is lost
    reads_.clear();
    writes_.clear();
    data_.clear();
    answers_.clear();
    beat_ = stored_ = 0;
    error_ = false;
    drop_r_ = drop_b_ = true;
  }
  // After the clock edge: what was taken at it is no longer offered.
  template <class Top>
  void edge(Top& t) {
    if (drop_r_) t.m_axi_rvalid = 0;
    if (drop_b_) t.m_axi_bvalid = 0;
    drop_r_ = drop_b_ = false;
  }
  [[nodiscard]] std::uint64_t stray() const { return stray_; }

 private:
  static constexpr std::uint8_t kOkay = 0, kDecodeError = 3;
  struct Burst {
    std::uint64_t address;
    unsigned beats;
    std::uint64_t due;
  };
  struct Beat {
    std::uint64_t data[4];
    bool last;
  };
  struct Answer {
    std::uint64_t due;
    std::uint8_t response;
  };

  bool stall() { return stalls_ != 0 && (random_() & 0xFF) < stalls_; }
  static void check_burst(std::uint64_t address, unsigned length, unsigned size, unsigned kind) {
    if (size != 5 || kind != 1) broken("a burst is not of whole beats at rising addresses");
    if (address % 32 != 0 || (address & 0xFFF) + 32U * (length + 1) > 0x1000)
      broken("a burst crosses 4 KiB or is not aligned");
  }
  std::uint8_t* at(std::uint64_t address) {  // 32 bytes; null beyond the memory
    const std::uint64_t offset = address - base_;
    if (offset < memory_.size() && memory_.size() - offset >= 32) return memory_.data() + offset;
    ++stray_;
    return nullptr;
  }
  // The first eight bytes of a burst's last beat are stored last, with release: a completion's phase bit lies there,
  // and whoever polls this memory from another thread or process sees the whole completion with it.
  void store(std::uint64_t now) {
    Burst& w = writes_.front();
    const Beat b = data_.front();
    data_.pop_front();
    ++stored_;
    if (b.last != (stored_ == w.beats)) broken("the end of a write burst is marked in the wrong place");
    if (std::uint8_t* to = at(w.address + 32 * (stored_ - 1)); to == nullptr) {
      error_ = true;
    } else {
      std::memcpy(to + 8, b.data + 1, 24);
      auto* first = reinterpret_cast<std::uint64_t*>(to);
      std::atomic_ref<std::uint64_t>(*first).store(b.data[0], std::memory_order_release);
    }
    if (!b.last) return;
    answers_.push_back({now + latency_, error_ ? kDecodeError : kOkay});
    writes_.pop_front();
    stored_ = 0;
    error_ = false;
  }
  template <class Top>
  void t_done(const Top& t) {
    if (t.m_axi_rvalid != 0 && t.m_axi_rready != 0) {
      drop_r_ = true;
      if (++beat_ == reads_.front().beats) {
        reads_.pop_front();
        beat_ = 0;
      }
    }
    if (t.m_axi_bvalid != 0 && t.m_axi_bready != 0) {
      drop_b_ = true;
      answers_.pop_front();
    }
  }

  std::span<std::uint8_t> memory_;
  std::uint64_t base_;
  unsigned latency_, stalls_;
  std::minstd_rand random_;
  std::deque<Burst> reads_, writes_;
  std::deque<Beat> data_;
  std::deque<Answer> answers_;
  unsigned beat_ = 0, stored_ = 0;
  bool error_ = false, drop_r_ = false, drop_b_ = false;
  std::uint64_t stray_ = 0;
};

}  // namespace kf::ecc
