// Answers that are kept with their calls.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <filesystem>

#include "host/base/random.hpp"
#include "host/server/replies.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

// An SM-SR says how large the EIS is that an Operator's calls are answered with.
TEST(Replies, AnAnswerThatIsTooLargeIsNotKept) {
  const std::string path = (fs::temp_directory_path() / ("kf-replies-" + random_uuid() + ".db")).string();
  {
    auto s = store::Store::open({path});
    ASSERT_TRUE(s.ok());
    asio::io_context io(1);
    Settings config;
    config.oid = Oid::trusted("2.999.1");
    config.es2_url = "https://dp.example/es2";
    const Replies replies(io, config);
    for (const auto reply : {store::ReplyKind::sync, store::ReplyKind::callback}) {
      for (const std::size_t size : {std::size_t{1000}, std::size_t{1} << 20}) {
        const std::string id = random_uuid();
        es::Response r;
        r.interface = es::Interface::es2;
        r.function = es::Function::enable_profile;
        r.status = es::ExecStatus::with_warning;
        r.code = es::StatusCode{"8.2", "3.2", "", std::string(size, 'x')};
        ASSERT_TRUE((*s)->run([&](store::Tx& tx) {
                          store::CallRow c;
                          c.requester = "2.999.10";
                          c.fcid = id;
                          c.reply = reply;
                          c.reply_to = "https://op.example/cb";
                          c.ns = es::kNs3;
                          tx.insert_call(c);
                          const auto delivery = replies.store_answer(tx, c.requester, id, r);
                          EXPECT_EQ(delivery.has_value(), reply == store::ReplyKind::callback);
                          const auto kept = tx.find_call(c.requester, id)->response;
                          const auto read = Replies::read_stored(kept, c.ns);
                          ASSERT_TRUE(read.ok()) << read.error().text();
                          if (size == 1000) {
                            EXPECT_EQ(read->status, r.status);
                            return;
                          }
                          EXPECT_LT(kept.size(), 5000U);
                          EXPECT_EQ(read->status, es::ExecStatus::failed);
                          EXPECT_EQ(read->function, r.function);
                          EXPECT_TRUE(!delivery || delivery->body.size() < 5000U);
                        })
                        .ok());
      }
    }
  }
  for (const char* end : {"", "-wal", "-shm"}) fs::remove(path + end);
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
