// Reading the EIS. docs/spec/interfaces.md 2.5, 10.18: unknown children are ignored, known ones have to be right.
#include <algorithm>

#include "host/es/codec.hpp"

namespace kf::es {
namespace {

Status read_certificate(const Element& e, const Context& c, SecurityDomain::Keyset::Cert& out) {
  static constexpr Rule kRules[] = {{"Index", true}, {"CaId"}, {"Value", true}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    switch (i) {
      case 0:
        return read_text(x, out.index);
      case 1:
        return read_text(x, out.ca_id);  // hexadecimal here, a dotted OID there; nothing depends on it
      default:
        return read_hex(x, out.value);
    }
  });
}

Status read_keyset(const Element& e, const Context& c, SecurityDomain::Keyset& out) {
  static constexpr Rule kRules[] = {
      {"Version", true}, {"Type"}, {"Cntr"}, {"Certificate", false, true}, {"Key", false, true}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    switch (i) {
      case 0:
        return read_text(x, out.version);
      case 1:
        return read_text(x, out.type);
      case 2:
        return read_text(x, out.cntr);
      case 3: {
        SecurityDomain::Keyset::Cert cert;
        KF_CHECK(read_certificate(x, c, cert));
        out.certificates.push_back(cert.value);
        out.certs.push_back(std::move(cert));
        return {};
      }
      default:
        return {};  // keys of the SM-SR are not for us
    }
  });
}

Status read_security_domain(const Element& e, const Context& c, SecurityDomain& out) {
  static constexpr Rule kRules[] = {{"Aid", true}, {"Tar", false, true},   {"Sin"}, {"Sdin"},
                                    {"Role"},      {"Keyset", false, true}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    switch (i) {
      case 0:
        return read_aid(x, out.aid);
      case 1:
        return read_hex_text(x, out.tars.emplace_back(), 3, 3);
      case 2:
        return read_hex_text(x, out.sin, 0, 16);
      case 3:
        return read_hex_text(x, out.sdin, 0, 16);
      case 4:
        return read_text(x, out.role);
      default:
        return read_keyset(x, c, out.keysets.emplace_back());
    }
  });
}

Status read_capabilities(const Element& e, const Context& c, Eis& out) {
  static constexpr Rule kRules[] = {{"CattpSupport", true},        {"CattpVersion"},
                                    {"HttpSupport", true},         {"HttpVersion"},
                                    {"SecurePacketVersion", true}, {"RemoteProvisioningVersion", true}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    switch (i) {
      case 0:
        return read_bool(x, out.cattp_support);
      case 1:
        return read_text(x, out.cattp_version);
      case 2:
        return read_bool(x, out.http_support);
      case 3:
        return read_text(x, out.http_version);
      case 4:
        return read_text(x, out.secure_packet_version);
      default:
        return read_text(x, out.remote_provisioning_version);
    }
  });
}

Status read_signed_info(const Element& e, const Context& c, Eis& out) {
  static constexpr Rule kRules[] = {{"Eid", true},
                                    {"Eum-id", true},
                                    {"ProductionDate", true},
                                    {"PlatformType", true},
                                    {"PlatformVersion", true},
                                    {"Isd-p-loadfile-aid", true},
                                    {"Isd-p-module-aid", true},
                                    {"Ecasd", true},
                                    {"EuiccCapabilities", true}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    switch (i) {
      case 0:
        return read_eid(x, out.eid);
      case 1:
        return read_oid(x, out.eum_id);
      case 2:
        return read_date_time(x, out.production_date);
      case 3:
        return read_text(x, out.platform_type);
      case 4:
        return read_text(x, out.platform_version);
      case 5:
        return read_aid(x, out.isdp_loadfile_aid);
      case 6:
        return read_aid(x, out.isdp_module_aid);
      case 7:
        return read_security_domain(x, c, out.ecasd);
      default:
        return read_capabilities(x, c, out);
    }
  });
}

// Most entries are other people's profiles, and none of them is ours to judge: what does not read well is left out and
// named among the elements that were ignored.
Status read_profile(const Element& e, const Context& c, ProfileInfo& out) {
  static constexpr Rule kRules[] = {{"Iccid", true},         {"Isd-p-aid"},  {"Mno-id"},  {"FallbackAttribute"},
                                    {"SubscriptionAddress"}, {"State"},      {"Smdp-id"}, {"ProfileType"},
                                    {"AllocatedMemory"},     {"FreeMemory"}, {"pol2"}};
  const auto whole = [](auto& field, auto reader) -> Status {  // nothing half read stays behind
    std::remove_reference_t<decltype(field)> v{};
    KF_CHECK(reader(v));
    field = std::move(v);
    return {};
  };
  const auto read = [&](std::size_t i, const Element& x) -> Status {
    if (i >= 6 && i <= 9 && x.blank()) return {};
    switch (i) {
      case 0:
        return read_text(x, out.iccid);
      case 1:
        return read_aid(x, out.isd_p_aid);
      case 2:
        return whole(out.mno_id, [&](std::string& v) { return read_oid(x, v); });
      case 3:
        return read_bool(x, out.fallback);
      case 4:
        return whole(out.subscription, [&](SubscriptionAddress& v) { return read_subscription(x, c, v); });
      case 5:
        return read_text(x, out.state);
      case 6:
        return whole(out.smdp_id, [&](std::string& v) { return read_oid(x, v); });
      case 7:
        return read_text(x, out.profile_type);
      case 8:
        return whole(out.allocated_memory, [&](std::uint64_t& v) { return read_uint(x, v); });
      case 9:
        return whole(out.free_memory, [&](std::optional<std::uint64_t>& v) { return read_uint(x, v.emplace()); });
      default:
        return whole(out.pol2, [&](std::optional<Pol2>& v) { return read_pol2(x, c, false, v); });
    }
  };
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    const Status s = read(i, x);
    if (s || s.error().reason != "schema") return s;
    c.ignored(Name{c.ns, x.name});
    return {};
  });
}

// --- EumSignature ---

// Nobody could read the signature once it is relayed, below declarations of ours.
Error too_many_namespaces() { return Error{"bad-xml", "too many namespaces in EumSignature"}; }

constexpr std::size_t kSignatureNamespaces = kMaxNamespaces - 16;  // leaves room for the declarations of our envelope
constexpr std::size_t kSignatureAdded = 16 << 10;                  // octets of declarations that keep_signature() adds

// Prefixes that `top` or something below it uses and that are bound outside of `top`. One walk without recursion; what
// is declared on the way down is kept in a stack, so that a use costs at most kSignatureNamespaces comparisons.
class InheritedPrefixes {
 public:
  explicit InheritedPrefixes(pugi::xml_node top) : top_(top) {}

  Result<std::vector<std::string_view>> find() {
    for (pugi::xml_node n = top_; n;) {
      KF_CHECK(enter(n));
      pugi::xml_node next = n.first_child();
      while (!next) {
        leave(n);
        if (n == top_) break;
        next = n.next_sibling();
        if (!next) n = n.parent();
      }
      n = next;
    }
    return std::move(inherited_);
  }

 private:
  Status enter(pugi::xml_node n) {
    if (n.type() != pugi::node_element) return {};
    std::string_view prefix;
    for (const pugi::xml_attribute a : n.attributes()) {
      if (is_binding(a.name(), prefix)) declared_.push_back({n, prefix});
    }
    KF_CHECK(use(split_qname(n.name()).first));
    for (const pugi::xml_attribute a : n.attributes()) {
      prefix = split_qname(a.name()).first;
      if (!prefix.empty() && prefix != "xmlns") KF_CHECK(use(prefix));
    }
    return {};
  }
  void leave(pugi::xml_node n) {
    while (!declared_.empty() && declared_.back().by == n) declared_.pop_back();
  }
  Status use(std::string_view prefix) {
    if (declared_.size() + inherited_.size() > kSignatureNamespaces) return too_many_namespaces();
    count_namespace_steps(declared_.size() + inherited_.size());
    if (prefix == "xml" || std::find(inherited_.begin(), inherited_.end(), prefix) != inherited_.end()) return {};
    const auto same = [&](const Declared& d) { return d.prefix == prefix; };
    if (std::none_of(declared_.begin(), declared_.end(), same)) inherited_.push_back(prefix);
    return {};
  }

  struct Declared {
    pugi::xml_node by;
    std::string_view prefix;
  };
  pugi::xml_node top_;
  std::vector<Declared> declared_;
  std::vector<std::string_view> inherited_;
};

// The octets as received. What the EUM signed survives: exclusive canonical form does not see added declarations.
Status keep_signature(const Element& e, const Context& c, std::string& out) {
  const std::string_view raw = c.document.raw_content(e.node);
  out.reserve(raw.size() + 128);
  const char* done = raw.data();
  std::size_t added = 0;
  const auto copy_to = [&](const char* p) {
    out.append(done, static_cast<std::size_t>(p - done));
    done = p;
  };
  for (pugi::xml_node n : e.node.children()) {
    if (n.type() != pugi::node_element) continue;
    copy_to(c.document.raw_name(n) + std::char_traits<char>::length(n.name()));
    KF_TRY(const auto inherited, InheritedPrefixes(n).find());
    const auto attributes = std::distance(n.attributes_begin(), n.attributes_end());
    if (inherited.size() + static_cast<std::size_t>(attributes) > kMaxAttributes) return too_many_namespaces();
    for (const std::string_view prefix : inherited) {
      const std::string_view uri = e.scope.uri(prefix);
      if (uri.data() == nullptr) return Error{"bad-xml", "namespace prefix " + clip(prefix) + " is not bound"};
      if (uri.empty()) continue;  // no default namespace
      out += prefix.empty() ? " xmlns" : " xmlns:";
      out += prefix;
      out += "=\"";
      append_escaped(out, uri);
      out += '"';
      // Each child gets its own copy of a name that was written once: many children and a long name are a bomb.
      added += prefix.size() + uri.size() + 10;
      if (added > kSignatureAdded) return too_many_namespaces();
    }
  }
  copy_to(raw.data() + raw.size());
  const std::size_t from = out.find_first_not_of(" \t\r\n");
  out.erase(0, std::min(from, out.size()));
  out.erase(out.find_last_not_of(" \t\r\n") + 1);
  return {};
}

// KeyInfo/X509Data/X509Certificate, below EumSignature or below a ds:Signature in it. The first one counts.
Status find_certificate(const Element& e, std::size_t level, std::optional<Bytes>& out) {
  static constexpr std::string_view kPath[] = {"KeyInfo", "X509Data", "X509Certificate"};
  if (level == std::size(kPath)) {
    std::string scratch;
    const auto t = e.text(scratch);
    auto b = t ? from_base64(*t) : Result<Bytes>(t.error());
    out = b ? std::move(b).value() : Bytes{};  // empty: there, but not readable
    return {};
  }
  for (pugi::xml_node n : e.node.children()) {
    if (n.type() != pugi::node_element || out) continue;
    const Scope scope(e.scope, n);
    KF_TRY(const Name name, scope.name_of(n));
    if (name.ns != kNsDs) continue;
    const Element x{n, scope, name.local};
    if (name.local == kPath[level]) {
      KF_CHECK(find_certificate(x, level + 1, out));
    } else if (level == 0 && name.local == "Signature" && e.name == "EumSignature") {
      KF_CHECK(find_certificate(x, 0, out));
    }
  }
  return {};
}

}  // namespace

Status read_eis(const Element& e, const Context& c, Eis& out) {
  // EumCertificateId is of v1; AuditTrail and AdditionalProperties carry nothing a download needs. Isd-r is the SM-SR's
  // business, and not every SM-SR shows it.
  static constexpr Rule kRules[] = {{"EumSignedInfo", true},
                                    {"EumSignature", true},
                                    {"RemainingMemory", true},
                                    {"AvailableMemoryForProfiles", true},
                                    {"LastAuditDate"},
                                    {"Smsr-id", true},
                                    {"EumCertificateId"},
                                    {"ProfileInfo", false, true},
                                    {"Isd-r"},
                                    {"AuditTrail"},
                                    {"AdditionalProperties"}};
  return read_children(e, c, kRules, [&](std::size_t i, const Element& x) -> Status {
    switch (i) {
      case 0:
        return read_signed_info(x, c, out);
      case 1:
        KF_CHECK(keep_signature(x, c, out.eum_signature_xml));
        return find_certificate(x, 0, out.eum_certificate);
      case 2:
        return read_uint(x, out.remaining_memory);
      case 3:
        return read_uint(x, out.available_memory);
      case 4:
        return read_date_time(x, out.last_audit_date);
      case 5:
        return read_oid(x, out.smsr_id);
      case 7:
        return read_profile(x, c, out.profiles.emplace_back());
      case 8:
        return read_security_domain(x, c, out.isd_r);
      default:
        return {};
    }
  });
}

}  // namespace kf::es
