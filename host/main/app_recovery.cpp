// What the old process left: orders, relays, messages, follow-ups.
#include <spdlog/spdlog.h>

#include <set>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/main/app.hpp"

namespace kf::server {
// What the old process left: unfinished downloads, unanswered relays, undelivered messages
// (docs/spec/interfaces.md 4.2). What cannot be taken up is set aside by name, its profile stays reserved, and the
// rest goes on.
Status App::recover() {
  KF_TRY(LeftOver left, orders->take_up());
  seen_ms = left.seen_ms;
  for (const auto& a : left.set_aside) {
    note_set_aside(metrics, a.kind + " " + a.name + (a.iccid.empty() ? "" : " ICCID " + a.iccid) + ": " + a.why);
    ++metrics.alarms;
    spdlog::error("ALARM {} {} is set aside, ICCID {} stays reserved: {}", a.kind, printable(a.name),
                  a.iccid.empty() ? "unknown" : printable(a.iccid), printable(a.why));
  }
  if (!left.orders.empty() || !left.relays.empty() || !left.messages.empty())
    spdlog::info("taken up after a {}: {}, {}, {}", left.planned_stop ? "planned stop" : "crash",
                 counted(left.orders.size(), "download"), counted(left.relays.size(), "relay"),
                 counted(left.messages.size(), "message"));
  std::set<std::string> ordered;
  for (const auto& t : left.orders) ordered.insert(download::card_of(t.download.order));
  follow_ups->load(left.ledgers, left.uncertain, ordered,
                   left.unread_ledgers);  // before the downloads: they come first where both want an eUICC
  for (auto& t : left.orders) {
    guarded(metrics, "reading a subscription", [&] {
      if (auto s = inventory->subscription(t.profile)) t.download.order.subscription = *s;
    });
    downloads->take_up(std::move(t.download), std::move(t.profile), std::move(t.installed), left.planned_stop);
  }
  delivery->load(std::move(left.messages));
  relays->end_interrupted(std::move(left.relays));
  return {};
}

}  // namespace kf::server
