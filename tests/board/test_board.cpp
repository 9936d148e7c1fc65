// The simulated board as a driver sees it.
#include "tests/board/support.hpp"

namespace kf::ecc::test {
namespace {

// The board that most tests share; each leaves the core running with empty rings and empty key slots.
class OnBoard : public testing::Test {
 protected:
  static void SetUpTestSuite() { bench_ = std::make_unique<Bench>(test_build()); }
  static void TearDownTestSuite() { bench_.reset(); }
  void SetUp() override {
    ASSERT_TRUE(bench_ && *bench_);
    const Status s = session().open_rings(9, 9);
    ASSERT_TRUE(s.ok()) << s.error().text();
  }
  static Board& board() { return *bench_->board; }
  static CoreSession& session() { return *bench_->session; }
  static std::vector<Completion> run(const std::vector<Descriptor>& jobs) {
    auto r = session().run(jobs);
    EXPECT_TRUE(r.ok()) << r.error().text();
    return r ? *r : std::vector<Completion>(jobs.size());
  }

  std::mt19937_64 random_{seed()};
  static std::unique_ptr<Bench> bench_;
};
std::unique_ptr<Bench> OnBoard::bench_;

TEST(Registers, HoldWhatTheMapSays) {
  auto made = Board::make(test_build());
  ASSERT_TRUE(made.ok()) << made.error().text();
  Board& b = **made;
  std::mt19937_64 random(seed());
  EXPECT_EQ(b.read(kRegId), kIdWord);
  EXPECT_EQ(b.read(kRegVersion), kVersionWord);
  EXPECT_NE(b.read(kRegBuild), 0U);
  const std::uint32_t cap = b.read(kRegCap0);
  EXPECT_EQ(kCap0Contexts.get(cap), 64U);
  EXPECT_EQ(kCap0Ii.get(cap), 1U);
  EXPECT_EQ(kCap0TestImport.get(cap), 1U);
  for (const Register& r : kRegisters)
    if (r.reset_known && !r.changes) {
      EXPECT_EQ(b.read(r.offset), r.reset) << r.name;
    }
  for (const Register& r : kRegisters) {
    if (r.changes || r.index || r.offset == kRegControl || r.offset == kRegTableData) continue;
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t before = b.read(r.offset);
      const auto value = static_cast<std::uint32_t>(random());
      EXPECT_TRUE(b.write(r.offset, value)) << r.name;
      const std::uint32_t want = (before & ~r.plain) | (value & r.plain);
      EXPECT_EQ(b.read(r.offset), want & r.readable) << r.name;
    }
  }
  EXPECT_EQ(b.read(0xFFC), 0U);  // what is not there reads as 0
  // Counters: two halves that belong together.
  const std::uint64_t low = b.read(kCountCycles);
  const std::uint64_t count = low | static_cast<std::uint64_t>(b.read(kCountCycles + 4)) << 32;
  EXPECT_LT(count, b.cycles());
  EXPECT_GT(count + 200, b.cycles());
}

TEST_F(OnBoard, EveryOperationThroughWrappingRings) {
  // Rings of 8 and 4 entries: 26 jobs go around them several times, and the core waits for the host at both.
  for (const auto& [c, n] : kCurves) {
    ASSERT_TRUE(session().open_rings(3, 2).ok());
    const Mixed jobs(random_, c, n, 10, 2);
    const auto before = session().counter(kCountBatches);
    jobs.expect(run(jobs.jobs()));
    EXPECT_GT(session().counter(kCountBatches), before);
    EXPECT_EQ(board().read(kRegSqHead), jobs.jobs().size());
    EXPECT_EQ(board().read(kRegCqHead), jobs.jobs().size());
  }
  EXPECT_EQ(board().read(kRegStatus) & kStatusErrors, 0U);
  EXPECT_EQ(board().stray_accesses(), 0U);
}

TEST_F(OnBoard, AFullBatchOfEachProgram) {
  for (const auto& [c, n] : kCurves) {
    std::vector<Descriptor> jobs;
    for (std::uint16_t i = 0; i < 64; ++i) jobs.push_back(job(Opcode::generate, n, i, i));
    const auto made = run(jobs);
    std::vector<Key> peers;
    for (std::uint16_t i = 0; i < 64; ++i) {
      ASSERT_EQ(status_of(made[i]), JobStatus::ok);
      EXPECT_EQ(made[i].context, i);
      ASSERT_TRUE(check_point(c, point_of(made[i])).ok());
      peers.push_back(random_key(random_, c));
      jobs[i] = job(Opcode::ecka, n, i, 100U + i);
      set_point(jobs[i], peers[i].q);
    }
    const auto agreed = run(jobs);
    for (std::uint16_t i = 0; i < 64; ++i) {
      ASSERT_EQ(status_of(agreed[i]), JobStatus::ok);
      EXPECT_EQ(agreed[i].cycles, agreed[0].cycles);
      EXPECT_TRUE(equal_ct(kf::ecka(c, peers[i].d, point_of(made[i])).value().expose(), big_endian(agreed[i].x)));
    }
  }
}

TEST(Stalls, ChangeNoAnswer) {
  BoardOptions o = test_build();
  o.stalls = 160;
  o.latency = 7;
  Bench b(o);
  ASSERT_TRUE(b);
  std::mt19937_64 random(seed());
  ASSERT_TRUE(b.session->open_rings(2, 3).ok());
  const Mixed jobs(random, Curve::brainpool_p256r1, CurveNumber::brainpoolp256r1, 0, 1);
  const auto answers = b.session->run(jobs.jobs());
  ASSERT_TRUE(answers.ok()) << answers.error().text();
  jobs.expect(*answers);
}

TEST_F(OnBoard, RefusesWrongDescriptors) {
  const auto bad = [](auto change) {
    Descriptor d = job(Opcode::check, CurveNumber::p256, 0, 77);
    change(d);
    return d;
  };
  std::vector<Descriptor> jobs{
      bad([](auto& d) { d.opcode = 0; }),      bad([](auto& d) { d.opcode = 8; }),
      bad([](auto& d) { d.opcode = 255; }),    bad([](auto& d) { d.curve = 2; }),
      bad([](auto& d) { d.flags = 1U << 9; }), bad([](auto& d) { d.flags = 1U << 31; }),
      bad([](auto& d) { d.reserved[0] = 1; }), bad([](auto& d) { d.reserved[15] = 0x80; }),
  };
  const auto bad_before = session().counter(kCountBadDescriptors);
  const auto answers = run(jobs);
  for (const auto& c : answers) {
    EXPECT_EQ(status_of(c), JobStatus::descriptor);
    EXPECT_EQ(c.tag, 77U);
    EXPECT_TRUE(blank(c));
  }
  EXPECT_EQ(session().counter(kCountBadDescriptors), bad_before + jobs.size());
  EXPECT_EQ(kStatusBadDescriptor.get(board().read(kRegStatus)), 1U);
  board().write(kRegStatus, kStatusErrors);
  EXPECT_EQ(board().read(kRegStatus) & kStatusErrors, 0U);

  // Slots and keys.
  jobs = {job(Opcode::generate, CurveNumber::p256, 512, 1), job(Opcode::ecka, CurveNumber::p256, 5, 2),
          job(Opcode::sign, CurveNumber::p256, 5, 3),       job(Opcode::erase, CurveNumber::p256, 5, 4),
          job(Opcode::generate, CurveNumber::p256, 5, 5),   job(Opcode::generate, CurveNumber::p256, 5, 6),
          job(Opcode::sign, CurveNumber::p256, 5, 7),       job(Opcode::ecka, CurveNumber::brainpoolp256r1, 5, 8),
          job(Opcode::erase, CurveNumber::p256, 5, 9)};
  set_point(jobs[1], random_key(random_, Curve::p256).q);
  set_point(jobs[7], random_key(random_, Curve::brainpool_p256r1).q);
  const std::vector<JobStatus> want{JobStatus::key, JobStatus::key, JobStatus::key, JobStatus::ok, JobStatus::ok,
                                    JobStatus::key, JobStatus::key, JobStatus::key, JobStatus::ok};
  const auto of_keys = run(jobs);
  for (std::size_t i = 0; i < jobs.size(); ++i) EXPECT_EQ(status_of(of_keys[i]), want[i]) << "job " << i;
}

TEST_F(OnBoard, APhaseThatIsNotDueIsRefused) {
  // Written past submit(), which would set it right.
  auto* ring = reinterpret_cast<Descriptor*>(board().memory().data());
  ring[0] = job(Opcode::check, CurveNumber::p256, 0, 5);  // phase 0 on the first lap
  board().write(kRegSqTail, 1);
  board().run(20'000);
  EXPECT_EQ(board().read(kRegCqTail), 1U);
  const auto* answer = reinterpret_cast<const Completion*>(board().memory().data() + (sizeof(Descriptor) << 9));
  EXPECT_EQ(status_of(*answer), JobStatus::descriptor);
  EXPECT_EQ(answer->tag, 5U);
  board().write(kRegCqHead, 1);
  // A doorbell beyond the ring, and one that goes back.
  board().write(kRegSqTail, 1000);
  EXPECT_EQ(kStatusSqTail.get(board().read(kRegStatus)), 1U);
  EXPECT_EQ(board().read(kRegSqTail), 1U);
  board().write(kRegCqHead, 7);
  EXPECT_EQ(kStatusCqHead.get(board().read(kRegStatus)), 1U);
  board().write(kRegStatus, kStatusErrors);
}

TEST_F(OnBoard, ARingBeyondMemoryEndsInBusErrors) {
  const std::uint64_t beyond = board().dma_base() + board().memory().size();
  board().write(kRegControl, 0);
  ASSERT_TRUE(session().wait_status(kStatusIdle, true, 100'000));
  board().write(kRegSqBaseLo, static_cast<std::uint32_t>(beyond));
  board().write(kRegSqBaseHi, static_cast<std::uint32_t>(beyond >> 32));
  board().write(kRegSqLog2, 3);
  board().write(kRegControl, kControlEnable.put(1));
  board().write(kRegSqTail, 3);
  board().run(30'000);
  EXPECT_EQ(kStatusAxiRead.get(board().read(kRegStatus)), 1U);
  EXPECT_EQ(board().stray_accesses(), 18U);  // three descriptors of six beats
  const auto* answers = reinterpret_cast<const Completion*>(board().memory().data() + (sizeof(Descriptor) << 9));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status_of(answers[i]), JobStatus::descriptor);
  board().write(kRegCqHead, 3);
  board().write(kRegStatus, kStatusErrors);
}

TEST_F(OnBoard, AbortGivesUpWhatWasFetched) {
  std::vector<Descriptor> jobs;
  for (std::uint16_t i = 0; i < 100; ++i) jobs.push_back(job(Opcode::generate, CurveNumber::p256, i, i));
  ASSERT_EQ(session().submit(jobs), jobs.size());
  board().run(40'000);  // the first batch is at work, the second one is being formed
  ASSERT_NE(session().counter(kCountBusyCycles), 0U);
  board().write(kRegControl, kControlAbort.put(1));
  ASSERT_TRUE(session().wait_status(kStatusAborting, false, 1'000'000));
  EXPECT_EQ(kControlEnable.get(board().read(kRegControl)), 0U);
  const std::uint32_t fetched = board().read(kRegSqHead);
  std::vector<Completion> answers(jobs.size());
  answers.resize(session().poll(answers));
  EXPECT_EQ(answers.size(), fetched);  // each fetched job has its answer, no other has one
  EXPECT_GE(fetched, 64U);
  for (const auto& c : answers) {
    EXPECT_EQ(status_of(c), JobStatus::aborted);
    EXPECT_TRUE(blank(c));
  }
  // No key of an aborted job stayed, and the core works on.
  ASSERT_TRUE(session().open_rings(9, 9).ok());
  std::vector<Descriptor> again;
  for (std::uint16_t i = 0; i < 100; ++i) again.push_back(job(Opcode::generate, CurveNumber::p256, i, i));
  for (std::uint16_t i = 0; i < 100; ++i) again.push_back(job(Opcode::erase, CurveNumber::p256, i, i));
  for (const auto& c : run(again)) EXPECT_EQ(status_of(c), JobStatus::ok);
}

TEST_F(OnBoard, ZeroiseLeavesNoKey) {
  const std::vector<Descriptor> make{job(Opcode::generate, CurveNumber::p256, 3, 1),
                                     job(Opcode::generate, CurveNumber::brainpoolp256r1, 400, 2)};
  for (const auto& c : run(make)) ASSERT_EQ(status_of(c), JobStatus::ok);
  board().write(kRegControl, kControlZeroise.put(1));
  ASSERT_TRUE(session().wait_status(kStatusAborting, false, 1'000'000));
  ASSERT_TRUE(session().wait_status(kStatusWiped, true, 1'000'000));
  ASSERT_TRUE(session().open_rings(9, 9).ok());
  std::vector<Descriptor> use{job(Opcode::ecka, CurveNumber::p256, 3, 3),
                              job(Opcode::ecka, CurveNumber::brainpoolp256r1, 400, 4)};
  set_point(use[0], random_key(random_, Curve::p256).q);
  set_point(use[1], random_key(random_, Curve::brainpool_p256r1).q);
  for (const auto& c : run(use)) {
    EXPECT_EQ(status_of(c), JobStatus::key);
    EXPECT_TRUE(blank(c));
  }
}

TEST_F(OnBoard, TheInterruptComesWithTheCompletion) {
  for (int i = 0; i < 2; ++i) {  // the second for the completions that came while the first was pending
    board().write(kRegIrqStatus, 7);
    board().run(4);
  }
  ASSERT_EQ(board().read(kRegIrqStatus), 0U);
  board().write(kRegIrqCoalesce, kIrqCoalesceCompletions.put(4));
  board().write(kRegIrqEnable, kIrqEnableCompletion.put(1));
  EXPECT_FALSE(board().interrupt());
  std::vector<Descriptor> jobs(3, job(Opcode::check, CurveNumber::p256, 0, 0));
  for (auto& d : jobs) set_point(d, random_key(random_, Curve::p256).q);
  ASSERT_EQ(session().submit(jobs), 3U);
  EXPECT_EQ(board().run_until_interrupt(200'000), 200'000U);  // three of four
  EXPECT_EQ(board().read(kRegCqTail), 3U);
  ASSERT_EQ(session().submit(std::span(jobs).first(1)), 1U);
  EXPECT_LT(board().run_until_interrupt(200'000), 200'000U);
  EXPECT_TRUE(board().interrupt());
  EXPECT_EQ(board().read(kRegIrqStatus), 1U);
  std::vector<Completion> answers(8);
  EXPECT_EQ(session().poll(answers), 4U);  // it never comes before the entries
  board().write(kRegIrqStatus, 1);
  board().run(10);
  EXPECT_FALSE(board().interrupt());
  board().write(kRegIrqEnable, 0);
  board().write(kRegIrqCoalesce, 0);
}

TEST(Product, TakesNothingFromOutside) {
  BoardOptions o;
  o.seed = 1;
  const auto seeded = Board::make(o);
  ASSERT_FALSE(seeded.ok());
  EXPECT_EQ(seeded.error().reason, "bad-option");
  o.seed.reset();
  std::vector<Point> points;
  for (int i = 0; i < 2; ++i) {
    Bench b(o);
    ASSERT_TRUE(b);
    EXPECT_EQ(kCap0TestImport.get(b.board->read(kRegCap0)), 0U);
    std::vector<Descriptor> jobs{job(Opcode::import, CurveNumber::p256, 1, 1),
                                 job(Opcode::generate, CurveNumber::p256, 2, 2),
                                 job(Opcode::generate, CurveNumber::p256, 3, 3)};
    jobs[0].v[0][0] = 9;
    jobs[1].v[0][0] = 9;
    jobs[1].flags = kDescriptorGiven;
    const auto r = b.session->run(jobs);
    ASSERT_TRUE(r.ok()) << r.error().text();
    EXPECT_EQ(status_of((*r)[0]), JobStatus::descriptor);
    EXPECT_EQ(status_of((*r)[1]), JobStatus::descriptor);
    ASSERT_EQ(status_of((*r)[2]), JobStatus::ok);
    points.push_back(point_of((*r)[2]));
    EXPECT_TRUE(check_point(Curve::p256, points.back()).ok());
  }
  EXPECT_NE(points[0], points[1]);  // the system's entropy, not a fixed seed
}

TEST(OtherIi, WorkAsWell) {
  std::mt19937_64 random(seed());
  for (const unsigned ii : {2U, 4U}) {
    if (ii == 2 && !std::ranges::any_of(board_models(), [](const BoardModel& m) { return m.ii == 2; }))
      continue;  // built with KEYFERRY_EVERY_CORE only
    Bench b(test_build(Style::fast, ii));
    ASSERT_TRUE(b) << ii;
    EXPECT_EQ(b.session->ii(), ii);
    EXPECT_EQ(b.session->contexts(), 64 / ii);
    for (const auto& [c, n] : kCurves) {
      const Mixed jobs(random, c, n, 0, 2);
      const auto answers = b.session->run(jobs.jobs());
      ASSERT_TRUE(answers.ok()) << answers.error().text();
      jobs.expect(*answers);
    }
  }
}

TEST(SelfTest, FailsWithoutTheTable) {
  auto made = Board::make(test_build());
  ASSERT_TRUE(made.ok());
  SessionOptions o;
  o.load_table = false;
  const auto s = CoreSession::start(**made, o);
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "self-test");
  EXPECT_EQ(kStatusReady.get((*made)->read(kRegStatus)), 0U);
}

TEST(Options, ThatCannotBeAreRefused) {
  const auto reason = [](auto change) {
    BoardOptions o = test_build();
    change(o);
    const auto b = Board::make(o);
    return b ? std::string("made") : b.error().reason;
  };
  EXPECT_EQ(reason([](auto& o) { o.ii = 3; }), "no-model");
  EXPECT_EQ(reason([](auto& o) { o.style = Style::pipelined, o.ii = 4; }), "no-model");
  EXPECT_EQ(reason([](auto& o) { o.stalls = 256; }), "bad-option");
  EXPECT_EQ(reason([](auto& o) { o.dma_base = 64; }), "bad-option");
  EXPECT_EQ(reason([](auto& o) { o.memory_bytes = 0; }), "bad-option");
  alignas(64) static std::array<std::uint8_t, 4096> memory{};
  EXPECT_EQ(reason([](auto& o) { o.memory = std::span(memory).subspan(1); }), "bad-option");
  EXPECT_EQ(reason([](auto& o) { o.memory = memory; }), "made");
}

}  // namespace
}  // namespace kf::ecc::test
