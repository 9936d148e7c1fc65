// What the probe found out about a PKCS#11 module, and what follows from it: verdicts, the knee, the configuration to
// paste, the document. Values and pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/report/document.hpp"
#include "hsm/direct/direct.hpp"

namespace kf::hsm {

// One thing that was tried.
struct ProbeAttempt {
  enum class State : std::uint8_t {
    not_tried,
    good,
    refused,  // an error code, or an answer that is wrong
    lost,     // the module crashed or hung
  };
  State state = State::not_tried;
  std::string why;  // "C_DeriveKey: CKR_MECHANISM_INVALID"; empty when good
  [[nodiscard]] bool good() const { return state == State::good; }
  [[nodiscard]] bool tried() const { return state != State::not_tried; }
};

struct ProbeToken {
  std::string label, manufacturer, model, serial, uri, hardware, firmware;
  std::vector<std::string> flags;  // in words
  bool initialised = false, user_pin = false, login_required = false, random = false;
  std::uint64_t pin_min = 0, pin_max = 0;
  std::string sessions_max, sessions_open, rw_sessions_max, rw_sessions_open;  // a number, "no limit" or "not told"
};
struct ProbeMechanism {
  std::string name;
  bool listed = false;
  std::uint64_t min = 0, max = 0;  // key size, as the module counts it
  std::vector<std::string> flags;
};
struct ProbeSlot {
  std::uint64_t id = 0;
  std::string description, manufacturer;
  std::vector<std::string> flags;
  ProbeAttempt info;
  std::optional<ProbeToken> token;
  ProbeAttempt mechanism_list;
  std::uint64_t mechanism_count = 0;
  std::vector<ProbeMechanism> mechanisms;  // those that matter to Keyferry, listed or not
};
struct ProbeKey {
  std::string kind;  // "private", "public", "secret"
  std::string type;  // "EC", "AES", "other"
  std::string label, id, curve;
  std::uint64_t bits = 0;  // of an AES key
  std::vector<std::string> flags;
  [[nodiscard]] bool has(std::string_view flag) const;
};
// An identity key that was named on the command line.
struct ProbeIdentity {
  std::string name;
  std::optional<Curve> curve;
  ProbeAttempt found, sign, copy;
  bool copy_guarded = false;  // the copy is as sensitive and as little extractable as the key
};
struct ProbeCurve {
  Curve curve = Curve::p256;
  bool read_write = false;          // session objects want a read-write session
  ProbeAttempt pair, pair_plain;    // the plain template is tried when the product's is refused
  bool point_der = false;           // CKA_EC_POINT of a generated key inside an OCTET STRING
  ProbeAttempt destroyed;           // gone for good
  ProbeAttempt ecdh_raw, ecdh_der;  // by the encoding of the peer point, with CKA_VALUE_LEN; value read and right
  ProbeAttempt without_value_len;   // with the encoding that works, else with both
  std::uint64_t value_octets = 0;
  std::vector<std::pair<std::string, ProbeAttempt>> kdfs;
  ProbeAttempt off_curve;               // good: the module took a point that is not on the curve
  ProbeAttempt sign;                    // with a session pair
  ProbeAttempt verify_der, verify_raw;  // by the encoding of the imported public key
  ProbeAttempt copy;                    // of a session key
  [[nodiscard]] bool ecdh() const { return ecdh_raw.good() || ecdh_der.good() || without_value_len.good(); }
  [[nodiscard]] bool verify() const { return verify_der.good() || verify_raw.good(); }
};
struct ProbeRate {
  DirectKind kind = DirectKind::set;
  Curve curve = Curve::p256;
  unsigned processes = 1, threads = 1;
  double per_second = 0, p50_us = 0, p95_us = 0, p99_us = 0;
  std::string problem;  // nothing was measured, or not all calls went well
};
struct ProbeIncident {
  std::string step, what;
};
struct ProbeReturnCode {
  std::uint64_t code = 0;
  std::string name, cls;
};

struct ProbeReport {
  std::string module_path;
  std::string library, cryptoki;
  std::uint64_t slot_count = 0;
  std::vector<ProbeSlot> slots;
  std::string token_uri;                  // of the token that was probed; empty: none
  std::optional<std::uint64_t> slot;      // where it is
  bool logged_in = false, tried = false;  // tried: the token was put to work, with a login or because it needs none
  std::vector<std::string> left_out;      // sentences: what was not done, and how to get it
  std::vector<ProbeIncident> incidents;   // crashes and hangs
  std::uint64_t key_count = 0;
  ProbeAttempt key_list;
  std::vector<ProbeKey> keys;
  std::vector<ProbeIdentity> identities;
  std::vector<ProbeCurve> curves;
  ProbeAttempt random, aes_key, gcm, key_wrap, key_wrap_pad;
  ProbeAttempt sessions;  // why no more could be opened; good: all that were asked for
  std::uint64_t sessions_opened = 0;
  std::optional<std::uint64_t> objects_left;
  ProbeAttempt ended;  // C_Finalize and the end of the process
  std::vector<ProbeReturnCode> return_codes;
  unsigned cores = 1;
  std::vector<ProbeRate> operations;          // one process, one thread
  std::vector<ProbeRate> threads, processes;  // rising numbers of each
  double other_load = 0;                      // of all processors, taken by other programs while these were measured
  TokenConfig config;                         // as probed: PIN source and environment for the block to paste

  [[nodiscard]] const ProbeSlot* probed() const;
};

struct CustodyVerdict {
  enum class Answer : std::uint8_t { yes, no, unknown };
  std::string policy;  // "strict", "hybrid", "core"
  Answer answer = Answer::unknown;
  std::string text;  // a sentence that begins with yes, no or unknown
};
std::vector<CustodyVerdict> judge(const ProbeReport& r);

// The index of the least effort that brings 90 % of the best rate in the series; the series must not be empty.
std::size_t knee(const std::vector<ProbeRate>& series);

struct ProbeAdvice {
  unsigned workers = 2, threads = 1;
  std::vector<std::string> why;  // sentences
  std::string toml;              // [token] ..., to paste into the configuration
};
ProbeAdvice advise(const ProbeReport& r);

struct ProbeHead {
  std::string program;  // "keyferry 0.1.0 (abcdef)"
  std::string when;     // as text
};
report::Document document(const ProbeReport& r, const ProbeHead& h);
std::string probe_json(const ProbeReport& r, const ProbeHead& h);

}  // namespace kf::hsm
