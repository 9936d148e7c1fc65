// SOAP 1.2 faults: the kinds the codec itself raises, the envelope, and reading one.
// docs/spec/interfaces.md 6.1, 10.16.
#include <algorithm>
#include <iterator>

#include "host/es/codec.hpp"

namespace kf::es {
namespace {

constexpr std::string_view kWsaFaultAction = "http://www.w3.org/2005/08/addressing/fault";
constexpr std::string_view kSoapFaultAction = "http://www.w3.org/2005/08/addressing/soap/fault";

constexpr std::string_view kFaultCodes[] = {"Sender", "Receiver", "VersionMismatch", "MustUnderstand"};

FaultCode fault_code(std::string_view name) {
  const auto* const at = std::ranges::find(kFaultCodes, name);
  return static_cast<FaultCode>(at - std::begin(kFaultCodes));  // other is behind the last
}

unsigned status_of(FaultCode code) { return code == FaultCode::sender ? 400 : 500; }

// "{namespace}local" or "prefix:local" with a prefix that the envelope declares anyway. As a QName with what it needs.
void append_qname_attribute(std::string& out, std::string_view qname) {
  const std::size_t end = qname.find('}');
  if (qname.starts_with("{}")) {
    out += " qname=\"";
    append_escaped(out, qname.substr(2));
  } else if (qname.starts_with('{') && end != std::string_view::npos) {
    out += " xmlns:q=\"";
    append_escaped(out, qname.substr(1, end - 1));
    out += "\" qname=\"q:";
    append_escaped(out, qname.substr(end + 1));
  } else {
    out += " qname=\"";
    append_escaped(out, qname);
  }
  out += "\"";
}

void append_subcodes(std::string& out, std::string_view codes) {
  if (codes.empty()) return;
  const std::size_t slash = std::min(codes.find('/'), codes.size());
  out += "<s:Subcode><s:Value>";
  append_escaped(out, codes.substr(0, slash));
  out += "</s:Value>";
  if (slash < codes.size()) append_subcodes(out, codes.substr(slash + 1));
  out += "</s:Subcode>";
}

// The value of a Code or Subcode with the prefix we use ourselves.
Result<std::string> read_code(const Element& value) {
  std::string scratch;
  KF_TRY(const std::string_view q, value.text(scratch));
  const auto [prefix, local] = split_qname(q);
  const std::string_view ns = value.scope.uri(prefix);
  std::string code(ns == kNsWsa ? "wsa:" : ns == kNsWsmc ? "wsmc:" : "");  // others are known by their local name
  code.append(local);
  return code;
}

}  // namespace

std::string_view fault_code_name(FaultCode c) {
  return kFaultCodes[static_cast<std::size_t>(c == FaultCode::other ? FaultCode::receiver : c)];
}

Fault sender_fault(std::string reason, std::string subcode) {
  Fault f;
  f.reason = std::move(reason);
  f.subcode = std::move(subcode);
  return f;
}

Fault header_required(std::string_view name) {
  Fault f = sender_fault(std::string(name) + " is missing", "wsa:MessageAddressingHeaderRequired");
  f.problem_qname = name;
  return f;
}

Fault invalid_header(std::string_view detail_code, std::string reason, std::string_view name) {
  Fault f = sender_fault(std::move(reason), "wsa:InvalidAddressingHeader/" + std::string(detail_code));
  f.problem_qname = name;
  return f;
}

Fault not_understood(const Name& block) {
  Fault f;
  f.http_status = 500;
  f.code = FaultCode::must_understand;
  f.reason = "Header " + clip(block.local) + " is not understood";
  f.problem_qname.append("{").append(block.ns).append("}").append(block.local);
  return f;
}

Fault version_mismatch(std::string reason) {
  Fault f;
  f.http_status = 500;
  f.code = FaultCode::version_mismatch;
  f.reason = std::move(reason);
  return f;
}

Fault body_fault(const Error& e) {
  if (e.reason == "schema") return sender_fault("Body does not satisfy the schema: " + e.detail);
  return sender_fault("Malformed message: " + e.detail);
}

std::string write_fault(const Fault& f) {
  std::string out;
  out.reserve(1500 + f.reason.size());
  out += kXmlDeclaration;
  out +=
      "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" "
      "xmlns:wsa=\"http://www.w3.org/2005/08/addressing\">\n<s:Header>";
  SendHeader h;
  h.from = f.from.empty() ? f.header.to : f.from;
  h.to = f.header.from;
  h.relates_to = f.header.message_id;
  h.action = f.subcode.starts_with("wsa:") ? kWsaFaultAction : kSoapFaultAction;
  h.reply_parameters = f.header.reply_parameters;
  append_header(out, h);
  if (f.code == FaultCode::version_mismatch) {
    out += "<s:Upgrade><s:SupportedEnvelope qname=\"s:Envelope\"/></s:Upgrade>";
  } else if (f.code == FaultCode::must_understand && !f.problem_qname.empty()) {
    out += "<s:NotUnderstood";
    append_qname_attribute(out, f.problem_qname);
    out += "/>";
  }
  out += "</s:Header>\n<s:Body><s:Fault><s:Code><s:Value>s:";
  out += fault_code_name(f.code);
  out += "</s:Value>";
  append_subcodes(out, f.subcode);
  out += "</s:Code><s:Reason><s:Text xml:lang=\"en\">";
  append_escaped(out, f.reason);
  out += "</s:Text></s:Reason>";
  if (f.subcode.starts_with("wsa:") && f.problem_qname.starts_with("wsa:")) {
    out += "<s:Detail>";
    append_element(out, "wsa:", "ProblemHeaderQName", f.problem_qname);
    out += "</s:Detail>";
  }
  out += "</s:Fault></s:Body>\n</s:Envelope>\n";
  return out;
}

Result<Fault> read_fault(std::string_view xml) {
  Document doc;
  KF_CHECK(doc.load(xml));
  std::vector<std::string> unknown;
  const Context env{doc, kNsEnv, unknown};
  const Scope outside;
  const Scope scope(outside, doc.root());
  const Error no_fault{"no-fault", "the document is not a SOAP 1.2 envelope with a Fault"};
  {
    KF_TRY(const Name root, scope.name_of(doc.root()));
    if (root.ns != kNsEnv || root.local != "Envelope") return no_fault;
  }
  static constexpr Rule kEnvelope[] = {{"Header"}, {"Body", true}};
  static constexpr Rule kBody[] = {{"Fault", true}};
  static constexpr Rule kFault[] = {{"Code", true}, {"Reason", true}, {"Node"}, {"Role"}, {"Detail"}};
  static constexpr Rule kCode[] = {{"Value", true}, {"Subcode"}};
  static constexpr Rule kReason[] = {{"Text", true, true}};

  Fault f;
  MessageHeader h;
  const auto read_codes = [&](const auto& self, const Element& e, bool outermost) -> Status {
    return read_children(e, env, kCode, [&](std::size_t i, const Element& x) -> Status {
      if (i == 1) return self(self, x, false);
      KF_TRY(std::string code, read_code(x));
      if (outermost)
        f.code = fault_code(code);
      else
        f.subcode.append(f.subcode.empty() ? "" : "/").append(code);
      return {};
    });
  };
  const auto read_body = [&](std::size_t, const Element& fault) -> Status {
    return read_children(fault, env, kFault, [&](std::size_t i, const Element& x) -> Status {
      if (i == 0) return read_codes(read_codes, x, true);
      if (i != 1) return {};
      return read_children(x, env, kReason, [&](std::size_t, const Element& t) -> Status {
        return f.reason.empty() ? read_text(t, f.reason) : Status{};
      });
    });
  };
  const Status s = read_children(
      Element{doc.root(), scope, "Envelope"}, env, kEnvelope, [&](std::size_t i, const Element& x) -> Status {
        if (i == 0) {
          read_header(x, h, nullptr);  // whatever can be read; a fault's header is not judged
          return {};
        }
        return read_children(x, env, kBody, read_body);
      });
  if (!s) return s.error().reason == "schema" ? no_fault : s.error();
  f.http_status = status_of(f.code);
  f.header = std::move(h);
  return f;
}

}  // namespace kf::es
