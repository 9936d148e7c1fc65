// Numbers and lists for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kf::report {

std::string number(double v);     // "0.35", "12.3", "1,234"; a dash for what is no number
std::string duration(double us);  // "12 us", "1.5 ms", "2 s"
double round_up_nice(double v);   // to 1, 2, 2.5, 5 times a power of ten; 1 for what is not positive
std::string joined(const std::vector<std::string>& parts, std::string_view between = ", ");

}  // namespace kf::report
