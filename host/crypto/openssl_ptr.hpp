// Owning pointers for OpenSSL's handles, and must() for calls that can only fail when memory or the library is broken.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <memory>

#include "host/base/openssl_context.hpp"

namespace kf::ossl {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, Deleter<EVP_PKEY_CTX_free>>;
using GroupPtr = std::unique_ptr<EC_GROUP, Deleter<EC_GROUP_free>>;
using PointPtr = std::unique_ptr<EC_POINT, Deleter<EC_POINT_free>>;
using BnPtr = std::unique_ptr<BIGNUM, Deleter<BN_clear_free>>;
using BnCtxPtr = std::unique_ptr<BN_CTX, Deleter<BN_CTX_free>>;
using CipherCtxPtr = std::unique_ptr<EVP_CIPHER_CTX, Deleter<EVP_CIPHER_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

inline void must(bool ok) {
  if (!ok) give_up("OpenSSL failed");
}
template <class T>
T* must(T* p) {
  if (p == nullptr) give_up("OpenSSL failed");
  return p;
}
// A refused input must not leave its error in the queue: TLS on the same thread would take it for its own.
inline bool clear_unless(bool ok) {
  if (!ok) ERR_clear_error();
  return ok;
}
// The same for calls that a library makes in its host's process: errors that were there before stay.
template <class F>
bool quietly(F&& f) {
  ERR_set_mark();
  const bool ok = f();
  ERR_pop_to_mark();
  return ok;
}

}  // namespace kf::ossl
