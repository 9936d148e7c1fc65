// Messages to Operators: whose turn it is at a slow receiver, and what waits for one that is not there.
#include <gtest/gtest.h>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <filesystem>

#include "host/base/random.hpp"
#include "host/pki/test_pki.hpp"
#include "host/server/delivery.hpp"
#include "host/server/sqlite_books.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr const char* kOp = "2.999.10";

// Never destroyed, as in the server, which ends with coroutines suspended that refer to all of it.
template <class T>
T& kept(std::unique_ptr<T> p) {
  static auto* const all = new std::vector<std::shared_ptr<void>>;
  T& t = *p;
  all->push_back(std::shared_ptr<T>(std::move(p)));
  return t;
}

struct Deliveries : ::testing::Test {
  static void SetUpTestSuite() {
    dir_ = fs::temp_directory_path() / ("kf-deliveries-" + random_uuid());
    fs::create_directories(dir_);
    ASSERT_TRUE(ensure_test_pki((dir_ / "pki").string(), Curve::p256, default_parties()).ok());
  }
  static void TearDownTestSuite() { fs::remove_all(dir_); }
  static net::TlsFiles files(const std::string& name) {
    const std::string p = (dir_ / "pki").string() + "/tls-";
    return {p + name + ".pem", p + name + ".key", p + "root.pem"};
  }

  void SetUp() override {
    auto s = store::Store::open({(dir_ / (random_uuid() + ".db")).string()});
    ASSERT_TRUE(s.ok());
    store_ = &kept(std::move(*s));
    book_ = &kept(std::make_unique<SqliteMessageBook>(kept(std::make_unique<Storage>(io_, *store_))));
    net::ServerOptions o;
    o.tls = files("operator");
    receiver_ = &kept(std::make_unique<net::HttpServer>(
        io_, std::move(o), [this](net::Request r) -> asio::awaitable<net::Response> { return take(std::move(r)); }));
    ASSERT_TRUE(receiver_->start().ok());
    config_.tls = files("smdp");
    config_.delivery_timeout_ms = 600'000;
    Party p;
    p.oid = Oid::trusted(kOp);
    config_.parties.push_back(p);
  }
  void TearDown() override {
    if (service_ != nullptr) service_->stop();
    receiver_->stop();
  }
  void start(std::size_t connections) {
    config_.parties[0].max_connections = connections;
    service_ = &kept(std::make_unique<DeliveryService>(io_, config_, *book_, metrics_));
  }
  asio::awaitable<net::Response> take(net::Request r) {
    if (r.body.starts_with(held_) && !held_.empty()) {
      ++holding_;
      asio::steady_timer never(io_, std::chrono::hours(1));
      boost::system::error_code ec;
      co_await never.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
    sizes_.push_back(r.body.size());
    order_.push_back(r.body.substr(0, 20));
    net::Response x;
    x.status = status_;
    co_return x;
  }
  // Stored and handed over, as after a commit.
  store::DeliveryRow row(std::string body, std::string source = {}, std::int64_t replaces = 0) {
    store::DeliveryRow d;
    d.party = kOp;
    d.kind = source.empty() ? store::DeliveryKind::callback : store::DeliveryKind::notification;
    d.source = std::move(source);
    d.address = "https://127.0.0.1:" + std::to_string(port_ != 0 ? port_ : receiver_->port()) + "/cb";
    d.body = std::move(body);
    d.replaces = replaces;
    EXPECT_TRUE(store_
                    ->run([&](store::Tx& tx) {
                      if (replaces != 0) tx.delete_delivery(replaces);
                      d.id = tx.insert_delivery(d);
                    })
                    .ok());
    return d;
  }
  template <class P>
  bool run_until(P so) {
    for (int i = 0; i < 3000 && !so(); ++i) {
      io_.restart();
      io_.run_for(milliseconds(10));
    }
    return so();
  }
  [[nodiscard]] std::size_t place(const std::string& body) const {
    return static_cast<std::size_t>(std::ranges::find(order_, body) - order_.begin());
  }

  static inline fs::path dir_;
  asio::io_context& io_ = kept(std::make_unique<asio::io_context>(1));
  Settings& config_ = kept(std::make_unique<Settings>());
  Metrics& metrics_ = kept(std::make_unique<Metrics>());
  store::Store* store_ = nullptr;
  MessageBook* book_ = nullptr;
  net::HttpServer* receiver_ = nullptr;
  DeliveryService* service_ = nullptr;
  std::uint16_t port_ = 0;
  std::string held_;
  int holding_ = 0;
  unsigned status_ = 202;
  std::vector<std::string> order_;
  std::vector<std::size_t> sizes_;
};

TEST_F(Deliveries, OutcomesGoFirstAndEachSmsrHasItsTurn) {
  start(1);
  for (int i = 0; i < 20; ++i) service_->add(row("flood " + std::to_string(i), "2.999.31"));
  for (const char* one : {"other 1", "other 2"}) service_->add(row(one, "2.999.30"));
  for (const char* one : {"outcome 1", "outcome 2"}) service_->add(row(one));
  ASSERT_TRUE(run_until([&] { return order_.size() == 24; }));
  EXPECT_EQ(order_[0], "flood 0") << "the one that was on its way";
  EXPECT_EQ(order_[1], "outcome 1");
  EXPECT_EQ(order_[2], "outcome 2");
  EXPECT_LE(place("other 2"), 6U) << "behind the flood of another SM-SR";
  EXPECT_LT(place("flood 1"), place("flood 19"));
}

// Seen: after an Operator's outage the first outcome came up to a minute late, behind the pause of older notifications.
TEST_F(Deliveries, AnOutcomeDoesNotWaitForThePauseOfWhatFailedBefore) {
  start(1);
  port_ = 1;  // nobody
  service_->add(row("news", "2.999.30"));
  ASSERT_TRUE(
      run_until([&] { return metrics_.delivery_retries == 4; }));  // pauses of 1, 2 and 4 s; the next one lasts 8 s
  const auto from = std::chrono::steady_clock::now();
  ASSERT_TRUE(run_until([&] { return std::chrono::steady_clock::now() - from > milliseconds(1100); }));
  service_->add(row("outcome"));
  ASSERT_TRUE(run_until([&] { return metrics_.delivery_retries == 5; }));
  EXPECT_LT(std::chrono::steady_clock::now() - from, std::chrono::seconds(7)) << "the pause has ended by itself";
}

TEST_F(Deliveries, NewsNeverStarves) {
  start(1);
  for (int i = 0; i < 30; ++i) service_->add(row("outcome " + std::to_string(i)));
  service_->add(row("news", "2.999.30"));
  ASSERT_TRUE(run_until([&] { return order_.size() == 31; }));
  EXPECT_LE(place("news"), 9U);
}

TEST_F(Deliveries, NewsLeavesHalfOfTheConnectionsToOutcomes) {
  start(4);
  held_ = "news";
  for (int i = 0; i < 10; ++i) service_->add(row("news " + std::to_string(i), "2.999.30"));
  ASSERT_TRUE(run_until([&] { return holding_ == 2; }));
  service_->add(row("outcome"));
  EXPECT_TRUE(run_until([&] { return !order_.empty(); })) << "every connection waits for an answer to news";
  EXPECT_EQ(holding_, 2);
}

TEST_F(Deliveries, AMessageInPlaceOfAnotherIsOneMessage) {
  start(16);
  port_ = 9;  // nobody is there
  store::DeliveryRow d = row("answer");
  service_->add(d);
  for (int i = 0; i < 300; ++i) {
    d = row("answer again", {}, d.id);
    service_->add(d);
    if (i % 50 == 0) {
      io_.restart();
      io_.run_for(milliseconds(20));  // it fails, and rests
    }
  }
  EXPECT_TRUE(run_until([&] { return service_->waiting() <= 1; })) << service_->waiting();
  EXPECT_EQ(service_->waiting(), 1U);
  EXPECT_LE(service_->octets(), 100U);
}

TEST_F(Deliveries, OneMessageFindsOutWhetherAReceiverIsBack) {
  start(4);
  const auto port = receiver_->port();
  receiver_->stop();
  port_ = port;
  for (int i = 0; i < 500; ++i) service_->add(row("news " + std::to_string(i), "2.999.30"));
  for (int i = 0; i < 5; ++i) service_->add(row("outcome " + std::to_string(i)));
  ASSERT_TRUE(run_until([&] { return metrics_.delivery_retries >= 5; }));
  EXPECT_LE(metrics_.delivery_retries, 5U) << "each of them asks for itself";
  EXPECT_EQ(service_->waiting(), 505U);
  net::ServerOptions o;
  o.tls = files("operator");
  o.port = port;
  receiver_ = &kept(std::make_unique<net::HttpServer>(
      io_, std::move(o), [this](net::Request r) -> asio::awaitable<net::Response> { return take(std::move(r)); }));
  ASSERT_TRUE(receiver_->start().ok());
  ASSERT_TRUE(run_until([&] { return service_->waiting() == 0; }));
  EXPECT_LE(place("outcome 4"), 5U) << "outcomes keep their place at the front";
  EXPECT_EQ(order_.size(), 505U);
}

TEST_F(Deliveries, AReceiverThatIsSilentRestsWithAllItsMessages) {
  config_.delivery_timeout_ms = 200;
  start(4);
  held_ = "outcome";
  for (int i = 0; i < 40; ++i) service_->add(row("outcome " + std::to_string(i)));
  ASSERT_TRUE(run_until([&] { return metrics_.delivery_retries >= 5; }));
  io_.restart();
  io_.run_for(milliseconds(1500));
  EXPECT_LE(holding_, 8) << "each of them asks for itself";
  EXPECT_EQ(service_->waiting(), 40U);
  held_.clear();
  ASSERT_TRUE(run_until([&] { return service_->waiting() == 0; }));
  EXPECT_EQ(order_.size(), 40U);
}

TEST_F(Deliveries, OneMessageThatGetsNoAnswerHoldsUpNoOther) {
  config_.delivery_timeout_ms = 200;
  start(1);
  held_ = "poison";
  service_->add(row("poison"));
  for (int i = 0; i < 10; ++i) service_->add(row("outcome " + std::to_string(i)));
  ASSERT_TRUE(run_until([&] { return service_->waiting() == 1; }));
  EXPECT_EQ(order_.size(), 10U);
}

// An endpoint that is being redeployed answers 404 for a moment. Nobody polls for a notification.
TEST_F(Deliveries, OnlyWhatIsWrongWithANotificationItselfLosesIt) {
  for (const unsigned status : {401U, 403U, 404U, 405U, 400U, 415U}) {
    start(2);
    order_.clear();
    const std::uint64_t lost_before = metrics_.notifications_lost, retried_before = metrics_.delivery_retries;
    status_ = status;
    const bool lost = status == 400 || status == 415;
    service_->add(row("news", "2.999.30"));
    ASSERT_TRUE(run_until([&] {
      return metrics_.notifications_lost + metrics_.delivery_retries == lost_before + retried_before + 1;
    })) << status;
    EXPECT_EQ(metrics_.notifications_lost - lost_before, lost ? 1U : 0U) << status;
    status_ = 202;
    ASSERT_TRUE(run_until([&] { return service_->waiting() == 0; }));
    EXPECT_EQ(order_.size(), lost ? 1U : 2U) << status;
    service_->stop();
  }
}

TEST_F(Deliveries, WhatNobodyTakesIsKeptForAPollThoughOnlyOneMessageAsks) {
  start(1);
  config_.delivery_give_up_s = 0;
  port_ = 9;  // nobody is there
  for (int i = 0; i < 5; ++i) service_->add(row("outcome " + std::to_string(i)));
  ASSERT_TRUE(run_until([&] { return service_->waiting() == 0; })) << service_->waiting();
  EXPECT_EQ(metrics_.deliveries_kept, 5U);
}

TEST_F(Deliveries, WhatWaitsIsInTheStoreAndNotInMemory) {
  start(2);
  constexpr std::size_t kEach = 1 << 20;
  const std::string body(kEach, 'x');
  for (int i = 0; i < 24; ++i) service_->add(row(body));
  EXPECT_LE(service_->octets(), DeliveryService::kMostOctets);
  EXPECT_EQ(service_->waiting(), 24U);
  ASSERT_TRUE(run_until([&] { return sizes_.size() == 24; }));
  EXPECT_TRUE(std::ranges::all_of(sizes_, [](std::size_t n) { return n == kEach; }));
  EXPECT_TRUE(run_until([&] { return service_->waiting() == 0; }));
  EXPECT_EQ(service_->octets(), 0U);
}

}  // namespace
}  // namespace kf::server
