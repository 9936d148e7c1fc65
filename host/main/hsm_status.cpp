#include "host/main/hsm_status.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "host/base/text.hpp"
#include "host/server/metrics.hpp"

namespace kf::server {

using Json = nlohmann::json;

Json hsm_status(const hsm::HsmStats& s) {
  const auto up = std::count_if(s.tokens.begin(), s.tokens.end(), [](const auto& t) { return t.state == "up"; });
  Json tokens = Json::array();
  for (const auto& t : s.tokens) {
    tokens.push_back({{"name", clip_text(t.name, 200)},
                      {"state", t.state},
                      {"why", clip_text(t.why, 1000)},
                      {"jobs", t.jobs},
                      {"device_errors", t.device_errors},
                      {"outages", t.outages}});
  }
  Json workers = Json::array();
  for (const auto& w : s.workers) {
    workers.push_back({{"token", clip_text(w.token, 200)},
                       {"pid", w.pid},
                       {"live", w.live},
                       {"jobs", w.jobs},
                       {"batches", w.batches},
                       {"doorbells", w.doorbells},
                       {"restarts", w.restarts},
                       {"recycled", w.recycled},
                       {"rss_bytes", w.rss_bytes},
                       {"service_us", w.service_us}});
  }
  return {{"health", up == 0 ? "red" : (static_cast<std::size_t>(up) == s.tokens.size() ? "green" : "yellow")},
          {"tokens", tokens},
          {"workers", workers},
          {"batch_size", histogram_json(s.batch_size)},
          {"queue_us", histogram_json(s.queue_us)},
          {"service_us", histogram_json(s.service_us)},
          {"retries", s.retries},
          {"timed_out", s.timed_out},
          {"busy", s.busy},
          {"engine_down", s.engine_down}};
}

std::string hsm_lines(const Json& h) {
  std::string out;
  for (const Json& t : h.value("tokens", Json::array())) {
    const std::string why = printable(t.value("why", ""), 1000);
    out += fmt::format("token      {}: {}, {} jobs, {} device errors, {} outages{}\n", printable(t.value("name", "")),
                       t.value("state", ""), t.value("jobs", 0), t.value("device_errors", 0), t.value("outages", 0),
                       why.empty() ? "" : "\n           " + why);
  }
  for (const Json& w : h.value("workers", Json::array())) {
    out += fmt::format("worker     {} of {}: {}, {} jobs, {:.0f} us each, {:.1f} MiB, {} restarts\n", w.value("pid", 0),
                       printable(w.value("token", "")), w.value("live", false) ? "live" : "not running",
                       w.value("jobs", 0), w.value("service_us", 0.0), w.value("rss_bytes", 0.0) / 1048576.0,
                       w.value("restarts", 0));
  }
  return out;
}

}  // namespace kf::server
