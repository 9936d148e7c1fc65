// OpenSSL as this library has it: a library context of its own, in which the provider "default" is loaded and nothing
// else, and errors as exceptions.
//
// Never the default context: that is the host's, whose configuration may name this very module as an engine or as a
// provider. A fetch there would wait for the configuration that is being read, or be answered by a key that asks this
// module again.
#pragma once

namespace kf::p11core {

// At C_Initialize, in every process anew: locks of the context that a forked child inherits may be held by threads that
// it does not have. Throws std::runtime_error.
void prepare_openssl();

}  // namespace kf::p11core
