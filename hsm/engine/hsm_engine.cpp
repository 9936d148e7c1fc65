#include "hsm/engine/hsm_engine.hpp"

#include <algorithm>

#include "hsm/engine/scheduler.hpp"
#include "hsm/engine/supervisor.hpp"

namespace kf::hsm {
namespace {

Scheduler::Options books(const HsmConfig& c) {
  Scheduler::Options o;
  o.entries = c.ring_entries;
  o.tokens = c.tokens.size();
  o.job_limit = static_cast<std::uint64_t>(std::chrono::nanoseconds(c.job_limit).count());
  return o;
}

Status usable(const HsmConfig& c) {
  if (c.tokens.empty()) return Error{"hsm-token", "no token configured"};
  for (const TokenConfig& t : c.tokens) {
    if (t.workers == 0 || t.workers > 64) return Error{"hsm-worker", "workers must be 1 to 64"};
    if (t.threads == 0 || t.threads > wire::kMaxThreads) return Error{"hsm-worker", "threads must be 1 to 64"};
  }
  if (c.ring_entries == 0 || c.ring_entries > 65'536) return Error{"hsm-worker", "ring_entries must be 1 to 65536"};
  return {};
}

}  // namespace

struct HsmEngine::Impl {
  explicit Impl(const HsmConfig& c)
      : supervisor(c),
        scheduler(
            books(c), [this](std::size_t token) { supervisor.report_broken(token); },
            [this] { supervisor.link_is_idle(); }) {}

  void read_mail() {
    if (!supervisor.mail_waits()) return;
    for (const Mail& m : supervisor.take_mail()) {
      if (m.kind == Mail::Kind::lost) lost_books(m.link);
      scheduler.take(m, wire::now_ns());
    }
  }
  // What a link has done is kept when its worker has gone.
  void lost_books(const LinkPtr& link) {
    for (const auto& l : scheduler.links()) {
      if (l.link == link) add(l);
    }
  }
  void add(const Scheduler::LinkBooks& l) {
    if (done.size() <= l.link->worker) done.resize(l.link->worker + 1);
    done[l.link->worker].jobs += l.jobs;
    done[l.link->worker].batches += l.batches;
    done[l.link->worker].doorbells += l.doorbells;
  }

  Supervisor supervisor;
  Scheduler scheduler;
  std::vector<HsmStats::Worker> done;  // of workers that have gone, by index
};

HsmEngine::HsmEngine() = default;
HsmEngine::~HsmEngine() = default;

Result<std::unique_ptr<HsmEngine>> HsmEngine::start(const HsmConfig& c) {
  KF_CHECK(usable(c));
  std::unique_ptr<HsmEngine> e(new HsmEngine);
  e->impl_ = std::make_unique<Impl>(c);
  KF_CHECK(e->impl_->supervisor.start());
  e->impl_->supervisor.clear_event();
  e->impl_->read_mail();
  return e;
}

std::size_t HsmEngine::submit(std::span<const EccRequest> requests) noexcept {
  Impl& i = *impl_;
  i.read_mail();
  const std::size_t n = i.scheduler.submit(requests, wire::now_ns());
  i.supervisor.wake_engine_at(i.scheduler.next_due());
  if (i.scheduler.has_done()) i.supervisor.raise_event();  // refused at once
  return n;
}

std::size_t HsmEngine::poll(std::span<EccCompletion> out) noexcept {
  Impl& i = *impl_;
  std::size_t n = 0;
  for (;;) {
    i.read_mail();
    i.scheduler.turn(wire::now_ns());
    while (n < out.size() && i.scheduler.collect(out[n])) ++n;
    if (i.scheduler.has_done()) {  // no room for all of them: the descriptor stays readable
      i.supervisor.raise_event();
      break;
    }
    if (n == 0) i.supervisor.clear_event();
    if (i.scheduler.prepare_sleep() && !i.supervisor.mail_waits()) break;
    if (n != 0) {
      i.supervisor.raise_event();
      break;
    }
  }
  i.supervisor.wake_engine_at(i.scheduler.next_due());
  return n;
}

int HsmEngine::event_fd() const noexcept { return impl_->supervisor.event_fd(); }

HsmStats HsmEngine::stats() const {
  impl_->read_mail();
  HsmStats s;
  const Scheduler& k = impl_->scheduler;
  impl_->supervisor.fill(s);
  for (std::size_t i = 0; i < s.workers.size() && i < impl_->done.size(); ++i) {
    s.workers[i].jobs = impl_->done[i].jobs;
    s.workers[i].batches = impl_->done[i].batches;
    s.workers[i].doorbells = impl_->done[i].doorbells;
  }
  for (const auto& l : k.links()) {
    HsmStats::Worker& w = s.workers[l.link->worker];
    w.jobs += l.jobs;
    w.batches += l.batches;
    w.doorbells += l.doorbells;
    w.service_us = l.service_ns / 1000;
  }
  for (std::size_t i = 0; i < s.tokens.size(); ++i) {
    s.tokens[i].jobs = k.token(i).jobs;
    s.tokens[i].device_errors = k.token(i).device_errors;
    if (k.token(i).draining) s.tokens[i].state = k.outstanding_in(i) == 0 ? "drained" : "draining";
  }
  s.batch_size = k.counters().batch_size;
  s.queue_us = k.counters().queue_us;
  s.service_us = k.counters().service_us;
  s.retries = k.counters().retries;
  s.timed_out = k.counters().timed_out;
  s.busy = k.counters().busy;
  s.engine_down = k.counters().engine_down;
  return s;
}

std::vector<int> HsmEngine::worker_pids() const {
  std::vector<int> pids;
  for (const auto& w : stats().workers) {
    if (w.pid != 0) pids.push_back(w.pid);
  }
  return pids;
}

Result<Point> HsmEngine::public_key(Curve c) {
  for (const auto& [curve, point] : impl_->supervisor.identity()) {
    if (curve == c) return point;
  }
  return Error{"hsm-key", "no identity key configured on " + std::string(curve_name(c))};
}

Result<SecretBytes> HsmEngine::unwrap_data_key(ByteView wrapped) {
  wire::Writer w;
  w.field(wrapped);
  return impl_->supervisor.call(wire::AdminOp::unwrap_data_key, w);
}

Result<Bytes> HsmEngine::new_wrapped_data_key() {
  KF_TRY(const SecretBytes wrapped, impl_->supervisor.call(wire::AdminOp::new_data_key, {}));
  return to_bytes(wrapped.expose());
}

Result<Bytes> HsmEngine::seal_record(ByteView aad, ByteView plain) {
  if (plain.size() > wire::kMaxRecord || aad.size() > wire::kMaxRecord)
    return Error{"hsm-seal", "record or AAD longer than 16384 octets"};
  wire::Writer w;
  w.field(aad);
  w.field(plain);
  KF_TRY(const SecretBytes sealed, impl_->supervisor.call(wire::AdminOp::seal_record, w));
  return to_bytes(sealed.expose());
}

Result<SecretBytes> HsmEngine::open_record(ByteView aad, ByteView sealed) {
  wire::Writer w;
  w.field(aad);
  w.field(sealed);
  return impl_->supervisor.call(wire::AdminOp::open_record, w);
}

Result<Bytes> HsmEngine::random(std::size_t n) {
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(n));
  KF_TRY(const SecretBytes r, impl_->supervisor.call(wire::AdminOp::random, w));
  return to_bytes(r.expose());
}

bool HsmEngine::set_draining(std::string_view token, bool on) {
  const HsmStats s = stats();
  for (std::size_t i = 0; i < s.tokens.size(); ++i) {
    if (s.tokens[i].name != token) continue;
    impl_->scheduler.drain(i, on);
    impl_->scheduler.turn(wire::now_ns());
    if (impl_->scheduler.has_done()) impl_->supervisor.raise_event();
    return true;
  }
  return false;
}
bool HsmEngine::drain(std::string_view token) { return set_draining(token, true); }
bool HsmEngine::resume(std::string_view token) { return set_draining(token, false); }

Result<std::size_t> HsmEngine::session_objects() {
  KF_TRY(const SecretBytes payload, impl_->supervisor.call(wire::AdminOp::session_objects, {}));
  wire::Reader r(payload.expose());
  const std::size_t n = r.u32();
  if (!r.at_end()) return Error{"hsm-worker", "malformed answer"};
  return n;
}

Result<std::vector<std::pair<std::string, std::string>>> HsmEngine::describe() {
  KF_TRY(const SecretBytes payload, impl_->supervisor.call(wire::AdminOp::describe, {}));
  wire::Reader r(payload.expose());
  std::vector<std::pair<std::string, std::string>> rows;
  while (r.ok() && !r.at_end()) {
    std::string name = r.string();
    rows.emplace_back(std::move(name), r.string());
  }
  if (!r.ok()) return Error{"hsm-worker", "malformed answer"};
  return rows;
}

Result<std::vector<KeyFacts>> HsmEngine::key_facts() {
  KF_TRY(const SecretBytes payload, impl_->supervisor.call(wire::AdminOp::key_facts, {}));
  wire::Reader r(payload.expose());
  std::vector<KeyFacts> keys;
  while (r.ok() && !r.at_end()) {
    KeyFacts k{};
    k.label = r.string();
    const std::uint32_t bits = r.u32();
    // Order of the flags: TokenOps::key_facts in hsm/worker/identity.cpp.
    bool* const flags[] = {&k.token_object,     &k.private_object,    &k.sensitive, &k.extractable,
                           &k.always_sensitive, &k.never_extractable, &k.sign,      &k.derive,
                           &k.decrypt,          &k.encrypt,           &k.wrap,      &k.unwrap,
                           &k.value_readable};
    for (std::size_t i = 0; i < std::size(flags); ++i) *flags[i] = ((bits >> i) & 1U) != 0;
    keys.push_back(std::move(k));
  }
  if (!r.ok()) return Error{"hsm-worker", "malformed answer"};
  return keys;
}

}  // namespace kf::hsm
