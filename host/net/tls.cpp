#include "host/net/tls.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "host/base/bytes.hpp"

namespace kf::net {
namespace {

struct X509Delete {
  void operator()(X509* p) const noexcept { X509_free(p); }
  void operator()(BIO* p) const noexcept { BIO_free_all(p); }
};
using X509Ptr = std::unique_ptr<X509, X509Delete>;
using BioPtr = std::unique_ptr<BIO, X509Delete>;

std::string fingerprint_of(const X509* x) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> md{};
  unsigned n = 0;
  if (X509_digest(x, EVP_sha256(), md.data(), &n) != 1) return {};
  return to_hex({md.data(), n});
}

std::string last_error() {
  const unsigned long e = ERR_peek_error();
  const char* reason = ERR_reason_error_string(e);
  if (reason != nullptr) return reason;
  if (ERR_SYSTEM_ERROR(e)) return std::strerror(static_cast<int>(ERR_GET_REASON(e)));
  return "unknown error";
}

Result<X509Ptr> read_certificate(const std::string& pem_file) {
  ERR_clear_error();
  const BioPtr in(BIO_new_file(pem_file.c_str(), "r"));
  if (!in) return Error{NetFault::tls_files, pem_file + ": " + last_error()};
  X509Ptr x(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (!x) return Error{NetFault::tls_files, pem_file + ": no PEM certificate"};
  return x;
}

void append_name(Bytes& out, const X509_NAME* name) {
  const std::uint8_t* der = nullptr;
  std::size_t n = 0;
  if (X509_NAME_get0_der(name, &der, &n) == 1) out.insert(out.end(), der, der + n);
}

// Issuer, subject and SubjectAltName as they are encoded; each carries its own length, so that nothing can slide from
// one into the next.
std::string names_of(const X509* x) {
  const int at = X509_get_ext_by_NID(x, NID_subject_alt_name, -1);
  const X509_NAME* subject = X509_get_subject_name(x);
  if (at < 0 || X509_NAME_entry_count(subject) == 0) return {};
  Bytes all;
  append_name(all, X509_get_issuer_name(x));
  append_name(all, subject);
  const ASN1_OCTET_STRING* alt = X509_EXTENSION_get_data(X509_get_ext(x, at));
  all.insert(all.end(), ASN1_STRING_get0_data(alt), ASN1_STRING_get0_data(alt) + ASN1_STRING_length(alt));
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> md{};
  unsigned n = 0;
  if (EVP_Digest(all.data(), all.size(), md.data(), &n, EVP_sha256(), nullptr) != 1) return {};
  return to_hex({md.data(), n});
}

bool is_ip(const std::string& host) {
  ASN1_OCTET_STRING* ip = a2i_IPADDRESS(host.c_str());
  ASN1_OCTET_STRING_free(ip);
  return ip != nullptr;
}

}  // namespace

Result<std::string> certificate_fingerprint(const std::string& pem_file) {
  KF_TRY(const X509Ptr x, read_certificate(pem_file));
  return fingerprint_of(x.get());
}

Result<std::string> certificate_names(const std::string& pem_file) {
  KF_TRY(const X509Ptr x, read_certificate(pem_file));
  return names_of(x.get());
}

bool certificate_covers(const std::string& pem_file, const std::string& host) {
  const auto x = read_certificate(pem_file);
  if (!x) return false;
  const unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
  return is_ip(host) ? X509_check_ip_asc(x->get(), host.c_str(), 0) == 1
                     : X509_check_host(x->get(), host.data(), host.size(), flags, nullptr) == 1;
}

namespace detail {
namespace {

// GPC Amendment B, docs/spec/interfaces.md 5.2: these two and no others.
constexpr const char* psk_ciphers = "PSK-AES128-GCM-SHA256:PSK-AES128-CBC-SHA256";
constexpr const char* tls12_ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
// AES-128 first: the peers' certificates are P-256, more would only cost time.
constexpr const char* tls13_ciphers = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
// What a peer may make the only loop compute: a handshake on ffdhe8192 costs two hundred times one of these.
constexpr const char* groups = "X25519:P-256:P-384";
constexpr const char* signatures =
    "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
    "rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512";
constexpr int chain_depth = 6;           // certificates between the peer's and a trust anchor
constexpr long chain_octets = 64 << 10;  // of the peer's Certificate message
constexpr long ticket_seconds = 3600;

int no_passphrase(char*, int, int, void*) { return -1; }  // never ask on the terminal

SslPtr<SSL_CTX> new_context(const SSL_METHOD* method, bool psk) {
  SslPtr<SSL_CTX> ctx(SSL_CTX_new(method));
  if (!ctx) return ctx;
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);  // thousands of idle connections
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_read_ahead(ctx.get(), 1);  // one recv() per record instead of two
  SSL_CTX_set_default_passwd_cb(ctx.get(), no_passphrase);
  SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);
  bool ok = SSL_CTX_set_min_proto_version(ctx.get(), TLS1_2_VERSION) == 1;
  if (psk) {  // TLS 1.2, no resumption
    ok = ok && SSL_CTX_set_max_proto_version(ctx.get(), TLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(ctx.get(), psk_ciphers) == 1;
    SSL_CTX_set_options(ctx.get(), SSL_OP_NO_TICKET);
  } else {
    ok = ok && SSL_CTX_set_cipher_list(ctx.get(), tls12_ciphers) == 1 &&
         SSL_CTX_set_ciphersuites(ctx.get(), tls13_ciphers) == 1 && SSL_CTX_set1_groups_list(ctx.get(), groups) == 1 &&
         SSL_CTX_set1_sigalgs_list(ctx.get(), signatures) == 1;
    SSL_CTX_set_verify_depth(ctx.get(), chain_depth);
    SSL_CTX_set_max_cert_list(ctx.get(), chain_octets);
  }
  if (!ok) ctx.reset();
  return ctx;
}

Status load_files(SSL_CTX* ctx, const TlsFiles& f, bool cert_required) {
  ERR_clear_error();
  if (cert_required || !f.cert.empty()) {
    if (SSL_CTX_use_certificate_chain_file(ctx, f.cert.c_str()) != 1)
      return Error{NetFault::tls_files, "certificate '" + f.cert + "': " + last_error()};
    if (SSL_CTX_use_PrivateKey_file(ctx, f.key.c_str(), SSL_FILETYPE_PEM) != 1)
      return Error{NetFault::tls_files, "private key '" + f.key + "': " + last_error()};
    if (SSL_CTX_check_private_key(ctx) != 1)
      return Error{NetFault::tls_files, "'" + f.key + "' is not the key of '" + f.cert + "'"};
  }
  if (SSL_CTX_load_verify_file(ctx, f.ca.c_str()) != 1)
    return Error{NetFault::tls_files, "trust anchors '" + f.ca + "': " + last_error()};
  return {};
}

unsigned copy_key(const SecretBytes& key, unsigned char* out, unsigned max) noexcept {
  const auto k = key.expose();
  if (k.empty() || k.size() > max) return 0;
  std::memcpy(out, k.data(), k.size());
  return static_cast<unsigned>(k.size());
}

unsigned server_psk(SSL* ssl, const char* identity, unsigned char* psk, unsigned max) noexcept {
  const auto* self = static_cast<const ServerTls*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  try {
    const auto key = self->psk(identity == nullptr ? "" : identity);
    return key.ok() ? copy_key(*key, psk, max) : 0;
  } catch (...) {  // called from C
    return 0;
  }
}

unsigned client_psk(SSL* ssl, const char*, char* identity, unsigned max_identity, unsigned char* psk,
                    unsigned max) noexcept {
  const auto* self = static_cast<const ClientTls*>(SSL_get_app_data(ssl));
  if (self == nullptr || !self->psk_key || self->psk_identity.size() > max_identity) return 0;
  // max_identity does not count the terminating zero, for which there is room.
  std::memcpy(identity, self->psk_identity.c_str(), self->psk_identity.size() + 1);
  return copy_key(*self->psk_key, psk, max);
}

// One for the process: the simulators make a client per card, and a context costs more than the handshake.
SSL_CTX* psk_client_context() {
  static const SslPtr<SSL_CTX> ctx = [] {
    auto c = new_context(TLS_client_method(), true);
    if (c) SSL_CTX_set_psk_client_callback(c.get(), client_psk);
    return c;
  }();
  return ctx.get();
}

}  // namespace

Result<std::unique_ptr<ServerTls>> ServerTls::create(const ServerOptions& o) {
  auto t = std::make_unique<ServerTls>();
  t->psk = o.psk;
  t->ctx_ = new_context(TLS_server_method(), static_cast<bool>(o.psk));
  SSL_CTX* ctx = t->ctx_.get();
  if (ctx == nullptr) return Error{NetFault::tls_files, "cannot set up TLS: " + last_error()};
  SSL_CTX_set_app_data(ctx, t.get());
  if (o.psk) {
    SSL_CTX_set_psk_server_callback(ctx, server_psk);
    return t;
  }
  KF_CHECK(load_files(ctx, o.tls, true));
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(o.tls.ca.c_str()));
  // Resumption by ticket only: nothing is kept here. The ticket carries the client's certificate.
  static constexpr unsigned char context_id[] = "keyferry";
  SSL_CTX_set_session_id_context(ctx, context_id, sizeof context_id - 1);
  SSL_CTX_set_timeout(ctx, ticket_seconds);
  SSL_CTX_set_num_tickets(ctx, 1);
  return t;
}

SSL* ServerTls::connection() const {
  SSL* s = SSL_new(ctx_.get());
  if (s != nullptr) SSL_set_accept_state(s);
  return s;
}

int ClientTls::keep_session(SSL* ssl, SSL_SESSION* s) {
  auto* self = static_cast<ClientTls*>(SSL_get_app_data(ssl));
  if (self == nullptr || SSL_SESSION_is_resumable(s) != 1) return 0;
  self->session_.reset(s);
  return 1;  // the reference is ours
}

Result<std::unique_ptr<ClientTls>> ClientTls::create(const ClientOptions& o) {
  auto t = std::make_unique<ClientTls>();
  t->host = o.host;
  t->verify_host = o.verify_host;
  if (o.psk_key) {
    if (o.psk_identity.empty() || o.psk_identity.size() > PSK_MAX_IDENTITY_LEN)
      return Error{NetFault::tls_files, "PSK identity must have 1 to 256 octets"};
    SSL_CTX* shared = psk_client_context();
    if (shared == nullptr || SSL_CTX_up_ref(shared) != 1) return Error{NetFault::tls_files, "cannot set up TLS"};
    t->ctx_.reset(shared);
    t->psk_identity = o.psk_identity;
    t->psk_key = o.psk_key;
    return t;
  }
  t->ctx_ = new_context(TLS_client_method(), false);
  SSL_CTX* ctx = t->ctx_.get();
  if (ctx == nullptr) return Error{NetFault::tls_files, "cannot set up TLS: " + last_error()};
  KF_CHECK(load_files(ctx, o.tls, false));
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
  SSL_CTX_sess_set_new_cb(ctx, keep_session);
  return t;
}

SSL* ClientTls::connection() {
  SslPtr<SSL> s(SSL_new(ctx_.get()));
  if (!s) return nullptr;
  SSL_set_app_data(s.get(), this);  // for keep_session and client_psk
  SSL_set_connect_state(s.get());
  if (psk_key) return s.release();
  const bool ip = is_ip(host);
  // SSL_set_tlsext_host_name without its C cast.
  if (!ip && SSL_ctrl(s.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, host.data()) != 1)
    return nullptr;
  if (verify_host) {
    X509_VERIFY_PARAM* p = SSL_get0_param(s.get());
    // Subject alternative names only; a common name is not a host name.
    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    const int ok =
        ip ? X509_VERIFY_PARAM_set1_ip_asc(p, host.c_str()) : X509_VERIFY_PARAM_set1_host(p, host.c_str(), 0);
    if (ok != 1) return nullptr;
  }
  if (session_) SSL_set_session(s.get(), session_.get());
  return s.release();
}

Result<Peer> verified_peer(SSL* ssl) {
  Peer peer;
  if (const char* id = SSL_get_psk_identity(ssl); id != nullptr) peer.psk_identity = id;
  const X509Ptr x(SSL_get1_peer_certificate(ssl));
  if (!x) return peer;
  // A resumed handshake does not look at the certificate again.
  if (SSL_session_reused(ssl) == 1 && X509_cmp_current_time(X509_get0_notAfter(x.get())) <= 0)
    return Error{NetFault::tls, "certificate has expired (resumed session)"};
  peer.fingerprint = fingerprint_of(x.get());
  peer.names = names_of(x.get());
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (out && X509_NAME_print_ex(out.get(), X509_get_subject_name(x.get()), 0, XN_FLAG_RFC2253) >= 0) {
    char* p = nullptr;
    const long n = BIO_ctrl(out.get(), BIO_CTRL_INFO, 0, &p);  // BIO_get_mem_data without its C cast
    peer.subject.assign(p, static_cast<std::size_t>(std::max(n, 0L)));
  }
  return peer;
}

std::string tls_error_text(SSL* ssl) {
  const unsigned long e = ERR_peek_error();
  std::string text = last_error();
  if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    text += std::string(" (") + X509_verify_cert_error_string(SSL_get_verify_result(ssl)) + ")";
  }
  ERR_clear_error();
  return text;
}

}  // namespace detail
}  // namespace kf::net
