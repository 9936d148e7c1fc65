#include "tests/net/support.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace kf::net::test {
namespace {

struct Issued {
  X509* cert = nullptr;
  EVP_PKEY* key = nullptr;
};

void must(bool ok) {
  if (!ok) throw std::runtime_error("cannot make the test PKI");
}

void add_extension(X509* x, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, issuer, x, nullptr, nullptr, 0);
  X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value.c_str());
  must(e != nullptr && X509_add_ext(x, e, -1) == 1);
  X509_EXTENSION_free(e);
}

// Times are seconds from now.
Issued issue(const std::string& cn, const std::string& san, const Issued* issuer, long from, long to) {
  static long serial = 1;
  Issued out;
  out.key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
  out.cert = X509_new();
  must(out.key != nullptr && out.cert != nullptr);
  X509_set_version(out.cert, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(out.cert), serial++);
  X509_gmtime_adj(X509_getm_notBefore(out.cert), from);
  X509_gmtime_adj(X509_getm_notAfter(out.cert), to);
  X509_NAME* name = X509_get_subject_name(out.cert);
  const auto add = [&](const char* field, const std::string& text) {
    must(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.c_str()),
                                    -1, -1, 0) == 1);
  };
  add("O", "test");
  add("CN", cn);
  X509* by = issuer == nullptr ? out.cert : issuer->cert;
  X509_set_issuer_name(out.cert, X509_get_subject_name(by));
  X509_set_pubkey(out.cert, out.key);
  add_extension(out.cert, by, NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!san.empty()) add_extension(out.cert, by, NID_subject_alt_name, san);
  must(X509_sign(out.cert, issuer == nullptr ? out.key : issuer->key, EVP_sha256()) > 0);
  return out;
}

void free_issued(Issued& i) {
  X509_free(i.cert);
  EVP_PKEY_free(i.key);
}

void save(const std::string& file, const Issued& i, bool key) {
  BIO* out = BIO_new_file(file.c_str(), "w");
  must(out != nullptr);
  if (key) {
    must(PEM_write_bio_PKCS8PrivateKey(out, i.key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  } else {
    must(PEM_write_bio_X509(out, i.cert) == 1);
  }
  BIO_free_all(out);
}

struct Maker : Pki {
  Issued root, stranger;
  Maker() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kf-net-XXXXXX").string();
    must(mkdtemp(pattern.data()) != nullptr);
    dir = pattern;
    constexpr long day = 86'400;
    root = issue("root", "", nullptr, -400 * day, 400 * day);
    stranger = issue("another root", "", nullptr, -400 * day, 400 * day);
    save(dir + "/ca.pem", root, false);
    server = leaf("server", "127.0.0.1", "IP:127.0.0.1,DNS:localhost", root, -day, day);
    client = leaf("client", "operator", "", root, -day, day);
    other_host = leaf("other", "127.0.0.1", "DNS:other.example,IP:127.0.0.2", root, -day, day);
    no_san = leaf("no-san", "127.0.0.1", "", root, -day, day);
    expired = leaf("expired", "operator", "IP:127.0.0.1", root, -300 * day, -day);
    untrusted = leaf("untrusted", "operator", "IP:127.0.0.1", stranger, -day, day);
  }
  ~Maker() {
    free_issued(root);
    free_issued(stranger);
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }
  Maker(const Maker&) = delete;
  Maker& operator=(const Maker&) = delete;
  TlsFiles leaf(const std::string& file, const std::string& cn, const std::string& san, const Issued& by, long from,
                long to) const {
    Issued i = issue(cn, san, &by, from, to);
    TlsFiles f{dir + "/" + file + ".pem", dir + "/" + file + ".key", dir + "/ca.pem"};
    save(f.cert, i, false);
    save(f.key, i, true);
    free_issued(i);
    return f;
  }
};

const Maker& maker() {
  static const Maker m;
  return m;
}

int options_index() {  // 0 is Asio's
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

unsigned raw_psk(SSL* ssl, const char*, char* identity, unsigned max_identity, unsigned char* psk, unsigned max) {
  const auto* o = static_cast<const Raw::Options*>(SSL_get_ex_data(ssl, options_index()));
  if (o->psk_identity.size() > max_identity || o->psk_key.size() > max) return 0;
  std::copy_n(o->psk_identity.c_str(), o->psk_identity.size() + 1, identity);
  std::copy_n(o->psk_key.begin(), o->psk_key.size(), psk);
  return static_cast<unsigned>(o->psk_key.size());
}

asio::ssl::context raw_context(const Raw::Options& o) {
  asio::ssl::context ctx(asio::ssl::context::tls_client);
  SSL_CTX* c = ctx.native_handle();
  int version = o.version;
  if (!o.psk_identity.empty()) {
    SSL_CTX_set_psk_client_callback(c, raw_psk);
    version = TLS1_2_VERSION;
  } else if (!o.plain) {
    ctx.load_verify_file(o.files.ca);
    ctx.set_verify_mode(asio::ssl::verify_peer);
    if (!o.files.cert.empty()) {
      ctx.use_certificate_chain_file(o.files.cert);
      ctx.use_private_key_file(o.files.key, asio::ssl::context::pem);
    }
  }
  if (version != 0) {
    SSL_CTX_set_min_proto_version(c, version);
    SSL_CTX_set_max_proto_version(c, version);
  }
  if (!o.ciphers.empty()) must(SSL_CTX_set_cipher_list(c, o.ciphers.c_str()) == 1);
  return ctx;
}

std::size_t header_end(const std::string& s) {
  const auto at = s.find("\r\n\r\n");
  return at == std::string::npos ? at : at + 4;
}

// Where the first message of `s` ends; npos: not complete.
std::size_t message_end(const std::string& s) {
  const auto head = header_end(s);
  if (head == std::string::npos) return head;
  if (const auto at = s.find("Content-Length: "); at < head) {
    const auto n = head + static_cast<std::size_t>(std::atol(s.c_str() + at + 16));
    return s.size() >= n ? n : std::string::npos;
  }
  if (s.find("Transfer-Encoding: chunked") < head) {
    const auto end = s.find("0\r\n\r\n", head);
    return end == std::string::npos ? end : end + 5;
  }
  return head;
}

}  // namespace

const Pki& Pki::get() { return maker(); }
TlsFiles Pki::short_lived(int seconds) const {
  return maker().leaf("short", "operator", "", maker().root, -86'400, seconds);
}

void World::run(asio::awaitable<void> a) {
  struct State {
    bool done = false;
    std::exception_ptr error;
  };
  auto s = std::make_shared<State>();
  asio::co_spawn(io, std::move(a), [s](std::exception_ptr e) {
    s->done = true;
    s->error = e;
  });
  drive(s->done);
  if (s->error) std::rethrow_exception(s->error);
}

void World::drive(const bool& done) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  io.restart();
  while (!done) {
    if (io.run_one_until(limit) == 0) {
      if (io.stopped()) throw std::runtime_error("the coroutine waits for something that never comes");
      throw std::runtime_error("timed out");
    }
  }
}

bool World::run_until(const std::function<bool()>& condition, Ms limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  io.restart();
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    if (io.run_one_for(Ms{20}) == 0 && io.stopped()) {
      if (condition()) return true;
      io.restart();
      usleep(1000);
    }
  }
  return true;
}

bool World::comes_to_rest() {
  for (int turn = 0; turn < 1000; ++turn) {
    io.restart();
    io.poll();
    if (io.stopped()) return true;
    usleep(1000);
  }
  return false;
}

bool World::logged(std::string_view part) const {
  return std::any_of(log.begin(), log.end(), [&](const std::string& l) { return l.find(part) != std::string::npos; });
}

asio::awaitable<void> pause(Ms d) {
  asio::steady_timer t(co_await asio::this_coro::executor, d);
  co_await t.async_wait(asio::use_awaitable);
}

void Echo::shut(asio::io_context& io, int opens_at, Ms limit) {
  gate.emplace(io, limit);
  gate_opens_at = opens_at;
}

asio::awaitable<Response> Echo::handle(Request r) {
  ++calls;
  most_running = std::max(most_running, ++running);
  if (keep_seen) seen.push_back(r);
  if (delay.count() > 0) co_await pause(delay);
  if (gate) {
    if (running == gate_opens_at) open();
    co_await gate->async_wait(by_tuple);
  }
  --running;
  Response a;
  a.content_type = r.content_type;
  for (auto& [n, v] : r.headers) {
    if (n.starts_with("X-")) a.headers.emplace_back(n, v);
  }
  a.body = std::move(r.body);
  a.chunked = r.chunked;
  a.close = close;
  co_return a;
}

ServerOptions server_options(World& w) {
  ServerOptions o;
  o.tls = Pki::get().server;
  o.log = w.logger();
  return o;
}
ClientOptions client_options(std::uint16_t port) {
  ClientOptions o;
  o.port = port;
  o.tls = Pki::get().client;
  return o;
}
Request post(std::string body, std::string target) {
  Request r;
  r.target = std::move(target);
  r.content_type = "application/soap+xml; charset=utf-8";
  r.body = std::move(body);
  return r;
}

Raw::Raw(asio::io_context& io, Options o) : o_(std::move(o)), ctx_(raw_context(o_)), stream_(io, ctx_) {
  SSL_set_ex_data(stream_.native_handle(), options_index(), &o_);
  if (o_.session != nullptr) must(SSL_set_session(stream_.native_handle(), o_.session) == 1);
}
Raw::~Raw() = default;

asio::awaitable<ErrorCode> Raw::connect(std::uint16_t port) {
  const Tcp::endpoint to(asio::ip::make_address("127.0.0.1"), port);
  auto [ec] = co_await socket().async_connect(to, by_tuple);
  if (ec || o_.plain) co_return ec;
  socket().set_option(Tcp::no_delay(true));
  auto [hs] = co_await stream_.async_handshake(asio::ssl::stream_base::client, by_tuple);
  co_return hs;
}

asio::awaitable<ErrorCode> Raw::send(std::string data) {
  if (o_.plain) {
    auto [ec, n] = co_await asio::async_write(socket(), asio::buffer(data), by_tuple);
    co_return ec;
  }
  auto [ec, n] = co_await asio::async_write(stream_, asio::buffer(data), by_tuple);
  co_return ec;
}

asio::awaitable<bool> Raw::more() {
  char buf[8192];
  if (o_.plain) {
    auto [ec, n] = co_await socket().async_read_some(asio::buffer(buf), by_tuple);
    in_.append(buf, n);
    end_ = ec;
    co_return !ec;
  }
  auto [ec, n] = co_await stream_.async_read_some(asio::buffer(buf), by_tuple);
  in_.append(buf, n);
  end_ = ec;
  co_return !ec;
}

asio::awaitable<std::string> Raw::answer() {
  for (;;) {
    if (const auto n = message_end(in_); n != std::string::npos) {
      std::string one = in_.substr(0, n);
      in_.erase(0, n);
      co_return one;
    }
    if (!co_await more()) co_return std::exchange(in_, {});
  }
}

asio::awaitable<std::string> Raw::to_end() {
  for (;;) {
    const bool going = co_await more();
    if (!going) break;
  }
  co_return std::exchange(in_, {});
}

Scripted::Scripted(asio::io_context& i, std::vector<std::vector<Turn>> s, int version)
    : io(i),
      ctx(asio::ssl::context::tls_server),
      acceptor(i, Tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0)),
      script(std::move(s)) {
  const auto& f = Pki::get().server;
  ctx.use_certificate_chain_file(f.cert);
  ctx.use_private_key_file(f.key, asio::ssl::context::pem);
  if (version != 0) {
    SSL_CTX_set_min_proto_version(ctx.native_handle(), version);
    SSL_CTX_set_max_proto_version(ctx.native_handle(), version);
  }
}

asio::awaitable<void> Scripted::serve() {
  for (const auto& turns : script) {
    auto [ec, s] = co_await acceptor.async_accept(by_tuple);
    if (ec) co_return;
    ++connections;
    s.set_option(Tcp::no_delay(true));
    asio::co_spawn(io, one(turns, std::move(s)), asio::detached);
  }
}

asio::awaitable<void> Scripted::one(std::vector<Turn> turns, Tcp::socket s) {
  asio::ssl::stream<Tcp::socket> tls(std::move(s), ctx);
  if (auto [ec] = co_await tls.async_handshake(asio::ssl::stream_base::server, by_tuple); ec) co_return;
  reused += SSL_session_reused(tls.native_handle());
  std::string in;
  for (const Turn& t : turns) {
    char buf[4096];
    while (message_end(in) == std::string::npos) {
      auto [ec, n] = co_await tls.async_read_some(asio::buffer(buf), by_tuple);
      if (ec) co_return;
      in.append(buf, n);
    }
    const auto n = message_end(in);
    requests.push_back(in.substr(0, n));
    in.erase(0, n);
    if (!t.send.empty()) co_await asio::async_write(tls, asio::buffer(t.send), by_tuple);
    if (t.close) {
      if (t.shutdown) co_await tls.async_shutdown(by_tuple);
      co_return;
    }
  }
  // The script has ended: keep the connection open until the peer closes it.
  char buf[256];
  for (;;) {
    auto [ec, n] = co_await tls.async_read_some(asio::buffer(buf), by_tuple);
    if (ec) co_return;
  }
}

unsigned status_of(const std::string& a) {
  return a.starts_with("HTTP/1.1 ") ? static_cast<unsigned>(std::atoi(a.c_str() + 9)) : 0;
}

}  // namespace kf::net::test
