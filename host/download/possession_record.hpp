// A ledger as it stands in records: JSON, with durations in place of moments. What is proven gone and what has ended
// is not written. Reading throws nlohmann::json::exception; what was read has to be resume()d before it is asked.
#pragma once

#include <nlohmann/json.hpp>

#include "host/download/json_text.hpp"
#include "host/download/possession.hpp"

namespace kf::download {

struct PossessionRecord {
  static void write(const Possession& p, JsonText& out);
  static Possession read(const nlohmann::json& j);
};

}  // namespace kf::download
