// What the running ECC cores say about themselves, as JSON and as lines for people. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "drivers/engine/core_engine.hpp"

namespace kf::server {

// {"health": "green"|"yellow"|"red", "cores": [...], "batch_size", "queue_us", "retries", "timed_out", "thread_s",
// "turns_s"}. Green: every core is up; red: none is.
nlohmann::json core_status(const ecc::CoreEngineStats& s);
std::string core_lines(const nlohmann::json& cores);

}  // namespace kf::server
