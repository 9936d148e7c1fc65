// What the old process left: orders, relays, messages, follow-ups.
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <set>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/main/app.hpp"

namespace kf::server {
namespace {

struct TakenUp {
  download::Download download;
  store::ProfileRow profile;
  std::vector<std::string> installed;  // on its eUICC
};
// Empty, or why this record cannot be taken up.
std::string take_up_row(store::Tx& tx, const store::DownloadRow& row, std::vector<TakenUp>& into) {
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

}  // namespace

// What the old process left: unfinished downloads, unanswered relays, undelivered messages
// (docs/spec/interfaces.md 4.2). What cannot be taken up is set aside by name, its profile stays reserved, and the
// rest goes on.
Status App::recover() {
  std::vector<store::CallRow> interrupted;
  std::vector<store::DeliveryRow> messages;
  std::vector<store::FollowUpRow> follow;
  std::vector<store::SetAsideRow> unread;
  std::vector<store::ProfileRow> uncertain;
  std::vector<TakenUp> again;
  std::vector<store::SetAsideRow> aside;
  bool planned = false;
  KF_CHECK(store->run([&](store::Tx& tx) {
    tx.count_usage();
    tx.retry_set_aside();
    planned = text(tx.meta(kPlannedStop).value_or(Bytes())) == "1";
    tx.set_meta(kPlannedStop, view("0"));
    if (const auto seen = tx.meta(Upkeep::kSeen)) seen_ms = std::atoll(std::string(text(*seen)).c_str());
    interrupted = tx.unfinished_relays();
    messages = tx.pending_deliveries(1'000'000);
    follow = tx.follow_ups();
    unread = tx.set_aside_records();
    uncertain = tx.uncertain_profiles();
    for (const auto& row : tx.unfinished_downloads()) {
      std::string why = take_up_row(tx, row, again);
      if (!why.empty()) tx.set_aside_download(row.id, clip_text(why, 1000), anchored_ms());
    }
    aside = tx.set_aside_rows(1000);
  }));
  for (const auto& a : aside) {
    note_set_aside(metrics, a.kind + " " + a.name + (a.iccid.empty() ? "" : " ICCID " + a.iccid) + ": " + a.why);
    ++metrics.alarms;
    spdlog::error("ALARM {} {} is set aside, ICCID {} stays reserved: {}", a.kind, printable(a.name),
                  a.iccid.empty() ? "unknown" : printable(a.iccid), printable(a.why));
  }
  if (!again.empty() || !interrupted.empty() || !messages.empty())
    spdlog::info("taken up after a {}: {}, {}, {}", planned ? "planned stop" : "crash",
                 counted(again.size(), "download"), counted(interrupted.size(), "relay"),
                 counted(messages.size(), "message"));
  std::set<std::string> ordered;
  for (const auto& t : again) ordered.insert(download::card_of(t.download.order));
  follow_ups->load(follow, uncertain, ordered,
                   unread);  // before the downloads: they come first where both want an eUICC
  for (auto& t : again) {
    guarded(metrics, "reading a subscription", [&] {
      if (auto s = inventory->subscription(t.profile)) t.download.order.subscription = *s;
    });
    downloads->take_up(std::move(t.download), std::move(t.profile), std::move(t.installed), planned);
  }
  delivery->load(std::move(messages));
  relays->end_interrupted(std::move(interrupted));
  return {};
}

}  // namespace kf::server
