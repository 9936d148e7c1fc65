#include "host/main/status_text.hpp"

#include <fmt/format.h>

#include "host/base/text.hpp"
#include "host/main/core_status.hpp"
#include "host/main/hsm_status.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

// Members are taken by reference: `for (... : j.value("x", Json()).items())` would walk a temporary that is gone, since
// items() refers to its object.
const Json& member(const Json& j, const char* key) {
  static const Json none = Json::object();
  if (!j.is_object()) return none;
  const auto it = j.find(key);
  return it == j.end() || it->is_null() ? none : *it;
}
long long number(const Json& j, const char* key) {
  const Json& v = member(j, key);
  return v.is_number() ? v.get<long long>() : 0;
}
std::string word(const Json& j, const char* key) {
  const Json& v = member(j, key);
  return v.is_string() ? printable(v.get<std::string>()) : std::string();
}

void devices(const Json& list, const char* what, std::vector<std::string>& out) {
  if (!list.is_array()) return;
  std::size_t n = 0;
  for (const Json& t : list) {
    const std::string state = word(t, "state");
    if (!t.is_object()) continue;
    const std::string name = t.contains("name") ? word(t, "name") : std::to_string(n);
    const std::string why = word(t, "why");
    ++n;
    if (state != "up") out.push_back(fmt::format("{} {} is {}{}", what, name, state, why.empty() ? "" : ": " + why));
  }
}

constexpr long long kLowSpace = 64 << 20;

std::string parties(const Json& list, const char* kind) {
  std::string out;
  if (!list.is_array()) return out;
  for (const Json& p : list)
    out += fmt::format("{:<10} {}: in flight {}, only enabling {}, waiting {}\n", kind, word(p, "oid"),
                       number(p, "in_flight"), number(p, "enabling"), number(p, "waiting"));
  return out;
}

std::string operations(const Json& j) {
  std::string out;
  const Json& all = member(j, "operations");
  if (!all.is_object()) return out;
  for (const auto& [op, engines] : all.items()) {
    if (!engines.is_object()) continue;
    for (const auto& [engine, count] : engines.items())
      out +=
          fmt::format("engine     {} {}: {}\n", printable(engine), op, count.is_number() ? count.get<long long>() : 0);
  }
  return out;
}

std::string routes(const Json& j) {
  std::string out;
  const Json& all = member(j, "routes");
  if (!all.is_object()) return out;
  for (const auto& [op, engines] : all.items()) {
    out += out.empty() ? op : "; " + op;
    for (const auto& e : engines) out += " " + (e.is_string() ? printable(e.get<std::string>()) : std::string("?"));
  }
  return out;
}

}  // namespace

std::vector<std::string> status_trouble(const Json& j) {
  std::vector<std::string> out;
  devices(member(member(j, "hsm"), "tokens"), "token", out);
  devices(member(member(j, "core"), "cores"), "core", out);
  const Json& store = member(j, "store");
  if (const std::string why = word(store, "trouble"); !why.empty())
    out.push_back("store cannot be written: " + why);
  else if (store.is_object() && store.contains("free_bytes") && number(store, "free_bytes") < kLowSpace)
    out.push_back(fmt::format("store has {} MiB left on its file system", number(store, "free_bytes") >> 20));
  if (const std::string why = word(member(j, "log"), "trouble"); !why.empty())
    out.push_back("log cannot be written: " + why);
  const Json& aside = member(j, "set_aside");
  if (const auto n = number(aside, "count"); n != 0) {
    out.push_back(
        fmt::format("{} record{} set aside, nobody works on {}:", n, n == 1 ? "" : "s", n == 1 ? "it" : "them"));
    if (const Json& list = member(aside, "records"); list.is_array())
      for (const Json& r : list)
        if (r.is_string()) out.push_back("  " + printable(r.get<std::string>(), 300));
  }
  return out;
}

std::string status_text(const Json& j) {
  const Json& d = member(j, "downloads");
  const Json& l = member(d, "latency_ms");
  const Json& m = member(j, "messages");
  const Json& up = member(j, "uptime_s");
  std::string out =
      fmt::format("keyferry {} ({}), pid {}, up {:.0f} s, custody {}\n", word(j, "version"), word(j, "commit"),
                  number(j, "pid"), up.is_number() ? up.get<double>() : 0.0, word(j, "custody"));
  if (word(j, "state") == "draining")
    out += fmt::format("stopping   no new orders; {} in flight may end, what waits is taken up at the next start\n",
                       counted(static_cast<unsigned long long>(number(d, "in_flight")), "download"));
  const auto trouble = status_trouble(j);
  out += trouble.empty() ? "health     good\n" : "health     in trouble\n";
  for (const auto& t : trouble) out += "           " + t + "\n";
  out += fmt::format("downloads  accepted {}, completed {} (with warning {}), failed {}, expired {}\n",
                     number(d, "accepted"), number(d, "completed"), number(d, "with_warning"), number(d, "failed"),
                     number(d, "expired"));
  out += fmt::format(
      "           in flight {} (peak {}), only enabling {}, waiting {}, taken up after restart {}, ended with "
      "something to look after {}\n",
      number(d, "in_flight"), number(d, "peak_in_flight"), number(d, "enabling"), number(d, "waiting"),
      number(d, "taken_up"), number(d, "left_behind"));
  const Json& follow = member(j, "follow_ups");
  out += fmt::format("left over  follow-ups {} (begun {}, clean {}, given up {}), ICCIDs uncertain {}\n",
                     number(follow, "running"), number(follow, "begun"), number(follow, "clean"),
                     number(follow, "given_up"), number(d, "uncertain"));
  out += fmt::format("latency    p50 {} ms, p95 {} ms, p99 {} ms, max {} ms\n", number(l, "p50"), number(l, "p95"),
                     number(l, "p99"), number(l, "max"));
  out += parties(member(member(j, "parties"), "operators"), "operator");
  out += parties(member(member(j, "parties"), "smsrs"), "SM-SR");
  out += "routes     " + routes(j) + "\n" + operations(j);
  if (const Json& h = member(j, "hsm"); h.is_object()) out += hsm_lines(h);
  if (const Json& c = member(j, "core"); c.is_object()) out += core_lines(c);
  out += fmt::format(
      "messages   alarms {}, callbacks dropped {}, deliveries waiting {}, kept for a poll {}, notifications given up "
      "{}, put off {}\n",
      number(m, "alarms"), number(m, "callbacks_dropped"), number(m, "deliveries_waiting"),
      number(m, "deliveries_kept"), number(m, "notifications_lost"), number(m, "put_off"));
  return out;
}

}  // namespace kf::server
