// What one peer can do to the others: each attack while a well-behaved Operator A works with a healthy SM-SR. A's
// orders are done, the server lives, memory and store stay bounded; the latencies are measured and printed as a table
// (the one in docs/security.md is of `KF_ATTACK_FULL=1 e2e_attacks` on a quiet machine). Nothing here judges speed.
#include <sys/un.h>

#include <csignal>

#include "tests/e2e/attack_field.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);
using F = es::Function;

// ---- the strangers ----

struct SslFree {
  void operator()(SSL_CTX* c) const { SSL_CTX_free(c); }
  void operator()(SSL* s) const { SSL_free(s); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslFree>;

// The first message of a handshake that offers one group only, to be sent again and again: it costs the stranger
// nothing.
std::string client_hello(const char* group) {
  const SslContext ctx(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(ctx.get(), TLS1_3_VERSION);
  if (SSL_CTX_set1_groups_list(ctx.get(), group) != 1) return {};
  const std::unique_ptr<SSL, SslFree> ssl(SSL_new(ctx.get()));
  BIO* in = BIO_new(BIO_s_mem());
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), in, out);
  SSL_set_connect_state(ssl.get());
  SSL_do_handshake(ssl.get());
  char* data = nullptr;
  const long n = BIO_get_mem_data(out, &data);
  return {data, static_cast<std::size_t>(n)};
}

// Not before A is at work, and not longer than the limit.
template <class Step>
void again_and_again(Attack& a, seconds limit, milliseconds pause, Step step) {
  const auto until = Steady::now() + limit;
  while (!a.stop && Steady::now() < until) {
    step();
    a.begun = true;
    std::this_thread::sleep_for(pause);
  }
}

// Posts as a party of ours, from the attack's own thread. The answer does not matter.
class Poster {
 public:
  Poster(net::TlsFiles tls, const net::Url& url) : target_(url.target) {
    net::ClientOptions o;
    o.host = url.host;
    o.port = url.port;
    o.tls = std::move(tls);
    o.max_connections = 4;
    client_ = std::make_unique<net::HttpClient>(io_, std::move(o));
  }
  unsigned post(std::string body, const std::string& below = "") {
    unsigned status = 0;
    asio::co_spawn(io_, once(std::move(body), below, status), asio::detached);
    io_.restart();
    io_.run();
    return status;
  }

 private:
  asio::awaitable<void> once(std::string body, std::string below, unsigned& status) {
    net::Request q;
    q.target = target_ + below;
    q.content_type = std::string(es::kSoapContentType);
    q.body = std::move(body);
    const auto r = co_await client_->call(std::move(q), seconds(200), false);
    if (r) status = r->status;
    client_->close_idle();  // nothing is left to run
  }
  asio::io_context io_{1};
  std::string target_;
  std::unique_ptr<net::HttpClient> client_;
};

// A good GetEIS response whose EumSignature has one child with as many different prefixes as fit.
std::string answer_with_prefixes(std::size_t bytes) {
  std::string xml = slurp(KF_SOURCE_DIR "/tests/fuzz/corpus/soap/eis.xml");
  std::string many = "<s>";
  for (unsigned i = 0; many.size() < bytes; ++i) many += "<p" + std::to_string(i) + ":a/>";
  const auto at = xml.find('>', xml.find("EumSignature"));
  return at == std::string::npos ? std::string() : xml.insert(at + 1, many + "</s>");
}

class Attacks : public ::testing::Test {
 protected:
  static constexpr unsigned kOrdersEach = 3, kMostRows = 12;
  static constexpr std::int64_t kConnections = 600;  // in place of 4096, unless in full size

  static void SetUpTestSuite() {
    std::vector<bench::Setting> s;
    if (!full_size()) s.push_back({"limits.max_connections", kConnections});
    field_ = std::make_unique<Field>(kOrdersEach * kMostRows, 400, std::move(s));
    ::signal(SIGPIPE, SIG_IGN);  // of this process: OpenSSL writes to what the server has closed
    Attack none;
    none.over = true;
    rows_.push_back(at_work(*field_, "none", next_, kOrdersEach, none));
    next_ += kOrdersEach;
    rows_.back().alive = "alive";
  }
  static void TearDownTestSuite() {
    print_table(rows_);
    field_.reset();
  }
  static std::size_t connections() { return full_size() ? 4096 : static_cast<std::size_t>(kConnections); }

  // Runs the attack on a thread of its own and A on this one. Growth is what is left afterwards.
  template <class Make>
  static void under(const char* name, double most_memory_mib, double most_store_mib, Make make) {
    World& w = field_->rig().world();
    ASSERT_TRUE(w.smdp().running()) << "the server did not outlive an earlier attack";
    const pid_t pid = w.smdp().pid();
    const double memory = memory_mib(pid), store = store_mib(w.dir());
    Attack a;
    std::thread t([&] {
      try {
        make(a);
      } catch (const std::exception& e) {
        a.error = e.what();
      }
      a.begun = a.over = true;
    });
    while (!a.begun) std::this_thread::sleep_for(milliseconds(5));
    Row row = at_work(*field_, name, next_, kOrdersEach, a);
    next_ += kOrdersEach;
    a.stop = true;
    t.join();
    const bool alive = w.smdp().running() && w.smdp().pid() == pid && w.smdp_status().ok();
    row.alive = alive ? "alive" : "ended";
    row.memory_mib = memory_mib(pid) - memory;
    row.store_mib = store_mib(w.dir()) - store;
    rows_.push_back(row);
    EXPECT_EQ(a.error, "");
    EXPECT_TRUE(alive);
    EXPECT_EQ(row.on_time, row.orders);
    EXPECT_EQ(row.failed_requests, 0U) << "of " << row.ms.size();
    EXPECT_LT(row.memory_mib, most_memory_mib);
    EXPECT_LT(row.store_mib, most_store_mib);
  }
  static inline std::unique_ptr<Field> field_;
  static inline std::vector<Row> rows_;
  static inline unsigned next_ = 0;
};

TEST_F(Attacks, PoisonFromAnSmsr) {
  field_->strange_smsr().poison = true;
  constexpr unsigned kOrders = 300;  // more than there are places in flight
  unsigned told_of = 0;
  const unsigned before = field_->strange_smsr().calls;
  under("poison Status to 300 orders", 64, 32, [&](Attack& a) {
    asio::io_context io(1);
    const auto b = field_->operator_b(io);
    unsigned left = kOrders;
    for (unsigned i = 0; i < kOrders; ++i)
      asio::co_spawn(io, b->call(field_->order_of_b(i, kOtherSmsr), Pattern::polling, seconds(60)),
                     [&](const std::exception_ptr&, const Outcome& o) {
                       if (o.response) ++told_of;
                       if (--left == 0) io.stop();
                     });
    std::thread watch([&] {  // A begins when B's orders are at work
      const auto until = Steady::now() + seconds(5);
      while (field_->strange_smsr().calls < before + 250 && Steady::now() < until)
        std::this_thread::sleep_for(milliseconds(10));
      a.begun = true;
    });
    io.run();
    watch.join();
  });
  EXPECT_GE(field_->strange_smsr().calls, before + 200);
  field_->strange_smsr().poison = false;
  EXPECT_EQ(told_of, kOrders) << "orders of B that never ended";
  if (!field_->rig().world().smdp().running()) {  // it must start again too
    field_->rig().world().kill_smdp();
    Rig::must(field_->rig().world().start_smdp());
  }
}

TEST_F(Attacks, ManyPrefixes) {
  under("1 MiB of namespace prefixes", 96, 8, [&](Attack& a) {
    const std::string body = answer_with_prefixes(1'000'000);
    if (body.empty()) throw std::runtime_error("no EIS to begin with");
    Poster to_es2(field_->files("operator2"), field_->es2());
    Poster to_es3(field_->files("smsr2"), field_->es3());
    for (unsigned i = 0; i < 3 && !a.stop; ++i) {
      a.begun = true;
      to_es2.post(body);
      to_es3.post(body, "/callback");
    }
  });
}

TEST_F(Attacks, CostlyHandshakes) {
  const std::string hello = client_hello("ffdhe8192");
  ASSERT_FALSE(hello.empty());
  under("ffdhe8192 handshakes, 20 a second", 32, 8, [&](Attack& a) {
    Sockets open;
    again_and_again(a, seconds(full_size() ? 10 : 3), milliseconds(50), [&] {
      const int fd = stranger(field_->es2().port);
      if (fd >= 0) ::send(fd, hello.data(), hello.size(), MSG_NOSIGNAL);
      open.add(fd);
    });
  });
}

TEST_F(Attacks, SilentConnections) {
  under("as many silent TCP connections as there are", 64, 8, [&](Attack& a) {
    Sockets open;
    for (std::size_t i = 0; i < connections() + 50; ++i) open.add(stranger(field_->es2().port));
    if (open.size() < connections()) throw std::runtime_error("too few sockets of our own");
    a.begun = true;
    const auto until = Steady::now() + seconds(60);
    while (!a.stop && Steady::now() < until) {
      std::this_thread::sleep_for(milliseconds(20));
      a.over = true;  // A may end when it likes; the sockets stay until then
    }
  });
}

TEST_F(Attacks, IdleConnectionsOfOneParty) {
  const auto tls = field_->files("operator2");
  under("as many idle TLS connections of B", 128, 8, [&](Attack& a) {
    const SslContext ctx(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_use_certificate_chain_file(ctx.get(), tls.cert.c_str());
    SSL_CTX_use_PrivateKey_file(ctx.get(), tls.key.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_load_verify_locations(ctx.get(), tls.ca.c_str(), nullptr);
    Sockets open;
    std::vector<std::unique_ptr<SSL, SslFree>> sessions;
    const auto until = Steady::now() + seconds(full_size() ? 120 : 30);
    for (std::size_t i = 0; i < connections() && !a.stop && Steady::now() < until; ++i) {
      const int fd = stranger(field_->es2().port);
      open.add(fd);
      if (fd < 0) break;
      sessions.emplace_back(SSL_new(ctx.get()));
      SSL_set_fd(sessions.back().get(), fd);
      if (SSL_connect(sessions.back().get()) != 1) sessions.pop_back();  // refused by now
    }
    a.begun = a.over = true;
    while (!a.stop && Steady::now() < until + seconds(60)) std::this_thread::sleep_for(milliseconds(20));
  });
}

TEST_F(Attacks, OrdersToASilentSmsr) {
  const unsigned before = field_->strange_smsr().calls;
  under("300 orders to a silent SM-SR", 64, 32, [&](Attack& a) {
    asio::io_context io(1);
    const auto b = field_->operator_b(io);
    unsigned left = 300, accepted = 0;
    for (unsigned i = 0; i < 300; ++i) {
      const es::Request q = field_->order_of_b(i, kOtherSmsr);
      sim::Operator::Raw raw;
      raw.body = b->envelope(q, b->new_message_id(), std::string(es::kMakeConnectionPrefix) + random_uuid());
      asio::co_spawn(
          io,
          [](sim::Operator& op, sim::Operator::Raw r, unsigned& ok) -> asio::awaitable<void> {
            const auto answer = co_await op.raw_post(std::move(r), seconds(60));
            if (answer && answer->status == 202) ++ok;
          }(*b, std::move(raw), accepted),
          [&](const std::exception_ptr&) {
            if (--left == 0) io.stop();
          });
    }
    io.run();
    const auto until = Steady::now() + seconds(5);
    while (field_->strange_smsr().calls < before + 30 && Steady::now() < until)
      std::this_thread::sleep_for(milliseconds(10));
    if (accepted < 100) throw std::runtime_error("only " + std::to_string(accepted) + " orders of B were accepted");
    a.begun = a.over = true;
    while (!a.stop) std::this_thread::sleep_for(milliseconds(20));
  });
  EXPECT_GE(field_->strange_smsr().calls, before + 20) << "the silent SM-SR was hardly asked";
}

// An SM-SR that both Operators use takes its time, and B never stops asking it for an EIS.
TEST_F(Attacks, RelaysAtASlowSmsr) {
  Rig& rig = field_->rig();
  Rig::must(rig.world().sim_hostile("slow=100,slow_ms=1500,seed=1"));
  unsigned put_off = 0, explained = 0, accepted = 0;
  const auto answered = std::make_shared<unsigned>(0);
  for (unsigned i = 0; i < 4; ++i) {  // A asks, too
    es::Request q = rig.request(F::get_eis, i);
    q.validity_period = 40;
    asio::co_spawn(rig.io(), rig.op().call(q, Pattern::callback, seconds(60)),
                   [answered](const std::exception_ptr&, const Outcome& o) {
                     if (o.succeeded())
                       ++*answered;
                     else
                       std::cout << "A's request: " << o.text() << "\n";
                   });
  }
  under("requests to a slow SM-SR that both use, without end", 96, 48, [&](Attack& a) {
    asio::io_context io(1);
    const auto b = field_->operator_b(io);
    const auto ask = [&]() -> asio::awaitable<void> {
      while (!a.stop) {
        es::Request q = field_->order_of_b(accepted, World::kSmsrOid);
        q.function = F::get_eis;
        q.eid = rig.order_of(accepted % 30).eid;
        q.profile_type.reset();
        q.function_call_identifier = "relay-" + random_uuid();
        q.validity_period = 30;
        sim::Operator::Raw raw;
        raw.body = b->envelope(q, b->new_message_id(), std::string(es::kMakeConnectionPrefix) + random_uuid());
        const auto answer = co_await b->raw_post(std::move(raw), seconds(60));
        if (answer && answer->status == 202) ++accepted;
        if (answer && answer->status == 503) {
          ++put_off;
          if (answer->body.find("wait for SM-SR") != std::string::npos) ++explained;
        }
        if (accepted > 700) a.begun = true;
        asio::steady_timer pause(io, milliseconds(put_off > 0 ? 100 : 0));
        co_await pause.async_wait(asio::use_awaitable);
      }
    };
    int asking = 8;
    for (int i = asking; i > 0; --i)
      asio::co_spawn(io, ask(), [&](const std::exception_ptr&) {
        if (--asking == 0) io.stop();
      });
    std::thread watch([&] {
      std::this_thread::sleep_for(seconds(20));
      a.begun = a.over = true;
    });
    io.run();
    watch.join();
  });
  Rig::must(rig.world().sim_hostile(""));
  EXPECT_EQ(*answered, 4U) << "A's own requests to that SM-SR";
  EXPECT_GT(put_off, 0U) << accepted << " were accepted";
  EXPECT_EQ(explained, put_off);
}

TEST_F(Attacks, LongHeadersAndManyPorts) {
  const unsigned ports = full_size() ? 3000 : 400;
  under("900 kB MessageIDs, polls never fetched, ReplyTo on many ports", 48, 24, [&](Attack& a) {
    Poster poster(field_->files("operator2"), field_->es2());
    asio::io_context io(1);
    const auto b = field_->operator_b(io);
    es::Request q = field_->order_of_b(0, kOtherSmsr);
    q.function = F::get_eis;
    q.profile_type.reset();
    for (unsigned i = 0; i < 100 && !a.stop; ++i) {
      a.begun = true;
      q.function_call_identifier = "long-" + random_uuid();
      std::string id = b->new_message_id();
      id.insert(id.find("?TransactionId") == std::string::npos ? id.size() : id.find("?TransactionId"),
                std::string(900'000, 'm'));
      poster.post(b->envelope(q, id, std::string(es::kMakeConnectionPrefix) + random_uuid()));
    }
    for (unsigned i = 0; i < ports && !a.stop; ++i) {
      q.function_call_identifier = "port-" + random_uuid();
      q.smsr_id = World::kSmsrOid;  // it answers, so there is something to deliver
      poster.post(b->envelope(q, b->new_message_id(),
                              "https://127.0.0.1:" + std::to_string(20'000 + i) + "/cb?EntityId=" + kOtherOperator));
    }
  });
}

TEST_F(Attacks, NoiseOnTheAdminSocket) {
  under("\\xff on the admin socket, and no descriptor left while it accepts", 32, 8, [&](Attack& a) {
    World& w = field_->rig().world();
    const std::string path = w.dir() + "/run/admin.sock";
    const auto say = [&](std::string_view line) {
      const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_un u{};
      u.sun_family = AF_UNIX;
      path.copy(u.sun_path, sizeof u.sun_path - 1);
      if (::connect(fd, reinterpret_cast<sockaddr*>(&u), sizeof u) == 0)
        (void)!::send(fd, line.data(), line.size(), MSG_NOSIGNAL);
      return fd;
    };
    Sockets open;
    for (const std::string_view line : {"\xff\n", "drain \xff\n", "\n", "no newline", "drain \xc2\x9b\x1b[31m\n"})
      open.add(say(line));
    open.add(say(std::string(100'000, 'x')));
    const pid_t pid = w.smdp().pid();
    rlimit usual{};
    ::prlimit(pid, RLIMIT_NOFILE, nullptr, &usual);
    const auto used = std::distance(fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd"), {});
    const rlimit tight{static_cast<rlim_t>(used), usual.rlim_max};
    ::prlimit(pid, RLIMIT_NOFILE, &tight, nullptr);
    for (int i = 0; i < 8; ++i) open.add(say("status\n"));
    std::this_thread::sleep_for(milliseconds(300));
    ::prlimit(pid, RLIMIT_NOFILE, &usual, nullptr);
    a.begun = true;
  });
}

TEST_F(Attacks, ForgedLogLines) {
  const std::string log = field_->rig().world().smdp_log();
  const auto before = slurp(log).size();
  under("newlines and U+009B in Action and EntityId, 400 times", 32, 8, [&](Attack& a) {
    Poster es2(field_->files("operator2"), field_->es2());
    Poster es3(field_->files("smsr2"), field_->es3());
    asio::io_context io(1);
    const auto b = field_->operator_b(io);
    const std::string forged =
        "\n2026-01-01T00:00:00.000Z error ALARM token down\xC2\x9B"
        "31m\xE2\x80\xAE";
    for (unsigned i = 0; i < 400 && !a.stop; ++i) {
      a.begun = true;
      es::Request q = field_->order_of_b(i, kOtherSmsr);
      std::string xml = b->envelope(q, b->new_message_id(), "");
      const std::string at = i % 2 == 0 ? "ES2-DownloadProfile</" : "EntityId=2.999.11";
      if (const auto p = xml.find(at); p != std::string::npos)
        xml.insert(p + at.size() - (i % 2 == 0 ? 2 : 0), i % 2 == 0 ? forged : "&#10;ALARM token down&#x9B;");
      es2.post(xml);
      if (i % 4 == 0) es3.post(xml, "/callback");
    }
  });
  std::istringstream lines(slurp(log).substr(before));
  std::size_t n = 0;
  for (std::string line; std::getline(lines, line); ++n) {
    EXPECT_TRUE(line.size() > 24 && line[4] == '-' && line[23] == 'Z') << "a line that is none of ours: " << line;
    EXPECT_EQ(line.find("\xC2\x9B"), std::string::npos) << line;
    EXPECT_EQ(line.find("\xE2\x80\xAE"), std::string::npos) << line;
    EXPECT_FALSE(line.find(" error ALARM token down") == 24) << line;
  }
  EXPECT_LT(n, 200U) << "lines for 500 messages of one kind";
}

// ---- the clock ----

// The wall clock of the server jumps while A's orders run: forward by half a year, back by three hours. By libfaketime,
// which leaves the monotonic clock alone.
TEST(AttackOnTheClock, JumpsEndNoOrder) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a preloaded library and a sanitizer do not go together";
#endif
  std::string library;
  for (const char* arch : {"x86_64-linux-gnu", "aarch64-linux-gnu"})
    if (const std::string f = std::string("/usr/lib/") + arch + "/faketime/libfaketimeMT.so.1"; fs::exists(f))
      library = f;
  if (library.empty()) GTEST_SKIP() << "libfaketime is not installed";
  const std::string clock = (fs::temp_directory_path() / ("kf-clock-" + std::to_string(::getpid()))).string();
  const auto set = [&](const char* offset) {
    std::ofstream(clock + ".new") << offset << "\n";
    fs::rename(clock + ".new", clock);
  };
  set("+0d");
  RigOptions o;
  o.euiccs = 12;
  o.radio = "constant:400";
  o.smdp_environment = {{"LD_PRELOAD", library},
                        {"FAKETIME_TIMESTAMP_FILE", clock},
                        {"FAKETIME_CACHE_DURATION", "1"},
                        {"FAKETIME_DONT_FAKE_MONOTONIC", "1"},
                        {"DONT_FAKE_MONOTONIC", "1"}};
  Rig rig(o);
  for (const char* jump : {"+180d", "-3h"}) {
    SCOPED_TRACE(jump);
    const unsigned first = jump[0] == '+' ? 0 : 6;
    set("+0d");
    std::this_thread::sleep_for(milliseconds(1200));
    unsigned left = 6;
    std::vector<Outcome> out(6);
    for (unsigned i = 0; i < 6; ++i) {
      sim::Order order = rig.order_of(first + i, i % 2 == 0);
      order.validity = 60;
      asio::co_spawn(rig.io(), rig.op().order(order, Pattern::callback, seconds(90)),
                     [&, i](const std::exception_ptr&, Outcome x) {
                       out[i] = std::move(x);
                       if (--left == 0) rig.io().stop();
                     });
    }
    asio::steady_timer t(rig.io(), milliseconds(800));
    t.async_wait([&](const boost::system::error_code&) { set(jump); });
    rig.io().restart();
    rig.io().run();
    for (unsigned i = 0; i < 6; ++i) EXPECT_EQ(told(out[i]), "EXECUTED_SUCCESS") << out[i].text();
    EXPECT_TRUE(rig.world().smdp().running());
  }
  fs::remove(clock);
}

}  // namespace
}  // namespace kf::e2e
