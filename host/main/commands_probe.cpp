// `keyferry probe`: one page for the integrator about a PKCS#11 module.
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "generated/version.hpp"
#include "host/base/text.hpp"
#include "host/main/commands.hpp"
#include "hsm/probe/probe.hpp"
#include "hsm/setup/softhsm.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

constexpr int kInterrupted = 130;  // as a shell reports Ctrl-C

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set by a signal handler");

// Ctrl-C and SIGTERM end the probe in order while this lives: its workers are gone before the program is.
class StopOnSignal {
 public:
  StopOnSignal() {
    stop_requested = false;
    struct sigaction a {};
    a.sa_handler = [](int) { stop_requested = true; };
    ::sigaction(SIGINT, &a, &old_int_);
    ::sigaction(SIGTERM, &a, &old_term_);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
  ~StopOnSignal() {
    ::sigaction(SIGINT, &old_int_, nullptr);
    ::sigaction(SIGTERM, &old_term_, nullptr);
  }

 private:
  struct sigaction old_int_ {
  }, old_term_{};
};

std::string modules_here() {
  std::string out;
  const auto add = [&](const std::string& p) { out += (out.empty() ? "" : ", ") + p; };
  if (const auto softhsm = hsm::find_softhsm_module()) add(*softhsm);
  std::error_code ec;
  for (const char* dir : {"/usr/lib/x86_64-linux-gnu/pkcs11", "/usr/lib/aarch64-linux-gnu/pkcs11", "/usr/lib64/pkcs11",
                          "/usr/lib/pkcs11"}) {
    for (const auto& e : fs::directory_iterator(dir, ec)) {
      if (e.path().extension() == ".so") add(e.path().string());
    }
  }
  return out.empty() ? "none in the usual places" : out;
}

std::string absolute(const std::string& p) { return p.empty() ? p : fs::absolute(p).lexically_normal().string(); }

// Reasons: usage; the text is the line for the user.
Result<hsm::ProbeOptions> options_of(const ProbeCommand& c) {
  const auto usage = [](const std::string& what) { return Error{"usage", what}; };
  if (c.module.empty())
    return usage("--module: name the vendor's PKCS#11 library (.so). On this machine: " + modules_here());
  std::error_code ec;
  if (!fs::is_regular_file(c.module, ec))
    return usage("--module: no such file: " + c.module + ". Give the full path; on this machine: " + modules_here());
  if (!c.pin_file.empty() && !c.pin_env.empty()) return usage("--pin-file and --pin-env: give one of them");
  if (!c.pin_file.empty() && !fs::exists(c.pin_file, ec)) return usage("--pin-file: no such file: " + c.pin_file);
  if (!c.pin_env.empty() && ::getenv(c.pin_env.c_str()) == nullptr)
    return usage("--pin-env: the environment variable " + c.pin_env + " is not set");
  if (!c.token.empty() && !c.token.starts_with("pkcs11:"))
    return usage("--token: must be an RFC 7512 URI, for example pkcs11:token=NAME");
  hsm::ProbeOptions o;
  o.token.module_path = absolute(c.module);
  o.token.token_uri = c.token;
  o.token.pin_file = absolute(c.pin_file);
  o.token.pin_env = c.pin_env;
  for (const std::string& e : c.environment) {
    const std::size_t eq = e.find('=');
    if (eq == std::string::npos || eq == 0) return usage("--env: \"" + e + "\" must look like NAME=VALUE");
    const std::string name = e.substr(0, eq);
    const std::string value = e.substr(eq + 1);
    // In a configuration this one is taken from the folder of the file: made independent of both.
    o.token.environment.emplace_back(name, name == "SOFTHSM2_CONF" ? absolute(value) : value);
  }
  o.identity = c.identity;
  o.seconds = c.seconds;
  o.max_threads = c.max_threads;
  o.max_processes = c.max_processes;
  o.stop = &stop_requested;
  return o;
}

// A file is replaced when the new one is whole. What is none, a pipe or a device, is written to; a link stays one.
bool write_report(const std::string& named, const std::string& content) {
  std::error_code found;
  const fs::path real = fs::canonical(named, found);
  const std::string path = found ? named : real.string();
  if (!found && !fs::is_regular_file(real, found)) {
    errno = 0;
    std::ofstream f(path, std::ios::binary);
    f.write(content.data(), static_cast<std::streamsize>(content.size()));
    return static_cast<bool>(f.flush());
  }
  const std::string tmp = path + ".new";
  {
    errno = 0;
    std::ofstream f(tmp, std::ios::binary);
    f.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!f.flush()) return false;
  }
  std::error_code ec;
  fs::rename(tmp, path, ec);
  return !ec;
}

std::string now_text() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&t, &utc);
  char b[32];
  std::strftime(b, sizeof b, "%Y-%m-%d %H:%M UTC", &utc);
  return b;
}

}  // namespace

int run_probe(const ProbeCommand& c) {
  const auto options = options_of(c);
  if (!options) return complain(2, options.error().detail);
  const StopOnSignal signals;
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto line = [&](const std::string& what) {
    if (terminal) std::fprintf(stderr, "\r\033[K%s", what.c_str());
  };
  const auto report = hsm::probe(*options, [&](const std::string& what) { line("probing: " + what + " ..."); });
  line("");
  if (!report) {
    if (report.error().reason == "interrupted")
      return complain(kInterrupted, "probe: interrupted; nothing is left running");
    return complain(1, "probe: " + report.error().detail);
  }
  const hsm::ProbeHead head{std::string("keyferry ") + KEYFERRY_VERSION + " (" + KEYFERRY_COMMIT + ")", now_text()};
  const report::Document found = document(*report, head);
  std::fputs(to_text(found).c_str(), stdout);
  std::fflush(stdout);
  int status = 0;
  if (!c.report_json.empty() && !write_report(c.report_json, hsm::probe_json(*report, head)))
    status = complain(1, "--report-json: " + c.report_json + cannot_write());
  if (!c.report_html.empty() && !write_report(c.report_html, to_html(found)))
    status = complain(1, "--report-html: " + c.report_html + cannot_write());
  return status;
}

}  // namespace kf::server
