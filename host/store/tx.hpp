// Every query of the store. A Tx is one open transaction on the writer's connection; errors are thrown as StoreError
// and roll back the one job that caused them. Blobs named `sealed` come from the vault or the token.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/base/bytes.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace kf::store {

// What this room's errors are told apart by; their slugs: "store-open" and so on.
enum class StoreFault : std::uint8_t { open, version, in_use, commit, gone, failed, job, full };
std::string_view slug(StoreFault f);

class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The database said no: `code` is SQLite's. Any other StoreError is a decision of the job itself.
class DatabaseError : public StoreError {
 public:
  DatabaseError(const std::string& what, int c) : StoreError(what), code(c) {}
  int code;
};

enum class ReplyKind : int { sync = 0, callback = 1, poll = 2 };

struct CallRow {  // one ES2 request, by (requester, FunctionCallIdentifier)
  std::string requester, fcid, function;
  Bytes digest;  // SHA-256 of its values: "identical body"
  ReplyKind reply = ReplyKind::sync;
  std::string reply_to, message_id, ns;
  std::string download_id;  // empty: a relay
  std::string response;     // the stored answer; empty: still running
  std::int64_t received_ms = 0;
  std::string reply_parameters;  // header blocks that the answer repeats (es::MessageHeader)
  std::int64_t delivery = 0;     // the message that carries the answer, as long as it waits; 0: none was made
};

// uncertain: its ISD-P, perhaps with the whole profile, may be on the eUICC that the row names; for no other one.
enum class ProfileState : int { free = 0, reserved = 1, installed = 2, uncertain = 3 };

struct ProfileRow {
  std::string iccid, owner, profile_type;
  std::int64_t template_id = 0;  // 0: `sealed` holds the complete package
  Bytes sealed;                  // personal values, or the package
  std::string pol2;              // JSON, empty: none given
  std::uint64_t required_memory = 65536;
  ProfileState state = ProfileState::free;
  std::string eid, smsr, download_id;  // where it is going or went
};

struct TemplateRow {
  std::int64_t id = 0;
  std::string name;
  Bytes sealed;       // the package
  std::string slots;  // JSON
};

enum class DeliveryKind : int {
  callback = 0,
  notification = 1,
  poll = 2,
  kept = 3  // its receiver refused it or was never there: waits for a poll of its party, or for retention
};

struct DeliveryRow {
  std::int64_t id = 0;
  std::string party;  // OID of the receiver
  DeliveryKind kind = DeliveryKind::callback;
  std::string address;  // URL, or the MakeConnection address
  std::string body;     // the complete envelope
  int attempts = 0;
  std::int64_t created_ms = 0;
  std::string source;         // of a notification: OID of the SM-SR that caused it
  std::int64_t replaces = 0;  // not stored: the row that went for this one
};

struct KeySetRow {
  std::string iccid, eid, isd_p_aid;
  int kvn = 0x30;
  Bytes sealed;  // by the token
};

struct ProfileCount {
  std::string owner, profile_type;
  std::int64_t free = 0, reserved = 0, installed = 0, uncertain = 0;
};

struct DownloadRow {
  std::string id, record;
};

struct FollowUpRow {  // one card: an EID at an SM-SR
  std::string eid, smsr, record;
};

// What could not be taken up and waits for a person. The ICCID, where it is known, stays reserved.
struct SetAsideRow {
  std::string kind;  // "download", "relay", "message", "follow-up"
  std::string name;  // id of the download, FunctionCallIdentifier, number of the message, the card and when
  std::string iccid, why;
  std::int64_t at_ms = 0;
  std::string record{};  // a follow-up's, which is kept nowhere else
};

// What one party has in the store: its calls with their answers, and messages for it. Under the key of notifications
// `calls` is their number.
struct Usage {
  std::int64_t calls = 0, bytes = 0;
};

// How far forget_batch() has come; a default one begins at the start.
struct ForgetCursor {
  enum class Table { calls, downloads, deliveries, none } table = Table::calls;
  std::string requester, fcid;
  std::int64_t seq = 0;
};

std::int64_t stored_bytes(const CallRow& c);  // about
// Under which name a message counts: notifications are no burden on what the party itself may store, nor those of one
// SM-SR on those of another.
std::string usage_key(const std::string& party, DeliveryKind kind, const std::string& source);

class Tx {
 public:
  explicit Tx(sqlite3* db) : db_(db) {}
  ~Tx();
  Tx(const Tx&) = delete;
  Tx& operator=(const Tx&) = delete;

  // meta
  std::optional<Bytes> meta(std::string_view key);
  void set_meta(std::string_view key, ByteView value);

  // calls
  std::optional<CallRow> find_call(const std::string& requester, const std::string& fcid);
  void insert_call(const CallRow& c);
  void rebind_call(const CallRow& c);  // reply, reply_to, message_id, ns, reply_parameters of a repeat
  // From then on its age counts from `now_ms`: an order may be valid for longer than outcomes are kept.
  void set_call_response(const std::string& requester, const std::string& fcid, const std::string& response,
                         std::int64_t now_ms);
  void set_call_delivery(const std::string& requester, const std::string& fcid, std::int64_t delivery);
  std::vector<CallRow> unfinished_relays();

  // downloads
  void put_download(const std::string& id, const std::string& record, bool ended, std::int64_t now_ms);
  std::vector<DownloadRow> unfinished_downloads();                   // oldest first
  std::optional<std::string> ended_download(const std::string& id);  // its record, unless it is forgotten already
  struct DownloadCounts {
    std::int64_t running = 0, ended = 0, set_aside = 0;
  };
  DownloadCounts download_counts();

  // profiles
  std::int64_t insert_template(const TemplateRow& t);
  std::optional<TemplateRow> get_template(std::int64_t id);
  bool insert_profile(const ProfileRow& p);  // false: the ICCID is already there
  std::optional<ProfileRow> get_profile(const std::string& iccid);
  std::optional<std::string> free_iccid(const std::string& owner, const std::string& profile_type);
  bool profile_type_known(const std::string& owner, const std::string& profile_type);
  // Free again, nothing of it is on a card: its key set goes with it.
  void set_profile(const std::string& iccid, ProfileState s, const std::string& eid, const std::string& smsr,
                   const std::string& download_id);
  // Out of `uncertain`, as long as the row still is that and names this eUICC; false: it is not, nothing was done.
  // Freed, its key set goes with it.
  bool settle_uncertain(const std::string& iccid, const std::string& eid, const std::string& smsr, ProfileState s);
  std::vector<ProfileRow> uncertain_profiles();  // without `sealed`
  // ICCIDs that are installed on this eUICC at this SM-SR: the first 64.
  std::vector<std::string> installed_profiles(const std::string& eid, const std::string& smsr);
  // Of that owner: reserved for this eUICC at this SM-SR, or perhaps on it.
  std::int64_t profiles_at_stake(const std::string& owner, const std::string& eid, const std::string& smsr);
  std::vector<ProfileCount> profile_counts();
  std::vector<ProfileRow> list_profiles(std::int64_t limit);  // without `sealed`

  // follow-ups: eUICCs that are looked at after their order has ended (host/download/follow_up.hpp), one a card: an EID
  // at an SM-SR
  void put_follow_up(const std::string& eid, const std::string& smsr, const std::string& record);
  void delete_follow_up(const std::string& eid, const std::string& smsr);
  std::vector<FollowUpRow> follow_ups();

  // deliveries
  std::int64_t insert_delivery(const DeliveryRow& d);
  std::vector<DeliveryRow> pending_deliveries(std::int64_t limit);  // callbacks, notifications: oldest first, no body
  std::optional<std::string> delivery_body(std::int64_t id);        // nothing: it is gone
  void delivery_attempted(std::int64_t id);
  void keep_delivery(std::int64_t id);    // kind `kept`
  bool delete_delivery(std::int64_t id);  // false: it was gone already
  std::optional<DeliveryRow> next_polled(const std::string& party, const std::string& address);
  // Does any message wait for a poll of that address? The cost does not depend on how many.
  bool more_polled(const std::string& party, const std::string& address);

  // key sets
  // Only while the ICCID is that download's, reserved or on its card: sealing may have taken that long.
  void put_key_set(const KeySetRow& k, const std::string& download_id);
  // Only while the ICCID is nobody's or that download's: where the disk was full a newer one may have it meanwhile.
  void delete_key_set(const std::string& iccid, const std::string& download_id);
  std::optional<KeySetRow> get_key_set(const std::string& iccid);

  // set aside
  void set_aside_download(const std::string& id, const std::string& why, std::int64_t now_ms);
  void set_aside(const SetAsideRow& r);
  std::vector<SetAsideRow> set_aside_rows(std::int64_t limit);  // oldest first; without what set_aside_records() gives
  std::int64_t set_aside_count();
  // At the start: what was set aside is judged anew, by this program, but for what has a record of its own.
  void retry_set_aside();
  // A follow-up that cannot be read goes, whole, and out of the way of the next one of its card.
  void set_aside_follow_up(const FollowUpRow& f, const SetAsideRow& as);
  std::vector<SetAsideRow> set_aside_records();
  void delete_set_aside(const SetAsideRow& r);

  // Retention. Looks at `rows` rows from the cursor on and deletes what is older (answered calls, ended downloads,
  // messages that nobody fetched). Of downloads only those that the inventory names stay until `downloads_before_ms`:
  // any number of others can be made with one ICCID. Gives the number deleted. The cursor is at `none` when all was
  // looked at.
  std::int64_t forget_batch(ForgetCursor& at, std::int64_t outcomes_before_ms, std::int64_t downloads_before_ms,
                            std::int64_t rows);
  void give_back_pages(std::int64_t pages);  // of what was deleted, to the file system
  std::int64_t page_count();                 // of the database

  // Quotas. count_usage() reads all once; from then on usage() follows every commit.
  void count_usage();
  [[nodiscard]] Usage usage(const std::string& party) const;

  // The writer's bookkeeping: a job or the whole group was kept or rolled back.
  void job_over(bool kept);
  void group_over(bool kept);

  void exec(const char* sql);     // several statements, not kept
  void control(const char* sql);  // BEGIN, SAVEPOINT ...: a literal, prepared once

 private:
  friend class Statement;
  sqlite3_stmt* prepared(const char* sql);
  sqlite3* db_;
  void note(const std::string& party, std::int64_t calls, std::int64_t bytes);
  void forget_key_set(const std::string& iccid);
  std::vector<std::pair<const char*, sqlite3_stmt*>> cache_;  // by address of the literal
  using Note = std::pair<std::string, Usage>;
  std::vector<Note> job_notes_, group_notes_;
  std::unordered_map<std::string, Usage> usage_;
  bool usage_counted_ = false;
};

}  // namespace kf::store
