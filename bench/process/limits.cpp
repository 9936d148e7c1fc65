#include "bench/process/limits.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>

namespace kf::proc {

Status need_descriptors(std::uint64_t wanted) {
  rlimit l{};
  if (::getrlimit(RLIMIT_NOFILE, &l) != 0) return {};  // then the run will tell
  if (l.rlim_max < wanted) {
    const rlimit more{wanted, wanted};
    if (::setrlimit(RLIMIT_NOFILE, &more) == 0) return {};
  }
  if (l.rlim_cur < l.rlim_max) {
    l.rlim_cur = l.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &l);
    ::getrlimit(RLIMIT_NOFILE, &l);
  }
  if (l.rlim_cur >= wanted) return {};
  return Error{"proc-limit", std::to_string(l.rlim_cur)};
}

std::uint64_t local_ports() {
  std::ifstream f("/proc/sys/net/ipv4/ip_local_port_range");
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  return f >> low >> high && high >= low ? high - low + 1 : 0;
}

}  // namespace kf::proc
