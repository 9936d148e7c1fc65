// gp-cert, chain.
#include <algorithm>

#include "host/pki/chain.hpp"
#include "tests/vectors/runner.hpp"

namespace kf::vectors {
namespace {
Date date_of(const Fields& f, const std::string& key) { return value_of(parse_date(f.text(key)), key.c_str()); }

std::optional<Eid> eid_of(const Fields& f) {
  if (!f.has("eid")) return std::nullopt;
  // Vector EIDs are random digits; their check digits are nobody's business here.
  return Eid::trusted(f.text("eid"));
}

std::string gp_cert(Case& c) {
  const auto cert = parse_gp_certificate(c.in.bytes("cert"));
  if (!cert) return cert.error().reason;
  const std::string role = c.in.text("role");
  if (role != "dp" && role != "ecasd") throw Mismatch("unknown role " + role);
  const Curve issuer_curve = curve_of(c.in, "issuer_curve");
  const auto issuer_q = check_point(issuer_curve, c.in.bytes("issuer_q"));
  if (!issuer_q) return issuer_q.error().reason;
  const GpIssuer issuer{issuer_curve, *issuer_q, c.in.bytes("issuer_ski")};
  const auto s = verify_gp_certificate(*cert, role == "dp" ? GpRole::dp : GpRole::ecasd, issuer, date_of(c.in, "today"),
                                       eid_of(c.in));
  if (!s) return s.error().reason;
  c.out.expect("tbs", cert->tbs);
  c.out.expect("serial", cert->serial);
  c.out.expect("ca_id", cert->ca_id);
  c.out.expect("subject", cert->subject);
  c.out.expect("key_usage", cert->key_usage);
  c.out.expect_text("effective", cert->effective ? to_string(*cert->effective) : "null");
  c.out.expect_text("expiry", to_string(cert->expiry));
  c.out.expect_text("cin", cert->cin ? to_hex(*cert->cin) : "null");
  c.out.expect_text("type", cert->type ? std::to_string(*cert->type) : "null");
  c.out.expect_text("aki", cert->aki ? to_hex(*cert->aki) : "null");
  c.out.expect_text("curve", std::string(curve_name(cert->curve)));
  c.out.expect("q", cert->q);
  c.out.expect("signature", cert->signature);
  return "";
}

std::string chain(Case& c) {
  const auto eum = parse_x509(c.in.bytes("cert_eum_der"));
  if (!eum) return eum.error().reason;
  const auto ci = parse_x509(c.in.bytes("cert_ci_der"));
  if (!ci) return ci.error().reason;
  std::vector<X509Info> roots;
  const std::vector<Bytes> trusted = c.in.list("trusted_ci_ski");
  if (std::find(trusted.begin(), trusted.end(), ci->ski) != trusted.end()) roots.push_back(*ci);
  const auto cert = verify_ecasd_chain(c.in.bytes("cert_ecasd"), *eum, roots, date_of(c.in, "today"), *eid_of(c.in));
  if (!cert) return cert.error().reason;
  c.out.expect("pk_ecasd", cert->q);
  return "";
}
}  // namespace

void add_pki_groups(std::map<std::string, GroupFunction>& g) {
  g["gp-cert"] = gp_cert;
  g["chain"] = chain;
}
}  // namespace kf::vectors
