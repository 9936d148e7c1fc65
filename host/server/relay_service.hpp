// The requests of Operators that an SM-SR carries out: everything in ES2 but DownloadProfile. Bounds and shares them,
// sends them by ES3, stores and delivers the answers.
//
// At one SM-SR relays have a quarter of its connections (two at least), so that downloads find one free; whose relay
// is next is decided as for downloads (admission.hpp): no Operator gets more than 8 of 9 of those places, or of the
// queue before them. A relay that only waits for the SM-SR's callback holds no place. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/server/download_service.hpp"

namespace kf::server {

class RelayService {
 public:
  explicit RelayService(DownloadService::Parts& p);

  // Room for one more request of this Operator to this SM-SR: empty, or why not. What has room is to be followed by
  // begin() or cancel().
  std::string reserve(const Party& op, const Party& smsr);
  void cancel(const Party& op, const Party& smsr);
  // Its call is committed. The outcome is stored with the call, delivered, and wakes who waits for it; nobody is told
  // what is not in the store, which is tried every second until it is.
  void begin(const Party& op, const Party& smsr, es::Request r, std::int64_t deadline_ms);
  // After a restart: relays that the old process had accepted and not answered.
  void end_interrupted(std::vector<store::CallRow> calls);
  void stop();

  [[nodiscard]] std::size_t running() const { return relays_.size(); }
  struct Count {
    std::string smsr;
    std::size_t waiting = 0, running = 0;
  };
  [[nodiscard]] std::vector<Count> counts() const;

 private:
  struct Relay {
    const Party* op = nullptr;
    const Party* smsr = nullptr;
    es::Request request;
    std::int64_t deadline_ms = 0;
    std::string start;
    std::unique_ptr<asio::steady_timer> expiry;  // while it waits for its turn
    bool sent = false;
    bool answered = false;  // its outcome is on the way to the store
  };
  using Id = Admission::Id;
  Admission& queue_of(const Party& smsr);
  void enqueue(Id id, Relay& x, std::int64_t deadline_ms);
  void pump(const Party& smsr);
  void send(Id id);
  void done(Id id, CallResult result);
  void expired(Id id);
  void end(Id id);
  void answer(Id id, const Relay& x, CallResult result);
  void broke(Id id, const std::exception_ptr& e);
  void follow_smsr(const es::Request& r);
  struct Answer {
    Id relay = 0;  // 0: of the process before
    std::string requester, fcid;
    es::Response response;
    BoundAnswer bound = {};
    unsigned attempts = 0;
  };
  using AnswerPtr = std::shared_ptr<Answer>;
  void store_answer(const AnswerPtr& a);
  void stored(const AnswerPtr& a, Result<Answered> r);
  void store_later(const AnswerPtr& a, const Error& why);
  void set_aside(const Answer& a, const Error& why);

  DownloadService::Parts& p_;
  bool share_operators_ = false, share_smsrs_ = false;
  std::map<Id, Relay> relays_;
  std::map<const Party*, std::unique_ptr<Admission>> queues_;  // by SM-SR
  struct Held {                                                // reserved and not answered
    std::size_t all = 0;
    std::map<const Party*, std::size_t> by_smsr;
  };
  std::map<const Party*, Held> held_;  // by Operator
  Id next_id_ = 0;
  bool stopped_ = false;
};

}  // namespace kf::server
