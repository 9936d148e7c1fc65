// A simulated eUICC: ISD-R, ECASD, ISD-Ps and a Profile Package Interpreter, driven by remote-command scripts.
//
// Test equipment. Its key agreement, KDF, CMAC use, certificate check and SCP03t are written here from the
// specification and share nothing with host/crypto, host/pki or host/es8, so that one bug cannot pass twice. Uses
// host/base only. docs/spec/crypto.md 4, 6, 9; docs/spec/interfaces.md 3, 5, 7.
// Not thread-safe: one caller at a time per card; different cards may run in different threads.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "host/base/bytes.hpp"
#include "host/base/result.hpp"

namespace kf::sim {

enum class CardCurve { p256, brainpool_p256r1 };

struct EuiccIdentity {
  std::string eid;  // 32 digits
  CardCurve curve = CardCurve::p256;
  Bytes sk_ecasd;                 // 32 bytes
  Bytes cert_ecasd;               // 7F21
  Bytes pk_ci;                    // 65 bytes: PK.CI.ECDSA
  Bytes ci_ski;                   // 20 bytes
  Bytes sin, sdin;                // of the ISD-R, may be empty
  std::uint32_t memory = 524288;  // bytes for profiles
  unsigned rc_length = 16;        // 16 or 32
  bool r_mac_on_empty = false;    // answer 86 08 R-MAC instead of 86 00 (docs/spec/crypto.md A17)
};

// Faults on request; each names a failure of docs/spec/interfaces.md 4.2.
struct EuiccFaults {
  bool wrong_receipt = false;
  bool wrong_r_mac = false;
  bool wrong_counter = false;  // sequence counter differs once: 85 fails with 9F45 01 02
  bool omit_dr = false;
  bool pol1_forbids_delete = false;  // DELETE answers 69E1 whatever `pol` says, once the header was taken
  bool enable_rolls_back = false;
  bool refuse_install = false;          // INSTALL [for install] answers 6A80
  bool memory_full = false;             // INSTALL [for install] answers 6A84
  bool delete_fails = false;            // DELETE answers 6581
  std::optional<unsigned> pe_error_at;  // index of the PE (0 = header) that is refused
  unsigned pe_error_status = 3;         // its EUICCResponse status
  bool pe_error_aborts = true;
  std::optional<unsigned> scp_error_at_segment;  // this 86 (0 = first) answers 9F46 01 02
};

enum class IsdpState { selectable, personalized, disabled, enabled };

struct InstalledProfile {
  std::string isdp_aid;  // hex
  IsdpState state = IsdpState::selectable;
  std::string iccid;  // digits from the package header; empty before it was read
  Bytes sha256;       // of the complete plaintext package
  std::size_t bytes = 0, elements = 0;
  bool verified = false;  // decrypted, every MAC right, every PE walked, PE-End last
};

struct ScriptResult {
  Bytes body;                 // AF 80 ... 00 00
  std::string script_status;  // X-Admin-Script-Status: ok, unknown-application ...
};

class Euicc {
 public:
  using Random = std::function<void(std::span<std::uint8_t>)>;
  explicit Euicc(EuiccIdentity id, EuiccFaults faults = {}, Random random = {});  // default: OpenSSL's generator
  ~Euicc();
  Euicc(Euicc&&) noexcept;

  // One remote-command script (AE 80 ... 00 00 or AA L ...) for the given application AID (empty: the ISD-R). Never
  // fails: what is wrong with the script is in the answer (status word, 9F44/45/46, 90) and in script_status. Context
  // (RC, SCP03t session) lives on to the next script only inside a chain (83 01 01/11, 02, 03).
  ScriptResult process_script(ByteView body, ByteView target_aid);

  [[nodiscard]] const EuiccIdentity& identity() const;
  EuiccFaults& faults();
  [[nodiscard]] std::vector<InstalledProfile> profiles() const;  // every ISD-P
  [[nodiscard]] std::uint32_t free_memory() const;
  // After an accepted EnableProfile/DisableProfile: the notification E1 {...} to send (docs/spec/interfaces.md 3),
  // once.
  std::optional<Bytes> take_notification();
  // Test hook: the plaintext package of an ISD-P (kept only when the identity asked for it by keep_plaintext(true)).
  void keep_plaintext(bool on);
  [[nodiscard]] Bytes plaintext(const std::string& isdp_aid) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kf::sim
