#include "tests/sim/card/card_crypto.hpp"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>

#include <algorithm>
#include <cstdlib>

namespace kf::sim::card {
namespace {

// OpenSSL refusing an operation that was asked for correctly is a broken installation, not an input.
void must(bool ok) {
  if (!ok) std::abort();
}

struct CipherFree {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
};
using CipherCtx = std::unique_ptr<EVP_CIPHER_CTX, CipherFree>;

// Fetched once: looking a cipher up by name costs more than a block.
const EVP_CIPHER* cipher(std::size_t key_bytes, bool cbc) {
  static const EVP_CIPHER* const table[2][3] = {
      {EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr), EVP_CIPHER_fetch(nullptr, "AES-192-ECB", nullptr),
       EVP_CIPHER_fetch(nullptr, "AES-256-ECB", nullptr)},
      {EVP_CIPHER_fetch(nullptr, "AES-128-CBC", nullptr), EVP_CIPHER_fetch(nullptr, "AES-192-CBC", nullptr),
       EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr)}};
  must(key_bytes == 16 || key_bytes == 24 || key_bytes == 32);
  const EVP_CIPHER* c = table[cbc ? 1 : 0][key_bytes / 8 - 2];
  must(c != nullptr);
  return c;
}

class Ecb {
 public:
  explicit Ecb(ByteView key) : ctx_(EVP_CIPHER_CTX_new()) {
    must(ctx_ && EVP_EncryptInit_ex2(ctx_.get(), cipher(key.size(), false), key.data(), nullptr, nullptr) == 1);
    EVP_CIPHER_CTX_set_padding(ctx_.get(), 0);
  }
  void operator()(Block& b) {
    int n = 0;
    must(EVP_EncryptUpdate(ctx_.get(), b.data(), &n, b.data(), 16) == 1 && n == 16);
  }

 private:
  CipherCtx ctx_;
};

Bytes cbc(ByteView key, const Block& iv, ByteView in, int encrypt) {
  must(in.size() % 16 == 0);
  Bytes out(in.size());
  CipherCtx ctx(EVP_CIPHER_CTX_new());
  must(ctx && EVP_CipherInit_ex2(ctx.get(), cipher(key.size(), true), key.data(), iv.data(), encrypt, nullptr) == 1);
  EVP_CIPHER_CTX_set_padding(ctx.get(), 0);
  int n = 0;
  must(EVP_CipherUpdate(ctx.get(), out.data(), &n, in.data(), static_cast<int>(in.size())) == 1);
  must(static_cast<std::size_t>(n) == in.size());
  return out;
}

// RFC 4493 2.3: multiply by x in GF(2^128).
Block doubled(const Block& in) {
  Block out{};
  for (std::size_t i = 0; i < 16; ++i)
    out[i] = static_cast<std::uint8_t>(in[i] << 1 | (i + 1 < 16 ? in[i + 1] >> 7 : 0));
  if ((in[0] & 0x80) != 0) out[15] ^= 0x87;
  return out;
}

struct BnFree {
  void operator()(BIGNUM* b) const { BN_clear_free(b); }
};
using Bn = std::unique_ptr<BIGNUM, BnFree>;
struct BnCtxFree {
  void operator()(BN_CTX* c) const { BN_CTX_free(c); }
};
using BnCtx = std::unique_ptr<BN_CTX, BnCtxFree>;
struct PointFree {
  void operator()(EC_POINT* p) const { EC_POINT_clear_free(p); }
};
using Point = std::unique_ptr<EC_POINT, PointFree>;

Bn bn() {
  Bn b(BN_new());
  must(b != nullptr);
  return b;
}
Bn bn(ByteView v) {
  Bn b(BN_bin2bn(v.data(), static_cast<int>(v.size()), nullptr));
  must(b != nullptr);
  return b;
}
BnCtx bn_ctx() {
  BnCtx c(BN_CTX_new());
  must(c != nullptr);
  return c;
}

struct Domain {
  EC_GROUP* group = nullptr;
  Bn p, a, b, n;
};

// Set up once per curve and only read afterwards.
const Domain& domain(CardCurve curve) {
  static const auto make = [](int nid) {
    Domain d;
    d.group = EC_GROUP_new_by_curve_name(nid);
    d.p = bn();
    d.a = bn();
    d.b = bn();
    must(d.group != nullptr && EC_GROUP_get_curve(d.group, d.p.get(), d.a.get(), d.b.get(), nullptr) == 1);
    d.n.reset(BN_dup(EC_GROUP_get0_order(d.group)));
    must(d.n != nullptr);
    return d;
  };
  static const Domain p256 = make(NID_X9_62_prime256v1);
  static const Domain brainpool = make(NID_brainpoolP256r1);
  return curve == CardCurve::p256 ? p256 : brainpool;
}

// The point itself, or null when point_ok's conditions do not hold.
Point load(const Domain& d, ByteView point, BN_CTX* ctx) {
  if (point.size() != 65 || point[0] != 0x04) return nullptr;
  const Bn x = bn(point.subspan(1, 32));
  const Bn y = bn(point.subspan(33, 32));
  if (BN_cmp(x.get(), d.p.get()) >= 0 || BN_cmp(y.get(), d.p.get()) >= 0) return nullptr;
  const Bn left = bn();
  const Bn right = bn();
  must(BN_mod_sqr(left.get(), y.get(), d.p.get(), ctx) == 1 && BN_mod_sqr(right.get(), x.get(), d.p.get(), ctx) == 1 &&
       BN_mod_add(right.get(), right.get(), d.a.get(), d.p.get(), ctx) == 1 &&
       BN_mod_mul(right.get(), right.get(), x.get(), d.p.get(), ctx) == 1 &&
       BN_mod_add(right.get(), right.get(), d.b.get(), d.p.get(), ctx) == 1);
  if (BN_cmp(left.get(), right.get()) != 0) return nullptr;
  Point q(EC_POINT_new(d.group));
  must(q && EC_POINT_set_affine_coordinates(d.group, q.get(), x.get(), y.get(), ctx) == 1);
  return q;
}

bool in_range(const BIGNUM* v, const BIGNUM* n) { return !BN_is_zero(v) && BN_cmp(v, n) < 0; }

}  // namespace

Block aes_block(ByteView key, const Block& in) {
  Block b = in;
  Ecb aes(key);
  aes(b);
  return b;
}

Block cmac(ByteView key, Parts parts) {
  Ecb aes(key);
  Block k1{};
  aes(k1);
  k1 = doubled(k1);
  Block x{};     // CBC-MAC state
  Block last{};  // the block not yet processed: it may turn out to be the final one
  std::size_t fill = 0;
  for (const ByteView part : parts) {
    for (const std::uint8_t byte : part) {
      if (fill == 16) {
        for (std::size_t i = 0; i < 16; ++i) x[i] ^= last[i];
        aes(x);
        fill = 0;
      }
      last[fill++] = byte;
    }
  }
  Block sub = k1;
  if (fill < 16) {
    last[fill] = 0x80;
    std::fill(last.begin() + static_cast<std::ptrdiff_t>(fill) + 1, last.end(), std::uint8_t{0});
    sub = doubled(k1);
  }
  for (std::size_t i = 0; i < 16; ++i) x[i] = static_cast<std::uint8_t>(x[i] ^ last[i] ^ sub[i]);
  aes(x);
  wipe(k1.data(), k1.size());
  wipe(sub.data(), sub.size());
  return x;
}

Bytes cbc_encrypt(ByteView key, const Block& iv, ByteView padded) { return cbc(key, iv, padded, 1); }
Bytes cbc_decrypt(ByteView key, const Block& iv, ByteView cipher_text) { return cbc(key, iv, cipher_text, 0); }

void Sha256::Free::operator()(evp_md_ctx_st* c) const { EVP_MD_CTX_free(c); }

Sha256::Sha256() : ctx_(EVP_MD_CTX_new()) {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
  must(ctx_ && md != nullptr && EVP_DigestInit_ex2(ctx_.get(), md, nullptr) == 1);
}
void Sha256::update(ByteView v) { must(EVP_DigestUpdate(ctx_.get(), v.data(), v.size()) == 1); }
Bytes Sha256::finish() {
  Bytes out(32);
  unsigned n = 0;
  must(EVP_DigestFinal_ex(ctx_.get(), out.data(), &n) == 1 && n == 32);
  return out;
}

std::array<std::uint8_t, 32> sha256(Parts parts) {
  Sha256 h;
  for (const ByteView p : parts) h.update(p);
  const Bytes d = h.finish();
  std::array<std::uint8_t, 32> out{};
  std::copy(d.begin(), d.end(), out.begin());
  return out;
}

SecretBytes x963(ByteView z, ByteView shared_info, std::size_t length) {
  SecretBytes out(length);
  std::size_t done = 0;
  for (std::uint8_t counter = 1; done < length; ++counter) {  // at most four rounds here: 128 bytes
    const std::array<std::uint8_t, 4> c{0, 0, 0, counter};
    auto h = sha256({z, c, shared_info});
    const std::size_t take = std::min<std::size_t>(h.size(), length - done);
    std::copy_n(h.begin(), take, out.expose_mut().begin() + static_cast<std::ptrdiff_t>(done));
    wipe(h.data(), h.size());
    done += take;
  }
  return out;
}

SecretBytes scp03_kdf(ByteView key, std::uint8_t constant, ByteView context, unsigned bits) {
  SecretBytes out(bits / 8);
  std::size_t done = 0;
  for (std::uint8_t i = 1; done < out.size(); ++i) {
    std::array<std::uint8_t, 16> label{};
    label[11] = constant;
    label[13] = static_cast<std::uint8_t>(bits >> 8);
    label[14] = static_cast<std::uint8_t>(bits & 0xFF);
    label[15] = i;
    Block m = cmac(key, {label, context});
    const std::size_t take = std::min<std::size_t>(m.size(), out.size() - done);
    std::copy_n(m.begin(), take, out.expose_mut().begin() + static_cast<std::ptrdiff_t>(done));
    wipe(m.data(), m.size());
    done += take;
  }
  return out;
}

bool point_ok(CardCurve curve, ByteView point) {
  const BnCtx ctx = bn_ctx();
  return load(domain(curve), point, ctx.get()) != nullptr;
}

bool ecdsa_verify(CardCurve curve, ByteView public_point, Parts message, ByteView signature) {
  if (signature.size() != 64) return false;
  const Domain& d = domain(curve);
  const BnCtx ctx = bn_ctx();
  const Point q = load(d, public_point, ctx.get());
  if (!q) return false;
  const Bn r = bn(signature.first(32));
  const Bn s = bn(signature.subspan(32));
  if (!in_range(r.get(), d.n.get()) || !in_range(s.get(), d.n.get())) return false;
  const Bn e = bn(sha256(message));  // 256-bit order: no truncation
  const Bn w(BN_mod_inverse(nullptr, s.get(), d.n.get(), ctx.get()));
  must(w != nullptr);
  const Bn u1 = bn();
  const Bn u2 = bn();
  must(BN_mod_mul(u1.get(), e.get(), w.get(), d.n.get(), ctx.get()) == 1 &&
       BN_mod_mul(u2.get(), r.get(), w.get(), d.n.get(), ctx.get()) == 1);
  const Point sum(EC_POINT_new(d.group));
  must(sum && EC_POINT_mul(d.group, sum.get(), u1.get(), q.get(), u2.get(), ctx.get()) == 1);
  if (EC_POINT_is_at_infinity(d.group, sum.get()) == 1) return false;
  const Bn x = bn();
  must(EC_POINT_get_affine_coordinates(d.group, sum.get(), x.get(), nullptr, ctx.get()) == 1 &&
       BN_nnmod(x.get(), x.get(), d.n.get(), ctx.get()) == 1);
  return BN_cmp(x.get(), r.get()) == 0;
}

std::optional<SecretBytes> ecka(CardCurve curve, ByteView scalar, ByteView point) {
  if (scalar.size() != 32) return std::nullopt;
  const Domain& d = domain(curve);
  const BnCtx ctx = bn_ctx();
  const Bn k = bn(scalar);
  if (!in_range(k.get(), d.n.get())) return std::nullopt;
  BN_set_flags(k.get(), BN_FLG_CONSTTIME);
  const Point q = load(d, point, ctx.get());
  if (!q) return std::nullopt;
  const Point product(EC_POINT_new(d.group));
  must(product && EC_POINT_mul(d.group, product.get(), nullptr, q.get(), k.get(), ctx.get()) == 1);
  if (EC_POINT_is_at_infinity(d.group, product.get()) == 1) return std::nullopt;
  const Bn x = bn();
  SecretBytes z(32);
  must(EC_POINT_get_affine_coordinates(d.group, product.get(), x.get(), nullptr, ctx.get()) == 1 &&
       BN_bn2binpad(x.get(), z.expose_mut().data(), 32) == 32);
  return z;
}

}  // namespace kf::sim::card
