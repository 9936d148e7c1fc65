// Kinds of public-crosscheck.json that are not groups elsewhere: ecka-x963, scp03-apdu, scp03-apdu-level33.
#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"
#include "host/es8/scp03t.hpp"
#include "tests/vectors/runner.hpp"

namespace kf::vectors {
namespace {
using namespace kf::es8;

std::string ecka_x963(Case& c) {
  const Curve curve = curve_of(c.in);
  need(c.engine, curve);
  const Bytes d = c.in.bytes("d");
  const auto own = public_of(curve, d);
  if (!own) return own.error().reason;
  const auto peer = check_point(curve, c.in.bytes("q"));
  if (!peer) return peer.error().reason;
  const auto z = c.engine.ecka(curve, d, *own, *peer);
  if (!z) return z.error().reason;
  c.out.expect("key_data", x963_kdf(z->expose(), c.in.bytes("shared_info"), c.in.number("length")).expose());
  return "";
}

// SCP03 in its APDU form, opened up to EXTERNAL AUTHENTICATE.
struct ApduSession {
  SessionKeys keys;
  Challenge hc{}, cc{};
  Bytes authenticate;
  Block16 mcv{};
};
ApduSession open_session(const Fields& in) {
  const KeySet k{SecretBytes(in.bytes("key_enc")), SecretBytes(in.bytes("key_mac")), {}, 0x30};
  ApduSession s;
  s.hc = fixed<8>(in.bytes("host_challenge"));
  s.cc = fixed<8>(in.bytes("card_challenge"));
  // The published cards derive their challenge from the counter and the AID of the ISD-R.
  same("card challenge", card_challenge(k, fixed<3>(in.bytes("sequence_counter")), isd_r_aid()), s.cc);
  s.keys = session_keys(k, s.hc, s.cc);
  s.authenticate = {0x84, 0x82, in.octet("security_level"), 0x00, 0x10};
  append(s.authenticate, host_cryptogram(s.keys, s.hc, s.cc));
  s.mcv = aes_cmac(s.keys.s_mac.expose(), concat(Block16{}, s.authenticate));
  append(s.authenticate, ByteView(s.mcv).first(8));
  return s;
}

std::string scp03_apdu(Case& c) {
  const ApduSession s = open_session(c.in);
  c.out.expect("card_cryptogram", card_cryptogram(s.keys, s.hc, s.cc));
  c.out.expect("host_cryptogram", host_cryptogram(s.keys, s.hc, s.cc));
  c.out.expect("external_authenticate_apdu", s.authenticate);
  return "";
}

// The case this one continues is named in its comment ("continues scp03-trace-2: ...").
const Json& continued(const Case& c) {
  const std::string comment = c.json.value("comment", "");
  for (const Json& other : c.file.at("cases"))
    if (comment.starts_with("continues " + other.value("id", "") + ":")) return other;
  throw Mismatch("the comment does not say which case this one continues");
}

std::string scp03_apdu_level33(Case& c) {
  const Fields before(continued(c).at("in"), "in");
  ApduSession s = open_session(before);
  const Bytes plain = c.in.bytes("plain_apdu");
  const ByteView body = ByteView(plain).subspan(5, plain.at(4));
  Bytes data = to_bytes(body);
  data.push_back(0x80);
  data.resize((data.size() + 15) / 16 * 16);
  Block16 counter{};
  counter[15] = 1;
  aes_cbc_encrypt(s.keys.s_enc.expose(), aes_ecb_block(s.keys.s_enc.expose(), counter), data);
  Bytes wrapped{0x84, plain[1], plain[2], plain[3], static_cast<std::uint8_t>(data.size() + 8)};
  append(wrapped, data);
  s.mcv = aes_cmac(s.keys.s_mac.expose(), concat(s.mcv, wrapped));
  append(wrapped, ByteView(s.mcv).first(8));
  append(wrapped, ByteView(plain).subspan(5 + body.size()));  // Le
  c.out.expect("wrapped_apdu", wrapped);

  const Bytes response = c.out.bytes("protected_response");
  const ByteView cipher = ByteView(response).first(response.size() - 8);
  const Block16 r_mac = aes_cmac(s.keys.s_rmac.expose(), concat(s.mcv, cipher, c.in.bytes("sw")));
  same("R-MAC", ByteView(r_mac).first(8), ByteView(response).last(8));
  counter[0] = 0x80;
  Bytes opened = to_bytes(cipher);
  aes_cbc_decrypt(s.keys.s_enc.expose(), aes_ecb_block(s.keys.s_enc.expose(), counter), opened);
  while (!opened.empty() && opened.back() == 0) opened.pop_back();
  if (opened.empty() || opened.back() != 0x80) throw Mismatch("padding of the response");
  opened.pop_back();
  c.out.expect("plain_response", opened);
  return "";
}
}  // namespace

void add_public_groups(std::map<std::string, GroupFunction>& g) {
  g["ecka-x963"] = ecka_x963;
  g["scp03-apdu"] = scp03_apdu;
  g["scp03-apdu-level33"] = scp03_apdu_level33;
}
}  // namespace kf::vectors
