// What is left at an eUICC after the Operator has its outcome: an ISD-P that could not be deleted, or a CreateISDP
// whose end nobody knows. GetEIS with growing pauses, DeleteISDP of every stale entry of ours (SGP.02 3.1.5), until the
// EIS is clean or the operator of Keyferry is told by an alarm. A pure machine like host/download/machine.hpp; one an
// EID.
//
// In-Creation entries are not shown by GetEIS, so an empty EIS ends it only when no creation can be under way any more:
// its answer came, its ISD-P appeared and went, or `quiet_ms` has passed; and never before `settle_ms`.
#pragma once

#include "host/download/machine.hpp"

namespace kf::download {

struct FollowUp {
  enum class State : std::uint8_t { waiting, looking, deleting, clean, given_up };

  // persisted
  std::string id;  // names its calls: <id>.<n>
  Eid eid;
  Oid smsr;
  std::vector<std::string> iccids;  // whose state depends on what is found here
  struct Creation {
    std::string transaction, iccid;
  };
  std::vector<Creation> creations;  // CreateISDP calls whose end is not known
  std::int64_t began_ms = 0;        // Unix time, like the three below
  std::int64_t settle_ms = 0;       // before it no EIS counts: it may lag behind
  std::int64_t quiet_ms = 0;        // from here on nothing appears by itself
  std::int64_t give_up_ms = 0;
  unsigned looks = 0, refusals = 0, calls = 0;

  // kept in memory only
  State state = State::waiting;
  unsigned pending_call = 0;
  std::string deleting, deleted;        // ICCID that is; that was, by the last answer
  std::string trouble;                  // what stood in the way last, for the alarm
  std::vector<std::string> gone, used;  // when clean: ICCIDs that the eUICC does not hold; that it holds as profiles
};

struct FollowUpLimits {
  std::int64_t backoff_ms = 1'000, longest_pause_ms = 3'600'000;  // doubled from look to look
  std::int64_t get_eis_ms = 30'000, card_ms = 600'000;            // time-outs of the calls
  std::int64_t settle_ms = 10'000;
  std::int64_t give_up_ms = 86'400'000;  // after quiet_ms
  unsigned max_looks = 100, max_refusals = 5;
};

// Begins for a download for which needs_follow_up() holds; `into` is one that runs for the same EID already.
FollowUp follow_up_of(const Download& d, std::int64_t now_ms, const FollowUpLimits& l, std::optional<FollowUp> into);

struct Look {};        // the pause is over, or it begins, or goes on after a restart or a download for the EID
struct LateCreation {  // the answer to one of `creations`
  std::string transaction;
  es::Response response;
};
using FollowUpEvent = std::variant<Look, Answer, CallFailed, LateCreation>;

struct FollowUpStep {
  FollowUp follow_up;
  bool persist = false;  // commit the record before the effects are carried out
  std::optional<CallEs3> call;
  std::optional<std::int64_t> pause_ms;  // until Look
};
// Ends in `clean` or `given_up`; the latter is to be told by an alarm (trouble_of). Ended ones ignore everything.
FollowUpStep step(FollowUp f, FollowUpEvent e, std::int64_t now_ms, const std::string& smdp_oid,
                  const FollowUpLimits& l);
inline bool ended(const FollowUp& f) { return f.state >= FollowUp::State::clean; }

std::string to_record(const FollowUp& f);                         // one line of JSON
Result<FollowUp> follow_up_from_record(std::string_view record);  // reasons: bad-record

}  // namespace kf::download
