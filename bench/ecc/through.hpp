// `keyferry-bench ecc --through driver|engine|both`: the run from options to report.
#pragma once

#include "bench/ecc/ecc_bench.hpp"
#include "bench/report/ecc_path_report.hpp"
#include "host/base/result.hpp"
#include "host/crypto/curve.hpp"

namespace kf::bench {

// Empty: fine; else what is wrong with the options, in one line.
std::string fault_in_through(const EccBenchOptions& o);

// Errors end the run; what was measured until then is in the report.
Status measure_through(const EccBenchOptions& o, const std::vector<Curve>& curves, EccPathReport& report);

}  // namespace kf::bench
