// The SOAP header: WS-Addressing, mustUnderstand, the URIs that carry identities.
// docs/spec/interfaces.md 1.2, 1.3, 6.1.
#include <utility>

#include "host/es/codec.hpp"

namespace kf::es {
namespace {

constexpr std::string_view kRolePrefix = "http://www.w3.org/2003/05/soap-envelope/role/";
constexpr std::string_view kReply = "http://www.w3.org/2005/08/addressing/reply";

// The first value of a parameter in the query of a URI, as it stands.
std::string_view query_value(std::string_view uri, std::string_view key) {
  std::size_t at = uri.find('?');
  while (at != std::string_view::npos) {
    const std::size_t next = uri.find('&', ++at);
    const std::string_view pair = uri.substr(at, next == std::string_view::npos ? next : next - at);
    if (pair.size() > key.size() && pair.starts_with(key) && pair[key.size()] == '=')
      return pair.substr(key.size() + 1);
    at = next;
  }
  return {};
}

// For display. What is not percent-encoded UTF-8 text stays as it is.
std::string percent_decoded(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '%' && i + 2 < s.size()) {
      if (auto b = decode_hex(s.substr(i + 1, 2))) {
        out += static_cast<char>((*b)[0]);
        i += 2;
        continue;
      }
    }
    out += s[i];
  }
  for (std::size_t i = 0; i < out.size();) {
    const std::size_t n = static_cast<unsigned char>(out[i]) < 0x20 ? 0 : xml_char(std::string_view(out).substr(i, 4));
    if (n == 0) return std::string(s);
    i += n;
  }
  return out;
}

std::string percent_encoded(std::string_view s) {
  std::string out;
  for (const char c : s) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      append_hex(out, view(std::string_view(&c, 1)));
    }
  }
  return out;
}

struct BlockAttributes {
  bool must_understand = false;
  bool for_us = true;  // role
};

Result<BlockAttributes> read_attributes(pugi::xml_node block, const Scope& scope) {
  BlockAttributes b;
  for (const pugi::xml_attribute a : block.attributes()) {
    const auto [prefix, local] = split_qname(a.name());
    if (prefix.empty() || prefix == "xmlns" || (local != "mustUnderstand" && local != "role")) continue;
    if (scope.uri(prefix) != kNsEnv) continue;
    const std::string_view v = a.value();
    if (local == "mustUnderstand") {
      b.must_understand = v == "true" || v == "1";
      if (!b.must_understand && v != "false" && v != "0") {
        return Error{"schema", "mustUnderstand must be true, false, 1 or 0"};
      }
    } else if (!v.empty() && v != std::string(kRolePrefix) + "next" &&
               v != std::string(kRolePrefix) + "ultimateReceiver") {
      b.for_us = false;
    }
  }
  return b;
}

// An address that names a party: what it says about itself goes into answers, records and log lines.
bool good_address(std::string_view uri) {
  return uri.size() <= kMaxUri && query_value(uri, "EntityId").size() <= kMaxEntity &&
         query_value(uri, "EntityName").size() <= kMaxEntity;
}

// Collects the fault to raise: the first one, but a block that is not understood goes before everything else.
class Problems {
 public:
  void add(Fault f) {
    if (!first_ || (f.code == FaultCode::must_understand && first_->code != FaultCode::must_understand))
      first_ = std::move(f);
  }
  std::optional<Fault> take() { return std::move(first_); }

 private:
  std::optional<Fault> first_;
};

struct Slots {  // which headers were there, to see double ones
  bool from = false, to = false, reply_to = false, message_id = false, relates_to = false, action = false;
};

void read_wsa(const Element& e, std::string_view local, MessageHeader& h, Slots& seen, Problems& problems,
              const Document* document) {
  const auto qname = [&] { return "wsa:" + std::string(local); };
  const auto once = [&](bool& slot) {
    if (slot) problems.add(invalid_header("wsa:InvalidCardinality", qname() + " occurs twice", qname()));
    return !std::exchange(slot, true);
  };
  // What is too long is not kept either: the fault repeats the header.
  const auto bounded = [&](std::string& out) {
    if (good_address(out) && query_value(out, "TransactionId").size() <= kMaxEntity) return;
    out.clear();
    problems.add(invalid_header("wsa:InvalidAddress",
                                qname() + " is longer than " + std::to_string(kMaxUri) +
                                    " octets, or a name in it than " + std::to_string(kMaxEntity),
                                qname()));
  };
  const auto plain = [&](bool& slot, std::string& out) {
    if (!once(slot)) return;
    if (auto s = read_text(e, out); !s) problems.add(invalid_header("wsa:InvalidAddress", s.error().detail, qname()));
    bounded(out);
  };
  const auto endpoint = [&](bool& slot, std::string& out, std::string* parameters) {
    if (!once(slot)) return;
    bool address = false;
    for (pugi::xml_node n : e.node.children()) {
      if (n.type() != pugi::node_element) continue;
      const Scope scope(e.scope, n);
      const auto name = scope.name_of(n);
      if (!name || name->ns != kNsWsa) continue;
      if (name->local == "Address" && !std::exchange(address, true)) {
        if (auto s = read_text(Element{n, scope, "Address"}, out); !s)
          problems.add(invalid_header("wsa:InvalidAddress", s.error().detail, qname()));
      } else if (name->local == "ReferenceParameters" && parameters != nullptr && document != nullptr) {
        if (auto s = read_reference_parameters(Element{n, scope, name->local}, *document, *parameters); !s)
          problems.add(
              invalid_header("wsa:InvalidEPR", "ReferenceParameters in " + qname() + ": " + s.error().detail, qname()));
        parameters = nullptr;
      }
    }
    if (out.empty()) problems.add(invalid_header("wsa:MissingAddressInEPR", qname() + " holds no Address", qname()));
    bounded(out);
  };
  if (local == "From") {
    endpoint(seen.from, h.from, nullptr);
  } else if (local == "ReplyTo") {
    endpoint(seen.reply_to, h.reply_to, &h.reply_parameters);
  } else if (local == "To") {
    plain(seen.to, h.to);
  } else if (local == "MessageID") {
    plain(seen.message_id, h.message_id);
  } else if (local == "Action") {
    plain(seen.action, h.action);
  } else if (local == "RelatesTo") {  // other relations than "reply" may stand beside it and mean nothing here
    const std::string_view type = e.node.attribute("RelationshipType").value();
    if (type.empty() || type == kReply) plain(seen.relates_to, h.relates_to);
  }
}

}  // namespace

void set_from(MessageHeader& h, std::string address) {
  h.from = std::move(address);
  h.from_entity = query_value(h.from, "EntityId");
  h.from_name = percent_decoded(query_value(h.from, "EntityName"));
}

std::optional<Fault> read_header(const Element& header, MessageHeader& h, const Document* document) {
  Problems problems;
  Slots seen;
  std::size_t blocks = 0;
  for (pugi::xml_node n : header.node.children()) {
    if (++blocks > kMaxHeaderBlocks) {
      problems.add(sender_fault("More than " + std::to_string(kMaxHeaderBlocks) + " blocks in Header"));
      break;
    }
    if (n.type() != pugi::node_element) {
      problems.add(sender_fault("Malformed message: text inside Header"));
      continue;
    }
    const Scope scope(header.scope, n);
    const auto name = scope.name_of(n);
    const auto attributes = read_attributes(n, scope);
    if (!name || !attributes) {
      problems.add(sender_fault("Malformed message: " + (name ? attributes.error() : name.error()).detail));
      continue;
    }
    if (!attributes->for_us) continue;
    const Element e{n, scope, name->local};
    if (name->ns == kNsWsa) {
      read_wsa(e, name->local, h, seen, problems, document);
    } else if (name->ns == kNsWsmc && name->local == "MessagePending") {
      const std::string_view v = n.attribute("pending").value();
      h.message_pending = v == "true" || v == "1";
    } else if (attributes
                   ->must_understand) {  // wsse:Security too: mutual TLS makes it redundant, nobody checks it here
      problems.add(not_understood(*name));
    }
  }
  set_from(h, std::move(h.from));
  h.to_entity = query_value(h.to, "EntityId");
  h.transaction_id = query_value(h.message_id, "TransactionId");
  return problems.take();
}

// To may be absent: WS-Addressing 1.0 then means the receiver itself.
std::optional<Fault> require_addressing(const MessageHeader& h, bool from_optional, bool of_response) {
  if (of_response && !h.relates_to.empty()) return {};
  if (h.message_id.empty()) return header_required("wsa:MessageID");
  if (h.from.empty() && !from_optional) return header_required("wsa:From");
  if (h.action.empty()) return header_required("wsa:Action");
  return {};
}

std::string make_message_id(std::string_view entity, std::string_view uuid, std::string_view transaction_id,
                            std::string_view date) {
  std::string s = "//";
  s.append(entity).append("/urn:uuid:").append(uuid);
  char separator = '?';
  const auto add = [&](std::string_view key, std::string_view value) {
    if (value.empty()) return;
    s.append(1, std::exchange(separator, '&')).append(key).append(value);
  };
  add("TransactionId=", transaction_id);
  add("MessageDate=", date);
  return s;
}

std::string soap_content_type(std::string_view action) {
  std::string s(kSoapContentType);
  if (action.empty()) return s;
  s += "; action=\"";
  for (const char c : action) {  // an Action of ours holds none of these; a header field would break by them
    if (c == '"' || c == '\\') s += '\\';
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) s += c;
  }
  return s + "\"";
}

std::string action_of(std::string_view written) {
  const std::size_t element = written.find("<wsa:Action");
  if (element == std::string_view::npos) return {};
  const std::size_t from = written.find('>', element) + 1;
  return std::string(written.substr(from, written.find('<', from) - from));
}

std::string make_address(std::string_view url, std::string_view entity_id, std::string_view entity_name) {
  std::string s(url);
  s.append(1, url.find('?') == std::string_view::npos ? '?' : '&').append("EntityId=").append(entity_id);
  if (!entity_name.empty()) s.append("&EntityName=").append(percent_encoded(entity_name));
  return s;
}

}  // namespace kf::es
