#include "bench/hsm/direct_legs.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"

namespace kf::bench {
namespace {

using hsm::DirectKind;

constexpr std::array<std::pair<DirectKind, const char*>, 5> kMechanisms{
    {{DirectKind::sign, "sign, key in the token"},
     {DirectKind::sign_with_copy, "sign, copy in a session object"},
     {DirectKind::ecka, "pair, derive, destroy"},
     {DirectKind::set, "download set"},
     {DirectKind::verify, "verify"}}};

unsigned milliseconds_of(double seconds) { return static_cast<unsigned>(std::lround(std::max(seconds, 0.02) * 1e3)); }

}  // namespace

Result<DirectLegs> DirectLegs::start(const hsm::HsmConfig& c, unsigned processes) {
  DirectLegs d;
  for (unsigned i = 0; i < processes; ++i) {
    const hsm::TokenConfig& t = c.tokens[i % c.tokens.size()];
    KF_TRY(auto client, hsm::DirectClient::start(c, t));
    d.clients_.push_back(std::move(client));
    d.threads_.push_back(t.threads);
  }
  return d;
}

Result<std::vector<DirectRow>> DirectLegs::mechanisms(const std::vector<Curve>& curves, double seconds) {
  std::vector<DirectRow> rows;
  for (const Curve c : curves) {
    double in_token = 0;
    double copied = 0;
    for (const auto& [kind, name] : kMechanisms) {
      if (proc::interrupted()) return rows;
      DirectRow row;
      row.mechanism = name;
      row.curve = curve_name(c);
      const auto r = clients_.front()->measure({kind, c, 1, milliseconds_of(seconds)});
      if (!r) {
        // A module may well refuse copies or verification; the rest is needed.
        if (kind != DirectKind::sign_with_copy && kind != DirectKind::verify) return r.error();
        row.refused = r.error().detail.empty() ? r.error().reason : r.error().detail;
      } else {
        row.per_s = r->seconds > 0 ? static_cast<double>(r->done) / r->seconds : 0;
        row.p50_us = r->p50_us;
        row.p95_us = r->p95_us;
        row.p99_us = r->p99_us;
        row.cpu_us = r->done > 0 ? r->cpu_seconds / static_cast<double>(r->done) * 1e6 : 0;
        row.refused = r->failed > 0 ? r->first_error : "";
      }
      if (kind == DirectKind::sign) in_token = row.per_s;
      if (kind == DirectKind::sign_with_copy && row.refused.empty()) copied = row.per_s;
      rows.push_back(std::move(row));
    }
    if (c == curves.front() && copied > 0.95 * in_token) {
      sign_ = DirectKind::sign_with_copy;
      signs_with_ = "a copy of the key in a session object";
    }
  }
  return rows;
}

Result<DirectLegs::Rate> DirectLegs::run(Work w, Curve c, unsigned processes, double seconds) {
  const DirectKind kind = w == Work::sign ? sign_ : w == Work::ecka ? DirectKind::ecka : DirectKind::set;
  Rate out;
  const auto start = std::chrono::steady_clock::now();
  const double busy = proc::machine_busy_seconds() - proc::own_cpu_seconds();
  for (unsigned i = 0; i < processes; ++i)
    KF_CHECK(clients_[i]->begin({kind, c, threads_[i], milliseconds_of(seconds)}));
  Status first;
  for (unsigned i = 0; i < processes; ++i) {  // all of them, whatever the first says: none may stay in its call
    const auto r = clients_[i]->finish();
    if (!r) {
      if (first.ok()) first = r.error();
      continue;
    }
    out.per_s += r->seconds > 0 ? static_cast<double>(r->done) / r->seconds : 0;
    out.done += r->done;
    out.failed += r->failed;
    out.cpu_s += r->cpu_seconds;
    if (out.first_error.empty()) out.first_error = r->first_error;
  }
  KF_CHECK(std::move(first));
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double others = proc::machine_busy_seconds() - proc::own_cpu_seconds() - busy - out.cpu_s;
  out.other_cpus = wall > 0 ? std::max(0.0, others / wall) : 0;
  return out;
}

}  // namespace kf::bench
