// Text that somebody else wrote: cut, checked and escaped before it is stored, sent on or shown.
//
// Whatever a peer, a token, a file name or a worker says goes through clip_text() before it enters a record, a message
// or JSON, and through printable() before it enters a log line or a terminal. Both accept any bytes, never throw for
// their content and take linear time. Thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kf {

// Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view s) noexcept;

// `s` as valid UTF-8 of at most `max_bytes`: cut between characters, each byte that belongs to no character replaced
// by '?'. What fits and is valid comes back as it was.
std::string clip_text(std::string_view s, std::size_t max_bytes);

// `s` as one line that can hide nothing: control characters (C0, DEL, C1), line and paragraph separators, characters
// that change the direction of writing or have no width, and bytes that are not UTF-8 are written \x0A or \u{202E}; a
// backslash is doubled. At most `max_bytes` of `s` are shown, then "...".
std::string printable(std::string_view s, std::size_t max_bytes = 200);

// The last line of defence in a log's formatter: what printable() escapes is escaped, but a backslash stays single and
// nothing is cut, since most of the line is ours and the rest was made printable already.
std::string one_line(std::string_view s);

// "1 download", "2 downloads".
std::string counted(unsigned long long n, std::string_view thing);
// For a terminal: one_line() of each line of `s`; the line ends stay.
std::string clean_lines(std::string_view s);

}  // namespace kf
