// Routes elliptic-curve requests to engines by operation and gathers them: everything asked for within one turn of
// the loop is submitted as one span. Loop thread only; callbacks run on the loop, never inside request().
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

namespace kf::server {

namespace asio = boost::asio;

class CryptoService {
 public:
  using Callback = std::function<void(EccCompletion&)>;

  // Which engine does what; one engine may stand for several. They must outlive the service.
  struct Routing {
    EccEngine& sign;            // the identity key: always the HSM
    EccEngine& ephemeral_ecka;  // by custody: HSM (strict), software (hybrid), ECC core (core)
    EccEngine& verify;          // public data: software, or the ECC core
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
  void flush();
  Lane& lane_of(EccOp op);
  void drain(Lane& l);
  void watch(Lane& l);
  asio::io_context& io_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  Routing routing_;
  bool flush_posted_ = false, stopped_ = false;
  std::uint64_t next_id_ = 1;
  asio::steady_timer retry_timer_;
};

}  // namespace kf::server
