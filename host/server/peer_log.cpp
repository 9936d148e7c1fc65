#include "host/server/peer_log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/spdlog.h>

#include "host/base/line_limit.hpp"
#include "host/base/text.hpp"

namespace kf::server {
namespace {

constexpr std::size_t longest_line = 600;

class OneLine final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& m, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string text = one_line({m.payload.data(), m.payload.size()});
    out.append(text.data(), text.data() + text.size());
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<OneLine>(); }
};

LineLimit& limit() {
  thread_local LineLimit lines;
  return lines;
}

}  // namespace

void peer_line(spdlog::level::level_enum level, std::string_view kind, std::string_view party, std::string_view text) {
  if (!spdlog::should_log(level)) return;
  const auto now = std::chrono::steady_clock::now();
  while (const auto left_out = limit().overdue(now)) spdlog::log(level, "{}", printable(*left_out));
  if (const auto more = limit().admit(kind, party, now))
    spdlog::log(level, "{}{}", printable(text, longest_line), *more);
}

void peer_warn(std::string_view kind, std::string_view party, std::string_view text) {
  peer_line(spdlog::level::warn, kind, party, text);
}

std::unique_ptr<spdlog::formatter> line_formatter() {
  auto f = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  f->add_flag<OneLine>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %*");
  return f;
}

}  // namespace kf::server
