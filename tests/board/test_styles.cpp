// The two styles of the core are one machine: the same jobs with the same entropy give the same write into the register
// files in every cycle.
#include "tests/board/support.hpp"

namespace kf::ecc::test {
namespace {

TEST(Styles, EveryWriteBackIsEqual) {
  // Both boards go through the same steps; their times stay equal, because nothing in the core takes its time from the
  // style.
  std::array<std::unique_ptr<Board>, 2> boards;
  std::array<std::vector<WriteBack>, 2> writes;
  std::array<std::unique_ptr<CoreSession>, 2> sessions;
  for (std::size_t i = 0; i < 2; ++i) {
    BoardOptions o = test_build(i == 0 ? Style::fast : Style::pipelined);
    o.stalls = 16;
    auto b = Board::make(o);
    ASSERT_TRUE(b.ok()) << b.error().text();
    boards.at(i) = std::move(*b);
    auto s = CoreSession::start(*boards.at(i), {});
    ASSERT_TRUE(s.ok()) << s.error().text();
    sessions.at(i) = std::move(*s);
    boards.at(i)->record_writes(&writes.at(i));
  }
  ASSERT_EQ(boards[0]->cycles(), boards[1]->cycles());

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
    const Mixed mixed(random, c, n, 100, 1);
    jobs.insert(jobs.end(), mixed.jobs().begin(), mixed.jobs().end());
  }

  std::array<std::vector<Completion>, 2> answers;
  for (auto& a : answers) a.resize(jobs.size());
  std::array<std::size_t, 2> sent{}, got{};
  std::uint64_t compared = 0;
  const std::uint64_t limit = boards[0]->cycles() + 6'000'000;
  while (got[0] < jobs.size()) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (sent.at(i) < jobs.size()) sent.at(i) += sessions.at(i)->submit(std::span(jobs).subspan(sent.at(i)));
      boards.at(i)->run(4096);
      got.at(i) += sessions.at(i)->poll(std::span(answers.at(i)).subspan(got.at(i)));
    }
    ASSERT_EQ(boards[0]->cycles(), boards[1]->cycles());
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
    ASSERT_LT(boards[0]->cycles(), limit) << "cycle limit: " << jobs.size() - got[0] << " jobs are not answered";
  }
  std::size_t ok = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(answers[0][i].status, answers[1][i].status);
    EXPECT_TRUE(std::ranges::equal(answers[0][i].x, answers[1][i].x) &&
                std::ranges::equal(answers[0][i].y, answers[1][i].y));
    ok += answers[0][i].status == 0 ? 1 : 0;
  }
  std::printf("%llu write-backs compared over %zu jobs\n", static_cast<unsigned long long>(compared), jobs.size());
  EXPECT_GT(ok, jobs.size() * 3 / 4);
  EXPECT_GT(compared, 1'500'000U);
}

}  // namespace
}  // namespace kf::ecc::test
