#include "tests/hsm/lessons/runs.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>

#include "hsm/setup/set_up_token.hpp"
#include "hsm/setup/test_token.hpp"
#include "tests/hsm/lessons/journal.hpp"
#include "tests/hsm/lessons/load.hpp"

#ifdef __SANITIZE_ADDRESS__
// AddressSanitizer keeps what was freed, 256 MiB of it unless told otherwise: no growth of the server.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=8"; }
#endif

namespace kf::hsm::testing {
namespace {

using std::chrono::milliseconds;

std::size_t resident_here() {
  std::ifstream in("/proc/self/statm");
  std::size_t total = 0;
  std::size_t pages = 0;
  in >> total >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Seals and opens records until told to stop; how many were not right.
class Sealer {
 public:
  explicit Sealer(HsmEngine& e) : thread_([this, &e] { run(e); }) {}
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;
  ~Sealer() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] int good() const { return good_; }
  [[nodiscard]] int bad() const { return bad_; }

 private:
  void run(HsmEngine& e) {
    const Bytes plain(64, 7);
    while (!stop_) {
      const auto sealed = e.seal_record({}, plain);
      const auto opened = sealed.ok() ? e.open_record({}, *sealed) : Result<SecretBytes>(sealed.error());
      ++(opened.ok() && equal_ct(opened->expose(), plain) ? good_ : bad_);
    }
  }
  std::atomic<bool> stop_{false};
  std::atomic<int> good_{0};
  std::atomic<int> bad_{0};
  std::thread thread_;
};

}  // namespace

void no_session_is_shared(milliseconds length) {
  const ScratchDir dir(true);
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  s.config.tokens.front().threads = 4;
  s.config.keep_alive = milliseconds(100);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  LoadPlan plan;
  plan.in_flight = 1000;
  plan.keep_samples = false;
  Load load(*e, plan);
  {
    Sealer one(*e);
    Sealer two(*e);
    load.run_for(length);
    one.stop();
    two.stop();
    EXPECT_GT(one.good() + two.good(), 0);
    EXPECT_EQ(one.bad() + two.bad(), 0);
  }
  load.expect_perfect();
  EXPECT_EQ(s.shim.overlaps(), 0U);
  std::set<unsigned long> sessions;  // that really worked at the same time, or nothing was shown
  for (const Shim::Call& c : s.shim.calls()) {
    if (c.function == "C_Sign") sessions.insert(c.session);
  }
  EXPECT_GE(sessions.size(), 8U);
}

void no_look_ups(std::uint64_t jobs) {
  const ScratchDir dir;
  HsmConfig c = crowded_token();
  Shim shim(dir, c.tokens.front());
  shim.log_only("C_FindObjectsInit,C_FindObjects");
  shim.clear();
  c.tokens.front().workers = 2;
  c.memory_budget = std::size_t{4} << 30;  // nobody is replaced: that would be a warm-up of its own
  const auto e = start(c);
  ASSERT_TRUE(e);
  LoadPlan plan;
  plan.keep_samples = false;
  Load load(*e, plan);
  load.run_jobs(50);
  EXPECT_GT(shim.count("C_FindObjectsInit"), 0U);
  shim.forget_calls();
  load.run_jobs(jobs);
  load.expect_perfect();
  EXPECT_EQ(shim.count("C_FindObjectsInit"), 0U);
}

void signatures_keep_their_zeros(Curve c, std::uint64_t signatures) {
  HsmConfig config = token_config();
  config.tokens.front().workers = 2;
  const auto e = start(config);
  ASSERT_TRUE(e);
  LoadPlan plan;
  plan.curve = c;
  plan.eckas = false;
  plan.keep_samples = false;
  Load load(*e, plan);
  load.run_jobs(signatures);
  load.expect_perfect();
  EXPECT_GT(load.leading_zeros(), 0U);  // 1 in 128 signatures has one: not to meet any is next to impossible
  std::printf("[ zeros    ] %s: %llu signatures, %llu with a leading zero octet in r or s\n",
              std::string(curve_name(c)).c_str(), static_cast<unsigned long long>(load.submitted()),
              static_cast<unsigned long long>(load.leading_zeros()));
}

void start_and_stop(int cycles) {
  HsmConfig c = token_config();
  const Journal journal(c);
  for (int i = 0; i < cycles; ++i) {
    const auto e = start(c);
    ASSERT_TRUE(e);
    Load load(*e, {});
    load.run_jobs(4);
    load.expect_perfect();
  }
  // The engine says so when a worker ends with anything but 0, or not at all.
  EXPECT_TRUE(journal.lines().empty()) << journal.text();
}

void memory_stays(std::uint64_t sets, std::size_t leak_kib_per_set) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  s.config.memory_budget = std::size_t{24} << 20;
  s.shim.log_only("C_Finalize");
  s.shim.set(leak_kib_per_set == 0 ? "" : "leak " + std::to_string(leak_kib_per_set) + " C_DeriveKey");
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  LoadPlan plan;
  plan.keep_samples = false;
  Load load(*e, plan);
  load.run_jobs(2000);
  const std::size_t before = resident_here();
  std::size_t highest = 0;
  auto looked = Load::Clock::now();
  load.run_jobs(2 * sets, [&] {
    if (Load::Clock::now() - looked < milliseconds(100)) return;
    looked = Load::Clock::now();
    for (const auto& w : e->stats().workers) highest = std::max(highest, static_cast<std::size_t>(w.rss_bytes));
  });
  load.expect_perfect();
  const std::size_t after = resident_here();
  EXPECT_LE(after, before + (std::size_t{20} << 20));
  // The engine looks every half second; a worker that is to go still finishes what it has.
  const std::size_t between_looks = std::size_t{2} * 3000 * leak_kib_per_set * 1024;
  EXPECT_LE(highest, (std::size_t{40} << 20) + between_looks);
  // A replacement may be under way: it is written down, counted and started at different moments.
  std::uint64_t recycled = 0;
  EXPECT_TRUE(eventually(milliseconds(30'000),
                         [&] {
                           recycled = 0;
                           bool in_order = true;  // no worker was lost
                           for (const auto& w : e->stats().workers) {
                             recycled += w.recycled;
                             in_order = in_order && w.restarts == w.recycled;
                           }
                           return in_order && journal.count("replaced in order") == recycled &&
                                  journal.count("objects left in it: 0") == recycled;
                         }))
      << recycled << " workers were replaced in order" << journal.text();
  EXPECT_GT(recycled, 0U) << journal.text();
  EXPECT_TRUE(eventually(milliseconds(30'000), [&] { return s.shim.count("C_Finalize") >= recycled; }))
      << "each of them closed its module";
  EXPECT_EQ(*e->session_objects(), 0U);
  std::printf("[ memory   ] %llu sets: server %+.1f MiB, highest worker %.1f MiB, %llu workers replaced in order\n",
              static_cast<unsigned long long>(sets),
              (static_cast<double>(after) - static_cast<double>(before)) / 1048576,
              static_cast<double>(highest) / 1048576, static_cast<unsigned long long>(recycled));
}

void objects_made_in_parallel(milliseconds length) {
  const ScratchDir dir(true);
  const ScratchDir weather;
  auto c = make_throwaway_token(dir.path());
  ASSERT_TRUE(c.ok()) << c.error().text();
  const HsmConfig plain = *c;
  c->tokens.front().workers = 2;
  c->tokens.front().threads = 2;
  Shim shim(weather, c->tokens.front());
  shim.log_only("C_Finalize");
  const Journal journal(*c);
  const auto e = start(*c);
  ASSERT_TRUE(e);
  std::atomic<bool> stop{false};
  std::atomic<int> made{0};
  const auto restarts = [](const HsmStats& s) {
    std::uint64_t n = 0;
    for (const auto& w : s.workers) n += w.restarts;
    return n;
  };
  // A crash now and then, in one process at a time, so that no job meets two: only when the last one has hit and all
  // workers have served again for a while. From the engine's thread, which may ask for the figures.
  const auto pause = std::max(milliseconds(800), length / 60);
  std::uint64_t strikes = 0;
  auto looked = Load::Clock::now();
  auto well_since = looked - pause;
  const auto strike = [&] {
    const auto now = Load::Clock::now();
    if (now - looked < milliseconds(20)) return;
    looked = now;
    const HsmStats s = e->stats();
    const bool well = std::all_of(s.workers.begin(), s.workers.end(), [](const auto& w) { return w.live; });
    if (!well || restarts(s) < strikes) {
      well_since = now;
    } else if (now - well_since >= pause) {
      ++strikes;
      shim.set("crash C_GenerateKeyPair once segv");
    }
  };
  std::thread maker([&] {  // persistent key pairs, each from a process of its own
    for (int i = 0; !stop; ++i) {
      TokenSetup more;
      more.config = plain;
      more.config.identity_keys = {{Curve::p256, "made in parallel " + std::to_string(i), {}}};
      more.token_label = "keyferry-test";
      more.so_pin_file = dir.path() + "/so-pin";
      const auto r = set_up_token(more);
      if (r.ok()) {
        ++made;
      } else {
        ADD_FAILURE() << r.error().text();
        break;
      }
    }
  });
  LoadPlan plan;
  plan.keep_samples = false;
  Load load(*e, plan);
  {
    Sealer sealer(*e);
    load.run_for(length, strike);
    const auto give_up = Load::Clock::now() + std::chrono::seconds(60);
    while ((restarts(e->stats()) == 0 || made == 0) && Load::Clock::now() < give_up)
      load.run_for(milliseconds(250), strike);
    sealer.stop();
    EXPECT_GT(sealer.good(), 0);
    EXPECT_EQ(sealer.bad(), 0);
  }
  stop = true;
  maker.join();
  EXPECT_GT(made, 0);
  load.expect_perfect();
  const std::uint64_t lost = restarts(e->stats());
  EXPECT_GT(lost, 0U) << "nobody crashed";
  std::printf("[ parallel ] %llu jobs, %d persistent pairs made meanwhile, %llu workers lost\n",
              static_cast<unsigned long long>(load.submitted()), made.load(), static_cast<unsigned long long>(lost));
  EXPECT_EQ(*e->session_objects(), 0U);
}

}  // namespace kf::hsm::testing
