// `keyferry serve`: the SM-DP process. The one place that wires everything together.
#pragma once

#include "host/main/config/config.hpp"
#include "host/pki/chain.hpp"

namespace kf::server {

// Runs until SIGTERM or SIGINT. Exit status: 0 stopped, 1 could not start (one line on stderr says why), 2 wrong
// configuration (one line a mistake) or a store that another process has.
int serve(const Config& c);

// Reads CI roots, EUM certificates and CERT.DP.ECDSA files and checks them against each other and against the public
// keys that the token holds (docs/spec/crypto.md 5.2). Used by `serve` and `identity`.
struct LoadedIdentity {
  Curve curve = Curve::p256;
  Bytes certificate;
};
Result<LoadedIdentity> check_identity(const Bytes& certificate, const Point& token_key, Curve curve,
                                      std::span<const X509Info> roots, Date today);
Result<std::vector<X509Info>> read_x509_files(const std::vector<std::string>& files);

// Connections that each listener may have when the process may have so many descriptors: max_connections or less.
std::size_t places_for(const Config& c, std::uint64_t descriptors);
// What one address or party may have of `places`, where `configured` was meant for max_connections: the same part of
// them, and where it is less than a quarter, a quarter at most.
std::size_t share_of_places(const Config& c, std::size_t configured, std::size_t places);

}  // namespace kf::server
