// Reference arithmetic for the benches: OpenSSL for the two real curves, affine textbook formulas for tiny ones. Nothing here is shared
// with the RTL. Numbers are 32 bytes, little-endian, as in the core's descriptors.
#pragma once
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <vector>

namespace kf::rtl {

using Num = std::array<std::uint32_t, 8>;  // 32-bit words, lowest first

struct Bn {
  BIGNUM* p = BN_new();
  Bn() = default;
  explicit Bn(BN_ULONG v) { BN_set_word(p, v); }
  explicit Bn(const Num& n) {
    std::array<unsigned char, 32> b{};
    for (int i = 0; i < 32; ++i) b[i] = static_cast<unsigned char>(n[i / 4] >> (8 * (i % 4)));
    BN_lebin2bn(b.data(), 32, p);
  }
  Bn(const Bn& o) : p(BN_dup(o.p)) {}
  Bn& operator=(const Bn& o) {
    BN_copy(p, o.p);
    return *this;
  }
  ~Bn() { BN_clear_free(p); }
  Num num() const {
    std::array<unsigned char, 32> b{};
    if (BN_bn2lebinpad(p, b.data(), 32) != 32) throw std::runtime_error("number longer than 256 bits");
    Num n{};
    for (int i = 0; i < 32; ++i) n[i / 4] |= static_cast<std::uint32_t>(b[i]) << (8 * (i % 4));
    return n;
  }
};

struct Point {
  Num x{}, y{};
};

/// One curve. `order`, `prime` as numbers; all functions are exact and slow.
class Curve {
 public:
  virtual ~Curve() = default;
  virtual Num order() const = 0;
  virtual Num prime() const = 0;
  virtual std::optional<Point> mul(const Num& k, const Point* q) const = 0;  // q null: base point
  virtual std::optional<Point> add(const Point& a, const Point& b) const = 0;
  virtual bool on_curve(const Point& q) const = 0;  // canonical coordinates included

  Num random_below(std::mt19937_64& rng, const Num& limit) const {  // 1 <= v < limit
    Bn l(limit);
    for (;;) {
      Num n{};
      const int bits = BN_num_bits(l.p);
      for (int i = 0; i < bits; i += 32) n[i / 32] = static_cast<std::uint32_t>(rng()) & (bits - i >= 32 ? ~0U : (1U << (bits - i)) - 1);
      Bn v(n);
      if (!BN_is_zero(v.p) && BN_cmp(v.p, l.p) < 0) return n;
    }
  }
  Num mod_op(char op, const Num& a, const Num& b) const {  // modulo the order
    thread_local BN_CTX* ctx = BN_CTX_new();
    Bn n(order()), x(a), y(b), r;
    if (op == '*') BN_mod_mul(r.p, x.p, y.p, n.p, ctx);
    if (op == '+') BN_mod_add(r.p, x.p, y.p, n.p, ctx);
    if (op == '-') BN_mod_sub(r.p, x.p, y.p, n.p, ctx);
    if (op == '/') {
      BN_mod_inverse(r.p, y.p, n.p, ctx);
      BN_mod_mul(r.p, r.p, x.p, n.p, ctx);
    }
    return r.num();
  }
  Num reduce(const Num& a) const { return mod_op('+', a, Num{}); }
  bool in_range(const Num& a) const {  // 1 <= a < order
    Bn x(a), n(order());
    return !BN_is_zero(x.p) && BN_cmp(x.p, n.p) < 0;
  }

  /// ECDSA over the integer e with nonce k; none where r or s is 0.
  std::optional<Point> sign(const Num& d, const Num& e, const Num& k) const {
    const auto q = mul(k, nullptr);
    if (!q) return std::nullopt;
    const Num r = reduce(q->x);
    const Num s = mod_op('/', mod_op('+', e, mod_op('*', r, d)), k);
    if (r == Num{} || s == Num{}) return std::nullopt;
    return Point{r, s};
  }
  bool verify(const Point& q, const Num& e, const Num& r, const Num& s) const {
    if (!on_curve(q) || !in_range(r) || !in_range(s)) return false;
    const Num u1 = mod_op('/', e, s), u2 = mod_op('/', r, s);
    const auto b = mul(u2, &q);
    std::optional<Point> v = b;
    if (u1 != Num{}) {
      const auto a = mul(u1, nullptr);
      v = !b ? a : add(*a, *b);
    }
    return v && reduce(v->x) == r;
  }
};

class OpensslCurve final : public Curve {
 public:
  explicit OpensslCurve(int nid) : g_(EC_GROUP_new_by_curve_name(nid)) {
    if (g_ == nullptr) throw std::runtime_error("OpenSSL does not know the curve");
    Bn p, a, b;
    EC_GROUP_get_curve(g_, p.p, a.p, b.p, ctx_);
    p_ = p.num();
    Bn n;
    EC_GROUP_get_order(g_, n.p, ctx_);
    n_ = n.num();
  }
  ~OpensslCurve() override {
    EC_GROUP_free(g_);
    BN_CTX_free(ctx_);
  }
  Num order() const override { return n_; }
  Num prime() const override { return p_; }
  std::optional<Point> mul(const Num& k, const Point* q) const override {
    EC_POINT* r = EC_POINT_new(g_);
    Bn kk(k);
    if (q == nullptr) {
      EC_POINT_mul(g_, r, kk.p, nullptr, nullptr, ctx_);
    } else {
      EC_POINT* in = to(*q);
      EC_POINT_mul(g_, r, nullptr, in, kk.p, ctx_);
      EC_POINT_free(in);
    }
    return take(r);
  }
  std::optional<Point> add(const Point& a, const Point& b) const override {
    EC_POINT *x = to(a), *y = to(b), *r = EC_POINT_new(g_);
    EC_POINT_add(g_, r, x, y, ctx_);
    EC_POINT_free(x);
    EC_POINT_free(y);
    return take(r);
  }
  bool on_curve(const Point& q) const override {
    Bn x(q.x), y(q.y), p(p_);
    if (BN_cmp(x.p, p.p) >= 0 || BN_cmp(y.p, p.p) >= 0) return false;
    EC_POINT* r = EC_POINT_new(g_);
    const bool ok = EC_POINT_set_affine_coordinates(g_, r, x.p, y.p, ctx_) == 1;
    EC_POINT_free(r);
    return ok;
  }

  /// A point off the curve by as little as can be: the Montgomery forms (R = 2^256) of y^2 and x^3 + a x + b differ in their
  /// lowest bit only.
  Point near_miss(std::mt19937_64& rng) const {
    Bn p, a, b, r, t, u, y;
    EC_GROUP_get_curve(g_, p.p, a.p, b.p, ctx_);
    BN_one(r.p);
    BN_lshift(r.p, r.p, 256);
    for (;;) {
      const Bn x(random_below(rng, p_));
      BN_mod_sqr(t.p, x.p, p.p, ctx_);
      BN_mod_add(t.p, t.p, a.p, p.p, ctx_);
      BN_mod_mul(t.p, t.p, x.p, p.p, ctx_);
      BN_mod_add(t.p, t.p, b.p, p.p, ctx_);
      BN_mod_mul(t.p, t.p, r.p, p.p, ctx_);
      if (BN_is_odd(t.p))
        BN_clear_bit(t.p, 0);
      else
        BN_set_bit(t.p, 0);
      BN_mod_inverse(u.p, r.p, p.p, ctx_);
      BN_mod_mul(t.p, t.p, u.p, p.p, ctx_);
      if (BN_mod_sqrt(y.p, t.p, p.p, ctx_) != nullptr) return {x.num(), y.num()};
    }
  }

 private:
  EC_POINT* to(const Point& q) const {
    Bn x(q.x), y(q.y);
    EC_POINT* r = EC_POINT_new(g_);
    if (EC_POINT_set_affine_coordinates(g_, r, x.p, y.p, ctx_) != 1) throw std::runtime_error("point not on the curve");
    return r;
  }
  std::optional<Point> take(EC_POINT* r) const {
    std::optional<Point> out;
    if (!EC_POINT_is_at_infinity(g_, r)) {
      Bn x, y;
      EC_POINT_get_affine_coordinates(g_, r, x.p, y.p, ctx_);
      out = Point{x.num(), y.num()};
    }
    EC_POINT_free(r);
    return out;
  }
  EC_GROUP* g_;
  BN_CTX* ctx_ = BN_CTX_new();
  Num p_{}, n_{};
};

/// y^2 = x^3 + a x + b over a prime of at most 16 bits.
class TinyCurve final : public Curve {
 public:
  TinyCurve(std::uint64_t p, std::uint64_t a, std::uint64_t b, std::uint64_t gx, std::uint64_t gy, std::uint64_t n) : p_(p), a_(a), b_(b), gx_(gx), gy_(gy), n_(n) {}
  static Num num(std::uint64_t v) { return {static_cast<std::uint32_t>(v), static_cast<std::uint32_t>(v >> 32)}; }
  static std::uint64_t small(const Num& v) { return v[0] | static_cast<std::uint64_t>(v[1]) << 32; }
  Num order() const override { return num(n_); }
  Num prime() const override { return num(p_); }
  std::optional<Point> mul(const Num& k, const Point* q) const override {
    std::optional<Point> acc, step = q != nullptr ? *q : Point{num(gx_), num(gy_)};
    for (std::uint64_t v = small(k); v != 0; v >>= 1) {
      if (v & 1) acc = plus(acc, step);
      step = plus(step, step);
    }
    return acc;
  }
  std::optional<Point> add(const Point& a, const Point& b) const override { return plus(a, b); }
  bool on_curve(const Point& q) const override {
    for (int i = 1; i < 8; ++i) {
      if (q.x[i] != 0 || q.y[i] != 0) return false;
    }
    const std::uint64_t x = small(q.x), y = small(q.y);
    return x < p_ && y < p_ && (y * y) % p_ == (x * x % p_ * x + a_ * x + b_) % p_;
  }
  std::vector<Point> points() const {
    std::vector<Point> out;
    for (std::uint64_t x = 0; x < p_; ++x) {
      for (std::uint64_t y = 0; y < p_; ++y) {
        if (on_curve({num(x), num(y)})) out.push_back({num(x), num(y)});
      }
    }
    return out;
  }

 private:
  std::uint64_t inverse(std::uint64_t v) const {
    std::uint64_t r = 1, e = p_ - 2;
    for (v %= p_; e != 0; e >>= 1, v = v * v % p_) {
      if (e & 1) r = r * v % p_;
    }
    return r;
  }
  std::optional<Point> plus(const std::optional<Point>& a, const std::optional<Point>& b) const {
    if (!a) return b;
    if (!b) return a;
    const std::uint64_t x1 = small(a->x), y1 = small(a->y), x2 = small(b->x), y2 = small(b->y);
    std::uint64_t s = 0;
    if (x1 == x2) {
      if ((y1 + y2) % p_ == 0) return std::nullopt;
      s = (3 * x1 * x1 + a_) % p_ * inverse(2 * y1) % p_;
    } else {
      s = (y2 + p_ - y1) % p_ * inverse(x2 + p_ - x1) % p_;
    }
    const std::uint64_t x = (s * s + 2 * p_ - x1 - x2) % p_;
    return Point{num(x), num((s * (x1 + p_ - x) + p_ - y1) % p_)};
  }
  std::uint64_t p_, a_, b_, gx_, gy_, n_;
};

}  // namespace kf::rtl
