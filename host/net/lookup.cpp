#include "host/net/lookup.hpp"

#include <netdb.h>

#include <boost/asio/post.hpp>

#include <cstring>
#include <system_error>
#include <thread>

namespace kf::net::detail {
namespace {

std::vector<Tcp::endpoint> endpoints_of(const addrinfo* list) {
  std::vector<Tcp::endpoint> out;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    Tcp::endpoint e;
    if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || a->ai_addrlen > e.capacity()) continue;
    std::memcpy(e.data(), a->ai_addr, a->ai_addrlen);
    e.resize(a->ai_addrlen);
    out.push_back(e);
  }
  return out;
}

}  // namespace

std::shared_ptr<Lookup> Lookup::start(asio::io_context& io, std::string host, std::uint16_t port) {
  auto self = std::make_shared<Lookup>();
  self->io_ = &io;
  try {
    std::thread([self, host = std::move(host), port] {
      try {
        self->ask(host, port);
      } catch (...) {  // no memory: whoever waits for the answer has a deadline, and the next call asks again
        self->lost();
      }
    }).detach();
  } catch (const std::system_error& e) {
    self->done = true;
    self->why = e.what();
  }
  return self;
}

void Lookup::ask(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  auto endpoints = failed == 0 ? endpoints_of(list) : std::vector<Tcp::endpoint>();
  if (failed == 0) ::freeaddrinfo(list);
  std::string reason = failed == 0 ? "no address" : ::gai_strerror(failed);
  const std::lock_guard lock(mutex_);
  if (io_ == nullptr) return;
  asio::post(*io_, [self = shared_from_this(), endpoints = std::move(endpoints), reason = std::move(reason)]() mutable {
    self->finish(std::move(endpoints), std::move(reason));
  });
}

void Lookup::finish(std::vector<Tcp::endpoint> endpoints, std::string reason) {
  done = true;
  found = std::move(endpoints);
  why = std::move(reason);
  for (asio::steady_timer* t : waiting) t->cancel();
}

void Lookup::lost() {
  const std::lock_guard lock(mutex_);
  lost_ = true;
}

bool Lookup::usable() {
  const std::lock_guard lock(mutex_);
  return !done && !lost_;
}

void Lookup::abandon() {
  const std::lock_guard lock(mutex_);
  io_ = nullptr;
}

}  // namespace kf::net::detail
