#include "host/store/tx.hpp"

#include "host/store/statement.hpp"
#include "host/store/trouble.hpp"

namespace kf::store {

Tx::~Tx() {
  for (auto& [sql, s] : cache_) sqlite3_finalize(s);
}

sqlite3_stmt* Tx::prepared(const char* sql) {
  for (auto& [key, s] : cache_)
    if (key == sql) return s;
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr) != SQLITE_OK)
    throw DatabaseError(said_by(db_), sqlite3_extended_errcode(db_));
  cache_.emplace_back(sql, s);
  return s;
}

void Tx::exec(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    throw DatabaseError(said_by(db_), sqlite3_extended_errcode(db_));
}

void Tx::control(const char* sql) { Statement(*this, sql).run(); }

// ---- meta ----
std::optional<Bytes> Tx::meta(std::string_view key) {
  Statement s(*this, "SELECT value FROM meta WHERE key=?");
  if (!s.bind(key).row()) return std::nullopt;
  return s.blob(0);
}
void Tx::set_meta(std::string_view key, ByteView value) {
  Statement s(*this, "INSERT OR REPLACE INTO meta(key,value) VALUES(?,?)");
  s.bind(key).bind(value).run();
}

// ---- calls ----
namespace {
CallRow call_row(Statement& s) {
  CallRow c;
  c.requester = s.str(0);
  c.fcid = s.str(1);
  c.function = s.str(2);
  c.digest = s.blob(3);
  c.reply = static_cast<ReplyKind>(s.i64(4));
  c.reply_to = s.str(5);
  c.message_id = s.str(6);
  c.ns = s.str(7);
  c.download_id = s.str(8);
  c.response = s.str(9);
  c.received_ms = s.i64(10);
  c.reply_parameters = s.str(11);
  c.delivery = s.i64(12);
  return c;
}
}  // namespace

std::optional<CallRow> Tx::find_call(const std::string& requester, const std::string& fcid) {
  Statement s(*this,
              "SELECT requester,fcid,function,digest,reply,reply_to,message_id,ns,download_id,response,received_ms,"
              "reply_parameters,delivery FROM calls WHERE requester=? AND fcid=?");
  if (!s.bind(requester).bind(fcid).row()) return std::nullopt;
  return call_row(s);
}
void Tx::insert_call(const CallRow& c) {
  Statement s(*this,
              "INSERT INTO calls(requester,fcid,function,digest,reply,reply_to,message_id,ns,download_id,response,"
              "received_ms,reply_parameters) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)");
  s.bind(c.requester)
      .bind(c.fcid)
      .bind(c.function)
      .bind(ByteView(c.digest))
      .bind(static_cast<std::int64_t>(c.reply))
      .bind(c.reply_to)
      .bind(c.message_id)
      .bind(c.ns)
      .bind(c.download_id)
      .bind(c.response)
      .bind(c.received_ms)
      .bind(c.reply_parameters)
      .run();
  note(c.requester, 1, stored_bytes(c));
}
void Tx::rebind_call(const CallRow& c) {
  std::int64_t before = 0;
  {
    Statement s(*this,
                "SELECT " KF_CALL_BYTES "-length(CAST(response AS BLOB)) FROM calls WHERE requester=? AND fcid=?");
    if (!s.bind(c.requester).bind(c.fcid).row()) return;
    before = s.i64(0);
  }
  {
    Statement s(
        *this, "UPDATE calls SET reply=?,reply_to=?,message_id=?,ns=?,reply_parameters=? WHERE requester=? AND fcid=?");
    s.bind(static_cast<std::int64_t>(c.reply))
        .bind(c.reply_to)
        .bind(c.message_id)
        .bind(c.ns)
        .bind(c.reply_parameters)
        .bind(c.requester)
        .bind(c.fcid)
        .run();
  }
  note(c.requester, 0, stored_bytes(c) - static_cast<std::int64_t>(c.response.size()) - before);
}
void Tx::set_call_response(const std::string& requester, const std::string& fcid, const std::string& response,
                           std::int64_t now_ms) {
  std::int64_t before = 0;
  {
    Statement s(*this, "SELECT length(CAST(response AS BLOB)) FROM calls WHERE requester=? AND fcid=?");
    if (!s.bind(requester).bind(fcid).row()) return;
    before = s.i64(0);
  }
  {
    Statement s(*this, "UPDATE calls SET response=?,received_ms=max(received_ms,?) WHERE requester=? AND fcid=?");
    s.bind(response).bind(now_ms).bind(requester).bind(fcid).run();
  }
  note(requester, 0, static_cast<std::int64_t>(response.size()) - before);
}
void Tx::set_call_delivery(const std::string& requester, const std::string& fcid, std::int64_t delivery) {
  Statement s(*this, "UPDATE calls SET delivery=? WHERE requester=? AND fcid=?");
  s.bind(delivery).bind(requester).bind(fcid).run();
}
std::vector<CallRow> Tx::unfinished_relays() {
  Statement s(*this,
              "SELECT requester,fcid,function,digest,reply,reply_to,message_id,ns,download_id,response,received_ms,"
              "reply_parameters,delivery FROM calls WHERE response='' AND download_id=''");
  std::vector<CallRow> out;
  while (s.row()) out.push_back(call_row(s));
  return out;
}

// ---- downloads ----
void Tx::put_download(const std::string& id, const std::string& record, bool is_ended, std::int64_t now_ms) {
  Statement s(
      *this,
      "INSERT INTO downloads(id,record,ended,updated_ms) VALUES(?,?,?,?) "
      "ON CONFLICT(id) DO UPDATE SET record=excluded.record,ended=excluded.ended,updated_ms=excluded.updated_ms");
  s.bind(id).bind(record).bind(std::int64_t{is_ended ? 1 : 0}).bind(now_ms).run();
}
std::vector<DownloadRow> Tx::unfinished_downloads() {
  Statement s(*this, "SELECT id,record FROM downloads WHERE ended=0 ORDER BY seq");
  std::vector<DownloadRow> out;
  while (s.row()) out.push_back({s.str(0), s.str(1)});
  return out;
}
std::optional<std::string> Tx::ended_download(const std::string& id) {
  Statement s(*this, "SELECT record FROM downloads WHERE id=? AND ended=1");
  if (!s.bind(id).row()) return std::nullopt;
  return s.str(0);
}
Tx::DownloadCounts Tx::download_counts() {
  Statement s(*this,
              "SELECT COUNT(*) FILTER (WHERE ended=0), COUNT(*) FILTER (WHERE ended=1), COUNT(*) FILTER (WHERE "
              "ended=2) FROM downloads");
  s.row();
  return {s.i64(0), s.i64(1), s.i64(2)};
}

// ---- profiles ----
std::int64_t Tx::insert_template(const TemplateRow& t) {
  Statement s(*this, "INSERT INTO templates(name,sealed,slots) VALUES(?,?,?)");
  s.bind(t.name).bind(ByteView(t.sealed)).bind(t.slots).run();
  return sqlite3_last_insert_rowid(db_);
}
std::optional<TemplateRow> Tx::get_template(std::int64_t id) {
  Statement s(*this, "SELECT id,name,sealed,slots FROM templates WHERE id=?");
  if (!s.bind(id).row()) return std::nullopt;
  return TemplateRow{s.i64(0), s.str(1), s.blob(2), s.str(3)};
}
bool Tx::insert_profile(const ProfileRow& p) {
  Statement s(*this, "INSERT OR IGNORE INTO profiles VALUES(?,?,?,?,?,?,?,?,?,?,?)");
  s.bind(p.iccid)
      .bind(p.owner)
      .bind(p.profile_type)
      .bind(p.template_id)
      .bind(ByteView(p.sealed))
      .bind(p.pol2)
      .bind(static_cast<std::int64_t>(p.required_memory))
      .bind(static_cast<std::int64_t>(p.state))
      .bind(p.eid)
      .bind(p.smsr)
      .bind(p.download_id)
      .run();
  return sqlite3_changes(db_) == 1;
}
namespace {
ProfileRow profile_row(Statement& s) {
  ProfileRow p;
  p.iccid = s.str(0);
  p.owner = s.str(1);
  p.profile_type = s.str(2);
  p.template_id = s.i64(3);
  p.sealed = s.blob(4);
  p.pol2 = s.str(5);
  p.required_memory = static_cast<std::uint64_t>(s.i64(6));
  p.state = static_cast<ProfileState>(s.i64(7));
  p.eid = s.str(8);
  p.smsr = s.str(9);
  p.download_id = s.str(10);
  return p;
}
}  // namespace
std::optional<ProfileRow> Tx::get_profile(const std::string& iccid) {
  Statement s(*this,
              "SELECT iccid,owner,profile_type,template_id,sealed,pol2,required_memory,state,eid,smsr,download_id "
              "FROM profiles WHERE iccid=?");
  if (!s.bind(iccid).row()) return std::nullopt;
  return profile_row(s);
}
std::vector<ProfileRow> Tx::list_profiles(std::int64_t limit) {
  Statement s(*this,
              "SELECT iccid,owner,profile_type,template_id,x'',pol2,required_memory,state,eid,smsr,download_id "
              "FROM profiles ORDER BY iccid LIMIT ?");
  s.bind(limit);
  std::vector<ProfileRow> out;
  while (s.row()) out.push_back(profile_row(s));
  return out;
}
std::optional<std::string> Tx::free_iccid(const std::string& owner, const std::string& profile_type) {
  Statement s(*this, "SELECT iccid FROM profiles WHERE state=0 AND owner=? AND profile_type=? LIMIT 1");
  if (!s.bind(owner).bind(profile_type).row()) return std::nullopt;
  return s.str(0);
}
bool Tx::profile_type_known(const std::string& owner, const std::string& profile_type) {
  Statement s(*this, "SELECT 1 FROM profiles WHERE owner=? AND profile_type=? LIMIT 1");
  return s.bind(owner).bind(profile_type).row();
}
void Tx::set_profile(const std::string& iccid, ProfileState st, const std::string& eid, const std::string& smsr,
                     const std::string& download_id) {
  {
    Statement s(*this, "UPDATE profiles SET state=?,eid=?,smsr=?,download_id=? WHERE iccid=?");
    s.bind(static_cast<std::int64_t>(st)).bind(eid).bind(smsr).bind(download_id).bind(iccid).run();
  }
  if (st == ProfileState::free) forget_key_set(iccid);
}
bool Tx::settle_uncertain(const std::string& iccid, const std::string& eid, const std::string& smsr, ProfileState st) {
  // A free row names no eUICC, any other one keeps what it names.
  {
    Statement s(*this,
                "UPDATE profiles SET state=?1,eid=CASE ?1 WHEN 0 THEN '' ELSE eid END,smsr=CASE ?1 WHEN 0 THEN '' ELSE "
                "smsr END,download_id=CASE ?1 WHEN 0 THEN '' ELSE download_id END "
                "WHERE iccid=?2 AND eid=?3 AND smsr=?4 AND state=3");
    s.bind(static_cast<std::int64_t>(st)).bind(iccid).bind(eid).bind(smsr).run();
  }
  if (sqlite3_changes(db_) != 1) return false;
  if (st == ProfileState::free) forget_key_set(iccid);
  return true;
}
std::vector<ProfileRow> Tx::uncertain_profiles() {
  Statement s(*this,
              "SELECT iccid,owner,profile_type,template_id,x'',pol2,required_memory,state,eid,smsr,download_id "
              "FROM profiles WHERE state=3");
  std::vector<ProfileRow> out;
  while (s.row()) out.push_back(profile_row(s));
  return out;
}
std::vector<std::string> Tx::installed_profiles(const std::string& eid, const std::string& smsr) {
  Statement s(*this, "SELECT iccid FROM profiles WHERE eid=? AND smsr=? AND state=2 LIMIT 64");
  s.bind(eid).bind(smsr);
  std::vector<std::string> out;
  while (s.row()) out.push_back(s.str(0));
  return out;
}
std::int64_t Tx::profiles_at_stake(const std::string& owner, const std::string& eid, const std::string& smsr) {
  Statement s(*this,
              "SELECT (SELECT COUNT(*) FROM profiles WHERE state=1 AND eid=?1 AND smsr=?2 AND owner=?3)+"
              "(SELECT COUNT(*) FROM profiles WHERE state=3 AND eid=?1 AND smsr=?2 AND owner=?3)");
  s.bind(eid).bind(smsr).bind(owner).row();
  return s.i64(0);
}
std::vector<ProfileCount> Tx::profile_counts() {
  Statement s(*this,
              "SELECT owner,profile_type,COUNT(*) FILTER (WHERE state=0),COUNT(*) FILTER (WHERE state=1),"
              "COUNT(*) FILTER (WHERE state=2),COUNT(*) FILTER (WHERE state=3) FROM profiles GROUP BY "
              "owner,profile_type ORDER BY owner,profile_type");
  std::vector<ProfileCount> out;
  while (s.row()) out.push_back({s.str(0), s.str(1), s.i64(2), s.i64(3), s.i64(4), s.i64(5)});
  return out;
}

// ---- follow-ups ----
void Tx::put_follow_up(const std::string& eid, const std::string& smsr, const std::string& record) {
  Statement s(*this, "INSERT OR REPLACE INTO follow_ups(eid,smsr,record) VALUES(?,?,?)");
  s.bind(eid).bind(smsr).bind(record).run();
}
void Tx::delete_follow_up(const std::string& eid, const std::string& smsr) {
  Statement s(*this, "DELETE FROM follow_ups WHERE eid=? AND smsr=?");
  s.bind(eid).bind(smsr).run();
}
std::vector<FollowUpRow> Tx::follow_ups() {
  Statement s(*this, "SELECT eid,smsr,record FROM follow_ups");
  std::vector<FollowUpRow> out;
  while (s.row()) out.push_back({s.str(0), s.str(1), s.str(2)});
  return out;
}

// ---- deliveries ----
namespace {
DeliveryRow delivery_row(Statement& s) {
  DeliveryRow d;
  d.id = s.i64(0);
  d.party = s.str(1);
  d.kind = static_cast<DeliveryKind>(s.i64(2));
  d.address = s.str(3);
  d.body = s.str(4);
  d.attempts = static_cast<int>(s.i64(5));
  d.created_ms = s.i64(6);
  d.source = s.str(7);
  return d;
}
std::int64_t counted(DeliveryKind k) { return k == DeliveryKind::notification ? 1 : 0; }  // see Usage
}  // namespace
std::int64_t Tx::insert_delivery(const DeliveryRow& d) {
  {
    Statement s(*this,
                "INSERT INTO deliveries(party,kind,address,body,attempts,created_ms,source) VALUES(?,?,?,?,0,?,?)");
    s.bind(d.party)
        .bind(static_cast<std::int64_t>(d.kind))
        .bind(d.address)
        .bind(d.body)
        .bind(d.created_ms)
        .bind(d.source)
        .run();
  }
  note(usage_key(d.party, d.kind, d.source), counted(d.kind), static_cast<std::int64_t>(d.body.size()));
  return sqlite3_last_insert_rowid(db_);
}
std::vector<DeliveryRow> Tx::pending_deliveries(std::int64_t limit) {
  Statement s(*this,
              "SELECT id,party,kind,address,'',attempts,created_ms,source FROM deliveries WHERE kind<2 "
              "ORDER BY kind,id LIMIT ?");
  s.bind(limit);
  std::vector<DeliveryRow> out;
  while (s.row()) out.push_back(delivery_row(s));
  return out;
}
std::optional<std::string> Tx::delivery_body(std::int64_t id) {
  Statement s(*this, "SELECT body FROM deliveries WHERE id=?");
  if (!s.bind(id).row()) return std::nullopt;
  return s.str(0);
}
void Tx::keep_delivery(std::int64_t id) {
  std::string party, key;
  std::int64_t bytes = 0, one = 0;
  {
    Statement s(*this, "SELECT party,kind,source,length(CAST(body AS BLOB)) FROM deliveries WHERE id=?");
    if (!s.bind(id).row()) return;
    party = s.str(0);
    const auto kind = static_cast<DeliveryKind>(s.i64(1));
    key = usage_key(party, kind, s.str(2));
    one = counted(kind);
    bytes = s.i64(3);
  }
  {
    Statement s(*this, "UPDATE deliveries SET kind=3 WHERE id=?");
    s.bind(id).run();
  }
  note(key, -one, -bytes);
  note(usage_key(party, DeliveryKind::kept, {}), 0, bytes);
}
bool Tx::delete_delivery(std::int64_t id) {
  Statement s(*this, "DELETE FROM deliveries WHERE id=? RETURNING party,kind,source,length(CAST(body AS BLOB))");
  if (!s.bind(id).row()) return false;
  const auto kind = static_cast<DeliveryKind>(s.i64(1));
  note(usage_key(s.str(0), kind, s.str(2)), -counted(kind), -s.i64(3));
  return true;
}
std::optional<DeliveryRow> Tx::next_polled(const std::string& party, const std::string& address) {
  Statement s(*this,
              "SELECT id,party,kind,address,body,attempts,created_ms,source FROM deliveries "
              "WHERE kind=2 AND party=? AND address=? ORDER BY id LIMIT 1");
  if (s.bind(party).bind(address).row()) return delivery_row(s);
  // What its own receiver refused is handed to whoever polls for the same party: RelatesTo says what it answers.
  Statement kept(*this,
                 "SELECT id,party,kind,address,body,attempts,created_ms,source FROM deliveries "
                 "WHERE kind=3 AND party=? ORDER BY id LIMIT 1");
  if (!kept.bind(party).row()) return std::nullopt;
  return delivery_row(kept);
}
bool Tx::more_polled(const std::string& party, const std::string& address) {
  Statement s(*this,
              "SELECT EXISTS(SELECT 1 FROM deliveries WHERE kind=2 AND party=? AND address=?) OR "
              "EXISTS(SELECT 1 FROM deliveries WHERE kind=3 AND party=?)");
  s.bind(party).bind(address).bind(party).row();
  return s.i64(0) != 0;
}

// ---- key sets ----
void Tx::put_key_set(const KeySetRow& k, const std::string& download_id) {
  Statement s(*this,
              "INSERT OR REPLACE INTO keysets(iccid,eid,isd_p_aid,kvn,sealed) SELECT ?,?,?,?,? "
              "WHERE EXISTS(SELECT 1 FROM profiles WHERE iccid=? AND download_id=? AND state<>0)");
  s.bind(k.iccid)
      .bind(k.eid)
      .bind(k.isd_p_aid)
      .bind(std::int64_t{k.kvn})
      .bind(ByteView(k.sealed))
      .bind(k.iccid)
      .bind(download_id)
      .run();
}
void Tx::delete_key_set(const std::string& iccid, const std::string& download_id) {
  Statement s(*this,
              "DELETE FROM keysets WHERE iccid=?1 AND NOT EXISTS(SELECT 1 FROM profiles WHERE iccid=?1 AND state<>0 "
              "AND download_id<>?2)");
  s.bind(iccid).bind(download_id).run();
}
void Tx::forget_key_set(const std::string& iccid) {
  Statement s(*this, "DELETE FROM keysets WHERE iccid=?");
  s.bind(iccid).run();
}
std::optional<KeySetRow> Tx::get_key_set(const std::string& iccid) {
  Statement s(*this, "SELECT iccid,eid,isd_p_aid,kvn,sealed FROM keysets WHERE iccid=?");
  if (!s.bind(iccid).row()) return std::nullopt;
  return KeySetRow{s.str(0), s.str(1), s.str(2), static_cast<int>(s.i64(3)), s.blob(4)};
}

}  // namespace kf::store
