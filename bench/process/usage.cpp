#include "bench/process/usage.hpp"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include <cctype>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>

namespace kf::proc {
namespace {

double seconds(clockid_t c) {
  timespec t{};
  if (::clock_gettime(c, &t) != 0) return -1;
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Stat {
  pid_t parent = 0;
  double reaped_children_s = 0;
};

// The name in parentheses may hold anything, so fields are counted from the last ')'.
bool read_stat(pid_t pid, Stat& out) {
  std::ifstream f("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(f, line)) return false;
  const auto close = line.rfind(')');
  if (close == std::string::npos) return false;
  std::istringstream fields(line.substr(close + 1));
  std::string x;
  double cutime = 0;
  double cstime = 0;
  for (int n = 3; n <= 17 && fields >> x; ++n) {  // numbered as in proc(5)
    if (n == 4) out.parent = static_cast<pid_t>(std::stol(x));
    if (n == 16) cutime = std::stod(x);
    if (n == 17) cstime = std::stod(x);
  }
  out.reaped_children_s = (cutime + cstime) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return true;
}

std::map<pid_t, Stat> all_processes() {
  std::map<pid_t, Stat> out;
  DIR* d = ::opendir("/proc");
  if (d == nullptr) return out;
  while (const dirent* e = ::readdir(d)) {
    if (std::isdigit(static_cast<unsigned char>(e->d_name[0])) == 0) continue;
    const auto pid = static_cast<pid_t>(std::stol(e->d_name));
    if (Stat s; read_stat(pid, s)) out[pid] = s;
  }
  ::closedir(d);
  return out;
}

Error gone(pid_t pid) { return {"proc-gone", "process " + std::to_string(pid) + " is not there"}; }

Result<std::uint64_t> status_bytes(pid_t pid, std::string_view name) {
  std::ifstream f("/proc/" + std::to_string(pid) + "/status");
  for (std::string key; f >> key;) {
    std::uint64_t kb = 0;
    if (key == name && f >> kb) return kb * 1024;
    std::getline(f, key);
  }
  return gone(pid);
}

void add_children(pid_t parent, const std::map<pid_t, Stat>& all, FamilyUsage& u) {
  for (const auto& [pid, s] : all) {
    if (s.parent != parent) continue;
    if (const auto cpu = cpu_seconds(pid)) u.children_cpu_s += *cpu;
    if (const auto rss = peak_rss_bytes(pid)) u.peak_rss_bytes += *rss;
    u.children_cpu_s += s.reaped_children_s;
    ++u.children;
    add_children(pid, all, u);
  }
}

}  // namespace

Result<double> cpu_seconds(pid_t pid) {
  clockid_t c{};
  if (::clock_getcpuclockid(pid, &c) != 0) return gone(pid);
  const double s = seconds(c);
  if (s < 0) return gone(pid);
  return s;
}

Result<std::uint64_t> peak_rss_bytes(pid_t pid) { return status_bytes(pid, "VmHWM:"); }
Result<std::uint64_t> rss_bytes(pid_t pid) { return status_bytes(pid, "VmRSS:"); }

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> out;
  for (const auto& [p, s] : all_processes())
    if (s.parent == pid) out.push_back(p);
  return out;
}

std::string name_of(pid_t pid) {
  std::ifstream f("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(f, name);
  return name;
}

Result<FamilyUsage> family_usage(pid_t pid) {
  FamilyUsage u;
  KF_TRY(u.own_cpu_s, cpu_seconds(pid));
  KF_TRY(u.peak_rss_bytes, peak_rss_bytes(pid));
  const auto all = all_processes();
  if (const auto it = all.find(pid); it != all.end()) u.children_cpu_s += it->second.reaped_children_s;
  add_children(pid, all, u);
  return u;
}

double machine_busy_seconds() {
  std::ifstream f("/proc/stat");
  std::string name;
  if (!(f >> name) || name != "cpu") return 0;
  double busy = 0;
  double ticks = 0;
  for (int n = 1; n <= 8 && f >> ticks; ++n)  // numbered as in proc(5)
    if (n != 4 && n != 5) busy += ticks;      // idle, waiting for a disk
  return busy / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace kf::proc
