#include "host/pipeline/seal_pipeline.hpp"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "host/os/cpu_time.hpp"

// oneTBB orders what happens before a task is handed on and what happens in it, but inside a library that
// ThreadSanitizer cannot look into; these tell it.
#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#else
namespace {
inline void __tsan_acquire(void*) {}
inline void __tsan_release(void*) {}
}  // namespace
#endif

namespace kf::pipeline {
namespace {

struct Job {
  Order order;
  std::function<void(Sealed)> done;
  std::size_t memory = 0;
  Package package;
  Sealed result;
  std::optional<es8::ScriptRun> script;
};

// One token of the pipeline.
struct Batch {
  std::vector<Job> jobs;
  double personalise_s = 0, seal_s = 0;
};
using BatchPtr = Batch*;

}  // namespace

std::size_t memory_of(std::size_t package_bytes) {
  return 4 * package_bytes + package_bytes / 8 + 4096;  // package, 1.02 of it sealed, twice that in hex; and the rest
}

struct SealPipeline::Impl {
  Options options;
  // The calling thread never works here, so that oneTBB needs as many workers as the arena has places.
  tbb::global_control workers;
  tbb::task_arena arena;
  mutable std::mutex lock;
  std::deque<Job> waiting;  // guarded by lock, as all below
  std::size_t memory = 0;   // of what was taken
  std::size_t running = 0;  // runs of the pipeline that take orders; at most one
  std::size_t active = 0;   // tasks that are not over
  bool stopping = false;
  Stats counted;
  std::condition_variable idle;

  explicit Impl(const Options& o)
      : options(o),
        workers(tbb::global_control::max_allowed_parallelism, std::max(1U, o.threads) + 1),
        arena(static_cast<int>(std::max(1U, o.threads)), 0) {}

  // With the lock held: somebody must take what waits.
  void wake() {
    if (running != 0 || waiting.empty() || stopping) return;
    running = 1;
    ++active;
    __tsan_release(this);
    arena.enqueue([this] { run(); });
  }

  BatchPtr take() {
    __tsan_acquire(this);
    auto batch = std::make_unique<Batch>();
    const std::lock_guard g(lock);
    while (!stopping && !waiting.empty() && batch->jobs.size() < options.batch) {
      const std::size_t more = memory_of(waiting.front().order.about_bytes);
      // One that is larger than the bound goes alone.
      if (memory != 0 && memory + more > options.bytes_in_flight) break;
      memory += more;
      batch->jobs.push_back(std::move(waiting.front()));
      batch->jobs.back().memory = more;
      waiting.pop_front();
    }
    counted.peak_bytes = std::max(counted.peak_bytes, memory);
    if (batch->jobs.empty()) {
      running = 0;  // what comes from now on, or when memory is free again, starts the next run
      return nullptr;
    }
    counted.batch.add(batch->jobs.size());
    __tsan_release(batch.get());
    return batch.release();
  }

  // What throws about one order ends that order: above these threads nobody would catch it.
  template <class F>
  static void alone(Job& j, F&& f) noexcept {
    try {
      std::forward<F>(f)();
    } catch (const std::exception& e) {
      j.result.status = Error{"pipeline", e.what()};
    } catch (...) {
      j.result.status = Error{"pipeline", "unknown exception"};
    }
  }

  static BatchPtr personalise(BatchPtr b) {
    __tsan_acquire(b);
    const double start = os::thread_cpu_seconds();
    for (Job& j : b->jobs) {
      alone(j, [&j] {
        auto p = j.order.package();
        if (p) {
          j.package = std::move(*p);
        } else {
          j.result.status = p.error();
        }
      });
    }
    b->personalise_s = os::thread_cpu_seconds() - start;
    __tsan_release(b);
    return b;
  }

  BatchPtr seal(BatchPtr b) const {
    __tsan_acquire(b);
    const double start = os::thread_cpu_seconds();
    // An engine serves one thread and keeps its buffers: one for each thread and name.
    thread_local std::string name;
    thread_local std::unique_ptr<seal::ScriptSealer> engine;
    if (!engine || name != options.engine) {
      auto made = seal::make_sealer(options.engine);
      if (!made) std::abort();  // make() has tried it
      engine = std::move(*made);
      name = options.engine;
    }
    std::vector<es8::ScriptOrder> orders;
    std::vector<Job*> of;
    for (Job& j : b->jobs) {
      if (!j.result.status) continue;
      es8::ScriptOrder o;
      o.keys = &j.order.keys;
      o.isd_p = j.order.isd_p;
      o.hc = j.order.hc;
      o.counter = j.order.counter;
      o.online = j.order.online ? &*j.order.online : nullptr;
      o.segments = j.package.segments;
      orders.push_back(o);
      of.push_back(&j);
    }
    std::vector<Result<es8::ScriptRun>> scripts;
    try {
      scripts = es8::seal_scripts(orders, *engine);
    } catch (const std::exception& e) {  // no memory, say: it is not known about whose order
      for (Job* j : of) j->result.status = Error{"pipeline", e.what()};
      of.clear();
    }
    for (std::size_t i = 0; i < of.size(); ++i) {
      of[i]->result.bytes = of[i]->package.bytes;
      of[i]->result.segments = of[i]->package.segments.size();
      if (scripts[i]) {
        of[i]->script = std::move(*scripts[i]);
      } else {
        of[i]->result.status = scripts[i].error();
      }
    }
    // Keys and personal data are wiped here, before anybody is called back.
    for (Job& j : b->jobs) {
      j.order.keys = es8::KeySet{};
      j.package = Package{};
    }
    b->seal_s = os::thread_cpu_seconds() - start;
    __tsan_release(b);
    return b;
  }

  void finish(BatchPtr token) {
    __tsan_acquire(token);
    const std::unique_ptr<Batch> b(token);
    std::size_t bytes = 0;
    std::size_t segments = 0;
    std::size_t freed = 0;
    const double start = os::thread_cpu_seconds();
    for (Job& j : b->jobs) {
      freed += j.memory;
      if (j.script) {
        alone(j, [&] {
          es8::ScriptRun& r = *j.script;
          j.result.parts = es8::send_parts(r.octets, r.ends, j.order.send_data_limit, j.order.in_22);
          j.result.session = std::make_shared<es8::SealedScript>(std::move(r.session));
          bytes += j.result.bytes;
          segments += j.result.segments;
        });
      }
      j.script.reset();
    }
    const double encode_s = os::thread_cpu_seconds() - start;
    for (Job& j : b->jobs) alone(j, [&j] { j.done(std::move(j.result)); });
    const std::lock_guard g(lock);
    memory -= freed;
    counted.orders += b->jobs.size();
    counted.bytes += bytes;
    counted.segments += segments;
    counted.personalise_s += b->personalise_s;
    counted.seal_s += b->seal_s;
    counted.encode_s += encode_s;
    wake();
  }

  void run() {
    __tsan_acquire(this);
    tbb::parallel_pipeline(
        std::max(1U, options.threads),
        tbb::make_filter<void, BatchPtr>(tbb::filter_mode::serial_in_order, [this](tbb::flow_control& fc) {
          BatchPtr b = take();
          if (b == nullptr) fc.stop();
          return b;
        }) & tbb::make_filter<BatchPtr, BatchPtr>(tbb::filter_mode::parallel, [](BatchPtr b) {
          return personalise(b);
        }) & tbb::make_filter<BatchPtr, BatchPtr>(tbb::filter_mode::parallel, [this](BatchPtr b) {
          return seal(b);
        }) & tbb::make_filter<BatchPtr, void>(tbb::filter_mode::parallel, [this](BatchPtr b) { finish(b); }));
    const std::lock_guard g(lock);
    wake();
    if (--active == 0) idle.notify_all();
  }
};

Result<std::unique_ptr<SealPipeline>> SealPipeline::make(const Options& o) {
  KF_TRY(const auto engine, seal::make_sealer(o.engine));
  auto impl = std::make_unique<Impl>(o);
  impl->counted.engine = engine->name();
  return std::unique_ptr<SealPipeline>(new SealPipeline(std::move(impl)));
}

SealPipeline::SealPipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SealPipeline::~SealPipeline() {
  std::deque<Job> left;
  {
    std::unique_lock g(impl_->lock);
    impl_->stopping = true;
    left.swap(impl_->waiting);
    impl_->idle.wait(g, [this] { return impl_->active == 0; });
  }
  for (Job& j : left) {
    j.result.status = Error{"pipeline-stopped", "the server stops"};
    j.done(std::move(j.result));
  }
}

void SealPipeline::submit(Order order, std::function<void(Sealed)> done) {
  Job j;
  j.order = std::move(order);
  j.done = std::move(done);
  const std::lock_guard g(impl_->lock);
  impl_->waiting.push_back(std::move(j));
  impl_->wake();
}

Stats SealPipeline::stats() const {
  const std::lock_guard g(impl_->lock);
  return impl_->counted;
}

}  // namespace kf::pipeline
