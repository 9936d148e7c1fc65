// encoding, x963-kdf, cmac, aes-gcm, ecka, ecdsa.
#include "host/base/tlv.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"
#include "tests/vectors/runner.hpp"

namespace kf::vectors {
namespace {

// Positive: every coding of `value` named in "out", and back. Negative: in.ber or in.dgi must be refused.
std::string encoding(Case& c) {
  if (c.in.has("ber")) {
    const Bytes in = c.in.bytes("ber");
    const auto list = read_tlvs(in);
    return list ? "" : list.error().reason;
  }
  if (c.in.has("dgi")) {
    const Bytes in = c.in.bytes("dgi");
    ByteView rest = in;
    while (!rest.empty())
      if (auto d = read_dgi(rest); !d) return d.error().reason;
    return "";
  }
  const Bytes value = c.in.bytes("value");
  for (const std::string& key : c.out.keys()) {
    if (key.size() < 6) continue;
    const Bytes id_bytes = value_of(from_hex(key.substr(4)), key.c_str());
    std::uint32_t id = 0;
    for (const std::uint8_t b : id_bytes) id = id << 8 | b;
    const Bytes want = c.out.bytes(key);
    ByteView rest = want;
    if (key.starts_with("ber_")) {
      same(key, make_tlv(id, value), want);
      const Tlv t = value_of(read_tlv(rest), "read_tlv");
      if (t.tag != id) throw Mismatch(key + ": tag read back differently");
      same(key + " read back", t.value, value);
    } else if (key.starts_with("dgi_")) {
      Bytes got;
      append_dgi(got, static_cast<std::uint16_t>(id), value);
      same(key, got, want);
      const Dgi d = value_of(read_dgi(rest), "read_dgi");
      if (d.id != id) throw Mismatch(key + ": identifier read back differently");
      same(key + " read back", d.value, value);
    }
    if (!rest.empty()) throw Mismatch(key + ": bytes left over");
  }
  return "";
}

std::string x963(Case& c) {
  c.out.expect("key_data", x963_kdf(c.in.bytes("z"), c.in.bytes("shared_info"), c.in.number("length")).expose());
  return "";
}

std::string cmac(Case& c) {
  const Bytes key = c.in.bytes("key");
  const Bytes message = c.in.bytes("message");
  c.out.expect("mac", aes_cmac(key, message));
  // Any cut of the message gives the same MAC.
  Cmac m(key);
  for (std::size_t step = 1; step <= 17; ++step) {
    for (ByteView rest = message; !rest.empty();) {
      const ByteView part = rest.first(std::min(step, rest.size()));
      m.update(part);
      rest = rest.subspan(part.size());
    }
    c.out.expect("mac", m.finish());
  }
  return "";
}

std::string gcm(Case& c) {
  const auto opened = gcm_open(c.in.bytes("key"), c.in.bytes("aad"),
                               concat(c.in.bytes("nonce"), c.in.bytes("ciphertext"), c.in.bytes("tag")));
  if (!opened) return opened.error().reason;
  c.out.expect("plaintext", opened->expose());
  return "";
}

std::string ecka_group(Case& c) {
  const Curve curve = curve_of(c.in);
  if (c.in.has("f0") && curve_by_f0(c.in.octet("f0")) != std::optional(curve))
    throw Mismatch("F0 is not that of the curve");
  need(c.engine, curve);
  const Bytes d = c.in.bytes("d");
  const auto own = public_of(curve, d);
  same_verdict_on_scalar(c.engine, curve, d, own.ok());
  if (!own) return own.error().reason;
  c.out.expect("own_public", *own);
  const auto peer = check_point(curve, c.in.bytes("q"));
  same_verdict_on_point(c.engine, curve, c.in.bytes("q"), peer.ok());
  if (!peer) {
    // Past the check, the primitive itself must refuse too.
    if (kf::ecka(curve, d, c.in.bytes("q"))) throw Mismatch("check_point refuses the point, ecka takes it");
    return peer.error().reason;
  }
  const auto z = c.engine.ecka(curve, d, *own, *peer);
  if (!z) return z.error().reason;
  c.out.expect("z", z->expose());
  return "";
}

std::string ecdsa(Case& c) {
  const Curve curve = curve_of(c.in);
  need(c.engine, curve);
  const auto q = check_point(curve, c.in.bytes("q"));
  same_verdict_on_point(c.engine, curve, c.in.bytes("q"), q.ok());
  if (!q) return q.error().reason;
  const Digest32 h = sha256(c.in.bytes("message"));
  const Bytes signature = c.in.bytes("signature");
  if (!value_of(c.engine.verify(curve, *q, h, signature), "verify")) return "bad-signature";
  if (c.in.has("d")) {
    const Bytes d = c.in.bytes("d");
    same("public key of d", value_of(public_of(curve, d), "public_of"), *q);
    const Signature made = value_of(c.engine.sign(curve, d, *q, h), "sign");
    if (c.engine.deterministic()) {
      c.out.expect("rfc6979_signature", made);
    } else {
      (void)c.out.has("rfc6979_signature");
      if (!ecdsa_verify(curve, *q, h, made)) throw Mismatch("the engine's signature does not verify");
    }
  }
  if (c.out.has("der")) {
    c.out.expect("der", value_of(signature_to_der(signature), "signature_to_der"));
    same("DER read back", value_of(signature_from_der(c.out.bytes("der")), "signature_from_der"), signature);
  }
  return "";
}
}  // namespace

void add_crypto_groups(std::map<std::string, GroupFunction>& g) {
  g["encoding"] = encoding;
  g["x963-kdf"] = x963;
  g["x963"] = x963;
  g["cmac"] = cmac;
  g["aes-gcm"] = gcm;
  g["ecka"] = ecka_group;
  g["ecdsa"] = ecdsa;
  g["ecdsa-verify"] = ecdsa;
}
}  // namespace kf::vectors
