// DownloadService: answers that nobody waits for any more, and what they say of a card.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/download/answers.hpp"
#include "host/server/download_service.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
constexpr std::size_t kMostLateAnswers = 64;     // of one download
constexpr std::size_t kMostLateCreations = 256;  // of one SM-SR, that are looked up or stored at the same time

std::optional<unsigned> call_number(const std::string& transaction) {
  const std::string number = transaction.substr(transaction.rfind('.') + 1);
  unsigned n = 0;
  const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), n);
  if (ec != std::errc() || end != number.data() + number.size() || n == 0) return std::nullopt;
  return n;
}
}  // namespace

std::optional<unsigned> late_call(const download::Download& d, const std::string& transaction) {
  const auto n = call_number(transaction);
  if (!n || *n > d.calls) return std::nullopt;
  const bool asked =
      *n == d.pending_call || (d.enable_call != 0 && *n >= d.enable_call) || d.possession.open(transaction);
  return asked ? n : std::nullopt;
}

namespace {
bool made(const es::Response& r) { return r.function == es::Function::create_isdp && download::executed(r); }
// Not, where the answer leaves the AID out: it may be another one.
bool same_isdp(const es::Response& r, const std::string& known) {
  return !r.isd_p_aid.empty() && to_hex(r.isd_p_aid) == known;
}

// The highest number that a life before the restart can have used: they are given out in blocks.
unsigned most_calls(unsigned recorded) { return (recorded / download::kCallsOfALife + 1) * download::kCallsOfALife; }

// What the machine may still ask of an answer to a call that nobody waits for: how the call ended, which the card's
// status word may say. What else such a message may carry, up to a megabyte, is not kept.
bool matters_late(es::Function f) {
  return f == es::Function::create_isdp || f == es::Function::delete_isdp || f == es::Function::enable_profile;
}
es::Response without_its_load(es::Response r) {
  r.eis.reset();
  constexpr std::size_t kStatusWords = 1024;
  if (r.euicc_response_data && r.euicc_response_data->size() > kStatusWords) r.euicc_response_data.reset();
  return r;
}
}  // namespace

// Its first step, which makes it know the calls of its old life, is still to come: it waits for a place after a
// restart, or that it leaves its card is being stored first.
bool DownloadService::knows_no_calls(const Live& l) {
  return l.queued || (!l.events.empty() && std::holds_alternative<download::Restart>(l.events.front()));
}

// Of a running download. While its record cannot be stored no event is taken: one answer a call waits at most, and none
// of a call that nobody asks about any more. One that waits for a place after a restart does not know yet which calls
// its old life made: its first step does. One whose outcome is being stored takes nothing any more: what came meanwhile
// is told to whoever is responsible then.
void DownloadService::late_answer(const LivePtr& l, const std::string& transaction, const es::Response& r) {
  const bool unknown = knows_no_calls(*l);
  const bool ending = download::ended(l->d.state);
  const bool created = made(r);
  std::optional<unsigned> n;
  if (unknown) {
    n = call_number(transaction);
    if (n && (!matters_late(r.function) || *n > most_calls(l->d.calls))) n.reset();
  } else {
    n = ending && created ? call_number(transaction) : late_call(l->d, transaction);
  }
  // A creation that was denied and made after all: the next order for that card finds it in the EIS and cleans it away.
  const bool over = !n || (unknown && !l->d.possession.open(transaction));
  if (over && created && !ending && !same_isdp(r, l->d.isd_p_aid)) alarm_late_isdp(*l, transaction, r);
  const bool waits = std::ranges::any_of(l->events, [n](const download::Event& e) {
    const auto* a = std::get_if<download::Answer>(&e);
    return a != nullptr && a->call == n;
  });
  if (!n || waits) return;
  if (l->events.size() >= kMostLateAnswers) {
    if (ending && created) alarm_late_isdp(*l, transaction, r);
    return;
  }
  post(l, download::Answer{*n, unknown || ending ? without_its_load(r) : r});  // the machine decides what it is worth
}

void DownloadService::alarm_late_isdp(const Live& l, const std::string& transaction, const es::Response& r) {
  ++p_.metrics.alarms;
  peer_line(spdlog::level::err, "late ISD-P", l.order.smsr.str(),
            "ALARM download " + l.order.id + " EID " + l.order.eid.str() + ": SM-SR " + l.order.smsr.str() +
                " says that CreateISDP " + transaction + " made ISD-P " + to_hex(r.isd_p_aid) +
                ", and that call was over; the ISD-P may be left in state Created");
}

// Of an order whose outcome could not even be written: nobody will look at what came meanwhile.
void DownloadService::alarm_unread_answers(const Live& l) {
  if (!download::ended(l.d.state)) return;
  for (const auto& e : l.events)
    if (const auto* a = std::get_if<download::Answer>(&e); a != nullptr && made(a->response))
      alarm_late_isdp(l, l.order.id + "." + std::to_string(a->call), a->response);
}

void DownloadService::late_callback(const Party& from, const std::string& transaction, const es::Response& r) {
  const std::size_t dot = transaction.rfind('.');
  const LivePtr l = dot == std::string::npos ? nullptr : at_work_or_taken_up(transaction.substr(0, dot));
  if (l && l->order.smsr == from.oid) {
    // After a restart a queued one does not know yet whether it had left its card, and its calls to the card's ledger.
    const bool left = l->left_card || l->leaving;
    const bool of_card = (left || l->queued) && p_.follow_ups.late_callback(from, transaction, r);
    if (of_card && (left || !l->d.possession.open(transaction))) return;
    return late_answer(l, transaction, r);
  }
  if (p_.follow_ups.late_callback(from, transaction, r)) return;
  if (made(r) && dot != std::string::npos) made_after_all(from, transaction, r);
}

// A CreateISDP that no ledger has, of an order that has ended: denied then, and made after all. Its ICCID is uncertain
// again, and the card is looked after, unless the ICCID is somewhere else by now.
void DownloadService::made_after_all(const Party& from, const std::string& transaction, const es::Response& r) {
  // Each is in the store's hands once, until what it says is stored: nobody repeats a callback that was answered 202.
  const std::string smsr = from.oid.str();
  auto& under_way = late_creations_[smsr];
  if (under_way.contains(transaction)) return;
  if (under_way.size() >= kMostLateCreations) {
    ++p_.metrics.alarms;
    return peer_line(spdlog::level::err, "too many late CreateISDPs", smsr,
                     "ALARM SM-SR " + smsr + " says that CreateISDP " + transaction +
                         " was executed after all, as it says of too many others at once: not looked into");
  }
  under_way.insert(transaction);
  try {
    p_.orders.find_ended(transaction.substr(0, transaction.rfind('.')),
                         [this, transaction, smsr, r = without_its_load(r)](const EndedOrder& found) {
                           if (stopped_) return;
                           bool later = false;
                           guarded(p_.metrics, "a late CreateISDP",
                                   [&] { later = looked_up(found, smsr, transaction, r); });
                           if (!later) late_creation_done(smsr, transaction);
                         });
  } catch (...) {
    late_creation_done(smsr, transaction);
    throw;
  }
}

// True: late_creation_done() is called later.
bool DownloadService::looked_up(const EndedOrder& found, const std::string& smsr, const std::string& transaction,
                                const es::Response& r) {
  const std::string says =
      "SM-SR " + smsr + " says that CreateISDP " + transaction + " made ISD-P " + to_hex(r.isd_p_aid);
  const auto alarm = [&](const std::string& text) {
    ++p_.metrics.alarms;
    peer_line(spdlog::level::err, "late CreateISDP", smsr, "ALARM " + text);
  };
  if (!found.read) {
    alarm(says + ", and what is known of its order cannot be read");
    return false;
  }
  const auto n = call_number(transaction);
  if (!found.ended || found.ended->order.smsr.str() != smsr || !n || *n > found.ended->calls) {
    peer_warn("late CreateISDP of nobody", smsr, says + ", and no order of ours there is known by that name");
    return false;
  }
  const download::Order& o = found.ended->order;
  const auto& profile = found.profile;
  const bool free = profile && profile->state == store::ProfileState::free;
  // Its own, told once more; where the ICCID is free its own is gone, and one without a name is another.
  if (same_isdp(r, found.ended->isd_p_aid)) return false;
  if (!free && r.isd_p_aid.empty() && !found.ended->isd_p_aid.empty()) return false;
  const bool uncertain_here = profile && profile->state == store::ProfileState::uncertain &&
                              profile->eid == o.eid.str() && profile->smsr == smsr;
  // Told once more, or in doubt already: it counts from now on, so that an EIS that was asked for before says nothing.
  const bool known = uncertain_here && p_.follow_ups.knows(download::card_of(o), o.iccid.str());
  if (!known)
    alarm("download " + o.id + " EID " + o.eid.str() + ": " + says + ", and that order has ended; " +
          (free || uncertain_here ? "ICCID " + o.iccid.str() + " is uncertain again and the eUICC is looked after"
                                  : "an ISD-P may be left in state Created; ICCID " + o.iccid.str() + " is " +
                                        (profile ? "with EID " + profile->eid : "not in the inventory")));
  if (!free && !uncertain_here) return false;
  look_after_again(o, transaction);
  return true;
}

void DownloadService::late_creation_done(const std::string& smsr, const std::string& transaction) {
  const auto it = late_creations_.find(smsr);
  if (it == late_creations_.end()) return;
  it->second.erase(transaction);
  if (it->second.empty()) late_creations_.erase(it);
}

void DownloadService::look_after_again(const download::Order& o, const std::string& transaction) {
  auto left = std::make_shared<download::Download>();
  left->order = o;
  left->order.iccid_was = download::IccidState::free;
  left->state = download::State::failed;
  left->possession.claimed(o.iccid.str(), anchored_ms());
  // Like an order that ends: the follow-up does not look before all this is stored. Until then the ICCID counts as free
  // and may be ordered for another card, so it is tried until it is.
  const std::string card = download::card_of(o);
  p_.follow_ups.hold(card);
  try {
    const auto ledger = p_.follow_ups.outcome(*left);
    if (ledger) p_.follow_ups.keep_ledger(o.eid.str(), o.smsr.str(), *ledger);
    p_.orders.uncertain_again(o, [this, left, card, transaction] {
      if (stopped_) return;
      late_creation_done(left->order.smsr.str(), transaction);
      guarded(p_.metrics, "what an order left", [&] { p_.follow_ups.settled(*left); });
      p_.follow_ups.release(card);
    });
  } catch (...) {
    p_.follow_ups.release(card);
    throw;
  }
}

}  // namespace kf::server
