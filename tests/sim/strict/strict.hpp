// A peer that takes the published v3 interface descriptions literally: one spelling, one order, one Action a message.
// For the strict modes of the simulated SM-SR and Operator, and for writing down what passed by. Shares nothing with
// the product's codec: it has a table and a reader of its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kf::sim {

// Why a server generated from the descriptions would not take this envelope; nothing when it would. Looks at the
// addressing headers that the descriptions call required, at wsa:Action, and at the names and order of elements down to
// the leaves of what is not an EIS, of the EIS its children.
std::optional<std::string> strict_complaint(std::string_view xml);

// Writes envelopes to numbered files of one folder; does nothing when the folder is "". Not for several threads.
class Recorder {
 public:
  explicit Recorder(std::string folder, std::string who) : folder_(std::move(folder)), who_(std::move(who)) {}
  void operator()(std::string_view xml);

 private:
  std::string folder_, who_;
  unsigned count_ = 0;
};

}  // namespace kf::sim
