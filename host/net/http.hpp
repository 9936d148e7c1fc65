// HTTP/1.1 over TLS (Boost.Beast): one server and one client used by the product and by the simulators.
//
// Runs on one io_context; all calls from that context's thread. TLS 1.2 and 1.3, mutual certificates, or TLS 1.2 PSK
// (the card side of the simulators). Every limit has a name in the options. The only room that includes Beast.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/base/result.hpp"
#include "host/base/secret.hpp"

namespace kf::net {

namespace asio = boost::asio;
using Millis = std::chrono::milliseconds;

// What this room's errors are told apart by; their slugs: "net-connect" and so on.
enum class NetFault : std::uint8_t { connect, busy, request, late, tls, timeout, lost, stale, answer, bind, tls_files };
std::string_view slug(NetFault f);

struct TlsFiles {  // PEM files
  std::string cert, key, ca;
};

struct Peer {               // who is on the other end, from the verified certificate (or the PSK identity)
  std::string fingerprint;  // SHA-256 of the DER, upper-case hex; empty with PSK or plain
  std::string subject;      // RFC 2253 one-liner
  std::string psk_identity;
  std::string names;  // SHA-256 of issuer, subject and SubjectAltName: what a renewal keeps; empty when one is missing
  std::string address;  // "127.0.0.1:40000", for the log
  std::string network;  // what counts as one address: "127.0.0.1", "2001:db8:0:1::/64"
};

using Headers = std::vector<std::pair<std::string, std::string>>;
const std::string* find_header(const Headers& h, std::string_view name);  // case-insensitive

// In what is received, `headers` leaves out Host and Content-Type (members of their own) and what only concerns the
// connection: Connection, Keep-Alive, Content-Length, Transfer-Encoding, Expect. In what is sent, such fields are
// ignored: framing is this room's business. Trailers are dropped.
struct Request {
  std::string method = "POST";
  std::string target = "/";
  std::string host;  // client: Host header; empty: authority of the client
  std::string content_type;
  Headers headers;
  std::string body;
  bool chunked = false;  // client: send the body chunked
  // Client: of a request that has not begun to be written by then nothing is written any more.
  std::chrono::steady_clock::time_point send_by = std::chrono::steady_clock::time_point::max();
  // Client: makes the body once a connection is there, for one that says how old it is; also for another try.
  std::function<std::string()> compose;
  Peer peer;  // server only
};
struct Response {
  unsigned status = 200;
  std::string content_type;
  Headers headers;
  std::string body;
  bool chunked = false;
  bool close = false;   // server: close after this answer
  bool resent = false;  // client: to a second try; the peer may have received the first
};

using Handler = std::function<asio::awaitable<Response>(Request)>;

// What a request's head decides: 0 to go on, or the status to answer with and why, as plain text.
struct Admission {
  unsigned status = 0;
  std::string reason;
  Admission(unsigned s = 0, std::string why = {}) : status(s), reason(std::move(why)) {}
};

struct ServerStats {
  std::uint64_t accepted = 0;
  std::uint64_t probes = 0;      // connections that ended before they said anything: health checks
  std::uint64_t handshakes = 0;  // completed
  std::uint64_t handshakes_failed = 0;
  std::uint64_t handshakes_delayed = 0;  // by handshakes_per_second
  std::uint64_t closed_for_others = 0;   // idle or silent ones that gave up their place
  std::uint64_t refused = 0;             // no place, or too many handshakes of the address
};

struct ServerOptions {
  std::string listen_address = "127.0.0.1";
  std::uint16_t port = 0;                                               // 0: any free port; see HttpServer::port()
  TlsFiles tls;                                                         // used when psk is empty and plain is false
  bool plain = false;                                                   // no TLS at all (simulator's inside only)
  std::function<Result<SecretBytes>(const std::string& identity)> psk;  // TLS_PSK_WITH_AES_128_GCM_SHA256, TLS 1.2
  std::size_t max_body = 1 << 20;                                       // over: 413 and close
  std::size_t max_bodies_per_party = 32 << 20;  // received and not yet answered, large ones; over: 503 and close
  std::size_t max_header = 16 << 10;            // over: 431 and close
  // Full: the oldest silent or idle connection of whoever holds most of those is closed for the new one; refused at
  // accept only when every place is at work. The same within the share of an address (until the peer is verified; an
  // IPv6 /64 counts as one) and of a party (from then on). 0: no share of their own.
  std::size_t max_connections = 4096;
  std::size_t max_per_address = 0;
  std::size_t max_per_party = 0;
  // TLS handshakes of one address; over: they wait their turn, and are refused when it would not come in time.
  // Five seconds' worth may be saved up. 0: no limit.
  double handshakes_per_second = 0;
  Millis first_byte_timeout{5'000};      // from accept to the first octet of the handshake
  Millis first_request_timeout{15'000};  // from the handshake to the first octet of a request
  Millis header_timeout{10'000};  // header incomplete or handshake not done: 408 / closed; absolute, like the next
  Millis body_timeout{30'000};    // body incomplete: 408 and close; also for the peer to take the answer
  Millis idle_timeout{75'000};    // between requests; a running handler has no limit
  // Called before the body is read: a status other than 0 answers at once (403 for a party that may not use this path,
  // 405, 415 ...). 405 gets "Allow: POST", and a refusal without a reason gets one. The connection is kept when the
  // request had no body.
  std::function<Admission(const Request& head)> admit;
  // The name under which connections of this verified peer are counted; empty: a stranger's, they count together and
  // are closed after each answer. Absent: certificate or PSK identity.
  std::function<std::string(const Peer&)> party;
  // One line per refused handshake or broken request: printable, and few of one kind and peer a minute.
  std::function<void(const std::string& line)> log;
};

class HttpServer {
 public:
  HttpServer(asio::io_context& io, ServerOptions o, Handler h);
  ~HttpServer();         // stop(); what running handlers use must live until they have ended
  Result<void> start();  // binds and listens; reasons: net-bind, net-tls-files
  void stop();           // no new connections; idle ones closed; running handlers finish
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] const ServerStats& stats() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

struct ClientOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 443;
  TlsFiles tls;
  bool plain = false;
  std::string psk_identity;  // with psk_key: TLS 1.2 PSK
  std::shared_ptr<const SecretBytes> psk_key;
  bool verify_host = true;            // `host` must be a SAN (DNS or IP) of the server's certificate; CN does not count
  std::size_t max_connections = 32;   // over: calls wait in a bounded queue, first come, first served
  std::size_t max_waiting = 100'000;  // over: net-busy
  std::size_t max_body = 4 << 20;     // of an answer; over: net-answer
  Millis connect_timeout{10'000};     // name, TCP and handshake
  Millis idle_timeout{20'000};        // an idle pooled connection is dropped after that (shorter than servers keep it)
};

class HttpClient {  // one origin, a pool of keep-alive connections
 public:
  HttpClient(asio::io_context& io, ClientOptions o);
  ~HttpClient();
  // `timeout` covers everything from the call on. Reasons, when nothing of the request was sent:
  //   net-connect  no connection, also when connect_timeout passed
  //   net-busy     too many calls wait already, or no connection became free in time
  //   net-request  the request cannot be written as HTTP
  //   net-late     send_by passed first
  //   net-tls      handshake, our files
  // and when the peer may have received it, on whichever connection:
  //   net-timeout  also when the whole time went into connecting
  //   net-lost     the connection ended before the answer was complete; also when our certificate was refused as late
  //                as TLS 1.3 does it: a peer that has read the request can say the same
  //   net-stale    a pooled connection was closed by the peer and nothing was answered
  //   net-answer   what came is not HTTP or is over max_body
  // `resend_on_stale`: the caller says that the request may be repeated: one more try on a fresh connection.
  // Do not give the result to co_spawn directly: it default-constructs, Result cannot.
  asio::awaitable<Result<Response>> call(Request r, Millis timeout, bool resend_on_stale);
  void close_idle();
  [[nodiscard]] std::size_t connections() const;  // in use, connecting and idle

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

struct Url {
  bool tls = true;
  std::string host;
  std::uint16_t port = 443;
  std::string target = "/";  // path and query
  [[nodiscard]] std::string authority() const;
};
Result<Url> parse_url(std::string_view s);  // http and https only; reasons: bad-url
bool is_ip_address(const std::string& s);   // IPv4 or IPv6, without brackets

// For checks before a start. check_tls_files: the certificate is one, the key is its key, the trust anchors can be
// read; the reason is the member at fault: certificate, key, ca. check_listen_address: this machine has it; reasons:
// net-bind.
Status check_tls_files(const TlsFiles& f);
Status check_listen_address(const std::string& address);

Result<std::string> certificate_fingerprint(const std::string& pem_file);  // SHA-256 of the DER, upper-case hex
Result<std::string> certificate_names(const std::string& pem_file);        // as Peer::names
// Is `host` (a name or an address) among the SubjectAltNames of the certificate?
bool certificate_covers(const std::string& pem_file, const std::string& host);

// A Content-Type field, taken apart (RFC 9110, 8.3.1). Type and parameter names in lower case, values as they stand.
struct MediaType {
  std::string type;  // "application/soap+xml"
  std::vector<std::pair<std::string, std::string>> parameters;
  [[nodiscard]] std::string_view parameter(std::string_view name) const;  // the first; empty when absent
};
Result<MediaType> parse_media_type(std::string_view field);  // reasons: bad-media-type
bool same_token(std::string_view a, std::string_view b);     // without regard to case

}  // namespace kf::net
