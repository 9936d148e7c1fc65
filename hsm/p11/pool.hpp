// The sessions of one token in this process, and the lease of one: never two threads on one session.
// docs/spec/pkcs11.md L4 to L8, L10 say why it is as it is.
//
// A lease is held for as long as its thread works and given back; a session that went bad is replaced in place and
// never comes back. No session is probed before use. What a token announces as its limits is not believed:
// the pool opens what it is asked for until the token refuses, and lends the keeper session itself when
// nothing else can be had. Opening is limited to a burst and a rate, with growing pauses after a refusal.
//
// Each opened session has a generation of its own; a handle found under another generation is looked up again.
// Threading: any. Errors: the CK_RV of C_OpenSession.
#pragma once

#include <chrono>
#include <mutex>
#include <vector>

#include "hsm/p11/token.hpp"

namespace kf::p11 {

class SessionPool;

class Lease {
 public:
  Lease() = default;
  Lease(Lease&& o) noexcept : pool_(o.pool_), session_(o.session_), generation_(o.generation_) { o.pool_ = nullptr; }
  Lease& operator=(Lease&& o) noexcept;
  ~Lease() { give_back(); }
  [[nodiscard]] Session& session() const noexcept { return *session_; }
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  void give_back() noexcept;

 private:
  friend class SessionPool;
  SessionPool* pool_ = nullptr;
  Session* session_ = nullptr;
  std::uint64_t generation_ = 0;
};

class SessionPool {
 public:
  explicit SessionPool(Token& t) : token_(t) {}
  CK_RV lease(Lease& out);
  CK_RV replace(Lease& l);          // the old session is closed, whatever it says to that; one try
  void want_read_write() noexcept;  // a module that refuses session objects in a read-only session
  [[nodiscard]] bool read_write() const noexcept;
  [[nodiscard]] std::size_t opened() const noexcept;  // so far
  [[nodiscard]] std::size_t leased() const noexcept;

 private:
  friend class Lease;
  using Clock = std::chrono::steady_clock;
  CK_RV open(Session& s, int tries, std::unique_lock<std::mutex>& lock);

  Token& token_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Session>> all_;
  std::vector<Session*> idle_;
  std::vector<std::uint64_t> idle_generation_;
  bool keeper_lent_ = false;
  bool read_write_ = false;
  std::size_t opened_ = 0;
  std::size_t leased_ = 0;
  std::uint64_t generation_ = 0;
  double tokens_ = 64;  // of the rate limit
  Clock::time_point refilled_ = Clock::now();
};

}  // namespace kf::p11
