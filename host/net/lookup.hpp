// The addresses of one name. getaddrinfo() cannot be interrupted, and Asio runs all of an io_context's lookups on one
// thread: a name whose servers do not answer would hold up everybody else's. So each lookup has a thread of its own,
// and whoever asks keeps to one at a time. Private to host/net.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/net/channel.hpp"

namespace kf::net::detail {

class Lookup : public std::enable_shared_from_this<Lookup> {
 public:
  static std::shared_ptr<Lookup> start(asio::io_context& io, std::string host, std::uint16_t port);
  // Nobody is interested any more, and the io_context may end: when getaddrinfo() returns at last, nothing happens.
  void abandon();

  // False: it is over, or no answer will come. Whoever wants to know starts another one.
  bool usable();

  // The loop's own:
  bool done = false;
  std::vector<Tcp::endpoint> found;  // empty: `why` says what is wrong
  std::string why;
  std::list<asio::steady_timer*> waiting;  // cancelled when it is done

 private:
  void ask(const std::string& host, std::uint16_t port);
  void finish(std::vector<Tcp::endpoint> endpoints, std::string reason);
  void lost();

  std::mutex mutex_;
  bool lost_ = false;               // guarded by mutex_
  asio::io_context* io_ = nullptr;  // guarded by mutex_; nullptr: abandoned
};

}  // namespace kf::net::detail
