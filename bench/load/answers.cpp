#include "bench/load/answers.hpp"

#include <algorithm>
#include <cstring>

#include "host/base/random.hpp"

namespace kf::bench {

Material::Material(const std::vector<std::pair<Curve, Point>>& identity_keys) {
  random_fill(base_);
  for (const auto& [curve, point] : identity_keys) {
    OnCurve on;
    on.curve = curve;
    on.identity = point;
    for (std::size_t i = 0; i < kPeers; ++i) {
      on.peers.push_back(generate_key_pair(curve));
      Signed s;
      s.hash = hash(i);
      s.signature = ecdsa_sign(curve, on.peers.back().d.expose(), s.hash);
      s.good = i % 8 != 0;
      if (!s.good) s.hash[i % s.hash.size()] ^= 1;
      on.to_verify.push_back(s);
    }
    on_.push_back(std::move(on));
  }
}

Digest32 Material::hash(std::uint64_t id) const {
  Digest32 h = base_;
  std::memcpy(h.data() + 16, &id, sizeof id);
  return h;
}

EccRequest Material::request(std::uint64_t id, EccOp op, std::size_t curve) const {
  EccRequest r;
  r.id = id;
  r.op = op;
  r.curve = on_[curve].curve;
  if (op == EccOp::sign) {
    r.hash = hash(id);
    return r;
  }
  r.peer = on_[curve].peers[peer_of(id)].q;
  if (op == EccOp::verify) {
    const Signed& s = on_[curve].to_verify[peer_of(id)];
    r.hash = s.hash;
    r.signature = s.signature;
  }
  return r;
}

bool Material::right(const Answer& a) const {
  const OnCurve& on = on_[a.curve];
  if (a.op == EccOp::verify)
    return a.status == (on.to_verify[peer_of(a.id)].good ? EccStatus::ok : EccStatus::bad_signature);
  if (a.op == EccOp::sign) return ecdsa_verify(on.curve, on.identity, hash(a.id), a.signature);
  if (!check_point(on.curve, a.epk)) return false;
  const auto expected = ecka(on.curve, on.peers[peer_of(a.id)].d.expose(), a.epk);
  return expected.ok() && equal_ct(expected->expose(), a.shs.expose());
}

void Tally::add(const Tally& o) {
  operations += o.operations;
  checked += o.checked;
  wrong += o.wrong;
  failed += o.failed;
  lost += o.lost;
  repeated_keys += o.repeated_keys;
  for (const auto& [what, n] : o.failures) failures[what] += n;
}

Judge::Judge(const Material& m, std::size_t expected) : material_(m) {
  keys_.resize(expected);  // touched, then empty: the pages are there
  keys_.clear();
}

Judge::~Judge() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Judge::start() {
  kept_.reserve(kQueue);
  thread_ = std::thread([this] { work(); });
}

void Judge::put(Material::Answer&& a) {
  if (!thread_.joinable()) {
    kept_.push_back(std::move(a));
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return kept_.size() < kQueue; });
  kept_.push_back(std::move(a));
  if (kept_.size() == 1) changed_.notify_all();
}

void Judge::work() {
  std::vector<Material::Answer> now;
  now.reserve(kQueue);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !kept_.empty() || closing_; });
    if (kept_.empty()) return;
    now.swap(kept_);
    changed_.notify_all();
    lock.unlock();
    for (const auto& a : now) judge(a);
    now.clear();
    lock.lock();
  }
}

void Judge::judge(const Material::Answer& a) {
  ++checked_;
  if (!material_.right(a)) ++wrong_;
  if (a.op != EccOp::ephemeral_ecka) return;
  std::uint64_t key = 0;
  std::memcpy(&key, a.epk.data() + 1, sizeof key);
  keys_.push_back(key);
}

void Judge::finish(Tally& t) {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
    closing_ = false;
  }
  for (const auto& a : kept_) judge(a);
  kept_.clear();
  std::sort(keys_.begin(), keys_.end());
  for (std::size_t i = 1; i < keys_.size(); ++i) t.repeated_keys += keys_[i] == keys_[i - 1] ? 1 : 0;
  keys_.clear();
  t.checked += checked_;
  t.wrong += wrong_;
  checked_ = wrong_ = 0;
}

}  // namespace kf::bench
