// A board around one verilated model. Compiled once for each model with KF_MODEL (its class), KF_MODEL_HEADER,
// KF_MODEL_ROOT and KF_MAKE (its maker, declared in board.cpp). The ports are members of the model's class, so nothing
// in a cycle is called through a pointer.
#include <sys/random.h>

#include KF_MODEL_HEADER
#include KF_MODEL_ROOT

#include "drivers/simulated/board/axi_memory.hpp"
#include "drivers/simulated/board/board.hpp"
#include "host/os/cpu_time.hpp"
#ifdef KF_FAULTY
#include <regex>

#include "drivers/simulated/board/faulty.hpp"
#include "rtl/fault/targets.hpp"
#endif

namespace kf::ecc {
#ifdef KF_FAULTY
using Made = FaultyBoard;
#else
using Made = Board;
#endif
namespace {

// The noise source: raw samples, a byte each. From the system they are drawn by the page and overwritten as they are
// handed out.
class NoiseSource {
 public:
  explicit NoiseSource(const BoardOptions& o)
      : seeded_(o.seed.has_value()),
        random_(o.seed.value_or(0)),
        broken_(o.broken_samples),
        good_(o.broken_samples ? o.good_samples : ~std::uint64_t{0}) {}
  // No sample comes any more.
  [[nodiscard]] bool dry() const { return good_ == 0 && broken_->empty(); }
  std::uint8_t next() {
    if (good_ == 0) return (*broken_)[repeated_++ % broken_->size()];
    --good_;
    if (seeded_) return static_cast<std::uint8_t>(random_());
    if (left_ == 0) fill();
    volatile std::uint8_t& place = samples_[--left_];
    const std::uint8_t sample = place;
    place = 0;
    return sample;
  }

 private:
  void fill() {
    for (std::size_t got = 0; got < sizeof samples_;) {
      const ssize_t n = ::getrandom(samples_.data() + got, sizeof samples_ - got, 0);
      if (n < 0 && errno != EINTR) broken("the system's random source failed");
      if (n > 0) got += static_cast<std::size_t>(n);
    }
    left_ = samples_.size();
  }
  bool seeded_;
  std::mt19937_64 random_;
  std::array<std::uint8_t, 1024> samples_{};
  std::size_t left_ = 0;
  std::optional<std::vector<std::uint8_t>> broken_;
  std::uint64_t good_;  // samples until it breaks
  std::size_t repeated_ = 0;
};

class BoardOf final : public Made {
 public:
  explicit BoardOf(const BoardOptions& o)
      : own_(o.memory.empty() ? o.memory_bytes / sizeof(Line) + 1 : 0),
        memory_(o.memory.empty() ? std::span(reinterpret_cast<std::uint8_t*>(own_.data()), o.memory_bytes) : o.memory),
        base_(o.dma_base),
        ii_(o.ii),
        axi_(memory_, base_, o.latency, o.stalls, o.seed.value_or(1) * 2 + 1),
        source_(o),
        top_(&context_) {
    top_.s_axil_bready = 1;
    top_.s_axil_rready = 1;
    top_.s_axil_wstrb = 15;
    next_sample();
    reset();
  }
  ~BoardOf() override {
    // The model's end looks for the thread's context, which may be that of another board, or of one that is gone.
    Verilated::threadContextp(&context_);
    top_.final();
  }

  std::uint32_t read(std::uint32_t offset) override {
    const Clock clock(*this);
    top_.s_axil_araddr = static_cast<SData>(offset);
    top_.s_axil_arvalid = 1;
    wait_for_bus();
    return read_;
  }
  bool write(std::uint32_t offset, std::uint32_t value) override {
    const Clock clock(*this);
    top_.s_axil_awaddr = static_cast<SData>(offset);
    top_.s_axil_wdata = value;
    top_.s_axil_awvalid = 1;
    top_.s_axil_wvalid = 1;
    wait_for_bus();
    return response_ == 0;
  }
  void run(std::uint64_t cycles) override {
    const Clock clock(*this);
    for (; cycles != 0; --cycles) tick<false>();
  }
  std::uint64_t run_until_interrupt(std::uint64_t at_most) override {
    const Clock clock(*this);
    std::uint64_t n = 0;
    for (; n < at_most && top_.irq_o == 0; ++n) tick<false>();
    return n;
  }
  bool interrupt() const override { return top_.irq_o != 0; }
  void reset() override {
    axi_.forget();
    top_.rst = 1;
    for (int i = 0; i < 4; ++i) tick<false>();
    top_.rst = 0;
    axi_.forget();
    tick<false>();
  }

  std::uint64_t cycles() const override { return cycles_; }
  double cpu_seconds() const override { return cpu_seconds_; }
  std::uint64_t stray_accesses() const override { return axi_.stray(); }
  std::span<std::uint8_t> memory() const override { return memory_; }
  std::uint64_t dma_base() const override { return base_; }
  void record_writes(std::vector<WriteBack>* into) override { record_ = into; }
#ifdef KF_FAULTY
  std::size_t places() override {
    if (places_.empty()) {
      // Which signals hold state is tried on another model: that may make edges of a clock.
      constexpr std::string_view kRoot = "TOP.kf_ecc_top.u_engine";
      std::vector<bool> hold;
      {
        VerilatedContext context;
        KF_MODEL other(&context);
        other.rst = 1;
        for (int i = 0; i < 8; ++i) {
          other.clk = i % 2;
          other.eval();
        }
        Verilated::threadContextp(&context);
        for (const fault::Target& t : fault::candidates(kRoot)) hold.push_back(fault::holds(other, t));
        other.final();
      }
      Verilated::threadContextp(&context_);
      std::vector<fault::Target> all = fault::candidates(kRoot);
      for (std::size_t i = 0; i < all.size(); ++i)
        if (hold.at(i)) places_.push_back(std::move(all[i]));
    }
    return places_.size();
  }
  std::string flip(std::mt19937_64& random, const std::string& only) override {
    if (chosen_.empty()) {
      places();
      for (const auto& p : places_)
        if (only.empty() || std::regex_search(p.name, std::regex(only))) chosen_.push_back(&p);
      if (chosen_.empty()) broken("no flop or memory has such a name");
    }
    const fault::Target& p = *chosen_[random() % chosen_.size()];
    const std::size_t element = random() % p.elements, bit = random() % p.bits;
    fault::flip(p, element, bit);
    return p.name + "[" + std::to_string(element) + "] bit " + std::to_string(bit);
  }
#endif
  void key_slots(std::vector<std::array<std::uint8_t, 32>>& into) const override {
    constexpr unsigned kHeld = 258, kCurve = 256;  // kf_keyslots: check word, held, sign, curve, share
    static constexpr std::uint32_t kOrder[2][8] = {
        {0xFC632551, 0xF3B9CAC2, 0xA7179E84, 0xBCE6FAAD, 0xFFFFFFFF, 0xFFFFFFFF, 0x00000000, 0xFFFFFFFF},
        {0x974856A7, 0x901E0E82, 0xB561A6F7, 0x8C397AA3, 0x9D838D71, 0x3E660A90, 0xA1EEA9BC, 0xA9FB57DB}};
    const auto& root = *top_.rootp;
    const auto& share0 = root.kf_ecc_top__DOT__u_engine__DOT__u_prep__DOT__u_keys__DOT__u_share0__DOT__mem;
    const auto& share1 = root.kf_ecc_top__DOT__u_engine__DOT__u_prep__DOT__u_keys__DOT__u_share1__DOT__mem;
    const auto bit = [](const auto& word, unsigned at) { return word[at / 32] >> at % 32 & 1U; };
    into.clear();
    for (std::size_t slot = 0; slot < std::size(share0.m_storage); ++slot) {
      const auto& a = share0.m_storage[slot];
      const auto& b = share1.m_storage[slot];
      if (bit(a, kHeld) == 0) continue;
      // The first share less the second one, modulo the order of the curve.
      std::uint32_t d[8];
      std::int64_t carry = 0;
      for (std::size_t i = 0; i < 8; ++i) {
        carry += static_cast<std::int64_t>(a[i]) - static_cast<std::int64_t>(b[i]);
        d[i] = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
      if (carry < 0) {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < 8; ++i) {
          sum += static_cast<std::uint64_t>(d[i]) + kOrder[bit(a, kCurve)][i];
          d[i] = static_cast<std::uint32_t>(sum);
          sum >>= 32;
        }
      }
      std::memcpy(into.emplace_back().data(), d, 32);
    }
  }

 private:
  struct alignas(64) Line {
    std::uint8_t bytes[64];
  };
  // The CPU time between its making and its end belongs to the model.
  class Clock {
   public:
    explicit Clock(BoardOf& b) : board_(b), start_(os::thread_cpu_seconds()) {}
    Clock(const Clock&) = delete;
    Clock& operator=(const Clock&) = delete;
    ~Clock() { board_.cpu_seconds_ += os::thread_cpu_seconds() - start_; }

   private:
    BoardOf& board_;
    double start_;
  };

  template <bool Registers>
  void tick() {
    axi_.before(top_, cycles_);
    top_.clk = 0;
    top_.eval();
    const bool drawn = top_.s_raw_ready != 0 && top_.s_raw_valid != 0;
    axi_.after(top_, cycles_);
    bool took_ar = false, took_aw = false, took_w = false;
    if constexpr (Registers) {
      took_ar = top_.s_axil_arvalid != 0 && top_.s_axil_arready != 0;
      took_aw = top_.s_axil_awvalid != 0 && top_.s_axil_awready != 0;
      took_w = top_.s_axil_wvalid != 0 && top_.s_axil_wready != 0;
      if (top_.s_axil_rvalid != 0) {
        read_ = top_.s_axil_rdata;
        response_ = top_.s_axil_rresp;
        answered_ = true;
      }
      if (top_.s_axil_bvalid != 0) {
        response_ = top_.s_axil_bresp;
        answered_ = true;
      }
    }
    if (record_ != nullptr) record();
    top_.clk = 1;
    top_.eval();
    ++cycles_;
    if (drawn) next_sample();
    axi_.edge(top_);
    if constexpr (Registers) {
      if (took_ar) top_.s_axil_arvalid = 0;
      if (took_aw) top_.s_axil_awvalid = 0;
      if (took_w) top_.s_axil_wvalid = 0;
    }
  }
  void next_sample() {
    top_.s_raw_valid = source_.dry() ? 0 : 1;
    if (top_.s_raw_valid != 0) top_.s_raw_data = source_.next();
  }
  void wait_for_bus() {
    answered_ = false;
    for (int i = 0; !answered_; ++i) {
      if (i == 1000) broken("the registers do not answer");
      tick<true>();
    }
  }
  [[nodiscard]] std::uint8_t context_of(std::uint8_t cycle_of_round) const {
    return static_cast<std::uint8_t>(cycle_of_round / ii_);
  }
#define KF_CORE(signal) top_.rootp->kf_ecc_top__DOT__u_engine__DOT__u_core__DOT__##signal
  void record() {
    if (KF_CORE(m_we) != 0) {
      WriteBack& w = record_->emplace_back(WriteBack{cycles_, 0, context_of(KF_CORE(tm)), KF_CORE(mul_dst_w), {}});
      std::memcpy(w.data.data(), &KF_CORE(mul_r)[0], 32);
    }
    if (KF_CORE(a_we) != 0) {
      WriteBack& w = record_->emplace_back(WriteBack{cycles_, 1, context_of(KF_CORE(ta)), KF_CORE(add_dst_w), {}});
      std::memcpy(w.data.data(), &KF_CORE(add_r)[0], 32);
    }
  }
#undef KF_CORE

  std::vector<Line> own_;
  std::span<std::uint8_t> memory_;
  std::uint64_t base_;
  unsigned ii_;
  AxiMemory axi_;
  NoiseSource source_;
  VerilatedContext context_;
  KF_MODEL top_;
  std::uint64_t cycles_ = 0;
  double cpu_seconds_ = 0;
  bool answered_ = false;
  std::uint32_t read_ = 0;
  unsigned response_ = 0;
  std::vector<WriteBack>* record_ = nullptr;
#ifdef KF_FAULTY
  std::vector<fault::Target> places_;
  std::vector<const fault::Target*> chosen_;
#endif
};

}  // namespace

std::unique_ptr<Made> KF_MAKE(const BoardOptions& o) { return std::make_unique<BoardOf>(o); }

}  // namespace kf::ecc
