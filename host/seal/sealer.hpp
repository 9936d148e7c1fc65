// Protecting profile segments for many downloads at once (SCP03t, docs/spec/crypto.md 6.5, 6.6) and checking the
// protected answers: the port, and the engines behind it.
//
// A job is one download: its keys, its MAC chaining value, its package. Jobs of one call never share keys, lengths or
// order; each leaves exactly the octets that it would leave alone. Nothing secret stays behind in an engine when a call
// has returned. An engine serves one thread at a time; different engines are independent.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "host/base/bytes.hpp"
#include "host/crypto/symmetric.hpp"

namespace kf::seal {

inline constexpr std::size_t kMacSize = 8;

// The whole 86 TLV around so many octets of plaintext (at most kMaxPlain).
inline constexpr std::size_t kMaxPlain = 65519;
std::size_t sealed_tlv_size(std::size_t plain);
std::size_t segment_count(std::size_t package, std::size_t segment);
// All TLVs of a package that is cut every `segment` octets.
std::size_t sealed_size(std::size_t package, std::size_t segment);

struct SealJob {
  ByteView s_enc, s_mac;            // 16, 24 or 32 octets each
  Block16 chain{};                  // MAC chaining value: in, that of the command before; out, of the last segment
  std::uint64_t first_counter = 1;  // of the first segment of this job
  ByteView plain;                   // the package, cut every `segment` octets (1 to kMaxPlain)
  std::size_t segment = 1007;
  std::span<const ByteView> parts;  // instead of `plain`: segments cut elsewhere, up to kMaxPlain each
  std::span<std::uint8_t> out;      // gets the TLVs one behind the other; exactly as long as they are; not over `plain`
  std::span<Block16> mcv;           // gets the chaining value after each segment; one a segment

  [[nodiscard]] std::size_t segments() const;
  [[nodiscard]] ByteView part(std::size_t i) const;
  [[nodiscard]] std::size_t sealed() const;  // what `out` has to be
};

enum class OpenStatus : std::uint8_t { ok, bad_rmac, bad_padding };
struct OpenJob {                       // one answer 86 with data
  ByteView s_enc, s_rmac;              // 16, 24 or 32 octets each
  Block16 mcv{};                       // chaining value after the command that is answered
  std::uint64_t counter = 1;           // of that command
  ByteView value;                      // ciphertext (whole blocks, perhaps none) and R-MAC; at most 65535 octets
  std::span<std::uint8_t> plain;       // as long as the ciphertext; written only under a right R-MAC
  OpenStatus status = OpenStatus::ok;  // out
  std::size_t size = 0;                // out: so much of `plain` is data; 0 unless ok
};

// CMAC(key, first || rest): a chaining value or the head of a key derivation, then at least one octet.
struct MacJob {
  ByteView key;  // 16, 24 or 32 octets
  Block16 first{};
  ByteView rest;
  Block16 mac{};  // out
};

// Key lengths and buffer sizes come from our own code: wrong ones abort.
class ScriptSealer {
 public:
  virtual ~ScriptSealer() = default;
  ScriptSealer(const ScriptSealer&) = delete;
  ScriptSealer& operator=(const ScriptSealer&) = delete;
  [[nodiscard]] virtual std::string_view name() const = 0;
  virtual void seal(std::span<SealJob> jobs) = 0;
  virtual void open(std::span<OpenJob> jobs) = 0;
  virtual void cmac(std::span<MacJob> jobs) = 0;  // session keys, cryptograms, C-MACs of many downloads

 protected:
  ScriptSealer() = default;
};

// What this processor and this build can run, the reference first, the best last: "openssl", "ipsec-mb",
// "lanes-aesni", "lanes-vaes256", "lanes-vaes512".
std::vector<std::string_view> engine_names();
// One of those, or "lanes" for the best of that kind, or "best". Reasons: no-engine.
Result<std::unique_ptr<ScriptSealer>> make_sealer(std::string_view name);
// The best one of this thread, made when it is first asked for.
ScriptSealer& default_sealer();

}  // namespace kf::seal
