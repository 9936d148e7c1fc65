// kf_engine against OpenSSL: random jobs of every operation on both curves, or every scalar and point of tiny curves; prints cycles an
// operation and simulated speed. Exit status 0 only when every result was right.
#include <ctime>
#include <cstring>

#include "arguments.hpp"
#include "engine.hpp"

namespace kf::rtl {
namespace {

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Expect {
  std::uint8_t status;
  Num x{}, y{};
  bool maybe_exception = false;  // the ladder may meet infinity
};

class Bench {
 public:
  Bench(std::uint64_t seed, std::vector<std::unique_ptr<Curve>> curves) : rng(seed), e(seed), curves_(std::move(curves)) {}

  void put(Job j, const Expect& x) {
    j.tag = next_tag_++;
    e.submit(j);
    want_.push_back(x);
  }
  /// Runs what was put; counts mismatches.
  void finish(const char* what, bool print = true) {
    const std::size_t n = want_.size() - checked_;
    const std::uint64_t c0 = e.cycles, m0 = e.mul_issued;
    const double t0 = cpu_seconds();
    e.run(n, 4000 * 64 * (n / 8 + 16) + 2'000'000);
    const double t = cpu_seconds() - t0;
    std::size_t bad = 0;
    for (std::size_t i = checked_; i < want_.size(); ++i) {
      const Completion& c = e.done[i];
      const Expect& w = want_[i];
      bool right = c.tag == i;
      if (w.maybe_exception && c.status == kException) {
        ++exceptions;
        right = right && c.x == Num{} && c.y == Num{};
      } else {
        right = right && c.status == w.status && c.x == w.x && c.y == w.y;
      }
      if (!right) {
        ++bad;
        if (bad <= 5) std::printf("  WRONG %s: job %zu status %u (wanted %u) tag %llu x %08x.. (wanted %08x..)\n", what, i, c.status, w.status,
                                  static_cast<unsigned long long>(c.tag), c.x[7], w.x[7]);
      }
    }
    wrong += bad;
    checked_ = want_.size();
    const auto cycles = static_cast<double>(e.cycles - c0);
    if (print)
      std::printf("%-26s %6zu jobs  %8.1f cycles/op  multiplier %5.2f %%  %8.1f op/CPU-s  %.2f Mcycle/s  %zu wrong\n", what, n, cycles / static_cast<double>(n),
                  100.0 * static_cast<double>(e.mul_issued - m0) * II / cycles, static_cast<double>(n) / t, cycles / t * 1e-6, bad);
  }
  Curve& curve(int c) { return *curves_[c]; }

  std::mt19937_64 rng;
  Engine e;
  std::size_t wrong = 0, exceptions = 0;
  int II = KF_II;

 private:
  std::vector<std::unique_ptr<Curve>> curves_;
  std::vector<Expect> want_;
  std::size_t checked_ = 0;
  std::uint64_t next_tag_ = 0;
};

const char* const kCurveNames[] = {"P-256", "brainpoolP256r1"};

void imports(Bench& b, int c, const std::vector<Num>& keys, bool sign) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    Job j{.op = kImport, .curve = static_cast<std::uint8_t>(c), .slot = static_cast<std::uint16_t>(i), .for_sign = sign};
    j.v[0] = keys[i];
    b.put(j, {kOk});
  }
  b.finish("IMPORT", false);
}
void erase(Bench& b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) b.put({.op = kErase, .slot = static_cast<std::uint16_t>(i)}, {kOk});
  b.finish("ERASE", false);
}

void generate(Bench& b, int c, std::size_t n) {
  const Curve& k = b.curve(c);
  for (std::size_t done = 0; done < n;) {
    const std::size_t part = std::min<std::size_t>(n - done, 512);
    for (std::size_t i = 0; i < part; ++i) {
      Job j{.op = kGenerate, .curve = static_cast<std::uint8_t>(c), .slot = static_cast<std::uint16_t>(i), .given = true};
      j.v[0] = k.random_below(b.rng, k.order());
      const auto q = k.mul(j.v[0], nullptr);
      b.put(j, {kOk, q->x, q->y});
    }
    b.finish((std::string("GENERATE ") + kCurveNames[c]).c_str());
    erase(b, part);
    done += part;
  }
}
void ecka(Bench& b, int c, std::size_t n) {
  const Curve& k = b.curve(c);
  for (std::size_t done = 0; done < n;) {
    const std::size_t part = std::min<std::size_t>(n - done, 512);
    std::vector<Num> keys;
    for (std::size_t i = 0; i < part; ++i) keys.push_back(k.random_below(b.rng, k.order()));
    imports(b, c, keys, false);
    for (std::size_t i = 0; i < part; ++i) {
      Job j{.op = kEcka, .curve = static_cast<std::uint8_t>(c), .slot = static_cast<std::uint16_t>(i)};
      const auto q = k.mul(k.random_below(b.rng, k.order()), nullptr);
      j.v[0] = q->x;
      j.v[1] = q->y;
      if (i % 97 == 5) {
        j.v[1][0] ^= 4;
        b.put(j, {k.on_curve({j.v[0], j.v[1]}) ? kOk : kOffCurve});
        continue;
      }
      b.put(j, {kOk, k.mul(keys[i], &*q)->x, {}});
    }
    b.finish((std::string("ECKA ") + kCurveNames[c]).c_str());
    done += part;
  }
}
void sign(Bench& b, int c, std::size_t n) {
  const Curve& k = b.curve(c);
  std::vector<Num> keys;
  for (int i = 0; i < 16; ++i) keys.push_back(k.random_below(b.rng, k.order()));
  imports(b, c, keys, true);
  for (std::size_t i = 0; i < n; ++i) {
    Job j{.op = kSign, .curve = static_cast<std::uint8_t>(c), .slot = static_cast<std::uint16_t>(i % 16), .given = true};
    for (auto& w : j.v[0]) w = static_cast<std::uint32_t>(b.rng());
    j.v[1] = k.random_below(b.rng, k.order());
    const auto s = k.sign(keys[i % 16], j.v[0], j.v[1]);
    b.put(j, {kOk, s->x, s->y});
  }
  b.finish((std::string("SIGN ") + kCurveNames[c]).c_str());
  erase(b, 16);
}
void verify(Bench& b, int c, std::size_t n) {
  const Curve& k = b.curve(c);
  for (std::size_t i = 0; i < n; ++i) {
    Job j{.op = kVerify, .curve = static_cast<std::uint8_t>(c)};
    const Num d = k.random_below(b.rng, k.order());
    const auto q = k.mul(d, nullptr);
    for (auto& w : j.v[2]) w = static_cast<std::uint32_t>(b.rng());
    const auto s = k.sign(d, j.v[2], k.random_below(b.rng, k.order()));
    j.v[0] = q->x;
    j.v[1] = q->y;
    j.v[3] = s->x;
    j.v[4] = s->y;
    if (i % 4 == 3) j.v[2 + b.rng() % 3][b.rng() % 8] ^= 1U << (b.rng() % 32);
    const bool range = k.in_range(j.v[3]) && k.in_range(j.v[4]);
    b.put(j, {static_cast<std::uint8_t>(!range ? kRange : k.verify(*q, j.v[2], j.v[3], j.v[4]) ? kOk : kBadSignature)});
  }
  b.finish((std::string("VERIFY ") + kCurveNames[c]).c_str());
}

}  // namespace
}  // namespace kf::rtl

int main(int argc, char** argv) {
  using namespace kf::rtl;
  std::string table;
  std::uint64_t seed = std::random_device{}();
  std::size_t jobs = 128;
  std::string only;
  try {
    for (Arguments a(argc, argv); a.next();) {
      if (a.is("--table"))
        table = a.text();
      else if (a.is("--seed"))
        seed = a.number<std::uint64_t>();
      else if (a.is("--jobs"))
        jobs = a.number<std::size_t>(1);
      else if (a.is("--only"))
        only = a.text();
      else
        a.unknown();
    }
    if (table.empty()) throw std::runtime_error("--table FILE is missing");
    if (!only.empty() && only != "generate" && only != "ecka" && only != "sign" && only != "verify")
      throw std::runtime_error("--only '" + only + "': generate, ecka, sign or verify");
  } catch (const std::exception& x) {
    std::fprintf(stderr, "bench: %s\nusage: bench --table FILE [--jobs N, of each operation] [--seed N] [--only generate|ecka|sign|verify]\n", x.what());
    return 2;
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  try {
    std::vector<std::unique_ptr<Curve>> curves;
    curves.push_back(std::make_unique<OpensslCurve>(NID_X9_62_prime256v1));
    curves.push_back(std::make_unique<OpensslCurve>(NID_brainpoolP256r1));
    Bench b(seed, std::move(curves));
    b.e.load_table(table);
    const bool passed = b.e.self_test();
    std::printf("self-test %s after %llu cycles\n", passed ? "passed" : "FAILED", static_cast<unsigned long long>(b.e.cycles));
    if (!passed) return 1;
    for (int c = 0; c < 2; ++c) {
      if (only.empty() || only == "generate") generate(b, c, jobs);
      if (only.empty() || only == "ecka") ecka(b, c, jobs);
      if (only.empty() || only == "sign") sign(b, c, jobs);
      if (only.empty() || only == "verify") verify(b, c, jobs);
    }
    std::printf("%zu wrong, %zu exceptions, parity events %llu, cycle gate %llu\n", b.wrong, b.exceptions, static_cast<unsigned long long>(b.e.parity_events),
                static_cast<unsigned long long>(b.e.gate_events));
    return b.wrong == 0 && b.e.parity_events == 0 && b.e.gate_events == 0 ? 0 : 1;  // an alarm without a fault is wrong, too
  } catch (const std::exception& x) {
    std::printf("FAILED: %s\n", x.what());
    return 1;
  }
}
