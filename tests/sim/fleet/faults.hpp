// The plan of faults that a simulator run injects, each by name, for all eUICCs or for selected ones.
//
// A fault is written NAME[=VALUE][@COUNT][:SELECTOR]:
//   VALUE     what the fault takes (a function name, an index, milliseconds); see fault_catalogue()
//   COUNT     at most that often per EID; only for faults of the SM-SR and the link, card faults stay armed
//   SELECTOR  every-N (eUICCs 0, N, 2N ... of the fleet) or the last digits of an EID; absent: all
// docs/spec/interfaces.md 4.2 says which failure each one stands for. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "host/base/result.hpp"

namespace kf::sim {

struct FaultInfo {
  std::string_view name;
  std::string_view value;  // what VALUE means, empty: none taken
  std::string_view text;
};
const std::vector<FaultInfo>& fault_catalogue();

struct CardId {  // enough to match a selector
  std::string eid;
  std::uint64_t index = 0;  // place in the fleet
};

struct FaultSpec {
  std::string name, value;
  unsigned count = 0;  // 0: no limit
  std::string suffix;  // of the EID
  unsigned every = 0;
  std::unordered_map<std::string, unsigned> fired;  // per EID, only kept when count > 0
  [[nodiscard]] bool selects(const CardId& id) const;
};

class FaultPlan {
 public:
  Status add(std::string_view spec);  // reasons: bad-fault (detail says what is wrong and lists the names)
  void clear();
  [[nodiscard]] bool empty() const noexcept { return specs_.empty(); }
  [[nodiscard]] unsigned version() const noexcept { return version_; }  // changes with every add() and clear()
  [[nodiscard]] std::vector<std::string> list() const;

  // The first spec of that name for this eUICC; does not count.
  [[nodiscard]] const FaultSpec* find(std::string_view name, const CardId& id) const;
  // The same, counted: null once COUNT is used up. `value` (a function name) must equal the spec's VALUE if it has one.
  const FaultSpec* fire(std::string_view name, const CardId& id, std::string_view value = {});

 private:
  std::vector<FaultSpec> specs_;
  unsigned version_ = 1;
};

// VALUE as a number, or `fallback` when it is empty or no number.
unsigned fault_number(const FaultSpec& s, unsigned fallback);

}  // namespace kf::sim
