// The SM-SR's calls when it misbehaves (hostile.hpp), and an EIS that tells the truth late.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include "tests/sim/smsr/smsr_parts.hpp"

namespace kf::sim {
namespace {

constexpr std::chrono::seconds kSilence{30};  // a synchronous caller without an answer is held so long

asio::awaitable<void> pause(asio::io_context& io, std::chrono::milliseconds time) {
  asio::steady_timer t(io, time);
  boost::system::error_code ec;
  co_await t.async_wait(asio::redirect_error(asio::use_awaitable, ec));
}

}  // namespace

net::Response Smsr::turn_away(std::shared_ptr<Call> call, const Party* party) {
  const Hostility::Ways w = call->ways;
  if (w.executed)
    asio::co_spawn(io_, run_call(call, party), asio::detached);
  else
    std::erase_if(calls_, [&](const auto& c) { return c.second == call; });
  call->ways.answered = true;  // to a repetition
  return hostile_answer(w);
}

asio::awaitable<es::Response> Smsr::execute_hostile(std::shared_ptr<Call> call, const Party* party,
                                                    Clock::time_point deadline) {
  const Hostility::Ways w = call->ways;
  const auto q = call->request;
  if (!w.executed) {
    co_await pause(io_, kSilence);
    Answer a = failed(*q, "1.6", "5.3", q->eid, "ValidityPeriod is over");
    a.status = es::ExecStatus::expired;
    co_return a;
  }
  if (w.refused) co_return failed(*q, "8.7", "4.2", q->iccid.value_or(""), "not now");
  if (w.belated) {
    // The answer goes first. What is executed then finds nobody who waits for it.
    ++hostility_.pending;
    asio::co_spawn(io_, execute_late(q, party, w.before, deadline), [](std::exception_ptr, const Answer&) {});
    co_return failed(*q, "8.1", "5.4", q->eid, "delivered, no answer");
  }
  ++hostility_.pending;
  Answer a = co_await execute_late(q, party, w.before, deadline);
  if (w.huge && a.eis) enlarge(*a.eis);
  if (w.after.count() > 0) co_await pause(io_, w.after);
  if (!w.answered && call->owed.empty() && w.http == 0 && !w.garbage) co_await pause(io_, kSilence);
  co_return a;
}

// Counted in `pending` by the caller, until it is done.
asio::awaitable<es::Response> Smsr::execute_late(std::shared_ptr<const es::Request> q, const Party* party,
                                                 std::chrono::milliseconds wait, Clock::time_point deadline) {
  if (wait.count() > 0) co_await pause(io_, wait);
  Answer a = co_await execute(party, q, deadline);
  --hostility_.pending;
  co_return a;
}

void Smsr::list_profiles(es::Eis& eis, const Euicc& e, const Party& p) const {
  const auto now = Clock::now();
  for (const auto& entry : e.entries) {
    if (entry.in_creation || entry.info.smdp_id != p.oid) continue;
    const bool lie = now < entry.lies_until;
    if (lie && entry.old_state.empty()) continue;
    eis.profiles.push_back(entry.info);
    if (lie) eis.profiles.back().state = entry.old_state;
  }
  for (const auto& ghost : e.ghosts)
    if (now < ghost.lies_until && ghost.info.smdp_id == p.oid) eis.profiles.push_back(ghost.info);
}

void Smsr::change(EisEntry& entry, std::string state) {
  entry.lies_until = hostility_.lies_until();
  entry.old_state = entry.info.state == state ? std::string() : entry.info.state;  // the same: it was not there
  entry.info.state = std::move(state);
}

void Smsr::remove(Euicc& e, const std::string& aid, bool shown) {
  const auto it =
      std::find_if(e.entries.begin(), e.entries.end(), [&](const EisEntry& x) { return x.info.isd_p_aid == aid; });
  if (it == e.entries.end()) return;
  hostility_.gone(it->info.iccid, e.id.eid);
  if (shown) it->lies_until = hostility_.lies_until();
  const auto now = Clock::now();
  std::erase_if(e.ghosts, [&](const EisEntry& g) { return g.lies_until <= now; });
  if (shown && it->lies_until > now) e.ghosts.push_back(std::move(*it));
  e.entries.erase(it);
}

}  // namespace kf::sim
