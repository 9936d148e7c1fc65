// See bench.hpp. Order of a cycle: inputs are set, outputs settle and are judged, then the clock rises.
#include "bench.hpp"

#include "Vkf_shell___024root.h"

#include <algorithm>

namespace kf::ecc::test {
namespace {

// What the stand-in answers now and then instead of ok.
constexpr JobStatus kAnswers[8] = {
    JobStatus::ok,    JobStatus::off_curve, JobStatus::exception, JobStatus::entropy, JobStatus::bad_signature,
    JobStatus::fault, JobStatus::range,     JobStatus::key};

template <class T>
Beat beat_of(const T& wide) {
  Beat b;
  for (unsigned i = 0; i < 8; ++i) b[i] = wide[i];
  return b;
}
template <class T>
void set_beat(T& wide, const Beat& b) {
  for (unsigned i = 0; i < 8; ++i) wide[i] = b[i];
}
Beat load(const std::uint8_t* p) {
  Beat b;
  std::memcpy(b.data(), p, 32);
  return b;
}
bool phase_of(std::uint32_t index, unsigned log2) { return ((index >> log2) & 1U) == 0; }

}  // namespace

Bench::Bench(std::uint64_t seed) : context(std::make_unique<VerilatedContext>()), rng_(seed) {
  context->randReset(2);  // what is not reset starts at random
  context->randSeed(static_cast<int>(seed & 0x7FFFFFFF) + 1);
  top = std::make_unique<Vkf_shell>(context.get());
  reset();
}
Bench::~Bench() { top->final(); }

void Bench::reset() {
  reads_.clear();
  bursts_.clear();
  w_beats_.clear();
  answers_.clear();
  held_.clear();
  jobs.clear();
  fetched = taken = answered = begun = written = sending_ = 0;
  aw_count_ = w_count_ = w_in_burst_ = 0;
  r_beat_ = apply_beat_ = job_beat_ = cpl_beat_ = 0;
  r_offered_ = b_offered_ = cpl_offered_ = false;
  ar_was_ = aw_was_ = w_was_ = job_was_ = false;
  aw_offer_ = w_offer_ = ar_offer_ = b_take_ = r_take_ = false;
  n_busy = n_mul = n_slot = n_jobs = n_batch = n_cpl = n_bad = n_axi = n_parity = n_gate = n_entropy = n_exception = 0;
  sq_written = sq_tail = cq_head = sq_head_seen = 0;
  zeroising = blank_from_now = false;
  engine_wiped = true;
  wipe_left = 0;
  const unsigned events_before = events;
  events = 0;
  top->rst = 1;
  top->ready_i = 1;
  top->selftest_i = 2;
  top->entropy_alarm_i = 0;
  top->entropy_state_i = 0;
  for (int i = 0; i < 3; ++i) {
    top->clk = 0;
    top->s_axil_awvalid = top->s_axil_wvalid = top->s_axil_arvalid = 0;
    top->s_axil_bready = top->s_axil_rready = 0;
    top->m_axi_rvalid = top->m_axi_bvalid = 0;
    top->m_axi_arready = top->m_axi_awready = top->m_axi_wready = 0;
    top->s_cpl_valid = top->m_job_ready = 0;
    top->busy_i = top->ev_mul_issue_i = top->ev_mul_slot_i = top->ev_batch_i = top->ev_parity_i = top->ev_cycle_gate_i =
        0;
    top->ev_entropy_i = 0;
    top->idle_i = 1;
    top->wiped_i = 1;
    top->eval();
    top->clk = 1;
    top->eval();
    ++cycle_;
  }
  top->rst = 0;
  cycle_at_reset = cycle_;
  events = events_before;
}

void Bench::new_region(Region& r, std::uint64_t base, std::size_t size) {
  r.base = base;
  r.bytes.resize(size + 2 * kGuard);
  for (auto& x : r.bytes) x = static_cast<std::uint8_t>(rng_());
  r.guard = r.bytes;
}

std::uint8_t* Bench::at(Region& r, std::uint64_t addr, std::size_t n) {
  const std::uint64_t off = addr - (r.base - kGuard);
  if (off > r.bytes.size() || r.bytes.size() - off < n) return nullptr;
  return r.bytes.data() + off;
}

void Bench::drive() {
  // Registers.
  if (aw_hold_ != 0) --aw_hold_;
  if (w_hold_ != 0) --w_hold_;
  top->s_axil_awvalid = aw_offer_ && aw_hold_ == 0;
  top->s_axil_wvalid = w_offer_ && w_hold_ == 0;
  top->s_axil_arvalid = ar_offer_;
  top->s_axil_bready = b_take_ && chance(waits.axil);
  top->s_axil_rready = r_take_ && chance(waits.axil);

  // Memory, reads.
  top->m_axi_arready = chance(waits.ar_ready) && reads_.size() < 8;
  if (!r_offered_ && !reads_.empty() && reads_.front().when <= cycle_ && chance(waits.r_valid)) {
    r_offered_ = true;
    const Read& r = reads_.front();
    // The data is looked up as late as possible, so a head that moves too early shows.
    const std::uint8_t* p = at(sq_, r.addr + 32 * r_beat_, 32);
    KF_NEED(p != nullptr, "read outside the submission ring");
    set_beat(top->m_axi_rdata, load(p));
    top->m_axi_rresp =
        r.error_beat == static_cast<int>(r_beat_) ? r.error_code : below(2);  // EXOKAY is no error either
    top->m_axi_rlast = (r_beat_ == 5) != (r.last_fault == static_cast<int>(r_beat_));
  }
  top->m_axi_rvalid = r_offered_;

  // Memory, writes.
  bool aw = chance(waits.aw_ready), w = chance(waits.w_ready);
  if (waits.aw_waits_for_w && !waits.w_waits_for_aw) aw = aw && (w_was_ || w_count_ > aw_count_);
  if (waits.w_waits_for_aw) w = w && aw_count_ > w_count_;
  top->m_axi_awready = aw;
  top->m_axi_wready = w;
  if (!b_offered_ && !answers_.empty() && answers_.front().when <= cycle_ && chance(waits.b_valid)) {
    b_offered_ = true;
    top->m_axi_bresp = answers_.front().code;
  }
  top->m_axi_bvalid = b_offered_;

  // Engine.
  top->m_job_ready = chance(waits.job_ready) && held_.size() < engine_room;
  if (!cpl_offered_ && cpl_beat_ == 0 && !held_.empty() && !engine_stalled && held_.front().when <= cycle_ &&
      chance(waits.cpl_valid)) {
    sending_ = held_.front().job;
    held_.pop_front();
    make_answer(sending_);
    std::memcpy(cpl_beats_.data(), &jobs[sending_].answer, 128);
    cpl_offered_ = true;
    cpl_frame_fault_ = frame_fault;
    frame_fault = false;
  } else if (!cpl_offered_ && cpl_beat_ != 0 && chance(waits.cpl_valid)) {
    cpl_offered_ = true;
  }
  top->s_cpl_valid = cpl_offered_;
  set_beat(top->s_cpl_data, cpl_beats_[cpl_beat_]);
  top->s_cpl_last = (cpl_beat_ == 3) != (cpl_frame_fault_ && cpl_beat_ == 1);
  top->idle_i = held_.empty() && !cpl_offered_ && cpl_beat_ == 0 && job_beat_ == 0;
  top->wiped_i = engine_wiped;

  top->busy_i = chance(events);
  top->ev_mul_issue_i = chance(events);
  top->ev_mul_slot_i = chance(events);
  top->ev_batch_i = chance(events);
  top->ev_parity_i = chance(events / 8);
  top->ev_cycle_gate_i = chance(events / 8);
  top->ev_entropy_i = chance(events / 8);
}

// What the stand-in answers is a function of the job alone, so the host can check operands as well as results.
void Bench::make_answer(std::size_t k) {
  Posted& p = jobs[k];
  Completion& c = p.answer;
  std::memset(&c, 0, sizeof c);
  c.tag = p.d.tag;
  c.context = static_cast<std::uint8_t>(k);
  c.cycles = static_cast<std::uint32_t>(p.d.tag >> 7);
  c.flags = below(2) != 0 ? kCompletionPhase : 0;  // the shell sets the phase, whatever stands here
  if (p.bad || p.axi_bad) {
    c.status = static_cast<std::uint8_t>(JobStatus::descriptor);
  } else {
    c.opcode = p.d.opcode;
    c.curve = p.d.curve;
    c.status = p.d.opcode == 0
                   ? static_cast<std::uint8_t>(JobStatus::descriptor)
                   : static_cast<std::uint8_t>(p.d.tag % 8 == 0 ? kAnswers[p.d.tag / 8 % 8] : JobStatus::ok);
  }
  if (top->abort_o) c.status = static_cast<std::uint8_t>(JobStatus::aborted);
  if (c.status == static_cast<std::uint8_t>(JobStatus::ok))
    for (unsigned i = 0; i < 32; ++i) {
      c.x[i] = static_cast<std::uint8_t>(p.d.v[0][i] ^ p.d.v[2][i] ^ p.d.v[4][i] ^ 0xA5);
      c.y[i] = static_cast<std::uint8_t>(p.d.v[1][i] ^ p.d.v[3][i] ^ 0x5A);
    }
  c.check = static_cast<std::uint32_t>(p.d.tag * 0x9E3779B1);  // passed on as it is
  p.answered = true;
}

void Bench::sample_job() {
  const bool jv = top->m_job_valid;
  KF_NEED(!job_was_ || (jv && (beat_of(top->m_job_data) == job_data_was_ ||
                               (zeroising && job_beat_ != 0 && beat_of(top->m_job_data) == Beat{}) ||
                               jobs[taken].changed == job_beat_)),
          "m_job changed before m_job_ready");
  if (jv) KF_NEED(top->m_job_last == (job_beat_ == 5), "last mark of a job");
  if (jv && top->m_job_ready) {
    job_beats_[job_beat_] = beat_of(top->m_job_data);
    followed_ = taken;
    std::uint32_t check = top->m_job_check;
    for (const std::uint32_t word : job_beats_[job_beat_]) check ^= word;
    KF_NEED(taken < jobs.size(), "a job nobody posted");
    // Of a first beat the shell has compared it.
    KF_NEED(job_beat_ == 0 || (check == 0) == (jobs[taken].changed != job_beat_),
            "check word of beat " + std::to_string(job_beat_));
    if (++job_beat_ == 6) {
      job_beat_ = 0;
      Posted& p = jobs[taken];
      std::array<Beat, 8> want;
      std::memcpy(want.data(), &p.d, 256);
      if (p.bad || p.axi_bad || p.changed == 0) {
        const Beat first = want[0];
        want[0] = {};
        want[0][2] = first[2];
        want[0][3] = first[3];
      }
      for (unsigned i = 0; i < 6; ++i)
        KF_NEED(
            job_beats_[i] == want[i] || (zeroising && i != 0 && job_beats_[i] == Beat{}) || (i != 0 && p.changed == i),
            "job " + std::to_string(taken) + " differs in beat " + std::to_string(i));
      p.engine_took = true;
      ++n_jobs;
      held_.push_back({taken, cycle_ + 1 + below(waits.answer + 1)});
      ++taken;
    }
  }
  job_was_ = jv && !top->m_job_ready;
  job_data_was_ = beat_of(top->m_job_data);
}

void Bench::sample_astray() {
  job_was_ = false;
  if (!top->m_job_valid || !top->m_job_ready) return;
  const Beat beat = beat_of(top->m_job_data);
  if (job_beat_ == 0) {
    followed_.reset();
    for (std::size_t i = 0; i < jobs.size(); ++i)
      if (beat[0] != 0 && std::memcmp(&jobs[i].d, beat.data(), 32) == 0) followed_ = i;
  } else if (followed_) {
    std::uint32_t check = top->m_job_check;
    for (const std::uint32_t word : beat) check ^= word;
    const auto* own = reinterpret_cast<const std::uint8_t*>(&jobs[*followed_].d) + std::size_t{32} * job_beat_;
    operands_of_others += check == 0 && std::memcmp(own, beat.data(), 32) != 0;
  }
  job_beat_ = top->m_job_last ? 0 : job_beat_ + 1;
}

void Bench::sample() {
  // Registers.
  if (top->s_axil_awvalid && top->s_axil_awready) aw_offer_ = false;
  if (top->s_axil_wvalid && top->s_axil_wready) w_offer_ = false;
  if (top->s_axil_arvalid && top->s_axil_arready) ar_offer_ = false;
  if (top->s_axil_bvalid && top->s_axil_bready) {
    axil_resp_ = top->s_axil_bresp;
    b_done_ = true;
    b_take_ = false;
  }
  if (top->s_axil_rvalid && top->s_axil_rready) {
    axil_r_ = top->s_axil_rdata;
    axil_resp_ = top->s_axil_rresp;
    r_done_ = true;
    r_take_ = false;
  }

  // Reads of descriptors.
  const bool ar = top->m_axi_arvalid;
  KF_NEED(!ar_was_ || (ar && top->m_axi_araddr == ar_addr_was_), "arvalid or araddr changed before arready");
  if (ar) {
    ++ar_seen;
    KF_NEED(top->m_axi_arlen == 5 && top->m_axi_arsize == 5 && top->m_axi_arburst == 1, "shape of a read");
  }
  if (ar && top->m_axi_arready) {
    const auto index = static_cast<std::uint32_t>(fetched);
    KF_NEED(top->m_axi_araddr == sq_base + 256ULL * (index & ((1U << sq_log2) - 1)), "address of a read");
    KF_NEED(fetched < jobs.size() && index < sq_tail, "a read beyond the doorbell");
    Read r{top->m_axi_araddr, cycle_ + 1 + below(waits.latency + 1)};
    if (chance(errors.read)) {
      r.error_beat = static_cast<int>(below(6));
      r.error_code = 2 + below(2);
    }
    if (chance(errors.last)) r.last_fault = static_cast<int>(below(6));
    if (r.error_beat >= 0 || r.last_fault >= 0) jobs[fetched].axi_bad = true;
    ++fetched;
    reads_.push_back(r);
  }
  ar_was_ = ar && !top->m_axi_arready;
  ar_addr_was_ = top->m_axi_araddr;
  KF_NEED(!r_offered_ || top->m_axi_rready, "rready fell; the core sets room aside before it reads");
  if (r_offered_ && top->m_axi_rready) {
    r_offered_ = false;
    if (++r_beat_ == 6) {
      if (jobs[fetched - reads_.size()].axi_bad) ++n_axi;
      r_beat_ = 0;
      reads_.pop_front();
    }
  }

  // Writes of completions.
  const bool aw = top->m_axi_awvalid, w = top->m_axi_wvalid;
  KF_NEED(!aw_was_ || (aw && top->m_axi_awaddr == aw_addr_was_), "awvalid or awaddr changed before awready");
  // Zeroisation blanks the beat that is offered as well; nothing else changes it.
  KF_NEED(!w_was_ || (w && top->m_axi_wlast == w_last_was_ &&
                      (beat_of(top->m_axi_wdata) == w_data_was_ ||
                       (blank_from_now && (w_last_was_ || beat_of(top->m_axi_wdata) == Beat{})))),
          "W changed before wready");
  if (aw) KF_NEED(top->m_axi_awlen == 3 && top->m_axi_awsize == 5 && top->m_axi_awburst == 1, "shape of a write");
  if (aw && !aw_was_) {
    KF_NEED(begun < answered + (cpl_offered_ ? 1 : 0), "a burst for a completion the engine has not sent");
    jobs[begun].blank_allowed = zeroising;
    jobs[begun].blank_due = blank_from_now;
    jobs[begun].torn_allowed = zeroising && !blank_from_now;
    const auto index = static_cast<std::uint32_t>(begun);
    KF_NEED(top->m_axi_awaddr == cq_base + 128ULL * (index & ((1U << cq_log2) - 1)), "address of a write");
    KF_NEED(index - cq_head < (1U << cq_log2), "a completion that was not consumed would be overwritten");
    ++begun;
  }
  if (aw && top->m_axi_awready) {
    bursts_.push_back({top->m_axi_awaddr, aw_count_});
    ++aw_count_;
  }
  if (w)
    KF_NEED(top->m_axi_wstrb == 0xFFFFFFFFU && top->m_axi_wlast == (w_in_burst_ == 3),
            "last mark or strobes of a write");
  if (w && top->m_axi_wready) {
    w_beats_.push_back(beat_of(top->m_axi_wdata));
    if (++w_in_burst_ == 4) {
      w_in_burst_ = 0;
      ++w_count_;
    }
  }
  aw_was_ = aw && !top->m_axi_awready;
  aw_addr_was_ = top->m_axi_awaddr;
  w_was_ = w && !top->m_axi_wready;
  w_data_was_ = beat_of(top->m_axi_wdata);
  w_last_was_ = top->m_axi_wlast;
  if (b_offered_ && top->m_axi_bready) {
    jobs[answers_.front().job].written = true;
    if (answers_.front().code >= 2) ++n_axi;
    ++n_cpl;
    ++written;
    answers_.pop_front();
    b_offered_ = false;
  }
  // Beats reach memory one by one, lowest first; a failed burst may or may not have.
  if (!bursts_.empty() && !w_beats_.empty()) {
    if (apply_beat_ == 0) {
      apply_error_ = chance(errors.write);
      apply_drop_ = apply_error_ && below(2) != 0;
    }
    std::uint8_t* p = at(cq_, bursts_.front().addr + 32 * apply_beat_, 32);
    KF_NEED(p != nullptr, "write outside the completion ring");
    if (!apply_drop_) std::memcpy(p, w_beats_.front().data(), 32);
    w_beats_.pop_front();
    if (++apply_beat_ == 4) {
      apply_beat_ = 0;
      jobs[bursts_.front().job].lost = apply_drop_;
      answers_.push_back(
          {cycle_ + 1 + below(waits.latency + 1), apply_error_ ? 2 + below(2) : below(2), bursts_.front().job});
      bursts_.pop_front();
    }
  }

  astray ? sample_astray() : sample_job();

  // Completions.
  if (cpl_offered_ && top->s_cpl_ready) {
    cpl_offered_ = false;
    if (cpl_beat_ == 3) {
      cpl_beat_ = 0;
      const auto status = jobs[sending_].answer.status;
      n_bad += status == static_cast<std::uint8_t>(JobStatus::descriptor);
      n_exception += status == static_cast<std::uint8_t>(JobStatus::exception);
      ++answered;
    } else {
      ++cpl_beat_;
    }
  }

  // Orders. What is seen to begin in the cycle after the order had begun with it, at the same time.
  blank_from_now = zeroising;
  if (top->zeroise_o) {
    ++zeroise_pulses;
    zeroising = true;
    for (std::size_t i = w_count_; i < begun; ++i) jobs[i].torn_allowed = true;
    engine_wiped = false;
    wipe_left = 20 + below(200);
  } else if (!engine_wiped && wipe_left-- == 0) {  // it waits for no job
    engine_wiped = true;
  }
  if (zeroising && !top->abort_o && !top->zeroise_o && engine_wiped) zeroising = false;
  if (top->table_we_o) {
    std::array<std::uint32_t, 16> e;
    for (unsigned i = 0; i < 16; ++i) e[i] = top->table_data_o[i];
    table_writes.emplace_back(top->table_addr_o, e);
  }
  n_busy += top->busy_i;
  n_mul += top->ev_mul_issue_i;
  n_slot += top->ev_mul_slot_i;
  n_batch += top->ev_batch_i;
  n_parity += top->ev_parity_i;
  n_gate += top->ev_cycle_gate_i;
  n_entropy += top->ev_entropy_i;
  irq_cycles += top->irq_o;
}

void Bench::flip() {
  // Any register that is there three times, as often as it has bits.
  auto& r = *top->rootp;
  struct Copies {
    unsigned width;
    std::array<void*, 3> words;
  };
#define KF_COPIES(width, name)                                                                        \
  Copies {                                                                                            \
    width, {                                                                                          \
      &r.kf_shell__DOT__##name##__DOT__u_a__DOT__q_o, &r.kf_shell__DOT__##name##__DOT__u_b__DOT__q_o, \
          &r.kf_shell__DOT__##name##__DOT__u_c__DOT__q_o                                              \
    }                                                                                                 \
  }
  const std::array all{KF_COPIES(7, u_orders),
                       KF_COPIES(1, registers__DOT__u_lock),
                       KF_COPIES(70, registers__DOT__u_ring),
                       KF_COPIES(19, submissions__DOT__u_counts),
                       KF_COPIES(10, completions__DOT__u_counts),
                       KF_COPIES(66, completions__DOT__u_burst)};
#undef KF_COPIES
  unsigned bits = 0;
  for (const Copies& c : all) bits += c.width;
  unsigned bit = below(bits);
  for (const Copies& c : all) {
    if (bit < c.width) {
      static_cast<std::uint8_t*>(c.words[flipped_copy])[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      break;
    }
    bit -= c.width;
  }
  ++flips_done;
}

void Bench::tick() {
  if (chance(flips)) flip();
  drive();
  top->clk = 0;
  top->eval();
  sample();
  top->clk = 1;
  top->eval();
  ++cycle_;
}

std::uint32_t Bench::read(std::uint32_t address) {
  top->s_axil_araddr = address;
  ar_offer_ = r_take_ = true;
  r_done_ = false;
  for (unsigned i = 0; !r_done_; ++i) {
    KF_NEED(i < 2000, "a register read was not answered");
    tick();
  }
  KF_NEED(axil_resp_ == 0, "answer to a register read");
  return axil_r_;
}

std::uint64_t Bench::read64(std::uint32_t address) {
  const std::uint64_t low = read(address);
  return low | static_cast<std::uint64_t>(read(address + 4)) << 32;
}

unsigned Bench::write(std::uint32_t address, std::uint32_t value, unsigned strobes) {
  top->s_axil_awaddr = address;
  top->s_axil_wdata = value;
  top->s_axil_wstrb = strobes;
  aw_offer_ = w_offer_ = b_take_ = true;
  b_done_ = false;
  aw_hold_ = chance(waits.axil) ? 0 : below(6);
  w_hold_ = chance(waits.axil) ? 0 : below(6);
  for (unsigned i = 0; !b_done_; ++i) {
    KF_NEED(i < 2000, "a register write was not answered");
    tick();
  }
  return axil_resp_;
}

void Bench::set_rings(std::uint64_t sb, std::uint32_t sl, std::uint64_t cb, std::uint32_t cl) {
  write(kRegSqBaseLo, static_cast<std::uint32_t>(sb));
  write(kRegSqBaseHi, static_cast<std::uint32_t>(sb >> 32));
  write(kRegSqLog2, sl);
  write(kRegCqBaseLo, static_cast<std::uint32_t>(cb));
  write(kRegCqBaseHi, static_cast<std::uint32_t>(cb >> 32));
  write(kRegCqLog2, cl);
}

void Bench::rings(unsigned sl, unsigned cl) {
  wait_idle();
  sq_log2 = sl;
  cq_log2 = cl;
  const std::uint64_t sq_size = 256ULL << sl, cq_size = 128ULL << cl;
  // Often across 4 GiB, so that a carry into the upper address word is needed.
  const std::uint64_t top_word = (word64() & 0xFFFF) << 32;
  sq_base = below(2) != 0 ? top_word + 0x1'0000'0000ULL - sq_size / 2 / 256 * 256
                          : (word64() & 0xFFFF'FFFF'FF00ULL) + 0x10000;
  cq_base = below(2) != 0 ? (top_word ^ 0x5500'0000'0000ULL) + 0x1'0000'0000ULL - cq_size / 2 / 128 * 128
                          : (word64() & 0xFFFF'FFFF'FF80ULL) + 0x10000;
  new_region(sq_, sq_base, sq_size);
  new_region(cq_, cq_base, cq_size);
  std::memset(at(cq_, cq_base, cq_size), 0, cq_size);
  jobs.clear();
  fetched = taken = answered = begun = written = 0;
  aw_count_ = w_count_ = 0;
  sq_written = sq_tail = cq_head = sq_head_seen = 0;
  set_rings(sq_base, sl, cq_base, cl);
}

Descriptor Bench::job() {
  Descriptor d{};
  auto* p = reinterpret_cast<std::uint8_t*>(&d);
  for (std::size_t i = 32; i < sizeof d; ++i) p[i] = static_cast<std::uint8_t>(rng_());
  d.opcode = static_cast<std::uint8_t>(below(8));
  d.curve = static_cast<std::uint8_t>(below(2));
  d.key_slot = static_cast<std::uint16_t>(rng_());
  d.flags = (below(4) << 1);
  d.tag = rng_();
  return d;
}

bool Bench::post(const Descriptor& d, bool bad) {
  if (sq_written - sq_head_seen >= (1U << sq_log2)) {
    const std::uint32_t head = read(kRegSqHead);
    // What the core has read may be scribbled over at once.
    for (; sq_head_seen != head; ++sq_head_seen) {
      std::uint8_t* p = at(sq_, sq_base + 256ULL * (sq_head_seen & ((1U << sq_log2) - 1)), 256);
      for (unsigned i = 0; i < 256; ++i) p[i] = static_cast<std::uint8_t>(rng_());
    }
    KF_NEED(static_cast<std::int32_t>(sq_tail - head) >= 0, "SQ_HEAD passed SQ_TAIL");
    if (sq_written - sq_head_seen >= (1U << sq_log2)) return false;
  }
  Posted p;
  p.d = d;
  if (phase_of(sq_written, sq_log2)) p.d.flags ^= kDescriptorPhase;
  p.bad = bad;
  std::memcpy(at(sq_, sq_base + 256ULL * (sq_written & ((1U << sq_log2) - 1)), 256), &p.d, 256);
  jobs.push_back(p);
  ++sq_written;
  return true;
}

void Bench::ring_doorbell() {
  sq_tail = sq_written;
  write(kRegSqTail, sq_tail);
}

std::size_t Bench::consume(std::size_t most) {
  std::size_t n = 0;
  const std::uint32_t tail = poll_memory ? 0 : read(kRegCqTail);
  for (; n < most; ++n) {
    const std::uint32_t index = cq_head + static_cast<std::uint32_t>(n);
    if (index >= jobs.size()) break;
    Completion c;
    std::memcpy(&c, at(cq_, cq_base + 128ULL * (index & ((1U << cq_log2) - 1)), 128), 128);
    const Posted& p = jobs[index];
    const bool phase = (c.flags & kCompletionPhase) != 0;
    if (poll_memory) {
      if (index - cq_head >= (1U << cq_log2) || phase != phase_of(index, cq_log2)) break;
    } else {
      if (index == tail) break;
      KF_NEED(p.written, "CQ_TAIL moved before memory had answered");
      if (p.lost) continue;
    }
    KF_NEED(phase == phase_of(index, cq_log2), "phase of a completion");
    KF_NEED(p.answered, "a completion nobody sent");
    Completion want = p.answer;
    want.flags = phase ? kCompletionPhase : 0;
    const auto zero = [](const std::uint8_t* v) {
      return std::all_of(v, v + 32, [](std::uint8_t x) { return x == 0; });
    };
    const bool blank = zero(c.x) && zero(c.y);
    if (p.blank_due ||
        (p.blank_allowed && (blank || !p.torn_allowed) && std::memcmp(&c, &want, sizeof c) != 0)) {  // zeroised
      std::memset(want.x, 0, 32);
      std::memset(want.y, 0, 32);
      want.status = static_cast<std::uint8_t>(JobStatus::aborted);
    } else if (p.torn_allowed &&
               std::memcmp(&c, &want, sizeof c) != 0) {  // what memory had taken is there, the rest is not
      if (zero(c.x)) std::memset(want.x, 0, 32);
      if (zero(c.y)) std::memset(want.y, 0, 32);
      want.status = static_cast<std::uint8_t>(JobStatus::aborted);
    }
    if (want.status != p.answer.status ||
        c.check != p.answer.check) {  // given up by the shell: a check word of its own
      Completion empty = want;
      std::memset(empty.x, 0, 32);
      std::memset(empty.y, 0, 32);
      want.check = check_word(empty);
    }
    KF_NEED(std::memcmp(&c, &want, sizeof c) == 0,
            "completion " + std::to_string(index) + " is not what the engine sent");
    KF_NEED(c.tag == p.d.tag, "tag");
  }
  if (n != 0 || below(8) == 0) {
    cq_head += static_cast<std::uint32_t>(n);
    // A slot found by its phase may still wait for memory's answer: the core accepts the index all the same.
    write(kRegCqHead, cq_head);
  }
  return n;
}

void Bench::finish() {
  const std::uint64_t limit = cycle_ + 400000;
  while (cq_head != jobs.size()) {
    KF_NEED(cycle_ < limit,
            "cycle limit: " + std::to_string(cq_head) + " of " + std::to_string(jobs.size()) + " jobs answered");
    if (consume(1 + below(8)) == 0) run(1 + below(40));
  }
  wait_idle();
  KF_NEED(read(kRegSqHead) == sq_tail && read(kRegSqTail) == sq_tail, "SQ_HEAD at the end");
  KF_NEED(read(kRegCqTail) == cq_head && read(kRegCqHead) == cq_head, "CQ indices at the end");
  KF_NEED(fetched == jobs.size() && taken == jobs.size() && written == jobs.size(), "each job exactly once");
  check_guards();
}

void Bench::wait_idle() {
  const std::uint64_t limit = cycle_ + 400000;
  while ((read(kRegStatus) & (kStatusIdle.mask() | kStatusAborting.mask())) != kStatusIdle.mask())
    KF_NEED(cycle_ < limit, "cycle limit: the core does not come to rest");
}

void Bench::check_guards() const {
  for (const Region* r : {&sq_, &cq_}) {
    KF_NEED(std::equal(r->bytes.begin(), r->bytes.begin() + kGuard, r->guard.begin()),
            "bytes before a ring were changed");
    KF_NEED(std::equal(r->bytes.end() - kGuard, r->bytes.end(), r->guard.end() - kGuard),
            "bytes behind a ring were changed");
  }
}

void Bench::check_counters() {
  const unsigned before = events;
  events = 0;
  run(2);
  const std::pair<std::uint32_t, std::uint64_t> want[] = {
      {kCountBusyCycles, n_busy},         {kCountMulIssued, n_mul},
      {kCountMulSlots, n_slot},           {kCountJobs, n_jobs},
      {kCountBatches, n_batch},           {kCountCompletions, n_cpl},
      {kCountBadDescriptors, n_bad},      {kCountAxiErrors, n_axi},
      {kCountParityFaults, n_parity},     {kCountCycleGateFaults, n_gate},
      {kCountEntropyFailures, n_entropy}, {kCountExceptions, n_exception}};
  for (const auto& [address, value] : want) {
    const std::uint64_t got = read64(address);
    KF_NEED(got == value,
            "counter " + std::to_string(address) + " says " + std::to_string(got) + ", not " + std::to_string(value));
  }
  const std::uint64_t early = cycle_ - cycle_at_reset;
  const std::uint64_t cycles = read64(kCountCycles);
  KF_NEED(cycles >= early && cycles <= cycle_ - cycle_at_reset, "cycle counter");
  events = before;
}

}  // namespace kf::ecc::test
