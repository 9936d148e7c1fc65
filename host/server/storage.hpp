// Coroutine access to the store: runs a job on the writer thread and resumes on the loop after the group's commit.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <spdlog/spdlog.h>

#include <optional>

#include "host/base/text.hpp"
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
  // Tried again every second until it is stored, for what nobody waits for and a full disk must not lose. What the job
  // itself throws would be thrown again: that is given up. Any thread; `what` is for the log. `over` runs on the loop
  // when it is stored or given up.
  void submit_until_stored(std::string what, store::Store::Work w, std::function<void()> over = {}) {
    store_until_done(std::make_shared<const Lasting>(Lasting{std::move(what), std::move(w), std::move(over)}), 0);
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
  struct Lasting {
    std::string what;
    store::Store::Work work;
    std::function<void()> over;
  };
  void store_until_done(const std::shared_ptr<const Lasting>& l, unsigned attempt) {
    submit([l](store::Tx& tx) { l->work(tx); },
           [this, l, attempt](const Status& s) {
             const bool again = !s && !s.error().is(store::StoreFault::job);
             if (!s && attempt % 30 == 0)
               spdlog::error("{} not stored, {}: {}", printable(l->what, 200), again ? "trying again" : "given up",
                             s.error().text());
             if (!again) {
               if (l->over) l->over();
               return;
             }
             auto pause = std::make_shared<asio::steady_timer>(io_, std::chrono::seconds(1));
             pause->async_wait([this, l, pause, attempt](const boost::system::error_code& ec) {
               if (!ec) store_until_done(l, attempt + 1);
             });
           });
  }
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
