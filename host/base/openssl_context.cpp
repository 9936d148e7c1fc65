#include "host/base/openssl_context.hpp"

#include <atomic>
#include <cstdlib>

namespace kf {
namespace {
std::atomic<OSSL_LIB_CTX*> context_in_use{nullptr};
std::atomic<GiveUp> handler_in_use{nullptr};
}  // namespace

OSSL_LIB_CTX* openssl_context() noexcept { return context_in_use.load(std::memory_order_acquire); }
void use_openssl_context(OSSL_LIB_CTX* context) noexcept { context_in_use.store(context, std::memory_order_release); }

void give_up(const char* what) {
  if (const GiveUp handler = handler_in_use.load(std::memory_order_acquire)) handler(what);
  std::abort();
}
void on_give_up(GiveUp handler) noexcept { handler_in_use.store(handler, std::memory_order_release); }
}  // namespace kf
