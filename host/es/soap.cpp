// parse_message(): the order of the checks of docs/spec/interfaces.md 6.1 that belong to the codec.
#include <algorithm>

#include "host/es/codec.hpp"

namespace kf::es {
namespace {

constexpr std::string_view kMakeConnectionAction = "http://docs.oasis-open.org/ws-rx/wsmc/200702/MakeConnection";

std::string served(const CodecOptions& o) {
  std::string s;
  for (const std::string& ns : o.namespaces) {
    if (ns != kNs1) s += (s.empty() ? "" : ", ") + ns;
  }
  return s;
}

Fault mismatch(const MessageHeader& h, std::string_view element) {
  return invalid_header("wsa:ActionMismatch",
                        "wsa:Action " + clip(h.action, 200) + " contradicts the body element " + clip(element),
                        "wsa:Action");
}

class Parser {
 public:
  Parser(const CodecOptions& o, Message& m) : o_(o), m_(m) {}

  // Nothing, or what to answer. m_.header holds what was read of it either way.
  std::optional<Fault> run(std::string_view xml) {
    if (o_.ascii && !is_ascii(xml))
      return sender_fault(
          "The media type declares a character set whose text is accepted as plain ASCII only; send UTF-8");
    if (auto s = doc_.load(xml); !s) return sender_fault("Not an acceptable XML document: " + s.error().detail);
    const Scope outside;
    const Scope scope(outside, doc_.root());
    const auto root = scope.name_of(doc_.root());
    if (!root) return body_fault(root.error());
    if (root->local != "Envelope") return sender_fault("The document is not a SOAP envelope but " + clip(root->local));
    const Element envelope{doc_.root(), scope, "Envelope"};
    if (root->ns != kNsEnv) {
      read_foreign_header(envelope, root->ns);
      return version_mismatch(root->ns == kNsEnv11 ? "SOAP 1.1 is not served, only SOAP 1.2"
                                                   : "The namespace of the envelope is not that of SOAP 1.2");
    }
    return read_envelope(envelope);
  }

 private:
  // Of another SOAP version: only to be able to say which message the fault is about.
  void read_foreign_header(const Element& envelope, std::string_view ns) {
    for (pugi::xml_node n : envelope.node.children()) {
      if (n.type() != pugi::node_element) continue;
      const Scope scope(envelope.scope, n);
      const auto name = scope.name_of(n);
      if (name && name->ns == ns && name->local == "Header") {
        read_header(Element{n, scope, "Header"}, m_.header, nullptr);
        return;
      }
    }
  }

  std::optional<Fault> read_envelope(const Element& envelope) {
    bool header_seen = false;
    bool body_seen = false;
    std::optional<Fault> header_fault;
    for (pugi::xml_node n : envelope.node.children()) {
      const Scope scope(envelope.scope, n);
      const auto name = n.type() == pugi::node_element ? scope.name_of(n) : Result<Name>(schema_error("text"));
      const bool known = name && name->ns == kNsEnv;
      if (known && name->local == "Header" && !header_seen && !body_seen) {
        header_seen = true;
        header_fault = read_header(Element{n, scope, "Header"}, m_.header, &doc_);
      } else if (known && name->local == "Body" && !body_seen) {
        body_seen = true;
        auto body_result = read_body(Element{n, scope, "Body"}, header_fault);
        if (body_result) return body_result;
      } else {
        return header_fault ? header_fault : sender_fault("Malformed message: Envelope holds one Header and one Body");
      }
    }
    if (header_fault) return header_fault;
    if (!body_seen) return sender_fault("Malformed message: Envelope has no Body");
    return {};
  }

  std::optional<Fault> read_body(const Element& body, const std::optional<Fault>& header_fault) {
    const pugi::xml_node n = body.node.first_child();
    const Scope scope(body.scope, n);
    const bool one = n && n.type() == pugi::node_element && !n.next_sibling();
    const auto name = one ? scope.name_of(n) : Result<Name>(schema_error("one function element is expected"));
    const bool polling = name && name->ns == kNsWsmc && name->local == "MakeConnection";

    if (header_fault) return header_fault;
    const auto id = name && !polling ? identify(name->local) : std::nullopt;
    const bool response = id && id->kind == Kind::response;
    if (auto f = require_addressing(m_.header, polling || !o_.from_when_missing.empty(), response)) return f;
    if (m_.header.from.empty() && !o_.from_when_missing.empty()) {
      set_from(m_.header, o_.from_when_missing);
      if (m_.header.from_entity.empty()) m_.header.from_entity = o_.from_when_missing;
    }
    if (!name) return body_fault(name.error());
    const Element e{n, scope, name->local};
    if (polling) return read_make_connection(e);

    const bool is_served =
        name->ns != kNs1 && std::find(o_.namespaces.begin(), o_.namespaces.end(), name->ns) != o_.namespaces.end();
    if (!is_served) {
      return sender_fault(
          "Namespace " + clip(name->ns, 200) + " of " + clip(name->local) + " is not served; served: " + served(o_),
          "wsa:ActionNotSupported");
    }
    if (!id) return sender_fault("No function for the element " + clip(name->local), "wsa:ActionNotSupported");
    if (o_.takes && !o_.takes(id->interface, id->function, id->kind))
      return sender_fault("No function for this wsa:Action", "wsa:ActionNotSupported");
    const bool related = response && !m_.header.relates_to.empty();
    if (!related && !action_fits(m_.header.action, *id)) return mismatch(m_.header, name->local);

    m_.ns = name->ns;
    const Context c{doc_, m_.ns, m_.unknown_elements};
    const Status s = id->kind == Kind::response ? read_response(e, c, *id, m_.body.emplace<Response>())
                                                : read_request(e, c, *id, m_.body.emplace<Request>());
    if (!s) return body_fault(s.error());
    return {};
  }

  std::optional<Fault> read_make_connection(const Element& e) {
    if (m_.header.action != kMakeConnectionAction) return mismatch(m_.header, e.name);
    m_.ns = kNsWsmc;
    const Context c{doc_, m_.ns, m_.unknown_elements};
    static constexpr Rule kRules[] = {{"Address", true}};
    auto& poll = m_.body.emplace<MakeConnection>();
    const Status s =
        read_children(e, c, kRules, [&](std::size_t, const Element& x) { return read_text(x, poll.address, kMaxUri); });
    if (!s) return body_fault(s.error());
    if (poll.address.empty()) return body_fault(schema_error("Address is empty"));
    return {};
  }

  const CodecOptions& o_;
  Message& m_;
  Document doc_;
};

}  // namespace

std::variant<Message, Fault> parse_message(std::string_view xml, const CodecOptions& o) {
  Message m;
  if (auto f = Parser(o, m).run(xml)) {
    f->header = std::move(m.header);
    return std::move(*f);
  }
  return m;
}

}  // namespace kf::es
