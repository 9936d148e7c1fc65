// Writing envelopes, by hand: one string, hex straight into it. docs/spec/interfaces.md 1.2, 1.5, 2.
#include <algorithm>
#include <charconv>

#include "host/es/codec.hpp"

namespace kf::es {
namespace {

class Body {
 public:
  explicit Body(std::string& out) : out_(out) {}

  void open(std::string_view name) { out_.append("<rps:").append(name).append(">"); }
  void close(std::string_view name) { out_.append("</rps:").append(name).append(">"); }
  void empty(std::string_view name) { out_.append("<rps:").append(name).append("/>"); }
  void text(std::string_view name, std::string_view v) { append_element(out_, kRps, name, v); }
  void text_if(std::string_view name, std::string_view v) {
    if (!v.empty()) text(name, v);
  }
  void flag(std::string_view name, bool v) { plain(name, v ? "true" : "false"); }
  void number(std::string_view name, std::uint64_t v) {
    char digits[20];
    const auto r = std::to_chars(digits, digits + sizeof digits, v);
    plain(name, std::string_view(digits, static_cast<std::size_t>(r.ptr - digits)));
  }
  void hex(std::string_view name, ByteView v) {
    open(name);
    append_hex(out_, v);
    close(name);
  }
  void raw(std::string_view v) { out_ += v; }

 private:
  void plain(std::string_view name, std::string_view v) {
    open(name);
    out_ += v;
    close(name);
  }
  std::string& out_;
};

void write_subscription(Body& b, std::string_view name, const SubscriptionAddress& a) {
  if (a.imsi.empty() && a.msisdn.empty()) return b.empty(name);
  b.open(name);
  b.text_if("Imsi", a.imsi);
  const std::string_view msisdn = a.msisdn;  // the published schemas know digits only
  b.text_if("Msisdn", msisdn.starts_with('+') ? msisdn.substr(1) : msisdn);
  b.close(name);
}

void write_pol2(Body& b, const Pol2& rules) {
  if (rules.empty()) return b.empty("pol2");
  b.open("pol2");
  for (const PolicyRule& r : rules) {
    b.open("Rule");
    b.text("Subject", r.subject);
    b.text("Action", r.action);
    b.text("Qualification", r.qualification);
    b.close("Rule");
  }
  b.close("pol2");
}

void write_security_domain(Body& b, std::string_view name, const SecurityDomain& d) {
  b.open(name);
  b.text("Aid", d.aid);
  for (const std::string& t : d.tars) b.text("Tar", t);
  b.text("Sin", d.sin);
  b.text("Sdin", d.sdin);
  b.text("Role", d.role);
  for (const SecurityDomain::Keyset& k : d.keysets) {
    b.open("Keyset");
    b.text("Version", k.version);
    b.text_if("Type", k.type);
    b.text_if("Cntr", k.cntr);
    const auto certificate = [&](std::string_view index, std::string_view ca_id, ByteView value) {
      b.open("Certificate");
      b.text("Index", index);
      b.text_if("CaId", ca_id);
      b.hex("Value", value);
      b.close("Certificate");
    };
    for (const auto& c : k.certs) certificate(c.index, c.ca_id, c.value);
    for (std::size_t i = 0; k.certs.empty() && i < k.certificates.size(); ++i) {
      certificate(std::to_string(i + 1), {}, k.certificates[i]);
    }
    b.close("Keyset");
  }
  b.close(name);
}

void write_profile(Body& b, const ProfileInfo& p) {
  b.open("ProfileInfo");
  b.text("Iccid", p.iccid);
  b.text_if("Isd-p-aid", p.isd_p_aid);
  b.text_if("Mno-id", p.mno_id);
  b.flag("FallbackAttribute", p.fallback);
  write_subscription(b, "SubscriptionAddress", p.subscription);
  b.text("State", p.state);
  b.text_if("Smdp-id", p.smdp_id);
  b.text_if("ProfileType", p.profile_type);
  b.number("AllocatedMemory", p.allocated_memory);
  if (p.free_memory) b.number("FreeMemory", *p.free_memory);
  if (p.pol2) write_pol2(b, *p.pol2);
  b.close("ProfileInfo");
}

void write_eis_content(Body& b, const Eis& e) {
  b.open("EumSignedInfo");
  b.text("Eid", e.eid);
  b.text("Eum-id", e.eum_id);
  b.text("ProductionDate", e.production_date);
  b.text("PlatformType", e.platform_type);
  b.text("PlatformVersion", e.platform_version);
  b.text("Isd-p-loadfile-aid", e.isdp_loadfile_aid);
  b.text("Isd-p-module-aid", e.isdp_module_aid);
  write_security_domain(b, "Ecasd", e.ecasd);
  b.open("EuiccCapabilities");
  b.flag("CattpSupport", e.cattp_support);
  b.text_if("CattpVersion", e.cattp_version);
  b.flag("HttpSupport", e.http_support);
  b.text_if("HttpVersion", e.http_version);
  b.text("SecurePacketVersion", e.secure_packet_version);
  b.text("RemoteProvisioningVersion", e.remote_provisioning_version);
  b.close("EuiccCapabilities");
  b.close("EumSignedInfo");
  b.open("EumSignature");
  b.raw(e.eum_signature_xml);
  b.close("EumSignature");
  b.number("RemainingMemory", e.remaining_memory);
  b.number("AvailableMemoryForProfiles", e.available_memory);
  b.text_if("LastAuditDate", e.last_audit_date);
  b.text("Smsr-id", e.smsr_id);
  for (const ProfileInfo& p : e.profiles) write_profile(b, p);
  if (!e.isd_r.aid.empty()) write_security_domain(b, "Isd-r", e.isd_r);
}

std::size_t size_hint(const Eis& e) {
  std::size_t certificates = 0;
  for (const auto& k : e.ecasd.keysets) {
    for (const auto& c : k.certificates) certificates += 2 * c.size() + 200;
  }
  return 4000 + e.eum_signature_xml.size() + certificates + e.profiles.size() * 900;
}

void write_request_field(Body& b, Field f, std::string_view name, const Request& r) {
  switch (f) {
    case Field::eid:
      return b.text_if(name, r.eid);
    case Field::smsr_id:
      return b.text_if(name, r.smsr_id);
    case Field::profile_type:
      if (r.profile_type) b.text(name, *r.profile_type);
      return;
    case Field::iccid:
      if (r.iccid) b.text(name, *r.iccid);
      return;
    case Field::enable_profile:
      return b.flag(name, r.enable_profile);
    case Field::mno_id:
      return b.text_if(name, r.mno_id);
    case Field::required_memory:
      return b.number(name, r.required_memory);
    case Field::sd_aid:
      return b.hex(name, r.sd_aid);
    case Field::data:
      if (!r.data_hex) return b.hex(name, r.data);
      b.open(name);
      b.raw(*r.data_hex);
      return b.close(name);
    case Field::more_to_do:
      if (r.more_to_do) b.flag(name, *r.more_to_do);
      return;
    case Field::subscription:
    case Field::new_subscription:
      if (r.subscription) write_subscription(b, name, *r.subscription);
      return;
    case Field::pol2:
      if (r.pol2) write_pol2(b, *r.pol2);
      return;
    case Field::connectivity_parameters:
      return b.hex(name, r.connectivity_parameters);
    case Field::completion_timestamp:
      return b.text_if(name, r.completion_timestamp);
    case Field::eis:
      if (r.eis) {
        b.open(name);
        write_eis_content(b, *r.eis);
        b.close(name);
      }
      return;
    default:
      return;
  }
}

void write_response_field(Body& b, Field f, const Response& r) {
  const std::string_view name = field_name(f);
  switch (f) {
    case Field::answer_iccid:
      if (r.iccid) b.text(name, *r.iccid);
      return;
    case Field::answer_isd_p_aid:
      if (!r.isd_p_aid.empty()) b.hex(name, r.isd_p_aid);
      return;
    case Field::answer_euicc_data:
      if (r.euicc_response_data) b.hex(name, *r.euicc_response_data);
      return;
    case Field::answer_eis:
      if (r.eis) {
        b.open(name);
        write_eis_content(b, *r.eis);
        b.close(name);
      }
      return;
    default:
      return;
  }
}

std::string_view status_text(ExecStatus s) {
  switch (s) {
    case ExecStatus::success:
      return "EXECUTED_SUCCESS";
    case ExecStatus::with_warning:
      return "EXECUTED_WITHWARNING";
    case ExecStatus::failed:
      return "FAILED";
    case ExecStatus::expired:
      return "EXPIRED";
  }
  return "FAILED";
}

void open_envelope(std::string& out, const SendHeader& h, std::string_view ns, bool polling) {
  out += kXmlDeclaration;
  out +=
      "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" "
      "xmlns:wsa=\"http://www.w3.org/2005/08/addressing\"";
  if (!ns.empty()) {
    out += " xmlns:rps=\"";
    append_escaped(out, ns);
    out += '"';
  }
  if (polling || h.message_pending) out += " xmlns:wsmc=\"http://docs.oasis-open.org/ws-rx/wsmc/200702\"";
  out += ">\n<s:Header>";
  append_header(out, h);
  out += "</s:Header>\n<s:Body>";
}

void close_envelope(std::string& out) { out += "</s:Body>\n</s:Envelope>\n"; }

std::string element_name(Interface i, Function f, std::string_view other_name, std::string_view suffix) {
  std::string s(interface_name(i));
  return s.append("-").append(f == Function::other ? other_name : function_name(f)).append(suffix);
}

bool written(const FieldUse& u, Interface i, Dialect d) {
  return uses(u, i) && !(d == Dialect::wsdl3 ? u.reference_only : u.wsdl3_only);
}

constexpr std::size_t kEnvelopeSize = 2500;  // everything but the variable part, generously

}  // namespace

void append_element(std::string& out, std::string_view prefix, std::string_view name, std::string_view text) {
  out.append("<").append(prefix).append(name).append(">");
  append_escaped(out, text);
  out.append("</").append(prefix).append(name).append(">");
}

// Of the same length: one can take the other's place in an envelope that is finished but for that.
constexpr std::string_view kNothingPending = "<wsmc:MessagePending pending=\"false\"/>";
constexpr std::string_view kPending = "<wsmc:MessagePending pending=\"true\" />";
static_assert(kPending.size() == kNothingPending.size());

void append_header(std::string& out, const SendHeader& h) {
  const auto endpoint = [&](std::string_view name, std::string_view address) {
    if (address.empty()) return;
    out.append("<wsa:").append(name).append(">");
    append_element(out, "wsa:", "Address", address);
    out.append("</wsa:").append(name).append(">");
  };
  const auto plain = [&](std::string_view name, std::string_view v) {
    if (!v.empty()) append_element(out, "wsa:", name, v);
  };
  endpoint("From", h.from);
  plain("To", h.to);
  endpoint("ReplyTo", h.reply_to);
  plain("MessageID", h.message_id);
  plain("RelatesTo", h.relates_to);
  if (!h.action.empty()) {
    out += "<wsa:Action s:mustUnderstand=\"true\">";
    append_escaped(out, h.action);
    out += "</wsa:Action>";
  }
  if (h.message_pending) out += *h.message_pending ? kPending : kNothingPending;
  out += h.reply_parameters;  // last: whoever looks for a block of ours by name finds ours
}

void tell_pending(std::string& written) {
  // The first one is ours: what a header repeats for its receiver comes after it.
  if (const auto at = written.find(kNothingPending); at != std::string::npos)
    written.replace(at, kNothingPending.size(), kPending);
}

std::string write_message(const SendHeader& h, const Request& r, std::string_view ns, Dialect d) {
  std::string out;
  out.reserve(kEnvelopeSize + 2 * r.data.size() + (r.eis ? size_hint(*r.eis) : 0));
  open_envelope(out, h, ns, false);
  Body b(out);
  const bool notification = is_notification(r);
  const std::string name = element_name(r.interface, r.function, r.other_name, notification ? "" : "Request");
  b.open(name);
  if (!notification) {
    b.text_if("FunctionCallIdentifier", r.function_call_identifier);
    if (r.validity_period) b.number("ValidityPeriod", *r.validity_period);
  }
  for (const FieldUse& u : request_fields(row_of(r.function), d)) {
    if (!written(u, r.interface, d)) continue;
    const bool wsdl3_name = d == Dialect::wsdl3 && !u.wsdl3_name.empty();
    write_request_field(b, u.field, wsdl3_name ? u.wsdl3_name : field_name(u.field), r);
  }
  b.close(name);
  close_envelope(out);
  return out;
}

std::string write_message(const SendHeader& h, const Response& r, std::string_view ns, Dialect d) {
  std::string out;
  out.reserve(kEnvelopeSize + (r.euicc_response_data ? 2 * r.euicc_response_data->size() : 0) +
              (r.eis ? size_hint(*r.eis) : 0));
  open_envelope(out, h, ns, false);
  Body b(out);
  const std::string name = element_name(r.interface, r.function, r.other_name, "Response");
  b.open(name);
  b.text_if("ProcessingStart", r.processing_start);
  b.text_if("ProcessingEnd", r.processing_end);
  if (r.acceptable_validity_period) b.number("AcceptableValidityPeriod", *r.acceptable_validity_period);
  b.open("FunctionExecutionStatus");
  b.text("Status", status_text(r.status));
  if (r.code && r.status != ExecStatus::success) {
    b.open("StatusCodeData");
    b.text("Subject", r.code->subject);
    b.text("Reason", r.code->reason);
    b.text_if("SubjectIdentifier", r.code->subject_identifier);
    b.text_if("Message", r.code->message);
    b.close("StatusCodeData");
  }
  b.close("FunctionExecutionStatus");
  for (const FieldUse& u : row_of(r.function).response) {
    if (written(u, r.interface, d)) write_response_field(b, u.field, r);
  }
  b.close(name);
  close_envelope(out);
  return out;
}

std::string write_make_connection(const SendHeader& h, std::string_view address) {
  std::string out;
  out.reserve(kEnvelopeSize);
  open_envelope(out, h, {}, true);
  out += "<wsmc:MakeConnection>";
  append_element(out, "wsmc:", "Address", address);
  out += "</wsmc:MakeConnection>";
  close_envelope(out);
  return out;
}

std::string write_eis(const Eis& e, std::string_view ns) {
  std::string out;
  out.reserve(size_hint(e));
  out += "<rps:Eis xmlns:rps=\"";
  append_escaped(out, ns);
  out += "\">";
  Body b(out);
  write_eis_content(b, e);
  b.close("Eis");
  return out;
}

}  // namespace kf::es
