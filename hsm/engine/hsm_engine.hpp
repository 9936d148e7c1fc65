// The HSM as an EccEngine: worker processes (keyferry-hsm-worker) that alone load the PKCS#11 module.
//
// sign: SK.DP.ECDSA in the token; ephemeral_ecka: C_GenerateKeyPair, C_DeriveKey, C_DestroyObject in one request;
// verify. Requests travel in batches over a socket pair per worker. sgp02: docs/architecture.md "custody".
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/base/histogram.hpp"
#include "host/crypto/engine.hpp"

namespace kf::hsm {

struct HsmConfig {
  std::string worker_path;  // the keyferry-hsm-worker binary; empty: beside this executable
  std::string module_path;  // PKCS#11 module (.so)
  std::string token_uri;    // RFC 7512: pkcs11:token=...;serial=...
  std::string pin_file;     // or pin_env; never on a command line
  std::string pin_env;
  std::vector<std::pair<std::string, std::string>> environment;  // for the worker (SOFTHSM2_CONF ...)
  struct IdentityKey {
    Curve curve;
    std::string label;
  };
  std::vector<IdentityKey> identity_keys;  // label (CKA_LABEL) of SK.DP.ECDSA per curve
  std::string wrap_key_label;              // AES key that wraps the data key and key-set records
  unsigned workers = 2;
  std::size_t ring_entries = 1024;                // accepted and not yet polled, per worker
  std::chrono::milliseconds start_limit{20'000};  // from exec to ready
  std::chrono::milliseconds stall_limit{20'000};  // a worker that owes an answer and says nothing for so long is killed
  std::function<void(const std::string&)> log;    // a line per event, from the I/O thread, which must not
                                                  // call back into the engine; empty: stderr
};

struct HsmStats {
  struct Worker {
    int pid = 0;  // 0: not running now
    bool live = false;
    std::uint64_t jobs = 0;  // completed by the worker, whatever the status
    std::uint64_t batches = 0;
    std::uint64_t restarts = 0;
  };
  std::vector<Worker> workers;
  Histogram batch_size;  // jobs per message to a worker
};

// What the token itself says about a key, and whether reading its value was really refused.
struct KeyFacts {
  std::string label;
  bool token_object, private_object, sensitive, extractable, always_sensitive, never_extractable;
  bool sign, derive, decrypt, encrypt, wrap, unwrap;
  bool value_readable;
};

class HsmEngine final : public EccEngine {
 public:
  // Starts the workers and waits until each has logged in and found the keys.
  // Reasons: hsm-worker, hsm-module, hsm-token, hsm-pin, hsm-key; detail says what to do about it.
  static Result<std::unique_ptr<HsmEngine>> start(const HsmConfig& c);
  ~HsmEngine() override;
  std::string_view name() const noexcept override { return "hsm"; }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override;
  std::size_t poll(std::span<EccCompletion> out) noexcept override;
  int event_fd() const noexcept override;
  [[nodiscard]] std::vector<int> worker_pids() const;

  // Blocking administration, for start-up and tools (one at a time, from the owner thread, with no jobs in flight).
  Result<Point> public_key(Curve c);                      // of the identity key
  Result<SecretBytes> unwrap_data_key(ByteView wrapped);  // the 32-byte data key of the store
  Result<Bytes> new_wrapped_data_key();                   // generated in the token, wrapped under wrap_key_label
  // Any thread: seals a short record (a key set) under the wrap key inside the token; result by callback-free waiting.
  // At most 16384 octets; layout IV (12) || ciphertext || tag (16), AES-256-GCM. Reasons: hsm-seal, hsm-open, hsm-key,
  // hsm-worker (no worker could answer in time), hsm-busy (too many callers wait). A call overtakes the jobs that wait
  // in its worker: it takes one job's time and its own.
  Result<Bytes> seal_record(ByteView aad, ByteView plain);
  Result<SecretBytes> open_record(ByteView aad, ByteView sealed);

  // Any thread.
  [[nodiscard]] HsmStats stats() const;
  Result<std::size_t> session_objects();  // left in the token by one worker, expected 0
  Result<std::vector<std::pair<std::string, std::string>>>
  describe();  // token, module, learnt encodings: for the probe
  Result<std::vector<KeyFacts>> key_facts();

 private:
  HsmEngine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `keyferry init`: creates the token in a free slot when no token of that label exists, the identity key pairs
// (non-extractable, sensitive, sign only) and the wrap key (AES-256, non-extractable). Idempotent. Runs in a worker
// process.
struct TokenSetup {
  HsmConfig config;
  std::string token_label;
  std::string so_pin_file;
};
struct TokenSetupReport {
  bool token_created = false;
  std::vector<std::string> keys_created;
};
Result<TokenSetupReport> set_up_token(const TokenSetup& s);

}  // namespace kf::hsm
