// One small ledger a card, that is an eUICC (EID) at an SM-SR: which ISD-Ps of ours it may hold.
//
// An SM-SR may be slow, late, silent and contradictory at every call, so the end of a CreateISDP or DeleteISDP is often
// unknown: the card may have executed it, or may yet, whatever the EIS shows in the meantime (an entry In-Creation is
// not shown at all). The ledger notes each such call under its transaction id until its end is known, and of each ICCID
// what calls and EISs have proved. Whoever has to decide something about an ICCID asks the questions below and nothing
// else: the download (machine.hpp), what follows it (follow_up.hpp), and what the inventory is told.
//
// What it is built on, and all it is built on:
//  - A call is not begun by an honest SM-SR after its ValidityPeriod; `until` is that moment and the time a card takes.
//  - An EIS lags behind by `settle` at most: what came to be before `asked - settle` is in it, unless it went again.
//    It counts from the moment GetEIS was ASKED. Where the certificates of the eUICC were not good it proves no
//    absence: shown(), not seen().
//  - A DeleteISDP that was executed took away what was there when it was asked for. Where a profile's content was sent
//    before, that the SM-SR says so is not enough: an EIS has to show it gone.
//  - Of an ICCID only our own calls make and delete ISD-Ps in state Created.
// An SM-SR that never shows what is there cannot be found out.
//
// It is wrong to one side only: it may say "perhaps" where the truth is "no"; it never says "gone" of what is there or
// may yet come. merge() joins what two copies know: commutative, associative, idempotent, and no entry is lost, so a
// download takes a copy along, and it does not matter what was learnt elsewhere meanwhile. It stays small whatever an
// SM-SR leaves unsaid: of too many calls the older ones lose their names (fold()), not what they may yet do. Moments
// are Unix time in milliseconds on one process's monotonic clock (anchored_ms); a record holds durations
// (possession_record.hpp), and resume() makes moments of them again, so neither a stopped server nor a clock that was
// set uses time up.
//
// A value: no I/O, no clock, no threads.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kf::download {

class Possession {
 public:
  using Ms = std::int64_t;
  static constexpr Ms kNever = std::numeric_limits<Ms>::min();
  static constexpr std::size_t kMostCalls = 64;     // that are open, and known by name, of one ICCID
  static constexpr std::size_t kMostOfACard = 256;  // of all

  // ---- calls, by transaction id; unknown ends are those of which nothing more is said ----
  void creation_asked(const std::string& transaction, std::string_view iccid, Ms now, Ms until);
  void deletion_asked(const std::string& transaction, std::string_view iccid, Ms now, Ms until);
  void executed(const std::string& transaction, Ms now);  // of a deletion also: the SM-SR says that nothing is there
  void not_executed(const std::string& transaction, Ms now);  // nor will it be
  [[nodiscard]] bool open(const std::string& transaction) const { return open_.contains(transaction); }
  [[nodiscard]] bool is_creation(const std::string& transaction) const;
  // Since that open call was made an ISD-P of its ICCID was deleted: it may be the one that it made.
  [[nodiscard]] bool deleted_since(const std::string& transaction) const;
  [[nodiscard]] std::vector<std::string> open_calls() const;  // sorted
  [[nodiscard]] bool open_calls_are(const std::vector<std::string>& sorted) const;

  // ---- what else is known ----
  void claimed(std::string_view iccid, Ms now);       // it may be there, for reasons of the caller's
  void installed(std::string_view iccid, Ms now);     // the SM-SR has taken its completion, or we count it as installed
  void content_sent(std::string_view iccid, Ms now);  // from now on the ISD-P may hold a profile
  // Calls that nobody can name any more: of a record that did not note them.
  void unnamed_creations(std::string_view iccid, Ms now, Ms until);
  void unnamed_deletions(std::string_view iccid, Ms now, Ms until);

  struct Entry {
    enum class State : std::uint8_t { created, used, other };  // Created and ours; Disabled or Enabled; neither
    std::string iccid;
    State state = State::created;
  };
  struct Eis {  // without what is Deleted
    Ms asked = 0, answered = 0;
    std::vector<Entry> entries;
  };
  void shown(const Eis& e);            // what is in it is there
  void seen(const Eis& e, Ms settle);  // and it proves what it can: which call was executed, what is gone

  // ---- questions ----
  [[nodiscard]] bool knows(std::string_view iccid) const;
  [[nodiscard]] bool may_hold(std::string_view iccid, Ms now) const;    // false for what it knows: proven gone
  [[nodiscard]] bool may_appear(std::string_view iccid, Ms now) const;  // by a CreateISDP under way
  [[nodiscard]] bool may_vanish(std::string_view iccid, Ms now) const;  // by a DeleteISDP under way
  [[nodiscard]] Ms vanishing_until(std::string_view iccid) const;       // kNever: by none
  // It is a profile, last of all that is known, and no creation is under way: no leftover.
  [[nodiscard]] bool in_use(std::string_view iccid, Ms now) const;
  // It counts as installed, so an EIS asked then that shows it as Created lags behind, or is wrong.
  [[nodiscard]] bool counts_as_installed(std::string_view iccid) const;
  [[nodiscard]] bool lags(std::string_view iccid, Ms asked, Ms settle) const;
  // Nothing is there but profiles in use, and no call may yet change that.
  [[nodiscard]] bool clean(Ms now) const;
  [[nodiscard]] bool calls_under_way(Ms now) const;
  // The next moment after `now` at which an EIS may prove what it does not prove now; none: there is none.
  [[nodiscard]] std::optional<Ms> next_moment(Ms now, Ms settle) const;
  [[nodiscard]] std::vector<std::string> iccids() const;
  [[nodiscard]] std::size_t size() const { return facts_.size(); }
  // May anything be left, or come to be, that `before` did not know of?
  [[nodiscard]] bool adds_to(const Possession& before, Ms now) const;

  // ---- copies and lives ----
  void merge(const Possession& other);
  // Forgets what says nothing any more. To another copy that still has it, it comes back with merge(): as "perhaps".
  void compact(Ms now, Ms settle);
  // Of too many open calls the older ones of each ICCID become unnamed. What they may yet do is kept, so nothing is
  // said to be gone that is not; only how they ended is not learnt any more, and their time has to be waited for.
  void fold(std::size_t most = kMostCalls, std::size_t most_of_a_card = kMostOfACard);
  // The moment that durations in a record count from; every step of an owner says it.
  void tick(Ms now) { clock_ = std::max(clock_, now); }
  // In a new life: what is left of each duration counts from now; proofs of absence of the old one count no more, for
  // nobody knows how old they are beside those of another copy.
  void resume(Ms now);
  bool operator==(const Possession&) const = default;
  // Open calls that this thread's questions have looked at, all in all: tests hold a pass over the ledger to it.
  static std::uint64_t& looked_at();

 private:
  friend struct PossessionRecord;
  enum class Kind : std::uint8_t { creation, deletion };
  struct Call {
    Kind kind = Kind::creation;
    std::string iccid;
    Ms asked = 0, until = 0;
    bool operator==(const Call&) const = default;
  };
  // The latest moments, each; they only grow.
  struct Facts {
    Ms present = kNever;                              // it may have come to be until then
    Ms content = kNever;                              // a profile's content may have come to be there until then
    Ms used = kNever;                                 // it was a profile in use
    Ms cleared = kNever;                              // whatever came to be before is gone
    Ms shown = kNever;                                // GetEIS was asked that showed it as Created
    Ms vanished = kNever;                             // a deletion was known as executed, or may have been
    Ms appear_until = kNever, vanish_until = kNever;  // of unnamed calls
    bool operator==(const Facts&) const = default;
  };

  void ask(Kind k, const std::string& transaction, std::string_view iccid, Ms now, Ms until);
  void insert(const std::string& transaction, Call c);
  void close(const std::string& transaction);
  // Calls that are open of that ICCID.
  template <class F>
  void each_open(std::string_view iccid, F&& f) const;
  Facts& facts(std::string_view iccid);
  [[nodiscard]] const Facts* find(std::string_view iccid) const;
  [[nodiscard]] const std::string* only_open(Kind k, const std::string& iccid) const;
  [[nodiscard]] Ms until(Kind k, std::string_view iccid) const;
  [[nodiscard]] Ms source(std::string_view iccid) const;
  void appeared(std::string_view iccid, Ms now);
  [[nodiscard]] static bool held(const Facts& f);
  [[nodiscard]] static bool has_content(const Facts& f) { return f.content != kNever && f.content >= f.cleared; }
  [[nodiscard]] bool lags_behind(const Facts& f, Ms asked, Ms settle) const;
  void prove_creation(const std::string& iccid, const Eis& eis, Ms settle);
  void entry_missing(const std::string& iccid, const Eis& eis, Ms settle);

  using Calls = std::map<std::string, Call>;
  Calls::iterator erase(Calls::iterator at);

  Calls open_;  // by transaction id
  // Their ids by ICCID, so that what is asked of each ICCID in turn looks at each call once.
  std::map<std::string, std::set<std::string>, std::less<>> named_;
  std::set<std::string> closed_;                     // whose ends are known: another copy may have them as open
  std::map<std::string, Facts, std::less<>> facts_;  // by the value of the ICCID
  Ms clock_ = 0, since_ = kNever;                    // since_: this life began
};

}  // namespace kf::download
