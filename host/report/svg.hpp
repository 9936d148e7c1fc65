// A chart as inline SVG, once for wide and once for narrow screens. Colours and fonts come from the page's style sheet
// (classes), so that one drawing serves light and dark. Each says in words, for screen readers, what it shows.
#pragma once

#include <string>
#include <string_view>

#include "host/report/document.hpp"

namespace kf::report::svg {

std::string escape(std::string_view s);  // for text and attributes; what a stranger's text hides becomes visible
std::string drawn(const Chart& c);

}  // namespace kf::report::svg
