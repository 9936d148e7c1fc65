// The engine built for two tiny curves: every scalar on every point through ECKA, every scalar through GENERATE, every pair (key, nonce) of a
// sample through SIGN and VERIFY. On tiny curves the blinded ladder and the windows meet infinity now and then: status exception is right
// there (and status entropy, where a random factor is 0 modulo the prime), a wrong number never is.
//     test_tiny CURVES TABLE [SEED] [PART]     PART 1: everything; 4: every fourth point, and so on
#include <cstdio>
#include <fstream>
#include <string>

#include "arguments.hpp"
#include "engine.hpp"

int main(int argc, char** argv) {
  using namespace kf::rtl;
  std::uint64_t seed = std::random_device{}();
  std::size_t part = 1;  // VERIFY meets every so manieth point only
  std::string curves_file, table;
  try {
    Arguments a(argc, argv);
    curves_file = a.text();
    table = a.text();
    if (argc > 3) seed = a.number<std::uint64_t>();
    if (argc > 4) part = a.number<std::size_t>(1);
    if (a.next()) a.unknown();
  } catch (const std::exception& x) {
    std::fprintf(stderr, "tiny: %s\nusage: tiny CURVES TABLE [SEED [PART]]   CURVES, TABLE: of gen.py --tiny; PART: VERIFY meets every PART-th point only\n", x.what());
    return 2;
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  try {
    std::ifstream f(curves_file);
    std::vector<TinyCurve> curves;
    std::vector<std::uint64_t> orders;
    for (std::uint64_t p, a, b, gx, gy, n; f >> p >> a >> b >> gx >> gy >> n;) {
      curves.emplace_back(p, a, b, gx, gy, n);
      orders.push_back(n);
    }
    if (curves.size() != 2) throw std::runtime_error("two curves are expected");
    Engine e(seed);
    e.load_table(table);
    if (!e.self_test()) throw std::runtime_error("not ready");
    std::mt19937_64 rng(seed);
    std::size_t wrong = 0;
    auto run = [&](const char* what, const std::vector<Job>& jobs, auto&& right) {
      const std::size_t at = e.done.size();
      std::size_t bad = 0, flagged = 0;
      for (const Job& j : jobs) e.submit(j);
      e.run(jobs.size(), 2'000'000'000);
      for (std::size_t i = 0; i < jobs.size(); ++i) {
        const Completion& c = e.done[at + i];
        if (c.status == kException || c.status == kEntropy) {  // entropy: a random factor was 0 modulo the tiny prime
          ++flagged;
          bad += !(c.x == Num{} && c.y == Num{});
        } else if (!right(i, c)) {
          if (++bad <= 3) std::printf("WRONG %s: job %zu status %u x %u\n", what, i, c.status, c.x[0]);
        }
      }
      e.done.clear();
      wrong += bad + (flagged * 4 > jobs.size() ? 1 : 0);  // more than a quarter flagged is a fault as well
      std::printf("%-28s %7zu jobs, %6zu flagged, %zu wrong\n", what, jobs.size(), flagged, bad);
    };
    for (std::uint8_t c = 0; c < 2; ++c) {
      const TinyCurve& k = curves[c];
      const std::uint64_t n = orders[c];
      const auto points = k.points();
      std::vector<Job> jobs;
      std::vector<std::optional<Point>> want;
      auto erased = [&](std::size_t slots) {
        std::vector<Job> out;
        for (std::size_t s = 0; s < slots; ++s) out.push_back({.op = kErase, .slot = static_cast<std::uint16_t>(s)});
        run("ERASE", out, [](std::size_t, const Completion& x) { return x.status == kOk; });
      };
      for (std::uint64_t d = 1; d < n; ++d) {
        Job j{.op = kGenerate, .curve = c, .slot = static_cast<std::uint16_t>(d), .given = true};
        j.v[0] = TinyCurve::num(d);
        jobs.push_back(j);
        want.push_back(k.mul(j.v[0], nullptr));
      }
      run("GENERATE", jobs, [&](std::size_t i, const Completion& x) { return x.status == kOk && x.x == want[i]->x && x.y == want[i]->y; });
      erased(512);
      jobs.clear();
      want.clear();
      std::vector<std::uint64_t> scalars;
      for (std::size_t q = 0; q < points.size(); q += part) {
        // Slots hold 512 scalars, an ECKA uses one up: import and use in turns, a batch of each.
        for (std::uint64_t d0 = 1; d0 < n; d0 += 64) {
          for (std::uint64_t d = d0; d < std::min(d0 + 64, n); ++d) {
            Job j{.op = kImport, .curve = c, .slot = static_cast<std::uint16_t>(d)};
            j.v[0] = TinyCurve::num(d);
            jobs.push_back(j);
            scalars.push_back(0);
            want.emplace_back();
          }
          for (std::uint64_t d = d0; d < std::min(d0 + 64, n); ++d) {
            Job j{.op = kEcka, .curve = c, .slot = static_cast<std::uint16_t>(d)};
            j.v[0] = points[q].x;
            j.v[1] = points[q].y;
            jobs.push_back(j);
            scalars.push_back(d);
            want.push_back(k.mul(TinyCurve::num(d), &points[q]));
          }
        }
      }
      run("ECKA, every scalar", jobs, [&](std::size_t i, const Completion& x) {
        return x.status == kOk && (scalars[i] == 0 || (scalars[i] != n - 1 && x.x == want[i]->x));
      });
      jobs.clear();
      std::vector<Job> keys;
      for (std::uint64_t d = 1; d < n; ++d) {
        Job j{.op = kImport, .curve = c, .slot = static_cast<std::uint16_t>(d), .for_sign = true};
        j.v[0] = TinyCurve::num(d);
        keys.push_back(j);
      }
      run("IMPORT", keys, [](std::size_t, const Completion& x) { return x.status == kOk; });
      std::vector<std::optional<Point>> signatures;
      for (int i = 0; i < 2000; ++i) {
        const std::uint64_t d = 1 + rng() % (n - 1), nonce = 1 + rng() % (n - 1);
        Job j{.op = kSign, .curve = c, .slot = static_cast<std::uint16_t>(d), .given = true};
        j.v[0] = TinyCurve::num(rng() % n);
        j.v[1] = TinyCurve::num(nonce);
        jobs.push_back(j);
        signatures.push_back(k.sign(TinyCurve::num(d), j.v[0], j.v[1]));
      }
      run("SIGN", jobs, [&](std::size_t i, const Completion& x) { return signatures[i] && x.status == kOk && x.x == signatures[i]->x && x.y == signatures[i]->y; });
      std::vector<Job> checks;
      std::vector<bool> good;
      for (std::size_t i = 0; i < jobs.size(); ++i) {
        if (!signatures[i]) continue;
        Job j{.op = kVerify, .curve = c};
        const Point q = *k.mul(TinyCurve::num(jobs[i].slot), nullptr);
        j.v = {q.x, q.y, jobs[i].v[0], signatures[i]->x, signatures[i]->y};
        if (i % 3 == 0) j.v[2] = TinyCurve::num((TinyCurve::small(j.v[2]) + 1) % n);
        checks.push_back(j);
        good.push_back(k.verify(q, j.v[2], j.v[3], j.v[4]));
      }
      run("VERIFY", checks, [&](std::size_t i, const Completion& x) { return x.status == (good[i] ? kOk : kBadSignature); });
      erased(512);
    }
    std::printf("%llu cycles, %zu wrong\n", static_cast<unsigned long long>(e.cycles), wrong);
    return wrong == 0 ? 0 : 1;
  } catch (const std::exception& x) {
    std::printf("FAILED: %s\n", x.what());
    return 1;
  }
}
