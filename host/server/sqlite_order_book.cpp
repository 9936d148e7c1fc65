// Acceptance and outcome of orders and relays, each in one transaction.
#include <cstdlib>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/download/codes.hpp"
#include "host/download/record.hpp"
#include "host/server/inventory.hpp"
#include "host/server/sqlite_books.hpp"
#include "host/server/upkeep.hpp"

namespace kf::server {
namespace {

using store::ProfileState;

constexpr const char* kPlannedStop = "planned_stop";  // meta: "1" when the old process was stopped in order

// Profiles of one Operator that may be on one eUICC without being installed there, or are on their way to it. A card
// holds a handful; more of them are left by an SM-SR that never says how a CreateISDP ended, and each has to be
// remembered, and looked after, until its time is over.
constexpr std::int64_t kMostAtStake = 32;

// Every way out of `reserved`: what the machine says may be on the card decides.
void put_profile(store::Tx& tx, const OrderEnd& end) {
  const download::Order& o = end.order;
  if (end.iccid == download::IccidState::free) return tx.set_profile(o.iccid.str(), ProfileState::free, "", "", "");
  const bool installed = end.iccid == download::IccidState::installed;
  // An order for what was installed, by way of a wrong SM-SR, must not make the right one a stranger; and what brought
  // the profile is the download that did, not the one that failed to do so again.
  const bool again_in_vain = installed && !end.succeeded;
  const std::string& smsr = again_in_vain && !o.smsr_was.empty() ? o.smsr_was : o.smsr.str();
  const std::string& by = again_in_vain && !o.download_was.empty() ? o.download_was : o.id;
  tx.set_profile(o.iccid.str(), installed ? ProfileState::installed : ProfileState::uncertain, o.eid.str(), smsr, by);
}

bool same_binding(const store::CallRow& a, const store::CallRow& b) {
  if (a.reply != b.reply) return false;
  // Of what waits on connections each writes its own answer.
  return a.reply == store::ReplyKind::sync || (a.reply_to == b.reply_to && a.message_id == b.message_id &&
                                               a.ns == b.ns && a.reply_parameters == b.reply_parameters);
}

// A call has one message at most: the answer is bound to the last request that asked for it.
store::DeliveryRow put_message(store::Tx& tx, const store::CallRow& call, std::int64_t before, std::string message) {
  store::DeliveryRow d;
  d.party = call.requester;
  d.kind = call.reply == store::ReplyKind::poll ? store::DeliveryKind::poll : store::DeliveryKind::callback;
  d.address = call.reply_to;
  d.body = std::move(message);
  d.created_ms = anchored_ms();
  if (before != 0 && tx.delete_delivery(before)) d.replaces = before;
  d.id = tx.insert_delivery(d);
  tx.set_call_delivery(call.requester, call.fcid, d.id);
  return d;
}

// May the answer be stored with the call as it is bound now? Where the call is gone nobody asks for its answer.
bool fits(const std::optional<store::CallRow>& now, const BoundAnswer& a) {
  if (!now) return true;
  return !a.kept.empty() && (a.rewritten >= BoundAnswer::kMostRewritten || same_binding(*now, a.call));
}

std::optional<store::DeliveryRow> put_answer(store::Tx& tx, const std::optional<store::CallRow>& now,
                                             const BoundAnswer& a) {
  if (!now) return std::nullopt;
  tx.set_call_response(a.call.requester, a.call.fcid, a.kept, anchored_ms());
  if (a.call.reply == store::ReplyKind::sync) return std::nullopt;
  return put_message(tx, a.call, now->delivery, a.message);
}

// Empty, or why this record cannot be taken up.
std::string take_up_row(store::Tx& tx, const store::DownloadRow& row, std::vector<LeftOver::Order>& into) {
  try {
    auto d = download::from_record(row.record);
    if (!d) return "record cannot be read: " + d.error().text();
    auto p = tx.get_profile(d->order.iccid.str());
    if (!p) return "its profile, ICCID " + d->order.iccid.str() + ", is missing";
    auto installed = tx.installed_profiles(d->order.eid.str(), d->order.smsr.str());
    into.push_back({std::move(*d), std::move(*p), std::move(installed)});
  } catch (const store::StoreError&) {
    throw;
  } catch (const std::exception& e) {
    return std::string("record cannot be taken up: ") + e.what();
  }
  return {};
}

// The job reports into what `done` is given: it may run more than once before it is kept.
void submit_answer(Storage& storage, std::function<void(store::Tx&, Answered&)> work, AnswerKept done) {
  auto out = std::make_shared<Answered>();
  storage.submit(
      [out, work = std::move(work)](store::Tx& tx) {
        *out = {};
        work(tx, *out);
      },
      [out, done = std::move(done)](const Status& s) {
        if (s)
          done(std::move(*out));
        else
          done(s.error());
      });
}

}  // namespace

std::optional<download::Cause> choose_profile(store::Tx& tx, const OrderAsked& asked, download::Order& order,
                                              store::ProfileRow& profile) {
  const std::string& requester = asked.call.requester;
  const auto no = [](es::Code code, const std::string& id, const char* why) { return download::Cause{code, id, why}; };
  const auto crowded = [&](std::int64_t but) {
    return tx.profiles_at_stake(requester, order.eid.str(), order.smsr.str()) - but >= kMostAtStake;
  };
  const auto full = [&] {
    return no(es::Code::eid_unavailable, order.eid.str(),
              "too many of your profiles may be on this eUICC, or are on their way to it; they are being looked after");
  };
  std::string iccid = asked.iccid;
  if (iccid.empty()) {
    const std::string& type = asked.profile_type.value();
    if (!tx.profile_type_known(requester, type)) return no(es::Code::profile_type_unknown, type, "ProfileType unknown");
    if (crowded(0)) return full();  // before one more is spent on it
    auto free = tx.free_iccid(requester, type);
    if (!free) return no(es::Code::profile_type_unavailable, type, "no free profile of this ProfileType is left");
    iccid = *free;
  }
  auto found = tx.get_profile(iccid);
  // The same answer for an unknown ICCID and another Operator's: nothing is learnt by guessing.
  if (!found || found->owner != requester) return no(es::Code::iccid_unknown, iccid, "ICCID unknown");
  if (asked.profile_type && *asked.profile_type != found->profile_type)
    return no(es::Code::profile_type_mismatch, *asked.profile_type, "the ICCID is of another ProfileType");
  // What is, or may be, on an eUICC may be ordered for that one again; its EIS decides whether there is room for it.
  const bool same_euicc = found->eid == order.eid.str();
  if (found->state == ProfileState::reserved)
    return no(es::Code::iccid_in_use, iccid, "profile is in a running download");
  if (found->state == ProfileState::installed && !same_euicc)
    return no(es::Code::iccid_in_use, iccid, "profile is already installed");
  // Another SM-SR's EIS would prove nothing of where an uncertain one is.
  const bool uncertain = found->state == ProfileState::uncertain;
  if (uncertain && (!same_euicc || found->smsr != order.smsr.str()))
    return no(es::Code::iccid_in_use, iccid, "profile may be on an eUICC, which is being looked after");
  if (crowded(uncertain ? 1 : 0)) return full();
  if (found->state == ProfileState::installed) {
    order.iccid_was = download::IccidState::installed;
    order.smsr_was = found->smsr;
    order.download_was = found->download_id;
  }
  if (uncertain) order.iccid_was = download::IccidState::uncertain;
  order.iccid = Iccid::trusted(iccid);
  if (!asked.iccid_as_ordered.empty() && asked.iccid_as_ordered != iccid)
    order.iccid_as_ordered = asked.iccid_as_ordered;
  order.profile_type = found->profile_type;
  order.required_memory = found->required_memory;
  order.pol2 = pol2_from_json(found->pol2);
  profile = std::move(*found);
  return std::nullopt;
}

// ---- acceptance ----
// The part of acceptance that all functions share: a repeat is answered or bound to the new request
// (docs/spec/interfaces.md 1.6). What it may add to the store is a message in place of the one before, and it counts.
bool SqliteOrderBook::settle_repeat(store::Tx& tx, const store::CallRow& call, Accepted& a) const {
  auto old = tx.find_call(call.requester, call.fcid);
  if (!old) return false;
  if (old->digest != call.digest || old->function != call.function) {
    a.kind = Accepted::Kind::used_otherwise;
    return true;
  }
  if (call.reply != store::ReplyKind::sync && tx.usage(call.requester).bytes >= config_.stored_bytes) {
    a.kind = Accepted::Kind::over_quota;
    return true;
  }
  tx.rebind_call(call);
  a.kind = old->response.empty() ? Accepted::Kind::running : Accepted::Kind::answered;
  a.call = call;
  if (old->response.empty()) return true;
  a.ns = old->ns;
  a.call.response = std::move(old->response);
  return true;
}

bool SqliteOrderBook::over_quota(const store::Tx& tx, const std::string& requester) const {
  const store::Usage u = tx.usage(requester);
  return u.calls >= config_.stored_calls || u.bytes >= config_.stored_bytes;
}

void SqliteOrderBook::accept_order(store::Tx& tx, const OrderAsked& asked, Accepted& a) const {
  if (settle_repeat(tx, asked.call, a)) return;
  if (over_quota(tx, asked.call.requester)) {
    a.kind = Accepted::Kind::over_quota;
    return;
  }
  a.order = asked.order;
  a.cause = choose_profile(tx, asked, a.order, a.profile);
  if (a.cause) {
    a.kind = Accepted::Kind::refused;
    return;
  }
  a.profile.state = ProfileState::reserved;
  tx.set_profile(a.profile.iccid, a.profile.state, a.order.eid.str(), a.order.smsr.str(), a.order.id);
  store::CallRow row = asked.call;
  row.download_id = a.order.id;
  tx.insert_call(row);
  download::Download d;
  d.order = a.order;
  tx.put_download(a.order.id, download::to_record(d), false, asked.call.received_ms);
  a.installed = tx.installed_profiles(a.order.eid.str(), a.order.smsr.str());
}

asio::awaitable<Result<Accepted>> SqliteOrderBook::accept(OrderAsked asked) {
  const std::function<Accepted(store::Tx&)> work = [this, asked = std::move(asked)](store::Tx& tx) {
    Accepted a;
    accept_order(tx, asked, a);
    return a;
  };
  co_return co_await storage_.tx<Accepted>(work);
}

asio::awaitable<Result<Accepted>> SqliteOrderBook::accept(RelayAsked asked) {
  const std::function<Accepted(store::Tx&)> work = [this, asked = std::move(asked)](store::Tx& tx) {
    Accepted a;
    if (settle_repeat(tx, asked.call, a)) return a;
    if (asked.no_room || over_quota(tx, asked.call.requester)) {
      a.kind = asked.no_room ? Accepted::Kind::no_room : Accepted::Kind::over_quota;
      return a;
    }
    if (!asked.iccid.empty()) {
      const auto profile = tx.get_profile(asked.iccid);
      if (!profile || profile->owner != asked.call.requester) {
        a.kind = Accepted::Kind::refused;
        a.cause = download::Cause{es::Code::iccid_unknown, asked.iccid_as_ordered, "ICCID unknown"};
        return a;
      }
    }
    tx.insert_call(asked.call);
    return a;
  };
  co_return co_await storage_.tx<Accepted>(work);
}

asio::awaitable<Result<std::optional<store::DeliveryRow>>> SqliteOrderBook::answer_again(store::CallRow call,
                                                                                         std::string message) {
  using Row = std::optional<store::DeliveryRow>;
  const std::function<Row(store::Tx&)> work = [call = std::move(call), message = std::move(message)](store::Tx& tx) {
    const auto now = tx.find_call(call.requester, call.fcid);
    return now ? Row(put_message(tx, call, now->delivery, message)) : Row();
  };
  co_return co_await storage_.tx<Row>(work);
}

// ---- an order on its way ----
void SqliteOrderBook::keep_record(const std::string& id, std::shared_ptr<const std::string> record, Kept done) {
  storage_.submit(
      [id, record = std::move(record)](store::Tx& tx) { tx.put_download(id, *record, false, anchored_ms()); },
      std::move(done));
}

void SqliteOrderBook::leave_card(const download::Order& o, std::shared_ptr<const std::string> record,
                                 std::optional<std::string> ledger, Kept done) {
  storage_.submit(
      [id = o.id, eid = o.eid.str(), smsr = o.smsr.str(), record = std::move(record),
       ledger = std::move(ledger)](store::Tx& tx) {
        tx.put_download(id, *record, false, anchored_ms());
        if (ledger) tx.put_follow_up(eid, smsr, *ledger);
      },
      std::move(done));
}

void SqliteOrderBook::set_aside(const std::string& id, const std::string& why, Kept done) {
  storage_.submit([id, why = clip_text(why, 1000)](store::Tx& tx) { tx.set_aside_download(id, why, anchored_ms()); },
                  std::move(done));
}

void SqliteOrderBook::keep_key_set(store::KeySetRow row, const std::string& id, std::function<bool()> still_due) {
  const std::string what = "the key set of ICCID " + row.iccid;
  storage_.submit_until_stored(what, [row = std::move(row), id, still_due = std::move(still_due)](store::Tx& tx) {
    if (still_due()) tx.put_key_set(row, id);
  });
}

void SqliteOrderBook::drop_key_set(const std::string& iccid, const std::string& id, std::function<bool()> still_due) {
  storage_.submit_until_stored("the end of the key set of ICCID " + iccid,
                               [iccid, id, still_due = std::move(still_due)](store::Tx& tx) {
                                 if (still_due()) tx.delete_key_set(iccid, id);
                               });
}

// ---- outcomes ----
void SqliteOrderBook::end_order(OrderEnd end, AnswerKept done) {
  submit_answer(
      storage_,
      [end = std::move(end)](store::Tx& tx, Answered& out) {
        auto call = tx.find_call(end.answer.call.requester, end.answer.call.fcid);
        if (!fits(call, end.answer)) {
          out.rebound = std::move(call);
          return;
        }
        const download::Order& o = end.order;
        tx.put_download(o.id, end.record, true, anchored_ms());
        put_profile(tx, end);
        if (end.ledger) tx.put_follow_up(o.eid.str(), o.smsr.str(), *end.ledger);
        out.delivery = put_answer(tx, call, end.answer);
      },
      std::move(done));
}

void SqliteOrderBook::end_relay(BoundAnswer answer, AnswerKept done) {
  submit_answer(
      storage_,
      [answer = std::move(answer)](store::Tx& tx, Answered& out) {
        auto call = tx.find_call(answer.call.requester, answer.call.fcid);
        if (fits(call, answer))
          out.delivery = put_answer(tx, call, answer);
        else
          out.rebound = std::move(call);
      },
      std::move(done));
}

void SqliteOrderBook::set_aside_relay(const std::string& requester, const std::string& fcid, const std::string& why) {
  storage_.submit(
      [requester, fcid, why = clip_text(why, 1000)](store::Tx& tx) {
        tx.set_aside({"relay", requester + " " + fcid, "", why, anchored_ms()});
        tx.set_call_response(requester, fcid, "set aside", anchored_ms());
      },
      [](const Status&) {});
}

// ---- profiles ----
asio::awaitable<Result<std::optional<store::ProfileRow>>> SqliteOrderBook::profile(std::string iccid) {
  const std::function<std::optional<store::ProfileRow>(store::Tx&)> work = [iccid = std::move(iccid)](store::Tx& tx) {
    return tx.get_profile(iccid);
  };
  co_return co_await storage_.tx<std::optional<store::ProfileRow>>(work);
}

void SqliteOrderBook::managed_by(const std::string& iccid, const std::string& eid, const std::string& smsr) {
  storage_.submit_until_stored("the SM-SR of ICCID " + iccid, [iccid, eid, smsr](store::Tx& tx) {
    const auto p = tx.get_profile(iccid);
    if (p && p->state == ProfileState::installed && p->eid == eid && p->smsr != smsr)
      tx.set_profile(iccid, p->state, eid, smsr, p->download_id);
  });
}

void SqliteOrderBook::find_ended(const std::string& id, std::function<void(const EndedOrder&)> done) {
  auto found = std::make_shared<EndedOrder>();
  storage_.submit_until_stored(
      "what is known of download " + id,  // it only reads, but no answer is none
      [found, id](store::Tx& tx) {
        *found = {};
        if (const auto record = tx.ended_download(id)) {
          if (auto d = download::from_record(*record)) {
            found->profile = tx.get_profile(d->order.iccid.str());
            found->ended = std::move(*d);
          }
        }
        found->read = true;
      },
      [found, done = std::move(done)] { done(*found); });
}

void SqliteOrderBook::uncertain_again(const download::Order& o, std::function<void()> done) {
  storage_.submit_until_stored(
      "that ICCID " + o.iccid.str() + " is uncertain",
      [iccid = o.iccid.str(), eid = o.eid.str(), smsr = o.smsr.str(), id = o.id](store::Tx& tx) {
        const auto row = tx.get_profile(iccid);
        if (row && row->state == ProfileState::free) tx.set_profile(iccid, ProfileState::uncertain, eid, smsr, id);
      },
      std::move(done));
}

// ---- start and end of a process ----
Result<LeftOver> SqliteOrderBook::take_up() {
  LeftOver out;
  KF_CHECK(storage_.store().run([&](store::Tx& tx) {
    tx.count_usage();
    tx.retry_set_aside();
    out.planned_stop = text(tx.meta(kPlannedStop).value_or(Bytes())) == "1";
    tx.set_meta(kPlannedStop, view("0"));
    if (const auto seen = tx.meta(Upkeep::kSeen)) out.seen_ms = std::atoll(std::string(text(*seen)).c_str());
    out.relays = tx.unfinished_relays();
    out.messages = tx.pending_deliveries(1'000'000);
    out.ledgers = tx.follow_ups();
    out.unread_ledgers = tx.set_aside_records();
    out.uncertain = tx.uncertain_profiles();
    for (const auto& row : tx.unfinished_downloads()) {
      const std::string why = take_up_row(tx, row, out.orders);
      if (!why.empty()) tx.set_aside_download(row.id, clip_text(why, 1000), anchored_ms());
    }
    out.set_aside = tx.set_aside_rows(1000);
  }));
  return out;
}

Status SqliteOrderBook::note_planned_stop() {
  return storage_.store().run([](store::Tx& tx) { tx.set_meta(kPlannedStop, view("1")); });
}

}  // namespace kf::server
