// A well-behaved Operator A with a healthy SM-SR, and beside them strangers: an Operator B with a good certificate, an
// SM-SR of its own, and people with no certificate at all, who come from another address of the loopback network.
// What A notices of an attack is measured, and what it leaves behind in the server.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>

#include <atomic>
#include <iomanip>
#include <iostream>
#include <thread>

#include "host/base/calendar.hpp"
#include "host/pki/test_pki.hpp"
#include "tests/e2e/rig.hpp"
#include "tests/sim/smsr/hostile.hpp"

namespace kf::e2e {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

inline constexpr const char* kOtherOperator = "2.999.11";
inline constexpr const char* kOtherSmsr = "2.999.31";
inline constexpr const char* kStrangersAddress = "127.0.0.66";

inline bool full_size() { return std::getenv("KF_ATTACK_FULL") != nullptr; }  // as in the table of docs/security.md

// One TCP connection from the strangers' address; -1 when it was refused.
inline int stranger(std::uint16_t port, milliseconds limit = seconds(5)) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const timeval t{limit.count() / 1000, (limit.count() % 1000) * 1000};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  ::inet_pton(AF_INET, kStrangersAddress, &a.sin_addr);
  bool ok = ::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ok = ok && ::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0;
  if (ok) return fd;
  ::close(fd);
  return -1;
}

// Closed at the end, however many.
class Sockets {
 public:
  Sockets() = default;
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  ~Sockets() {
    for (const int fd : list_) ::close(fd);
  }
  void add(int fd) {
    if (fd >= 0) list_.push_back(fd);
  }
  [[nodiscard]] std::size_t size() const { return list_.size(); }

 private:
  std::vector<int> list_;
};

// An SM-SR with a good certificate: takes each call and never answers, or answers each with a Status that is
// poison. Own thread.
class StrangeSmsr {
 public:
  explicit StrangeSmsr(net::TlsFiles tls) {
    net::ServerOptions o;
    o.tls = std::move(tls);
    server_ =
        std::make_unique<net::HttpServer>(io_, std::move(o), [this](net::Request r) { return answer(std::move(r)); });
    Rig::must(server_->start());
    port_ = server_->port();
    thread_ = std::thread([this] {
      const auto guard = asio::make_work_guard(io_);
      io_.run();
    });
  }
  StrangeSmsr(const StrangeSmsr&) = delete;
  StrangeSmsr& operator=(const StrangeSmsr&) = delete;
  ~StrangeSmsr() {
    asio::post(io_, [this] {
      server_->stop();
      io_.stop();
    });
    thread_.join();
  }
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(port_) + "/es3"; }
  std::atomic<bool> poison = false;
  std::atomic<unsigned> calls = 0;

 private:
  asio::awaitable<net::Response> answer(net::Request r) {
    ++calls;
    net::Response out;
    out.status = 202;
    auto parsed = es::parse_message(r.body, {});
    const auto* m = std::get_if<es::Message>(&parsed);
    const auto* q = m != nullptr ? std::get_if<es::Request>(&m->body) : nullptr;
    if (!poison || q == nullptr) {
      asio::steady_timer never(io_, std::chrono::hours(1));
      boost::system::error_code ec;
      co_await never.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      co_return out;
    }
    es::SendHeader h;
    h.from = es::make_address(url(), kOtherSmsr, "SM-SR");
    h.to = m->header.from;
    h.message_id = es::make_message_id(kOtherSmsr, random_uuid(), m->header.transaction_id, iso_seconds(wall_now()));
    h.relates_to = m->header.message_id;
    es::Response a;
    a.interface = q->interface;
    a.function = q->function;
    a.status = es::ExecStatus::failed;
    a.code = es::StatusCode{"8.1.1", "1.1", q->eid, "m"};
    h.action = es::action_for(a.interface, a.function, es::Way::answer);
    out.status = 200;
    out.content_type = es::kSoapContentType;
    out.body = sim::poisoned(es::write_message(h, a, m->ns), 1);
    co_return out;
  }
  asio::io_context io_{1};
  std::unique_ptr<net::HttpServer> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

class Field {
 public:
  // Operator A has `orders` profiles, Operator B `of_b`.
  Field(unsigned orders, unsigned of_b, std::vector<bench::Setting> settings) {
    RigOptions o;
    o.euiccs = orders;
    o.settings = std::move(settings);
    o.before_start = [this, of_b](World& w) { invite_strangers(w, of_b); };
    rig_ = std::make_unique<Rig>(std::move(o));
  }
  ~Field() {
    rig_.reset();
    strange_.reset();
  }
  Field(const Field&) = delete;
  Field& operator=(const Field&) = delete;

  Rig& rig() { return *rig_; }
  StrangeSmsr& strange_smsr() { return *strange_; }
  [[nodiscard]] net::Url es2() { return *net::parse_url(rig_->world().es2_url()); }
  [[nodiscard]] net::Url es3() { return *net::parse_url(rig_->world().es3_url()); }
  [[nodiscard]] net::TlsFiles files(const std::string& party) {
    const auto t = rig_->world().tls(party);
    return {t.cert, t.key, t.ca};
  }
  // Operator B on a context of the attack's own thread.
  std::unique_ptr<sim::Operator> operator_b(asio::io_context& io) {
    sim::OperatorOptions o;
    o.smdp_url = rig_->world().es2_url();
    o.oid = kOtherOperator;
    o.tls = files("operator2");
    auto b = std::make_unique<sim::Operator>(io, o);
    Rig::must(b->start());
    return b;
  }
  [[nodiscard]] es::Request order_of_b(unsigned n, const char* smsr) {
    es::Request q;
    q.interface = es::Interface::es2;
    q.function = es::Function::download_profile;
    q.function_call_identifier = "b-" + random_uuid();
    q.validity_period = 600;
    q.eid = rig_->world().eid(100'000 + n);
    q.smsr_id = smsr;
    q.profile_type = "of-b";
    return q;
  }

 private:
  void invite_strangers(World& w, unsigned of_b) {
    const std::string pki = w.dir() + "/pki";
    const IssuedX509 root{slurp(pki + "/tls-root.pem"), slurp(pki + "/tls-root.key")};
    for (const auto& [name, oid] : {std::pair{"operator2", kOtherOperator}, {"smsr2", kOtherSmsr}}) {
      const IssuedX509 leaf = make_tls_leaf(name, Oid::trusted(oid), {"127.0.0.1"}, root, add_days(today_utc(), -1),
                                            add_days(today_utc(), 30));
      std::ofstream(pki + "/tls-" + name + ".pem") << leaf.cert_pem;
      std::ofstream(pki + "/tls-" + name + ".key") << leaf.key_pem;
    }
    const auto t = w.tls("smsr2");
    strange_ = std::make_unique<StrangeSmsr>(net::TlsFiles{t.cert, t.key, t.ca});
    std::ofstream(w.config_file(), std::ios::app)
        << "\n[[party]]\nrole = \"operator\"\noid = \"" << kOtherOperator
        << "\"\nname = \"Operator B\"\nurl = \"https://127.0.0.1:9/es2/callback\"\ncertificate = "
           "\"pki/tls-operator2.pem\"\n"
        << "\n[[party]]\nrole = \"smsr\"\noid = \"" << kOtherSmsr << "\"\nname = \"Strange SM-SR\"\nurl = \""
        << strange_->url() << "\"\ncertificate = \"pki/tls-smsr2.pem\"\n";
    if (of_b == 0) return;
    const auto t2 = Rig::must(bench::load_template(""));
    std::string csv = "iccid,imsi,ki,opc\n";
    for (unsigned i = 0; i < of_b; ++i) {
      const std::string n = std::to_string(100'000'000 + i);
      csv += iccid_with_luhn("8988399000" + n) + ",999710" + n + "," + to_hex(random_bytes(t2.ki_bytes)) + "," +
             to_hex(random_bytes(t2.opc_bytes)) + "\n";
    }
    const std::string file = w.dir() + "/of-b.der", list = w.dir() + "/of-b.csv";
    std::ofstream(file, std::ios::binary) << text(t2.der);
    std::ofstream(list) << csv;
    Rig::must(w.keyferry({"profile", "import", "--config", w.config_file(), "--owner", kOtherOperator, "--type", "of-b",
                          "--template", file, "--csv", list},
                         milliseconds(120'000)));
  }
  std::unique_ptr<StrangeSmsr> strange_;
  std::unique_ptr<Rig> rig_;
};

// What an attack tells the one who measures, and the other way round.
struct Attack {
  std::atomic<bool> begun = false, over = false, stop = false;
  std::string error;  // why the attack itself could not be made; read after the join
};

struct Row {
  std::string name;
  std::vector<double> ms;  // A's requests
  unsigned failed_requests = 0, orders = 0, on_time = 0;
  std::string alive;
  double memory_mib = 0, store_mib = 0;
  [[nodiscard]] double quantile(double q) const {
    if (ms.empty()) return 0;
    auto v = ms;
    std::sort(v.begin(), v.end());
    return v[std::min(v.size() - 1, static_cast<std::size_t>(q * static_cast<double>(v.size())))];
  }
};

inline double memory_mib(pid_t pid) {
  std::ifstream f("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(f, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  return 0;
}
inline double store_mib(const std::string& dir) {
  double n = 0;
  for (const char* f : {"/store.db", "/store.db-wal"}) {
    std::error_code ec;
    if (const auto size = fs::file_size(dir + f, ec); !ec) n += static_cast<double>(size);
  }
  return n / 1048576;
}

// Operator A at work: places orders that must be done within their ValidityPeriod, and asks short questions all the
// while, one after the other. Ends when the orders have ended and the attack is over.
inline Row at_work(Field& f, std::string name, unsigned first, unsigned orders, Attack& attack) {
  constexpr std::uint32_t kValidity = 45;
  Row row;
  row.name = std::move(name);
  row.orders = orders;
  Rig& rig = f.rig();
  unsigned left = orders;
  const auto ask = [&]() -> asio::awaitable<void> {
    // An order for a profile that does not exist: TLS, SOAP, store and the refusal.
    // Every fourth time on a new connection, as those who come now must.
    const auto url = f.es2();
    net::ClientOptions o;
    o.host = url.host;
    o.port = url.port;
    o.tls = f.files("operator");
    net::HttpClient client(rig.io(), o);
    const auto until = Steady::now() + seconds(240);
    while (Steady::now() < until && (left > 0 || row.ms.size() < 40 || !attack.over)) {
      es::Request q = rig.request(es::Function::download_profile, 0);
      q.iccid = iccid_with_luhn("8912345678901234567");
      q.function_call_identifier = "ask-" + random_uuid();
      net::Request r;
      r.target = url.target;
      r.content_type = std::string(es::kSoapContentType);
      r.body = rig.op().envelope(q, rig.op().new_message_id(), "");
      if (row.ms.size() % 4 == 0) client.close_idle();
      const auto from = Steady::now();
      const auto answer = co_await client.call(std::move(r), seconds(60), true);
      row.ms.push_back(std::chrono::duration<double, std::milli>(Steady::now() - from).count());
      if (!answer || answer->status != 200) ++row.failed_requests;
      asio::steady_timer pause(rig.io(), milliseconds(10));
      co_await pause.async_wait(asio::use_awaitable);
    }
    rig.io().stop();
  };
  asio::co_spawn(rig.io(), ask(), asio::detached);
  for (unsigned i = 0; i < orders; ++i) {
    sim::Order o = rig.order_of(first + i);
    o.validity = kValidity;
    asio::co_spawn(rig.io(), rig.op().order(o, Pattern::callback, seconds(kValidity + 20)),
                   [&](const std::exception_ptr&, const Outcome& x) {
                     if (x.succeeded())
                       ++row.on_time;
                     else
                       std::cout << "A's order: " << x.text() << "\n";
                     --left;
                   });
  }
  rig.io().restart();
  rig.io().run();
  return row;
}

inline void print_table(const std::vector<Row>& rows) {
  std::cout << "\n| attack | p50 ms | p99 ms | longest ms | orders on time | server | memory MiB | store MiB |\n"
               "|---|---|---|---|---|---|---|---|\n"
            << std::fixed;
  for (const auto& r : rows)
    std::cout << "| " << r.name << " | " << std::setprecision(1) << r.quantile(0.5) << " | " << r.quantile(0.99)
              << " | " << r.quantile(1) << " | " << r.on_time << " of " << r.orders << " | " << r.alive << " | "
              << std::showpos << r.memory_mib << " | " << r.store_mib << std::noshowpos << " |\n";
  std::cout << std::flush;
}

}  // namespace kf::e2e
