// Fuzz target for the SOAP codec: whatever arrives, parsing ends in a message or a fault, and both survive being
// written.
//   message: written in the same namespace and parsed again, it holds the same values
//   fault:   its envelope can be read again and names the same code
#include <cstdio>
#include <cstdlib>

#include "host/es/soap.hpp"

namespace {

using namespace kf::es;

void require(bool ok, const char* what, const std::string& xml) {
  if (ok) return;
  std::fprintf(stderr, "%s\n%s\n", what, xml.c_str());
  std::abort();
}

SendHeader header_of(const Message& m) {
  const MessageHeader& h = m.header;
  return {h.from, h.to, h.reply_to, h.message_id, h.relates_to, h.action, h.message_pending};
}

std::string write(const Message& m) {
  if (const auto* r = std::get_if<Request>(&m.body)) {
    const bool has_owner = is_notification(*r) && !r->mno_id.empty();  // the reference dialect has none there
    return write_message(header_of(m), *r, m.ns, has_owner ? Dialect::wsdl3 : Dialect::reference);
  }
  if (const auto* r = std::get_if<Response>(&m.body)) return write_message(header_of(m), *r, m.ns, Dialect::reference);
  return write_make_connection(header_of(m), std::get<MakeConnection>(m.body).address);
}

void check_message(Message m, const CodecOptions& o) {
  const std::string xml = write(m);
  const auto again = parse_message(xml, o);
  require(std::holds_alternative<Message>(again), "what was written is refused", xml);
  if (auto* r = std::get_if<Response>(&m.body)) {  // what the wire form of a response does not carry
    if (r->status == ExecStatus::success) r->code.reset();
    r->bad_euicc_response_data = r->unknown_status = false;
  }
  const auto& n = std::get<Message>(again);
  require(n.header == m.header, "the header changed", xml);
  require(n.body == m.body, "the body changed", xml);
}

void check_fault(const Fault& f) {
  const std::string xml = write_fault(f);
  const auto again = read_fault(xml);
  require(again.ok(), "the fault envelope cannot be read", xml);
  require(again->code == f.code && again->subcode == f.subcode && again->http_status == f.http_status,
          "the fault changed", xml);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const CodecOptions options{{std::string(kNs3), "http://namespaces.gsma.org/esim-messaging/4"}, {}};
  const std::string_view xml = kf::text(kf::ByteView(data, size));
  auto r = parse_message(xml, options);
  if (auto* m = std::get_if<Message>(&r))
    check_message(std::move(*m), options);
  else
    check_fault(std::get<Fault>(r));
  // A peer's fault may hold codes that are no names; writing it is not our business, it must not go wrong all the same.
  if (const auto f = read_fault(xml); f.ok())
    require(read_fault(write_fault(*f)).ok(), "not readable", write_fault(*f));
  return 0;
}
