// Routes elliptic-curve requests to engines by operation and gathers them: everything asked for within one turn of
// the loop is submitted as one span. Where the routing allows several engines for an operation, each request goes to
// the one that is likely to answer first (load_split.hpp). Loop thread only; callbacks run on the loop, never inside
// request().
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "host/base/histogram.hpp"
#include "host/crypto/engine.hpp"
#include "host/server/load_split.hpp"

namespace kf::server {

namespace asio = boost::asio;

class CryptoService {
 public:
  using Callback = std::function<void(EccCompletion&)>;

  // Which engines may do what; one engine may stand in several lists, none is empty. They must outlive the service.
  // Nobody else ever does it: a request whose engines are all away waits for them.
  struct Routing {
    std::vector<EccEngine*> sign;            // the identity key: the HSM
    std::vector<EccEngine*> ephemeral_ecka;  // what custody and routing name
    std::vector<EccEngine*> verify;          // public data: software, ECC cores
  };
  CryptoService(asio::io_context& io, const Routing& routing);
  ~CryptoService();
  void request(EccRequest r, Callback cb);  // r.id is filled in
  void stop();

  struct Counters {
    std::string engine;
    std::uint64_t sign = 0, ephemeral = 0, ecka = 0, verify = 0, failures = 0, retries = 0;
    Histogram batch_size;
    Histogram queue_us;  // from request() to completion
  };
  [[nodiscard]] std::vector<Counters> counters() const;

 private:
  struct Lane;
  struct Job;
  void flush();
  void hand(Job&& job);  // to one of the lanes that may do it; where it throws, the job is still the caller's
  std::vector<std::size_t> indices_of(const std::vector<EccEngine*>& engines);
  [[nodiscard]] const std::vector<std::size_t>& allowed(EccOp op) const;
  void drain(Lane& l);
  void watch(Lane& l);
  asio::io_context& io_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::size_t> sign_, ephemeral_, verify_;  // indices into lanes_
  LoadSplit split_;
  bool flush_posted_ = false, stopped_ = false;
  std::uint64_t next_id_ = 1;
  asio::steady_timer retry_timer_;
};

}  // namespace kf::server
