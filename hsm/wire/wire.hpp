// Messages between HsmEngine and keyferry-hsm-worker: the entries of the ring (ring.hpp), and the small messages on the
// socket: configuration, ready, administration.
//
// Both ends are built together and run on one machine: integers are native, kVersion guards against a stale worker
// binary. Threading: free functions and values only. Errors: Reader never reads past the end, ok() tells.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "host/base/secret.hpp"

namespace kf::hsm::wire {

inline constexpr int kWorkerFd = 3;                   // the worker's end of its socket pair
inline constexpr std::uint32_t kMagic = 0x4B46484DU;  // "KFHM"
inline constexpr std::uint16_t kVersion = 2;
inline constexpr std::size_t kMaxMessage = 64 * 1024;  // octets, header included
inline constexpr std::size_t kMaxRecord = 16 * 1024;   // plaintext octets of seal_record

enum class Kind : std::uint8_t {
  configure = 1,  // client -> worker, first message: Configuration
  ready,          // worker -> client: Answer; the worker exits after a refusal
  call,           // client -> worker: AdminOp and its fields; Header.serial names the call
  answer,         // worker -> client: Answer, same serial
  leaving,        // worker -> client: Answer with the reason; the worker ends
};

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kVersion;
  Kind kind = Kind::configure;
  std::uint8_t reserved = 0;
  std::uint32_t octets = 0;  // octets after the header
  std::uint32_t reserved2 = 0;
  std::uint64_t serial = 0;  // of an admin call
};
static_assert(sizeof(Header) == 24 && std::is_trivially_copyable_v<Header>);

// How a job failed, as the table of return codes judges it (hsm/p11/rv.hpp, same order): it decides who tries again.
enum class Fault : std::uint8_t { none, job, session, key, busy, device, fatal };

struct JobEntry {
  std::uint64_t tag;   // the engine's; comes back unchanged
  std::uint8_t op;     // EccOp
  std::uint8_t curve;  // Curve
  std::uint8_t reserved[6];
  std::uint8_t hash[32];
  std::uint8_t peer[65];
  std::uint8_t signature[64];
  std::uint8_t pad[15];
};
static_assert(sizeof(JobEntry) == 192 && std::is_trivially_copyable_v<JobEntry>);

struct DoneEntry {  // carries a shared secret: whoever holds a copy wipes it
  std::uint64_t tag;
  std::uint64_t begun_ns;    // CLOCK_MONOTONIC
  std::uint32_t service_ns;  // saturates
  std::uint32_t rv;          // CK_RV of the call that failed, 0 when none did
  std::uint8_t op;
  std::uint8_t status;   // EccStatus
  std::uint8_t fault;    // Fault
  std::uint8_t healthy;  // after a fault of class device: the token did another job at once
  std::uint8_t signature[64];
  std::uint8_t epk[65];
  std::uint8_t shs[32];
  std::uint8_t pad[3];
};
static_assert(sizeof(DoneEntry) == 192 && std::is_trivially_copyable_v<DoneEntry>);

enum class AdminOp : std::uint32_t {
  new_data_key = 1,  // -> wrapped
  unwrap_data_key,   // wrapped -> 32 octets
  seal_record,       // aad, plain -> sealed
  open_record,       // aad, sealed -> plain
  session_objects,   // -> count
  describe,          // -> pairs of name and value
  key_facts,         // -> rows of KeyFact
  provision,         // so-pin file, token label -> created?, names of keys
  random,            // u32 octets -> random octets from the token
  probe,             // mode probe only: name of the step, arguments -> JSON text
  measure,           // mode probe only: direct calls without an engine, see direct.hpp
  sign_with,         // test import only, from here on
  ecka_with,
  verify_with,
};

// Length-prefixed fields. Secrets may pass: the buffer is wiped by whoever owns it.
class Writer {
 public:
  void u32(std::uint32_t v);
  void field(ByteView v);
  void field(std::string_view v) { field(view(v)); }
  [[nodiscard]] ByteView bytes() const { return buffer_.expose(); }
  SecretBytes take() { return std::move(buffer_); }

 private:
  void put(const void* p, std::size_t n);
  SecretBytes buffer_;
};

class Reader {
 public:
  explicit Reader(ByteView v) : rest_(v) {}
  std::uint32_t u32();
  ByteView field();  // a view into the message
  std::string string() { return std::string(text(field())); }
  template <std::size_t N>
  bool fixed(std::array<std::uint8_t, N>& out) {
    const ByteView v = field();
    if (v.size() != N) return ok_ = false;
    std::copy(v.begin(), v.end(), out.begin());
    return ok_;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return ok_ && rest_.empty(); }

 private:
  ByteView rest_;
  bool ok_ = true;
};

struct Configuration {
  enum class Mode : std::uint32_t { serve = 1, provision, test_vectors, probe };
  struct Key {
    std::uint8_t curve = 0;
    std::string label;
  };
  Mode mode = Mode::serve;
  std::string module_path, token_uri, pin_file, pin_env, pin_credential, wrap_key_label;
  std::vector<Key> keys;
  std::uint32_t threads = 1;        // mode serve: sessions at work
  std::uint32_t keep_alive_ms = 0;  // mode serve; 0: never
  bool allow_test_import = false;
  bool sign_only = false;  // a token without ECDH will do
  [[nodiscard]] SecretBytes encode() const;
  static std::optional<Configuration> decode(ByteView v);
};

// Outcome of start-up or of an admin call: a payload, or reason and detail.
SecretBytes encode_answer(const Result<SecretBytes>& r);
Result<SecretBytes> decode_answer(ByteView v);  // reasons: those of the worker; hsm-worker when malformed

struct Message {
  Header header;
  ByteView body;  // into the buffer given to receive()
};
// One message out. `flags` as for send(2); MSG_NOSIGNAL is added. 0, or the errno.
int send_message(int fd, Kind kind, std::uint64_t serial, ByteView body, int flags = 0);
// One message in. 0 and a message; EAGAIN; EPIPE at the end of the stream; EPROTO when malformed; else the errno.
int receive_message(int fd, std::span<std::uint8_t> buffer, Message& out, int flags = 0);

}  // namespace kf::hsm::wire
