// What the files of the codec share: faults, header, the table of functions. Internal to host/es.
#pragma once

#include "host/es/soap.hpp"
#include "host/es/xml.hpp"

namespace kf::es {

// --- faults.cpp: one maker per kind of row in 6.1 ---
Fault sender_fault(std::string reason, std::string subcode = {});
Fault header_required(std::string_view name);  // "wsa:MessageID"
Fault invalid_header(std::string_view detail_code, std::string reason, std::string_view name);
Fault not_understood(const Name& block);
Fault version_mismatch(std::string reason);
Fault body_fault(const Error& e);  // of read_request() and its like

// --- header.cpp ---
inline constexpr std::size_t kMaxHeaderBlocks = 64;
inline constexpr std::size_t kMaxUri = 2048;    // octets of an address, a MessageID, a RelatesTo, an Action
inline constexpr std::size_t kMaxEntity = 255;  // octets of EntityId, EntityName and TransactionId in them
// Reads what is there into `h`, also when something else in the header is wrong. The fault of the first thing that is:
// mustUnderstand blocks first, as SOAP demands.
// `document`: of the header, to keep ReferenceParameters; without it they are not looked at.
std::optional<Fault> read_header(const Element& header, MessageHeader& h, const Document* document);
// What a message of that kind cannot do without; `of_response`: RelatesTo says what it belongs to, nothing else counts.
std::optional<Fault> require_addressing(const MessageHeader& h, bool from_optional, bool of_response);
void set_from(MessageHeader& h, std::string address);

// --- parameters.cpp ---
inline constexpr std::size_t kMaxReferenceParameters = 4096;  // octets
inline constexpr std::size_t kMaxParameters = 16;
// The children of a wsa:ReferenceParameters as header blocks for a message to that endpoint. What could pass for a
// block of ours is refused. Reasons: schema, bad-xml.
Status read_reference_parameters(const Element& e, const Document& document, std::string& out);

// --- functions.cpp ---
using Kind = Direction;

enum class Field : std::uint8_t {
  eid,
  smsr_id,
  profile_type,
  iccid,
  enable_profile,
  mno_id,
  required_memory,
  sd_aid,
  data,
  more_to_do,
  subscription,
  new_subscription,
  pol2,
  connectivity_parameters,
  completion_timestamp,
  eis,  // requests and notifications
  answer_iccid,
  answer_isd_p_aid,
  answer_euicc_data,
  answer_eis  // responses
};
std::string_view field_name(Field f);

struct FieldUse {
  Field field;
  bool required = false;
  unsigned interfaces = 7;           // bits, see bit(): where the function has it
  bool reference_only = false;       // not written in Dialect::wsdl3
  bool wsdl3_only = false;           // not written in Dialect::reference
  std::string_view wsdl3_name = {};  // where it differs from field_name()
};

enum class Group : std::uint8_t { profile, platform, euicc };

// One row of docs/spec/interfaces.md 2: where the function exists, what it carries after the base elements, in the
// order of the schema.
struct FunctionRow {
  Function function;
  std::string_view name;
  unsigned interfaces;  // bits, see bit()
  Group group;
  bool pair;         // Dialect::wsdl3: a response of its own, Actions that end in Request and Response
  bool implemented;  // false: read leniently
  std::span<const FieldUse> request;
  std::span<const FieldUse> response;
  std::span<const FieldUse> reference_order = {};  // of the request, where Dialect::reference differs
};
constexpr unsigned bit(Interface i) { return 1U << static_cast<unsigned>(i); }
const FunctionRow& row_of(Function f);
inline bool uses(const FieldUse& u, Interface i) { return (u.interfaces & bit(i)) != 0; }
std::span<const FieldUse> request_fields(const FunctionRow& row, Dialect d);

struct Identity {
  Interface interface = Interface::es2;
  Function function = Function::other;
  Kind kind = Kind::request;
  std::string_view name;  // "GetEIS", points into the element name
};
// From the local name of the body element; nothing for names that SGP.02 does not know on that interface.
std::optional<Identity> identify(std::string_view element);
// docs/spec/interfaces.md 1.3: tolerant of the spellings in the wild and of any group, false when the Action means
// something else.
bool action_fits(std::string_view action, const Identity& id);

Status read_request(const Element& e, const Context& c, const Identity& id, Request& out);  // reasons: schema, bad-xml
Status read_response(const Element& e, const Context& c, const Identity& id,
                     Response& out);  // reasons: schema, bad-xml
Status read_pol2(const Element& e, const Context& c, bool request, std::optional<Pol2>& out);
Status read_subscription(const Element& e, const Context& c, SubscriptionAddress& out);

// --- eis.cpp ---
Status read_eis(const Element& e, const Context& c, Eis& out);  // reasons: schema, bad-xml

// --- write.cpp ---
// <p:name>text</p:name>; p is a prefix with its colon.
void append_element(std::string& out, std::string_view prefix, std::string_view name, std::string_view text);
void append_header(std::string& out, const SendHeader& h);  // s:Header
inline constexpr std::string_view kRps = "rps:";
inline constexpr std::string_view kXmlDeclaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

}  // namespace kf::es
