// Which of OpenSSL's library contexts this program uses, and how it ends when OpenSSL cannot go on.
//
// A program of ours uses the default context and aborts: there is no safe way on. A library in somebody else's process
// may do neither: the default context belongs to its host, whose configuration can name that very library as an engine
// or provider, so that a fetch in it would come back to the caller; and the host's life is not the library's to end.
// Such a library sets both before anything of host/base or host/crypto is used.
// Threading: set while nobody uses them; read from any thread.
#pragma once

#include <openssl/types.h>

namespace kf {

[[nodiscard]] OSSL_LIB_CTX* openssl_context() noexcept;  // null: the default context
void use_openssl_context(OSSL_LIB_CTX* context) noexcept;

// What must not happen has happened (no memory, no random numbers). Calls the handler, which may throw; aborts when
// there is none or it returns.
using GiveUp = void (*)(const char* what);
[[noreturn]] void give_up(const char* what);
void on_give_up(GiveUp handler) noexcept;

}  // namespace kf
