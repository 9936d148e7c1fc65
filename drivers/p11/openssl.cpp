#include "drivers/p11/openssl.hpp"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>

#include "host/base/openssl_context.hpp"
#include "host/crypto/ec_plain.hpp"

namespace kf::p11core {
namespace {

// Kept for good: threads of the host may be in them when the process ends.
struct Own {
  OSSL_LIB_CTX* context = nullptr;
  pid_t pid = 0;
  const Own* before = nullptr;
};
std::atomic<const Own*> own{nullptr};

}  // namespace

void prepare_openssl() {
  const Own* const before = own.load();
  if (before != nullptr && before->pid == ::getpid()) return;
  on_give_up([](const char* what) { throw std::runtime_error(what); });
  ERR_set_mark();
  OSSL_LIB_CTX* const context = OSSL_LIB_CTX_new();
  const bool good = context != nullptr && OSSL_PROVIDER_load(context, "default") != nullptr;
  ERR_pop_to_mark();
  if (!good) {
    OSSL_LIB_CTX_free(context);
    throw std::runtime_error("no library context of OpenSSL");
  }
  use_openssl_context(context);
  own = new Own{context, ::getpid(), before};
  prepare_plain();
}

}  // namespace kf::p11core
