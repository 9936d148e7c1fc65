// What the operator of a running server does to it: asks it, stops it, turns its log, starts it twice, takes its store
// away. And what is left in a store that cannot be read.
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <csignal>
#include <regex>
#include <sstream>
#include <thread>

#include "bench/process/child.hpp"
#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

proc::ToolResult keyferry(std::vector<std::string> args) {
  proc::SpawnOptions o;
  o.program = Rig::must(proc::sibling("keyferry"));
  o.args = std::move(args);
  auto r = proc::run_tool(std::move(o), proc::Millis(60'000));
  if (!r) throw std::runtime_error(r.error().text());
  return *r;
}
bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

// Until it is so; a test that waits for nothing fails by its own time-out's length, never by the machine's speed.
bool eventually(const std::function<bool()>& is_so) {
  for (int i = 0; i < 600; ++i) {
    if (is_so()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

std::string raw_admin(const std::string& dir, const std::string& bytes) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  const std::string path = dir + "/run/admin.sock";
  path.copy(a.sun_path, sizeof a.sun_path - 1);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_GT(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);  // whoever has read enough closes before the end
  std::string out;
  char some[4096];
  for (ssize_t n = 0; (n = ::recv(fd, some, sizeof some, 0)) > 0;) out.append(some, static_cast<std::size_t>(n));
  ::close(fd);
  return out;
}

void sql(const std::string& file, const std::string& statement) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open_v2(file.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  char* why = nullptr;
  EXPECT_EQ(sqlite3_exec(db, statement.c_str(), nullptr, nullptr, &why), SQLITE_OK) << (why == nullptr ? "" : why);
  sqlite3_free(why);
  sqlite3_close(db);
}

TEST(Operations, EveryTextFormBesideALiveServer) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  const std::string config = rig.world().config_file();
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  auto r = keyferry({"status", "-c", config});
  EXPECT_EQ(r.status, 0) << r.err;
  for (const char* line : {"health     good", "accepted 1, completed 1", "routes ", "engine     hsm sign: 1",
                           "SM-SR      ", "operator   2.999.10: in flight 0", "worker ", "messages "})
    EXPECT_TRUE(has(r.out, line)) << line << "\n" << r.out;
  r = keyferry({"status", "--json", "-c", config});
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(Json::parse(r.out)["health"], "good");
  for (const std::vector<std::string>& args : {std::vector<std::string>{"profile", "list"},
                                               {"profile", "list", "--rows"},
                                               {"identity", "show"},
                                               {"check-config"},
                                               {"identity", "export-key"}}) {
    auto with = args;
    with.insert(with.end(), {"-c", config});
    r = keyferry(with);
    EXPECT_EQ(r.status, 0) << args[0] << ": " << r.err;
    EXPECT_FALSE(r.out.empty()) << args[0];
  }
  const auto name = Rig::must(rig.world().smdp_status())["hsm"]["tokens"][0]["name"].get<std::string>();
  r = keyferry({"token", "drain", name, "-c", config});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(has(r.out, "token      " + name)) << r.out;
  r = keyferry({"status", "-c", config});
  EXPECT_EQ(r.status, 3) << "no token works and status says that all is well\n" << r.out;
  EXPECT_TRUE(has(r.out, "health     in trouble\n           token " + name + " is drained")) << r.out;
  EXPECT_EQ(keyferry({"token", "resume", name, "-c", config}).status, 0);
  EXPECT_EQ(keyferry({"status", "-c", config}).status, 0);
  // One line an outcome, at the default level.
  ASSERT_TRUE(eventually([&] { return has(slurp(rig.world().smdp_log()), "ended Done in "); }));
  const std::string log = slurp(rig.world().smdp_log());
  EXPECT_TRUE(has(log, "EID " + rig.subscriptions().list[0].eid + " ICCID " + rig.subscriptions().list[0].iccid +
                           " ended Done in "))
      << log;
  Rig::must(rig.world().stop_smdp());
  r = keyferry({"status", "-c", config});
  EXPECT_EQ(r.status, 1);
}

// At level debug a download tells each station that it passes: those that docs/architecture.md lists, in that order,
// each with code that exists.
TEST(Operations, ADownloadPassesTheStationsOfTheArchitecture) {
  RigOptions o;
  o.euiccs = 1;
  o.log_level = "debug";
  Rig rig(o);
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  ASSERT_TRUE(eventually([&] { return has(slurp(rig.world().smdp_log()), "ended Done in "); }));
  std::vector<std::string> passed, listed;
  std::istringstream log(slurp(rig.world().smdp_log()));
  const std::string mark = " station ";
  for (std::string line; std::getline(log, line);)
    if (const auto at = line.find(mark); at != line.npos) passed.push_back(line.substr(at + mark.size()));
  // | n | `station` | what happens | `file`, `function` |
  std::istringstream page(slurp(KF_SOURCE_DIR "/docs/architecture.md"));
  const std::regex row(R"(\| \d+ \| `([^`]+)` \|.*\| `([^`]+)`, `([^`]+)` \|)");
  for (std::string line; std::getline(page, line);) {
    std::smatch m;
    if (!std::regex_match(line, m, row)) continue;
    listed.push_back(m[1]);
    const std::string function = m[3];
    const std::string name = function.substr(function.rfind(':') == function.npos ? 0 : function.rfind(':') + 1);
    EXPECT_TRUE(has(slurp(std::string(KF_SOURCE_DIR "/") + m[2].str()), name + "("))
        << m[2] << " has no " << function << ", where " << m[1] << " is said to be";
  }
  EXPECT_EQ(passed, listed);
  EXPECT_LE(listed.size(), 14U) << "a walk of one download that nobody remembers";
}

TEST(Operations, NothingOnTheAdminSocketEndsTheServer) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  const std::string dir = rig.dir();
  EXPECT_TRUE(has(raw_admin(dir, "\xff\n"), "unknown command")) << "a byte that is no text";
  EXPECT_TRUE(has(raw_admin(dir, "drain \xc3\n"), "\"ok\": false"));
  EXPECT_TRUE(has(raw_admin(dir, std::string(100'000, 'x')), "line too long"));
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
}

TEST(Operations, ASecondServerOnTheStoreIsRefusedInOneLine) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  const auto r = keyferry({"serve", "-c", rig.world().config_file()});
  EXPECT_EQ(r.status, 2);
  EXPECT_TRUE(has(r.err, "store.db: in use by process " + std::to_string(rig.world().smdp().pid()))) << r.err;
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS") << "and the first one is none the worse";
  EXPECT_TRUE(has(keyferry({"status", "-c", rig.world().config_file()}).out, "health     good"));
}

TEST(Operations, HangUpTurnsTheLog) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  const std::string log = rig.world().smdp_log();
  fs::rename(log, log + ".1");
  rig.world().smdp().signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return fs::exists(log); })) << "the log file is not opened anew";
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  EXPECT_TRUE(eventually([&] { return has(slurp(log), "SIGHUP: log file opened anew"); }));
  EXPECT_TRUE(eventually([&] { return has(slurp(log), "ended Done"); }));
  rig.world().sim().signal(SIGHUP);  // the simulator outlives it too
  EXPECT_TRUE(rig.world().trouble().empty()) << rig.world().trouble();
}

TEST(Operations, TerminateLetsWhatRunsEndAndTakesNothingNew) {
  RigOptions o;
  o.euiccs = 6;
  o.radio = "constant:1000";
  o.settings = {{"limits.drain_s", std::int64_t{120}}};
  Rig rig(o);
  asio::steady_timer t(rig.io());
  std::string put_off;
  std::size_t left = 6;
  std::function<void(const boost::system::error_code&)> look = [&](const boost::system::error_code&) {
    const auto s = rig.world().smdp_status();
    if (!s || (*s)["downloads"]["in_flight"] != 5) {
      if (left < 6) {
        ADD_FAILURE() << "an order ended before all were seen in flight";
        if (--left == 0) rig.io().stop();
        return;
      }
      t.expires_after(std::chrono::milliseconds(50));
      return t.async_wait(look);
    }
    rig.world().smdp().signal(SIGTERM);
    // The signal is in: the log says so before the next order goes out.
    EXPECT_TRUE(eventually([&] { return has(slurp(rig.world().smdp_log()), "stopping: no new orders"); }));
    asio::co_spawn(rig.io(), rig.op().order(rig.order_of(5), Pattern::callback, std::chrono::seconds(30)),
                   [&](std::exception_ptr, Outcome x) {
                     put_off = "HTTP " + std::to_string(x.http_status);
                     if (--left == 0) rig.io().stop();
                   });
  };
  t.expires_after(std::chrono::milliseconds(10));
  t.async_wait(look);
  std::vector<Outcome> out(5);
  for (unsigned i = 0; i < 5; ++i)
    asio::co_spawn(rig.io(), rig.op().order(rig.order_of(i), Pattern::callback, std::chrono::seconds(60)),
                   [&, i](std::exception_ptr, Outcome x) {
                     out[i] = std::move(x);
                     if (--left == 0) rig.io().stop();
                   });
  rig.io().restart();
  rig.io().run();
  for (const auto& x : out) EXPECT_EQ(told(x), "EXECUTED_SUCCESS") << x.text();
  EXPECT_EQ(put_off, "HTTP 503");
  EXPECT_EQ(Rig::must(rig.world().smdp().wait(proc::Millis(30'000))), 0);
  EXPECT_EQ(rig.created_left(), 0U);
}

TEST(Operations, APlannedStopCostsNoDownloadAndASecondSignalStopsAtOnce) {
  RigOptions o;
  o.euiccs = 1;
  o.radio = "constant:600";  // far longer than the strike takes
  Rig rig(o);
  // Twice in the middle of one order: as crashes they would end it (docs/spec/interfaces.md 4.2).
  for (int round = 0; round < 2; ++round) {
    bool struck = false;
    asio::steady_timer t(rig.io());
    std::function<void(const boost::system::error_code&)> look = [&](const boost::system::error_code&) {
      const auto s = rig.world().smdp_status();
      if (s && (*s)["operations"]["sign"].value("hsm", 0) >= 1) {
        rig.world().smdp().signal(SIGTERM);
        rig.world().smdp().signal(SIGINT);
        EXPECT_EQ(Rig::must(rig.world().smdp().wait(proc::Millis(10'000))), 0);
        Rig::must(rig.world().start_smdp());
        EXPECT_EQ(Rig::must(rig.world().smdp_status())["downloads"]["taken_up"], 1) << "it was over before the strike";
        struck = true;
        return;
      }
      t.expires_after(std::chrono::milliseconds(50));
      t.async_wait(look);
    };
    t.expires_after(std::chrono::milliseconds(50));
    t.async_wait(look);
    if (round == 0) {
      sim::Order order = rig.order_of(0);
      order.call_id = "the-order";
      asio::co_spawn(rig.io(), rig.op().order(order, Pattern::callback, std::chrono::seconds(120)),
                     [](std::exception_ptr, Outcome) {});
    }
    rig.io().restart();
    for (int i = 0; i < 1200 && !struck; ++i) rig.io().run_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(struck);
  }
  EXPECT_TRUE(eventually([&] {
    rig.io().run_for(std::chrono::milliseconds(50));
    const auto s = rig.world().smdp_status();
    return s && (*s)["downloads"]["completed"] == 1;
  })) << slurp(rig.world().smdp_log());
  EXPECT_TRUE(rig.verified(0));
  EXPECT_EQ(rig.created_left(), 0U);
}

TEST(Operations, AStoreThatIsTakenAwayAcknowledgesNoOrder) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  const std::string db = rig.dir() + "/store.db";
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  fs::rename(db, db + ".away");
  const Outcome x = rig.run(rig.op().order(rig.order_of(1), Pattern::callback, std::chrono::seconds(5)));
  EXPECT_EQ(x.http_status, 503U) << "an order was acknowledged that nobody will find again: " << x.text();
  ASSERT_TRUE(eventually([&] { return keyferry({"status", "-c", rig.world().config_file()}).status == 3; }));
  EXPECT_TRUE(has(keyferry({"status", "-c", rig.world().config_file()}).out, "was deleted or replaced while in use"));
  EXPECT_TRUE(has(slurp(rig.world().smdp_log()), "ALARM store: "));
  fs::rename(db + ".away", db);
  EXPECT_EQ(told(rig.download(1)), "EXECUTED_SUCCESS") << "it goes on where it was";
  EXPECT_TRUE(eventually([&] { return keyferry({"status", "-c", rig.world().config_file()}).status == 0; }));
}

TEST(Operations, AFullDiskIsSaidAndOrdersArePutOffUntilThereIsRoom) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  // A limit on the size of the server's files stands in for the full disk.
  const pid_t pid = rig.world().smdp().pid();
  rlimit room{}, none{};
  ASSERT_EQ(::prlimit(pid, RLIMIT_FSIZE, nullptr, &room), 0);
  none = room;
  none.rlim_cur = 4096;
  ASSERT_EQ(::prlimit(pid, RLIMIT_FSIZE, &none, nullptr), 0);
  const Outcome x = rig.run(rig.op().order(rig.order_of(1), Pattern::callback, std::chrono::seconds(5)));
  EXPECT_EQ(x.http_status, 503U) << x.text();
  const std::string config = rig.world().config_file();
  ASSERT_TRUE(eventually([&] { return keyferry({"status", "-c", config}).status == 3; })) << "status shows green";
  EXPECT_TRUE(has(keyferry({"status", "-c", config}).out, "store cannot be written: "));
  ASSERT_EQ(::prlimit(pid, RLIMIT_FSIZE, &room, nullptr), 0);
  EXPECT_TRUE(eventually([&] { return keyferry({"status", "-c", config}).status == 0; }));
  EXPECT_EQ(told(rig.download(1)), "EXECUTED_SUCCESS");
}

// Told before it is stored, it could be another one after a restart.
TEST(Operations, TheAnswerToARelayIsToldWhenTheDiskHasRoomForIt) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  Rig::must(rig.world().sim_fault("slow-radio=3000"));
  const pid_t pid = rig.world().smdp().pid();
  rlimit room{};
  ASSERT_EQ(::prlimit(pid, RLIMIT_FSIZE, nullptr, &room), 0);
  rlimit none = room;
  none.rlim_cur = 4096;
  // Full from the moment at which the call is stored and on its way, until some time after the SM-SR has carried it
  // out.
  bool full = false, carried_out = false, emptied = false;
  Meanwhile look(rig.io(), std::chrono::milliseconds(50), [&] {
    if (!full) {
      if (Rig::must(rig.world().smdp_status())["relays"]["running"] != 1) return;
      full = ::prlimit(pid, RLIMIT_FSIZE, &none, nullptr) == 0;
    } else if (!carried_out) {
      carried_out = Rig::must(rig.world().sim_summary())["eis_enabled"] == 1;
    }
  });
  Meanwhile empty(rig.io(), std::chrono::seconds(5), [&, looks = 0]() mutable {
    if (!carried_out || emptied || ++looks < 2) return;  // so it was full for five seconds at least
    emptied = ::prlimit(pid, RLIMIT_FSIZE, &room, nullptr) == 0;
  });
  EXPECT_EQ(told(rig.run(rig.op().call(rig.request(es::Function::enable_profile, 0), Pattern::callback,
                                       std::chrono::seconds(120)))),
            "EXECUTED_SUCCESS");
  EXPECT_TRUE(emptied) << "it was told though it could not be stored";
  EXPECT_TRUE(has(slurp(rig.world().smdp_log()), "not stored, trying again: "));
}

TEST(Operations, WhatCannotBeReadIsSetAsideByNameAndTheRestGoesOn) {
  RigOptions o;
  o.euiccs = 3;
  Rig rig(o);
  const std::string db = rig.dir() + "/store.db";
  Rig::must(rig.world().stop_smdp());
  const auto& list = rig.subscriptions().list;
  // A record that is no JSON and holds its profile, one whose profile is missing, a relay and a message that are odd.
  sql(db,
      "INSERT INTO downloads(id,record,ended,updated_ms) VALUES('bad-json','{\"id\": \"x',0,1);"
      "UPDATE profiles SET state=1,download_id='bad-json' WHERE iccid='" +
          list[0].iccid +
          "';"
          "INSERT INTO downloads(id,record,ended,updated_ms) VALUES('no-profile','"
          "{\"id\":\"no-profile\",\"requester\":\"2.999.10\",\"fcid\":\"f\",\"eid\":\"" +
          list[1].eid +
          "\",\"iccid\":\"89999999999999999999\",\"smsr\":\"2.999.30\",\"by_type\":false,\"type\":\"e2e\",\"enable\":"
          "false,"
          "\"received\":1,\"deadline\":2,\"memory\":1,\"state\":\"Received\",\"aid\":\"\",\"cause\":null,\"warning\":"
          "null,"
          "\"expiring\":false,\"header_taken\":false,\"pol1\":false,\"completed\":false,\"again\":false,\"restarts\":0,"
          "\"leftover\":false,\"calls\":0}',0,1);"
          "INSERT INTO calls(requester,fcid,function,digest,reply,reply_to,message_id,ns,download_id,response,"
          "received_ms) VALUES('2.999.10','odd','Nonsense',x'00',1,'no address','m','ns','','',1);"
          "INSERT INTO deliveries(party,kind,address,body,attempts,created_ms) VALUES('2.999.99',0,'\xff "
          "nowhere','x',0,1);");
  Rig::must(rig.world().start_smdp());
  const auto r = keyferry({"status", "-c", rig.world().config_file()});
  EXPECT_EQ(r.status, 3) << r.out;
  EXPECT_TRUE(has(r.out, "download bad-json ICCID " + list[0].iccid + ": record cannot be read")) << r.out;
  EXPECT_TRUE(has(r.out, "download no-profile: its profile, ICCID 89999999999999999999, is missing")) << r.out;
  EXPECT_TRUE(has(slurp(rig.world().smdp_log()), "ALARM download bad-json is set aside"));
  EXPECT_EQ(told(rig.download(0)), "FAILED 8.2.1/3.3") << "its ICCID stays reserved";
  EXPECT_EQ(told(rig.download(2)), "EXECUTED_SUCCESS");
}

}  // namespace
}  // namespace kf::e2e
