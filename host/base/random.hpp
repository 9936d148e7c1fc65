// The process's approved random generator: OpenSSL's DRBG, in a library the kernel's. Pure code takes randomness as an argument; only rooms that
// do I/O call this. Gives up (openssl_context.hpp) when the generator fails.
#pragma once

#include <span>
#include <string>

#include "host/base/bytes.hpp"

namespace kf {
void random_fill(std::span<std::uint8_t> out);
Bytes random_bytes(std::size_t n);
std::string random_uuid();  // RFC 4122 version 4, lower case, without "urn:uuid:"
}  // namespace kf
