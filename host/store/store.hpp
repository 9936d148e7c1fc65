// The store's writer thread: jobs from any thread, committed in groups.
//
// A job's work runs on the writer thread inside a savepoint of the group's transaction; its `done` is called on the
// writer thread after the group's commit (hand it to your own executor). "Acknowledged only when committed" is
// done(ok). Durability: WAL with synchronous=FULL, so a commit survives kill -9 and power loss as far as the disk tells
// the truth.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "host/base/histogram.hpp"
#include "host/base/result.hpp"
#include "host/store/tx.hpp"

namespace kf::store {

struct StoreOptions {
  std::string path;               // created with mode 0600 when missing
  std::size_t max_queue = 65536;  // jobs; submit() refuses beyond
  std::size_t max_group = 512;    // jobs a commit
};

struct StoreStats {
  Histogram group_size, commit_us;
  double cpu_s = 0;  // of the writer thread
};

class Store {
 public:
  // Reasons: store-open, store-version.
  static Result<std::unique_ptr<Store>> open(const StoreOptions& o);
  ~Store();  // finishes what is queued

  using Work = std::function<void(Tx&)>;
  using Done = std::function<void(Status)>;  // reasons: store-failed (this job), store-commit (the group), store-full
  void submit(Work w, Done d);
  Status run(Work w);  // waits; for tools and start-up, never from the loop thread
  [[nodiscard]] StoreStats stats() const;

 private:
  Store();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kf::store
