#include "hsm/engine/hsm_engine.hpp"

#include <algorithm>

#include "hsm/engine/io_loop.hpp"

namespace kf::hsm {

struct HsmEngine::Impl {
  explicit Impl(const HsmConfig& c) : loop(c) {}
  IoLoop loop;
};

HsmEngine::HsmEngine() = default;
HsmEngine::~HsmEngine() = default;

Result<std::unique_ptr<HsmEngine>> HsmEngine::start(const HsmConfig& c) {
  if (c.workers < 1 || c.workers > 64) return Error{"hsm-worker", "workers must be 1 to 64"};
  if (c.ring_entries < 1 || c.ring_entries > 65536) return Error{"hsm-worker", "ring_entries must be 1 to 65536"};
  std::unique_ptr<HsmEngine> e(new HsmEngine);
  e->impl_ = std::make_unique<Impl>(c);
  KF_CHECK(e->impl_->loop.start());
  return e;
}

std::size_t HsmEngine::submit(std::span<const EccRequest> requests) noexcept { return impl_->loop.submit(requests); }
std::size_t HsmEngine::poll(std::span<EccCompletion> out) noexcept { return impl_->loop.poll(out); }
int HsmEngine::event_fd() const noexcept { return impl_->loop.event_fd(); }
HsmStats HsmEngine::stats() const { return impl_->loop.stats(); }

std::vector<int> HsmEngine::worker_pids() const {
  std::vector<int> pids;
  for (const auto& w : stats().workers) {
    if (w.pid != 0) pids.push_back(w.pid);
  }
  return pids;
}

Result<Point> HsmEngine::public_key(Curve c) {
  for (const auto& [curve, point] : impl_->loop.identity()) {
    if (curve == c) return point;
  }
  return Error{"hsm-key", "no identity key configured on " + std::string(curve_name(c))};
}

Result<SecretBytes> HsmEngine::unwrap_data_key(ByteView wrapped) {
  wire::Writer w;
  w.field(wrapped);
  return impl_->loop.call(wire::AdminOp::unwrap_data_key, w);
}

Result<Bytes> HsmEngine::new_wrapped_data_key() {
  KF_TRY(const SecretBytes wrapped, impl_->loop.call(wire::AdminOp::new_data_key, {}));
  return to_bytes(wrapped.expose());
}

Result<Bytes> HsmEngine::seal_record(ByteView aad, ByteView plain) {
  if (plain.size() > wire::kMaxRecord || aad.size() > wire::kMaxRecord)
    return Error{"hsm-seal", "record or AAD longer than 16384 octets"};
  wire::Writer w;
  w.field(aad);
  w.field(plain);
  KF_TRY(const SecretBytes sealed, impl_->loop.call(wire::AdminOp::seal_record, w));
  return to_bytes(sealed.expose());
}

Result<SecretBytes> HsmEngine::open_record(ByteView aad, ByteView sealed) {
  wire::Writer w;
  w.field(aad);
  w.field(sealed);
  return impl_->loop.call(wire::AdminOp::open_record, w);
}

Result<std::size_t> HsmEngine::session_objects() {
  KF_TRY(const SecretBytes payload, impl_->loop.call(wire::AdminOp::session_objects, {}));
  wire::Reader r(payload.expose());
  const std::size_t n = r.u32();
  if (!r.at_end()) return Error{"hsm-worker", "malformed answer"};
  return n;
}

Result<std::vector<std::pair<std::string, std::string>>> HsmEngine::describe() {
  KF_TRY(const SecretBytes payload, impl_->loop.call(wire::AdminOp::describe, {}));
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
  KF_TRY(const SecretBytes payload, impl_->loop.call(wire::AdminOp::key_facts, {}));
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
