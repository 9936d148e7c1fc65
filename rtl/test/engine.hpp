// Drives kf_engine: clock, entropy, table, jobs in, completions out, with random pauses on the streams if wanted.
#pragma once

#ifdef KF_COVERAGE
#include <verilated_cov.h>

#include <cstdlib>
#endif
#include <verilated.h>

#include <cstdio>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vkf_engine.h"
#include "curve.hpp"
#include "evaluated.hpp"

namespace kf::rtl {

enum Op : std::uint8_t { kNop, kGenerate, kEcka, kSign, kVerify, kCheck, kErase, kImport };
enum Status : std::uint8_t {
  kOk = 0x96, kOffCurve = 0x0F, kException = 0x33, kEntropy = 0x3C, kBadSignature = 0x55, kFault = 0xF0, kRange = 0x5A, kKey = 0xC3, kDescriptor = 0xCC,
  kAborted = 0xAA, kSelfTest = 0xA5,
};

struct Job {
  std::uint8_t op = 0, curve = 0;
  std::uint16_t slot = 0;
  bool for_sign = false, given = false;
  std::uint64_t tag = 0;
  std::array<Num, 5> v{};
  std::uint64_t reserved = 0;  // ORed into bits 41.. of the control word
  std::uint8_t generation = 0;
  unsigned changed = 0;  // not 0: bit 0 of this beat has changed between where its check word was made and the engine
};
struct Completion {
  std::uint8_t status = kFault, op = 0, curve = 0, context = 0;
  std::uint64_t tag = 0;
  std::uint32_t cycles = 0;
  std::uint8_t generation = 0;
  bool damaged = false;  // its check word is another one than its contents have: the driver takes it for a fault
  Num x{}, y{};
};

class Engine {
 public:
  explicit Engine(std::uint64_t seed) : rng_(seed), entropy_(seed ^ 0x9E3779B97F4A7C15ULL) {
    top_.rst = 1;
    top_.batch_timeout_i = 1024;
    top_.m_cpl_ready = 1;
    for (int i = 0; i < 4; ++i) tick();
    top_.rst = 0;
  }
  ~Engine() {
    top_.final();
#ifdef KF_COVERAGE
    // The counters are in the model: they are written before it goes, a file for each.
    static int n = 0;
    auto* coverage = Verilated::threadContextp()->coveragep();
    coverage->write((std::string(std::getenv("KF_COVERAGE_FILE")) + "." + std::to_string(n++)).c_str());
    coverage->clear();
#endif
  }

  /// `spoil` may change an entry and its address on the way, or answer false: it is lost.
  void load_table(const std::string& path, const std::function<bool(unsigned& address, std::vector<std::uint32_t>& words)>& spoil = {}) {
    std::ifstream f(path, std::ios::binary);
    std::vector<std::uint32_t> words(16);
    for (unsigned a = 0; a < 8192; ++a) {
      if (!f.read(reinterpret_cast<char*>(words.data()), 64)) throw std::runtime_error(path + ": shorter than a table");
      unsigned address = a;
      if (spoil && !spoil(address, words)) continue;
      for (int i = 0; i < 16; ++i) top_.table_data_i[i] = words[i];
      top_.table_addr_i = address;
      top_.table_we_i = 1;
      tick();
    }
    top_.table_we_i = 0;
    top_.table_locked_i = 1;
  }
  /// Runs the known-answer jobs; true when they passed.
  bool self_test() {
    const std::uint64_t limit = cycles + 4'000'000;
    while (top_.selftest_o < 2) {
      tick();
      if (cycles > limit) throw std::runtime_error("the self-test does not end");
    }
    return top_.selftest_o == 2;
  }

  void submit(const Job& j) { jobs_.push_back(j); }
  std::size_t pending() const { return jobs_.size(); }

  /// A flop or memory was changed from outside, by its name.
  void flipped() { flipped_ = true; }
  /// One cycle.
  void tick() {
    // Streams: what was taken at the last edge is replaced.
    if (!top_.s_raw_valid && !dry_entropy) {
      top_.s_raw_data = raw_sample();
      top_.s_raw_valid = 1;
    }
    if (!top_.s_job_valid && !jobs_.empty() && !(stalls && (rng_() & 3) == 0)) {
      drive_beat();
      top_.s_job_valid = 1;
    }
    if (stalls) top_.m_cpl_ready = (rng_() & 3) != 0;
    top_.clk = 0;
    evaluate(inputs_changed() || flipped_);
    flipped_ = false;
    const bool raw = top_.s_raw_valid && top_.s_raw_ready;
    const bool job = top_.s_job_valid && top_.s_job_ready;
    if (top_.m_cpl_valid && top_.m_cpl_ready) take_beat();
    mul_slots += top_.ev_mul_slot_o;
    mul_issued += top_.ev_mul_issue_o;
    busy_cycles += top_.busy_o;
    if (!top_.rst) {  // before it, registers hold anything; the shell's counters stand still meanwhile
      parity_events += top_.ev_parity_o;
      gate_events += top_.ev_cycle_gate_o;
    }
    top_.clk = 1;
    evaluate(false);
    ++cycles;
    if (raw) top_.s_raw_valid = 0;
    if (job) {
      top_.s_job_valid = 0;
      if (++beat_ == 6) {
        beat_ = 0;
        jobs_.pop_front();
      }
    }
  }
  /// Until n more completions are there.
  void run(std::size_t n, std::uint64_t limit = 50'000'000) {
    const std::size_t want = done.size() + n;
    const std::uint64_t end = cycles + limit;
    while (done.size() < want) {
      tick();
      if (cycles > end) throw std::runtime_error("cycle limit reached with " + std::to_string(want - done.size()) + " completions missing");
    }
  }

  /// Where the streams stand: with the model's state, everything that decides what happens next.
  std::array<std::uint64_t, 4> streams() const {
    return {samples_, done.size() << 8 | static_cast<unsigned>(cpl_beat_), jobs_.size() << 8 | static_cast<unsigned>(beat_),
            static_cast<std::uint64_t>(top_.s_raw_valid) << 1 | top_.s_job_valid};
  }
  Vkf_engine& top() { return top_; }
  std::vector<Completion> done;
  std::uint64_t cycles = 0, mul_slots = 0, mul_issued = 0, busy_cycles = 0, parity_events = 0, gate_events = 0;
  bool stalls = false, stuck_entropy = false, dry_entropy = false;
  std::vector<std::uint8_t> repeat_entropy;  // if not empty: these samples again and again

 private:
  /// `changed`: something outside of the model, since it was last evaluated (evaluated.hpp).
  void evaluate(bool changed) {
    changed_outside = changed;
    top_.eval();
    changed_outside = true;
  }
  /// Since it was last asked. Every input but the clock: build.sh counts them.
  bool inputs_changed() {
    std::array<std::uint32_t, 15> now{top_.rst, top_.abort_i, top_.zeroise_i, top_.table_locked_i, top_.batch_timeout_i};
    now[5] = top_.m_cpl_ready | static_cast<std::uint32_t>(top_.s_raw_valid << 1 | top_.s_raw_data << 8 | top_.s_job_valid << 2 | top_.s_job_last << 3);
    for (std::size_t i = 0; i < 8; ++i) now[6 + i] = top_.s_job_data[i];
    now[14] = top_.s_job_check;
    const bool changed = now != inputs_ || top_.table_we_i || table_we_;
    inputs_ = now;
    table_we_ = top_.table_we_i;  // address and data say something only beside it
    return changed;
  }
  std::uint8_t raw_sample() {
    ++samples_;
    if (stuck_entropy) return 0x55;
    if (!repeat_entropy.empty()) return repeat_entropy[repeated_++ % repeat_entropy.size()];
    return static_cast<std::uint8_t>(entropy_());
  }
  void drive_beat() {
    const Job& j = jobs_.front();
    for (int i = 0; i < 8; ++i) top_.s_job_data[i] = 0;
    if (beat_ == 0) {
      top_.s_job_data[0] = j.op | j.curve << 8 | static_cast<std::uint32_t>(j.slot) << 16;
      top_.s_job_data[1] = (j.for_sign ? 2U : 0U) | (j.given ? 4U : 0U) | static_cast<std::uint32_t>(j.reserved << 9 | (j.generation & 63U) << 3);
      top_.s_job_data[2] = static_cast<std::uint32_t>(j.tag);
      top_.s_job_data[3] = static_cast<std::uint32_t>(j.tag >> 32);
    } else {
      for (int i = 0; i < 8; ++i) top_.s_job_data[i] = j.v[beat_ - 1][i];
    }
    top_.s_job_check = 0;
    for (int i = 0; i < 8; ++i) top_.s_job_check ^= top_.s_job_data[i];
    if (beat_ != 0 && static_cast<unsigned>(beat_) == j.changed) top_.s_job_data[0] ^= 1;
    top_.s_job_last = beat_ == 5;
  }
  void take_beat() {
    Num n{};
    for (int i = 0; i < 8; ++i) n[i] = top_.m_cpl_data[i];
    cpl_[cpl_beat_] = n;
    if ((cpl_beat_ == 3) != (top_.m_cpl_last != 0)) throw std::runtime_error("a completion is not four beats long");
    if (++cpl_beat_ < 4) return;
    cpl_beat_ = 0;
    Completion c;
    c.x = cpl_[0];
    c.y = cpl_[1];
    const Num& m = cpl_[3];
    c.status = m[0] & 0xFF;
    c.op = m[0] >> 8 & 0xFF;
    c.curve = m[0] >> 16 & 0xFF;
    c.context = m[0] >> 24;
    c.tag = m[2] | static_cast<std::uint64_t>(m[3]) << 32;
    c.cycles = m[4];
    c.generation = m[1] >> 3 & 63;
    const auto turned = [](std::uint32_t v, int n) { return v << n | v >> (32 - n); };
    std::uint32_t check = 0x96C35AA5 ^ m[0] ^ m[1] ^ turned(m[2], 8) ^ turned(m[3], 16) ^ turned(m[4], 24);
    for (int i = 0; i < 8; ++i) check ^= c.x[i] ^ turned(c.y[i], 8);
    c.damaged = check != m[5] || m[6] != 0 || m[7] != 0 || cpl_[2] != Num{};
    done.push_back(c);
  }

  Vkf_engine top_;
  std::mt19937_64 rng_, entropy_;
  std::deque<Job> jobs_;
  std::array<std::uint32_t, 15> inputs_{};
  bool table_we_ = false, flipped_ = true;
  int beat_ = 0, cpl_beat_ = 0;
  std::size_t repeated_ = 0;
  std::uint64_t samples_ = 0;
  std::array<Num, 4> cpl_{};
};

}  // namespace kf::rtl
