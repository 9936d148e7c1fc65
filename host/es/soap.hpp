// SOAP 1.2 envelopes with WS-Addressing, and the codec of every ES2/ES3/ES4 message.
// docs/spec/interfaces.md 1, 2, 6.1. Pure functions on strings (pugixml inside; no DTD, no entities, depth at most 64).
// Namespaces .../3 and a configured one.
#pragma once

#include <functional>
#include <memory>
#include <variant>

#include "host/es/types.hpp"

namespace kf::es {

inline constexpr std::string_view kNs3 = "http://namespaces.gsma.org/esim-messaging/3";
inline constexpr std::string_view kNs1 = "http://namespaces.gsma.org/esim-messaging/1";  // not served
inline constexpr std::string_view kWsaAnonymous = "http://www.w3.org/2005/08/addressing/anonymous";
inline constexpr std::string_view kMakeConnectionPrefix = "http://docs.oasis-open.org/ws-rx/wsmc/200702/anonymous?id=";

struct MessageHeader {
  std::string from;         // From/Address as received
  std::string from_entity;  // EntityId in it
  std::string from_name;    // EntityName
  std::string to;
  std::string to_entity;
  std::string reply_to;  // ReplyTo/Address; empty: absent
  // ReplyTo/ReferenceParameters as the header blocks that an answer there has to carry: complete in themselves, none of
  // SOAP or WS-Addressing, at most 4096 octets.
  std::string reply_parameters;
  std::string message_id;      // the complete URI
  std::string transaction_id;  // TransactionId inside it; may be empty
  std::string relates_to;      // may be empty
  std::string action;
  std::optional<bool> message_pending;  // wsmc:MessagePending
  bool operator==(const MessageHeader&) const = default;
};

struct MakeConnection {
  std::string address;
  bool operator==(const MakeConnection&) const = default;
};

enum class FaultCode : std::uint8_t { sender, receiver, version_mismatch, must_understand, other };  // other: a peer's
std::string_view fault_code_name(FaultCode c);  // "Sender"; other: "Receiver"

struct Fault {  // becomes an HTTP error with a fault envelope
  unsigned http_status = 400;
  FaultCode code = FaultCode::sender;
  std::string subcode;  // "wsa:ActionNotSupported", nested ones "wsa:InvalidAddressingHeader/wsa:ActionMismatch"
  std::string reason;
  std::string problem_qname;  // the header at fault, "wsa:To" or "{namespace}name"; may be empty
  MessageHeader header;       // as far as it was read, for RelatesTo, To and From
  std::string from;           // our own address for From; empty: the To of the request, when it was read
};

struct Message {
  MessageHeader header;
  std::string ns;  // namespace of the function element (answers use the one received)
  std::variant<Request, Response, MakeConnection> body;
  std::vector<std::string> unknown_elements;  // ignored child elements, for one log line a peer
};

enum class Direction { request, response, notification };

struct CodecOptions {
  std::vector<std::string> namespaces{std::string(kNs3)};
  std::string from_when_missing;  // the sender's address (or bare OID) when there is no From; empty: From is required
  bool ascii = false;             // the media type said ISO-8859-1 or US-ASCII: taken when it is ASCII in fact
  // What this party may send here, judged by the name of the body element alone. The content of anything else is not
  // read: "No function for this wsa:Action". Empty: everything.
  std::function<bool(Interface, Function, Direction)> takes = {};
};

// Parses and validates one received message (every row of 6.1 that is an HTTP error or a SOAP fault).
// Either a Message or the Fault to answer with. An envelope that carries a SOAP fault is no message: see read_fault.
// What the service has to judge passes: check digits, missing Iccid and ProfileType, unknown parties, EuiccResponseData
// that is not hex (Response::bad_euicc_response_data). Functions without implementation (Function::other) are read
// leniently and never cause a fault by their content. Either dialect is taken, whatever is sent to that party.
// Pure, reentrant, linear in the size of the input; the caller has limited that size already.
std::variant<Message, Fault> parse_message(std::string_view xml, const CodecOptions& o);

struct SendHeader {
  std::string from, to, reply_to, message_id, relates_to, action;  // empty: left out
  std::optional<bool> message_pending;                             // wsmc:MessagePending
  std::string reply_parameters = {};  // MessageHeader::reply_parameters of what is answered, as they stand
};
std::string write_message(const SendHeader& h, const Request& r, std::string_view ns = kNs3,
                          Dialect d = Dialect::wsdl3);
std::string write_message(const SendHeader& h, const Response& r, std::string_view ns = kNs3,
                          Dialect d = Dialect::wsdl3);
// An envelope that write_message() made with message_pending = false, stored and now polled: others are pending after
// it. One that was made without it stays as it is.
void tell_pending(std::string& written);
std::string write_make_connection(const SendHeader& h, std::string_view address);
// version_mismatch adds the SOAP header block env:Upgrade/env:SupportedEnvelope, must_understand with a
// problem_qname adds env:NotUnderstood. Nothing else is left to the caller but the HTTP status.
std::string write_fault(const Fault& f);
// The fault envelope in an HTTP 4xx or 5xx answer. http_status is the one that belongs to the code. Reasons: bad-xml
// (not an acceptable document), no-fault (no SOAP 1.2 envelope with a Fault).
Result<Fault> read_fault(std::string_view xml);

// http://gsma.com/<interface>/<group>[CallBack]/<interface>-<function>[Request|Response]  (docs/spec/interfaces.md 1.3)
enum class Way { request, answer, callback };  // requests and notifications; same connection; POSTed to ReplyTo, polled
std::string action_for(Interface i, Function f, Way way, Dialect d = Dialect::wsdl3);
std::string action_of(const Request& r, Dialect d = Dialect::wsdl3);  // Function::other too
std::string action_of(const Response& r, Way way, Dialect d = Dialect::wsdl3);
// //<entity>/urn:uuid:<uuid>?TransactionId=<id>&MessageDate=<now>   (docs/spec/interfaces.md 1.2)
std::string make_message_id(std::string_view entity, std::string_view uuid, std::string_view transaction_id,
                            std::string_view date);
// <url>?EntityId=<oid>&EntityName=<name>; the name is percent-encoded, empty: left out
std::string make_address(std::string_view url, std::string_view entity_id, std::string_view entity_name);

// The EIS element alone with its namespace declarations, for tests and relays. What a requester may not see
// (docs/spec/interfaces.md 2.5) has to be taken out of the value before.
std::string write_eis(const Eis& e, std::string_view ns = kNs3);

inline constexpr std::string_view kSoapContentType = "application/soap+xml; charset=utf-8";
// The same with the parameter that names the Action (RFC 3902, 4).
std::string soap_content_type(std::string_view action);
// wsa:Action of an envelope that write_message() or write_make_connection() made; empty: it has none.
std::string action_of(std::string_view written);

}  // namespace kf::es
