// The Device on the simulated board in this process: start, every operation, rings, abort, zeroise, reset, refusals.
#include <algorithm>
#include <functional>
#include <optional>

#include "drivers/simulated/in_process/board_transport.hpp"
#include "host/base/bytes.hpp"
#include "tests/drivers/forwarding_transport.hpp"
#include "tests/drivers/support.hpp"

namespace kf::ecc::test {
namespace {

// One board for most tests; each opens a Device of its own on it, as a server that starts again does.
class OnCore : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto b = Board::make(test_build());
    ASSERT_TRUE(b.ok()) << b.error().text();
    board_ = std::move(*b);
  }
  static void TearDownTestSuite() { board_.reset(); }
  std::unique_ptr<Device> open(DeviceOptions o = {}) {
    o.allow_test_build = true;
    auto d = Device::open(std::make_unique<BoardTransport>(*board_), o);
    EXPECT_TRUE(d.ok()) << d.error().text();
    return d ? std::move(*d) : nullptr;
  }
  static void run(std::uint64_t cycles) { board_->run(cycles); }
  std::mt19937_64 random_{seed()};
  static std::unique_ptr<Board> board_;
};
std::unique_ptr<Board> OnCore::board_;

// The example in docs/ecc-core.md, "One job".
TEST(RingEntries, AreWrittenAsTheDocumentShowsThem) {
  const std::string x = "96C298D84539A1F4A033EB2D817D0377F240A463E5E6BCF847422CE1F2D1176B";
  const std::string y = "F551BF376840B6CBCE5E316B5733CE2B169E0F7C4AEBE78E9B7F1AFEE242E34F";
  const auto hex_of = [](const auto& entry) {
    return to_hex(ByteView(reinterpret_cast<const std::uint8_t*>(&entry), sizeof entry));
  };
  const auto put = [](std::uint8_t(&into)[32], const std::string& hex) {
    const Bytes octets = from_hex(hex).value();
    std::ranges::copy(octets, into);
  };
  Descriptor d{};
  d.opcode = static_cast<std::uint8_t>(Opcode::ecka);
  d.key_slot = 17;
  d.flags = kDescriptorPhase | kDescriptorGeneration.put(3);
  d.tag = 0x0123456789ABCDEF;
  put(d.v[0], x);
  put(d.v[1], y);
  EXPECT_EQ(hex_of(d), "0200110019000000EFCDAB8967452301" + std::string(32, '0') + x + y + std::string(320, '0'));
  Completion c{};
  put(c.x, x);
  c.status = static_cast<std::uint8_t>(JobStatus::ok);
  c.opcode = d.opcode;
  c.context = 5;
  c.flags = kCompletionPhase;
  c.tag = d.tag;
  c.cycles = 253000;
  c.check = check_word(c);
  EXPECT_EQ(hex_of(c),
            x + std::string(128, '0') + "9602000501000000EFCDAB896745230148DC030015359B52" + std::string(16, '0'));
}

// Writes change on their way to the core, or are lost.
class ChangingTransport final : public ForwardingTransport {
 public:
  using Change = std::function<std::optional<std::uint32_t>(std::uint32_t offset, std::uint32_t value)>;
  ChangingTransport(std::unique_ptr<Transport> inner, Change change)
      : ForwardingTransport(std::move(inner)), change_(std::move(change)) {}
  void write(std::uint32_t offset, std::uint32_t value) override {
    if (const auto changed = change_(offset, value)) ForwardingTransport::write(offset, *changed);
  }

 private:
  Change change_;
};

TEST_F(OnCore, ARingInAnotherPlaceThanWrittenIsNotUsed) {
  for (const std::uint32_t at : {kRegSqBaseLo, kRegSqBaseHi, kRegSqLog2, kRegCqBaseLo, kRegCqBaseHi, kRegCqLog2}) {
    DeviceOptions o;
    o.allow_test_build = true;
    const auto one_bit = [at](std::uint32_t offset, std::uint32_t value) {
      return offset == at ? value ^ 0x10 : value;
    };
    const auto d =
        Device::open(std::make_unique<ChangingTransport>(std::make_unique<BoardTransport>(*board_), one_bit), o);
    ASSERT_FALSE(d.ok()) << at;
    EXPECT_EQ(d.error().reason, "ring-registers");
    EXPECT_EQ(kControlEnable.get(board_->read(kRegControl)), 0U) << "the core fetches";
  }
  EXPECT_NE(open(), nullptr) << "the core is as good as before";
}

TEST_F(OnCore, TellsWhatItIs) {
  const auto d = open();
  ASSERT_TRUE(d);
  EXPECT_EQ(d->contexts(), 64U);
  EXPECT_EQ(d->key_slots(), 512U);
  EXPECT_EQ(d->capabilities().ii, 1U);
  EXPECT_TRUE(d->capabilities().test_build);
  EXPECT_NE(d->capabilities().build, 0U);
  EXPECT_EQ(d->room(), 512U);
  EXPECT_EQ(d->errors(), 0U);
}

TEST_F(OnCore, EveryOperationThroughWrappingRings) {
  DeviceOptions o;
  o.sq_log2 = 3;
  o.cq_log2 = 2;  // at most four in flight: 26 jobs go around several times
  const auto d = open(o);
  ASSERT_TRUE(d);
  EXPECT_EQ(d->room(), 4U);
  for (const auto& [c, n] : kCurves) {
    const Mixed jobs(random_, c, n, 10, 2);
    std::vector<Completion> answers;
    ASSERT_NO_FATAL_FAILURE(all(*d, jobs.jobs(), answers));
    jobs.expect(answers);
  }
  EXPECT_EQ(d->errors(), 0U);
  EXPECT_EQ(faults(d->counters()), 0U);
  EXPECT_EQ(d->counters().submitted, d->counters().completed);
  EXPECT_EQ(board_->stray_accesses(), 0U);
}

TEST_F(OnCore, FullMeansFewerAndNothingStaysInTheRings) {
  DeviceOptions o;
  o.sq_log2 = 4;
  o.cq_log2 = 5;
  const auto d = open(o);
  ASSERT_TRUE(d);
  const Key key = random_key(random_, Curve::p256);
  std::vector<Descriptor> jobs;
  for (std::uint16_t i = 0; i < 20; ++i) {
    jobs.push_back(job(Opcode::import, CurveNumber::p256, i, i));
    set_operand(jobs.back().v[0], key.d);
  }
  EXPECT_EQ(d->submit(jobs), 16U);
  EXPECT_EQ(d->submit(jobs), 0U);
  EXPECT_EQ(d->in_flight(), 16U);
  EXPECT_EQ(d->counters().doorbells, 1U);
  std::vector<Completion> answers(20);
  std::size_t got = 0;
  while (got < 16) {
    run(256);
    got += d->poll(std::span(answers).subspan(got));
  }
  EXPECT_EQ(d->room(), 16U);
  // The scalars came with the descriptors of this test build; the rings forget them.
  const auto memory = board_->memory().first((256U << 4) + (128U << 5));
  std::array<std::uint8_t, 32> little{};
  std::reverse_copy(key.d.begin(), key.d.end(), little.begin());
  EXPECT_EQ(std::search(memory.begin(), memory.end(), little.begin(), little.end()), memory.end());
  // So do they for what is agreed.
  const Key peer = random_key(random_, Curve::p256);
  std::vector<Descriptor> agree(16);
  for (std::uint16_t i = 0; i < 16; ++i) {
    agree[i] = job(Opcode::ecka, CurveNumber::p256, i, i);
    set_point(agree[i], peer.q);
  }
  ASSERT_NO_FATAL_FAILURE(all(*d, agree, answers));
  const auto shs = kf::ecka(Curve::p256, key.d, peer.q);
  ASSERT_TRUE(shs.ok());
  for (const auto& c : answers) EXPECT_TRUE(equal_ct(shs->expose(), big_endian(c.x)));
  const auto& x = answers[0].x;
  EXPECT_EQ(std::search(memory.begin(), memory.end(), std::begin(x), std::end(x)), memory.end());
}

TEST_F(OnCore, ShouldersAnAbort) {
  const auto d = open();
  ASSERT_TRUE(d);
  std::vector<Descriptor> jobs;
  for (std::uint16_t i = 0; i < 200; ++i) jobs.push_back(job(Opcode::generate, CurveNumber::p256, i, 1000U + i));
  ASSERT_EQ(d->submit(jobs), jobs.size());
  run(40'000);  // one batch at work, one being formed, the rest in the ring
  const Status refused = d->reset_rings();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().reason, "in-flight");
  const Status aborted = d->abort();
  ASSERT_TRUE(aborted.ok()) << aborted.error().text();
  EXPECT_EQ(d->submit(jobs), 0U);
  std::vector<Completion> answers(300);
  answers.resize(d->poll(answers));
  ASSERT_EQ(answers.size(), jobs.size());  // those that the core never fetched as well
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(status_of(answers[i]), JobStatus::aborted);
    EXPECT_EQ(answers[i].tag, 1000U + i);
    EXPECT_TRUE(blank(answers[i]));
  }
  ASSERT_TRUE(d->reset_rings().ok());
  ASSERT_NO_FATAL_FAILURE(all(*d, jobs, answers));
  for (const auto& c : answers) EXPECT_EQ(status_of(c), JobStatus::ok);  // no key of an aborted job had stayed
  EXPECT_EQ(faults(d->counters()), 0U);
}

TEST_F(OnCore, ZeroisesAndATakeoverDoesSo) {
  for (const bool takeover : {false, true}) {
    auto d = open();
    ASSERT_TRUE(d);
    std::vector<Completion> answers;
    ASSERT_NO_FATAL_FAILURE(all(*d, {job(Opcode::generate, CurveNumber::p256, 3, 1)}, answers));
    ASSERT_EQ(status_of(answers[0]), JobStatus::ok);
    if (takeover) {
      d.reset();
      d = open();
      ASSERT_TRUE(d);
    } else {
      ASSERT_TRUE(d->zeroise().ok());
      ASSERT_TRUE(d->reset_rings().ok());
    }
    Descriptor use = job(Opcode::ecka, CurveNumber::p256, 3, 2);
    set_point(use, random_key(random_, Curve::p256).q);
    ASSERT_NO_FATAL_FAILURE(all(*d, {use}, answers));
    EXPECT_EQ(status_of(answers[0]), JobStatus::key);
  }
}

TEST_F(OnCore, AnOrderToZeroiseThatIsLostOnceIsCarriedOut) {
  for (const bool takeover : {false, true}) {
    bool lose_one = false, lost = false;
    const auto lossy = [&](std::uint32_t offset, std::uint32_t value) -> std::optional<std::uint32_t> {
      const bool now = lose_one && offset == kRegControl && kControlZeroise.get(value) != 0;
      if (!now) return value;
      lose_one = false;
      lost = true;
      return std::nullopt;
    };
    const auto over = [&] {
      DeviceOptions o;
      o.allow_test_build = true;
      return Device::open(std::make_unique<ChangingTransport>(std::make_unique<BoardTransport>(*board_), lossy), o);
    };
    auto d = over();
    ASSERT_TRUE(d.ok()) << d.error().text();
    std::vector<Completion> answers;
    ASSERT_NO_FATAL_FAILURE(all(**d, {job(Opcode::generate, CurveNumber::p256, 3, 1)}, answers));
    ASSERT_EQ(status_of(answers[0]), JobStatus::ok);
    std::vector<std::array<std::uint8_t, 32>> keys;
    board_->key_slots(keys);
    ASSERT_EQ(keys.size(), 1U);
    lose_one = true;
    if (takeover) {
      d->reset();
      d = over();
      ASSERT_TRUE(d.ok()) << d.error().text();
    } else {
      ASSERT_TRUE((*d)->zeroise().ok());
    }
    ASSERT_TRUE(lost);
    board_->key_slots(keys);
    EXPECT_TRUE(keys.empty()) << (takeover ? "the next owner has the key" : "the driver says that it is gone");
  }
}

TEST_F(OnCore, AStaleHandleTouchesNoStrangersKey) {
  const auto d = open();
  ASSERT_TRUE(d);
  std::vector<Completion> answers;
  const auto one = [&](Descriptor j, std::uint32_t generation) {
    j.flags |= kDescriptorGeneration.put(generation);
    all(*d, {j}, answers);
    return answers.empty() ? Completion{} : answers[0];
  };
  const Completion first = one(job(Opcode::generate, CurveNumber::p256, 3, 1), 0);
  ASSERT_EQ(status_of(first), JobStatus::ok);
  const std::uint32_t old = kCompletionGeneration.get(first.flags);
  EXPECT_NE(old, 0U);
  const Completion erased = one(job(Opcode::erase, CurveNumber::p256, 3, 2), old);
  EXPECT_EQ(status_of(erased), JobStatus::ok);
  EXPECT_EQ(erased.flags, 0U);
  const Completion second = one(job(Opcode::generate, CurveNumber::p256, 3, 3), 0);
  ASSERT_EQ(status_of(second), JobStatus::ok);
  const std::uint32_t now = kCompletionGeneration.get(second.flags);
  EXPECT_NE(now, old);
  EXPECT_EQ(status_of(one(job(Opcode::erase, CurveNumber::p256, 3, 4), old)), JobStatus::key);
  Descriptor use = job(Opcode::ecka, CurveNumber::p256, 3, 5);
  set_point(use, random_key(random_, Curve::p256).q);
  EXPECT_EQ(status_of(one(use, old)), JobStatus::key);
  EXPECT_EQ(status_of(one(use, now)), JobStatus::ok);
}

TEST_F(OnCore, AResetIsSeenAndSurvived) {
  const auto d = open();
  ASSERT_TRUE(d);
  std::vector<Descriptor> jobs;
  for (std::uint16_t i = 0; i < 40; ++i) jobs.push_back(job(Opcode::generate, CurveNumber::brainpoolp256r1, i, i));
  ASSERT_EQ(d->submit(jobs), jobs.size());
  run(30'000);
  board_->reset();
  std::vector<Completion> answers(64);
  run(100'000);
  EXPECT_EQ(d->poll(answers), 0U);
  const Status lost = d->check();
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().reason, "core-reset");
  EXPECT_EQ(d->submit(jobs), 0U);
  answers.resize(d->poll(answers));
  ASSERT_EQ(answers.size(), jobs.size());
  for (const auto& c : answers) EXPECT_EQ(status_of(c), JobStatus::fault);
  EXPECT_EQ(d->counters().lost, jobs.size());
  EXPECT_EQ(d->counters().resets_seen, 1U);
  const Status again = d->restart();
  ASSERT_TRUE(again.ok()) << again.error().text();
  ASSERT_NO_FATAL_FAILURE(all(*d, jobs, answers));
  for (const auto& c : answers) EXPECT_EQ(status_of(c), JobStatus::ok);
}

TEST(Open, RefusesRingsThatDoNotFit) {
  auto board = Board::make(test_build());
  ASSERT_TRUE(board.ok());
  DeviceOptions o;
  o.allow_test_build = true;
  o.sq_log2 = 12;  // 1 MiB of descriptors and some completions, in 1 MiB
  const auto d = Device::open(std::make_unique<BoardTransport>(**board), o);
  ASSERT_FALSE(d.ok());
  EXPECT_EQ(d.error().reason, "bad-option");
}

TEST(Open, NamesWhatIsWrongWithTheNoiseSource) {
  std::vector<std::uint8_t> circle(32);
  for (std::size_t i = 0; i < circle.size(); ++i) circle[i] = static_cast<std::uint8_t>(37 * i + 1);
  struct Broken {
    std::vector<std::uint8_t> samples;
    std::uint64_t good;  // samples before
    const char* says;
  };
  const Broken all[] = {{{0x55}, 0, "repetition count"},
                        {{1, 2}, 100, "adaptive proportion"},
                        {circle, 0, "came twice"},
                        {{}, 0, "no sample"},
                        {{}, 4600, "no sample"}};  // the second seed is not complete
  for (const Broken& b : all) {
    BoardOptions options = test_build();
    options.broken_samples = b.samples;
    options.good_samples = b.good;
    auto board = Board::make(options);
    ASSERT_TRUE(board.ok());
    DeviceOptions o;
    o.allow_test_build = true;
    const auto d = Device::open(std::make_unique<BoardTransport>(**board), o);
    ASSERT_FALSE(d.ok()) << b.says;
    EXPECT_EQ(d.error().reason, "entropy");
    EXPECT_NE(d.error().text().find(b.says), std::string::npos) << d.error().text();
  }
  BoardOptions product;
  product.broken_samples.emplace();
  EXPECT_FALSE(Board::make(product).ok());
}

}  // namespace
}  // namespace kf::ecc::test
