#include "bench/world/world.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/process/limits.hpp"
#include "bench/process/ports.hpp"
#include "host/base/ids.hpp"

namespace kf::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr Millis kStartLimit{60'000};  // a fleet of ten thousand cards makes its keys first
constexpr Millis kStopGrace{5'000};

Error tool_error(const std::string& what, const std::string& err, int status) {
  std::string line = err;
  while (!line.empty() && line.back() == '\n') line.pop_back();
  if (const auto nl = line.find('\n'); nl != std::string::npos && line.size() > 2000) line.resize(2000);
  return {"world-tool", what + ": " + (line.empty() ? "exit status " + std::to_string(status) : line)};
}

// A file of mode 0600 that is gone when this ends: subscriptions with their keys.
class PrivateFile {
 public:
  explicit PrivateFile(std::string path) : path_(std::move(path)) {}
  PrivateFile(const PrivateFile&) = delete;
  PrivateFile& operator=(const PrivateFile&) = delete;
  ~PrivateFile() { ::unlink(path_.c_str()); }
  Status write(std::string_view s) {
    ::unlink(path_.c_str());
    const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0;
    while (ok && !s.empty()) {
      const ssize_t n = ::write(fd, s.data(), s.size());
      if (n < 0 && errno == EINTR) continue;
      ok = n > 0;
      if (ok) s.remove_prefix(static_cast<std::size_t>(n));
    }
    const int e = errno;
    if (fd >= 0) ::close(fd);
    if (!ok) return Error{"world-dir", path_ + ": " + std::strerror(e)};
    return {};
  }

 private:
  std::string path_;
};

Result<Json> parse(Result<std::string> text, const std::string& what) {
  if (!text) return std::move(text).error();
  Json j = Json::parse(*text, nullptr, false);
  if (j.is_discarded()) return Error{"wire", what + ": no JSON"};
  return j;
}

}  // namespace

std::string last_line(const std::string& file) {
  std::ifstream f(file);
  std::string last;
  for (std::string line; std::getline(f, line);)
    if (!line.empty()) last = line;
  return last;
}

Status World::lock_dir() {
  std::error_code ec;
  fs::create_directories(options_.dir, ec);
  if (ec) return Error{"world-dir", options_.dir + ": " + ec.message()};
  dir_ = fs::canonical(options_.dir, ec).string();
  if (ec) return Error{"world-dir", options_.dir + ": " + ec.message()};
  if (::chmod(dir_.c_str(), 0700) != 0) return Error{"world-dir", dir_ + ": " + std::strerror(errno)};
  lock_fd_ = ::open((dir_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return Error{"world-dir", dir_ + "/lock: " + std::strerror(errno)};
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) return Error{"world-dir", dir_ + ": in use by another run"};
  return {};
}

Result<std::unique_ptr<World>> World::prepare(WorldOptions o) {
  (void)proc::need_descriptors(4096);  // inherited by both processes; who needs more asks first
  std::unique_ptr<World> w(new World);
  w->options_ = std::move(o);
  KF_TRY(w->keyferry_, proc::sibling("keyferry"));
  KF_TRY(w->sim_program_, proc::sibling("keyferry-sim"));
  KF_CHECK(w->lock_dir());
  const std::string& dir = w->dir_;
  if (!w->options_.keep_store)
    for (const char* f : {"/smdp.toml", "/store.db", "/store.db-wal", "/store.db-shm"}) ::unlink((dir + f).c_str());
  for (const char* f : {"/run/smdp.log", "/run/sim.log", "/run/subscriptions.csv"}) ::unlink((dir + f).c_str());

  KF_TRY(const auto ports, proc::free_ports(4));
  w->es2_port_ = ports[0];
  w->es3_port_ = ports[1];
  w->smsr_port_ = ports[2];
  w->operator_port_ = ports[3];
  const auto url = [](std::uint16_t port, const char* path) {
    return "https://127.0.0.1:" + std::to_string(port) + path;
  };
  KF_TRY(const std::string said,
         w->keyferry({"init", "--dir", dir, "--es2-port", std::to_string(ports[0]), "--es3-port",
                      std::to_string(ports[1]), "--smsr-url", url(w->smsr_port_, "/es3"), "--operator-url",
                      url(w->operator_port_, "/es2/callback"), "--custody", w->options_.custody, "--force-config"}));
  std::vector<Setting> settings = {{"log.level", w->options_.log_level}, {"log.file", "run/smdp.log"}};
  settings.insert(settings.end(), w->options_.settings.begin(), w->options_.settings.end());
  KF_CHECK(apply_settings(w->config_file(), settings));
  return w;
}

World::~World() {
  smdp_.reset();
  sim_.reset();
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Result<std::string> World::keyferry(const std::vector<std::string>& args, Millis limit) {
  proc::SpawnOptions o;
  o.program = keyferry_;
  o.args = args;
  KF_TRY(proc::ToolResult r, proc::run_tool(std::move(o), limit));
  if (r.status != 0) return tool_error("keyferry " + (args.empty() ? std::string() : args.front()), r.err, r.status);
  return std::move(r.out);
}

Status World::import_template(const std::string& template_file, std::string_view csv, const std::string& type,
                              std::uint64_t required_memory) {
  const std::string path = dir_ + "/run/subscriptions.csv";
  PrivateFile file(path);
  KF_CHECK(file.write(csv));
  KF_TRY(const std::string said,
         keyferry({"profile", "import", "--config", config_file(), "--owner", kOperatorOid, "--type", type,
                   "--template", template_file, "--csv", path, "--required-memory", std::to_string(required_memory)},
                  Millis(600'000)));
  return {};
}

Status World::import_packages(const std::vector<std::string>& files, const std::string& type) {
  std::vector<std::string> args = {"profile", "import",     "--config", config_file(),
                                   "--owner", kOperatorOid, "--type",   type};
  args.insert(args.end(), files.begin(), files.end());
  KF_TRY(const std::string said, keyferry(args, Millis(600'000)));
  return {};
}

Status World::start_sim() {
  proc::SpawnOptions o;
  o.program = sim_program_;
  o.args = {"run",
            "--pki",
            dir_ + "/pki",
            "--curve",
            options_.curve,
            "--euiccs",
            std::to_string(options_.euiccs),
            "--es3-port",
            std::to_string(smsr_port_),
            "--smdp-url",
            "https://127.0.0.1:" + std::to_string(es3_port_),
            "--radio",
            options_.radio};
  for (const auto& f : options_.faults) {
    o.args.emplace_back("--fault");
    o.args.push_back(f);
  }
  o.args.insert(o.args.end(), options_.sim_args.begin(), options_.sim_args.end());
  o.pipe_stdout = true;
  o.stderr_file = sim_log();
  KF_TRY(sim_, proc::Child::spawn(o));
  auto line = sim_->read_line(kStartLimit);
  if (!line) {
    if (line.error().reason == "interrupted") return std::move(line).error();
    const std::string why = last_line(sim_log());
    const bool bad_option =
        why.find(": bad-fault") != std::string::npos || why.find(": bad-radio") != std::string::npos;
    return Error{bad_option ? "world-option" : "world-sim", why.empty() ? line.error().detail : why};
  }
  const Json j = Json::parse(*line, nullptr, false);
  if (!j.is_object() || !j.contains("control_port") || !j["control_port"].is_number_unsigned())
    return Error{"world-sim", "keyferry-sim: unexpected first line: " + *line};
  control_port_ = j["control_port"].get<std::uint16_t>();
  return {};
}

Status World::start_smdp() {
  proc::SpawnOptions o;
  o.program = keyferry_;
  o.args = {"serve", "--config", config_file()};
  o.environment = options_.smdp_environment;
  o.stdout_file = o.stderr_file = dir_ + "/run/smdp.log";
  KF_TRY(smdp_, proc::Child::spawn(o));
  const auto deadline = Clock::now() + kStartLimit;
  while (Clock::now() < deadline) {
    if (proc::interrupted()) return Error{"interrupted", "interrupted"};
    if (!smdp_->running()) {
      const std::string why = last_line(smdp_log());
      return Error{"world-smdp", why.empty() ? "keyferry serve ended with " + smdp_->end_text() : why};
    }
    if (smdp_status()) return {};
    std::this_thread::sleep_for(Millis(10));
  }
  return Error{"world-smdp", "keyferry serve is not ready after " + std::to_string(kStartLimit.count() / 1000) +
                                 " s, see " + smdp_log()};
}

Status World::stop_smdp() {
  if (!smdp_) return {};
  const int status = smdp_->terminate(kStopGrace);
  const std::string text = smdp_->end_text();
  smdp_.reset();
  if (status != 0)
    return Error{"world-smdp",
                 "keyferry serve ended with " + text + "; last line of its log: " + last_line(smdp_log())};
  return {};
}

void World::kill_smdp() {
  if (smdp_) smdp_->kill_now();
  smdp_.reset();
}

std::string World::trouble() {
  const auto look = [](std::optional<proc::Child>& c, const char* name, const std::string& log) -> std::string {
    if (!c || c->running()) return {};
    const std::string why = last_line(log);
    return std::string(name) + " ended with " + c->end_text() + (why.empty() ? "" : ": " + why) + " (" + log + ")";
  };
  std::string s = look(smdp_, "keyferry serve", smdp_log());
  return s.empty() ? look(sim_, "keyferry-sim", sim_log()) : s;
}

Result<Json> World::smdp_status() {
  return parse(read_unix_socket(dir_ + "/run/admin.sock", Millis(30'000)), "admin socket");
}
Result<Json> World::sim_summary() {
  return parse(http_loopback("GET", control_port_, "/summary", "", Millis(60'000)), "/summary");
}
Result<Json> World::sim_report(bool touched_only) {
  return parse(http_loopback("GET", control_port_, touched_only ? "/report?touched=1" : "/report", "", Millis(120'000)),
               "/report");
}
Status World::sim_fault(const std::string& spec) {
  KF_TRY(const Json j,
         parse(http_loopback("POST", control_port_, "/fault", Json{{"add", {spec}}}.dump(), Millis(30'000)), "/fault"));
  return {};
}
Status World::sim_clear_faults() {
  KF_TRY(const Json j,
         parse(http_loopback("POST", control_port_, "/fault", Json{{"clear", true}}.dump(), Millis(30'000)), "/fault"));
  return {};
}

Status World::sim_hostile(const std::string& spec) {
  KF_TRY(const Json j, parse(http_loopback("POST", control_port_, "/hostile", spec, Millis(30'000)), "/hostile"));
  return {};
}

std::string World::sim_story(const std::string& eid) {
  const auto j = parse(http_loopback("GET", control_port_, "/hostile?eid=" + eid, "", Millis(30'000)), "/hostile");
  return j ? j->value("story", "") : j.error().text();
}

std::string World::eid(std::uint64_t n) {  // as keyferry-sim's fleet numbers its cards
  std::string digits = std::to_string(n);
  digits.insert(0, 12 - std::min<std::size_t>(digits.size(), 12), '0');
  return eid_with_check_digits("890010120123412340" + digits);
}
std::string World::es2_url() const { return "https://127.0.0.1:" + std::to_string(es2_port_) + "/es2"; }
std::string World::es3_url() const { return "https://127.0.0.1:" + std::to_string(es3_port_) + "/es3"; }
TlsNames World::tls(const std::string& party) const {
  const std::string stem = dir_ + "/pki/tls-" + party;
  return {stem + ".pem", stem + ".key", dir_ + "/pki/tls-root.pem"};
}

}  // namespace kf::bench
