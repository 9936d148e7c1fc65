// The Operator against an ES2 server of the test that answers by every pattern, and wrongly.
// docs/spec/interfaces.md 1.4, 2.1.
#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstdlib>
#include <deque>
#include <filesystem>

#include "host/base/random.hpp"
#include "host/pki/test_pki.hpp"
#include "tests/sim/operator/operator.hpp"

namespace kf::sim::test {
namespace {

const std::string kEid = "89001012012341234098765432100191";
const std::string kIccid = "89000123456789012341";

const std::string& pki_dir() {
  struct Dir {
    std::string path;
    Dir() {
      char name[] = "/tmp/kf-operator-test-XXXXXX";
      path = ::mkdtemp(name) == nullptr ? "/tmp" : name;
      if (!ensure_test_pki(path, Curve::p256, default_parties()).ok()) std::abort();
    }
    ~Dir() { std::filesystem::remove_all(path); }
  };
  static const Dir d;
  return d.path;
}
net::TlsFiles tls_of(const std::string& who) {
  return {pki_dir() + "/tls-" + who + ".pem", pki_dir() + "/tls-" + who + ".key", pki_dir() + "/tls-root.pem"};
}

// Answers every order with what `status` and `mode` say.
class Es2Stub {
 public:
  explicit Es2Stub(asio::io_context& io) : io_(io) {
    net::ServerOptions s;
    s.tls = tls_of("smdp");
    server_ =
        std::make_unique<net::HttpServer>(io, std::move(s), [this](net::Request r) { return handle(std::move(r)); });
    if (!server_->start().ok()) std::abort();
  }
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(server_->port()) + "/es2"; }

  unsigned refuse_with = 0;  // HTTP status
  bool relates = true;       // RelatesTo right
  int times = 1;             // callbacks
  int empty_polls = 2;       // before the outcome is there
  bool notify = false;
  std::vector<es::Request> seen;

 private:
  [[nodiscard]] std::string answer(const es::Request& q, const std::string& relates_to, const std::string& to,
                                   bool callback) const {
    es::Response r;
    r.interface = q.interface;
    r.function = q.function;
    r.iccid = kIccid;
    es::SendHeader h;
    h.from = es::make_address(url(), "2.999.20", "SM-DP");
    h.to = to;
    h.message_id = es::make_message_id("2.999.20", random_uuid(), "t", "2026-03-02T09:00:00Z");
    h.relates_to = relates ? relates_to : "//2.999.10/another";
    h.action = es::action_of(r, callback ? es::Way::callback : es::Way::answer);
    return es::write_message(h, r);
  }
  asio::awaitable<void> call_back(std::string url, std::vector<std::string> bodies) {
    const auto u = net::parse_url(url);
    net::ClientOptions c;
    c.host = u->host;
    c.port = u->port;
    c.tls = tls_of("smdp");
    net::HttpClient client(io_, std::move(c));
    for (auto& b : bodies) {
      net::Request r;
      r.target = u->target;
      r.content_type = es::kSoapContentType;
      r.body = std::move(b);
      const auto a = co_await client.call(std::move(r), net::Millis(5000), false);
      EXPECT_TRUE(a.ok() && a->status == 202);
    }
  }
  asio::awaitable<net::Response> handle(net::Request r) {
    net::Response out;
    out.content_type = es::kSoapContentType;
    auto parsed = es::parse_message(r.body, {});
    if (refuse_with != 0 || std::holds_alternative<es::Fault>(parsed)) {
      es::Fault f;
      if (auto* got = std::get_if<es::Fault>(&parsed)) f = *got;
      out.status = f.http_status = refuse_with != 0 ? refuse_with : f.http_status;
      if (refuse_with != 503) out.body = es::write_fault(f);
      co_return out;
    }
    auto& m = std::get<es::Message>(parsed);
    if (auto* poll = std::get_if<es::MakeConnection>(&m.body)) {
      const auto it = queued_.find(poll->address);
      out.status = 202;
      if (it == queued_.end() || empty_polls-- > 0) co_return out;
      out.status = 200;
      out.body = it->second;
      co_return out;
    }
    const es::Request q = std::get<es::Request>(m.body);
    seen.push_back(q);
    const std::string& reply_to = m.header.reply_to;
    if (reply_to.empty()) {
      out.body = answer(q, m.header.message_id, m.header.from, false);
      co_return out;
    }
    out.status = 202;
    if (reply_to.starts_with(es::kMakeConnectionPrefix)) {
      queued_[reply_to] = answer(q, m.header.message_id, reply_to, true);
      co_return out;
    }
    std::vector<std::string> bodies(static_cast<std::size_t>(times), answer(q, m.header.message_id, reply_to, true));
    if (notify) {
      es::Request n;
      n.interface = es::Interface::es2;
      n.function = es::Function::handle_profile_downloaded;
      n.eid = q.eid;
      n.iccid = kIccid;
      n.completion_timestamp = "2026-03-02T09:01:16Z";
      es::SendHeader h;
      h.from = es::make_address(url(), "2.999.20", "SM-DP");
      h.to = reply_to;
      h.message_id = es::make_message_id("2.999.20", random_uuid(), "t", "2026-03-02T09:00:00Z");
      h.action = es::action_of(n);
      bodies.push_back(es::write_message(h, n));
    }
    asio::co_spawn(io_, call_back(reply_to, std::move(bodies)), asio::detached);
    co_return out;
  }
  asio::io_context& io_;
  std::unique_ptr<net::HttpServer> server_;
  std::map<std::string, std::string> queued_;
};

template <class T>
asio::awaitable<void> into(asio::awaitable<T> work, std::optional<T>& out) {
  out.emplace(co_await std::move(work));
}
template <class T>
T run(asio::io_context& io, asio::awaitable<T> work) {
  std::optional<T> out;
  asio::co_spawn(io, into(std::move(work), out), [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  });
  io.restart();
  const auto deadline = Clock::now() + std::chrono::seconds(30);
  while (!out && Clock::now() < deadline) io.run_one_for(std::chrono::milliseconds(100));
  if (!out) throw std::runtime_error("the coroutine did not end in time");
  return std::move(*out);
}

class OperatorTest : public ::testing::Test {
 protected:
  OperatorTest() : stub(io) {
    OperatorOptions o;
    o.smdp_url = stub.url();
    o.tls = tls_of("operator");
    o.poll_interval = net::Millis(20);
    op = std::make_unique<Operator>(io, o);
    EXPECT_TRUE(op->start().ok());
  }
  Outcome order(Pattern p, net::Millis timeout = net::Millis(5000)) {
    Order o;
    o.eid = kEid;
    o.profile_type = "Sample";
    o.enable = true;
    o.validity = 77;
    return run(io, op->order(o, p, timeout));
  }
  asio::io_context io;
  Es2Stub stub;
  std::unique_ptr<Operator> op;
};

TEST_F(OperatorTest, ThreePatternsBringTheSameOutcome) {
  for (const Pattern p : {Pattern::sync, Pattern::callback, Pattern::polling}) {
    const Outcome o = order(p);
    EXPECT_TRUE(o.succeeded()) << o.text();
    EXPECT_EQ(o.http_status, p == Pattern::sync ? 200u : 202u);
    EXPECT_EQ(o.response->iccid, kIccid);
    EXPECT_GE(o.done, o.accepted);
    EXPECT_GE(o.accepted, o.sent);
  }
  EXPECT_GE(op->counters().polls, 3u);
  ASSERT_EQ(stub.seen.size(), 3u);
  EXPECT_EQ(stub.seen[0].eid, kEid);
  EXPECT_EQ(stub.seen[0].profile_type, "Sample");
  EXPECT_TRUE(stub.seen[0].enable_profile);
  EXPECT_EQ(stub.seen[0].validity_period, 77u);
  EXPECT_EQ(stub.seen[0].smsr_id, "2.999.30");
  EXPECT_NE(stub.seen[0].function_call_identifier, stub.seen[1].function_call_identifier);
}

TEST_F(OperatorTest, CallbacksAreCorrelatedAndCounted) {
  stub.times = 2;
  stub.notify = true;
  EXPECT_TRUE(order(Pattern::callback).succeeded());
  EXPECT_TRUE(run(io, op->wait_notification(es::Function::handle_profile_downloaded, kIccid, net::Millis(3000))));
  EXPECT_EQ(op->notifications().at(0).eid, kEid);
  EXPECT_EQ(op->counters().repeated_callbacks, 1u);
  stub.times = 1;
  stub.notify = false;
  stub.relates = false;
  const Outcome lost = order(Pattern::callback, net::Millis(400));
  EXPECT_FALSE(lost.response);
  EXPECT_TRUE(lost.error.starts_with("net-timeout")) << lost.error;
  EXPECT_EQ(op->counters().unknown_callbacks, 1u);
}

TEST_F(OperatorTest, RefusalsAreToldApart) {
  stub.refuse_with = 400;
  const Outcome fault = order(Pattern::callback);
  EXPECT_TRUE(fault.fault);
  EXPECT_EQ(fault.http_status, 400u);
  stub.refuse_with = 503;
  const Outcome busy = order(Pattern::callback);
  EXPECT_EQ(busy.error, "HTTP 503");
  stub.refuse_with = 0;
  Operator::Raw raw;
  raw.body = "nonsense";
  const auto answer = run(io, op->raw_post(raw, net::Millis(5000)));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->status, 400u);
  EXPECT_FALSE(parse_pattern("later").ok());
}

TEST(NotificationSink, CountsNotificationsOnly) {
  asio::io_context io;
  SinkOptions so;
  so.tls = tls_of("m2m");
  NotificationSink sink(io, so);
  ASSERT_TRUE(sink.start().ok());
  net::ClientOptions c;
  c.port = sink.port();
  c.tls = tls_of("smsr");
  net::HttpClient client(io, std::move(c));
  es::Request n;
  n.interface = es::Interface::es4;
  n.function = es::Function::handle_profile_enabled;
  n.eid = kEid;
  n.iccid = kIccid;
  n.completion_timestamp = "2026-03-02T09:01:16Z";
  es::SendHeader h;
  h.from = es::make_address("https://smsr.example/es3", "2.999.30", "SM-SR");
  h.to = sink.url();
  h.message_id = es::make_message_id("2.999.30", random_uuid(), "t", "2026-03-02T09:00:00Z");
  h.action = es::action_of(n);
  const auto post = [&](std::string body) {
    net::Request r;
    r.content_type = es::kSoapContentType;
    r.body = std::move(body);
    const auto a = run(io, client.call(std::move(r), net::Millis(5000), false));
    return a.ok() ? a->status : 0u;
  };
  EXPECT_EQ(post(es::write_message(h, n)), 202u);
  EXPECT_EQ(sink.total(), 1u);
  EXPECT_EQ(sink.counts().at("ES4-HandleProfileEnabledNotification"), 1u);
  EXPECT_EQ(sink.kept().at(0).iccid, kIccid);
  EXPECT_EQ(sink.kept().at(0).from_entity, "2.999.30");
  EXPECT_EQ(post("nonsense"), 400u);
  EXPECT_EQ(sink.refused(), 1u);
  sink.stop();
}

}  // namespace
}  // namespace kf::sim::test
