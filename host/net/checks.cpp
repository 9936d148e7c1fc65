// What must hold before a server can start, asked without starting one.
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <boost/asio/ip/tcp.hpp>

#include <cerrno>
#include <cstring>
#include <memory>

#include "host/net/http.hpp"

namespace kf::net {
namespace {

struct ContextDelete {
  void operator()(SSL_CTX* p) const noexcept { SSL_CTX_free(p); }
};

int no_passphrase(char*, int, int, void*) { return -1; }  // never ask on the terminal

// The first in OpenSSL's queue is the cause; what follows says the same in other words.
std::string cause() {
  const unsigned long e = ERR_peek_error();
  const char* reason = ERR_reason_error_string(e);
  if (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == ERR_R_PEM_LIB) return "not readable as PEM";
  if (reason != nullptr) return reason;
  if (ERR_SYSTEM_ERROR(e)) return std::strerror(static_cast<int>(ERR_GET_REASON(e)));
  return "unknown error";
}

}  // namespace

namespace {
// What would make every peer refuse it. Empty: nothing.
std::string unusable(X509* cert) {
  if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0) return "has expired";
  if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) return "is not valid yet (or the clock is wrong)";
  char group[64] = "";
  EVP_PKEY* const key = X509_get0_pubkey(cert);
  if (key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 &&
      EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, nullptr) == 1) {
    const std::string_view curve = group;
    if (curve != "prime256v1" && curve != "P-256" && curve != "secp384r1" && curve != "P-384")
      return "is on " + std::string(curve) + ", which TLS does not take here: P-256, P-384, Ed25519 or RSA";
  }
  // This server is the client where it calls SM-SRs and Operators.
  if (X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0) != 1)
    return "may not be a server's (extendedKeyUsage lacks serverAuth)";
  if (X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0) != 1)
    return "may not be a client's (extendedKeyUsage lacks clientAuth)";
  return {};
}
}  // namespace

Status check_tls_files(const TlsFiles& f) {
  const std::unique_ptr<SSL_CTX, ContextDelete> ctx(SSL_CTX_new(TLS_server_method()));
  if (!ctx) return Error{"certificate", "cannot set up TLS: " + cause()};
  SSL_CTX_set_default_passwd_cb(ctx.get(), no_passphrase);
  ERR_clear_error();
  const auto wrong = [](const char* which, const std::string& what) {
    Error e{which, what};
    ERR_clear_error();
    return e;
  };
  if (SSL_CTX_use_certificate_chain_file(ctx.get(), f.cert.c_str()) != 1)
    return wrong("certificate", f.cert + ": no PEM certificate: " + cause());
  // Refuses a key of another certificate by itself, with a reason that says so.
  if (SSL_CTX_use_PrivateKey_file(ctx.get(), f.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const bool foreign = ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509;
    return wrong("key", foreign ? f.key + ": not the key of " + f.cert
                                : f.key + ": no PEM private key without a passphrase: " + cause());
  }
  if (SSL_CTX_check_private_key(ctx.get()) != 1) return wrong("key", f.key + ": not the key of " + f.cert);
  if (const std::string why = unusable(SSL_CTX_get0_certificate(ctx.get())); !why.empty())
    return wrong("certificate", f.cert + ": " + why);
  if (SSL_CTX_load_verify_file(ctx.get(), f.ca.c_str()) != 1)
    return wrong("ca", f.ca + ": no PEM certificates: " + cause());
  return {};
}

Status check_listen_address(const std::string& address) {
  boost::system::error_code ec;
  const auto a = asio::ip::make_address(address, ec);
  if (ec) return Error{NetFault::bind, "\"" + address + "\" is no IP address"};
  asio::io_context io(1);
  asio::ip::tcp::acceptor probe(io);
  const asio::ip::tcp::endpoint at(a, 0);  // any free port: the real one may be in use by the server that runs
  probe.open(at.protocol(), ec);
  if (!ec) probe.bind(at, ec);
  if (ec) return Error{NetFault::bind, address + " cannot be listened on: " + ec.message()};
  return {};
}

}  // namespace kf::net
