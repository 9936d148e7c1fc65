// The administration socket of a running server: a Unix socket that only its user can open. One line in, one JSON
// document out, then it is closed. Lines: "status" (also an empty one, or none), "drain TOKEN", "resume TOKEN".
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <functional>
#include <string>

#include "host/base/result.hpp"

namespace kf::server {

// Loop thread only.
class AdminSocket {
 public:
  using Handler = std::function<std::string(const std::string& line)>;
  AdminSocket(boost::asio::io_context& io, const std::string& path, Handler handler)
      : acceptor_(io), path_(path), handler_(std::move(handler)) {}
  ~AdminSocket();
  Status start();  // reasons: admin
  void stop();

 private:
  void accept();
  boost::asio::local::stream_protocol::acceptor acceptor_;
  std::string path_;
  Handler handler_;
  bool open_ = false;
};

// The other end, for commands: blocking. Reasons: admin (nobody answers).
Result<std::string> ask_server(const std::string& path, const std::string& line);

}  // namespace kf::server
