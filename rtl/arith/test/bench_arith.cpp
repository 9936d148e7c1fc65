// Both styles of kf_mulmod and kf_addmod against OpenSSL's big integers, every result in its exact cycle.
//
// usage: bench_arith [--mul N] [--add N] [--seed S]
//   N operations in all for each unit, over the four moduli of the two curves and a fifth share over other odd moduli, tiny ones included.
// Exit status 0 only when every operation came out right, in its cycle, in both styles.

#include <openssl/bn.h>
#include <verilated.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "Vkf_arith_tb.h"

namespace {

using Num = std::array<std::uint32_t, 8>;  // little-endian limbs
struct BnFree {
  void operator()(BIGNUM* number) const { BN_free(number); }
  void operator()(BN_CTX* ctx) const { BN_CTX_free(ctx); }
};
using Bn = std::unique_ptr<BIGNUM, BnFree>;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "bench_arith: %s\n", what);
  std::exit(1);
}

Bn newBn() {
  Bn number(BN_new());
  if (!number) die("out of memory");
  return number;
}

Bn toBn(const Num& n) {
  Bn number(BN_lebin2bn(reinterpret_cast<const unsigned char*>(n.data()), 32, nullptr));
  if (!number) die("out of memory");
  return number;
}

Num fromBn(const BIGNUM* number) {
  Num n{};
  if (BN_bn2lebinpad(number, reinterpret_cast<unsigned char*>(n.data()), 32) != 32) die("number too long");
  return n;
}

std::string hex(const Num& n) {
  std::string out;
  char digits[9];
  for (int i = 7; i >= 0; --i) {
    std::snprintf(digits, sizeof digits, "%08x", n[static_cast<std::size_t>(i)]);
    out += digits;
  }
  return out;
}

Num fromHex(const char* text) {
  BIGNUM* raw = nullptr;
  if (BN_hex2bn(&raw, text) == 0) die("bad constant");
  Bn number(raw);
  return fromBn(number.get());
}

int compare(const Num& x, const Num& y) {
  for (std::size_t i = 8; i-- > 0;) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}

struct Modulus {
  std::string name;
  Num m{};
  Bn bn;
  Bn rInverse;  // (2^256)^-1 mod m
  std::uint64_t mPrime = 0;
};

class Bench {
 public:
  Bench(std::uint64_t seed, VerilatedContext& context) : random_(seed), ctx_(BN_CTX_new()), top_(&context) {
    if (!ctx_) die("out of memory");
    top_.eval();
    interval_ = top_.interval;
  }

  Modulus modulus(std::string name, const Num& m) {
    Modulus out;
    out.name = std::move(name);
    out.m = m;
    out.bn = toBn(m);
    Bn r = newBn();
    BN_one(r.get());
    BN_lshift(r.get(), r.get(), 256);
    out.rInverse = newBn();
    if (!BN_is_one(out.bn.get()) && BN_mod_inverse(out.rInverse.get(), r.get(), out.bn.get(), ctx_.get()) == nullptr) die("no inverse");
    // Newton's iteration doubles the right bits: -1/m mod 2^64.
    const std::uint64_t low = m[0] | static_cast<std::uint64_t>(m[1]) << 32;
    std::uint64_t inverse = 1;
    for (int i = 0; i < 6; ++i) inverse *= 2 - low * inverse;
    out.mPrime = ~inverse + 1;
    return out;
  }

  // A number of any size below 2^256, often one that makes long carries.
  Num pattern(const Num& m) {
    Num n{};
    switch (random_() % 16) {
      case 0: return n;
      case 1: n[0] = 1; return n;
      case 2: n.fill(0xffffffffU); return n;
      case 3: return minus(m, 1 + static_cast<std::uint32_t>(random_() % 3));
      case 4: {  // one bit
        const unsigned bit = random_() % 256;
        n[bit / 32] = 1U << bit % 32;
        return n;
      }
      case 5: {  // one run of ones
        const unsigned from = random_() % 256;
        const unsigned to = from + random_() % (257 - from);
        for (unsigned i = from; i < to; ++i) n[i / 32] |= 1U << i % 32;
        return n;
      }
      case 6:
      case 7: {  // pieces of all zeroes, all ones or noise, as long as the tiles, digits and words of one design or another
        static constexpr unsigned kSizes[] = {16, 17, 18, 24, 26, 32, 48, 52, 64, 72, 128};
        const unsigned size = kSizes[random_() % 11];
        unsigned kind = 0;
        for (unsigned i = 0; i < 256; ++i) {
          if (i % size == 0) kind = random_() % 3;
          const bool one = kind == 1 || (kind == 2 && (random_() & 1) != 0);
          if (one) n[i / 32] |= 1U << i % 32;
        }
        return n;
      }
      case 8: {  // all ones but for one bit
        n.fill(0xffffffffU);
        const unsigned bit = random_() % 256;
        n[bit / 32] &= ~(1U << bit % 32);
        return n;
      }
      case 9: {  // small
        n[0] = static_cast<std::uint32_t>(random_());
        return n;
      }
      default:
        for (auto& limb : n) limb = static_cast<std::uint32_t>(random_());
        return n;
    }
  }

  Num reduced(const Num& n, const Modulus& modulus) {
    if (compare(n, modulus.m) < 0) return n;
    const Bn number = toBn(n);
    BN_nnmod(number.get(), number.get(), modulus.bn.get(), ctx_.get());
    return fromBn(number.get());
  }

  // Runs n products and, in the same cycles, n sums; en_i has random gaps in some stretches.
  void run(const Modulus& modulus, long products, long sums) {
    drain();
    setWide(top_.mul_m, modulus.m);
    setWide(top_.add_m, modulus.m);
    top_.mul_mprime = modulus.mPrime;
    modulus_ = &modulus;
    unsigned gap = 0;
    for (unsigned stretch = 0; products > 0 || sums > 0; ++stretch) {
      if (stretch % 256 == 0) gap = (stretch / 256) % 4;  // none, none, then one in four, three in four
      const bool pauseMul = gap > 1 && random_() % 4 < (gap == 2 ? 1 : 3);
      const bool pauseAdd = gap > 1 && random_() % 4 < (gap == 2 ? 1 : 3);
      top_.mul_en = products > 0 && !pauseMul && edge_ % interval_ == 0;
      top_.add_en = sums > 0 && !pauseAdd;
      if (top_.mul_en != 0) {
        offerProduct();
        --products;
      } else {  // a_i and b_i may hold anything then
        scramble(top_.mul_a);
        scramble(top_.mul_b);
      }
      if (top_.add_en != 0) {
        offerSum();
        --sums;
      } else {
        scramble(top_.add_x);
        scramble(top_.add_y);
        top_.add_sub = random_() & 1;
      }
      clock();
    }
    drain();
  }

  [[nodiscard]] bool failed() const { return failures_ != 0; }
  [[nodiscard]] long checkedProducts() const { return products_; }
  [[nodiscard]] long checkedSums() const { return sums_; }
  [[nodiscard]] long cycles() const { return edge_; }
  [[nodiscard]] unsigned interval() const { return interval_; }
  [[nodiscard]] unsigned mulLatency() const { return top_.mul_latency; }
  [[nodiscard]] unsigned addLatency() const { return top_.add_latency; }
  std::mt19937_64& random() { return random_; }

 private:
  struct Job {
    long due;
    const char* unit;
    Num x, y, expected;
  };

  static Num minus(Num n, std::uint32_t k) {
    std::uint64_t borrow = k;
    for (auto& limb : n) {
      const std::uint64_t d = limb - borrow;
      limb = static_cast<std::uint32_t>(d);
      borrow = (d >> 32) != 0 ? 1 : 0;
    }
    return n;
  }

  template <typename Wide>
  static void setWide(Wide& wide, const Num& n) {
    for (std::size_t i = 0; i < 8; ++i) wide[i] = n[i];
  }

  template <typename Wide>
  static Num getWide(const Wide& wide) {
    Num n;
    for (std::size_t i = 0; i < 8; ++i) n[i] = wide[i];
    return n;
  }

  template <typename Wide>
  void scramble(Wide& wide) {
    const std::uint64_t noise = random_();
    for (std::size_t i = 0; i < 8; ++i) wide[i] = static_cast<std::uint32_t>(noise >> i);
  }

  void offerProduct() {
    Num a = pattern(modulus_->m);
    Num b = reduced(pattern(modulus_->m), *modulus_);
    Bn product = newBn();
    if (random_() % 64 == 0 && !BN_is_one(modulus_->bn.get())) aimAtResult(a, b);
    if ((random_() & 1) != 0) std::swap(a, b);
    BN_mul(product.get(), toBn(a).get(), toBn(b).get(), ctx_.get());
    BN_nnmod(product.get(), product.get(), modulus_->bn.get(), ctx_.get());
    BN_mod_mul(product.get(), product.get(), modulus_->rInverse.get(), modulus_->bn.get(), ctx_.get());
    setWide(top_.mul_a, a);
    setWide(top_.mul_b, b);
    mul_.push_back({edge_ + top_.mul_latency, "mul", a, b, fromBn(product.get())});
  }

  // Chooses a so that the result is next to 0 or to m, where a wrong last subtraction would show.
  void aimAtResult(Num& a, const Num& b) {
    Bn inverse = newBn();
    // No inverse: b has a factor of the modulus, and any a will do.
    if (BN_mod_inverse(inverse.get(), toBn(b).get(), modulus_->bn.get(), ctx_.get()) == nullptr) return;
    Num wanted{};
    wanted[0] = static_cast<std::uint32_t>(random_() % 3);
    if ((random_() & 1) != 0) wanted = minus(modulus_->m, 1 + wanted[0]);
    const Bn target = toBn(wanted);
    BN_lshift(target.get(), target.get(), 256);
    BN_nnmod(target.get(), target.get(), modulus_->bn.get(), ctx_.get());
    BN_mod_mul(target.get(), target.get(), inverse.get(), modulus_->bn.get(), ctx_.get());
    a = fromBn(target.get());
  }

  void offerSum() {
    const Num x = reduced(pattern(modulus_->m), *modulus_);
    Num y = reduced(pattern(modulus_->m), *modulus_);
    const bool sub = (random_() & 1) != 0;
    const auto kind = random_() % 16;
    if (kind == 0) y = x;
    if (kind == 1 && compare(x, Num{}) != 0) {  // the sum is exactly m
      const Bn rest = newBn();
      BN_sub(rest.get(), modulus_->bn.get(), toBn(x).get());
      y = fromBn(rest.get());
    }
    const Bn result = newBn();
    if (sub) {
      BN_mod_sub(result.get(), toBn(x).get(), toBn(y).get(), modulus_->bn.get(), ctx_.get());
    } else {
      BN_mod_add(result.get(), toBn(x).get(), toBn(y).get(), modulus_->bn.get(), ctx_.get());
    }
    setWide(top_.add_x, x);
    setWide(top_.add_y, y);
    top_.add_sub = sub ? 1 : 0;
    add_.push_back({edge_ + top_.add_latency, sub ? "sub" : "add", x, y, fromBn(result.get())});
  }

  void check(std::deque<Job>& jobs, const Num& left, const Num& right, long& count) {
    if (jobs.empty() || jobs.front().due != edge_) return;
    const Job job = jobs.front();
    jobs.pop_front();
    ++count;
    for (const auto& [style, got] : {std::pair{"first", left}, std::pair{"second", right}}) {
      if (got == job.expected) continue;
      if (++failures_ > 5) continue;
      std::fprintf(stderr, "%s, %s style, modulus %s, edge %ld\n", job.unit, style, modulus_->name.c_str(), edge_);
      std::fprintf(stderr, "  x        %s\n  y        %s\n  m        %s\n", hex(job.x).c_str(), hex(job.y).c_str(),
                   hex(modulus_->m).c_str());
      std::fprintf(stderr, "  got      %s\n  expected %s\n", hex(got).c_str(), hex(job.expected).c_str());
    }
  }

  // What stands on the outputs now is what this edge samples.
  void clock() {
    check(mul_, getWide(top_.mul_r_a), getWide(top_.mul_r_b), products_);
    check(add_, getWide(top_.add_r_a), getWide(top_.add_r_b), sums_);
    top_.clk = 1;
    top_.eval();
    top_.clk = 0;
    top_.eval();
    ++edge_;
  }

  void drain() {
    top_.mul_en = 0;
    top_.add_en = 0;
    for (int i = 0; i < 80; ++i) clock();
    if (!mul_.empty() || !add_.empty()) die("an operation was never checked");
  }

  std::mt19937_64 random_;
  std::unique_ptr<BN_CTX, BnFree> ctx_;
  Vkf_arith_tb top_;
  const Modulus* modulus_ = nullptr;
  std::deque<Job> mul_, add_;
  unsigned interval_ = 0;
  long edge_ = 0;
  long products_ = 0;
  long sums_ = 0;
  long failures_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  long products = 100000;
  long sums = 100000;
  std::uint64_t seed = std::random_device{}();
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--mul") {
      products = std::atol(argv[i + 1]);
    } else if (name == "--add") {
      sums = std::atol(argv[i + 1]);
    } else if (name == "--seed") {
      seed = std::strtoull(argv[i + 1], nullptr, 0);
    } else {
      die("usage: bench_arith [--mul N] [--add N] [--seed S]");
    }
  }
  if (argc % 2 == 0) die("usage: bench_arith [--mul N] [--add N] [--seed S]");
  if (products < 100 || sums < 100) die("fewer than 100 operations prove nothing");
  std::printf("bench_arith: seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);

  VerilatedContext context;
  Bench bench(seed, context);
  const auto start = std::chrono::steady_clock::now();

  std::vector<Modulus> curves;
  curves.push_back(bench.modulus("P-256 p", fromHex("FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF")));
  curves.push_back(bench.modulus("P-256 n", fromHex("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551")));
  curves.push_back(bench.modulus("brainpoolP256r1 p", fromHex("A9FB57DBA1EEA9BC3E660A909D838D726E3BF623D52620282013481D1F6E5377")));
  curves.push_back(bench.modulus("brainpoolP256r1 n", fromHex("A9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7")));
  std::vector<Modulus> others;
  for (const char* text : {"1", "3", "FB", "FFF1", "FFFFFFFB", "10000000000000001", "FFFFFFFFFFFFFFFF",
                           "8000000000000000000000000000000000000000000000000000000000000001",
                           "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"}) {
    others.push_back(bench.modulus(text, fromHex(text)));
  }
  for (unsigned i = 0; i < 31; ++i) {
    Num m{};
    const unsigned bits = 2 + static_cast<unsigned>(bench.random()() % 255);
    for (unsigned bit = 0; bit < bits; ++bit) {
      if (bit == 0 || bit + 1 == bits || (bench.random()() & 1) != 0) m[bit / 32] |= 1U << bit % 32;
    }
    others.push_back(bench.modulus("random of " + std::to_string(bits) + " bits", m));
  }

  const auto share = [](long total, std::size_t parts) { return (total + static_cast<long>(parts) - 1) / static_cast<long>(parts); };
  for (const Modulus& modulus : curves) bench.run(modulus, share(products * 4 / 5, 4), share(sums * 4 / 5, 4));
  for (const Modulus& modulus : others) bench.run(modulus, share(products / 5, others.size()), share(sums / 5, others.size()));

  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("bench_arith: II %u, latency %u (mul) %u (add): %ld products, %ld sums and differences, %ld cycles, %.1f s: %s\n",
              bench.interval(), bench.mulLatency(), bench.addLatency(), bench.checkedProducts(), bench.checkedSums(), bench.cycles(),
              seconds, bench.failed() ? "FAILED" : "ok");
  return bench.failed() ? 1 : 0;
}
