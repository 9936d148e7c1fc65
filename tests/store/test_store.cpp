// The store: queries, group commit, one failing job among many, what a kill -9 leaves, a full disk, the vault.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <map>
#include <random>
#include <stdexcept>

#include "host/base/random.hpp"
#include "host/store/inspect.hpp"
#include "host/store/store.hpp"
#include "host/store/vault.hpp"
#include "tests/store/fixture.hpp"

namespace kf::store {
namespace {
namespace fs = std::filesystem;

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
                 tx.set_call_response("2.999.10", "1", "<answer/>", 0);
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
                 EXPECT_TRUE(tx.more_polled("p", "a"));
                 EXPECT_FALSE(tx.more_polled("p", "b"));
                 EXPECT_FALSE(tx.next_polled("other", "a").has_value()) << "only the party that ordered may poll";
                 tx.delete_delivery(id);
                 tx.delete_delivery(polled);
                 EXPECT_EQ(tx.pending_deliveries(10).size(), 0U);
                 EXPECT_FALSE(tx.more_polled("p", "a"));
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

// A store of its own small file system: a full disk is called full, whichever of SQLite's files found no room.
TEST_F(StoreTest, AFullDiskIsCalledFull) {
  if (::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "no file system can be mounted here: " << std::strerror(errno);
  {
    auto s = open();
    ASSERT_TRUE(s->run([](Tx& tx) { tx.set_meta("data_key", view("1")); }).ok());
  }
  {
    std::ofstream rest(dir_ / "rest", std::ios::binary);
    const std::string block(4096, 'x');
    while (rest.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  const auto s = Store::open({path_});
  ASSERT_FALSE(s.ok());
  EXPECT_NE(s.error().detail.find("no space is left on its disk"), std::string::npos) << s.error().text();
  const auto facts = inspect(path_);  // its log is there now
  if (!facts) {
    EXPECT_NE(facts.error().detail.find("no space is left on its disk"), std::string::npos) << facts.error().text();
    EXPECT_EQ(facts.error().detail.find("no store of"), std::string::npos) << facts.error().text();
  }
  fs::remove(dir_ / "rest");
  EXPECT_TRUE(Store::open({path_}).ok());
}

// Seen: while the server ran on a full disk, `keyferry profile list` was refused.
TEST_F(StoreTest, ALookNeedsNoRoom) {
  if (::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "no file system can be mounted here: " << std::strerror(errno);
  const auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) { tx.set_meta("data_key", view("1")); }).ok());
  {
    std::ofstream rest(dir_ / "rest", std::ios::binary);
    const std::string block(4096, 'x');
    while (rest.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  bool there = false;
  const Status seen = look(path_, [&](Tx& tx) { there = tx.meta("data_key").has_value(); });
  EXPECT_TRUE(seen.ok()) << seen.error().text();
  EXPECT_TRUE(there);
  EXPECT_FALSE(look(path_, [](Tx& tx) { tx.set_meta("more", view("1")); }).ok()) << "a look writes nothing";
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

// No key set is kept of an ISD-P that is proved gone, whichever way its ICCID became free.
TEST_F(StoreTest, AFreeIccidHasNoKeySet) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ProfileRow p;
                 p.iccid = "89000123456789012341";
                 tx.insert_profile(p);
                 const KeySetRow keys{p.iccid, "eid", "aid", 0x30, Bytes(8, 1)};
                 const auto uncertain_with_keys = [&] {
                   tx.set_profile(p.iccid, ProfileState::uncertain, "eid", "sr", "d1");
                   tx.put_key_set(keys, "d1");
                   ASSERT_TRUE(tx.get_key_set(p.iccid).has_value());
                 };
                 uncertain_with_keys();
                 tx.settle_uncertain(p.iccid, "eid", "other", ProfileState::free);
                 EXPECT_TRUE(tx.get_key_set(p.iccid).has_value()) << "nothing was settled";
                 tx.settle_uncertain(p.iccid, "eid", "sr", ProfileState::installed);
                 EXPECT_TRUE(tx.get_key_set(p.iccid).has_value());
                 uncertain_with_keys();
                 tx.settle_uncertain(p.iccid, "eid", "sr", ProfileState::free);
                 EXPECT_FALSE(tx.get_key_set(p.iccid).has_value());
                 uncertain_with_keys();
                 tx.set_profile(p.iccid, ProfileState::reserved, "eid", "sr", "d2");
                 EXPECT_TRUE(tx.get_key_set(p.iccid).has_value());
                 tx.set_profile(p.iccid, ProfileState::free, "", "", "");
                 EXPECT_FALSE(tx.get_key_set(p.iccid).has_value());
               }).ok());
}

// Tried again and again while the disk is full, it comes when the ICCID may be another order's.
TEST_F(StoreTest, AKeySetIsDeletedByItsOwnDownloadOnly) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ProfileRow p;
                 p.iccid = "89000123456789012341";
                 tx.insert_profile(p);
                 const KeySetRow keys{p.iccid, "eid", "aid", 0x30, Bytes(8, 1)};
                 tx.set_profile(p.iccid, ProfileState::reserved, "eid", "sr", "newer");
                 tx.put_key_set(keys, "newer");
                 tx.delete_key_set(p.iccid, "older");
                 EXPECT_TRUE(tx.get_key_set(p.iccid).has_value());
                 tx.delete_key_set(p.iccid, "newer");
                 EXPECT_FALSE(tx.get_key_set(p.iccid).has_value());
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

TEST_F(StoreTest, NobodyBringsAStoreUpWhileAServerOfAnOlderVersionRunsOnIt) {
  const auto now_version_two = [](Store& s) {
    return s.run([](Tx& tx) {
      tx.exec("ALTER TABLE deliveries DROP COLUMN source; DROP TABLE set_aside");
      tx.set_meta("version", view("2"));
    });
  };
  StoreOptions tool{path_};
  tool.exclusive = false;
  StoreOptions server{path_};
  server.exclusive = true;
  {
    auto old = Store::open(server);
    ASSERT_TRUE(old.ok());
    ASSERT_TRUE(now_version_two(**old).ok());
    auto s = Store::open(tool);
    ASSERT_FALSE(s.ok());
    EXPECT_EQ(s.error().reason, "store-in-use");
    EXPECT_NE(s.error().detail.find("a server of an older version runs on it"), std::string::npos) << s.error().detail;
    ASSERT_TRUE((*old)
                    ->run([](Tx& tx) {
                      EXPECT_EQ(text(*tx.meta("version")), "2");
                      EXPECT_THROW(tx.set_aside_rows(1), StoreError) << "nothing was added either";
                    })
                    .ok());
  }
  auto alone = Store::open(tool);  // and keeps no lock afterwards
  ASSERT_TRUE(alone.ok()) << alone.error().text();
  EXPECT_TRUE(Store::open(server).ok());
}

TEST_F(StoreTest, OutcomesAreTakenUpBeforeNotificationsWhichAreCounted) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.count_usage();
                 DeliveryRow d;
                 d.party = "p";
                 d.address = "https://x/cb";
                 d.kind = DeliveryKind::notification;
                 d.source = "s";
                 tx.insert_delivery(d);
                 tx.insert_delivery(d);
                 d.kind = DeliveryKind::callback;
                 d.source.clear();
                 tx.insert_delivery(d);
                 const auto first = tx.pending_deliveries(1);
                 ASSERT_EQ(first.size(), 1U);
                 EXPECT_EQ(first[0].kind, DeliveryKind::callback);
               }).ok());
  const std::string key = usage_key("p", DeliveryKind::notification, "s");
  ASSERT_TRUE(s->run([&](Tx& tx) {
                 EXPECT_EQ(tx.usage(key).calls, 2);
                 EXPECT_EQ(tx.usage("p").calls, 0);
                 tx.count_usage();
                 EXPECT_EQ(tx.usage(key).calls, 2);
                 tx.delete_delivery(1);
               }).ok());
  ASSERT_TRUE(s->run([&](Tx& tx) { EXPECT_EQ(tx.usage(key).calls, 1); }).ok());
}

TEST_F(StoreTest, AStoreOfTheSecondVersionKeepsItsCallsAndMessages) {
  {
    auto s = open();
    ASSERT_TRUE(s->run([](Tx& tx) {
                   tx.insert_call(a_call("old"));
                   DeliveryRow d;
                   d.party = "p";
                   d.address = "https://x/cb";
                   d.body = "outcome";
                   tx.insert_delivery(d);
                   tx.exec(
                       "ALTER TABLE calls DROP COLUMN reply_parameters; ALTER TABLE calls DROP COLUMN delivery; "
                       "ALTER TABLE deliveries DROP COLUMN source");
                   tx.set_meta("version", view("2"));
                 }).ok());
  }
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 ASSERT_TRUE(tx.find_call("2.999.10", "old").has_value());
                 EXPECT_EQ(tx.find_call("2.999.10", "old")->delivery, 0);
                 const auto messages = tx.pending_deliveries(10);
                 ASSERT_EQ(messages.size(), 1U);
                 EXPECT_EQ(tx.delivery_body(messages[0].id), "outcome");
                 CallRow c = a_call("new");
                 c.reply_parameters = "<p/>";
                 tx.insert_call(c);
                 tx.set_call_delivery("2.999.10", "new", messages[0].id);
                 EXPECT_EQ(tx.find_call("2.999.10", "new")->delivery, messages[0].id);
                 EXPECT_EQ(tx.find_call("2.999.10", "new")->reply_parameters, "<p/>");
               }).ok());
}

TEST_F(StoreTest, WhatIsInstalledOnAnEuicc) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 for (const char* iccid : {"1", "2", "3"}) {
                   ProfileRow p;
                   p.iccid = iccid;
                   p.owner = "2.999.10";
                   EXPECT_TRUE(tx.insert_profile(p));
                 }
                 tx.set_profile("1", ProfileState::installed, "eid", "2.999.30", "d");
                 tx.set_profile("2", ProfileState::installed, "eid", "2.999.31", "d");
                 tx.set_profile("3", ProfileState::uncertain, "eid", "2.999.30", "d");
                 EXPECT_EQ(tx.installed_profiles("eid", "2.999.30"), std::vector<std::string>{"1"});
                 EXPECT_TRUE(tx.installed_profiles("other", "2.999.30").empty());
               }).ok());
}

TEST_F(StoreTest, FollowUpsOfOneEidAtTwoSmsrsDoNotMeet) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.put_follow_up("eid", "2.999.30", "a");
                 tx.put_follow_up("eid", "2.999.31", "b");
                 tx.put_follow_up("eid", "2.999.30", "c");
                 ASSERT_EQ(tx.follow_ups().size(), 2U);
                 EXPECT_EQ(tx.follow_ups()[0].record, "c");
                 EXPECT_EQ(tx.follow_ups()[1].smsr, "2.999.31");
                 tx.delete_follow_up("eid", "2.999.30");
                 ASSERT_EQ(tx.follow_ups().size(), 1U);
                 EXPECT_EQ(tx.follow_ups()[0].record, "b");
               }).ok());
}

TEST_F(StoreTest, FollowUpsOfTheSecondVersionAreBroughtUp) {
  {
    auto s = open();
    ASSERT_TRUE(s->run([](Tx& tx) {
                   tx.exec(
                       "DROP TABLE follow_ups; CREATE TABLE follow_ups(eid TEXT PRIMARY KEY, record TEXT) WITHOUT "
                       "ROWID; INSERT INTO follow_ups VALUES('eid','{\"smsr\":\"2.999.30\"}'),('odd','no JSON')");
                   tx.set_meta("version", view("2"));
                 }).ok());
  }
  for (int i = 0; i < 2; ++i) {
    auto s = open();
    ASSERT_TRUE(s->run([](Tx& tx) {
                   EXPECT_EQ(tx.follow_ups().size(), 2U);
                   tx.put_follow_up("eid", "2.999.30", "known by its SM-SR");
                   EXPECT_EQ(tx.follow_ups().size(), 2U);
                 }).ok());
  }
}

// A follow-up that cannot be read goes whole, and does not come back at each start; the next one of its card stays.
TEST_F(StoreTest, AFollowUpIsSetAsideWhole) {
  auto s = open();
  const FollowUpRow lost{"eid", "2.999.30", std::string(5000, '{')};
  const SetAsideRow as{"follow-up", "eid 2.999.30", "", "cannot be read", 7, lost.record};
  ASSERT_TRUE(s->run([&](Tx& tx) {
                 tx.put_follow_up(lost.eid, lost.smsr, lost.record);
                 tx.set_aside({"message", "1", "", "why", 8});
                 tx.set_aside_follow_up(lost, as);
                 EXPECT_TRUE(tx.follow_ups().empty());
                 tx.put_follow_up(lost.eid, lost.smsr, "of its card, since");
                 tx.set_aside_follow_up(lost, as);  // tried again
                 EXPECT_EQ(tx.follow_ups().size(), 1U);
                 EXPECT_EQ(tx.set_aside_count(), 2);
                 tx.retry_set_aside();
                 EXPECT_TRUE(tx.set_aside_rows(10).empty()) << "judged anew";
                 ASSERT_EQ(tx.set_aside_records().size(), 1U);
                 EXPECT_EQ(tx.set_aside_records()[0].record, lost.record);
                 tx.delete_set_aside(tx.set_aside_records()[0]);
                 EXPECT_EQ(tx.set_aside_count(), 0);
               }).ok());
}

TEST_F(StoreTest, AStoreOfTheThirdVersionIsBroughtUp) {
  {
    auto s = open();
    ASSERT_TRUE(s->run([](Tx& tx) {
                   tx.set_aside({"message", "1", "", "why", 8});
                   tx.exec("ALTER TABLE set_aside DROP COLUMN record");
                   tx.set_meta("version", view("3"));
                 }).ok());
  }
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(text(*tx.meta("version")), std::to_string(schema_version()));
                 EXPECT_EQ(tx.set_aside_rows(10).size(), 1U);
                 EXPECT_TRUE(tx.set_aside_records().empty());
               }).ok());
}

// Of one Operator and one card: what is on its way and what may be there.
TEST_F(StoreTest, WhatIsAtStakeOnACard) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 struct {
                   const char *iccid, *owner, *eid, *smsr;
                   ProfileState state;
                 } const rows[] = {{"1", "2.999.10", "eid", "2.999.30", ProfileState::reserved},
                                   {"2", "2.999.10", "eid", "2.999.30", ProfileState::uncertain},
                                   {"3", "2.999.10", "eid", "2.999.30", ProfileState::installed},
                                   {"4", "2.999.10", "eid", "2.999.31", ProfileState::uncertain},
                                   {"5", "2.999.11", "eid", "2.999.30", ProfileState::uncertain},
                                   {"6", "2.999.10", "other", "2.999.30", ProfileState::reserved}};
                 for (const auto& r : rows) {
                   ProfileRow p;
                   p.iccid = r.iccid;
                   p.owner = r.owner;
                   EXPECT_TRUE(tx.insert_profile(p));
                   tx.set_profile(r.iccid, r.state, r.eid, r.smsr, "d");
                 }
                 EXPECT_EQ(tx.profiles_at_stake("2.999.10", "eid", "2.999.30"), 2);
                 EXPECT_EQ(tx.profiles_at_stake("2.999.12", "eid", "2.999.30"), 0);
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
                 EXPECT_TRUE(tx.more_polled("p", "any"));
                 EXPECT_FALSE(tx.more_polled("q", "any"));
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
