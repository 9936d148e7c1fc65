// A minimal SM-DP for the card's tests: keys, CERT.DP.ECDSA, STORE DATA, SCP03t, C-APDUs. Not the product's code: the
// room under test must not be checked by what it is later used to check. Correctness is anchored in the vector tests.
#pragma once

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>

#include <cstdlib>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "host/base/random.hpp"
#include "tests/sim/card/establishment_card.hpp"
#include "tests/sim/card/euicc.hpp"
#include "tests/sim/card/interpreter.hpp"
#include "tests/sim/card/walker.hpp"

namespace kf::sim::test {

using card::Block;
using card::put_length;
using card::put_tlv;

inline std::string shared_path(const std::string& below) { return std::string(KF_SOURCE_DIR) + "/../shared/" + below; }
inline std::optional<Bytes> read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  if (!f) return std::nullopt;
  return Bytes(std::istreambuf_iterator<char>(f), std::istreambuf_iterator<char>());
}

// --- TLVs with tags of any size
// ---------------------------------------------------------------------------------------
inline Bytes tlv(std::uint32_t tag, ByteView v) {
  Bytes out;
  if (tag > 0xFF) out.push_back(static_cast<std::uint8_t>(tag >> 8));
  out.push_back(static_cast<std::uint8_t>(tag & 0xFF));
  put_length(out, v.size());
  append(out, v);
  return out;
}
// Joins what is computed from left to right (a braced list is, the arguments of a function are not).
inline Bytes in_order(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& p : parts) append(out, p);
  return out;
}
inline Bytes dgi(std::uint16_t id, ByteView v) {
  Bytes out{static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id & 0xFF)};
  if (v.size() < 255) {
    out.push_back(static_cast<std::uint8_t>(v.size()));
  } else {
    append(out, {0xFF, static_cast<std::uint8_t>(v.size() >> 8), static_cast<std::uint8_t>(v.size() & 0xFF)});
  }
  append(out, v);
  return out;
}

// --- Keys and signatures
// ----------------------------------------------------------------------------------------------
struct KeyPair {
  CardCurve curve = CardCurve::p256;
  Bytes d, q;
};
struct Group {
  explicit Group(CardCurve c)
      : g(EC_GROUP_new_by_curve_name(c == CardCurve::p256 ? NID_X9_62_prime256v1 : NID_brainpoolP256r1)),
        n(EC_GROUP_get0_order(g)) {}
  ~Group() { EC_GROUP_free(g); }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  EC_GROUP* g;
  const BIGNUM* n;
};
inline Bytes public_of(CardCurve c, ByteView d) {
  const Group grp(c);
  BIGNUM* k = BN_bin2bn(d.data(), static_cast<int>(d.size()), nullptr);
  EC_POINT* p = EC_POINT_new(grp.g);
  Bytes out(65);
  if (EC_POINT_mul(grp.g, p, k, nullptr, nullptr, nullptr) != 1 ||
      EC_POINT_point2oct(grp.g, p, POINT_CONVERSION_UNCOMPRESSED, out.data(), out.size(), nullptr) != 65)
    std::abort();
  EC_POINT_free(p);
  BN_free(k);
  return out;
}
inline KeyPair make_key(CardCurve c) {
  KeyPair k{c, random_bytes(32), {}};
  k.d[0] &= 0x7F;  // below both orders
  k.q = public_of(c, k.d);
  return k;
}
inline Bytes sign(const KeyPair& key, ByteView message) {
  const Group grp(key.curve);
  BN_CTX* ctx = BN_CTX_new();
  const KeyPair nonce = make_key(key.curve);
  const auto h = card::sha256({message});
  BIGNUM* e = BN_bin2bn(h.data(), 32, nullptr);
  BIGNUM* d = BN_bin2bn(key.d.data(), 32, nullptr);
  BIGNUM* k = BN_bin2bn(nonce.d.data(), 32, nullptr);
  BIGNUM* r = BN_bin2bn(nonce.q.data() + 1, 32, nullptr);
  BIGNUM* s = BN_new();
  Bytes out(64);
  if (BN_nnmod(r, r, grp.n, ctx) != 1 || BN_mod_mul(s, r, d, grp.n, ctx) != 1 || BN_mod_add(s, s, e, grp.n, ctx) != 1 ||
      BN_mod_inverse(k, k, grp.n, ctx) == nullptr || BN_mod_mul(s, s, k, grp.n, ctx) != 1 ||
      BN_bn2binpad(r, out.data(), 32) != 32 || BN_bn2binpad(s, out.data() + 32, 32) != 32)
    std::abort();
  for (BIGNUM* b : {e, d, k, r, s}) BN_free(b);
  BN_CTX_free(ctx);
  return out;
}

// --- Certificates
// -----------------------------------------------------------------------------------------------------
struct CertParts {  // inner TLVs of a CERT.DP.ECDSA, each replaceable
  Bytes serial = hex("930401020304"), issuer = hex("4203883701"), subject = hex("5F2003883702"), usage = hex("950188"),
        effective = hex("5F250420240131"), expiry = hex("5F240420320229"), cin = {}, discretionary, key;
};
inline CertParts cert_parts(const KeyPair& dp, ByteView ci_ski) {
  CertParts p;
  p.discretionary = tlv(0x73, concat(hex("C80101"), tlv(0xC9, ci_ski)));
  const Bytes code{static_cast<std::uint8_t>(dp.curve == CardCurve::p256 ? 0x00 : 0x03)};
  p.key = tlv(0x7F49, concat(tlv(0xB0, dp.q), tlv(0xF0, code)));
  return p;
}
inline Bytes make_cert(const CertParts& p, const KeyPair& ci) {
  Bytes body = concat(p.serial, p.issuer, p.subject, p.usage, p.effective, p.expiry, p.cin, p.discretionary, p.key);
  append(body, tlv(0x5F37, sign(ci, body)));
  return tlv(0x7F21, body);
}

// --- C-APDUs and scripts
// ----------------------------------------------------------------------------------------------
inline Bytes apdu(std::initializer_list<std::uint8_t> head, ByteView data, bool le = true) {
  Bytes out(head);
  out.push_back(static_cast<std::uint8_t>(data.size()));
  append(out, data);
  if (le) out.push_back(0x00);
  return out;
}
inline Bytes lv(ByteView v) {
  Bytes out{static_cast<std::uint8_t>(v.size())};
  append(out, v);
  return out;
}
inline const Bytes& isdp_aid(unsigned n = 0) {
  static const Bytes a[] = {hex("A0000005591010FFFFFFFF8900001300"), hex("A0000005591010FFFFFFFF8900001400"),
                            hex("A0000005591010FFFFFFFF8900001500")};
  return a[n];
}
inline Bytes install_apdu(ByteView aid, std::optional<std::uint32_t> memory = 65536) {
  Bytes params = hex("C90481020370");
  if (memory) {
    const std::uint32_t m = *memory;
    append(params,
           {0xEF, 0x06, 0x83, 0x04, static_cast<std::uint8_t>(m >> 24), static_cast<std::uint8_t>(m >> 16 & 0xFF),
            static_cast<std::uint8_t>(m >> 8 & 0xFF), static_cast<std::uint8_t>(m & 0xFF)});
  }
  return apdu({0x80, 0xE6, 0x0C, 0x00},
              concat(lv(hex("A0000005591010FFFFFFFF8900000D00")), lv(hex("A0000005591010FFFFFFFF8900000E00")), lv(aid),
                     hex("0380C000"), lv(params), hex("00")));
}
inline Bytes perso_apdu(ByteView aid) {
  return apdu({0x80, 0xE6, 0x20, 0x00}, concat(hex("0000"), lv(aid), hex("000000")), false);
}
inline Bytes platform_apdu(std::uint16_t what, ByteView aid) {
  return apdu({0x80, 0xE2, 0x88, 0x00}, dgi(what, tlv(0x4F, aid)), false);
}
inline Bytes enable_apdu(ByteView aid) { return platform_apdu(0x3A03, aid); }
inline Bytes disable_apdu(ByteView aid) { return platform_apdu(0x3A04, aid); }
inline Bytes delete_apdu(ByteView aid) { return apdu({0x80, 0xE4, 0x00, 0x40}, tlv(0x4F, aid)); }
inline Bytes confirm_apdu(std::uint16_t seq) {
  const Bytes s{static_cast<std::uint8_t>(seq >> 8), static_cast<std::uint8_t>(seq & 0xFF)};
  return apdu({0x80, 0xE2, 0x89, 0x00}, dgi(0x3A08, tlv(0x4E, s)));
}
inline Bytes cmd(ByteView a) { return tlv(0x22, a); }
inline Bytes script(ByteView list, int chain = -1) {
  Bytes out{0xAE, 0x80};
  if (chain >= 0) append(out, {0x83, 0x01, static_cast<std::uint8_t>(chain)});
  append(out, list);
  append(out, {0x00, 0x00});
  return out;
}
// Without AF 80 ... 00 00.
inline std::string answers(const ScriptResult& r) {
  const std::string h = to_hex(r.body);
  EXPECT_GE(h.size(), 8U);
  EXPECT_EQ(h.substr(0, 4), "AF80");
  EXPECT_EQ(h.substr(h.size() - 4), "0000");
  return h.substr(4, h.size() - 8);
}
// One C-APDU to the ISD-R in a script of its own; the R-APDU as hex.
inline std::string send(Euicc& c, ByteView a, int chain = -1) {
  const ScriptResult r = c.process_script(script(cmd(a), chain), {});
  EXPECT_EQ(r.script_status, "ok");
  const std::string h = answers(r);
  EXPECT_EQ(h.substr(0, 2), "23");
  ByteView value;
  const Bytes all = hex(h);
  EXPECT_TRUE(card::single_tlv(all, 0x23, value));
  return to_hex(value);
}

// --- SCP03t, host side
// ------------------------------------------------------------------------------------------------
struct HostKeys {
  Bytes enc, mac;
  std::uint8_t kvn = 0x30;
};
struct HostSession {
  Bytes s_enc, s_mac, s_rmac, context;
  Block mcv{};
  std::uint64_t counter = 0;
  Bytes hc;

  static Bytes take(SecretBytes s) { return to_bytes(s.expose()); }
  HostSession(const HostKeys& k, ByteView aid, std::uint32_t sequence, ByteView challenge) : hc(to_bytes(challenge)) {
    const Bytes seq{static_cast<std::uint8_t>(sequence >> 16), static_cast<std::uint8_t>(sequence >> 8 & 0xFF),
                    static_cast<std::uint8_t>(sequence & 0xFF)};
    context = concat(hc, take(card::scp03_kdf(k.enc, 0x02, concat(seq, aid), 64)));
    const unsigned bits = static_cast<unsigned>(k.enc.size() * 8);
    s_enc = take(card::scp03_kdf(k.enc, 0x04, context, bits));
    s_mac = take(card::scp03_kdf(k.mac, 0x06, context, bits));
    s_rmac = take(card::scp03_kdf(k.mac, 0x07, context, bits));
  }
  [[nodiscard]] static Bytes init(ByteView challenge, std::uint8_t kvn = 0x30, std::uint8_t kid = 0x00) {
    return tlv(0x84, concat(Bytes{kvn, kid}, challenge));
  }
  // `spoil`: a wrong host cryptogram under a right MAC.
  Bytes auth(std::uint8_t level = 0x33, bool spoil = false) {
    Bytes v{level};
    append(v, card::scp03_kdf(s_mac, 0x01, context, 64).expose());
    if (spoil) v[8] ^= 0x01;
    mcv = card::cmac(s_mac, {Block{}, hex("8511"), v});
    append(v, ByteView(mcv).first(8));
    return tlv(0x85, v);
  }
  [[nodiscard]] Block icv(std::uint8_t first) const {
    Block b{};
    b[0] = first;
    b[14] = static_cast<std::uint8_t>(counter >> 8);
    b[15] = static_cast<std::uint8_t>(counter & 0xFF);
    return card::aes_block(s_enc, b);
  }
  // `pad` false: the caller's plaintext is sent as it is (a multiple of 16).
  Bytes segment(ByteView plain, bool pad = true) {
    ++counter;
    Bytes p = to_bytes(plain);
    if (pad) {
      p.push_back(0x80);
      while (p.size() % 16 != 0) p.push_back(0x00);
    }
    const Bytes c = card::cbc_encrypt(s_enc, icv(0x00), p);
    Bytes out{0x86};
    put_length(out, c.size() + 8);
    mcv = card::cmac(s_mac, {mcv, out, c});
    append(out, c);
    append(out, ByteView(mcv).first(8));
    return out;
  }
  // The plaintext of a protected answer to the last segment; empty when the R-MAC is wrong.
  [[nodiscard]] Bytes open(ByteView answer) const {
    ByteView v;
    if (!card::single_tlv(answer, 0x86, v) || v.size() < 8) return {};
    Bytes head{0x86};
    put_length(head, v.size());
    const Block m = card::cmac(s_rmac, {mcv, head, v.first(v.size() - 8)});
    if (to_hex(ByteView(m).first(8)) != to_hex(v.subspan(v.size() - 8)) || v.size() == 8) return {};
    Bytes p = card::cbc_decrypt(s_enc, icv(0x80), v.first(v.size() - 8));
    while (!p.empty() && p.back() == 0) p.pop_back();
    if (!p.empty()) p.pop_back();
    return p;
  }
  [[nodiscard]] std::vector<Bytes> package(ByteView der, std::size_t size = 1007) {
    std::vector<Bytes> out;
    for (std::size_t at = 0; at < der.size(); at += size)
      out.push_back(segment(der.subspan(at, std::min(size, der.size() - at))));
    return out;
  }
};

// --- A card, its CI and an SM-DP
// --------------------------------------------------------------------------------------
struct World {
  KeyPair ci, dp, ecasd;
  Bytes ski = random_bytes(20);
  std::unique_ptr<Euicc> card;
  Bytes drawn;  // every random byte the card drew, in order

  explicit World(EuiccFaults faults = {}, CardCurve curve = CardCurve::p256,
                 std::function<void(EuiccIdentity&)> tweak = {})
      : ci(make_key(curve)), dp(make_key(curve)), ecasd(make_key(curve)) {
    EuiccIdentity id;
    id.eid = "89001012012341234098765432100191";
    id.curve = curve;
    id.sk_ecasd = ecasd.d;
    id.pk_ci = ci.q;
    id.ci_ski = ski;
    if (tweak) tweak(id);
    card = std::make_unique<Euicc>(id, faults, [this](std::span<std::uint8_t> out) {
      random_fill(out);
      append(drawn, out);
    });
  }
  [[nodiscard]] Bytes cert() const { return make_cert(cert_parts(dp, ski), ci); }
  [[nodiscard]] static Bytes cert_apdu(ByteView cert) { return apdu({0x80, 0xE2, 0x09, 0x00}, dgi(0x3A01, cert)); }

  static Bytes default_crt() { return hex("A6159002030B9501108001888101108201018301309100"); }
  // STORE DATA #2 for an ephemeral key; `key_content` overrides 7F49.
  [[nodiscard]] Bytes key_data(const KeyPair& ephemeral, ByteView rc, ByteView crt,
                               const Bytes& key_content = {}) const {
    Bytes signed_part =
        concat(dgi(0x3A02, crt), dgi(0x7F49, key_content.empty() ? ByteView(ephemeral.q) : ByteView(key_content)));
    const Bytes signature = sign(dp, concat(signed_part, dgi(0x0085, rc)));
    append(signed_part, dgi(0x5F37, signature));
    return signed_part;
  }
  [[nodiscard]] static Bytes key_apdu(ByteView data) { return apdu({0x80, 0xE2, 0x89, 0x01}, data); }

  // INSTALL [for install]; expects success.
  void create(ByteView aid = isdp_aid(), std::optional<std::uint32_t> memory = 65536) {
    ASSERT_EQ(send(*card, install_apdu(aid, memory)), "009000");
  }
  // INSTALL [for personalization] and the certificate, chained; gives RC.
  Bytes begin(ByteView aid = isdp_aid()) {
    const auto r = card->process_script(script(concat(cmd(perso_apdu(aid)), cmd(cert_apdu(cert()))), 0x11), {});
    const std::string a = answers(r);
    EXPECT_EQ(a.substr(0, 10), "2303009000") << a;
    return a.size() > 18 ? hex(a.substr(18, a.size() - 22)) : Bytes();
  }
  HostKeys derive(const KeyPair& ephemeral, std::size_t l, std::uint8_t usage, ByteView dr, ByteView tail = {}) const {
    const auto z = card::ecka(ci.curve, ephemeral.d, ecasd.q);
    Bytes si{usage, 0x88, static_cast<std::uint8_t>(l)};
    append(si, dr);
    append(si, tail);
    const SecretBytes k = card::x963(z->expose(), si, usage == 0x5C ? 2 * l : 4 * l);
    receipt_key = to_bytes(k.expose().first(l));
    const std::size_t mac_at = usage == 0x5C ? l : 2 * l;
    return {to_bytes(k.expose().subspan(l, l)), to_bytes(k.expose().subspan(mac_at, l)), 0x30};
  }
  mutable Bytes receipt_key;

  // The whole key establishment with the default CRT; expects a right receipt.
  HostKeys establish(ByteView aid = isdp_aid()) {
    const Bytes rc = begin(aid);
    EXPECT_EQ(rc.size(), 16U);
    const KeyPair e = make_key(ci.curve);
    const Bytes crt = default_crt();
    const std::string a = answers(card->process_script(script(cmd(key_apdu(key_data(e, rc, crt))), 0x03), {}));
    EXPECT_EQ(a.size(), 80U) << a;
    if (a.size() != 80) return {};
    const Bytes dr = hex(a.substr(8, 32));
    HostKeys k = derive(e, 16, 0x10, dr);
    EXPECT_EQ(a.substr(44, 32), to_hex(card::cmac(receipt_key, {crt, tlv(0x85, dr)})));
    return k;
  }
  // One unchained script with 84, 85 and the whole package to the ISD-P; gives the answers.
  std::string download(const HostKeys& k, ByteView der, std::uint32_t counter = 1, ByteView aid = isdp_aid(),
                       Bytes* response = nullptr) {
    const Bytes hc = random_bytes(8);
    HostSession s(k, aid, counter, hc);
    Bytes list = HostSession::init(hc, k.kvn);
    append(list, s.auth());
    for (const Bytes& b : s.package(der)) append(list, b);
    std::string a = answers(card->process_script(script(list), aid));
    if (response != nullptr) {
      // The plain success fits one block: 86 18, 16 bytes, R-MAC.
      const std::size_t at = a.size() < 52 ? 0 : a.size() - 52;
      if (a.compare(at, 4, "8618") == 0) *response = s.open(hex(a.substr(at)));
    }
    return a;
  }
  [[nodiscard]] InstalledProfile profile(std::size_t i = 0) const { return card->profiles().at(i); }
  void install(ByteView aid, ByteView der) {
    create(aid);
    const HostKeys k = establish(aid);
    Bytes response;
    download(k, der, 1, aid, &response);
    ASSERT_EQ(to_hex(response), "3007A0053003800100");
  }
};

// --- A small package
// --------------------------------------------------------------------------------------------------
inline Bytes pe(std::uint32_t tag, std::uint8_t identification, bool mandated = true, ByteView more = {}) {
  Bytes head = mandated ? hex("8000") : Bytes();
  append(head, {0x81, 0x01, identification});
  return tlv(tag, concat(tlv(0xA0, head), more));
}
inline Bytes header_pe(std::optional<std::uint8_t> pol = {}, const std::string& iccid = "89000123456789012341",
                       std::uint8_t major = 2) {
  Bytes v = concat(Bytes{0x80, 0x01, major}, hex("8101038204"), view("Demo"), tlv(0x83, hex(iccid)));
  if (pol) append(v, tlv(0x84, Bytes{*pol}));
  append(v, hex("A5028100A608060667810F010201"));
  return tlv(0xA0, v);
}
inline Bytes middle_pe(std::size_t filler = 300) {
  return pe(0xB0, 1, true,
            concat(tlv(0x81, hex("67810F010201")), tlv(0xA2, tlv(0x30, tlv(0x04, Bytes(filler, 0x5A))))));
}
inline Bytes package(std::optional<std::uint8_t> pol = {}, ByteView extra = {}) {
  return concat(header_pe(pol), middle_pe(), pe(0xA2, 2), extra, pe(0xAA, 9));
}

// The EUICCResponse with these (status octets, identification octets) in hex.
inline std::string pe_response(const std::vector<std::pair<std::string, std::string>>& list, bool aborted) {
  Bytes entries;
  for (const auto& [status, id] : list)
    append(entries, tlv(0x30, concat(tlv(0x80, hex(status)), id.empty() ? Bytes() : tlv(0x81, hex(id)))));
  return to_hex(tlv(0x30, concat(tlv(0xA0, entries), aborted ? hex("8100") : Bytes())));
}

}  // namespace kf::sim::test
