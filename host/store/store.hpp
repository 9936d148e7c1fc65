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
  // For the one server of a store: nobody else can open it so. Commands that only add or read open it beside.
  bool exclusive = false;
};

struct StoreStats {
  Histogram group_size, commit_us;
  double cpu_s = 0;  // of the writer thread
  std::uint64_t failed_groups = 0, lost_callbacks = 0;
  std::string trouble;  // why the last group could not be written; empty: it was
};

class Store {
 public:
  // Reasons: store-open, store-version, store-in-use (detail: "PATH: in use by process N").
  static Result<std::unique_ptr<Store>> open(const StoreOptions& o);
  ~Store();  // finishes what is queued

  using Work = std::function<void(Tx&)>;
  // Reasons: store-failed (the database or the job's StoreError refused this job), store-job (the job threw something
  // else: it will again), store-commit (the group), store-gone (the file was deleted or replaced: nothing is
  // acknowledged until it is back), store-full (too many jobs wait).
  using Done = std::function<void(Status)>;
  void submit(Work w, Done d);
  Status run(Work w);  // waits; for tools and start-up, never from the loop thread
  [[nodiscard]] StoreStats stats() const;

 private:
  Store();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kf::store
