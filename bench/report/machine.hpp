// The machine that a report was made on. Reads /proc.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace kf::bench {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

struct Machine {
  std::string cpu, kernel, os;
  unsigned cores = 0;
  std::uint64_t memory_bytes = 0;
};
Machine machine_facts();
OrderedJson to_json(const Machine& m);

}  // namespace kf::bench
