#include "host/main/server_status.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include "generated/version.hpp"
#include "host/base/text.hpp"
#include "host/main/core_status.hpp"
#include "host/main/hsm_status.hpp"
#include "host/main/log_file.hpp"
#include "host/main/status_text.hpp"
#include "host/os/cpu_time.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

Json names(const std::vector<EngineName>& engines) {
  Json out = Json::array();
  for (const EngineName e : engines) out.push_back(engine_name(e));
  return out;
}

Json parties(const std::vector<Admission::Count>& list) {
  Json out = Json::array();
  for (const auto& c : list)
    out.push_back({{"oid", c.oid}, {"waiting", c.waiting}, {"in_flight", c.running}, {"enabling", c.enabling}});
  return out;
}

Json relays(const RelayService& r) {
  Json smsrs = Json::array();
  for (const auto& c : r.counts()) smsrs.push_back({{"oid", c.smsr}, {"waiting", c.waiting}, {"in_flight", c.running}});
  return {{"running", r.running()}, {"smsrs", smsrs}};
}

Json connections(const net::HttpServer& s) {
  const net::ServerStats& n = s.stats();
  return {{"open", s.connections()},
          {"accepted", n.accepted},
          {"probes", n.probes},
          {"handshakes", n.handshakes},
          {"handshakes_failed", n.handshakes_failed},
          {"handshakes_delayed", n.handshakes_delayed},
          {"closed_for_others", n.closed_for_others},
          {"refused", n.refused}};
}

// Operations and batches by engine, as the crypto service counts them.
void crypto_counters(const CryptoService& crypto, Json& ops, Json& batches) {
  ops = Json::object();
  batches = Json::object();
  for (const char* op : {"sign", "ephemeral", "ecka", "verify"}) ops[op] = Json::object();
  for (const auto& c : crypto.counters()) {
    auto put = [&](const char* op, std::uint64_t n) {
      if (n != 0) ops[op][c.engine] = n;
    };
    put("sign", c.sign);
    put("ephemeral", c.ephemeral);
    put("ecka", c.ecka);
    put("verify", c.verify);
    batches[c.engine] = histogram_json(c.batch_size);
    batches[c.engine]["answer_us"] = histogram_json(c.queue_us);
    batches[c.engine]["failures"] = c.failures;
    batches[c.engine]["retries"] = c.retries;
  }
}

// What the crypto service handed over becomes "submitted"; the figures beside it are the engine's own: how many jobs a
// worker or a core got in one turn, and how long a job waited for it.
void engine_counters(Json& batches, const char* engine, const Json& own, std::initializer_list<const char*> figures) {
  if (!batches.contains(engine)) return;
  Json& b = batches[engine];
  b["submitted"] = b;
  b.update(own.at("batch_size"));
  for (const char* f : figures) b[f] = own.at(f);
}

Json downloads_json(const StatusParts& p) {
  const Metrics& m = p.metrics;
  Json failures = Json::object();
  for (const auto& [k, v] : m.failures) failures[k] = v;
  return {{"accepted", m.accepted},
          {"completed", m.completed},
          {"with_warning", m.with_warning},
          {"failed", m.failed},
          {"expired", m.expired},
          {"taken_up", m.taken_up},
          {"in_flight", m.in_flight},
          {"waiting", m.waiting},
          {"enabling", p.downloads.admission().enabling()},
          {"peak_in_flight", m.peak_in_flight},
          {"left_behind", m.left_behind},
          {"uncertain", m.uncertain},
          {"latency_ms", histogram_json(m.download_ms)},
          {"failures", failures}};
}

Json scp03t_json(const pipeline::Stats& sealed) {
  return {{"bytes", sealed.bytes},
          {"segments", sealed.segments},
          {"cpu_s", sealed.seal_s},
          {"engine", sealed.engine},
          {"batch_size", histogram_json(sealed.batch)},
          {"peak_bytes_in_flight", sealed.peak_bytes}};
}

Json cpu_json(const Metrics& m, const pipeline::Stats& sealed, const store::StoreStats& st) {
  rusage self{};
  getrusage(RUSAGE_SELF, &self);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return {{"user_s", seconds(self.ru_utime)},
          {"system_s", seconds(self.ru_stime)},
          {"loop_s", os::thread_cpu_seconds()},
          {"soap_s", static_cast<double>(m.soap_ns) * 1e-9},
          {"machine_s", static_cast<double>(m.machine_ns) * 1e-9},
          {"personalise_s", sealed.personalise_s},
          {"seal_s", sealed.seal_s},
          {"encode_s", sealed.encode_s},
          {"store_s", st.cpu_s}};
}

Json store_json(const Metrics& m, const store::StoreStats& st) {
  return {{"group_size", histogram_json(st.group_size)},
          {"commit_us", histogram_json(st.commit_us)},
          {"trouble", clip_text(m.store_trouble, 1000)},
          {"failed_groups", st.failed_groups},
          {"free_bytes", m.store_free_bytes}};
}

Json messages_json(const StatusParts& p) {
  const Metrics& m = p.metrics;
  return {{"es2_requests", m.es2_requests},
          {"es3_calls", m.es3_calls},
          {"es3_callbacks", m.es3_callbacks},
          {"notifications_in", m.notifications_in},
          {"deliveries", m.deliveries},
          {"delivery_retries", m.delivery_retries},
          {"deliveries_waiting", p.delivery.waiting()},
          {"faults_sent", m.faults_sent},
          {"refused", m.refused},
          {"callbacks_dropped", m.callbacks_dropped},
          {"deliveries_kept", m.deliveries_kept},
          {"notifications_lost", m.notifications_lost},
          {"put_off", m.put_off},
          {"exceptions", m.exceptions},
          {"alarms", m.alarms}};
}

}  // namespace

Json server_status(const StatusParts& p) {
  const Metrics& m = p.metrics;
  Json ops, batches;
  crypto_counters(p.crypto, ops, batches);
  const Json token_status = hsm_status(p.hsm.stats());
  engine_counters(batches, "hsm", token_status, {"queue_us", "service_us"});
  const store::StoreStats st = p.store.stats();
  const pipeline::Stats sealed = p.sealing.stats();
  Json out = {{"version", KEYFERRY_VERSION},
              {"commit", KEYFERRY_COMMIT},
              {"pid", ::getpid()},
              {"worker_pids", p.hsm.worker_pids()},
              {"state", p.draining ? "draining" : "serving"},
              {"custody", custody_name(p.config.custody)},
              {"routes",
               {{"sign", names({EngineName::hsm})},
                {"ephemeral", names(p.config.routes.ephemeral)},
                {"verify", names(p.config.routes.verify)}}},
              {"uptime_s", std::chrono::duration<double>(std::chrono::steady_clock::now() - p.started).count()},
              {"downloads", downloads_json(p)},
              {"follow_ups",
               {{"running", m.follow_ups},
                {"begun", m.follow_ups_begun},
                {"clean", m.follow_ups_clean},
                {"given_up", m.follow_ups_given_up}}},
              {"operations", ops},
              {"batch_size", batches},
              {"hsm", token_status},
              {"scp03t", scp03t_json(sealed)},
              {"cpu", cpu_json(m, sealed, st)},
              {"connections", {{"es2", connections(p.es2)}, {"es3", connections(p.es3)}}},
              {"store", store_json(m, st)},
              {"log", {{"trouble", clip_text(log_trouble(), 1000)}}},
              {"set_aside", {{"count", m.set_aside}, {"records", m.set_aside_names}}},
              {"parties",
               {{"operators", parties(p.downloads.admission().operators())},
                {"smsrs", parties(p.downloads.admission().smsrs())}}},
              {"relays", relays(p.relays)},
              {"messages", messages_json(p)}};
  if (p.cores != nullptr) {
    Json c = core_status(p.cores->stats());
    engine_counters(out["batch_size"], "core", c, {"queue_us"});
    out["core"] = std::move(c);
  }
  const std::vector<std::string> trouble = status_trouble(out);
  out["health"] = trouble.empty() ? "good" : "trouble";
  out["trouble"] = trouble;
  return out;
}

}  // namespace kf::server
