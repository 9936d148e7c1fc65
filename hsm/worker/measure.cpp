#include "hsm/worker/measure.hpp"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <deque>
#include <optional>
#include <thread>

#include "host/base/histogram.hpp"
#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "host/os/cpu_time.hpp"
#include "hsm/worker/probe_calls.hpp"

namespace kf::hsm::worker {
namespace {

using calls::Outcome;
using wire::MeasureRun;
using Clock = std::chrono::steady_clock;

constexpr unsigned kGiveUpAfter = 20;  // failures in a row: what fails twenty times tells nothing by failing on

std::uint64_t process_cpu_ns() { return static_cast<std::uint64_t>(os::process_cpu().count()); }

// What one thread works with, and what it found out.
struct Lane {
  p11::Session session;
  calls::Dialect dialect;
  std::optional<p11::Object> pub, priv, copy;  // after the session: destroyed before it
  CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
  Point key_q{};
  Point peer{};
  Digest32 hash{};
  Signature signature{};
  std::uint64_t done = 0, failed = 0;
  Outcome first_error;
  Histogram ns;
  Clock::time_point begin, end;
};

Error refused(const char* reason, const Outcome& o) { return {reason, o.text()}; }

// The key that signs, as the kind wants it.
Status prepare_key(Lane& l, const wire::Configuration& c, const MeasureRun& run, Curve curve) {
  using Kind = MeasureRun::Kind;
  const auto named = std::find_if(c.keys.begin(), c.keys.end(), [&](const auto& k) { return k.curve == run.curve; });
  if (named == c.keys.end()) {
    l.pub.emplace(l.session);
    l.priv.emplace(l.session);
    if (const Outcome o = calls::generate_pair(l.session, curve, calls::Use::sign, false, *l.pub, *l.priv); !o.ok())
      return refused("hsm-token", o);
    bool der = false;
    if (const Outcome o = calls::read_point(l.session, l.pub->handle(), l.key_q, der); !o.ok())
      return refused("hsm-token", o);
    l.key = l.priv->handle();
    return {};
  }
  KF_TRY(const calls::Pair pair, calls::find_pair(l.session, named->label));
  if (pair.curve != curve)
    return Error{"hsm-key", "key '" + named->label + "' is not on " + std::string(curve_name(curve))};
  l.key = pair.priv;
  l.key_q = pair.q;
  if (run.kind != Kind::sign_with_copy && run.kind != Kind::set) return {};
  l.copy.emplace(l.session);
  if (const Outcome o = calls::copy_to_session(l.session, pair.priv, *l.copy); o.ok()) {
    l.key = l.copy->handle();
  } else if (run.kind == Kind::sign_with_copy) {
    return refused("hsm-key", o);
  }
  return {};
}

// Everything that does not belong into the measured time, and one signature that must be right.
Status prepare(Lane& l, p11::Module& m, CK_SLOT_ID slot, const wire::Configuration& c, const MeasureRun& run,
               const calls::Dialect& known) {
  using Kind = MeasureRun::Kind;
  const auto curve = static_cast<Curve>(run.curve);
  l.dialect = known;
  if (const CK_RV rv = l.session.open(m, slot, known.read_write); rv != CKR_OK)
    return p11::rv_error("hsm-token", "C_OpenSession", rv);
  random_fill(l.hash);
  const KeyPair peer = generate_key_pair(curve);
  l.peer = peer.q;
  if (run.kind == Kind::ecka) return {};
  if (run.kind == Kind::verify) {
    l.key_q = peer.q;
    l.signature = ecdsa_sign(curve, peer.d.expose(), l.hash);
    Outcome o = calls::verify_with_import(l.session, l.dialect, curve, l.key_q, l.hash, l.signature);
    if (!o.ok()) {
      l.dialect.ec_point_raw = true;
      o = calls::verify_with_import(l.session, l.dialect, curve, l.key_q, l.hash, l.signature);
    }
    return o.ok() ? Status() : refused("hsm-token", o);
  }
  KF_CHECK(prepare_key(l, c, run, curve));
  if (const Outcome o = calls::sign(l.session, l.key, l.hash, l.signature); !o.ok()) return refused("hsm-token", o);
  if (!ecdsa_verify(curve, l.key_q, l.hash, l.signature))
    return Error{"hsm-token", "C_Sign: the signature does not verify with the public key"};
  return {};
}

template <class Op>
void loop(Lane& l, std::chrono::nanoseconds length, Op&& op) {
  unsigned in_a_row = 0;
  Clock::time_point before = l.begin = Clock::now();
  const Clock::time_point stop = before + length;
  while (before < stop && in_a_row < kGiveUpAfter) {
    const Outcome o = op();
    const Clock::time_point after = Clock::now();
    if (o.ok()) {
      ++l.done;
      in_a_row = 0;
      l.ns.add(static_cast<std::uint64_t>((after - before).count()));
    } else {
      if (l.failed++ == 0) l.first_error = o;
      ++in_a_row;
    }
    before = after;
  }
  l.end = before;
}

void work(Lane& l, const MeasureRun& run) {
  using Kind = MeasureRun::Kind;
  const auto curve = static_cast<Curve>(run.curve);
  const std::chrono::milliseconds length(run.milliseconds);
  Point epk{};
  SecretArray<32> shs;
  switch (run.kind) {
    case Kind::sign:
    case Kind::sign_with_copy:
      return loop(l, length, [&] { return calls::sign(l.session, l.key, l.hash, l.signature); });
    case Kind::ecka:
      return loop(l, length, [&] { return calls::ecka(l.session, l.dialect, curve, l.peer, epk, shs.expose_mut()); });
    case Kind::set:
      return loop(l, length, [&] {
        const Outcome o = calls::ecka(l.session, l.dialect, curve, l.peer, epk, shs.expose_mut());
        return o.ok() ? calls::sign(l.session, l.key, l.hash, l.signature) : o;
      });
    case Kind::verify:
      return loop(l, length,
                  [&] { return calls::verify_with_import(l.session, l.dialect, curve, l.key_q, l.hash, l.signature); });
  }
}

}  // namespace

Result<wire::MeasureRate> measure(p11::Module& m, CK_SLOT_ID slot, const wire::Configuration& c,
                                  const MeasureRun& run) {
  using Kind = MeasureRun::Kind;
  const auto curve = static_cast<Curve>(run.curve);
  if (calls::curve_oid(curve).empty()) return Error{"hsm-call", "curve not supported in the HSM"};
  if (run.threads > 1 && m.one_thread_only()) return Error{"hsm-token", "this module cannot lock: one thread only"};
  calls::Dialect known;
  if (run.kind == Kind::ecka || run.kind == Kind::set) {
    p11::Session s;
    if (const Outcome o = calls::learn_ecka(m, slot, curve, s, known); !o.ok()) return refused("hsm-token", o);
  } else {
    known.read_write = calls::objects_need_read_write(m, slot, curve);
  }
  std::deque<Lane> lanes(run.threads);
  for (Lane& l : lanes) KF_CHECK(prepare(l, m, slot, c, run, known));

  const std::uint64_t cpu = process_cpu_ns();
  if (lanes.size() == 1) {
    work(lanes.front(), run);
  } else {
    std::barrier start(static_cast<std::ptrdiff_t>(lanes.size()));
    std::vector<std::thread> threads;
    for (Lane& l : lanes) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        work(l, run);
      });
    }
    for (std::thread& t : threads) t.join();
  }

  wire::MeasureRate r;
  r.cpu_ns = process_cpu_ns() - cpu;
  Histogram all;
  Clock::time_point begin = lanes.front().begin;
  Clock::time_point end = lanes.front().end;
  for (const Lane& l : lanes) {
    r.done += l.done;
    r.failed += l.failed;
    if (r.first_error.empty()) r.first_error = l.first_error.text();
    all.merge(l.ns);
    begin = std::min(begin, l.begin);
    end = std::max(end, l.end);
  }
  r.wall_ns = static_cast<std::uint64_t>((end - begin).count());
  r.p50_ns = all.percentile(50);
  r.p95_ns = all.percentile(95);
  r.p99_ns = all.percentile(99);
  return r;
}

}  // namespace kf::hsm::worker
