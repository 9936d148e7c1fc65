#include "host/server/metrics.hpp"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "host/base/text.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
nlohmann::json histogram_json(const Histogram& h) {
  nlohmann::json bars = nlohmann::json::array();
  for (const auto& b : h.bars()) bars.push_back({b.low, b.count});
  return {{"count", h.count()},
          {"mean", h.mean()},
          {"p50", h.percentile(50)},
          {"p95", h.percentile(95)},
          {"p99", h.percentile(99)},
          {"max", h.max()},
          {"bars", bars}};
}

void note_unknown_elements(Metrics& m, const std::string& oid, const std::vector<std::string>& elements) {
  for (const auto& e : elements) {
    if (m.unknown_elements.size() >= 1000) return;  // a peer that makes names up does not fill memory or log
    if (m.unknown_elements.insert(oid + " " + e).second)
      peer_line(spdlog::level::info, "element", oid, oid + " sends an element that is ignored: " + e);
  }
}

void note_set_aside(Metrics& m, const std::string& what) {
  ++m.set_aside;
  if (m.set_aside_names.size() < 20) m.set_aside_names.push_back(clip_text(what, 300));
}

}  // namespace kf::server
