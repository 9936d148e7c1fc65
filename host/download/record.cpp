#include "host/download/record.hpp"

#include <nlohmann/json.hpp>

#include "host/base/text.hpp"

namespace kf::download {
namespace {
using Json = nlohmann::json;
constexpr std::size_t kMaxDetail = 500;

Json cause_json(const std::optional<Cause>& c) {
  if (!c) return nullptr;
  Json j = Json::array({c->subject, c->reason, c->identifier, c->message});
  if (!c->detail.empty()) j.push_back(clip_text(c->detail, kMaxDetail));
  return j;
}
std::optional<Cause> cause_from(const Json& j) {
  if (j.is_null()) return std::nullopt;
  return Cause{j.at(0).get<std::string>(), j.at(1).get<std::string>(), j.at(2).get<std::string>(),
               j.at(3).get<std::string>(), j.size() > 4 ? j.at(4).get<std::string>() : std::string()};
}
}  // namespace

std::string to_record(const Download& d) {
  const Order& o = d.order;
  Json j{{"id", o.id},
         {"requester", o.requester.str()},
         {"fcid", o.function_call_identifier},
         {"eid", o.eid.str()},
         {"iccid", o.iccid.str()},
         {"smsr", o.smsr.str()},
         {"by_type", o.by_profile_type},
         {"type", o.profile_type},
         {"enable", o.enable},
         {"received", o.received_ms},
         {"deadline", o.deadline_ms},
         {"memory", o.required_memory},
         {"state", state_name(d.state)},
         {"aid", d.isd_p_aid},
         {"cause", cause_json(d.cause)},
         {"warning", cause_json(d.warning)},
         {"expiring", d.expiring},
         {"header_taken", d.header_taken},
         {"pol1", d.pol1_forbade},
         {"completed", d.completed},
         {"again", d.again_after_delete},
         {"restarts", d.restarts},
         {"leftover", d.leftover},
         {"calls", d.calls},
         {"was", static_cast<int>(o.iccid_was)},
         {"was_at", o.smsr_was},
         {"on_card", d.on_card},
         {"seen_gone", d.seen_gone},
         {"proved_gone", d.proved_gone},
         {"open", d.open_creations}};
  if (!o.iccid_as_ordered.empty()) j["iccid_as_ordered"] = o.iccid_as_ordered;
  if (o.pol2) {
    Json rules = Json::array();
    for (const auto& r : *o.pol2) rules.push_back(Json::array({r.subject, r.action, r.qualification}));
    j["pol2"] = rules;
  }
  // Never throws for what a string holds: a record that cannot be written would be an order that never ends.
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

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
    d.restarts = j.at("restarts").get<unsigned>();
    d.leftover = j.at("leftover").get<bool>();
    d.calls = j.at("calls").get<unsigned>();
    if (j.contains("on_card")) {
      const int was = j.at("was").get<int>();
      if (was < 0 || was > static_cast<int>(IccidState::installed))
        return Error{"bad-record", "unknown state of the ICCID"};
      o.iccid_was = static_cast<IccidState>(was);
      o.smsr_was = j.at("was_at").get<std::string>();
      d.on_card = j.at("on_card").get<bool>();
      d.seen_gone = j.at("seen_gone").get<bool>();
      d.proved_gone = j.value("proved_gone", false);
      d.open_creations = j.at("open").get<std::vector<unsigned>>();
    } else if (d.state >= State::creating_isdp) {  // written by 0.1.0: what is not known is taken for possible
      d.on_card = true;
      if (d.isd_p_aid.empty()) d.open_creations = {d.calls};
    }
    return d;
  } catch (const Json::exception& e) {
    return Error{"bad-record", e.what()};
  }
}

}  // namespace kf::download
