// The store: queries, group commit, one failing job among many, what a kill -9 leaves, a full disk, the vault.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <stdexcept>

#include "host/base/random.hpp"
#include "host/store/store.hpp"
#include "host/store/vault.hpp"

namespace kf::store {
namespace {
namespace fs = std::filesystem;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("kf-store-" + random_uuid());
    fs::create_directories(dir_);
    path_ = (dir_ / "s.db").string();
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::unique_ptr<Store> open() {
    auto s = Store::open({path_});
    EXPECT_TRUE(s.ok()) << s.error().text();
    return std::move(*s);
  }
  fs::path dir_;
  std::string path_;
};

CallRow a_call(const std::string& id) {
  CallRow c;
  c.requester = "2.999.10";
  c.fcid = id;
  c.function = "DownloadProfile";
  c.digest = Bytes(32, 1);
  c.reply = ReplyKind::callback;
  c.reply_to = "https://x/cb";
  c.message_id = "//m";
  c.ns = "ns";
  c.received_ms = 5;
  return c;
}

std::int64_t forget_all(Tx& tx, std::int64_t before, std::int64_t rows = 2) {
  ForgetCursor at;
  std::int64_t n = 0;
  for (int i = 0; at.table != ForgetCursor::Table::none && i < 1000; ++i)
    n += tx.forget_batch(at, before, before, rows);
  EXPECT_EQ(at.table, ForgetCursor::Table::none);
  return n;
}

TEST_F(StoreTest, FileIsPrivate) {
  auto s = open();
  EXPECT_EQ(fs::status(path_).permissions() & fs::perms::mask, fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(StoreTest, CallsAreFoundReboundAndForgotten) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.insert_call(a_call("1"));
                 CallRow again = a_call("1");
                 again.message_id = "//m2";
                 again.reply = ReplyKind::poll;
                 tx.rebind_call(again);
               }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) {
                 auto c = tx.find_call("2.999.10", "1");
                 ASSERT_TRUE(c.has_value());
                 EXPECT_EQ(c->message_id, "//m2");
                 EXPECT_EQ(c->reply, ReplyKind::poll);
                 EXPECT_FALSE(tx.find_call("2.999.11", "1").has_value()) << "another requester's";
                 EXPECT_EQ(tx.unfinished_relays().size(), 1U);
                 EXPECT_EQ(forget_all(tx, 100), 0) << "a running call is never forgotten";
                 tx.set_call_response("2.999.10", "1", "<answer/>");
                 EXPECT_EQ(tx.unfinished_relays().size(), 0U);
                 EXPECT_EQ(forget_all(tx, 100), 1);
               }).ok());
  const Status twice = s->run([](Tx& tx) {
    tx.insert_call(a_call("2"));
    tx.insert_call(a_call("2"));
  });
  EXPECT_EQ(twice.error().reason, "store-failed");
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_FALSE(tx.find_call("2.999.10", "2").has_value()) << "a failed job leaves nothing";
               }).ok());
}

TEST_F(StoreTest, ProfilesGoFromFreeToInstalled) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ProfileRow p;
                 p.iccid = "89000123456789012341";
                 p.owner = "2.999.10";
                 p.profile_type = "T";
                 p.sealed = Bytes{1, 2, 3};
                 EXPECT_TRUE(tx.insert_profile(p));
                 EXPECT_FALSE(tx.insert_profile(p));
                 EXPECT_EQ(tx.free_iccid("2.999.10", "T"), p.iccid);
                 EXPECT_FALSE(tx.free_iccid("2.999.11", "T").has_value());
                 tx.set_profile(p.iccid, ProfileState::reserved, "eid", "smsr", "dl");
                 EXPECT_FALSE(tx.free_iccid("2.999.10", "T").has_value());
                 EXPECT_TRUE(tx.profile_type_known("2.999.10", "T"));
                 tx.set_profile(p.iccid, ProfileState::installed, "eid", "smsr", "dl");
                 const auto counts = tx.profile_counts();
                 ASSERT_EQ(counts.size(), 1U);
                 EXPECT_EQ(counts[0].installed, 1);
                 EXPECT_EQ(tx.get_profile(p.iccid)->sealed, (Bytes{1, 2, 3}));
               }).ok());
}

TEST_F(StoreTest, DeliveriesAreKeptUntilDeleted) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 DeliveryRow d;
                 d.party = "p";
                 d.address = "a";
                 d.body = "one";
                 const auto id = tx.insert_delivery(d);
                 d.kind = DeliveryKind::poll;
                 d.body = "two";
                 const auto polled = tx.insert_delivery(d);
                 EXPECT_EQ(tx.pending_deliveries(10).size(), 1U);
                 EXPECT_EQ(tx.next_polled("p", "a")->body, "two");
                 EXPECT_FALSE(tx.next_polled("other", "a").has_value()) << "only the party that ordered may poll";
                 tx.delete_delivery(id);
                 tx.delete_delivery(polled);
                 EXPECT_EQ(tx.pending_deliveries(10).size(), 0U);
                 EXPECT_EQ(tx.polled_count("p", "a"), 0);
               }).ok());
}

TEST_F(StoreTest, AFailingJobDoesNotHurtItsGroup) {
  auto s = open();
  std::atomic<int> good{0}, bad{0};
  std::promise<void> all;
  constexpr int kJobs = 600;
  std::atomic<int> left{kJobs};
  for (int i = 0; i < kJobs; ++i)
    s->submit(
        [i](Tx& tx) {
          tx.set_meta("k" + std::to_string(i), view("v"));
          if (i % 7 == 0) throw StoreError("on purpose");
        },
        [&](const Status& st) {
          (st.ok() ? good : bad)++;
          if (--left == 0) all.set_value();
        });
  all.get_future().wait();
  EXPECT_EQ(bad, (kJobs + 6) / 7);
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_FALSE(tx.meta("k0").has_value());
                 EXPECT_FALSE(tx.meta("k7").has_value());
                 EXPECT_TRUE(tx.meta("k1").has_value());
               }).ok());
  EXPECT_GT(s->stats().group_size.max(), 1U) << "jobs are committed in groups";
}

TEST_F(StoreTest, KillNineLosesNothingThatWasAcknowledged) {
  int pipe_fd[2];
  ASSERT_EQ(::pipe(pipe_fd), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto s = Store::open({path_});
    if (!s.ok()) ::_exit(3);
    for (std::int32_t i = 0;; ++i) {
      (*s)->submit([i](Tx& tx) { tx.put_download("d" + std::to_string(i), "record", false, i); },
                   [i, fd = pipe_fd[1]](const Status& st) {
                     if (st.ok() && ::write(fd, &i, sizeof i) != sizeof i) ::_exit(4);
                   });
      if (i % 64 == 63 && !(*s)->run([](Tx&) {}).ok()) ::_exit(5);
    }
  }
  ::close(pipe_fd[1]);
  std::int32_t last = -1;
  for (std::int32_t v = 0; last < 500 && ::read(pipe_fd[0], &v, sizeof v) == sizeof v;) last = v;
  ::kill(child, SIGKILL);
  for (std::int32_t v = 0; ::read(pipe_fd[0], &v, sizeof v) == sizeof v;) last = v;
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(pipe_fd[0]);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
  ASSERT_GE(last, 500);
  auto s = open();
  ASSERT_TRUE(
      s->run([last](Tx& tx) { EXPECT_GE(tx.unfinished_downloads().size(), static_cast<std::size_t>(last) + 1); }).ok());
}

TEST_F(StoreTest, FullDiskRefusesAndRecovers) {
  // A file size limit stands in for the full disk: SQLite sees the same error from write().
  std::signal(SIGXFSZ, SIG_IGN);
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) { tx.set_meta("before", view("1")); }).ok());
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{256 * 1024, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Status st;
  for (int i = 0; i < 64 && st.ok(); ++i)
    st = s->run([i](Tx& tx) { tx.set_meta("big" + std::to_string(i), Bytes(32 * 1024, 7)); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(st.ok());
  EXPECT_FALSE(s->stats().trouble.empty()) << "status would show green";
  EXPECT_TRUE(s->run([](Tx& tx) { tx.set_meta("after", view("1")); }).ok()) << "works again once there is room";
  ASSERT_TRUE(s->run([](Tx& tx) { EXPECT_TRUE(tx.meta("before").has_value() && tx.meta("after").has_value()); }).ok());
}

TEST_F(StoreTest, AnotherSchemaVersionIsRefused) {
  {
    ASSERT_TRUE(open()->run([](Tx& tx) { tx.set_meta("version", view("99")); }).ok());
  }
  auto s = Store::open({path_});
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "store-version");
}

TEST_F(StoreTest, AFolderThatIsNotThere) {
  auto s = Store::open({(dir_ / "none" / "s.db").string()});
  ASSERT_FALSE(s.ok());
  EXPECT_NE(s.error().detail.find("none"), std::string::npos);
}

TEST_F(StoreTest, RetentionForgetsWhatIsOldAndOverInSmallSteps) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 for (int i = 0; i < 25; ++i) {
                   CallRow c = a_call("old" + std::to_string(i));
                   c.response = i % 5 == 0 ? "" : "<a/>";  // every fifth still runs
                   tx.insert_call(c);
                   c.fcid = "new" + std::to_string(i);
                   c.response = "<a/>";
                   c.received_ms = 1000;
                   tx.insert_call(c);
                   tx.put_download("e" + std::to_string(i), "r", true, 5);
                   tx.put_download("r" + std::to_string(i), "r", false, 5);
                   DeliveryRow d;
                   d.party = "p";
                   d.created_ms = 5;
                   d.kind = i % 2 == 0 ? DeliveryKind::poll : DeliveryKind::callback;
                   tx.insert_delivery(d);
                 }
               }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(forget_all(tx, 100), 20 + 25 + 13);
                 EXPECT_EQ(tx.unfinished_downloads().size(), 25U);
                 EXPECT_EQ(tx.pending_deliveries(100).size(), 12U) << "what is still to be sent stays";
                 EXPECT_TRUE(tx.find_call("2.999.10", "old0").has_value()) << "a running call stays";
                 EXPECT_FALSE(tx.find_call("2.999.10", "old1").has_value());
                 EXPECT_TRUE(tx.find_call("2.999.10", "new1").has_value());
                 EXPECT_EQ(forget_all(tx, 100), 0);
                 tx.give_back_pages(100);
               }).ok());
}

TEST_F(StoreTest, FreedPagesGoBackToTheFileSystem) {
  auto s = open();
  const auto pages = [&s] {
    std::int64_t n = 0;
    EXPECT_TRUE(s->run([&n](Tx& tx) { n = tx.page_count(); }).ok());
    return n;
  };
  ASSERT_TRUE(s->run([](Tx& tx) {
                 for (int i = 0; i < 200; ++i) {
                   CallRow c = a_call(std::to_string(i));
                   c.response = std::string(8000, 'x');
                   tx.insert_call(c);
                 }
               }).ok());
  const std::int64_t full = pages();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(forget_all(tx, 100), 200);
                 tx.give_back_pages(10'000);
               }).ok());
  EXPECT_LT(pages(), full / 4);
}

TEST_F(StoreTest, UsageFollowsWhatIsCommittedAndNothingElse) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) { tx.insert_call(a_call("1")); }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) { tx.count_usage(); }).ok());
  Usage start, now;
  const auto look = [&s](Usage& u) { ASSERT_TRUE(s->run([&u](Tx& tx) { u = tx.usage("2.999.10"); }).ok()); };
  look(start);
  EXPECT_EQ(start.calls, 1);
  EXPECT_GT(start.bytes, 0);
  ASSERT_FALSE(s->run([](Tx& tx) {
                  tx.insert_call(a_call("2"));
                  throw StoreError("on purpose");
                }).ok());
  look(now);
  EXPECT_EQ(now.calls, 1) << "a job that was rolled back counts nothing";
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.insert_call(a_call("3"));
                 tx.set_call_response("2.999.10", "3", std::string(5000, 'x'));
                 DeliveryRow d;
                 d.party = "2.999.10";
                 d.kind = DeliveryKind::poll;
                 d.body = std::string(700, 'x');
                 tx.insert_delivery(d);
               }).ok());
  look(now);
  EXPECT_EQ(now.calls, 2);
  EXPECT_GE(now.bytes, start.bytes + 5700);
  const Usage counted = now;
  ASSERT_TRUE(s->run([](Tx& tx) {
                 DeliveryRow d;
                 d.party = "2.999.10";
                 d.kind = DeliveryKind::notification;
                 d.body = std::string(900, 'x');
                 tx.insert_delivery(d);
               }).ok());
  look(now);
  EXPECT_EQ(now.bytes, counted.bytes) << "an SM-SR's notifications use up what the Operator may store";
  ASSERT_TRUE(
      s->run([](Tx& tx) { EXPECT_EQ(tx.usage(usage_key("2.999.10", DeliveryKind::notification)).bytes, 900); }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) { tx.count_usage(); }).ok());
  look(now);
  EXPECT_EQ(now.calls, counted.calls);
  EXPECT_EQ(now.bytes, counted.bytes) << "counting anew gives the same";
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.delete_delivery(tx.next_polled("2.999.10", "")->id);
                 forget_all(tx, 100);
               }).ok());
  look(now);
  EXPECT_EQ(now.calls, 1) << "the unanswered one";
  EXPECT_EQ(now.bytes, start.bytes);
}

// An SM-SR's word counts for what went through it: another one must not free an ICCID by an EIS of its own making.
TEST_F(StoreTest, AnUncertainIccidIsSettledForItsSmsrOnly) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ProfileRow p;
                 p.iccid = "89000123456789012341";
                 p.owner = "o";
                 tx.insert_profile(p);
                 tx.set_profile(p.iccid, ProfileState::uncertain, "eid", "2.999.30", "d1");
                 EXPECT_FALSE(tx.settle_uncertain(p.iccid, "eid", "2.999.31", ProfileState::free));
                 EXPECT_FALSE(tx.settle_uncertain(p.iccid, "other", "2.999.30", ProfileState::free));
                 EXPECT_EQ(tx.get_profile(p.iccid)->state, ProfileState::uncertain);
                 EXPECT_TRUE(tx.settle_uncertain(p.iccid, "eid", "2.999.30", ProfileState::free));
                 EXPECT_EQ(tx.get_profile(p.iccid)->state, ProfileState::free);
               }).ok());
}

TEST_F(StoreTest, WhatIsSetAsideIsNamedKeepsItsProfileAndIsJudgedAnewAtTheNextStart) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ProfileRow p;
                 p.iccid = "89000123456789012341";
                 p.owner = "o";
                 tx.insert_profile(p);
                 tx.set_profile(p.iccid, ProfileState::reserved, "eid", "smsr", "d1");
                 tx.put_download("d1", "nonsense", false, 1);
                 tx.put_download("d2", "fine", false, 1);
                 tx.set_aside_download("d1", "cannot be read", 7);
               }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ASSERT_EQ(tx.unfinished_downloads().size(), 1U);
                 EXPECT_EQ(tx.unfinished_downloads()[0].id, "d2");
                 const auto rows = tx.set_aside_rows(10);
                 ASSERT_EQ(rows.size(), 1U);
                 EXPECT_EQ(rows[0].name, "d1");
                 EXPECT_EQ(rows[0].iccid, "89000123456789012341");
                 EXPECT_EQ(tx.get_profile("89000123456789012341")->state, ProfileState::reserved);
                 EXPECT_EQ(tx.download_counts().set_aside, 1);
                 EXPECT_EQ(forget_all(tx, 1000), 0) << "retention leaves it alone";
                 tx.retry_set_aside();
                 EXPECT_EQ(tx.unfinished_downloads().size(), 2U);
                 EXPECT_TRUE(tx.set_aside_rows(10).empty());
               }).ok());
}

TEST_F(StoreTest, OneServerAStoreAndItIsSaidWhoHasIt) {
  StoreOptions o;
  o.path = path_;
  o.exclusive = true;
  auto first = Store::open(o);
  ASSERT_TRUE(first.ok());
  int said[2];
  ASSERT_EQ(::pipe(said), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto second = Store::open(o);
    const std::string text = second ? "opened" : second.error().reason + "|" + second.error().detail;
    const ssize_t n = ::write(said[1], text.data(), text.size());
    ::_exit(n > 0 ? 0 : 1);
  }
  char buffer[512] = {};
  ASSERT_GT(::read(said[0], buffer, sizeof buffer - 1), 0);
  ::waitpid(child, nullptr, 0);
  ::close(said[0]);
  ::close(said[1]);
  EXPECT_EQ(std::string(buffer), "store-in-use|" + path_ + ": in use by process " + std::to_string(::getpid()));
  EXPECT_TRUE(Store::open({path_}).ok()) << "a command opens it beside the server";
  first->reset();
  EXPECT_TRUE(Store::open(o).ok()) << "free again";
}

TEST_F(StoreTest, AFileThatWasDeletedOrReplacedAcknowledgesNothing) {
  for (const char* which : {"", "-wal"}) {
    auto s = open();
    const auto put = [&s] { return s->run([](Tx& tx) { tx.set_meta("k", view("v")); }); };
    ASSERT_TRUE(put().ok());
    fs::rename(path_ + which, path_ + which + ".away");
    EXPECT_EQ(put().error().reason, "store-gone") << which;
    EXPECT_NE(s->stats().trouble.find("deleted or replaced"), std::string::npos);
    std::ofstream(path_ + which) << "another";
    EXPECT_EQ(put().error().reason, "store-gone") << which << " replaced";
    fs::rename(path_ + which + ".away", path_ + which);
    EXPECT_TRUE(put().ok()) << which << " is back";
    EXPECT_TRUE(s->stats().trouble.empty());
  }
}

TEST_F(StoreTest, WhateverAJobOrItsCallbackThrowsTheWriterGoesOn) {
  auto s = open();
  EXPECT_EQ(s->run([](Tx&) { throw std::runtime_error("a bug"); }).error().reason, "store-job");
  EXPECT_EQ(s->run([](Tx&) { throw 7; }).error().reason, "store-job");
  s->submit([](Tx&) {}, [](const Status&) { throw std::runtime_error("a bug"); });
  EXPECT_TRUE(s->run([](Tx& tx) { tx.set_meta("k", view("v")); }).ok());
  EXPECT_EQ(s->stats().lost_callbacks, 1U);
  EXPECT_TRUE(s->stats().trouble.empty()) << "the database is well";
}

TEST_F(StoreTest, AStoreOfTheFirstVersionIsBroughtUp) {
  {
    auto s = open();
    ASSERT_TRUE(s->run([](Tx& tx) {
                   tx.exec("DROP TABLE set_aside; DROP INDEX deliveries_kept");
                   tx.set_meta("version", view("1"));
                   tx.put_download("d", "r", false, 1);
                 }).ok());
  }
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(tx.unfinished_downloads().size(), 1U);
                 EXPECT_TRUE(tx.set_aside_rows(1).empty());
               }).ok());
}

TEST_F(StoreTest, WhatAReceiverRefusedWaitsForAPollOfItsParty) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 DeliveryRow d;
                 d.party = "p";
                 d.address = "https://x/cb";
                 d.body = "outcome";
                 const auto id = tx.insert_delivery(d);
                 tx.keep_delivery(id);
                 EXPECT_TRUE(tx.pending_deliveries(10).empty());
                 EXPECT_FALSE(tx.next_polled("q", "any").has_value());
                 EXPECT_EQ(tx.polled_count("p", "any"), 1);
                 EXPECT_EQ(tx.next_polled("p", "any")->body, "outcome");
               }).ok());
}

TEST(Vault, BindsARecordToItsPlaceAndKey) {
  Vault v(SecretBytes(random_bytes(32)));
  Vault other(SecretBytes(random_bytes(32)));
  const Bytes plain = random_bytes(100);
  Bytes sealed = v.seal("profile:1", plain);
  EXPECT_EQ(to_bytes(v.open("profile:1", sealed)->expose()), plain);
  EXPECT_NE(sealed, v.seal("profile:1", plain)) << "a fresh nonce each time";
  EXPECT_FALSE(v.open("profile:2", sealed).ok());
  EXPECT_FALSE(other.open("profile:1", sealed).ok());
  sealed[20] ^= 1;
  EXPECT_FALSE(v.open("profile:1", sealed).ok());
  EXPECT_FALSE(v.open("profile:1", ByteView(sealed).first(10)).ok());
}

}  // namespace
}  // namespace kf::store
