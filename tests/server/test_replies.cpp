// Answers that are kept with their calls.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "host/server/replies.hpp"

namespace kf::server {
namespace {

struct Answers : ::testing::Test {
  Answers() {
    config.oid = Oid::trusted("2.999.1");
    config.es2_url = "https://dp.example/es2";
  }
  static store::CallRow call(store::ReplyKind reply = store::ReplyKind::callback) {
    store::CallRow c;
    c.requester = "2.999.10";
    c.fcid = "f";
    c.message_id = "first";
    c.reply = reply;
    if (reply != store::ReplyKind::sync) c.reply_to = "https://op.example/cb";
    c.ns = es::kNs3;
    return c;
  }
  static es::Response response(std::size_t size = 10) {
    es::Response r;
    r.interface = es::Interface::es2;
    r.function = es::Function::enable_profile;
    r.status = es::ExecStatus::with_warning;
    r.code = es::StatusCode{"8.2", "3.2", "", std::string(size, 'x')};
    return r;
  }
  asio::io_context io{1};
  Settings config;
  Replies replies{io, config};
};

// An SM-SR says how large the EIS is that an Operator's calls are answered with.
TEST_F(Answers, OneThatIsTooLargeIsNotKept) {
  for (const auto reply : {store::ReplyKind::sync, store::ReplyKind::callback}) {
    for (const std::size_t size : {std::size_t{1000}, std::size_t{1} << 20}) {
      const es::Response r = response(size);
      replies.bind(call(reply));
      const BoundAnswer a = replies.answer("2.999.10", "f", r);
      EXPECT_EQ(a.message.empty(), reply == store::ReplyKind::sync);
      const auto read = Replies::read_stored(a.kept, std::string(es::kNs3));
      ASSERT_TRUE(read.ok()) << read.error().text();
      if (size == 1000) {
        EXPECT_EQ(read->status, r.status);
        continue;
      }
      EXPECT_LT(a.kept.size(), 5000U);
      EXPECT_EQ(read->status, es::ExecStatus::failed);
      EXPECT_EQ(read->function, r.function);
      EXPECT_LT(a.message.size(), 5000U);
    }
  }
}

TEST_F(Answers, AreWrittenForTheLastRequestThatIsKnown) {
  EXPECT_TRUE(replies.answer("2.999.10", "f", response()).kept.empty()) << "of a process before";
  replies.rebind(call());
  EXPECT_TRUE(replies.answer("2.999.10", "f", response()).kept.empty()) << "a repeat begins nothing";
  replies.bind(call());
  store::CallRow again = call();
  again.message_id = "second";
  replies.rebind(again);
  const BoundAnswer a = replies.answer("2.999.10", "f", response());
  EXPECT_NE(a.message.find(">second</"), std::string::npos);
  EXPECT_EQ(a.message, a.kept) << "written once";
  replies.wake("2.999.10", "f", response());
  EXPECT_TRUE(replies.answer("2.999.10", "f", response()).kept.empty()) << "it has its answer";
}

// What the requester wants to find in the header is in the message, and not in what repeats are told. A lot of it is
// not held in memory: the book tells it.
TEST_F(Answers, RepeatWhatTheRequestAskedForInTheMessageOnly) {
  store::CallRow c = call();
  c.reply_parameters = "<x:y xmlns:x=\"urn:x\">z</x:y>";
  replies.bind(c);
  const BoundAnswer a = replies.answer("2.999.10", "f", response());
  EXPECT_EQ(a.kept.find("urn:x"), std::string::npos);
  EXPECT_NE(a.message.find("urn:x"), std::string::npos);
  c.reply_parameters = "<y>" + std::string(2000, 'z') + "</y>";
  replies.rebind(c);
  BoundAnswer b = replies.answer("2.999.10", "f", response());
  EXPECT_TRUE(b.kept.empty());
  for (unsigned n = 1; n <= BoundAnswer::kMostRewritten; ++n) {
    replies.rewrite(b, c, response());
    EXPECT_NE(b.message.find("zzzz"), std::string::npos);
    EXPECT_EQ(b.rewritten, n);
  }
}

// However often a call is repeated on connections that wait, few of them do.
TEST(Replies, RepeatsOfACallTakeEachOthersPlace) {
  asio::io_context io(1);
  Settings config;
  Replies replies(io, config);
  std::vector<std::optional<Replies::Waited>> ends(20);
  const auto wait = [&](std::size_t i, std::string fcid) -> asio::awaitable<void> {
    ends[i] = co_await replies.wait("2.999.10", std::move(fcid));
  };
  const auto settle = [&] {
    io.restart();
    io.poll();
  };
  for (std::size_t i = 0; i < 10; ++i) asio::co_spawn(io, wait(i, "call"), asio::detached);
  asio::co_spawn(io, wait(10, "other"), asio::detached);
  settle();
  for (std::size_t i = 0; i < 10; ++i) {
    ASSERT_EQ(ends[i].has_value(), i < 10 - Replies::kMostWaiting) << i;
    if (!ends[i]) continue;
    EXPECT_TRUE(ends[i]->displaced && !ends[i]->answer) << i;
  }
  EXPECT_FALSE(ends[10].has_value()) << "it is another call";
  replies.wake("2.999.10", "call", es::Response{});
  settle();
  for (std::size_t i = 10 - Replies::kMostWaiting; i < 10; ++i) {
    ASSERT_TRUE(ends[i].has_value()) << i;
    EXPECT_TRUE(!ends[i]->displaced && ends[i]->answer) << i;
  }
  replies.stop();
  settle();
  ASSERT_TRUE(ends[10].has_value());
  EXPECT_TRUE(!ends[10]->displaced && !ends[10]->answer);
}

}  // namespace
}  // namespace kf::server
