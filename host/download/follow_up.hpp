// What is left at an eUICC after the Operator has its outcome: an ISD-P that could not be deleted, or a call whose end
// nobody knows. GetEIS with growing pauses, DeleteISDP of every stale entry of ours (SGP.02 3.1.5), until the card's
// ledger (possession.hpp) is clean or the operator of Keyferry is told by an alarm. A pure machine like machine.hpp;
// one a card, that is an EID at an SM-SR.
#pragma once

#include "host/download/machine.hpp"

namespace kf::download {

struct FollowUp {
  // given_up: nobody looks any more, but the ledger stays, for what it says of the ICCIDs is still true.
  enum class State : std::uint8_t { waiting, looking, deleting, clean, given_up };

  // persisted
  std::string id;  // names its calls: <id>.<n>
  Eid eid;
  Oid smsr;
  Oid requester;                    // of the last order that left something
  bool crowded = false;             // given up only because too many eUICCs of the SM-SR are looked after already
  std::vector<std::string> iccids;  // `uncertain` in the inventory, on account of this card
  Possession possession;
  State state = State::waiting;  // of it: given_up or not
  std::int64_t left_ms = 0;      // of waiting, before it is given up
  unsigned looks = 0, refusals = 0, calls = 0;
  // Since when something may be left, whatever orders came and went: Unix time. Each whole day of it is told once, by
  // an alarm, as long as there is no other end.
  std::int64_t first_left_ms = 0;
  std::int64_t days_told = 0;

  // kept in memory only
  unsigned pending_call = 0;
  bool grace = false;             // one look beyond the bound was made: something had just been deleted
  std::int64_t pausing_ms = 0;    // the pause it is in, which counts when it is over
  std::int64_t asked_ms = 0;      // the last GetEIS
  std::string deleting, deleted;  // ICCID that is; that was, by the last answer
  std::string trouble;            // what stood in the way last, for the alarm
};
inline std::string card_of(const Eid& eid, const Oid& smsr) { return eid.str() + " " + smsr.str(); }
inline std::string card_of(const Order& o) { return card_of(o.eid, o.smsr); }
inline std::string card_of(const FollowUp& f) { return card_of(f.eid, f.smsr); }

struct FollowUpLimits {
  std::int64_t backoff_ms = 1'000, longest_pause_ms = 3'600'000;  // doubled from look to look
  std::int64_t get_eis_ms = 30'000, card_ms = 600'000;            // time-outs of the calls
  std::int64_t settle_ms = 10'000;                                // an EIS lags behind by that at most
  std::int64_t give_up_ms = 86'400'000;                           // of waiting while no call may be under way
  unsigned max_looks = 100, max_refusals = 5;
};

// What is known when this download has ended: `f` with it, if any is kept for the card, or a new one. It begins anew to
// look where this download has left something; else it goes on with what is left of its patience, and one that was
// given up looks once more at least, for the download may have learnt something.
FollowUp with_outcome(const std::optional<FollowUp>& f, const Download& d, std::int64_t now_ms,
                      const FollowUpLimits& l);

struct Look {};   // the pause is over, or it begins, or goes on after a restart or a download for the card
struct LateEnd {  // of a call of the ledger that nobody waits for any more
  std::string transaction;
  bool executed = false;  // or for certain not
};
using FollowUpEvent = std::variant<Look, Answer, CallFailed, LateEnd>;

struct FollowUpStep {
  FollowUp follow_up;
  bool persist = false;  // commit the record before the effects are carried out
  std::optional<CallEs3> call;
  std::optional<std::int64_t> pause_ms;  // until Look
};
// Ends in `clean` or `given_up`; the latter is to be told by an alarm (trouble). Ended ones ignore everything.
FollowUpStep step(FollowUp f, FollowUpEvent e, std::int64_t now_ms, const std::string& smdp_oid,
                  const FollowUpLimits& l);
inline bool ended(const FollowUp& f) { return f.state >= FollowUp::State::clean; }
// An order for the card goes first: pauses, and a GetEIS that is under way, count no more. A DeleteISDP stays.
void rest(FollowUp& f);
// Whole days for which something may be left and that are not told yet; 0: none.
std::int64_t untold_days(const FollowUp& f, std::int64_t now_ms);
// What the ledger says of the ICCIDs that depend on it: not held any more; held as profiles.
struct Settled {
  std::vector<std::string> gone, used;
};
Settled settled(const FollowUp& f, std::int64_t now_ms);

std::string to_record(const FollowUp& f);  // one line of JSON
// In the life that begins at now_ms. Reasons: bad-record.
Result<FollowUp> follow_up_from_record(std::string_view record, std::int64_t now_ms);

}  // namespace kf::download
