// Routes elliptic-curve requests to engines by custody policy and gathers them: everything asked for within one turn of
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
#include "host/server/config.hpp"

namespace kf::server {

namespace asio = boost::asio;

class CryptoService {
 public:
  using Callback = std::function<void(EccCompletion&)>;

  // Engines must outlive the service. Sign goes to `hsm`; ephemeral_ecka by policy; verify to `software`.
  CryptoService(asio::io_context& io, EccEngine& hsm, EccEngine& software, CustodyPolicy policy);
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
  void drain(Lane& l);
  void watch(Lane& l);
  asio::io_context& io_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  EccEngine& hsm_;
  EccEngine& software_;
  CustodyPolicy policy_;
  bool flush_posted_ = false, stopped_ = false;
  std::uint64_t next_id_ = 1;
  asio::steady_timer retry_timer_;
};

}  // namespace kf::server
