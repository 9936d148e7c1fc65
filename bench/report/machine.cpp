#include "bench/report/machine.hpp"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

namespace kf::bench {
namespace {

// The value of the first line "KEY <separator> VALUE".
std::string value_in(const std::string& file, const std::string& key, char separator) {
  std::ifstream f(file);
  for (std::string line; std::getline(f, line);) {
    if (!line.starts_with(key)) continue;
    const auto at = line.find(separator);
    if (at == std::string::npos) continue;
    std::string v = line.substr(at + 1);
    while (!v.empty() && (v.front() == ' ' || v.front() == '"')) v.erase(0, 1);
    while (!v.empty() && (v.back() == ' ' || v.back() == '"')) v.pop_back();
    return v;
  }
  return {};
}

}  // namespace

Machine machine_facts() {
  Machine m;
  m.cpu = value_in("/proc/cpuinfo", "model name", ':');
  m.os = value_in("/etc/os-release", "PRETTY_NAME", '=');
  utsname u{};
  if (::uname(&u) == 0) m.kernel = std::string(u.sysname) + " " + u.release + " " + u.machine;
  if (m.cpu.empty()) m.cpu = u.machine;
  m.cores = static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN));
  struct sysinfo s {};
  if (::sysinfo(&s) == 0) m.memory_bytes = static_cast<std::uint64_t>(s.totalram) * s.mem_unit;
  return m;
}

OrderedJson to_json(const Machine& m) {
  return {{"cpu", m.cpu}, {"cores", m.cores}, {"memory_bytes", m.memory_bytes}, {"kernel", m.kernel}, {"os", m.os}};
}

}  // namespace kf::bench
