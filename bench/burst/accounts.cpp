#include "bench/burst/accounts.hpp"

#include <algorithm>

namespace kf::bench {

Result<Snapshot> take_snapshot(World& w) {
  Snapshot s;
  KF_TRY(s.status, w.smdp_status());
  KF_TRY(s.smdp, proc::family_usage(w.smdp().pid()));
  KF_TRY(s.sim_cpu_s, proc::cpu_seconds(w.sim().pid()));
  // The simulated cores' own time is the FPGA's part, not the SM-DP's. (That of one that was killed meanwhile ends up
  // among the HSM workers', as reaped children cannot be told apart.)
  for (const pid_t p : proc::children_of(w.smdp().pid())) {
    if (proc::name_of(p) != std::string("keyferry-ecc-sim").substr(0, 15)) continue;
    if (const auto cpu = proc::cpu_seconds(p)) s.cores_cpu_s += *cpu;
  }
  s.own_cpu_s = proc::own_cpu_seconds();
  s.machine_s = proc::machine_busy_seconds();
  s.at = std::chrono::steady_clock::now();
  return s;
}

Result<std::uint64_t> left_to_do(World& w) {
  KF_TRY(const Json s, w.smdp_status());
  const Json d = s.value("downloads", Json::object());
  const Json m = s.value("messages", Json::object());
  constexpr std::uint64_t none = 0;
  return d.value("in_flight", none) + d.value("waiting", none) + m.value("deliveries_waiting", none);
}

void account(const Snapshot& before, const Snapshot& after, BurstReport& r) {
  const auto cpu_a = before.status.value("cpu", Json::object());
  const auto cpu_b = after.status.value("cpu", Json::object());
  const auto spent = [&](const char* key) { return std::max(0.0, cpu_b.value(key, 0.0) - cpu_a.value(key, 0.0)); };
  const double server = after.smdp.own_cpu_s - before.smdp.own_cpu_s;
  const double cores = std::max(0.0, after.cores_cpu_s - before.cores_cpu_s);
  const double workers = std::max(0.0, after.smdp.children_cpu_s - before.smdp.children_cpu_s - cores);
  const double loop = spent("loop_s");
  const double soap = spent("soap_s");
  const double machine = spent("machine_s");
  const double personalise = spent("personalise_s");
  const double seal = spent("seal_s");
  const double encode = spent("encode_s");
  const double store = spent("store_s");
  const auto of_cores = [&](const char* key) {
    return after.status.value("core", Json::object()).value(key, 0.0) -
           before.status.value("core", Json::object()).value(key, 0.0);
  };
  const double core_thread = of_cores("thread_s");
  const double core_turns = of_cores("turns_s");  // on the loop
  r.smdp_cpu_s = server + workers;
  r.smdp_peak_rss_bytes = after.smdp.peak_rss_bytes;
  r.cpu = {
      {"hsm_workers", "HSM workers", workers, true},
      {"loop", "server loop: TLS, HTTP, the rest", std::max(0.0, loop - soap - machine - core_turns), true},
      {"soap", "server loop: SOAP", soap, true},
      {"machine", "server loop: procedure", machine, true},
      {"store", "store thread: SQLite", store, true},
      {"personalise", "pipeline: personalising", personalise, true},
      {"seal", "pipeline: sealing (SCP03t)", seal, true},
      {"encode", "pipeline: hexBinary", encode, true},
      {"other_threads",
       r.custody == "hybrid" ? "other threads: verify, ECDH, HSM I/O" : "other threads: verify, HSM I/O",
       std::max(0.0, server - loop - personalise - seal - encode - store - core_thread), true},
      {"simulators", "keyferry-sim (SM-SR, eUICCs)", after.sim_cpu_s - before.sim_cpu_s, false},
      {"bench", "keyferry-bench (the Operator)", after.own_cpu_s - before.own_cpu_s, false},
  };
  const double ours =
      r.smdp_cpu_s + cores + (after.sim_cpu_s - before.sim_cpu_s) + (after.own_cpu_s - before.own_cpu_s);
  const double wall = std::chrono::duration<double>(after.at - before.at).count();
  if (before.machine_s > 0 && wall > 0)
    r.other_cpus = std::max(0.0, (after.machine_s - before.machine_s - ours) / wall);
  const Json& s = after.status;
  r.cores = s.value("core", Json::object());
  r.routes = s.value("routes", Json::object());
  if (!r.cores.empty()) {
    const auto others = std::ranges::find(r.cpu, "other_threads", &CpuRow::key);
    r.cpu.insert(others, {"core_driver", "driver of the ECC cores", core_thread + core_turns, true});
    r.cpu.push_back({"ecc_sim", "keyferry-ecc-sim (the simulated FPGA)", cores, false});
  }
  r.operations = s.value("operations", Json::object());
  r.batch_size = s.value("batch_size", Json::object());
  const Json scp = s.value("scp03t", Json::object());
  r.scp03t_bytes = scp.value("bytes", std::uint64_t{0});
  r.scp03t_segments = scp.value("segments", std::uint64_t{0});
  r.scp03t_cpu_s = scp.value("cpu_s", 0.0);
  r.peak_in_flight = s.value("downloads", Json::object()).value("peak_in_flight", std::uint64_t{0});
  r.hsm_workers = static_cast<unsigned>(s.value("worker_pids", Json::array()).size());
}

}  // namespace kf::bench
