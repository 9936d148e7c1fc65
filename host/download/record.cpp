#include "host/download/record.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/base/text.hpp"
#include "host/download/possession_record.hpp"

namespace kf::download {
namespace {
using Json = nlohmann::json;
constexpr std::size_t kMaxDetail = 500;

void write_cause(JsonText& out, std::string_view name, const std::optional<Cause>& c) {
  out.key(name);
  if (!c) {
    out.null();
    return;
  }
  out.begin('[').value(c->subject).value(c->reason).value(c->identifier).value(c->message);
  if (!c->detail.empty()) out.value(clip_text(c->detail, kMaxDetail));
  out.end(']');
}
std::optional<Cause> cause_from(const Json& j) {
  if (j.is_null()) return std::nullopt;
  return Cause{j.at(0).get<std::string>(), j.at(1).get<std::string>(), j.at(2).get<std::string>(),
               j.at(3).get<std::string>(), j.size() > 4 ? j.at(4).get<std::string>() : std::string()};
}
}  // namespace

std::string to_record(const Download& d) {
  const Order& o = d.order;
  JsonText j;  // never throws for what a string holds: a record that cannot be written would be an order without end
  j.begin('{')
      .field("id", o.id)
      .field("requester", o.requester.str())
      .field("fcid", o.function_call_identifier)
      .field("eid", o.eid.str())
      .field("iccid", o.iccid.str())
      .field("smsr", o.smsr.str())
      .field("by_type", o.by_profile_type)
      .field("type", o.profile_type)
      .field("enable", o.enable)
      .field("received", o.received_ms)
      .field("deadline", o.deadline_ms)
      .field("memory", o.required_memory)
      .field("state", state_name(d.state))
      .field("aid", d.isd_p_aid);
  write_cause(j, "cause", d.cause);
  write_cause(j, "warning", d.warning);
  j.field("expiring", d.expiring)
      .field("header_taken", d.header_taken)
      .field("pol1", d.pol1_forbade)
      .field("completed", d.completed)
      .field("again", d.again_after_delete)
      .field("restarts", d.restarts)
      .field("calls", d.calls)
      .field("was", static_cast<int>(o.iccid_was))
      .field("was_at", o.smsr_was)
      .field("was_by", o.download_was);
  // What an order that has ended knew of its card is in the card's own record (follow_up.hpp), and only there.
  if (!ended(d.state)) PossessionRecord::write(d.possession, j.key("possession"));
  if (!o.iccid_as_ordered.empty()) j.field("iccid_as_ordered", o.iccid_as_ordered);
  if (d.enable_due) j.field("enable_due", true);
  if (o.pol2) {
    j.key("pol2").begin('[');
    for (const auto& r : *o.pol2) j.begin('[').value(r.subject).value(r.action).value(r.qualification).end(']');
    j.end(']');
  }
  j.end('}');
  return j.take();
}

// Of a record without a ledger (0.1.0, and what followed): whatever may be on the card is taken to be there, and
// whatever may be under way to be so for as long as the order was valid, and a card's time more. An order that was
// taken up begins again at GettingEis: what it had made before shows in what else those programs noted, or in the block
// of numbers that its calls have.
namespace {
Possession ledger_without_notes(const Download& d, const Json& j) {
  constexpr std::int64_t kCard = 600'000;
  Possession p;
  const std::string& iccid = d.order.iccid.str();
  const bool noted = j.value("on_card", false) || (j.contains("open") && !j.at("open").empty());
  if (d.state >= State::cleaning_stale || noted || d.calls >= kCallsOfALife) {
    const std::int64_t until = std::max<std::int64_t>(d.order.deadline_ms - d.order.received_ms, 0) + kCard;
    p.claimed(iccid, 0);
    p.unnamed_creations(iccid, 0, until);
    p.unnamed_deletions(iccid, 0, until);
    if (d.header_taken) p.content_sent(iccid, 0);
  }
  return p;
}
}  // namespace

Result<Download> from_record(std::string_view record) {
  try {
    const Json j = Json::parse(record);
    Download d;
    Order& o = d.order;
    o.id = j.at("id").get<std::string>();
    o.requester = Oid::trusted(j.at("requester").get<std::string>());
    o.function_call_identifier = j.at("fcid").get<std::string>();
    o.eid = Eid::trusted(j.at("eid").get<std::string>());
    o.iccid = Iccid::trusted(j.at("iccid").get<std::string>());
    o.smsr = Oid::trusted(j.at("smsr").get<std::string>());
    o.by_profile_type = j.at("by_type").get<bool>();
    o.profile_type = j.at("type").get<std::string>();
    o.enable = j.at("enable").get<bool>();
    o.received_ms = j.at("received").get<std::int64_t>();
    o.deadline_ms = j.at("deadline").get<std::int64_t>();
    o.required_memory = j.at("memory").get<std::uint64_t>();
    o.iccid_as_ordered = j.value("iccid_as_ordered", "");
    if (j.contains("pol2")) {
      o.pol2.emplace();
      for (const auto& r : j.at("pol2"))
        o.pol2->push_back({r.at(0).get<std::string>(), r.at(1).get<std::string>(), r.at(2).get<std::string>()});
    }
    const auto state = state_by_name(j.at("state").get<std::string>());
    if (!state) return Error{"bad-record", "unknown state"};
    d.state = *state;
    d.isd_p_aid = j.at("aid").get<std::string>();
    d.cause = cause_from(j.at("cause"));
    d.warning = cause_from(j.at("warning"));
    d.expiring = j.at("expiring").get<bool>();
    d.header_taken = j.at("header_taken").get<bool>();
    d.pol1_forbade = j.at("pol1").get<bool>();
    d.completed = j.at("completed").get<bool>();
    d.again_after_delete = j.at("again").get<bool>();
    d.enable_due = j.value("enable_due", false);
    d.restarts = j.at("restarts").get<unsigned>();
    d.calls = j.at("calls").get<unsigned>();
    if (j.contains("was")) {
      const int was = j.at("was").get<int>();
      if (was < 0 || was > static_cast<int>(IccidState::installed))
        return Error{"bad-record", "unknown state of the ICCID"};
      o.iccid_was = static_cast<IccidState>(was);
      o.smsr_was = j.at("was_at").get<std::string>();
      o.download_was = j.value("was_by", "");
    }
    if (j.contains("possession"))
      d.possession = PossessionRecord::read(j.at("possession"));
    else if (!ended(d.state))
      d.possession = ledger_without_notes(d, j);
    if (d.header_taken && d.possession.may_hold(o.iccid.str(), 0)) d.possession.content_sent(o.iccid.str(), 0);
    return d;
  } catch (const Json::exception& e) {
    return Error{"bad-record", e.what()};
  }
}

}  // namespace kf::download
