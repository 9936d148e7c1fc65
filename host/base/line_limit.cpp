#include "host/base/line_limit.hpp"

#include <utility>

namespace kf {

std::optional<std::string> LineLimit::admit(std::string_view kind, std::string_view party, Time now) {
  auto key = std::make_pair(std::string(kind), std::string(party));
  auto at = windows_.find(key);
  if (at == windows_.end() && windows_.size() >= o_.max_kept) {
    std::erase_if(windows_, [&](const auto& w) { return now - w.second.begin >= o_.window; });
    if (windows_.size() >= o_.max_kept) key = {"other", "others"};  // one more than max_kept, and never more
  }
  if (at == windows_.end()) at = windows_.try_emplace(std::move(key), Window{now, 0, 0}).first;
  Window& w = at->second;
  std::string left_out;
  if (now - w.begin >= o_.window) {
    if (w.suppressed > 0) left_out = " (" + std::to_string(w.suppressed) + " more like it suppressed)";
    w = Window{now, 0, 0};
  }
  if (w.written >= o_.lines) {
    ++w.suppressed;
    return std::nullopt;
  }
  ++w.written;
  return left_out;
}

std::optional<std::string> LineLimit::overdue(Time now) {
  if (now < next_sweep_) return std::nullopt;
  for (auto at = windows_.begin(); at != windows_.end();) {
    if (now - at->second.begin < o_.window) {
      ++at;
      continue;
    }
    const auto [key, w] = *at;
    at = windows_.erase(at);
    if (w.suppressed > 0)
      return std::to_string(w.suppressed) + " more lines '" + key.first + "' of " + key.second + " suppressed";
  }
  next_sweep_ = now + std::chrono::seconds(1);
  return std::nullopt;
}

}  // namespace kf
