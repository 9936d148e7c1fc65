// What one party does costs another party nothing: places, queue, store. And an outcome that its receiver does not take
// is not lost.
#include <netinet/in.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <csignal>

#include <thread>

#include "tests/e2e/other_smsr.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

// Connections are taken by the kernel and nobody ever says a word.
class SilentPort {
 public:
  SilentPort() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof a;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(fd_, 1024) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &n) != 0)
      throw std::runtime_error("no port");
    port_ = ntohs(a.sin_port);
  }
  ~SilentPort() { ::close(fd_); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

constexpr const char* kSilentOid = "2.999.31";

void add_silent_smsr(Rig& rig, std::uint16_t port) {
  Rig::must(rig.world().stop_smdp());
  std::ofstream(rig.world().config_file(), std::ios::app)
      << "\n[[party]]\nrole = \"smsr\"\noid = \"" << kSilentOid << "\"\nurl = \"https://127.0.0.1:" << port
      << "/es3\"\ncertificate = \"pki/tls-m2m.pem\"\n";
  Rig::must(rig.world().start_smdp());
}

void run_until(Rig& rig, const std::function<bool()>& so) {
  rig.io().restart();
  for (int i = 0; i < 1200 && !so(); ++i) rig.io().run_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(so());
}

TEST(Sharing, ASilentSmsrCostsTheOthersNothingAndWhatWaitsForItExpiresOnTime) {
  constexpr unsigned kPlaces = 8;
  RigOptions o;
  o.euiccs = 14;
  // Whoever has a place with the silent SM-SR keeps it for longer than this test lasts.
  o.settings = {{"limits.downloads_in_flight", std::int64_t{kPlaces}},
                {"limits.min_validity_s", std::int64_t{1}},
                {"timeouts.get_eis_tries", std::int64_t{20}},
                {"timeouts.backoff_ms", std::int64_t{600'000}}};
  Rig rig(o);
  const SilentPort silent;
  add_silent_smsr(rig, silent.port());
  const auto in_flight = [&rig] {
    const Json s = Rig::must(rig.world().smdp_status());
    for (const auto& p : s["parties"]["smsrs"])
      if (p["oid"] == kSilentOid) return std::pair(p["in_flight"].get<unsigned>(), p["waiting"].get<unsigned>());
    return std::pair(0U, 0U);
  };
  for (unsigned i = 0; i < 10; ++i) {
    sim::Order order = rig.order_of(i);
    order.smsr_id = kSilentOid;
    order.validity = 3600;
    asio::co_spawn(rig.io(), rig.op().order(order, Pattern::callback, std::chrono::seconds(1)),
                   [](std::exception_ptr, Outcome) {});
  }
  run_until(rig, [&] { return in_flight().first + in_flight().second == 10; });
  EXPECT_EQ(in_flight(), std::pair(kPlaces - 1, 3U)) << "the last place is for somebody else";

  EXPECT_EQ(told(rig.download(10)), "EXECUTED_SUCCESS") << "a healthy SM-SR's download has to wait for a silent one's";
  sim::Order late = rig.order_of(11);
  late.smsr_id = kSilentOid;
  late.validity = 2;
  const Outcome out = rig.run(rig.op().order(late, Pattern::callback, std::chrono::seconds(60)));
  EXPECT_EQ(told(out), "EXPIRED 1.6/5.3") << out.text() << ": it is told only when a place comes free";
  EXPECT_EQ(in_flight(), std::pair(kPlaces - 1, 3U)) << "nobody's place had come free";
  EXPECT_EQ(told(rig.download(12)), "EXECUTED_SUCCESS");
}

TEST(Sharing, DevicesThatNeverAnswerEnableProfileHoldNoPlaces) {
  RigOptions o;
  o.euiccs = 5;
  o.settings = {{"limits.downloads_in_flight", std::int64_t{2}}};
  o.faults = {"dropped-answer=EnableProfile"};
  Rig rig(o);
  for (unsigned i = 0; i < 4; ++i)
    asio::co_spawn(rig.io(), rig.op().order(rig.order_of(i, true), Pattern::callback, std::chrono::seconds(1)),
                   [](std::exception_ptr, Outcome) {});
  run_until(rig, [&] { return Rig::must(rig.world().smdp_status())["downloads"]["enabling"] == 4; });
  EXPECT_EQ(told(rig.download(4)), "EXECUTED_SUCCESS");
}

// Its callback was lost, and it is valid for a day. It has its eUICC to itself for as long as a card's call may take.
TEST(Sharing, AnOrderThatWaitsForEnablingLeavesItsEuiccToOthersInTime) {
  RigOptions o;
  o.euiccs = 2;
  o.settings = {{"timeouts.card_s", std::int64_t{5}}};
  o.faults = {"dropped-answer=EnableProfile"};
  Rig rig(o);
  sim::Order first = rig.order_of(0, true);
  first.validity = 86'400;
  asio::co_spawn(rig.io(), rig.op().order(first, Pattern::callback, std::chrono::seconds(1)),
                 [](std::exception_ptr, Outcome) {});
  const auto enabling = [&rig] { return Rig::must(rig.world().smdp_status())["downloads"]["enabling"] == 1; };
  run_until(rig, enabling);
  sim::Order second = rig.order_of(1);
  second.eid = first.eid;
  EXPECT_EQ(told(rig.run(rig.op().order(second, Pattern::callback, std::chrono::seconds(120)))), "EXECUTED_SUCCESS");
  EXPECT_TRUE(enabling()) << "and the first one waits on";
}

TEST(Sharing, ThePartyThatFillsTheStoreIsPutOff) {
  RigOptions o;
  o.euiccs = 4;
  o.settings = {{"limits.stored_calls", std::int64_t{3}}};
  Rig rig(o);
  const auto place = [&rig](unsigned i) {
    sim::Order order = rig.order_of(i);
    order.call_id = "order-" + std::to_string(i);
    return rig.run(rig.op().order(order, Pattern::callback, std::chrono::seconds(120)));
  };
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(told(place(i)), "EXECUTED_SUCCESS");
  for (const Outcome& x : {rig.download(3, false, Pattern::callback, std::chrono::seconds(5)),
                           rig.call(rig.request(es::Function::get_eis, 3))}) {
    EXPECT_EQ(x.http_status, 503U) << x.text();
    ASSERT_TRUE(x.fault.has_value()) << "a bare status says nothing";
    EXPECT_NE(x.fault->reason.find("has reached its limit"), std::string::npos) << x.fault->reason;
  }
  EXPECT_EQ(Rig::must(rig.world().smdp_status())["messages"]["put_off"], 2);
  EXPECT_EQ(told(place(0)), "EXECUTED_SUCCESS") << "what is stored already is answered as ever";
}

TEST(Sharing, AnOutcomeThatItsReceiverRefusesIsKeptForAPoll) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);  // the registered host and port, but the wrong door: every POST there is 404
  es::Request q;
  q.interface = es::Interface::es2;
  q.function = es::Function::download_profile;
  q.function_call_identifier = "refused-outcome";
  q.eid = rig.order_of(0).eid;
  q.smsr_id = World::kSmsrOid;
  q.iccid = rig.order_of(0).iccid;
  sim::Operator::Raw raw;
  const std::string id = rig.op().new_message_id();
  raw.body = rig.op().envelope(
      q, id,
      es::make_address("https://127.0.0.1:" + std::to_string(rig.op().port()) + "/nowhere", World::kOperatorOid, ""));
  const auto taken = rig.run([](Rig& r, sim::Operator::Raw what) -> asio::awaitable<unsigned> {
    const auto x = co_await r.op().raw_post(std::move(what), std::chrono::seconds(20));
    co_return x ? x->status : 0U;
  }(rig, raw));
  ASSERT_EQ(taken, 202U);
  run_until(rig, [&] { return Rig::must(rig.world().smdp_status())["messages"]["deliveries_kept"] == 1; });
  const auto polled = [&rig] {
    es::SendHeader h;
    h.from = es::make_address(rig.op().callback_url(), World::kOperatorOid, "");
    h.to = es::make_address(rig.world().es2_url(), "2.999.20", "");
    h.message_id = rig.op().new_message_id();
    h.action = "http://docs.oasis-open.org/ws-rx/wsmc/200702/MakeConnection";
    sim::Operator::Raw poll;
    poll.body = es::write_make_connection(h, std::string(es::kMakeConnectionPrefix) + "any");
    return rig.run([](Rig& r, sim::Operator::Raw what) -> asio::awaitable<std::string> {
      const auto x = co_await r.op().raw_post(std::move(what), std::chrono::seconds(20));
      co_return x ? std::to_string(x->status) + " " + x->body : x.error().text();
    }(rig, poll));
  };
  const std::string outcome = polled();
  EXPECT_NE(outcome.find("EXECUTED_SUCCESS"), std::string::npos) << outcome;
  EXPECT_NE(outcome.find(id.substr(0, id.find('&'))), std::string::npos) << "RelatesTo";
  EXPECT_EQ(polled(), "202 ") << "handed out once";
  // And the ledger answers a repetition of the call.
  const Outcome again = rig.run(rig.op().call(q, Pattern::callback, std::chrono::seconds(20)));
  EXPECT_EQ(told(again), "EXECUTED_SUCCESS");
}

// One number out of the server's store.
std::int64_t in_store(Rig& rig, const std::string& query) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open_v2((rig.dir() + "/store.db").c_str(), &db, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  sqlite3_busy_timeout(db, 10'000);
  sqlite3_stmt* s = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(db, query.c_str(), -1, &s, nullptr), SQLITE_OK) << query;
  const std::int64_t n = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
  sqlite3_finalize(s);
  sqlite3_close(db);
  return n;
}

net::Response posted(Rig& rig, std::string body) {
  return rig.run([](Rig& r, std::string xml) -> asio::awaitable<net::Response> {
    sim::Operator::Raw what;
    what.body = std::move(xml);
    const auto x = co_await r.op().raw_post(std::move(what), std::chrono::seconds(30));
    co_return x ? *x : net::Response{.status = 0, .content_type = {}, .headers = {}, .body = x.error().text()};
  }(rig, std::move(body)));
}

es::Request an_order(const Rig& rig, unsigned i, const std::string& call) {
  es::Request q;
  q.interface = es::Interface::es2;
  q.function = es::Function::download_profile;
  q.function_call_identifier = call;
  q.eid = rig.order_of(i).eid;
  q.smsr_id = World::kSmsrOid;
  q.iccid = rig.order_of(i).iccid;
  return q;
}

TEST(Sharing, RepeatsOfAnAnsweredCallAreOneMessage) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  const std::string address = es::make_address(rig.op().callback_url(), World::kOperatorOid, "");
  const std::string polled = std::string(es::kMakeConnectionPrefix) + "repeats";
  rig.op().stop();  // nobody is at the callback address any more
  const es::Request q = an_order(rig, 0, "repeated");
  const auto ask = [&](const std::string& reply_to) {
    return posted(rig, rig.op().envelope(q, rig.op().new_message_id(), reply_to)).status;
  };
  ASSERT_EQ(ask(address), 202U);
  run_until(rig, [&] { return Rig::must(rig.world().smdp_status())["downloads"]["completed"] == 1; });
  for (int i = 0; i < 60; ++i) ASSERT_EQ(ask(i % 3 == 0 ? polled : address), 202U);
  EXPECT_EQ(in_store(rig, "SELECT COUNT(*) FROM deliveries"), 1) << "each repeat added a message";
  EXPECT_LE(Rig::must(rig.world().smdp_status())["messages"]["deliveries_waiting"], 1);
}

TEST(Sharing, RepeatsAreNoWayAroundTheQuota) {
  RigOptions o;
  o.euiccs = 2;
  o.settings = {{"limits.stored_mib", std::int64_t{1}}};
  Rig rig(o);
  ASSERT_EQ(told(rig.run(rig.op().call(an_order(rig, 0, "answered"), Pattern::callback, std::chrono::seconds(60)))),
            "EXECUTED_SUCCESS");
  in_store(rig,
           "INSERT INTO deliveries(party,kind,address,body,attempts,created_ms) VALUES('2.999.10',2,'x',"
           "hex(zeroblob(600000)),0,9e12)");
  Rig::must(rig.world().stop_smdp());
  Rig::must(rig.world().start_smdp());  // counts what is there
  const auto again = posted(rig, rig.op().envelope(an_order(rig, 0, "answered"), rig.op().new_message_id(),
                                                   std::string(es::kMakeConnectionPrefix) + "full"));
  EXPECT_EQ(again.status, 503U) << again.body;
  EXPECT_NE(again.body.find("has reached its limit"), std::string::npos) << again.body;
  const auto on_the_same = posted(rig, rig.op().envelope(an_order(rig, 0, "answered"), rig.op().new_message_id(), ""));
  EXPECT_EQ(on_the_same.status, 200U) << "what takes no room is answered as ever";
}

TEST(Sharing, AnSmsrThatFillsItsShareOfNotificationsLeavesTheOthersTheirs) {
  RigOptions o;
  o.euiccs = 1;
  o.settings = {{"limits.stored_mib", std::int64_t{1}}};
  Rig rig(o);
  ASSERT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  const Outcome eis = rig.call(rig.request(es::Function::get_eis, 0), Pattern::sync);
  ASSERT_TRUE(eis.response && eis.response->eis) << eis.text();
  OtherSmsr other(rig);
  rig.op().stop();  // nothing is taken
  es::Request n;
  n.interface = es::Interface::es3;
  n.function = es::Function::handle_smsr_change;
  n.eis = eis.response->eis;
  n.mno_id = World::kOperatorOid;
  n.completion_timestamp = "2026-03-02T09:00:00Z";
  es::Request flood = n;
  flood.eis->smsr_id = OtherSmsr::kOid;
  flood.eis->profiles.insert(flood.eis->profiles.end(), 40, flood.eis->profiles.at(0));
  unsigned status = 202;
  for (int i = 0; i < 1000 && status == 202; ++i) status = other.notify(flood);
  ASSERT_EQ(status, 503U) << "there is no end to it";
  ASSERT_EQ(other.notify(n, "smsr"), 202U);
  run_until(rig, [&] {
    return in_store(rig, "SELECT COUNT(*) FROM deliveries WHERE kind=1 AND body NOT LIKE '%" +
                             std::string(OtherSmsr::kOid) + "%'") == 1;
  });
}

TEST(Sharing, AnSmsrThatCarriedOutARequestIsBelieved) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  ASSERT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  OtherSmsr other(rig);
  es::Request n;
  n.interface = es::Interface::es3;
  n.function = es::Function::handle_profile_disabled;
  n.eid = rig.order_of(0).eid;
  n.iccid = rig.order_of(0).iccid;
  n.completion_timestamp = "2026-03-02T09:00:00Z";
  const auto alarms = [&] { return Rig::must(rig.world().smdp_status())["messages"]["alarms"].get<int>(); };
  ASSERT_EQ(other.notify(n), 202U);
  run_until(rig, [&] { return alarms() == 1; });
  EXPECT_TRUE(rig.op().notifications().empty()) << "of an SM-SR that has nothing to do with the card";
  es::Request q = rig.request(es::Function::enable_profile, 0);
  q.smsr_id = OtherSmsr::kOid;
  ASSERT_EQ(told(rig.call(q)), "EXECUTED_SUCCESS");
  EXPECT_EQ(other.calls, 1U);
  ASSERT_EQ(other.notify(n), 202U);
  EXPECT_TRUE(rig.run(rig.op().wait_notification(n.function, *n.iccid, std::chrono::seconds(20))));
  EXPECT_EQ(alarms(), 1);
}

TEST(Sharing, RequestsBeyondTheBoundArePutOffByName) {
  RigOptions o;
  o.euiccs = 1;
  o.settings = {{"limits.relays_per_smsr", std::int64_t{4}}, {"limits.relays_per_operator", std::int64_t{200}}};
  Rig rig(o);
  const SilentPort silent;
  add_silent_smsr(rig, silent.port());
  es::Request q = rig.request(es::Function::get_eis, 0);
  q.smsr_id = kSilentOid;
  const auto ask = [&](int i) {
    q.function_call_identifier = "ask-" + std::to_string(i);
    return posted(rig, rig.op().envelope(q, rig.op().new_message_id(), std::string(es::kMakeConnectionPrefix) + "x"));
  };
  int accepted = 0;
  net::Response last;
  for (; accepted < 40; ++accepted) {
    last = ask(accepted);
    if (last.status != 202) break;
  }
  EXPECT_EQ(accepted, 8 + 4) << "a quarter of the connections and the queue";
  EXPECT_EQ(last.status, 503U);
  EXPECT_NE(last.body.find("wait for SM-SR 2.999.31"), std::string::npos) << last.body;
  EXPECT_NE(net::find_header(last.headers, "Retry-After"), nullptr);
  EXPECT_EQ(ask(0).status, 202U) << "a repeat of what was accepted";
  EXPECT_EQ(told(rig.call(rig.request(es::Function::get_eis, 0))), "EXECUTED_SUCCESS") << "another SM-SR's";
}

// A callback or answer carries the ReferenceParameters of the ReplyTo, also after a restart.
TEST(Sharing, ReferenceParametersComeBack) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  const auto with_parameters = [&](const std::string& reply_to) {
    std::string xml = rig.op().envelope(an_order(rig, 0, "with-parameters"), rig.op().new_message_id(), reply_to);
    const std::string end = "</wsa:ReplyTo>";
    xml.insert(xml.find(end),
               "<wsa:ReferenceParameters><k:Key xmlns:k=\"urn:key\">4711</k:Key></wsa:ReferenceParameters>");
    return xml;
  };
  const std::string polled = std::string(es::kMakeConnectionPrefix) + "with-parameters";
  ASSERT_EQ(posted(rig, with_parameters(polled)).status, 202U);
  run_until(rig, [&] { return Rig::must(rig.world().smdp_status())["downloads"]["completed"] == 1; });
  const std::string block = "IsReferenceParameter=\"true\">4711</k:Key>";
  EXPECT_EQ(in_store(rig, "SELECT COUNT(*) FROM deliveries WHERE body LIKE '%" + block + "</s:Header>%'"), 1);
  Rig::must(rig.world().stop_smdp());
  Rig::must(rig.world().start_smdp());
  const auto now = posted(rig, with_parameters(std::string(es::kWsaAnonymous)));
  EXPECT_EQ(now.status, 200U);
  EXPECT_NE(now.body.find(block), std::string::npos) << now.body;
}

TEST(Sharing, WhatOthersWroteDoesNotSpeakToTheTerminal) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  in_store(rig, "UPDATE profiles SET profile_type='red '||char(27)||'[31m'||char(155)||'2J'||char(8238)");
  const auto list = rig.world().keyferry({"profile", "list", "--rows", "--config", rig.world().config_file()});
  ASSERT_TRUE(list.ok()) << list.error().text();
  EXPECT_EQ(list->find_first_of("\x1B\x9B"), std::string::npos) << *list;
  EXPECT_NE(list->find("red \\x1B[31m\\u{009B}2J\\u{202E}"), std::string::npos) << *list;
}

// A second signal ends the wait of a connection, not the order: it is said so.
TEST(Sharing, AConnectionThatAStopCutsShortIsToldThatTheOrderGoesOn) {
  RigOptions o;
  o.euiccs = 1;
  o.radio = "constant:3000";
  Rig rig(o);
  const std::string xml = rig.op().envelope(an_order(rig, 0, "cut short"), rig.op().new_message_id(), "");
  std::thread signals([&] {
    for (int i = 0; i < 400; ++i) {
      const auto s = rig.world().smdp_status();
      if (s && (*s)["downloads"]["in_flight"] == 1) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    ::kill(rig.world().smdp().pid(), SIGTERM);
    // Two signals that wait are one.
    for (int i = 0; i < 600; ++i) {
      if (slurp(rig.world().smdp_log()).find("stopping: no new orders") != std::string::npos) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    ::kill(rig.world().smdp().pid(), SIGTERM);
  });
  const auto cut = posted(rig, xml);
  signals.join();
  EXPECT_EQ(cut.status, 503U);
  EXPECT_NE(cut.body.find("was accepted"), std::string::npos) << cut.body;
  EXPECT_NE(cut.body.find("same FunctionCallIdentifier"), std::string::npos) << cut.body;
}

TEST(Sharing, ARowThatMakesAJobThrowFailsThatCallOnly) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open_v2((rig.dir() + "/store.db").c_str(), &db, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  sqlite3_busy_timeout(db, 10'000);
  const std::string spoil = "UPDATE profiles SET pol2='[{' WHERE iccid='" + rig.order_of(0).iccid + "'";
  ASSERT_EQ(sqlite3_exec(db, spoil.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_EQ(told(rig.download(0, false, Pattern::callback, std::chrono::seconds(20))), "FAILED 1.2/4.2");
  EXPECT_EQ(told(rig.download(1)), "EXECUTED_SUCCESS");
  EXPECT_GE(Rig::must(rig.world().smdp_status())["messages"]["alarms"], 1);
}

}  // namespace
}  // namespace kf::e2e
