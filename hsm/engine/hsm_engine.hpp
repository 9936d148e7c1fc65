// The HSM as an EccEngine: worker processes (keyferry-hsm-worker) that alone load the PKCS#11 module.
//
// sign: SK.DP.ECDSA in the token; ephemeral_ecka: C_GenerateKeyPair, C_DeriveKey, C_DestroyObject in one request;
// verify. Requests travel in batches through a shared-memory ring per worker. docs/hsm.md; SGP.02 3.1.2.
//
// What a caller sees of trouble: nothing, as long as some worker of some token can still do the job before its
// deadline. Then: `failed` (this job's own fault), `busy` (the token stayed full through all retries), `timed_out`, or
// `engine_down` (no token serves: answered at once). Nothing of a request is produced twice for the outside: see
// scheduler.hpp.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/histogram.hpp"
#include "host/crypto/engine.hpp"
#include "host/crypto/record_sealer.hpp"

namespace kf::hsm {

// One token and the processes that work on it. Several tokens that hold the same keys share the load and stand in for
// each other.
struct TokenConfig {
  std::string name;            // in logs, reports and drain commands; empty: the label in token_uri
  std::string module_path;     // PKCS#11 module (.so)
  std::string token_uri;       // RFC 7512: pkcs11:token=...;serial=...
  std::string pin_file;        // exactly one of the three; a PIN is never on a command line
  std::string pin_env;         // name of an environment variable
  std::string pin_credential;  // name of a systemd credential ($CREDENTIALS_DIRECTORY)
  std::vector<std::pair<std::string, std::string>> environment;  // for the workers (SOFTHSM2_CONF ...)
  unsigned workers = 2;                                          // processes
  unsigned threads = 1;  // sessions at work in each process; more than one pays for remote modules only
};

struct HsmConfig {
  std::string worker_path;  // the keyferry-hsm-worker binary; empty: what came with this executable
  std::vector<TokenConfig> tokens;
  struct IdentityKey {
    Curve curve;
    std::string label;              // CKA_LABEL, or an RFC 7512 URI: pkcs11:object=...;id=%01
    std::optional<Point> expected;  // public key of the certificate: a token that holds another key is not used
  };
  std::vector<IdentityKey> identity_keys;  // SK.DP.ECDSA per curve
  std::string wrap_key_label;              // AES key that wraps the data key and key-set records; label or URI
  bool sign_only = false;                  // hybrid custody: a token without ECDH will do, its keys must sign
  std::size_t ring_entries = 1024;         // accepted and not yet polled, by the whole engine

  std::chrono::milliseconds start_limit{20'000};  // from exec to ready
  std::chrono::milliseconds call_limit{2'000};    // one job inside the module; doubled after each worker lost to it
  std::chrono::milliseconds job_limit{10'000};    // for a request without a deadline of its own
  std::chrono::milliseconds keep_alive{10'000};   // an idle session signs so often; 0: never
  std::size_t memory_budget = std::size_t{256} << 20;  // octets resident in one worker, then it is replaced in order
  std::function<void(const std::string&)> log;         // a line per event, from the supervisor thread, which must not
                                                       // call back into the engine; empty: stderr
};

struct HsmStats {
  struct Worker {
    std::string token;
    int pid = 0;  // 0: not running now
    bool live = false;
    std::uint64_t jobs = 0;     // completed by the worker, whatever the status
    std::uint64_t batches = 0;  // groups of jobs handed over in one turn
    std::uint64_t doorbells = 0;
    std::uint64_t restarts = 0;  // for any reason
    std::uint64_t recycled = 0;  // of these in order, for its memory budget
    std::uint64_t rss_bytes = 0;
    double service_us = 0;  // of one job, lately
  };
  struct Token {
    std::string name;
    std::string state;  // "up", "down", "draining", "drained", "refused" (PIN or key: not tried again)
    std::string why;    // of a state that is not "up"
    std::uint64_t jobs = 0, device_errors = 0, outages = 0;
  };
  std::vector<Worker> workers;
  std::vector<Token> tokens;
  Histogram batch_size;  // jobs handed to a worker in one turn
  Histogram queue_us;    // from submit() to the worker taking the job up
  Histogram service_us;  // inside the worker
  std::uint64_t retries = 0, timed_out = 0, busy = 0, engine_down = 0;
};

// What the token itself says about a key, and whether reading its value was really refused.
struct KeyFacts {
  std::string label;
  bool token_object, private_object, sensitive, extractable, always_sensitive, never_extractable;
  bool sign, derive, decrypt, encrypt, wrap, unwrap;
  bool value_readable;
};

class HsmEngine final : public EccEngine, public RecordSealer {
 public:
  // Starts the workers and waits until each has logged in and found the keys.
  // Reasons: hsm-worker, hsm-module, hsm-token, hsm-pin, hsm-key; detail says what to do about it.
  static Result<std::unique_ptr<HsmEngine>> start(const HsmConfig& c);
  ~HsmEngine() override;
  std::string_view name() const noexcept override { return "hsm"; }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override;
  std::size_t poll(std::span<EccCompletion> out) noexcept override;
  int event_fd() const noexcept override;
  [[nodiscard]] HsmStats stats() const;  // the thread of submit() and poll()
  [[nodiscard]] std::vector<int> worker_pids() const;

  // Blocking administration, for start-up and tools (one at a time, from the owner thread, with no jobs in flight).
  Result<Point> public_key(Curve c);                      // of the identity key
  Result<SecretBytes> unwrap_data_key(ByteView wrapped);  // the 32-byte data key of the store
  Result<Bytes> new_wrapped_data_key();                   // generated in the token, wrapped under wrap_key_label
  // Under the wrap key inside the token. A call overtakes the jobs that wait in its worker: it takes one job's time and
  // its own.
  Result<Bytes> seal_record(ByteView aad, ByteView plain) override;
  Result<SecretBytes> open_record(ByteView aad, ByteView sealed) override;

  // Any thread.
  Result<Bytes> random(std::size_t n);  // 1..16384 octets from a token

  // Maintenance of one token: it gets no new jobs; "drained" once nothing is left in it. False: no token of that name.
  bool drain(std::string_view token);
  bool resume(std::string_view token);
  Result<std::size_t> session_objects();  // left in the token by one worker, expected 0
  Result<std::vector<std::pair<std::string, std::string>>>
  describe();  // token, module, learnt encodings: for the probe
  Result<std::vector<KeyFacts>> key_facts();

 private:
  HsmEngine();
  bool set_draining(std::string_view token, bool on);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kf::hsm
