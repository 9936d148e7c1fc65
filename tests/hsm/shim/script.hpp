// The script of the fault shim: its grammar (README.md of this folder) and the values it stands for.
// Values and one pure function; thread-compatible.
#pragma once

#include <bitset>
#include <optional>
#include <string>
#include <vector>

#include "host/base/result.hpp"
#include "tests/hsm/shim/names.hpp"

namespace kf::shim {

// Which of the calls (or handles) a rule hits; counted for each process and rule, from 1, anew with each script.
struct When {
  enum class Kind : std::uint8_t { always, once, nth, from, first, every, percent };
  Kind kind = Kind::always;
  std::uint64_t n = 0;
  double percent = 0;
};

struct Rule {
  enum class Kind : std::uint8_t {
    rv,              // answered with `code`, not passed on
    rv_after,        // passed on, then answered with `code`
    delay,           // `milliseconds` before the call
    hang,            // never returns
    crash,           // SIGABRT, or SIGSEGV
    leak,            // `kib` of memory touched and kept
    dead_sessions,   // each session handle judged once: a bad one is dead from its next use on
    dying_sessions,  // each use of a session judged
    dead_objects,    // each use of an object handle judged
  };
  Kind kind = Kind::rv;
  std::optional<Fn> function;  // empty: any
  When when;
  CK_RV code = CKR_OK;
  double milliseconds = 0;
  unsigned long kib = 0;
  bool segv = false;
  unsigned line = 0;
};

struct WrongKey {
  std::string label;
  std::string other;
  bool private_only = false;
};

struct Script {
  std::string module;
  std::string log;
  std::optional<std::bitset<kFunctions>> log_only;
  std::vector<Rule> rules;
  std::optional<unsigned long> sessions, sessions_total;
  bool gone = false;
  std::int64_t gone_from = 0, gone_until = 0;  // CLOCK_MONOTONIC, milliseconds; equal: never
  unsigned long resets = 0;
  unsigned long token_flags = 0;
  std::optional<unsigned long> max_sessions, max_rw_sessions;
  std::optional<unsigned long> cryptoki;
  std::vector<CK_MECHANISM_TYPE> hidden_mechanisms;
  std::vector<unsigned long> refused_kdfs;
  bool der_only = false, raw_only = false;
  bool need_value_len = false, refuse_value_len = false;
  std::optional<CK_RV> forbid_copy;
  std::vector<std::string> hidden_labels;
  std::vector<WrongKey> wrong_keys;
};

// Reason shim-script, detail "line 3: ...".
Result<Script> parse(std::string_view text);

// Is this the DER OCTET STRING of an uncompressed point? For curves of the usual coordinate sizes the answer is never
// ambiguous.
bool is_der_point(const unsigned char* data, unsigned long n) noexcept;

}  // namespace kf::shim
