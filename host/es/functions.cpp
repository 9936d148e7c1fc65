// The functions of ES2, ES3 and ES4: one table says which elements they carry, in which order, and serves reading,
// writing (write.cpp) and wsa:Action. docs/spec/interfaces.md 1.3, 1.5, 2.
#include <algorithm>
#include <array>

#include "host/base/text.hpp"
#include "host/es/codec.hpp"
#include "host/es/status_codes.hpp"

namespace kf::es {
namespace {

using enum Field;
using F = Function;
constexpr FieldUse must(Field f) { return {f, true}; }
constexpr FieldUse may(Field f) { return {f, false}; }

constexpr unsigned kEs2 = bit(Interface::es2);
constexpr unsigned kEs3 = bit(Interface::es3);
constexpr unsigned kEs4 = bit(Interface::es4);
constexpr unsigned kAll = kEs2 | kEs3 | kEs4;

// Where the interface descriptions write SmSr-id: ES2 DownloadProfile and EnableProfile, and nowhere else.
constexpr FieldUse kSmsr{smsr_id, true, kEs2, false, false, {}};
constexpr FieldUse kSmSr{smsr_id, true, kEs2, false, false, "SmSr-id"};
constexpr FieldUse kNewAddress{new_subscription, true, kAll, false, false, "newSubscriptionAddress"};
constexpr FieldUse kOwner{mno_id, false, kEs3, false, true, {}};
constexpr FieldUse kChanged{completion_timestamp, true, kEs2 | kEs4, false, false, {}};
constexpr FieldUse kChangedEs3{completion_timestamp, true, kEs3, false, false, "completionTimestamp"};
constexpr FieldUse kCardAnswer{answer_euicc_data, false, kEs3 | kEs4, false, false, {}};
constexpr FieldUse kCardAnswerEs2{answer_euicc_data, false, kEs2, true, false, {}};

constexpr FieldUse kEidOnly[] = {must(eid), kSmsr};
constexpr FieldUse kEnable[] = {must(eid), kSmSr, must(iccid)};
constexpr FieldUse kProfile[] = {must(eid), kSmsr, must(iccid)};
constexpr FieldUse kDelete[] = {must(eid), must(iccid), kSmsr};
constexpr FieldUse kDownload[] = {must(eid), kSmSr, may(profile_type), may(iccid), may(enable_profile)};
constexpr FieldUse kCreate[] = {must(eid), must(iccid), must(mno_id), must(required_memory), may(more_to_do)};
constexpr FieldUse kSend[] = {must(eid), must(sd_aid), must(data), may(more_to_do)};
constexpr FieldUse kCompleted[] = {must(eid), must(iccid), may(profile_type), may(subscription), may(pol2)};
constexpr FieldUse kPolicy[] = {must(eid), must(iccid), kSmsr, may(pol2)};
constexpr FieldUse kPolicyReference[] = {must(eid), kSmsr, must(iccid), may(pol2)};
constexpr FieldUse kAddress[] = {must(eid), kSmsr, must(iccid), kNewAddress};
constexpr FieldUse kAudit[] = {must(eid), kSmsr};
constexpr FieldUse kConnectivity[] = {must(eid), kSmsr, must(iccid), must(connectivity_parameters)};
constexpr FieldUse kNotice[] = {must(eid), must(iccid), kOwner, must(completion_timestamp)};
constexpr FieldUse kSmsrChange[] = {must(eis), {mno_id, true, kEs3, false, false, {}}, kChanged, kChangedEs3};
constexpr FieldUse kAnyOther[] = {may(eid), {smsr_id, false, kEs2, false, false, {}}, may(iccid)};

constexpr FieldUse kAnswerEis[] = {may(answer_eis)};
constexpr FieldUse kAnswerDownload[] = {may(answer_iccid), kCardAnswerEs2};
constexpr FieldUse kAnswerCreate[] = {may(answer_isd_p_aid), may(answer_euicc_data)};
constexpr FieldUse kAnswerCard[] = {kCardAnswer, kCardAnswerEs2};
constexpr std::span<const FieldUse> kNothing{};

constexpr FunctionRow kRows[] = {
    // in the order of enum Function
    {F::get_eis, "GetEIS", kAll, Group::profile, true, true, kEidOnly, kAnswerEis},
    {F::download_profile, "DownloadProfile", kEs2, Group::profile, false, true, kDownload, kAnswerDownload},
    {F::create_isdp, "CreateISDP", kEs3, Group::profile, false, true, kCreate, kAnswerCreate},
    {F::send_data, "SendData", kEs3, Group::profile, false, true, kSend, kAnswerCard},
    {F::profile_download_completed, "ProfileDownloadCompleted", kEs3, Group::profile, true, true, kCompleted, kNothing},
    {F::update_policy_rules, "UpdatePolicyRules", kAll, Group::profile, true, true, kPolicy, kNothing,
     kPolicyReference},
    {F::update_subscription_address, "UpdateSubscriptionAddress", kAll, Group::profile, true, true, kAddress, kNothing},
    {F::enable_profile, "EnableProfile", kAll, Group::platform, false, true, kEnable, kAnswerCard},
    {F::disable_profile, "DisableProfile", kAll, Group::platform, false, true, kProfile, kAnswerCard},
    {F::delete_profile, "DeleteProfile", kEs2 | kEs4, Group::platform, false, true, kDelete, kAnswerCard, kProfile},
    {F::delete_isdp, "DeleteISDP", kEs3, Group::platform, false, true, kProfile, kAnswerCard},
    {F::audit_eis, "AuditEIS", kAll, Group::profile, false, true, kAudit, kAnswerEis},
    {F::update_connectivity_parameters, "UpdateConnectivityParameters", kEs2 | kEs3, Group::platform, false, true,
     kConnectivity, kAnswerCard},
    {F::handle_profile_enabled, "HandleProfileEnabledNotification", kAll, Group::platform, false, true, kNotice,
     kNothing},
    {F::handle_profile_disabled, "HandleProfileDisabledNotification", kAll, Group::platform, false, true, kNotice,
     kNothing},
    {F::handle_profile_deleted, "HandleProfileDeletedNotification", kAll, Group::platform, false, true, kNotice,
     kNothing},
    {F::handle_profile_downloaded, "HandleProfileDownloadedNotification", kAll, Group::profile, false, true, kNotice,
     kNothing},
    {F::handle_smsr_change, "HandleSMSRChangeNotification", kAll, Group::euicc, false, true, kSmsrChange, kNothing},
    {F::other, "", kAll, Group::profile, false, false, kAnyOther, kNothing},
};
static_assert(std::size(kRows) == static_cast<std::size_t>(F::other) + 1);

// Functions of SGP.02 on these interfaces that Keyferry knows by name only: answered FAILED 1.6/3.1.
constexpr std::string_view kOtherNames[] = {"SetPLMA",
                                            "GetPLMA",
                                            "SetONC",
                                            "GetONC",
                                            "SetEmergencyProfileAttribute",
                                            "SetFallBackAttribute",
                                            "SetFallbackAttribute",
                                            "GetPOL",
                                            "PrepareSMSRChange",
                                            "SMSRChange",
                                            "UpdateEISAdditionalProperties",
                                            "HandleEmergencyProfileAttributeSetNotification",
                                            "HandleEmergencyProfileAttributeUnsetNotification",
                                            "HandleProfileFallBackAttributeSetNotification",
                                            "HandleProfileFallBackAttributeUnsetNotification",
                                            "HandleProfileFallbackAttributeSetNotification",
                                            "HandleProfileFallbackAttributeUnsetNotification",
                                            "HandleSetPLMANotification"};

constexpr std::array<std::string_view, 20> kFieldNames = {"Eid",
                                                          "Smsr-id",
                                                          "ProfileType",
                                                          "Iccid",
                                                          "EnableProfile",
                                                          "Mno-id",
                                                          "RequiredMemory",
                                                          "Sd-aid",
                                                          "Data",
                                                          "MoreToDo",
                                                          "SubscriptionAddress",
                                                          "NewSubscriptionAddress",
                                                          "pol2",
                                                          "ConnectivityParameters",
                                                          "CompletionTimestamp",
                                                          "Eis",
                                                          "Iccid",
                                                          "Isd-p-aid",
                                                          "EuiccResponseData",
                                                          "Eis"};

constexpr std::size_t kMaxCallIdentifier = 1000;          // characters
constexpr std::size_t kMaxCode = 64, kMaxMessage = 1024;  // octets kept of a status code and of the text beside it
constexpr std::size_t kMaxRules = 64;                     // of a pol2: there are nine different ones

Status read_call_identifier(const Element& x, std::string& out) {
  KF_CHECK(read_text(x, out));
  if (out.empty()) return schema_error("FunctionCallIdentifier is empty");
  const auto characters = std::count_if(out.begin(), out.end(), [](char c) { return (c & 0xC0) != 0x80; });
  if (static_cast<std::size_t>(characters) > kMaxCallIdentifier) {
    return schema_error("FunctionCallIdentifier is longer than " + std::to_string(kMaxCallIdentifier) + " characters");
  }
  return {};
}

Status read_request_field(Field f, const Element& x, const Context& c, Request& r) {
  switch (f) {
    case eid:
      return read_eid(x, r.eid);
    case smsr_id:
      return read_oid(x, r.smsr_id);
    case profile_type:
      return read_text(x, r.profile_type.emplace(), kMaxProfileType);
    case iccid:
      return read_iccid(x, r.iccid.emplace());
    case enable_profile:
      return read_bool(x, r.enable_profile);
    case mno_id:
      return read_oid(x, r.mno_id);
    case required_memory:
      return read_uint(x, r.required_memory);
    case sd_aid:
      KF_CHECK(read_hex(x, r.sd_aid));
      return r.sd_aid.size() < 5 || r.sd_aid.size() > 16 ? schema_error("Sd-aid must be of 5 to 16 bytes") : Status{};
    case data:
      return read_hex(x, r.data);
    case more_to_do:
      return read_bool(x, r.more_to_do.emplace());
    case subscription:
    case new_subscription:
      return read_subscription(x, c, r.subscription.emplace());
    case pol2:
      return read_pol2(x, c, true, r.pol2);
    case connectivity_parameters:
      return read_hex(x, r.connectivity_parameters);
    case completion_timestamp:
      return read_date_time(x, r.completion_timestamp);
    case Field::eis:
      return es::read_eis(x, c, r.eis.emplace());
    default:
      return {};
  }
}

Status read_response_field(Field f, const Element& x, const Context& c, Response& r) {
  switch (f) {
    case answer_iccid:
      return x.blank() ? Status{} : read_iccid(x, r.iccid.emplace());
    case answer_isd_p_aid:  // an SM-SR that created nothing, and whose schema wants the element
      if (x.blank()) return {};
      KF_CHECK(read_hex(x, r.isd_p_aid));
      return r.isd_p_aid.size() < 5 || r.isd_p_aid.size() > 16 ? schema_error("Isd-p-aid must be of 5 to 16 bytes")
                                                               : Status{};
    case answer_euicc_data: {
      std::string scratch;
      const auto t = x.text(scratch);
      auto b = t ? decode_hex(*t) : Result<Bytes>(t.error());
      if (b)
        r.euicc_response_data = std::move(b).value();
      else
        r.bad_euicc_response_data = true;
      return {};
    }
    case answer_eis:
      return es::read_eis(x, c, r.eis.emplace());
    default:
      return {};
  }
}

// A function that is not implemented is answered, not judged: what reads well is taken, nothing is an error.
void read_leniently(const Element& e, const Context& c, const FunctionRow& row, const Identity& id, Request& out) {
  for (pugi::xml_node n : e.node.children()) {
    if (n.type() != pugi::node_element) continue;
    const Scope scope(e.scope, n);
    const auto name = scope.name_of(n);
    if (!name || name->ns != c.ns) continue;
    const Element x{n, scope, name->local};
    Request r;
    if (id.kind == Kind::request && name->local == "FunctionCallIdentifier") {
      if (read_call_identifier(x, r.function_call_identifier))
        out.function_call_identifier = r.function_call_identifier;
    } else if (id.kind == Kind::request && name->local == "ValidityPeriod") {
      if (read_period(x, r.validity_period)) out.validity_period = r.validity_period;
    }
    for (const FieldUse& u : row.request) {
      if (!uses(u, id.interface) || !same_letters(field_name(u.field), name->local)) continue;
      if (!read_request_field(u.field, x, c, r)) continue;
      switch (u.field) {
        case eid:
          out.eid = r.eid;
          break;
        case smsr_id:
          out.smsr_id = r.smsr_id;
          break;
        case iccid:
          if (!out.iccid) out.iccid = r.iccid;
          break;
        default:
          break;
      }
    }
  }
}

ExecStatus parse_status(std::string_view s, bool& known) {
  std::string t;
  for (char ch : s) {  // EXECUTED_SUCCESS and Executed-Success alike
    t += ch == '-' ? '_' : ch >= 'a' && ch <= 'z' ? static_cast<char>(ch - 'a' + 'A') : ch;
  }
  known = true;
  if (t == "EXECUTED_SUCCESS") return ExecStatus::success;
  if (t == "EXECUTED_WITHWARNING") return ExecStatus::with_warning;
  if (t == "EXPIRED") return ExecStatus::expired;
  known = t == "FAILED";
  return ExecStatus::failed;
}

Status read_status_code(const Element& e, const Context& c, StatusCode& out) {
  static constexpr Rule kRules[] = {{"Subject"}, {"Reason"}, {"SubjectIdentifier"}, {"Message"}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    std::string* const targets[] = {&out.subject, &out.reason, &out.subject_identifier, &out.message};
    std::string scratch;
    KF_TRY(const std::string_view t, x.text(scratch));  // cut, not refused: the answer matters more than its wording
    *targets[i] = clip_text(t, i < 2 ? kMaxCode : kMaxMessage);
    return {};
  });
}

Status read_execution_status(const Element& e, const Context& c, Response& out) {
  static constexpr Rule kRules[] = {{"Status", true}, {"StatusCodeData"}};
  std::string status;
  KF_CHECK(read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    return i == 0 ? read_text(x, status) : read_status_code(x, c, out.code.emplace());
  }));
  bool known = false;
  out.status = parse_status(status, known);
  out.unknown_status = !known;
  if (!known) {  // taken as FAILED, and said so: docs/spec/interfaces.md 6.1
    if (!out.code) out.code = status_code(Code::provider_failed, {}, {});
    if (!out.code->message.empty()) out.code->message += "; ";
    out.code->message += "Status '" + clip(status) + "' is not known";
  }
  return {};
}

}  // namespace

const FunctionRow& row_of(Function f) { return kRows[static_cast<std::size_t>(f)]; }
std::string_view field_name(Field f) { return kFieldNames[static_cast<std::size_t>(f)]; }
std::span<const FieldUse> request_fields(const FunctionRow& row, Dialect d) {
  return d == Dialect::reference && !row.reference_order.empty() ? row.reference_order : row.request;
}

std::optional<Identity> identify(std::string_view element) {
  Identity id;
  if (element.starts_with("ES2-"))
    id.interface = Interface::es2;
  else if (element.starts_with("ES3-"))
    id.interface = Interface::es3;
  else if (element.starts_with("ES4-"))
    id.interface = Interface::es4;
  else
    return {};
  std::string_view name = element.substr(4);
  const auto cut = [&](std::string_view suffix, Kind kind) {
    if (!name.ends_with(suffix)) return false;
    name.remove_suffix(suffix.size());
    id.kind = kind;
    return true;
  };
  if (name.ends_with("Notification"))
    id.kind = Kind::notification;
  else if (!cut("Request", Kind::request) && !cut("Response", Kind::response))
    return {};
  id.name = name;
  const bool notice_name = name.ends_with("Notification");
  if (notice_name != (id.kind == Kind::notification)) return {};
  for (const FunctionRow& row : kRows) {
    if (row.function != F::other && row.name == name) {
      if ((row.interfaces & bit(id.interface)) == 0) return {};
      id.function = row.function;
      return id;
    }
  }
  if (std::find(std::begin(kOtherNames), std::end(kOtherNames), name) == std::end(kOtherNames)) return {};
  return id;
}

// ProfileDownloadCompleted is spelled so in the Actions of the interface descriptions, and only there.
constexpr std::string_view kCompletedAction = "ProfileDownloadedCompleted";

bool action_fits(std::string_view action, const Identity& id) {
  const auto take = [&](std::string_view prefix) {
    if (!action.starts_with(prefix)) return false;
    action.remove_prefix(prefix.size());
    return true;
  };
  const std::string_view interface = interface_name(id.interface);
  if (!take("http://gsma.com/") || !take(interface) || !take("/")) return false;
  const std::size_t group = action.find('/');  // ProfileManagement, ProfileManagent, DataPreparation ...: says nothing
  if (group == std::string_view::npos || group == 0) return false;
  action.remove_prefix(group);
  if (!take("/") || !take(interface) || !take("-")) return false;
  if (!take(id.name) && !(id.function == F::profile_download_completed && take(kCompletedAction))) return false;
  return action.empty() || action == (id.kind == Kind::response ? "Response" : "Request");
}

namespace {
// The Actions of the interface descriptions. ES2 has no descriptions of answers to DownloadProfile, EnableProfile and
// the like; they get the form that ES3 has for them.
std::string wsdl3_action(const FunctionRow& row, std::string_view name, Interface i, Way way) {
  const bool callback = way == Way::callback && !row.pair;
  std::string s = "http://gsma.com/";
  s.append(interface_name(i)).append("/");
  if (row.function == F::get_eis && i == Interface::es2)
    s.append("DataPreparation");
  else if (row.group == Group::profile)
    s.append("ProfileManagement");
  else  // HandleSMSRChange stands among the platform functions of ES3, and only there
    s.append(row.group == Group::platform || i == Interface::es3 ? "PlatformManagement" : "eUICCManagement");
  s.append(callback ? "CallBack/" : "/").append(interface_name(i)).append("-");
  s.append(row.function == F::profile_download_completed ? kCompletedAction : name);
  if (row.pair) s.append(way == Way::request ? "Request" : "Response");
  return s;
}

std::string reference_action(const FunctionRow& row, std::string_view name, Interface i, Way way) {
  std::string s = "http://gsma.com/";
  s.append(interface_name(i)).append("/");
  s.append(row.group == Group::platform ? "PlatformManagement"
           : row.group == Group::euicc  ? "eUICCManagement"
                                        : "ProfileManagement");
  if (way == Way::callback || name.ends_with("Notification")) s.append("CallBack");
  return s.append("/").append(interface_name(i)).append("-").append(name);
}

std::string compose_action(const FunctionRow& row, std::string_view name, Interface i, Way way, Dialect d) {
  return d == Dialect::wsdl3 ? wsdl3_action(row, name, i, way) : reference_action(row, name, i, way);
}
}  // namespace

std::string action_for(Interface i, Function f, Way way, Dialect d) {
  return compose_action(row_of(f), row_of(f).name, i, way, d);
}
std::string action_of(const Request& r, Dialect d) {
  const FunctionRow& row = row_of(r.function);
  return compose_action(row, r.function == F::other ? std::string_view(r.other_name) : row.name, r.interface,
                        Way::request, d);
}
std::string action_of(const Response& r, Way way, Dialect d) {
  const FunctionRow& row = row_of(r.function);
  return compose_action(row, r.function == F::other ? std::string_view(r.other_name) : row.name, r.interface, way, d);
}

Status read_subscription(const Element& e, const Context& c, SubscriptionAddress& out) {
  static constexpr Rule kRules[] = {{"Imsi"}, {"Msisdn"}};
  return read_children(e, c, kRules,
                       [&](std::size_t i, const Element& x) { return read_text(x, i == 0 ? out.imsi : out.msisdn); });
}

static Status read_rule(const Element& e, const Context& c, bool request, PolicyRule& r) {
  static constexpr Rule kRules[] = {{"Subject", true}, {"Action", true}, {"Qualification", true}};
  KF_CHECK(read_children(e, c, kRules, [&](std::size_t i, const Element& x) {
    return read_text(x, i == 0 ? r.subject : i == 1 ? r.action : r.qualification);
  }));
  if (!request) return {};
  if (r.subject != "PROFILE") return schema_error("Subject of a Rule must be PROFILE");
  if (r.action != "ENABLE" && r.action != "DISABLE" && r.action != "DELETE") {
    return schema_error("Action of a Rule must be ENABLE, DISABLE or DELETE");
  }
  if (r.qualification != "Not-Allowed" && r.qualification != "Auto-Delete") {
    return schema_error("Qualification of a Rule must be Not-Allowed or Auto-Delete");
  }
  return {};
}

// `request`: an order is held to the enumerations of docs/spec/interfaces.md 2.6, an EIS is not (newer schemas may know
// more).
Status read_pol2(const Element& e, const Context& c, bool request, std::optional<Pol2>& out) {
  static constexpr Rule kRules[] = {{"Rule", false, true, "rules"}};
  out.emplace();
  return read_children(e, c, kRules, [&](std::size_t, const Element& x) {
    if (out->size() == kMaxRules) return Status(schema_error("pol2 holds more than " + std::to_string(kMaxRules)));
    return read_rule(x, c, request, out->emplace_back());
  });
}

Status read_request(const Element& e, const Context& c, const Identity& id, Request& out) {
  const FunctionRow& row = row_of(id.function);
  out.interface = id.interface;
  out.function = id.function;
  if (id.function == F::other) out.other_name = id.name;
  if (!row.implemented) {
    read_leniently(e, c, row, id, out);
    return {};
  }
  // FunctionRequesterIdentifier is in SGP.02 5.1 but not in the schema: tolerated as first child, the identity is
  // From's.
  std::array<Rule, 12> rules;
  std::array<Field, 12> fields{};
  std::size_t n = 0;
  const bool base = id.kind == Kind::request;
  if (base) {
    rules[n++] = {"FunctionRequesterIdentifier"};
    rules[n++] = {"FunctionCallIdentifier", true};
    rules[n++] = {"ValidityPeriod"};
  }
  const std::size_t first = n;
  for (const FieldUse& u : row.request) {
    if (!uses(u, id.interface)) continue;
    fields[n] = u.field;
    rules[n++] = {field_name(u.field), u.required};
  }
  return read_children(e, c, std::span(rules.data(), n), [&](std::size_t i, const Element& x) -> Status {
    // Some stacks write every optional element, empty when there is nothing to say. An empty address or pol2 does say
    // something: none.
    const bool may_be_empty = i >= first && (fields[i] == subscription || fields[i] == pol2);
    if (!rules[i].required && !may_be_empty && x.blank()) return Status{};
    if (i >= first) return read_request_field(fields[i], x, c, out);
    if (i == 1) return read_call_identifier(x, out.function_call_identifier);
    return i == 2 ? read_period(x, out.validity_period) : Status{};
  });
}

// A response is taken in any order: refusing an answer of the SM-SR for its order would lose what the card did.
Status read_response(const Element& e, const Context& c, const Identity& id, Response& out) {
  const FunctionRow& row = row_of(id.function);
  out.interface = id.interface;
  out.function = id.function;
  if (id.function == F::other) out.other_name = id.name;
  std::array<Rule, 8> rules = {
      {{"ProcessingStart"}, {"ProcessingEnd"}, {"AcceptableValidityPeriod"}, {"FunctionExecutionStatus", true}}};
  std::array<Field, 8> fields{};
  std::size_t n = 4;
  for (const FieldUse& u : row.response) {
    if (!uses(u, id.interface)) continue;
    fields[n] = u.field;
    rules[n++] = {field_name(u.field), u.required};
  }
  return read_children(e, c, std::span(rules.data(), n), [&](std::size_t i, const Element& x) -> Status {
    if (i == 2 && x.blank()) return {};
    switch (i) {
      case 0:
        return read_text(x, out.processing_start);
      case 1:
        return read_text(x, out.processing_end);
      case 2:
        return read_period(x, out.acceptable_validity_period);
      case 3:
        return read_execution_status(x, c, out);
      default:
        return read_response_field(fields[i], x, c, out);
    }
  });
}

}  // namespace kf::es
