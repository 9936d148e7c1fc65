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
#include "host/store/rows.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace kf::store {

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
  void keep_delivery(std::int64_t id);                              // kind `kept`
  bool delete_delivery(std::int64_t id);                            // false: it was gone already
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
