// What the running HSM engine says about itself, as JSON and as lines for people. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "hsm/engine/hsm_engine.hpp"

namespace kf::server {

// {"health": "green"|"yellow"|"red", "tokens": [...], "workers": [...], "batch_size", "queue_us", "service_us",
// "retries",
//  "timed_out", "busy", "engine_down"}. Green: every token is up; red: none serves.
nlohmann::json hsm_status(const hsm::HsmStats& s);
std::string hsm_lines(const nlohmann::json& hsm);

}  // namespace kf::server
