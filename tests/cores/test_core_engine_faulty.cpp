// CoreEngine on simulated cores behind transports that go wrong: no wrong answer, no lost request, and what was damaged
// is counted.
#include <signal.h>

#include <cstdlib>
#include <mutex>
#include <thread>

#include "drivers/simulated/transport/sim_transport.hpp"
#include "tests/cores/support.hpp"
#include "tests/faulty/faulty_transport.hpp"

namespace kf::ecc {
namespace {

// What was injected, over all lives of all cores; complete when the engine has ended.
struct Injected {
  std::mutex lock;
  std::array<std::uint64_t, kFaults> n{};
  unsigned lives = 0;
  [[nodiscard]] std::uint64_t operator[](Fault f) const { return n[static_cast<std::size_t>(f)]; }
  [[nodiscard]] std::string text() const {
    std::string s = std::to_string(lives) + " lives; tag status phase early late doorbell head stuck reset:";
    for (const std::uint64_t k : n) s += " " + std::to_string(k);
    return s;
  }
};

// A faulty transport that leaves its numbers behind.
class Recorded final : public Transport {
 public:
  Recorded(std::unique_ptr<FaultyTransport> t, Injected& into) : inner_(std::move(t)), into_(into) {}
  ~Recorded() override {
    const std::lock_guard g(into_.lock);
    ++into_.lives;
    for (std::size_t i = 0; i < kFaults; ++i) into_.n[i] += inner_->injected(static_cast<Fault>(i));
  }
  std::uint32_t read(std::uint32_t offset) override { return inner_->read(offset); }
  void write(std::uint32_t offset, std::uint32_t value) override { inner_->write(offset, value); }
  [[nodiscard]] std::span<std::uint8_t> dma() const override { return inner_->dma(); }
  [[nodiscard]] std::uint64_t dma_base() const override { return inner_->dma_base(); }
  void sync() override { inner_->sync(); }
  [[nodiscard]] int interrupt_fd() const override { return inner_->interrupt_fd(); }
  void rearm_interrupt() override { inner_->rearm_interrupt(); }
  Status alive() override { return inner_->alive(); }
  void pause() override { inner_->pause(); }

 private:
  std::unique_ptr<FaultyTransport> inner_;
  Injected& into_;
};

class FaultyCores : public testing::Test {
 protected:
  // `script` says what happens in life `life` of a core, counted from 0 over all cores.
  void start(unsigned cores, std::function<FaultScript(unsigned life)> script) {
    CoreEngineConfig c;
    c.cores = cores;
    c.known_answer_every = 0;  // a damaged known answer would be a loss
    c.open = [this, script = std::move(script)](unsigned) -> Result<std::unique_ptr<Device>> {
      SimOptions o;
      o.program = std::string(KF_BIN_DIR) + "/keyferry-ecc-sim";
      KF_TRY(auto sim, SimTransport::open(o));
      FaultScript s = script(opened_++);
      s.seed = seed_ + opened_;
      s.late_syncs = 3;
      // The board is reset: here, its process ends.
      s.reset = [pid = sim->pid()] { ::kill(pid, SIGKILL); };
      auto faulty = std::make_unique<FaultyTransport>(std::move(sim), s);
      return Device::open(std::make_unique<Recorded>(std::move(faulty), injected_));
    };
    auto e = CoreEngine::start(std::move(c));
    ASSERT_TRUE(e.ok()) << e.error().text();
    engine_ = std::move(*e);
  }
  // Everything is answered, rightly and once.
  void play(std::size_t n) {
    const Peers p(n);
    Answers a;
    for (std::size_t sent = 0; sent < n;) {
      const std::size_t k = engine_->submit(std::span(p.requests).subspan(sent, std::min<std::size_t>(150, n - sent)));
      ASSERT_NE(k, 0U);
      ASSERT_TRUE(a.collect(*engine_, k)) << a.by_id.size() << " of " << n << " answered";
      sent += k;
    }
    EXPECT_EQ(a.by_id.size(), n);
    p.expect(a);
  }
  // The engine's numbers once it rests, with all keys made ahead and every damaged completion found; it is ended. On a
  // busy machine a core may be at its last batch for seconds, so what counts is that nothing is in its ring.
  CoreEngineStats end() {
    CoreEngineStats s = engine_->stats();
    const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    for (int quiet = 0; quiet < 3 && std::chrono::steady_clock::now() < limit;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      const CoreEngineStats now = engine_->stats();
      bool rests = true;
      for (const auto& c : now.cores) rests = rests && c.state == "up" && c.in_flight == 0;
      for (const auto what : {&CoreEngineStats::Core::batches, &CoreEngineStats::Core::faults})
        rests = rests && sum(now, what) == sum(s, what);
      quiet = rests ? quiet + 1 : 0;
      s = now;
    }
    engine_.reset();
    std::printf("seed %llu; %s\n", static_cast<unsigned long long>(seed_), injected_.text().c_str());
    return s;
  }
  static std::uint64_t sum(const CoreEngineStats& s, std::uint64_t CoreEngineStats::Core::*what) {
    std::uint64_t n = 0;
    for (const auto& c : s.cores) n += c.*what;
    return n;
  }

  // The same each time: how often a fault happens is a matter of luck.
  std::uint64_t seed_ = [] {
    const char* given = std::getenv("KF_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 0) : 1ULL;
  }();
  unsigned opened_ = 0;
  Injected injected_;
  std::unique_ptr<CoreEngine> engine_;
};

TEST_F(FaultyCores, DamagedCompletionsAreDoneAgain) {
  ASSERT_NO_FATAL_FAILURE(start(2, [](unsigned) {
    FaultScript s;
    for (const Fault f : {Fault::tag, Fault::phase}) s[f] = 0x400;
    for (const Fault f : {Fault::early, Fault::late}) s[f] = 0x100;
    for (const Fault f : {Fault::doorbell, Fault::head}) s[f] = 0x1000;
    return s;
  }));
  ASSERT_NO_FATAL_FAILURE(play(900));
  const CoreEngineStats s = end();
  const std::uint64_t damaged = injected_[Fault::tag] + injected_[Fault::phase];
  EXPECT_GT(damaged, 10U);
  EXPECT_GT(injected_[Fault::doorbell] + injected_[Fault::head], 0U);
  // Each costs one job, which is answered as `fault` and done again. An early one may meet the core's own write; then
  // the completion looks as if it had not come, and costs one as well.
  EXPECT_GE(sum(s, &CoreEngineStats::Core::faults), damaged);
  EXPECT_LE(sum(s, &CoreEngineStats::Core::faults), damaged + injected_[Fault::early]);
  EXPECT_GE(sum(s, &CoreEngineStats::Core::bad_completions), damaged);
  EXPECT_LE(sum(s, &CoreEngineStats::Core::bad_completions), damaged + 2 * injected_[Fault::early]);
  // Those that the next write made up for are never missed.
  EXPECT_LE(sum(s, &CoreEngineStats::Core::repeats), injected_[Fault::doorbell] + injected_[Fault::head]);
  EXPECT_GT(s.retries, 0U);
  EXPECT_EQ(sum(s, &CoreEngineStats::Core::losses), 0U);
  EXPECT_EQ(s.timed_out, 0U);
}

TEST_F(FaultyCores, AWrongStatusIsNotBelieved) {
  ASSERT_NO_FATAL_FAILURE(start(1, [](unsigned) {
    FaultScript s;
    s[Fault::status] = 0x800;
    return s;
  }));
  ASSERT_NO_FATAL_FAILURE(play(500));
  const CoreEngineStats s = end();
  EXPECT_GT(injected_[Fault::status], 5U);
  EXPECT_GT(sum(s, &CoreEngineStats::Core::faults), 5U);
  // Fewer, as the answer to ERASE is a status alone and another one is plausible: the slot is then erased once more.
  EXPECT_LE(sum(s, &CoreEngineStats::Core::faults), injected_[Fault::status]);
  EXPECT_EQ(sum(s, &CoreEngineStats::Core::bad_completions), sum(s, &CoreEngineStats::Core::faults));
  EXPECT_EQ(s.timed_out, 0U);
}

TEST_F(FaultyCores, CoresThatStandStillOrVanishAreReplaced) {
  ASSERT_NO_FATAL_FAILURE(start(2, [](unsigned life) {
    FaultScript s;
    if (life == 0) s[Fault::stuck] = 200;
    if (life == 1) s[Fault::reset] = 300;
    if (life == 2) s[Fault::stuck] = 150;
    s[Fault::tag] = 0x100;
    return s;
  }));
  ASSERT_NO_FATAL_FAILURE(play(900));
  const CoreEngineStats s = end();
  EXPECT_EQ(injected_[Fault::stuck] + injected_[Fault::reset], 3U);
  EXPECT_EQ(sum(s, &CoreEngineStats::Core::losses), 3U);  // each seen as one loss
  EXPECT_EQ(injected_.lives, opened_);
  EXPECT_EQ(s.timed_out, 0U);
}

}  // namespace
}  // namespace kf::ecc
