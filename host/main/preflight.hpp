// What must be right before the SM-DP can serve, checked without serving: `keyferry check-config` and `keyferry serve`
// use the same checks. Nothing is made or changed. Blocking; for start-up and tools.
#pragma once

#include "host/main/config/config.hpp"
#include "host/pki/chain.hpp"

namespace kf::server {

// Of a store that an interrupted init has left; stands behind its path.
constexpr const char* kNoDataKey =
    ": has no data key, so nothing is in it; `keyferry init --dir DIR`, on the folder of this configuration, completes "
    "it";

// What the named files hold, whether they fit each other, and whether the listeners' addresses are this machine's:
// everything that needs no module. What is already noted about a key is not looked at again.
void check_files(const Config& c, Mistakes& mistakes);

// Loads each module in a worker process and looks for the token that its URI names. No PIN is read.
void check_modules(const Config& c, Mistakes& mistakes);

// Logs in: identity keys, the key that wraps, and whether the store opens with it. Only where nothing was noted about
// tokens. A wrong PIN costs one try of each token.
void check_token(const Config& c, Mistakes& mistakes);

// Names that do not stop us and will stop others: our own URLs name a host for which our TLS certificate is not.
std::vector<Mistake> check_names(const Config& c);

// CERT.DP.ECDSA by itself: its curve, and that one of the configured CI roots issued it. Reasons: those of gp_cert.hpp,
// bad-curve, untrusted-root.
Status check_cert_dp(const GpCertificate& certificate, Curve curve, std::span<const X509Info> roots, Date today);

}  // namespace kf::server
