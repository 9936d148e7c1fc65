// What one party does costs another party nothing: places, queue, store. And an outcome that its receiver does not take
// is not lost.
#include <netinet/in.h>
#include <sqlite3.h>
#include <sys/socket.h>

#include <thread>

#include "tests/e2e/rig.hpp"

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
