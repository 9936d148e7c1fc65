#include "bench/burst/burst.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unordered_map>

#include "bench/burst/accounts.hpp"
#include "bench/burst/floor.hpp"
#include "bench/burst/load.hpp"
#include "bench/burst/subscriptions.hpp"
#include "bench/process/limits.hpp"
#include "bench/report/burst_report.hpp"
#include "bench/report/numbers.hpp"
#include "generated/version.hpp"
#include "host/base/calendar.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

namespace fs = std::filesystem;

int complain(int status, const std::string& lines) {
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) std::fprintf(stderr, "keyferry-bench: %s\n", one_line(line).c_str());
  return status;
}

int complain(const Error& e) {
  if (e.reason == "interrupted") return complain(130, "interrupted");
  return complain(e.reason == "world-dir" || e.reason == "world-option" ? 2 : 1,
                  e.detail.empty() ? e.reason : e.detail);
}

Status write_file(const std::string& path, std::string_view text) {
  std::error_code ec;
  if (fs::path(path).has_parent_path()) fs::create_directories(fs::path(path).parent_path(), ec);
  std::ofstream f(path, std::ios::binary | std::ios::trunc);
  f.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!f.flush()) return Error{"file", path + ": cannot be written"};
  return {};
}

void say(const std::string& what) { std::fprintf(stderr, "burst  %s\n", one_line(what).c_str()); }

// The disk below `dir`, when nothing more can be written to it: SM-DP, simulators and logs all stop at that.
std::string full_disk(const std::string& dir) {
  struct statvfs v {};
  struct stat here {};
  if (::statvfs(dir.c_str(), &v) != 0 || ::stat(dir.c_str(), &here) != 0) return {};
  if (v.f_bavail * v.f_frsize >= 128 << 10) return {};
  std::error_code ec;
  fs::path mount = fs::absolute(dir, ec).lexically_normal();
  for (struct stat up{}; mount.has_relative_path(); mount = mount.parent_path())
    if (::stat(mount.parent_path().c_str(), &up) != 0 || up.st_dev != here.st_dev) break;
  return fmt::format("the disk that holds {} is full ({}, {:.0f} MiB in all): nothing measured on it means anything",
                     dir, mount.string(), static_cast<double>(v.f_blocks) * static_cast<double>(v.f_frsize) / kMiB);
}

std::vector<std::string> command_line() {
  std::ifstream f("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> out;
  for (std::string word; std::getline(f, word, '\0');) out.push_back(word);
  return out;
}

struct Run {
  const BurstOptions& options;
  Template profile;
  std::unique_ptr<World> world;
  std::vector<Subscription> subscriptions;
  BurstReport report;

  // Token, PKI, store, profiles in the inventory, both processes up.
  Status set_up() {
    const BurstOptions& o = options;
    WorldOptions w;
    w.dir = o.dir;
    w.curve = o.curve;
    w.custody = o.custody;
    w.euiccs = o.downloads;
    w.radio = o.radio;
    w.faults = o.faults;
    w.log_level = o.log_level;
    // All parties are on this machine: what one of them or one address may have is all there is.
    const std::int64_t connections = std::clamp(o.concurrency * 2, 4096U, 65'536U);
    w.settings = {{"limits.downloads_in_flight", std::int64_t{std::max(o.concurrency, 256U)}},
                  {"limits.max_connections", connections},
                  {"limits.connections_per_address", connections},
                  {"limits.connections_per_party", connections},
                  {"limits.handshakes_per_second", std::int64_t{0}}};
    if (o.hsm_workers != 0) w.settings.push_back({"token.workers", std::int64_t{o.hsm_workers}});
    if (o.crypto_threads != 0) w.settings.push_back({"limits.crypto_threads", std::int64_t{o.crypto_threads}});
    for (const std::string& text : o.settings) {
      KF_TRY(Setting s, setting_of(text));
      w.settings.push_back(std::move(s));
    }
    KF_TRY(world, World::prepare(std::move(w)));
    // A --set that the SM-DP would refuse is a mistake of the command line, said before anything is made.
    if (const auto c = server::load_config(world->config_file()); !c)
      return Error{"world-option", "--set: " + c.error().detail};

    say(fmt::format("making and importing {} subscriptions", o.downloads));
    std::vector<std::string> eids;
    eids.reserve(o.downloads);
    for (unsigned i = 0; i < o.downloads; ++i) eids.push_back(world->eid(i));
    KF_TRY(Subscriptions s, make_subscriptions(profile, eids));
    const std::string template_file = world->dir() + "/run/template.der";
    KF_CHECK(write_file(template_file, text(profile.der)));
    KF_CHECK(world->import_template(template_file, text(s.csv.expose()), profile.profile_type,
                                    std::max<std::uint64_t>(65536, profile.der.size() * 2)));
    subscriptions = std::move(s.list);

    say(fmt::format("starting {} eUICCs, the SM-SR and the SM-DP", o.downloads));
    KF_CHECK(world->start_sim());
    return world->start_smdp();
  }

  void describe() {
    BurstReport& r = report;
    r.version = KEYFERRY_VERSION;
    r.commit = KEYFERRY_COMMIT;
    r.build = KEYFERRY_BUILD;
    while (!r.build.empty() && r.build.back() == ' ') r.build.pop_back();
    r.started = iso_seconds(wall_now());
    r.machine = machine_facts();
    r.custody = options.custody;
    r.curve = options.curve;
    r.pattern = options.pattern;
    r.radio = options.radio;
    r.faults = options.faults;
    r.settings = options.settings;
    r.command_line = command_line();
    r.enable = options.enable;
    r.concurrency = options.concurrency;
    r.requested = options.downloads;
    r.profile_name = profile.name;
    r.profile_bytes = profile.der.size();
    r.profile_elements = profile.elements;
  }

  void take_orders(const LoadResult& load) {
    BurstReport& r = report;
    r.wall_s = load.wall_s;
    r.interrupted = load.interrupted;
    for (const OrderResult& o : load.orders) {
      if (!o.answered) {
        ++r.outcomes["not finished"];
        continue;
      }
      ++r.outcomes[o.code];
      r.sent_s.push_back(o.sent_s);
      r.done_s.push_back(o.done_s);
      if (!o.succeeded) {
        ++r.failed;
        if (o.by_equipment) ++r.failed_at_operator;
        continue;
      }
      ++r.completed;
      if (o.warning) ++r.with_warning;
      r.latency_ms.push_back((o.done_s - o.sent_s) * 1e3);
    }
  }

  // What the eUICCs hold against what was ordered for each: the same EID, the same ICCID, every byte by its SHA-256.
  void check_euiccs(const Json& report_of_sim) {
    std::unordered_map<std::string, const Subscription*> by_eid;
    for (const auto& s : subscriptions) by_eid[s.eid] = &s;
    for (const auto& card : report_of_sim.value("euiccs", Json::array())) {
      const auto it = by_eid.find(card.value("eid", ""));
      bool verified = false;
      for (const auto& p : card.value("profiles", Json::array())) {
        const auto string_of = [&p](const char* key) {
          return p.contains(key) && p[key].is_string() ? p[key].get<std::string>() : std::string();
        };
        const std::string eis = string_of("eis_state");
        const std::string on_card = string_of("card_state");
        if (eis == "Created" || eis == "In-Creation" || on_card == "SELECTABLE" || on_card == "PERSONALIZED")
          ++report.isdp_left_created;
        if (it == by_eid.end()) continue;
        const std::string state = options.enable ? "ENABLED" : "DISABLED";
        verified =
            verified || (p.value("verified", false) && on_card == state && string_of("iccid") == it->second->iccid &&
                         string_of("sha256") == to_hex(it->second->expected));
      }
      if (verified) ++report.euicc_verified;
    }
  }

  Status measure() {
    describe();
    KF_TRY(const Snapshot before, take_snapshot(*world));
    KF_TRY(const LoadResult load,
           run_load(*world, subscriptions, {options.concurrency, options.pattern, options.enable, options.timeout_s}));
    take_orders(load);
    if (const std::string t = load.trouble.empty() ? world->trouble() : load.trouble; !t.empty())
      return Error{"world-smdp", t};
    KF_TRY(const Snapshot after, take_snapshot(*world));
    account(before, after, report);
    KF_TRY(const Json cards, world->sim_report());
    KF_TRY(const Json fleet, world->sim_summary());
    report.card_errors = fleet.value(Json::json_pointer("/counters/fleet/no_connection"), std::uint64_t{0});
    check_euiccs(cards);
    if (load.interrupted) return {};
    const Status stopped = world->stop_smdp();
    say("measuring the crypto floor");
    KF_TRY(const server::Config config, server::load_config(world->config_file()));
    auto floor =
        measure_floor(config, *curve_by_name(options.curve), profile.der, options.floor_repetitions, report.operations);
    if (floor)
      report.floor = std::move(*floor);
    else if (floor.error().reason != "interrupted")
      return std::move(floor).error();
    else
      report.interrupted = true;
    return stopped;
  }
};

// A card in flight holds both ends of its connection in the simulator's process; there, in the SM-DP and here, some
// more are in use whatever the load.
constexpr std::uint64_t kFilesEach = 2, kFilesAnyway = 1024, kPortsAnyway = 2048;

// Whether this machine lets the test equipment hold so many downloads at once. Empty: fine.
std::string limit_in(const BurstOptions& o) {
  const std::uint64_t flying = std::min(o.concurrency, o.downloads);
  const std::string who = "--concurrency " + std::to_string(flying) + ": ";
  const std::uint64_t files = kFilesEach * flying + kFilesAnyway;
  if (const Status s = proc::need_descriptors(files); !s)
    return who + "the simulated eUICCs need " + std::to_string(files) + " file descriptors and this machine allows " +
           s.error().detail + ". Raise the limit (ulimit -n " + std::to_string(files) +
           ", as root) or have fewer in flight";
  if (const std::uint64_t ports = proc::local_ports(); ports != 0 && flying + kPortsAnyway > ports)
    return who + "the simulated eUICCs need as many local ports and this machine has " + std::to_string(ports) +
           " (net.ipv4.ip_local_port_range). Widen the range (sysctl, as root) or have fewer in flight";
  return {};
}

// Everything that can be said before anything is started. Empty: fine.
std::string fault_in(const BurstOptions& o) {
  if (o.downloads < 1 || o.downloads > 1'000'000) return "--downloads: must be from 1 to 1000000";
  if (o.concurrency < 1 || o.concurrency > 100'000) return "--concurrency: must be from 1 to 100000";
  if (o.custody != "strict" && o.custody != "hybrid" && o.custody != "core")
    return "--custody " + o.custody + ": must be strict, core or hybrid";
  const auto curve = curve_by_name(o.curve);
  if (!curve || *curve == Curve::frp256v1) return "--curve " + o.curve + ": must be P-256 or brainpoolP256r1";
  if (o.pattern != "callback" && o.pattern != "sync" && o.pattern != "polling")
    return "--pattern " + o.pattern + ": must be callback, sync or poll";
  if (o.log_level != "debug" && o.log_level != "info" && o.log_level != "warning" && o.log_level != "error")
    return "--log-level " + o.log_level + ": must be debug, info, warning or error";
  if (o.timeout_s < 1 || o.timeout_s > 604'800) return "--timeout: must be from 1 to 604800";
  if (o.floor_repetitions < 16) return "--floor-repetitions: must be 16 or more";
  for (const char* tool : {"keyferry", "keyferry-sim", "keyferry-hsm-worker"})
    if (const auto p = proc::sibling(tool); !p) return p.error().detail;
  for (const std::string& text : o.settings)
    if (const auto setting = setting_of(text); !setting) return "--set " + text + ": " + setting.error().detail;
  if (o.custody == "core")
    if (const auto p = proc::sibling("keyferry-ecc-sim"); !p) return p.error().detail;
  return limit_in(o);
}

}  // namespace

int run_burst(const BurstOptions& asked) {
  BurstOptions o = asked;
  if (o.pattern == "poll") o.pattern = "polling";
  if (const std::string fault = fault_in(o); !fault.empty()) return complain(2, fault);
  auto profile = load_template(o.profile);
  if (!profile)
    return complain(2,
                    "--profile " + (profile.error().detail.empty() ? profile.error().reason : profile.error().detail));
  proc::catch_interrupts();

  Run run{.options = o, .profile = std::move(*profile), .world = {}, .subscriptions = {}, .report = {}};
  if (const Status s = run.set_up(); !s) {
    const std::string disk = full_disk(o.dir);
    return disk.empty() || s.error().reason == "interrupted" ? complain(s.error()) : complain(1, disk);
  }
  const Status measured = run.measure();
  const BurstReport& r = run.report;
  std::fputs(to_text(document(r)).c_str(), stdout);
  std::fflush(stdout);
  if (!o.report_json.empty())
    if (const Status s = write_file(o.report_json, to_json(r).dump(2) + "\n"); !s) return complain(s.error());
  if (!o.report_html.empty())
    if (const Status s = write_file(o.report_html, to_html(document(r))); !s) return complain(s.error());
  for (const std::string& path : {o.report_json, o.report_html})
    if (!path.empty()) std::printf("  written      %s\n", path.c_str());
  std::fflush(stdout);
  const std::string disk = measured && r.clean() ? std::string() : full_disk(o.dir);
  if (!disk.empty()) return complain(1, disk);
  if (!measured) return complain(measured.error());
  if (r.interrupted) return 130;
  if (r.clean()) return 0;
  return complain(
      1, fmt::format(
             "not clean: {} of {} completed, {} verified at their eUICC, {} ISD-P left in Created{} (logs in {}/run)",
             r.completed, r.requested, r.euicc_verified, r.isdp_left_created, not_the_smdps(r), o.dir));
}

void add_burst(CLI::App& app, int& status) {
  auto o = std::make_shared<BurstOptions>();
  auto* s = app.add_subcommand(
      "burst", "order many downloads at once and report rate, latency, CPU time and the ratio to the crypto floor");
  s->add_option("--downloads", o->downloads, "how many, one for each simulated eUICC")->capture_default_str();
  s->add_option("--concurrency", o->concurrency, "orders in flight")->capture_default_str();
  s->add_option("--profile", o->profile, "DER profile package used as the template (default: the project's sample)");
  s->add_option("--custody", o->custody, "where ephemeral keys live: strict, core, hybrid")->capture_default_str();
  s->add_option("--curve", o->curve, "P-256 or brainpoolP256r1")->capture_default_str();
  s->add_option("--pattern", o->pattern, "how the Operator wants its answers: callback, sync, poll")
      ->capture_default_str();
  s->add_flag("--enable", o->enable, "order the profiles enabled");
  s->add_option("--radio", o->radio, "simulated radio: none, constant:MS, uniform:MIN:MAX, lognormal:MEDIAN:SIGMA")
      ->capture_default_str();
  s->add_option("--fault", o->faults,
                "fault that the simulators inject, may be repeated (keyferry-sim run --help lists them)");
  s->add_option("--report-json", o->report_json, "write the report as JSON");
  s->add_option("--report-html", o->report_html, "write the report as one HTML file");
  s->add_option("--dir", o->dir, "token, test PKI, store and logs of the run")->capture_default_str();
  s->add_option("--hsm-workers", o->hsm_workers, "HSM worker processes (default: as keyferry init configures)");
  s->add_option("--crypto-threads", o->crypto_threads,
                "threads of the SM-DP for software cryptography (default: the SM-DP's)");
  s->add_option("--set", o->settings,
                "KEY=VALUE of the SM-DP's configuration, may be repeated; a list with commas: core.cores=2, "
                "routing.verify=software,core (docs/configuration.md)");
  s->add_option("--timeout", o->timeout_s, "seconds to wait for one order's outcome")->capture_default_str();
  s->add_option("--floor-repetitions", o->floor_repetitions, "repetitions of each part of the crypto floor")
      ->capture_default_str();
  s->add_option("--log-level", o->log_level, "of the SM-DP: debug, info, warning, error")->capture_default_str();
  s->callback([o, &status] { status = run_burst(*o); });
}

}  // namespace kf::bench
