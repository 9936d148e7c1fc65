// Wycheproof's schemas for what this project uses: ECDSA (DER and P1363), ECDH (point and SubjectPublicKeyInfo),
// AES-CMAC, AES-GCM. Cases with parameters that the product does not have (other curves, hashes, sizes) are skipped and
// said so. "acceptable" cases may go either way, as their files define it.
#include <algorithm>

#include "host/base/tlv.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"
#include "tests/vectors/runner.hpp"

namespace kf::vectors {
namespace {

struct Group {
  const Json& json;
  const std::string& schema;
  VectorEngine& engine;
};
Bytes field(const Json& j, const char* key) { return value_of(from_hex(j.at(key).get<std::string>()), key); }

Curve curve_named(const std::string& n) {
  if (n == "secp256r1") return Curve::p256;
  if (n == "brainpoolP256r1") return Curve::brainpool_p256r1;
  throw Skip("curve " + n);
}

bool verify_ecdsa(const Group& g, const Json& t, bool p1363) {
  const Json& key = g.json.contains("publicKey") ? g.json["publicKey"] : g.json.at("key");
  const Curve curve = curve_named(key.at("curve").get<std::string>());
  if (g.json.at("sha") != "SHA-256") throw Skip("hash " + g.json["sha"].get<std::string>());
  need(g.engine, curve);
  const auto q = check_point(curve, field(key, "uncompressed"));
  same_verdict_on_point(g.engine, curve, field(key, "uncompressed"), q.ok());
  if (!q) return false;
  Bytes plain = field(t, "sig");
  if (!p1363) {
    const auto s = signature_from_der(plain);
    if (!s) return false;
    plain = to_bytes(*s);
  }
  return value_of(g.engine.verify(curve, *q, sha256(field(t, "msg")), plain), "verify");
}

// The named-curve form of a SubjectPublicKeyInfo, strictly; anything else is a refusal.
std::optional<Bytes> point_of_spki(ByteView in, Curve curve) {
  const Bytes ec = hex("2A8648CE3D0201");
  const Bytes oid = hex(curve == Curve::p256 ? "2A8648CE3D030107" : "2B2403030208010107");
  const auto spki = read_tlv(in);
  if (!spki || spki->tag != 0x30 || !in.empty()) return std::nullopt;
  const auto parts = read_tlvs(spki->value);
  if (!parts || parts->size() != 2 || (*parts)[0].tag != 0x30 || (*parts)[1].tag != 0x03) return std::nullopt;
  const auto algorithm = read_tlvs((*parts)[0].value);
  if (!algorithm || algorithm->size() != 2 || (*algorithm)[0].tag != 0x06 || (*algorithm)[1].tag != 0x06)
    return std::nullopt;
  const auto equal = [](ByteView a, ByteView b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); };
  if (!equal((*algorithm)[0].value, ec) || !equal((*algorithm)[1].value, oid)) return std::nullopt;
  const ByteView bits = (*parts)[1].value;
  if (bits.empty() || bits[0] != 0) return std::nullopt;
  return to_bytes(bits.subspan(1));
}

// The scalar of a test may carry leading zeros or be short.
std::optional<Scalar> scalar_of(Bytes d) {
  while (d.size() > 32 && d[0] == 0) d.erase(d.begin());
  if (d.size() > 32) return std::nullopt;
  Scalar s{};
  std::copy(d.begin(), d.end(), s.end() - static_cast<std::ptrdiff_t>(d.size()));
  return s;
}

bool agree(const Group& g, const Json& t, bool spki) {
  const Curve curve = curve_named(g.json.at("curve").get<std::string>());
  need(g.engine, curve);
  std::optional<Bytes> encoded = field(t, "public");
  if (spki) encoded = point_of_spki(*encoded, curve);
  if (!encoded) return false;
  const auto q = check_point(curve, *encoded);
  same_verdict_on_point(g.engine, curve, *encoded, q.ok());
  const auto d = scalar_of(field(t, "private"));
  if (!q || !d) return false;
  const auto own = public_of(curve, *d);
  same_verdict_on_scalar(g.engine, curve, *d, own.ok());
  if (!own) return false;
  const auto z = g.engine.ecka(curve, *d, *own, *q);
  if (!z) return false;
  const Bytes want = field(t, "shared");
  if (!std::equal(want.begin(), want.end(), z->expose().begin(), z->expose().end())) {
    if (t.at("result") == "invalid") return false;  // another shared secret than the one that must not come out
    same("shared", z->expose(), want);
  }
  return true;
}

bool mac(const Group& g, const Json& t) {
  if (g.json.at("tagSize") != 128) throw Skip("truncated tag");
  const Bytes key = field(t, "key");
  if (key.size() != 16 && key.size() != 24 && key.size() != 32) return false;
  return equal_ct(aes_cmac(key, field(t, "msg")), field(t, "tag"));
}

bool aead(const Group& g, const Json& t) {
  if (g.json.at("keySize") != 256 || g.json.at("ivSize") != 96 || g.json.at("tagSize") != 128)
    throw Skip("sizes not used for records");
  const auto p = gcm_open(field(t, "key"), field(t, "aad"), concat(field(t, "iv"), field(t, "ct"), field(t, "tag")));
  if (!p) return false;
  const Bytes want = field(t, "msg");
  return std::equal(want.begin(), want.end(), p->expose().begin(), p->expose().end());
}
}  // namespace

bool run_wycheproof(const std::string& path, const Json& file, VectorEngine& engine, Runner& r) {
  if (!file.contains("testGroups")) return false;
  const std::string algorithm = file.value("algorithm", "");
  const std::string schema = file.value("schema", "");
  // The schema's name carries a version in newer files: ecdsa_p1363_verify_schema_v1.json.
  const auto is = [&](const char* stem) { return schema.starts_with(stem); };
  enum class Kind { ecdsa_der, ecdsa_p1363, ecdh_point, ecdh_spki, cmac, gcm };
  Kind kind{};
  if (is("ecdsa_p1363_verify_schema"))
    kind = Kind::ecdsa_p1363;
  else if (is("ecdsa_verify_schema"))
    kind = Kind::ecdsa_der;
  else if (is("ecdh_ecpoint_test_schema"))
    kind = Kind::ecdh_point;
  else if (is("ecdh_test_schema"))
    kind = Kind::ecdh_spki;
  else if (is("mac_test_schema") && algorithm == "AES-CMAC")
    kind = Kind::cmac;
  else if (is("aead_test_schema") && algorithm == "AES-GCM")
    kind = Kind::gcm;
  else
    return false;
  const std::string name = "wycheproof " + schema.substr(0, schema.find("_schema"));
  for (const Json& g : file.at("testGroups")) {
    const Group group{g, schema, engine};
    for (const Json& t : g.at("tests")) {
      const std::string id = "tcId " + t.at("tcId").dump();
      try {
        bool accepted = false;
        switch (kind) {
          case Kind::ecdsa_der:
            accepted = verify_ecdsa(group, t, false);
            break;
          case Kind::ecdsa_p1363:
            accepted = verify_ecdsa(group, t, true);
            break;
          case Kind::ecdh_point:
            accepted = agree(group, t, false);
            break;
          case Kind::ecdh_spki:
            accepted = agree(group, t, true);
            break;
          case Kind::cmac:
            accepted = mac(group, t);
            break;
          case Kind::gcm:
            accepted = aead(group, t);
            break;
        }
        const std::string result = t.at("result").get<std::string>();
        if (result == "valid" && !accepted) throw Mismatch("refused a valid case: " + t.value("comment", ""));
        if (result == "invalid" && accepted) throw Mismatch("accepted an invalid case: " + t.value("comment", ""));
        r.passed(name);
      } catch (const Skip& e) {
        r.skipped(name, e.what());
      } catch (const Mismatch& e) {
        r.failed(name, path, id, e.what());
      }
    }
  }
  return true;
}
}  // namespace kf::vectors
