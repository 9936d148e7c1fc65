// What the store does for its own upkeep: records set aside, retention, quotas.
#include <algorithm>

#include "host/store/statement.hpp"

namespace kf::store {

// ---- set aside ----
void Tx::set_aside_download(const std::string& id, const std::string& why, std::int64_t now_ms) {
  SetAsideRow r{"download", id, "", why, now_ms, ""};
  {
    Statement s(*this, "UPDATE downloads SET ended=2,updated_ms=? WHERE id=?");
    s.bind(now_ms).bind(id).run();
  }
  {
    Statement s(*this, "SELECT iccid FROM profiles WHERE download_id=?");  // no index: this is rare
    if (s.bind(id).row()) r.iccid = s.str(0);
  }
  set_aside(r);
}
void Tx::set_aside(const SetAsideRow& r) {
  Statement s(*this, "INSERT OR REPLACE INTO set_aside(kind,name,iccid,why,at_ms,record) VALUES(?,?,?,?,?,?)");
  s.bind(r.kind).bind(r.name).bind(r.iccid).bind(r.why).bind(r.at_ms).bind(r.record).run();
}
std::vector<SetAsideRow> Tx::set_aside_rows(std::int64_t limit) {
  Statement s(*this,
              "SELECT kind,name,iccid,why,at_ms FROM set_aside WHERE record='' ORDER BY at_ms,kind,name LIMIT ?");
  s.bind(limit);
  std::vector<SetAsideRow> out;
  while (s.row()) out.push_back({s.str(0), s.str(1), s.str(2), s.str(3), s.i64(4), ""});
  return out;
}
void Tx::set_aside_follow_up(const FollowUpRow& f, const SetAsideRow& as) {
  set_aside(as);
  Statement s(*this, "DELETE FROM follow_ups WHERE eid=? AND smsr=? AND record=?");  // perhaps another's by now
  s.bind(f.eid).bind(f.smsr).bind(f.record).run();
}
std::vector<SetAsideRow> Tx::set_aside_records() {
  Statement s(*this,
              "SELECT kind,name,iccid,why,at_ms,record FROM set_aside WHERE record<>'' ORDER BY at_ms,kind,name");
  std::vector<SetAsideRow> out;
  while (s.row()) out.push_back({s.str(0), s.str(1), s.str(2), s.str(3), s.i64(4), s.str(5)});
  return out;
}
void Tx::delete_set_aside(const SetAsideRow& r) {
  Statement s(*this, "DELETE FROM set_aside WHERE kind=? AND name=?");
  s.bind(r.kind).bind(r.name).run();
}
std::int64_t Tx::set_aside_count() {
  Statement s(*this, "SELECT COUNT(*) FROM set_aside");
  s.row();
  return s.i64(0);
}
void Tx::retry_set_aside() {
  exec("UPDATE downloads SET ended=0 WHERE ended=2; DELETE FROM set_aside WHERE record=''");
}

// ---- retention ----
std::int64_t Tx::forget_batch(ForgetCursor& at, std::int64_t outcomes_before_ms, std::int64_t downloads_before_ms,
                              std::int64_t rows) {
  // Each table is walked along its key: no index on ages that every order would have to pay for.
  struct Old {
    std::string requester, fcid;
    std::int64_t seq = 0, bytes = 0;
  };
  std::vector<Old> old;
  std::int64_t seen = 0;
  using Table = ForgetCursor::Table;
  const Table table = at.table;
  if (table == Table::calls) {
    Statement s(*this, "SELECT requester,fcid,received_ms,response<>''," KF_CALL_BYTES
                       " FROM calls WHERE (requester,fcid)>(?,?) ORDER BY requester,fcid LIMIT ?");
    s.bind(at.requester).bind(at.fcid).bind(rows);
    for (; s.row(); ++seen) {
      at.requester = s.str(0);
      at.fcid = s.str(1);
      if (s.i64(2) < outcomes_before_ms && s.i64(3) != 0) old.push_back({at.requester, at.fcid, 0, s.i64(4)});
    }
  } else if (table == Table::downloads) {
    // What brought nothing about, or nothing that is still there, goes with its call: an Operator can make as many of
    // those as it likes. While its ICCID is in a running download that may yet be put back (ended<>1 says which one).
    Statement s(*this,
                "SELECT seq,updated_ms,CASE WHEN ended<>1 OR updated_ms>=?1 THEN '' WHEN NOT json_valid(record) THEN "
                "'?' WHEN EXISTS(SELECT 1 FROM profiles WHERE iccid=json_extract(record,'$.iccid') AND "
                "download_id<>downloads.id AND state<>1) THEN 'Superseded' ELSE "
                "coalesce(json_extract(record,'$.state'),'?') END FROM downloads WHERE seq>?2 ORDER BY seq LIMIT ?3");
    s.bind(std::max(outcomes_before_ms, downloads_before_ms)).bind(at.seq).bind(rows);
    for (; s.row(); ++seen) {
      at.seq = s.i64(0);
      const std::string state = s.str(2);
      const bool in_vain = state == "Failed" || state == "Expired" || state == "Superseded";
      if (!state.empty() && s.i64(1) < (in_vain ? outcomes_before_ms : downloads_before_ms))
        old.push_back({"", "", at.seq, 0});
    }
  } else if (table == Table::deliveries) {
    Statement s(
        *this,
        "SELECT id,kind,created_ms,party,length(CAST(body AS BLOB)) FROM deliveries WHERE id>? ORDER BY id LIMIT ?");
    s.bind(at.seq).bind(rows);
    for (; s.row(); ++seen) {
      at.seq = s.i64(0);
      if (s.i64(1) >= 2 && s.i64(2) < outcomes_before_ms) old.push_back({s.str(3), "", at.seq, s.i64(4)});
    }
  }
  for (const Old& o : old) {
    if (table == Table::calls) {
      Statement s(*this, "DELETE FROM calls WHERE requester=? AND fcid=?");
      s.bind(o.requester).bind(o.fcid).run();
      note(o.requester, -1, -o.bytes);
    } else if (table == Table::downloads) {
      Statement s(*this, "DELETE FROM downloads WHERE seq=?");
      s.bind(o.seq).run();
    } else {
      Statement s(*this, "DELETE FROM deliveries WHERE id=?");
      s.bind(o.seq).run();
      note(o.requester, 0, -o.bytes);
    }
  }
  if (seen < rows) {
    at = ForgetCursor{};
    at.table = table == Table::calls ? Table::downloads : table == Table::downloads ? Table::deliveries : Table::none;
  }
  return static_cast<std::int64_t>(old.size());
}
void Tx::give_back_pages(std::int64_t pages) {
  exec(("PRAGMA incremental_vacuum(" + std::to_string(pages) + ")").c_str());
}
std::int64_t Tx::page_count() {
  Statement s(*this, "PRAGMA page_count");
  s.row();
  return s.i64(0);
}

// ---- quotas ----
std::int64_t stored_bytes(const CallRow& c) {
  return static_cast<std::int64_t>(c.response.size() + c.message_id.size() + c.reply_to.size() +
                                   c.reply_parameters.size() + c.fcid.size() + 200);
}
std::string usage_key(const std::string& party, DeliveryKind kind, const std::string& source) {
  return kind == DeliveryKind::notification ? "notifications " + party + " " + source : party;
}
void Tx::count_usage() {
  usage_.clear();
  {
    Statement s(*this, "SELECT requester,COUNT(*),SUM(" KF_CALL_BYTES ") FROM calls GROUP BY requester");
    while (s.row()) usage_[s.str(0)] = {s.i64(1), s.i64(2)};
  }
  Statement s(
      *this,
      "SELECT party,SUM(length(CAST(body AS BLOB))),kind,source,COUNT(*) FROM deliveries GROUP BY party,kind,source");
  while (s.row()) {
    const auto kind = static_cast<DeliveryKind>(s.i64(2));
    Usage& u = usage_[usage_key(s.str(0), kind, s.str(3))];
    u.bytes += s.i64(1);
    if (kind == DeliveryKind::notification) u.calls += s.i64(4);
  }
  usage_counted_ = true;
}
Usage Tx::usage(const std::string& party) const {
  const auto it = usage_.find(party);
  return it == usage_.end() ? Usage{} : it->second;
}
void Tx::note(const std::string& party, std::int64_t calls, std::int64_t bytes) {
  if (usage_counted_) job_notes_.emplace_back(party, Usage{calls, bytes});
}
void Tx::job_over(bool kept) {
  if (kept) std::move(job_notes_.begin(), job_notes_.end(), std::back_inserter(group_notes_));
  job_notes_.clear();
}
void Tx::group_over(bool kept) {
  if (kept) {
    for (const auto& [party, change] : group_notes_) {
      Usage& u = usage_[party];
      u.calls = std::max<std::int64_t>(0, u.calls + change.calls);
      u.bytes = std::max<std::int64_t>(0, u.bytes + change.bytes);
    }
  }
  group_notes_.clear();
  job_notes_.clear();  // of a job whose undo failed: nobody else has ended it
}

}  // namespace kf::store
