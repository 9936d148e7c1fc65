// TLS contexts for both ends, and what the verified peer is. TLS 1.2 and 1.3 with certificates on both sides, or
// TLS 1.2 with a pre-shared key (the card's side: SGP.02 2.4.3, Annex H, docs/spec/interfaces.md 5.2). Private to
// host/net.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "host/net/http.hpp"

namespace kf::net::detail {

struct SslDelete {
  void operator()(SSL_CTX* p) const noexcept { SSL_CTX_free(p); }
  void operator()(SSL* p) const noexcept { SSL_free(p); }
  void operator()(SSL_SESSION* p) const noexcept { SSL_SESSION_free(p); }
};
template <class T>
using SslPtr = std::unique_ptr<T, SslDelete>;

// Reasons of create(): net-tls-files.
class ServerTls {
 public:
  static Result<std::unique_ptr<ServerTls>> create(const ServerOptions& o);
  [[nodiscard]] SSL* connection() const;  // owned by the caller; in accept state; nullptr: out of memory
  std::function<Result<SecretBytes>(const std::string&)> psk;

 private:
  SslPtr<SSL_CTX> ctx_;
};

class ClientTls {
 public:
  static Result<std::unique_ptr<ClientTls>> create(const ClientOptions& o);
  [[nodiscard]] SSL* connection();  // refers to this object while it lives
  void forget_session() { session_.reset(); }

  std::string host;  // checked against the certificate when verify_host
  bool verify_host = true;
  std::string psk_identity;
  std::shared_ptr<const SecretBytes> psk_key;

 private:
  static int keep_session(SSL* ssl, SSL_SESSION* s);
  SslPtr<SSL_CTX> ctx_;
  SslPtr<SSL_SESSION> session_;  // the newest ticket: the next connection costs no signature
};

// After the handshake. Error (reason net-tls): the certificate of a resumed session has expired meanwhile.
Result<Peer> verified_peer(SSL* ssl);

// What OpenSSL's error queue and the verification say, for people: "certificate verify failed (certificate has
// expired)".
std::string tls_error_text(SSL* ssl);

}  // namespace kf::net::detail
