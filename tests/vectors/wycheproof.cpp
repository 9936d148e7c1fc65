// Wycheproof's schemas for what this project uses: ECDSA (DER and P1363), ECDH (point and SubjectPublicKeyInfo),
// AES-CMAC, AES-GCM, AES-CBC with PKCS #5 padding, AES key wrap (RFC 3394). Cases with parameters that the product does
// not have (other curves, hashes, sizes) are skipped and said so. "acceptable" cases may go either way, as their files
// define it.
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

// The padding is this tool's: the product pads otherwise (SCP03t) and takes its CBC in whole blocks.
bool cbc_pkcs5(const Group& g, const Json& t) {
  static_cast<void>(g);
  const Bytes key = field(t, "key");
  const Bytes iv_given = field(t, "iv");
  Bytes text = field(t, "ct");
  if (key.size() != 16 && key.size() != 24 && key.size() != 32) return false;
  if (iv_given.size() != 16 || text.empty() || text.size() % 16 != 0) return false;
  Block16 iv{};
  std::copy(iv_given.begin(), iv_given.end(), iv.begin());
  aes_cbc_decrypt(key, iv, text);
  const std::size_t padding = text.back();
  if (padding == 0 || padding > 16) return false;
  const auto tail = text.end() - static_cast<std::ptrdiff_t>(padding);
  if (!std::all_of(tail, text.end(), [&](std::uint8_t b) { return b == padding; })) return false;
  text.erase(tail, text.end());
  if (text != field(t, "msg")) return false;
  text.insert(text.end(), padding, static_cast<std::uint8_t>(padding));
  aes_cbc_encrypt(key, iv, text);
  same("ct", text, field(t, "ct"));
  return true;
}

// RFC 3394, 2.2.2 with the default initial value; the product's tokens do it by themselves.
bool key_wrap(const Group& g, const Json& t) {
  static_cast<void>(g);
  const Bytes key = field(t, "key");
  const Bytes wrapped = field(t, "ct");
  if (key.size() != 16 && key.size() != 24 && key.size() != 32) return false;
  if (wrapped.size() < 24 || wrapped.size() % 8 != 0) return false;
  const std::size_t n = wrapped.size() / 8 - 1;
  Bytes a(wrapped.begin(), wrapped.begin() + 8);
  Bytes r(wrapped.begin() + 8, wrapped.end());
  const auto xor_counter = [&a](std::uint64_t counter) {
    for (std::size_t i = 8; i-- > 0; counter >>= 8U) a[i] ^= static_cast<std::uint8_t>(counter);
  };
  const auto at = [&r](std::size_t i) { return r.begin() + static_cast<std::ptrdiff_t>(8 * (i - 1)); };
  for (std::size_t j = 6; j-- > 0;) {
    for (std::size_t i = n; i > 0; --i) {
      xor_counter(n * j + i);
      Bytes block = concat(a, Bytes(at(i), at(i) + 8));
      aes_cbc_decrypt(key, Block16{}, block);  // one block: the cipher alone
      a.assign(block.begin(), block.begin() + 8);
      std::copy(block.begin() + 8, block.end(), at(i));
    }
  }
  if (a != Bytes(8, 0xA6) || r != field(t, "msg")) return false;
  for (std::size_t j = 0; j < 6; ++j) {  // and back
    for (std::size_t i = 1; i <= n; ++i) {
      const Block16 block = aes_ecb_block(key, fixed<16>(concat(a, Bytes(at(i), at(i) + 8))));
      a.assign(block.begin(), block.begin() + 8);
      std::copy(block.begin() + 8, block.end(), at(i));
      xor_counter(n * j + i);
    }
  }
  same("ct", concat(a, r), wrapped);
  return true;
}

using Judge = bool (*)(const Group&, const Json&);
// One kind of group: its type, and the stem of its file's schema. The schema's name carries a version in newer files:
// ecdsa_p1363_verify_schema_v1.json.
struct Known {
  const char *schema, *algorithm, *type;
  Judge judge;
};
constexpr std::array kKnown{
    Known{"ecdsa_verify_schema", "", "EcdsaVerify",
          [](const Group& g, const Json& t) { return verify_ecdsa(g, t, false); }},
    Known{"ecdsa_p1363_verify_schema", "", "EcdsaP1363Verify",
          [](const Group& g, const Json& t) { return verify_ecdsa(g, t, true); }},
    Known{"ecdh_ecpoint_test_schema", "", "EcdhEcpointTest",
          [](const Group& g, const Json& t) { return agree(g, t, false); }},
    Known{"ecdh_test_schema", "", "EcdhTest", [](const Group& g, const Json& t) { return agree(g, t, true); }},
    Known{"mac_test_schema", "AES-CMAC", "MacTest", mac},
    Known{"aead_test_schema", "AES-GCM", "AeadTest", aead},
    Known{"ind_cpa_test_schema", "AES-CBC-PKCS5", "IndCpaTest", cbc_pkcs5},
    Known{"keywrap_test_schema", "AES-WRAP", "KeywrapTest", key_wrap},
    Known{"keywrap_test_schema", "KW", "KeywrapTest", key_wrap},
};

// A group's type decides, within what its file may hold; files without types have groups of one kind.
const Known* known(const std::string& schema, const std::string& algorithm, const Json& group) {
  const std::string type = group.is_object() ? group.value("type", "") : "";
  for (const Known& k : kKnown) {
    if (!schema.starts_with(k.schema) || (*k.algorithm != 0 && algorithm != k.algorithm)) continue;
    if (type.empty() || type == k.type) return &k;
  }
  return nullptr;
}

void run_group(const std::string& path, const std::string& name, const Known& known, const Group& group, Runner& r) {
  for (const Json& t : group.json.at("tests")) {
    const std::string id = "tcId " + t.at("tcId").dump();
    try {
      const std::string result = t.at("result").get<std::string>();
      const bool accepted = known.judge(group, t);
      if (result == "valid" && !accepted) throw Mismatch("refused a valid case: " + t.value("comment", ""));
      if (result == "invalid" && accepted) throw Mismatch("accepted an invalid case: " + t.value("comment", ""));
      r.passed(name);
    } catch (const Skip& e) {
      r.skipped(name, e.what());
    } catch (const std::exception& e) {  // a mismatch, or a case that lacks what its schema demands
      r.failed(name, path, id, e.what());
    }
  }
}
}  // namespace

bool run_wycheproof(const std::string& path, const Json& file, VectorEngine& engine, Runner& r) {
  if (!file.contains("testGroups")) return false;
  const std::string algorithm = file.value("algorithm", "");
  const std::string schema = file.value("schema", "");
  const std::string name = "wycheproof " + schema.substr(0, schema.find("_schema"));
  for (const Json& g : file.at("testGroups")) {
    const Known* const k = known(schema, algorithm, g);
    const std::size_t cases = g.is_object() && g.contains("tests") ? g["tests"].size() : 0;
    if (k == nullptr) {
      r.unknown(path, algorithm + ", " + schema + (g.is_object() ? ", " + g.value("type", "no type") : ""), cases);
      continue;
    }
    try {
      run_group(path, name, *k, {g, schema, engine}, r);
    } catch (const std::exception& e) {  // a group that breaks its own schema
      r.unreadable(path, e.what());
    }
  }
  return true;
}
}  // namespace kf::vectors
