// Test vector leakage assessment in simulation: do the registers' toggles depend on the key?
//
//   tvla --table FILE [--program sign|ecka] [--curve 0|1] [--traces N] [--seed N] [--unmasked] [--expect-leak]
//        [--csv FILE] [--explain]
//
// A trace is one batch with the same input in every context: for each cycle from the first job's first beat to the last
// completion, how many bits of all flops have changed. Half of the traces have one and the same key in all contexts,
// the other half a new random one in each; their order is drawn. Keys are put into the slots as fresh random shares.
// Welch's t is computed for each cycle, in two halves of the traces independently (Goodwill et al. 2011, "A testing
// methodology for side-channel resistance validation"): a cycle leaks if |t| > 4.5 in both with the same sign.
//
// There is no noise here, so that some hundred traces see what a laboratory needs many more for; and nothing of
// glitches, wires or memory cells: only flops, first order. --unmasked gives every key as (d, 0), which must be seen.
// --explain: if cycles leak, as many traces more, and which flops' toggles differ in these cycles.
// Exit status 0: no cycle leaks, or with --expect-leak some do; 1: the opposite; 2: a mistake.
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "../test/arguments.hpp"
#include "../test/engine.hpp"
// after verilated.h
#include "../fault/targets.hpp"

namespace kf::leak {
namespace {

using namespace kf::rtl;

struct Options {
  std::string table = "table.bin", program = "sign", csv;
  int curve = 0;
  std::size_t traces = 40;
  std::uint64_t seed = 0;
  bool unmasked = false, expect_leak = false, explain = false;
};

constexpr std::size_t kContexts = 64 / KF_II;
constexpr double kLimit = 4.5;

// Mean and spread of one cycle in one class, as values come (Welford).
struct Moments {
  double n = 0, mean = 0, m2 = 0;
  void add(double x) {
    n += 1;
    const double d = x - mean;
    mean += d / n;
    m2 += d * (x - mean);
  }
};
double welch(const Moments& a, const Moments& b) {
  if (a.n < 2 || b.n < 2) return 0;
  const double s = a.m2 / (a.n - 1) / a.n + b.m2 / (b.n - 1) / b.n;
  if (s <= 0) return a.mean == b.mean ? 0 : 1e9;  // constant in both classes, and different: no doubt at all
  return (a.mean - b.mean) / std::sqrt(s);
}

class Assessment {
 public:
  Assessment(const Options& o, const Curve& curve) : o_(o), curve_(curve), rng_(o.seed), engine_(o.seed) {
    engine_.load_table(o.table);
    if (!engine_.self_test()) throw std::runtime_error("the self-test fails");
    rest();
    for (fault::Target& t : fault::targets(engine_.top())) {
      if (t.name.ends_with("u_share0.mem")) share_[0] = t;
      if (t.name.ends_with("u_share1.mem")) share_[1] = t;
      if (t.elements > 64) continue;  // a memory; the registers at its ports are others
      flops_.push_back(std::move(t));
    }
    if (share_[0].data == nullptr || share_[1].data == nullptr) throw std::runtime_error("no key slots found");
    std::size_t bytes = 0, bits = 0;
    for (const fault::Target& t : flops_) {
      bytes += t.elements * t.element_size;
      bits += t.all_bits();
    }
    before_.resize(bytes);
    std::printf("%zu flops with %zu bits, seed %llu\n", flops_.size(), bits, static_cast<unsigned long long>(o.seed));
    fixed_ = Num{0x10001, 0, 0x80000000};  // of few ones, so that a register that holds it differs most from others
    message_ = curve_.random_below(rng_, curve_.order());
    peer_ = *curve_.mul(curve_.random_below(rng_, curve_.order()), nullptr);
  }

  int run() {
    // Lengths differ where a candidate was thrown away or a seed was due: such a trace is not aligned with the others.
    std::size_t usual = record(true).size(), odd = 0, done = 0;
    // Both halves and both classes equally often, in random order: by fours.
    std::array<unsigned, 4> order{0, 1, 2, 3};
    while (done < o_.traces) {
      if (done % 4 == 0) std::shuffle(order.begin(), order.end(), rng_);
      const bool fixed = order[done % 4] % 2 != 0;
      const std::vector<std::uint32_t> trace = record(fixed);
      if (trace.size() != usual) {
        if (++odd > o_.traces + 20) throw std::runtime_error("traces have too many lengths");
        continue;
      }
      for (auto& half : t_)
        for (auto& c : half) c.resize(usual);
      auto& into = t_[order[done % 4] / 2][fixed ? 1 : 0];
      for (std::size_t c = 0; c < usual; ++c) into[c].add(trace[c]);
      ++done;
    }
    std::vector<std::size_t> leaks;
    std::array<double, 2> most{};
    std::FILE* f = o_.csv.empty() ? nullptr : std::fopen(o_.csv.c_str(), "w");
    if (f != nullptr) std::fprintf(f, "cycle,mean_fixed,mean_random,t_first_half,t_second_half\n");
    for (std::size_t c = 0; c < usual; ++c) {
      const double a = welch(t_[0][1][c], t_[0][0][c]), b = welch(t_[1][1][c], t_[1][0][c]);
      most[0] = std::max(most[0], std::abs(a));
      most[1] = std::max(most[1], std::abs(b));
      if (std::abs(a) > kLimit && std::abs(b) > kLimit && (a > 0) == (b > 0)) leaks.push_back(c);
      if (f != nullptr) std::fprintf(f, "%zu,%.1f,%.1f,%.3f,%.3f\n", c, t_[0][1][c].mean, t_[0][0][c].mean, a, b);
    }
    if (f != nullptr) std::fclose(f);
    std::printf("%s, %s: %zu traces of %zu cycles (%zu of another length), max |t| %.1f and %.1f, %zu cycles leak",
                o_.program.c_str(), o_.unmasked ? "keys given without a mask" : "keys in shares", o_.traces, usual, odd,
                most[0], most[1], leaks.size());
    if (!leaks.empty()) std::printf(", the first one is %zu", leaks.front());
    std::printf("\n");
    if (o_.explain && !leaks.empty()) explain(leaks, usual);
    return leaks.empty() != o_.expect_leak ? 0 : 1;
  }

 private:
  void explain(const std::vector<std::size_t>& leaks, std::size_t usual) {
    for (const std::size_t c : leaks) at_[c];
    for (std::size_t done = 0; done < o_.traces;) {
      now_.clear();
      const bool fixed = (rng_() & 1) != 0;
      if (record(fixed).size() != usual) continue;
      ++done;
      for (const auto& [c, counts] : now_)
        for (std::size_t f = 0; f < counts.size(); ++f) {
          at_[c].resize(counts.size());
          at_[c][f][fixed ? 1 : 0].add(counts[f]);
        }
    }
    for (const auto& [c, flops] : at_) {
      std::vector<std::pair<double, std::size_t>> most;
      for (std::size_t f = 0; f < flops.size(); ++f) most.emplace_back(std::abs(welch(flops[f][1], flops[f][0])), f);
      std::ranges::sort(most, std::greater{});
      std::printf("cycle %zu:", c);
      for (std::size_t i = 0; i < 3 && i < most.size(); ++i)
        std::printf(" %s (t %.1f, %.1f against %.1f)", flops_[most[i].second].name.c_str(), most[i].first,
                    flops[most[i].second][1].mean, flops[most[i].second][0].mean);
      std::printf("\n");
    }
  }
  void rest() {
    while (!engine_.top().idle_o) engine_.tick();
    for (int i = 0; i < 3000; ++i) engine_.tick();  // the generator has its next words
  }
  // As kf_keyslots keeps it: check word, held, for signing, curve, share.
  void put(int which, std::uint16_t slot, const Num& v, bool sign) {
    std::array<std::uint32_t, 10> w{};
    std::copy(v.begin(), v.end(), w.begin());
    const std::uint32_t attributes = 4U | (sign ? 2U : 0U) | static_cast<std::uint32_t>(o_.curve);
    std::uint32_t check = 0x96C35AA5 ^ (1U << 9 | slot) ^ attributes << 29 ^ static_cast<std::uint32_t>(which) << 28;
    for (const std::uint32_t x : v) check ^= x;
    w[8] = attributes | check << 3;
    w[9] = check >> 29;
    std::memcpy(share_[which].data + slot * share_[which].element_size, w.data(), 40);
  }
  void key(std::uint16_t slot, const Num& d, bool sign) {
    const Num d1 = o_.unmasked ? Num{} : curve_.random_below(rng_, curve_.order());
    put(0, slot, curve_.mod_op('+', d, d1), sign);
    put(1, slot, d1, sign);
  }
  // Since it was asked last; `each`: of each flop, too.
  std::uint32_t toggles(std::vector<std::uint32_t>* each = nullptr) {
    std::uint32_t n = 0;
    unsigned char* before = before_.data();
    for (const fault::Target& t : flops_) {
      const std::size_t size = t.elements * t.element_size;
      const std::uint32_t was = n;
      std::size_t i = 0;
      for (; i + 4 <= size; i += 4) {
        std::uint32_t a = 0, b = 0;
        std::memcpy(&a, before + i, 4);
        std::memcpy(&b, t.data + i, 4);
        if (a != b) n += static_cast<std::uint32_t>(std::popcount(a ^ b));
      }
      for (; i < size; ++i)
        n += static_cast<std::uint32_t>(std::popcount(static_cast<unsigned>(before[i] ^ t.data[i])));
      std::memcpy(before, t.data, size);
      before += size;
      if (each != nullptr) each->push_back(n - was);
    }
    return n;
  }
  std::vector<std::uint32_t> record(bool fixed) {
    const bool sign = o_.program == "sign";
    for (std::uint16_t i = 0; i < kContexts; ++i)
      key(i, fixed ? fixed_ : curve_.random_below(rng_, curve_.order()), sign);
    rest();
    engine_.done.clear();
    for (std::uint16_t i = 0; i < kContexts; ++i) {
      Job j{.op = static_cast<std::uint8_t>(sign ? kSign : kEcka),
            .curve = static_cast<std::uint8_t>(o_.curve),
            .slot = i};
      j.v[0] = sign ? message_ : peer_.x;
      j.v[1] = sign ? Num{} : peer_.y;
      engine_.submit(j);
    }
    toggles();
    std::vector<std::uint32_t> trace;
    while (engine_.done.size() < kContexts) {
      engine_.tick();
      trace.push_back(toggles(at_.contains(trace.size()) ? &now_[trace.size()] : nullptr));
      if (trace.size() > 2'000'000) throw std::runtime_error("a batch does not end");
    }
    for (const Completion& c : engine_.done)
      if (c.status != kOk) throw std::runtime_error("a job failed: status " + std::to_string(c.status));
    // What is compared must not be what the host sees anyway: the results leave in the last 24 cycles of each context,
    // and the shared secret of ECKA stands in registers without blinding from the word `xo` on, 14 words before that.
    trace.resize(trace.size() - kContexts * 24 - (sign ? 0 : 14 * 64));
    return trace;
  }

  const Options& o_;
  const Curve& curve_;
  std::mt19937_64 rng_;
  Engine engine_;
  std::vector<fault::Target> flops_;
  std::array<fault::Target, 2> share_;
  std::vector<unsigned char> before_;
  Num fixed_{}, message_{};
  std::map<std::size_t, std::vector<std::array<Moments, 2>>> at_;  // cycles that leak: of each flop, by class
  std::map<std::size_t, std::vector<std::uint32_t>> now_;          // toggles of this trace in them
  Point peer_{};
  std::array<std::array<std::vector<Moments>, 2>, 2> t_;  // by half and class
};

}  // namespace
}  // namespace kf::leak

int main(int argc, char** argv) {
  kf::leak::Options o;
  o.seed = std::random_device{}();
  try {
    for (kf::rtl::Arguments a(argc, argv); a.next();) {
      if (a.is("--help")) {
        std::puts(
            "leak --table FILE [--program sign|ecka] [--curve 0|1] [--traces N] [--seed N] [--unmasked] "
            "[--expect-leak]\n"
            "     [--csv FILE] [--explain]\n"
            "Do the toggles of the flops depend on the key? rtl/leak/README.md. SIGN on curve 1 draws its nonces too "
            "unevenly\n"
            "for traces to be aligned.");
        return 0;
      }
      if (a.is("--table"))
        o.table = a.text();
      else if (a.is("--program"))
        o.program = a.text();
      else if (a.is("--curve"))
        o.curve = a.number(0, 1);
      else if (a.is("--traces"))
        o.traces = a.number<std::size_t>(16);  // four for each half and class
      else if (a.is("--seed"))
        o.seed = a.number<std::uint64_t>();
      else if (a.is("--csv"))
        o.csv = a.text();
      else if (a.is("--unmasked"))
        o.unmasked = true;
      else if (a.is("--expect-leak"))
        o.expect_leak = true;
      else if (a.is("--explain"))
        o.explain = true;
      else
        a.unknown();
    }
    // Before the hours that it takes, not after them.
    if (!o.csv.empty() && !std::ofstream(o.csv))
      throw std::runtime_error("--csv " + o.csv + ": " + std::strerror(errno));
    if (o.program != "sign" && o.program != "ecka") throw std::runtime_error("--program: sign or ecka");
    const kf::rtl::OpensslCurve curve(o.curve == 0 ? NID_X9_62_prime256v1 : NID_brainpoolP256r1);
    return kf::leak::Assessment(o, curve).run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tvla: %s\n", e.what());
    return 2;
  }
}
