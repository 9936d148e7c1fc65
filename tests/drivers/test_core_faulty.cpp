// The Device on a transport that goes wrong: no wrong result, no lost job, every fault in a counter.
//
//   tag, phase           tags_not_due, missing: as many as were injected, each job given up as `fault`
//   status, output, swap damaged: likewise
//   early                early: as many, as long as nothing before it in the ring is damaged
//   late                 late: one for each look (check()) while it is held back; the owner decides when to look
//   doorbell, head       doorbells_repeated, heads_repeated: as many, when the owner looks before it writes the next
//   one,
//                        which makes up for a lost one
//   stuck, reset         state() says device-gone or core-reset (resets_seen); lost: what was owed
#include "drivers/simulated/in_process/board_transport.hpp"
#include "tests/drivers/support.hpp"
#include "tests/faulty/faulty_transport.hpp"

namespace kf::ecc::test {
namespace {

// How often a fault happens is a matter of luck, so script, core and keys have the same seed each time. The core's
// clock is ours, so all goes as it went.
[[maybe_unused]] const int kSameEachTime = ::setenv("KF_SEED", "1", 0);

struct Job {
  Descriptor d;
  Bytes answer;  // x, or x and y
};

class Faulty : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto b = Board::make(test_build());
    ASSERT_TRUE(b.ok()) << b.error().text();
    board_ = std::move(*b);
  }
  static void TearDownTestSuite() { board_.reset(); }

  void open(FaultScript script, unsigned ring_log2 = 9) {
    device_.reset();  // one driver at a time
    script.seed = seed();
    script.reset = [] { board_->reset(); };
    auto t = std::make_unique<FaultyTransport>(std::make_unique<BoardTransport>(*board_), script);
    faulty_ = t.get();
    DeviceOptions o;
    o.allow_test_build = true;
    o.sq_log2 = o.cq_log2 = ring_log2;
    auto d = Device::open(std::move(t), o);
    ASSERT_TRUE(d.ok()) << d.error().text();
    device_ = std::move(*d);
  }
  [[nodiscard]] const DeviceCounters& seen() const { return device_->counters(); }
  [[nodiscard]] std::uint64_t injected(Fault f) const { return faulty_->injected(f); }

  // GENERATE of given scalars, then ECKA with them.
  std::vector<Job> jobs(Curve c, CurveNumber n, std::uint16_t keys) {
    std::vector<Job> out(std::size_t{2} * keys);
    for (std::uint16_t i = 0; i < keys; ++i) {
      const Key own = random_key(random_, c), peer = random_key(random_, c);
      out[i] = {job(Opcode::generate, n, i, next_tag_ + i), to_bytes(ByteView(own.q).subspan(1))};
      set_operand(out[i].d.v[0], own.d);
      out[i].d.flags = kDescriptorGiven;
      Job& agree = out[std::size_t{keys} + i];
      agree = {job(Opcode::ecka, n, i, next_tag_ + keys + i), to_bytes(kf::ecka(c, own.d, peer.q).value().expose())};
      set_point(agree.d, peer.q);
    }
    next_tag_ += out.size();
    return out;
  }

  // Until every job is answered: with the right answer, or given up as `fault`, in order. With `one_poll` completions
  // are collected all at once. A lost device ends it; what was not accepted by then is not answered.
  void run(const std::vector<Job>& jobs, bool one_poll = false) {
    std::vector<Descriptor> descriptors;
    descriptors.reserve(jobs.size());
    for (const Job& j : jobs) descriptors.push_back(j.d);
    std::vector<Completion> answers(jobs.size());
    std::size_t sent = 0, got = 0;
    bool lost = false;
    for (int quiet = 0; got < (lost ? sent : jobs.size()); ++quiet) {
      ASSERT_LT(quiet, 3000) << jobs.size() - got << " jobs are not answered";
      sent += device_->submit(std::span(descriptors).subspan(sent));
      device_->transport().pause();
      if (quiet % 256 == 255) lost = !device_->check().ok();  // a million cycles without an answer
      if (one_poll && quiet < 200) continue;
      const std::size_t n = device_->poll(std::span(answers).subspan(got));
      got += n;
      if (n != 0 && settle_) lost = !settle();
      if (n != 0 && !one_poll) quiet = 0;
    }
    for (std::size_t i = 0; i < got; ++i) {
      const Completion& c = answers[i];
      ASSERT_EQ(c.tag, jobs[i].d.tag) << i;
      ASSERT_EQ(c.opcode, jobs[i].d.opcode) << i;
      if (status_of(c) == JobStatus::ok) {
        const Signature xy = signature_of(c);
        ASSERT_TRUE(std::equal(jobs[i].answer.begin(), jobs[i].answer.end(), xy.begin())) << i;
        ++right_;
      } else {
        ASSERT_EQ(status_of(c), JobStatus::fault) << i;
        ASSERT_TRUE(blank(c)) << i;
        ++given_up_;
      }
    }
    answered_ += got;
  }
  // Looks until nothing is left to be repeated; what is repeated may be lost as well.
  bool settle() {
    for (std::uint64_t before = ~std::uint64_t{0}; before != repeated();) {
      before = repeated();
      if (!device_->check().ok()) return false;
    }
    return true;
  }
  [[nodiscard]] std::uint64_t repeated() const { return seen().doorbells_repeated + seen().heads_repeated; }
  void rounds(int n, std::uint16_t keys, bool one_poll = false) {
    for (int i = 0; i < n; ++i) {
      for (const auto& [c, number] : kCurves) {
        ASSERT_NO_FATAL_FAILURE(run(jobs(c, number, keys), one_poll));
        asked_ += 2U * keys;
      }
    }
  }

  std::mt19937_64 random_{seed()};
  std::uint64_t next_tag_ = 0x5500'0000'0000'0000;
  FaultyTransport* faulty_ = nullptr;
  std::unique_ptr<Device> device_;
  bool settle_ = false;  // look after each answer
  std::uint64_t asked_ = 0, answered_ = 0, right_ = 0, given_up_ = 0;
  static std::unique_ptr<Board> board_;
};
std::unique_ptr<Board> Faulty::board_;

TEST_F(Faulty, DamagedCompletionsAreGivenUp) {
  const struct {
    Fault fault;
    std::uint64_t DeviceCounters::*counter;
  } cases[] = {{Fault::tag, &DeviceCounters::tags_not_due},
               {Fault::status, &DeviceCounters::damaged},
               {Fault::output, &DeviceCounters::damaged},
               {Fault::swap, &DeviceCounters::damaged},
               {Fault::phase, &DeviceCounters::missing}};
  for (const auto& k : cases) {
    FaultScript s;
    s[k.fault] = 0x2000;  // one in eight
    ASSERT_NO_FATAL_FAILURE(open(s, 5));
    asked_ = right_ = given_up_ = 0;
    ASSERT_NO_FATAL_FAILURE(rounds(1, 48));
    EXPECT_GT(injected(k.fault), 10U);
    EXPECT_EQ(seen().*k.counter, injected(k.fault));
    EXPECT_EQ(faults(seen()), injected(k.fault));
    EXPECT_EQ(given_up_, injected(k.fault));
    EXPECT_EQ(right_ + given_up_, asked_);
    EXPECT_EQ(device_->errors(), 0U);  // the core saw nothing of it
  }
}

TEST_F(Faulty, EarlyAndLateOnesHarmNobody) {
  FaultScript s;
  s[Fault::early] = 0x400;
  s[Fault::late] = 0x400;
  ASSERT_NO_FATAL_FAILURE(open(s, 5));
  ASSERT_NO_FATAL_FAILURE(rounds(2, 64));
  EXPECT_GT(injected(Fault::early), 3U);
  EXPECT_GT(injected(Fault::late), 1U);
  EXPECT_EQ(seen().early, injected(Fault::early));
  EXPECT_EQ(faults(seen()), seen().early);
  EXPECT_EQ(right_, asked_);
}

TEST_F(Faulty, LateOnesAreSeenByWhoLooks) {
  FaultScript s;
  s[Fault::late] = 0x400;
  s.late_syncs = 300;  // run() looks once in such a time
  ASSERT_NO_FATAL_FAILURE(open(s, 5));
  ASSERT_NO_FATAL_FAILURE(rounds(3, 64));
  EXPECT_GT(injected(Fault::late), 1U);
  EXPECT_EQ(seen().late, injected(Fault::late));
  EXPECT_EQ(faults(seen()), 0U);
  EXPECT_EQ(right_, asked_);
}

TEST_F(Faulty, LostDoorbellsAreRepeated) {
  FaultScript s;
  s[Fault::doorbell] = 0x8000;
  s[Fault::head] = 0x8000;
  ASSERT_NO_FATAL_FAILURE(open(s));
  settle_ = true;
  ASSERT_NO_FATAL_FAILURE(rounds(3, 4));
  EXPECT_GT(injected(Fault::doorbell), 0U);
  EXPECT_GT(injected(Fault::head), 3U);
  EXPECT_EQ(seen().doorbells_repeated, injected(Fault::doorbell));
  EXPECT_EQ(seen().heads_repeated, injected(Fault::head));
  EXPECT_EQ(device_->transport().read(kRegCqHead), asked_);
  EXPECT_EQ(right_, asked_);
}

TEST_F(Faulty, LostHeadsDoNotAddUp) {
  FaultScript s;
  s[Fault::head] = 0x10000;  // every one
  ASSERT_NO_FATAL_FAILURE(open(s));
  ASSERT_NO_FATAL_FAILURE(rounds(6, 4, true));
  faulty_->calm();
  ASSERT_TRUE(device_->check().ok());
  EXPECT_GT(injected(Fault::head), 0U);
  EXPECT_EQ(device_->transport().read(kRegCqHead), asked_);  // at last
  EXPECT_GT(seen().heads_repeated, 0U);
  EXPECT_EQ(right_, asked_);
}

TEST_F(Faulty, AStuckDeviceIsGivenUp) {
  FaultScript s;
  s[Fault::stuck] = 70;
  ASSERT_NO_FATAL_FAILURE(open(s));
  ASSERT_NO_FATAL_FAILURE(run(jobs(Curve::p256, CurveNumber::p256, 100)));
  EXPECT_EQ(answered_, 200U);  // all had been accepted
  EXPECT_EQ(device_->state().error().reason, "device-gone");
  EXPECT_EQ(injected(Fault::stuck), 1U);
  EXPECT_EQ(seen().lost, given_up_);
  EXPECT_EQ(faults(seen()), seen().lost);
  EXPECT_GE(right_, 64U);
  EXPECT_GE(given_up_, 100U);
  EXPECT_EQ(device_->submit(std::vector<Descriptor>(1)), 0U);
}

TEST_F(Faulty, AResetInFlightIsSurvived) {
  FaultScript s;
  s[Fault::reset] = 70;
  ASSERT_NO_FATAL_FAILURE(open(s));
  ASSERT_NO_FATAL_FAILURE(run(jobs(Curve::p256, CurveNumber::p256, 100)));
  EXPECT_EQ(answered_, 200U);
  EXPECT_EQ(device_->state().error().reason, "core-reset");
  EXPECT_EQ(injected(Fault::reset), 1U);
  EXPECT_EQ(seen().resets_seen, 1U);
  EXPECT_EQ(seen().lost, given_up_);
  EXPECT_GE(given_up_, 100U);
  const Status again = device_->restart();
  ASSERT_TRUE(again.ok()) << again.error().text();
  right_ = 0;
  ASSERT_NO_FATAL_FAILURE(rounds(1, 30));
  EXPECT_EQ(right_, asked_);
}

TEST_F(Faulty, EverythingAtOnce) {
  FaultScript s;
  for (const Fault f : {Fault::tag, Fault::status, Fault::output, Fault::phase, Fault::late}) s[f] = 0x600;
  for (const Fault f : {Fault::early, Fault::doorbell, Fault::head}) s[f] = 0x400;
  ASSERT_NO_FATAL_FAILURE(open(s, 4));
  settle_ = true;
  ASSERT_NO_FATAL_FAILURE(rounds(1, 60));
  const std::uint64_t damaged =
      injected(Fault::tag) + injected(Fault::status) + injected(Fault::output) + injected(Fault::phase);
  EXPECT_GT(damaged, 10U);
  EXPECT_EQ(right_ + given_up_, asked_);
  EXPECT_EQ(given_up_, damaged);
  EXPECT_EQ(seen().tags_not_due, injected(Fault::tag));
  EXPECT_EQ(seen().damaged, injected(Fault::status) + injected(Fault::output));
  EXPECT_EQ(seen().implausible, 0U);
  EXPECT_EQ(seen().missing, injected(Fault::phase));
  // While an entry before it is damaged nobody looks at an early one, and when that is given up it may have come.
  EXPECT_LE(seen().early, injected(Fault::early));
  EXPECT_EQ(seen().doorbells_repeated, injected(Fault::doorbell));
  EXPECT_EQ(seen().heads_repeated, injected(Fault::head));
  EXPECT_EQ(seen().lost + seen().resets_seen, 0U);
}

}  // namespace
}  // namespace kf::ecc::test
