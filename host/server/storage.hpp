// Coroutine access to the store: runs a job on the writer thread and resumes on the loop after the group's commit.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <optional>

#include "host/store/store.hpp"

namespace kf::server {

namespace asio = boost::asio;

class Storage {
 public:
  Storage(asio::io_context& io, store::Store& s) : io_(io), store_(s) {}

  // `done` runs on the loop.
  void submit(store::Store::Work w, std::function<void(Status)> done) {
    store_.submit(std::move(w),
                  [this, done = std::move(done)](Status s) { asio::post(io_, [done, s = std::move(s)] { done(s); }); });
  }
  // GCC 12 destroys a lambda temporary inside a co_await expression twice: give tx() a named std::function.
  template <class T>
  asio::awaitable<Result<T>> tx(const std::function<T(store::Tx&)>& work) {
    auto state = std::make_shared<State<T>>();
    state->work = work;
    return run_tx<T>(std::move(state));
  }
  store::Store& store() { return store_; }

 private:
  template <class T>
  struct State {
    std::function<T(store::Tx&)> work;
    std::optional<T> value;
  };
  template <class T>
  asio::awaitable<Result<T>> run_tx(std::shared_ptr<State<T>> state) {
    auto initiate = [this, state](auto handler) {
      auto h = std::make_shared<decltype(handler)>(std::move(handler));
      submit([state](store::Tx& t) { state->value.emplace(state->work(t)); }, [h](const Status& s) { (*h)(s); });
    };
    const Status s =
        co_await asio::async_initiate<decltype(asio::use_awaitable), void(Status)>(initiate, asio::use_awaitable);
    if (!s) co_return Error(s.error());
    co_return std::move(*state->value);
  }
  asio::io_context& io_;
  store::Store& store_;
};

}  // namespace kf::server
