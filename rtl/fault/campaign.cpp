// The fault campaign: one bit of one flop or memory of the engine is flipped in a random cycle of a batch, and what
// comes out is judged.
//
// What it can be asked: options.hpp. --rest: flips while nothing runs, then one job. --zeroise: flips in a zeroisation
// in the middle of the batch; harm is then an operand of before that outlives it.
//
// Each flip happens in a child process that is forked from the undisturbed run at that cycle; so every flip meets the
// same batch, and nothing is left behind. A run whose whole state has become that of the undisturbed one again is not
// followed further: what is left of it is known. A line for each signal that did harm, then one line of counts for each
// program. Exit status 0 when there was neither a wrong answer, nor a leak, forgery or hang outside of --open (a
// regular expression: signals known to be unprotected). --no-errors: alarms and errors count as harm too, for what is
// meant to work on. --jobs: so many flips are judged at a time, each in a process; by default as many as there are
// processors.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <regex>
#include <set>
#include <string>

#include "batches.hpp"
#include "options.hpp"
#include "targets.hpp"

namespace kf::fault {
namespace {

using namespace kf::rtl;

// In the order of harm: the worst that happened to any job of the batch is what a flip is counted as.
enum Outcome : int { kNothing, kAlarm, kError, kDenied, kHang, kWrong, kForged, kLeak, kOutcomes };
const char* const kOutcomeNames[] = {"no effect", "alarm", "error", "refused", "hang", "wrong", "forged", "leak"};

class Campaign {
 public:
  Campaign(const Options& o, const OpensslCurve& curve) : o_(o), curve_(curve), rng_(o.seed), engine_(o.seed) {
    engine_.load_table(o.table);
    if (!engine_.self_test()) throw std::runtime_error("the self-test fails without a fault");
    while (!engine_.top().idle_o) engine_.tick();
    targets_ = targets(engine_.top());
    state_ = targets_;
    std::erase_if(state_, [](const Target& t) { return is_table(t); });
    std::erase_if(targets_, [&](const Target& t) { return !std::regex_search(t.name, o.target); });
    if (targets_.empty()) throw std::runtime_error("no flop or memory has such a name");
  }
  const std::vector<Target>& all() const { return targets_; }

  /// Injects o.count faults into batches of one program; returns how many were unacceptable.
  std::size_t run(const std::string& program) {
    Batch batch = make_batch(program, o_.rest ? 1 : kContexts, o_.curve, curve_, rng_);
    const std::uint64_t length = rehearse(batch);
    if (o_.zeroise) rehearse_erasure(batch, length);
    const std::size_t first = engine_.done.size();

    struct Shot {
      std::uint64_t at;
      std::size_t target, element, bit;
      Outcome outcome;
    };
    auto* shots = static_cast<Shot*>(
        mmap(nullptr, o_.count * sizeof(Shot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (shots == MAP_FAILED) throw std::runtime_error("no memory for the shots");
    std::vector<double> weight;
    for (const Target& t : targets_) weight.push_back(o_.by_bit ? static_cast<double>(t.all_bits()) : 1.0);
    std::discrete_distribution<std::size_t> pick(weight.begin(), weight.end());
    for (std::size_t i = 0; i < o_.count; ++i) {
      const std::size_t t = pick(rng_);
      const auto [from, to] = window(length);
      shots[i] = {from + rng_() % (to - from), t, rng_() % targets_[t].elements,
                  o_.bit.value_or(rng_()) % targets_[t].bits, kHang};
    }
    std::sort(shots, shots + o_.count, [](const Shot& a, const Shot& b) { return a.at < b.at; });

    const std::uint64_t begin = engine_.cycles;
    if (!o_.rest) submit(batch);
    follow_undisturbed(batch, begin, first + batch.jobs.size());
    std::map<pid_t, std::size_t> running;
    const auto wait_for_one = [&] {
      int status = 0;
      const pid_t child = waitpid(-1, &status, 0);
      const auto it = running.find(child);
      if (it == running.end()) throw std::runtime_error("waitpid failed");
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        throw std::runtime_error("a run ended by itself at a flip of " + targets_[shots[it->second].target].name);
      running.erase(it);
    };
    for (std::size_t i = 0; i < o_.count; ++i) {
      while (engine_.cycles - begin < shots[i].at) step(batch, begin);
      while (running.size() >= o_.jobs) wait_for_one();
      if (i % 1000 == 0 && i != 0) {
        std::fprintf(stderr, "%s: %zu of %zu flips\n", program.c_str(), i, o_.count);
      }
      std::fflush(nullptr);
      const pid_t child = fork();
      if (child < 0) throw std::runtime_error("fork failed");
      if (child == 0) {
        flip(targets_[shots[i].target], shots[i].element, shots[i].bit);
        engine_.flipped();
        shots[i].outcome = o_.zeroise ? judge_erasure(batch, first, begin)
                                      : judge(batch, first, length, begin, is_table(targets_[shots[i].target]));
        std::fflush(nullptr);
        _exit(0);
      }
      running.emplace(child, i);
    }
    while (!running.empty()) wait_for_one();
    while (engine_.done.size() < first + batch.jobs.size()) step(batch, begin);
    if (o_.zeroise) begin_anew();

    std::array<std::size_t, kOutcomes> counts{};
    std::map<std::string, std::array<std::size_t, kOutcomes>> by_target;
    std::size_t harmful = 0, excused = 0;
    for (std::size_t i = 0; i < o_.count; ++i) {
      const Shot& s = shots[i];
      const std::string& name = targets_[s.target].name;
      ++counts[s.outcome];
      ++by_target[name][s.outcome];
      if (s.outcome >= kHang || (o_.no_errors && s.outcome != kNothing))
        ++(std::regex_search(name, o_.open) ? excused : harmful);
      if (o_.events && s.outcome >= kDenied)
        std::printf("  %-9s %s[%zu] bit %zu at cycle %llu\n", kOutcomeNames[s.outcome], name.c_str(), s.element, s.bit,
                    static_cast<unsigned long long>(s.at));
    }
    munmap(shots, o_.count * sizeof(Shot));
    for (const auto& [name, c] : by_target) {
      if (c[kHang] + c[kWrong] + c[kForged] + c[kLeak] == 0) continue;
      std::size_t n = 0;
      for (const std::size_t v : c) n += v;
      std::printf("  %-40s %4zu flips: %zu hang, %zu wrong, %zu forged, %zu leak\n", name.c_str(), n, c[kHang],
                  c[kWrong], c[kForged], c[kLeak]);
    }
    std::printf("%-8s %6zu flips in %llu cycles:", program.c_str(), o_.count, static_cast<unsigned long long>(length));
    for (int i = 0; i < kOutcomes; ++i)
      std::printf(" %zu %s%s", counts[i], kOutcomeNames[i], i + 1 < kOutcomes ? "," : "");
    std::printf(" (%zu in signals known to be open)\n", excused);
    std::fflush(stdout);
    return harmful;
  }

 private:
  static constexpr int kContexts = 64 / KF_II;
  static constexpr std::uint64_t kRest = 600;  // --rest: cycles before the job comes

  void submit(const Batch& b) {
    for (const Job& j : b.jobs) engine_.submit(j);
  }
  /// One cycle of a run that began at `begin`.
  void step(const Batch& b, std::uint64_t begin) {
    const std::uint64_t cycle = engine_.cycles - begin;
    if (o_.rest && cycle == kRest) submit(b);
    if (o_.zeroise && cycle == zeroise_at_) {
      const std::vector<std::string> now = operands();
      held_ = {now.begin(), now.end()};
      engine_.top().abort_i = 1;
    }
    engine_.top().zeroise_i = o_.zeroise && cycle == zeroise_at_ ? 1 : 0;
    engine_.tick();
  }
  /// The cycles of the batch in which a flip may be.
  std::pair<std::uint64_t, std::uint64_t> window(std::uint64_t length) const {
    if (o_.rest) return {0, kRest};
    if (o_.zeroise) return {zeroise_at_ + 1, zeroise_at_ + erasure_};
    const std::uint64_t to = std::min(o_.to, length);
    return {std::min(static_cast<std::uint64_t>(o_.from) + (o_.from < 0 ? length : 0), to - 1), to};
  }

  void import_keys(const Batch& b) {
    if (b.jobs[0].op == kGenerate || b.keys.empty()) return;
    for (std::size_t i = 0; i < b.keys.size(); ++i) {
      Job j{.op = kErase, .slot = static_cast<std::uint16_t>(i)};
      engine_.submit(j);
      j.op = kImport;
      j.curve = static_cast<std::uint8_t>(o_.curve);
      j.for_sign = b.keys[i].second;
      j.v[0] = b.keys[i].first;
      engine_.submit(j);
    }
    engine_.run(2 * b.keys.size());
    engine_.done.clear();
  }
  void clear_slots(const Batch& b) {
    if (b.jobs[0].op != kGenerate) return;
    for (const Job& j : b.jobs) engine_.submit({.op = kErase, .slot = j.slot});
    engine_.run(b.jobs.size());
    engine_.done.clear();
  }
  void rest() {
    while (!engine_.top().idle_o) engine_.tick();
    for (int i = 0; i < 2000; ++i) engine_.tick();
  }

  /// The batch once without a fault; returns its cycles. Keys are put in place again.
  std::uint64_t rehearse(const Batch& b) {
    engine_.done.clear();
    clear_slots(b);
    import_keys(b);
    rest();
    const std::uint64_t begin = engine_.cycles;
    for (const Job& j : b.jobs) engine_.submit(j);
    engine_.run(b.jobs.size());
    const std::uint64_t length = engine_.cycles - begin;
    for (std::size_t i = 0; i < b.jobs.size(); ++i) {
      const Completion& c = engine_.done[i];
      if (c.damaged || c.status != b.want[i].status || c.x != b.want[i].x || c.y != b.want[i].y)
        throw std::runtime_error("wrong without a fault");
    }
    engine_.done.clear();
    clear_slots(b);
    import_keys(b);
    rest();
    return length;
  }

  /// The batch and a zeroisation in the middle of it, twice, without a fault. Of every operand it keeps what is the
  /// same both times when the engine says that it is wiped.
  void rehearse_erasure(Batch& b, std::uint64_t length) {
    for (Expected& e : b.want) e = {kAborted, {}, {}};
    for (const bool again : {false, true}) {
      zeroise_at_ = length / 2 + (again ? 37 : 0);
      const std::uint64_t begin = engine_.cycles;
      submit(b);
      while (!wiped(begin)) step(b, begin);
      erasure_ = engine_.cycles - begin - zeroise_at_;
      const std::vector<std::string> now = operands();
      if (!again) clean_.assign(now.begin(), now.end());
      for (std::size_t i = 0; again && i < now.size(); ++i)
        if (clean_[i] != now[i]) clean_[i].reset();
      while (engine_.done.size() < b.jobs.size()) step(b, begin);
      begin_anew();
      clear_slots(b);
      import_keys(b);
      rest();
    }
  }
  /// After a zeroisation.
  void begin_anew() {
    engine_.top().abort_i = 0;
    engine_.tick();
    if (!engine_.self_test()) throw std::runtime_error("the self-test fails after a zeroisation");
    engine_.done.clear();
  }
  std::vector<std::string> operands() const {
    std::vector<std::string> out;
    for (const Target& t : state_) {
      if (!is_operand(t)) continue;
      for (std::size_t i = 0; i < t.elements; ++i)
        out.emplace_back(reinterpret_cast<const char*>(t.data + i * t.element_size), t.element_size);
    }
    return out;
  }
  bool wiped(std::uint64_t begin) { return engine_.cycles - begin > zeroise_at_ + 1 && engine_.top().wiped_o; }

  /// A zeroisation with a flip in it: is every operand gone when the engine says so (none of
  /// those that were held, where another one stands without the flip), and is every job answered?
  Outcome judge_erasure(const Batch& b, std::size_t first, std::uint64_t begin) {
    const std::size_t want = first + b.jobs.size();
    const std::uint64_t limit = engine_.cycles + 4 * erasure_ + 20'000, parity = engine_.parity_events;
    while (!wiped(begin) && engine_.cycles < limit) step(b, begin);
    if (!wiped(begin)) return kHang;
    const std::vector<std::string> now = operands();
    for (std::size_t i = 0; i < now.size(); ++i)
      if (clean_[i] && *clean_[i] != now[i] && held_.contains(now[i])) return kLeak;
    while (engine_.done.size() < want && engine_.cycles < limit) step(b, begin);
    return judge_answers(b, first, false, false, engine_.parity_events != parity);
  }

  /// Wide enough for a part of a number, and in one of the parts that keys and operands pass. The ledger has tags only,
  /// and of the generator's registers nobody can say what they are to be.
  static bool is_operand(const Target& t) {
    return t.bits >= 64 && !t.name.starts_with("u_ledger.") && !t.name.starts_with("u_entropy.");
  }
  static constexpr std::uint64_t kLook = 64;  // cycles from one comparison of states to the next
  // A fault that was seen overwrites everything, and jobs that come later wait for known answers: 720 000 cycles that
  // are those after a reset, and not run again for each flip. Until then whatever was held has its answer.
  static constexpr std::uint64_t kWiped = 4000;

  /// The table is 590 kB of constants, which nothing writes: no part of the state that is compared, unless a flip is in
  /// it.
  static bool is_table(const Target& t) { return t.name.ends_with("table_mem"); }

  /// A hash of everything that decides what the engine does from here on, but the comb table.
  std::uint64_t state() const {
    std::uint64_t h = 0x9E3779B97F4A7C15;
    const auto mix = [&h](std::uint64_t v) {
      h = (h ^ v) * 0xD6E8FEB86659FD93;
      h ^= h >> 32;
    };
    for (const Target& t : state_) {
      const std::size_t size = t.elements * t.element_size;
      std::size_t at = 0;
      for (; at + 8 <= size; at += 8) {
        std::uint64_t v = 0;
        std::memcpy(&v, t.data + at, 8);
        mix(v);
      }
      if (at < size) {
        std::uint64_t v = 0;
        std::memcpy(&v, t.data + at, size - at);
        mix(v);
      }
    }
    for (const std::uint64_t v : engine_.streams()) mix(v);
    return h;
  }

  /// Lets a child run the batch without a fault, and keeps the hashes of its states, from the begin on in steps of
  /// kLook.
  void follow_undisturbed(const Batch& b, std::uint64_t begin, std::size_t want) {
    const std::size_t most = 1'000'000'000 / kLook;  // address space; only what is written becomes memory
    auto* shared = static_cast<std::uint64_t*>(
        mmap(nullptr, most * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (shared == MAP_FAILED) throw std::runtime_error("no memory for the states");
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
      std::size_t n = 0;
      int after = 3000;
      while (n < most - 1 && (engine_.done.size() < want || --after > 0)) {
        if ((engine_.cycles - begin) % kLook == 0) shared[1 + n++] = state();
        step(b, begin);
      }
      shared[0] = n;
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw std::runtime_error("the undisturbed run ended by itself");
    undisturbed_.assign(shared + 1, shared + 1 + shared[0]);
    munmap(shared, most * 8);
  }
  bool as_undisturbed(std::uint64_t begin) const {
    const std::uint64_t cycle = engine_.cycles - begin;
    return cycle % kLook == 0 && cycle / kLook < undisturbed_.size() && undisturbed_[cycle / kLook] == state();
  }

  /// Runs the disturbed engine to the end, or until it is as if nothing had been.
  Outcome judge(const Batch& b, std::size_t first, std::uint64_t length, std::uint64_t begin, bool to_the_end) {
    const std::uint64_t parity = engine_.parity_events, gate = engine_.gate_events;
    const std::uint64_t flipped = engine_.cycles, limit = flipped + length + length / 2 + 200'000;
    const std::size_t want = first + b.jobs.size();
    bool frame_lost = false, healed = false;
    try {
      std::uint64_t wiped =
          0;  // cycles in which the engine asks its known answers again, having overwritten everything
      while (engine_.done.size() < want && engine_.cycles < limit && !healed && wiped < kWiped) {
        step(b, begin);
        // What is forgotten is so soon, as a rule: later looks, which cost as much as ten cycles, are rarer.
        const bool look = engine_.cycles - flipped < 2048 || (engine_.cycles - begin) % (16 * kLook) == 0;
        healed = !to_the_end && look && as_undisturbed(begin);
        wiped += engine_.top().selftest_o == 1;
      }
      for (int i = 0; i < 500 && !healed; ++i) engine_.tick();
    } catch (const std::runtime_error&) {
      frame_lost = true;  // a completion of another length: the shell reports it
    }
    return judge_answers(b, first, frame_lost, healed, engine_.parity_events != parity || engine_.gate_events != gate);
  }

  /// The worst of what came of the batch's jobs.
  Outcome judge_answers(const Batch& b, std::size_t first, bool frame_lost, bool healed, bool event) {
    const std::size_t want = first + b.jobs.size();
    const bool alarm = event || engine_.top().entropy_alarm_o || engine_.top().selftest_o != 2;
    Outcome worst = alarm ? kAlarm : kNothing;
    const auto raise = [&](Outcome o) { worst = std::max(worst, o); };
    if (frame_lost || engine_.done.size() > want) raise(kError);
    if (engine_.done.size() < want && !frame_lost && !healed) raise(alarm ? kAlarm : kHang);
    for (std::size_t i = first; i < std::min(engine_.done.size(), want); ++i) {
      const Completion& c = engine_.done[i];
      const Job& j = b.jobs[i - first];
      const Expected& e = b.want[i - first];
      for (const Num& s : b.secrets) {
        if (c.x == s || c.y == s) raise(kLeak);
      }
      if (c.tag != j.tag || c.op != j.op || c.curve != j.curve || c.damaged) {
        raise(
            kError);  // the driver knows what is due, compares the check word, and takes this for a fault of the device
      } else if (c.status == kOk && e.status != kOk) {
        raise(kForged);
      } else if (c.status == kOk && (c.x != e.x || c.y != e.y)) {
        raise(kWrong);
      } else if (c.status != e.status) {
        raise(c.status == kBadSignature || c.status == kOffCurve || c.status == kRange || c.status == kKey ? kDenied
                                                                                                           : kError);
      }
    }
    return worst;
  }

  const Options& o_;
  const OpensslCurve& curve_;
  std::mt19937_64 rng_;
  Engine engine_;
  std::vector<Target> targets_, state_;
  std::vector<std::uint64_t> undisturbed_;
  // Of --zeroise: when it comes, how long it takes, and what is held afterwards, none where that differs from time to
  // time.
  std::uint64_t zeroise_at_ = 0, erasure_ = 0;
  std::vector<std::optional<std::string>> clean_;
  std::set<std::string> held_;  // operands in the cycle in which it comes
};

int run(const Options& o) {
  const OpensslCurve curve(o.curve == 0 ? NID_X9_62_prime256v1 : NID_brainpoolP256r1);
  Campaign c(o, curve);
  std::size_t bits = 0;
  for (const Target& t : c.all()) {
    if (o.list) std::printf("%8zu %s\n", t.all_bits(), t.name.c_str());
    bits += t.all_bits();
  }
  std::printf("%zu flops and memories, %zu bits, curve %d, seed %llu, drawn by %s\n", c.all().size(), bits, o.curve,
              static_cast<unsigned long long>(o.seed), o.by_bit ? "bit" : "signal");
  if (o.list) return 0;
  std::size_t harmful = 0;
  for (const char* p : {"generate", "ecka", "sign", "verify", "check"}) {
    if (o.program == "all" || o.program == p) harmful += c.run(p);
  }
  return harmful == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kf::fault

int main(int argc, char** argv) {
  try {
    const auto o = kf::fault::options(argc, argv);
    return o ? kf::fault::run(*o) : 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "campaign: %s\n", e.what());
    return 2;
  }
}
