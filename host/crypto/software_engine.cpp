#include "host/crypto/software_engine.hpp"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "host/crypto/ec.hpp"
#include "host/crypto/ec_openssl.hpp"
#include "host/os/fd.hpp"

namespace kf {
namespace {
bool known(Curve c) { return c == Curve::p256 || c == Curve::brainpool_p256r1 || c == Curve::frp256v1; }

// The fresh scalar stays inside OpenSSL's key object (wiped when freed); only the point and Z come out.
void ephemeral(const EccRequest& r, EccCompletion& done) {
  ossl::Kit& k = ossl::kit_of(r.curve);
  if (r.peer[0] != 0x04 || !ossl::load_public(k, r.peer.data())) {
    done.status = EccStatus::bad_input;
    return;
  }
  EVP_PKEY* raw = nullptr;
  const bool made = ossl::clear_unless(EVP_PKEY_generate(k.keygen.get(), &raw) == 1);
  const ossl::PkeyPtr own(raw);
  if (!made || !ossl::derive(own.get(), k.pub.get(), done.shs.expose_mut().data())) return;  // failed
  done.epk = ossl::public_point(own.get());
  done.status = EccStatus::ok;
}
}  // namespace

EccCompletion software_execute(const EccRequest& r) {
  EccCompletion done;
  done.id = r.id;
  done.op = r.op;
  if (!known(r.curve)) {
    done.status = EccStatus::bad_input;
    return done;
  }
  switch (r.op) {
    case EccOp::sign:
      done.status = EccStatus::no_key;
      break;
    case EccOp::ephemeral_ecka:
      ephemeral(r, done);
      break;
    case EccOp::verify:
      if (!check_point(r.curve, r.peer))
        done.status = EccStatus::bad_input;
      else
        done.status = ecdsa_verify(r.curve, r.peer, r.hash, r.signature) ? EccStatus::ok : EccStatus::bad_signature;
      break;
  }
  return done;
}

namespace {
// A ring of fixed size: nothing is allocated after the start, so submit() cannot fail half-way.
template <class T>
class Ring {
 public:
  explicit Ring(std::size_t n) : slots_(n) {}
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  void push(T&& v) noexcept { slots_[(head_ + count_++) % slots_.size()] = std::move(v); }
  T pop() noexcept {
    T v = std::move(slots_[head_]);
    head_ = (head_ + 1) % slots_.size();
    --count_;
    return v;
  }

 private:
  std::vector<T> slots_;
  std::size_t head_ = 0, count_ = 0;
};
}  // namespace

struct SoftwareEngine::Impl {
  std::size_t limit;
  os::EventFd event;
  std::mutex lock;
  std::condition_variable work;
  Ring<EccRequest> todo;  // guarded by lock, like all below
  Ring<EccCompletion> done;
  std::size_t in_flight = 0;  // accepted and not yet polled
  bool stopping = false;
  std::map<Curve, std::shared_ptr<EVP_PKEY>> identities;
  std::vector<std::thread> threads;

  explicit Impl(const SoftwareEngineOptions& o)
      : limit(std::max<std::size_t>(1, o.queue_limit)), todo(limit), done(limit) {
    ossl::must(event.open());
    for (unsigned i = 0; i < std::max(1U, o.threads); ++i) threads.emplace_back([this] { serve(); });
  }
  ~Impl() {
    {
      const std::lock_guard g(lock);
      stopping = true;
    }
    work.notify_all();
    for (std::thread& t : threads) t.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  EccCompletion execute(const EccRequest& r) {
    if (r.op != EccOp::sign) return software_execute(r);
    EccCompletion c;
    c.id = r.id;
    c.op = r.op;
    std::shared_ptr<EVP_PKEY> key;
    {
      const std::lock_guard g(lock);
      if (const auto it = identities.find(r.curve); it != identities.end()) key = it->second;
    }
    if (!key)
      c.status = EccStatus::no_key;
    else if (ossl::sign(key.get(), r.hash, c.signature))
      c.status = EccStatus::ok;
    return c;
  }

  void serve() {
    std::unique_lock g(lock);
    for (;;) {
      work.wait(g, [this] { return stopping || !todo.empty(); });
      if (stopping) return;
      const EccRequest r = todo.pop();
      g.unlock();
      EccCompletion c = execute(r);
      g.lock();
      if (done.empty()) event.set();
      done.push(std::move(c));
    }
  }
};

SoftwareEngine::SoftwareEngine(SoftwareEngineOptions o) : impl_(std::make_unique<Impl>(o)) {}
SoftwareEngine::~SoftwareEngine() = default;
int SoftwareEngine::event_fd() const noexcept { return impl_->event.fd(); }

std::size_t SoftwareEngine::submit(std::span<const EccRequest> requests) noexcept {
  std::size_t n = 0;
  {
    const std::lock_guard g(impl_->lock);
    n = std::min(requests.size(), impl_->limit - impl_->in_flight);
    for (std::size_t i = 0; i < n; ++i) impl_->todo.push(EccRequest(requests[i]));
    impl_->in_flight += n;
  }
  if (n == 1)
    impl_->work.notify_one();
  else if (n > 1)
    impl_->work.notify_all();
  return n;
}

std::size_t SoftwareEngine::poll(std::span<EccCompletion> out) noexcept {
  const std::lock_guard g(impl_->lock);
  const std::size_t n = std::min(out.size(), impl_->done.size());
  for (std::size_t i = 0; i < n; ++i) out[i] = impl_->done.pop();
  impl_->in_flight -= n;
  if (impl_->done.empty()) impl_->event.clear();
  return n;
}

void SoftwareEngine::add_test_identity(Curve c, ByteView d32) {
  ossl::must(ossl::scalar_in_range(c, d32));
  std::shared_ptr<EVP_PKEY> key(ossl::private_key(c, d32));
  const std::lock_guard g(impl_->lock);
  impl_->identities[c] = std::move(key);
}
}  // namespace kf
