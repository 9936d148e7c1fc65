// The profile-download procedure (SGP.02 v4.2 3.1.1 to 3.1.5) as a pure state machine.
//
// docs/spec/interfaces.md: 4.1 states, time-outs, tries; 4.2 failures; 4.4, 4.5 clean-up. A Download is owned by its
// lane; step() consumes it and gives it back. Secrets (ShS, keys, the sealed script) live in Download::secrets, are
// never part of a record (record.hpp) and are wiped when a state is left that needs them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "host/base/ids.hpp"
#include "host/crypto/engine.hpp"
#include "host/download/possession.hpp"
#include "host/es/status_codes.hpp"
#include "host/es8/parts.hpp"
#include "host/es8/scp03t.hpp"
#include "host/profile/package.hpp"

namespace kf::download {

using es::Code;

enum class State : std::uint8_t {
  received,
  getting_eis,
  checking,
  cleaning_stale,
  creating_isdp,
  sending_cert,
  sending_key,
  installing,
  completing,
  enabling,
  deleting,
  done,
  done_with_warning,
  failed,
  expired,  // ends
};
std::string_view state_name(State s);
std::optional<State> state_by_name(std::string_view n);
inline bool ended(State s) { return s >= State::done; }

struct Cause {  // why a download ends other than well, or the warning it carries
  Cause() = default;
  Cause(Code code, std::string about, std::string text, std::string ours = {})
      : identifier(std::move(about)), message(std::move(text)), detail(std::move(ours)) {
    set(code);
  }
  // As an SM-SR gave it, or as it was stored.
  Cause(std::string s, std::string r, std::string about, std::string text, std::string ours = {})
      : subject(std::move(s)),
        reason(std::move(r)),
        identifier(std::move(about)),
        message(std::move(text)),
        detail(std::move(ours)) {}
  void set(Code code) {
    subject = es::row_of(code).subject;
    reason = es::row_of(code).reason;
  }

  std::string subject, reason, identifier, message;
  std::string detail;  // for our log and ledger only: addresses, libraries' texts; never sent to anybody
};

// What the inventory says of an ICCID. `uncertain`: its ISD-P, perhaps with the whole profile, may be on one eUICC, so
// it is given to no other one.
enum class IccidState : std::uint8_t { free, uncertain, installed };

struct Order {     // what the Operator asked for; never changes
  std::string id;  // ours, a UUID
  Oid requester;
  std::string function_call_identifier;
  Eid eid;
  Iccid iccid;
  std::string iccid_as_ordered;  // where the Operator padded it: the answer repeats its spelling; empty: iccid
  Oid smsr;
  bool by_profile_type = false;  // the order named a ProfileType, not an ICCID
  std::string profile_type;      // of the reserved profile
  bool enable = false;
  IccidState iccid_was = IccidState::free;  // before this order; other than free only for the same eUICC
  std::string smsr_was, download_was;       // installed: the SM-SR that had it, the download that brought it
  std::int64_t received_ms = 0;             // Unix time
  std::int64_t deadline_ms = 0;             // received + ValidityPeriod
  std::uint64_t required_memory = 65536;
  es::SubscriptionAddress subscription;
  std::optional<es::Pol2> pol2;
};

// ms: the longest ValidityPeriod that an SM-SR is given, however long the order is valid. What the ledger waits for.
inline constexpr std::int64_t kLongestCall = std::int64_t{30} * 86'400'000;
inline constexpr unsigned kCallsOfALife = 1000;  // numbers that a life of the server has for the calls of an order

struct Secrets {
  std::optional<Point> epk;
  SecretArray<32> shs;
  std::optional<es8::KeySet> keys;
  std::shared_ptr<es8::SealedScript> script;
  std::vector<es8::SendPart> parts;  // the script cut for the SM-SR, front not yet answered
};

struct Download {
  Order order;
  State state = State::received;

  // persisted with the state
  std::string isd_p_aid;         // hex, once CreateISDP answered
  std::optional<Cause> cause;    // the original cause while Deleting, the outcome's when ended
  std::optional<Cause> warning;  // makes Done a DoneWithWarning
  bool expiring = false;         // Deleting because the ValidityPeriod is over
  bool header_taken = false;     // an 86 was sent: the card may hold the profile header with its POL1
  bool pol1_forbade = false;
  bool completed = false;           // ProfileDownloadCompleted accepted
  bool again_after_delete = false;  // restart: once more from GettingEis with fresh keys
  bool enable_due = false;          // the last EnableProfile did nothing at the card: another one is to be made
  unsigned restarts = 0;
  unsigned calls = 0;  // ES3 calls made: transaction ids are <id>.<n>
  // What this eUICC may hold of ours: a copy of the card's ledger when the order begins, and what it learnt since.
  Possession possession;

  // kept in memory only
  unsigned tries = 0;         // of the call in hand
  unsigned pending_call = 0;  // number of the ES3 call whose answer is awaited, 0: none
  enum class Ask : std::uint8_t { none, step, probe } ask = Ask::none;  // probe: a GetEIS that decides what happened
  bool create_retried = false, cert_repeated = false, online_open = false, delete_probed = false;
  unsigned sessions_again = 0;      // SCP03t sessions opened after one that the card refused
  unsigned initialize_repeats = 0;  // INITIALIZE UPDATE that the card refused
  bool ask_after_refusal = false, completing_repeated = false, ephemeral_asked = false;
  bool sign_wanted = false;        // RC is here, ePK is not yet
  std::vector<std::string> stale;  // ICCIDs to delete before CreateISDP, a few
  unsigned cleanings = 0;          // DeleteISDPs made for that
  Curve curve = Curve::p256;
  std::optional<Point> pk_ecasd;
  Bytes rc, crt;
  std::uint8_t blocks_sent = 0;
  std::size_t answered = 0;  // TLVs of the script answered so far
  std::size_t segments_accepted = 0;
  unsigned resends = 0;
  bool taken_up = false;                    // of an earlier life of the server
  std::int64_t eis_asked_ms = 0;            // the last GetEIS
  std::optional<Possession::Eis> unproved;  // its EIS, until the certificates are known to be good
  unsigned in_creation_waits = 0;    // after a restart: the old life's CreateISDP may still be running at the SM-SR
  unsigned enable_call = 0;          // the first EnableProfile, also of a life before a restart: late callbacks count
  bool enable_unsure = false;        // it may have been executed
  std::optional<Cause> enable_said;  // by the SM-SR of an EnableProfile that is to be made again
  unsigned enable_looks = 0;         // after a restart: GetEIS asked in vain whether it is enabled
  std::optional<Cause> not_enabled;  // enabling is over: the EIS is asked once more before the Operator is told
  struct {
    std::string brief, detail;
  } last_failure;                   // of the call before the one in hand; of a CreateISDP until the EIS has decided
  std::optional<Cause> ineligible;  // found in the EIS, reported only when the certificates are good
  std::optional<Cause> ephemeral_failed;
  std::optional<Cause> refused;  // a DeleteISDP was: the EIS decides whether that matters
  std::uint32_t sequence_counter = 1;
  Bytes euicc_response;
  es8::Challenge online_hc{};
  Secrets secrets;
};

// ---- what comes in ----
struct Start {};         // a new order, committed
struct Restart {         // taken up again after a restart of the server
  bool planned = false;  // it was stopped in order: that is no attempt gone wrong
};
struct Answer {
  unsigned call = 0;
  es::Response response;
};  // to the ES3 call of that number
// No answer. unreachable: never arrived, or "nothing was done, send again"; refused: turned away unexecuted (HTTP 4xx),
// as it would be again; timeout, lost, fault: may have been executed.
enum class CallFault { unreachable, timeout, lost, fault, refused };
struct CallFailed {
  unsigned call = 0;
  CallFault fault{};
  std::string detail;     // for our log: addresses, libraries' texts
  std::string brief{};    // the class of failure in a few words that anybody may read: "HTTP 404"
  bool answered = false;  // by an HTTP server, which may not know what the SM-SR behind it did
};
// Whose certificate is not good, and whether that is for its dates alone.
enum class CertificateTrouble : std::uint8_t { ecasd, ecasd_dates, eum, eum_dates };
struct CertificatesChecked {
  Status status;  // reasons of host/pki
  Curve curve = Curve::p256;
  Point pk_ecasd{};
  CertificateTrouble trouble = CertificateTrouble::ecasd;  // of a status that is an error
};
struct EccDone {
  EccCompletion completion;
};
struct Sealed {
  Status status;
  std::shared_ptr<es8::SealedScript> script;  // what checking the answers needs
  std::vector<es8::SendPart> parts;           // what is sent
};
struct HostChallenge {
  es8::Challenge hc{};
};  // asked for by DrawChallenge
struct TimerFired {};
struct DeadlinePassed {};
struct EnabledSeen {};  // ES3.HandleProfileEnabledNotification for this profile
using Event = std::variant<Start, Restart, Answer, CallFailed, CertificatesChecked, EccDone, Sealed, HostChallenge,
                           TimerFired, DeadlinePassed, EnabledSeen>;

// ---- what goes out, in order ----
struct CallEs3 {
  unsigned call = 0;    // TransactionId and FunctionCallIdentifier derive from it
  es::Request request;  // without call identifier and ValidityPeriod: the caller fills them
  std::int64_t timeout_ms = 0;
  bool resend_safe = false;       // may be sent again on a fresh connection
  std::int64_t not_after_ms = 0;  // not begun by the SM-SR, nor sent, after that moment; 0: the caller's choice
};
struct CheckCertificates {
  std::vector<Bytes> cert_ecasd;  // not empty; the first good one counts
  std::optional<Bytes> eum_certificate;
};
struct MakeEphemeral {
  Curve curve = Curve::p256;
  Point peer{};
};
struct Sign {
  Curve curve = Curve::p256;
  Digest32 hash{};
};
struct SealOffline {
  es8::KeySet keys;
  Aid isd_p;
};  // runner draws HC, loads and personalises the profile
struct SealOnline {
  es8::KeySet keys;
  Aid isd_p;
  es8::Challenge hc{};
  es8::InitializeUpdateAnswer answer;
};
struct DrawChallenge {};
struct StartTimer {
  std::int64_t ms = 0;
};
struct KeepKeySet {
  es8::KeySet keys;
  Aid isd_p;
  std::uint32_t sequence_counter = 1;
};
struct DropKeySet {};  // the ISD-P went after its record was stored
struct Alarm {
  std::string text;
};
struct Finish {};  // state and cause hold the outcome
using Effect = std::variant<CallEs3, CheckCertificates, MakeEphemeral, Sign, SealOffline, SealOnline, DrawChallenge,
                            StartTimer, KeepKeySet, DropKeySet, Alarm, Finish>;

struct Step {
  Download download;
  bool persist = false;  // commit the record before any effect is carried out
  std::vector<Effect> effects;
};

struct Timeouts {  // milliseconds; docs/spec/interfaces.md 4.1
  std::int64_t get_eis = 30'000, card = 600'000, completed = 30'000, enable = 86'400'000;
  std::int64_t backoff = 1'000;  // then x4 each time
  unsigned get_eis_tries = 3, completed_tries = 5, delete_tries = 3, not_reached_resends = 3;
};

struct Platform {
  std::string eum_id, type, version;
};  // empty members match all

// What holds for all orders of one ProfileType at one SM-SR, as long as the process lives.
struct Policy {
  std::string smdp_oid;
  Bytes cert_dp_p256, cert_dp_brainpool;  // empty: no identity on that curve
  es8::KeySetPlan plan;
  Timeouts timeouts;
  std::int64_t settle_ms = 10'000;  // an EIS lags behind by that at most
  bool scp03t_in_22 = false;        // this SM-SR carries SCP03t TLVs inside 22
  bool scp03t_online =
      false;  // INITIALIZE UPDATE goes alone; else the card challenge is computed and all is one script
  std::vector<unsigned> rsp_majors{2, 3, 4};    // RemoteProvisioningVersion majors served
  std::vector<Platform> compatible, certified;  // empty: all
  bool keep_key_set = true;
};

struct Moment {  // what changes from step to step
  std::int64_t now_ms = 0;
  std::span<const std::uint32_t> optional_elements;  // identifications of the profile's non-mandated PEs
};

Step step(Download d, Event e, const Policy& p, const Moment& m);

// What the inventory has to say of the ICCID once the download has ended. Every way out of `reserved` goes through
// here.
IccidState iccid_after(const Download& d, std::int64_t now_ms);
// The eUICC has to be looked at until nothing of ours is left there that is not in use (follow_up.hpp).
bool needs_follow_up(const Download& d, std::int64_t now_ms);

}  // namespace kf::download
