// The administration socket of a running server: a Unix socket that only its user can open. One line in, one JSON
// document out, then it is closed. Lines: "status" (also an empty one, or none), "drain TOKEN", "resume TOKEN".
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "host/base/result.hpp"

namespace kf::server {

struct AdminLimits {
  std::size_t line = 512;                 // bytes; a longer one is answered with an error
  std::size_t clients = 16;               // at once; further ones wait until one of these is done
  std::chrono::milliseconds time{5'000};  // for one client, from accept to its last byte
};

// Loop thread only. Nothing that a client sends, or leaves out, and nothing that the handler throws ends the server or
// the socket; where the system has no descriptor left, it accepts again as soon as there is one.
class AdminSocket {
 public:
  using Handler = std::function<std::string(const std::string& line)>;
  AdminSocket(boost::asio::io_context& io, const std::string& path, Handler handler, AdminLimits limits = {});
  ~AdminSocket();
  AdminSocket(const AdminSocket&) = delete;
  AdminSocket& operator=(const AdminSocket&) = delete;
  Status start();  // reasons: admin
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Only a socket, or nothing, may be where a socket is to be. Reasons: admin.
Status socket_place_free(const std::string& path);

// The other end, for commands: blocking. Waits 10 s at most. Reasons: admin (nobody is there), admin-silent (somebody
// is, and gives no answer).
Result<std::string> ask_server(const std::string& path, const std::string& line);

}  // namespace kf::server
