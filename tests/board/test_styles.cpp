// The two styles of the core are one machine: the same jobs with the same entropy give the same write into the register
// files in every cycle.
#include <cstring>
#include <optional>

#include "tests/board/support.hpp"

namespace kf::ecc::test {
namespace {

// The soak does more of the same: KF_TIMES.
int times() {
  static const char* const given = std::getenv("KF_TIMES");
  return given != nullptr ? std::max(1, std::atoi(given)) : 1;
}

// Two boards that differ in style only. What is done to one is done to the other, and their times stay equal, because
// nothing in the core takes its time from the style.
class Pair {
 public:
  explicit Pair(unsigned stalls) {
    for (std::size_t i = 0; i < 2; ++i) {
      BoardOptions o = test_build(i == 0 ? Style::fast : Style::pipelined);
      o.stalls = stalls;
      bench_.at(i).emplace(o);
    }
  }
  [[nodiscard]] bool ok() const { return *bench_[0] && *bench_[1]; }
  Board& board(std::size_t i) { return *bench_.at(i)->board; }
  CoreSession& session(std::size_t i) { return *bench_.at(i)->session; }
  // The same call on both; the answer of both.
  template <class F>
  auto both(F f) {
    auto a = f(session(0), board(0));
    auto b = f(session(1), board(1));
    EXPECT_EQ(a, b);
    EXPECT_EQ(board(0).cycles(), board(1).cycles());
    return a;
  }

 private:
  std::array<std::optional<Bench>, 2> bench_;
};

TEST(Styles, EveryWriteBackIsEqual) {
  Pair p(16);
  ASSERT_TRUE(p.ok());
  std::array<std::vector<WriteBack>, 2> writes;
  for (std::size_t i = 0; i < 2; ++i) p.board(i).record_writes(&writes.at(i));
  ASSERT_EQ(p.board(0).cycles(), p.board(1).cycles());

  // All operations on both curves: a batch of each with what a batch can hold of extremes, and a mix in part-filled
  // batches.
  std::mt19937_64 random(seed());
  std::vector<Descriptor> jobs;
  for (const auto& [c, n] : kCurves) {
    for (std::uint16_t i = 0; i < 64; ++i) jobs.push_back(job(Opcode::generate, n, i, jobs.size()));
    for (std::uint16_t i = 0; i < 64; ++i) {
      jobs.push_back(job(Opcode::ecka, n, i, jobs.size()));
      set_point(jobs.back(), random_key(random, c).q);
    }
    for (std::uint16_t i = 0; i < 16; ++i) {
      jobs.push_back(job(Opcode::import, n, i, jobs.size()));
      if (i < 4)
        jobs.back().v[0][0] = static_cast<std::uint8_t>(i + 1);  // 1 to 4
      else
        set_operand(jobs.back().v[0], random_key(random, c).d);
      jobs.back().flags = kDescriptorKeyForSign;
    }
    for (std::uint16_t i = 0; i < 64; ++i) {
      jobs.push_back(job(Opcode::sign, n, i % 16, jobs.size()));
      const Digest32 h = i == 0 ? Digest32{} : random_bytes32(random);
      set_operand(jobs.back().v[0], h);
    }
    for (std::uint16_t i = 0; i < 64; ++i) {
      const Key k = random_key(random, c);
      const Digest32 h = random_bytes32(random);
      Signature s = ecdsa_sign(c, k.d, h);
      if (i % 4 == 0) s[random() % 64] ^= 1;
      jobs.push_back(verify_job(n, jobs.size(), k.q, h, s));
    }
    for (std::uint16_t i = 0; i < 16; ++i) jobs.push_back(job(Opcode::erase, n, i, jobs.size()));
    const Mixed mixed(random, c, n, 25 * static_cast<std::size_t>(times()), 1);
    jobs.insert(jobs.end(), mixed.jobs().begin(), mixed.jobs().end());
  }

  std::array<std::vector<Completion>, 2> answers;
  for (auto& a : answers) a.resize(jobs.size());
  std::array<std::size_t, 2> sent{}, got{};
  std::uint64_t compared = 0;
  const std::uint64_t limit = p.board(0).cycles() + 6'000'000 * static_cast<std::uint64_t>(times());
  while (got[0] < jobs.size()) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (sent.at(i) < jobs.size()) sent.at(i) += p.session(i).submit(std::span(jobs).subspan(sent.at(i)));
      p.board(i).run(4096);
      got.at(i) += p.session(i).poll(std::span(answers.at(i)).subspan(got.at(i)));
    }
    ASSERT_EQ(p.board(0).cycles(), p.board(1).cycles());
    ASSERT_EQ(got[0], got[1]);
    ASSERT_EQ(writes[0].size(), writes[1].size());
    for (std::size_t i = 0; i < writes[0].size(); ++i) {
      const WriteBack& w = writes[0][i];
      ASSERT_TRUE(w == writes[1][i]) << "cycle " << w.cycle << ", " << (w.unit == 0 ? "multiplier" : "adder")
                                     << ", context " << int{w.context} << ", register " << int{w.index}
                                     << "; the other: cycle " << writes[1][i].cycle << ", context "
                                     << int{writes[1][i].context} << ", register " << int{writes[1][i].index};
    }
    compared += writes[0].size();
    for (auto& w : writes) w.clear();
    ASSERT_LT(p.board(0).cycles(), limit) << "cycle limit: " << jobs.size() - got[0] << " jobs are not answered";
  }
  std::size_t ok = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(answers[0][i].status, answers[1][i].status);
    EXPECT_TRUE(std::ranges::equal(answers[0][i].x, answers[1][i].x) &&
                std::ranges::equal(answers[0][i].y, answers[1][i].y));
    ok += status_of(answers[0][i]) == JobStatus::ok ? 1 : 0;
  }
  std::printf("%llu write-backs compared over %zu jobs\n", static_cast<unsigned long long>(compared), jobs.size());
  EXPECT_GT(ok, jobs.size() * 3 / 4);
  EXPECT_GT(compared, 1'500'000U);
}

// In style `fast` most of shell and preparing stand still while nothing happens. Whatever the host does, and when, the
// core must look the same: registers, counters, answers, interrupt.
TEST(Styles, TheHostSeesNoDifference) {
  Pair p(40);
  ASSERT_TRUE(p.ok());
  std::mt19937_64 random(seed());
  const auto below = [&](std::uint64_t n) { return random() % n; };
  const auto status = [](CoreSession& s, Board&) { return s.board().read(kRegStatus); };
  std::uint64_t tag = 0, answered = 0, aborted = 0, interrupts = 0;
  const auto fresh = [&] {
    const auto sq = static_cast<unsigned>(below(5)), cq = static_cast<unsigned>(below(4));
    p.both([&](CoreSession& s, Board&) { return s.open_rings(sq, cq).ok(); });
    const auto coalesce = static_cast<std::uint32_t>(below(6) | below(2) << 16);
    const auto timeout = static_cast<std::uint32_t>(below(3000));
    p.both([&](CoreSession&, Board& b) {
      return b.write(kRegIrqCoalesce, coalesce) && b.write(kRegIrqEnable, 7) && b.write(kRegBatchTimeout, timeout);
    });
  };
  fresh();
  // As long as it takes: a seed may draw many orders to abort, whose answers are others.
  for (int step = 0; (step < 2500 * times() || answered <= 100) && !HasFailure(); ++step) {
    ASSERT_LT(step, 10'000 * times()) << "hardly anything is answered";
    switch (below(12)) {
      case 0:
      case 1:
      case 2: {
        std::vector<Descriptor> jobs(1 + below(12));
        for (auto& d : jobs) {
          constexpr std::array kinds{Opcode::generate, Opcode::check, Opcode::erase, Opcode::import, Opcode::ecka};
          d = job(kinds.at(below(16) == 0 ? 4 : below(4)), kCurves.at(below(2)).second,
                  static_cast<std::uint16_t>(below(520)), ++tag);
          if (below(20) == 0) d.opcode = static_cast<std::uint8_t>(below(256));
          for (auto& v : d.v) set_operand(v, random_bytes32(random));
        }
        p.both([&](CoreSession& s, Board&) { return s.submit(jobs); });
        break;
      }
      case 3:
      case 4:
      case 5: {
        const std::uint64_t n = below(8) == 0 ? below(60'000) : below(400);
        p.both([&](CoreSession&, Board& b) {
          b.run(n);
          return b.interrupt();
        });
        break;
      }
      case 6: {
        const std::uint64_t n = below(5000);
        interrupts += p.both([&](CoreSession&, Board& b) { return b.run_until_interrupt(n); }) < n ? 1 : 0;
        break;
      }
      case 7: {
        const Register& r = kRegisters[below(std::size(kRegisters))];
        p.both([&](CoreSession&, Board& b) { return b.read(r.offset); });
        break;
      }
      case 8: {
        const auto mask = static_cast<std::uint32_t>(below(8));
        p.both([&](CoreSession&, Board& b) { return b.write(kRegIrqStatus, mask); });
        break;
      }
      case 9: {
        if (below(15) != 0) break;
        const std::uint32_t order = below(2) == 0 ? kControlAbort.put(1) : kControlZeroise.put(1);
        p.both([&](CoreSession&, Board& b) { return b.write(kRegControl, order); });
        for (int i = 0; i < 10'000; ++i) {  // an abort ends only when the host takes what is answered
          if (kStatusAborting.get(p.both(status)) == 0) break;
          std::array<std::vector<Completion>, 2> c{std::vector<Completion>(32), std::vector<Completion>(32)};
          std::size_t n = 0;
          for (std::size_t k = 0; k < 2; ++k) n = p.session(k).poll(c.at(k));
          aborted += n;
          p.both([&](CoreSession&, Board& b) {
            b.run(64);
            return b.interrupt();
          });
        }
        ASSERT_EQ(kStatusAborting.get(p.both(status)), 0U);
        fresh();
        break;
      }
      default: {
        std::array<std::vector<Completion>, 2> c{std::vector<Completion>(32), std::vector<Completion>(32)};
        const std::uint64_t most = below(33);
        answered += p.both(
            [&](CoreSession& s, Board&) { return s.poll(std::span(c.at(&s == &p.session(0) ? 0 : 1)).first(most)); });
        EXPECT_EQ(std::memcmp(c[0].data(), c[1].data(), c[0].size() * sizeof(Completion)), 0);
        break;
      }
    }
  }
  for (std::uint32_t at = kCountCycles; at < kCountCycles + 8 * 13; at += 8)
    p.both([&](CoreSession& s, Board&) { return s.counter(at); });
  std::printf("%llu answers, %llu of aborted batches, %llu interrupts, %llu cycles\n",
              static_cast<unsigned long long>(answered), static_cast<unsigned long long>(aborted),
              static_cast<unsigned long long>(interrupts), static_cast<unsigned long long>(p.board(0).cycles()));
  EXPECT_GT(answered, 100U);
  EXPECT_GT(aborted, 0U);
  EXPECT_GT(interrupts, 5U);
}

}  // namespace
}  // namespace kf::ecc::test
