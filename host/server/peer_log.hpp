// The log as a peer may influence it: every line stays one line, and nobody fills the file. Loop thread only, but for
// line_formatter(), which makes one formatter a sink.
#pragma once

#include <spdlog/common.h>
#include <spdlog/formatter.h>

#include <memory>
#include <string>
#include <string_view>

namespace kf::server {

// A line about what a peer did or sent, with what it sent in it. It is made printable and cut, and of one `kind` and
// `party` only so many a minute are written; the next line then says how many were left out.
void peer_line(spdlog::level::level_enum level, std::string_view kind, std::string_view party, std::string_view text);
void peer_warn(std::string_view kind, std::string_view party, std::string_view text);

// The layout of our lines. Whatever reaches it, a control character in the text is written as an escape: the second
// line of defence, behind printable() where peers' text enters a line.
std::unique_ptr<spdlog::formatter> line_formatter();

}  // namespace kf::server
