#include "tests/hsm/shim/weather.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>

namespace kf::shim {
namespace {

constexpr std::int64_t kLookEvery = 1'000'000;  // ns

std::uint64_t mix(std::uint64_t x) noexcept {  // splitmix64
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

std::uint64_t fingerprint_of(std::string_view text) noexcept {
  std::uint64_t h = 0;
  for (const char c : text) h = mix(h ^ static_cast<unsigned char>(c));
  return h;
}

// One descriptor for each log file, kept open: the next script usually names the same one.
int log_descriptor(const std::string& path) {
  static std::map<std::string, int> open_logs;
  if (path.empty()) return -1;
  const auto known = open_logs.find(path);
  if (known != open_logs.end()) return known->second;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) std::fprintf(stderr, "kf_p11_shim: cannot open %s: %s\n", path.c_str(), std::strerror(errno));
  open_logs.emplace(path, fd);
  return fd;
}

struct Stamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  timespec modified{};
  bool operator==(const Stamp& o) const noexcept {
    return device == o.device && inode == o.inode && size == o.size && modified.tv_sec == o.modified.tv_sec &&
           modified.tv_nsec == o.modified.tv_nsec;
  }
};

std::optional<Stamp> stamp_of(const std::string& path) noexcept {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return Stamp{st.st_dev, st.st_ino, st.st_size, st.st_mtim};
}

Result<std::string> read_text(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{"shim-script", std::strerror(errno)};
  std::string text;
  std::array<char, 4096> some{};
  for (;;) {
    const ssize_t n = ::read(fd, some.data(), some.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(some.data(), static_cast<std::size_t>(n));
  }
  ::close(fd);
  return text;
}

struct Station {
  std::mutex mutex;
  std::string path;
  Stamp stamp;
  std::vector<std::unique_ptr<Weather>> past_and_present;  // never freed: calls may still look at an old one
  std::atomic<const Weather*> now{nullptr};
  std::atomic<std::int64_t> next_look{0};
};
Station& station() {
  static auto* const s = new Station;  // outlives every exit handler
  return *s;
}

Status read_script(Station& s, const Stamp& stamp) {
  s.stamp = stamp;
  KF_TRY(const std::string text, read_text(s.path));
  KF_TRY(Script script, parse(text));
  const auto id = static_cast<unsigned>(s.past_and_present.size() + 1);
  s.past_and_present.push_back(std::make_unique<Weather>(std::move(script), id, s.path, fingerprint_of(text)));
  s.now.store(s.past_and_present.back().get(), std::memory_order_release);
  return {};
}

void complain(const Station& s, const Error& e) {
  std::fprintf(stderr, "kf_p11_shim: %s: %s\n", s.path.c_str(), e.detail.c_str());
}

}  // namespace

std::int64_t monotonic_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

Weather::Weather(Script s, unsigned id, std::string path, std::uint64_t fingerprint)
    : script_(std::move(s)),
      id_(id),
      path_(std::move(path)),
      fingerprint_(fingerprint),
      counts_(std::make_unique<std::atomic<std::uint64_t>[]>(script_.rules.size())),
      log_fd_(log_descriptor(script_.log)) {}

bool Weather::once(std::size_t rule) const {
  if (counts_[rule].exchange(1) != 0) return false;
  std::array<char, 40> name{};
  std::snprintf(name.data(), name.size(), ".once-%u-%016llx", script_.rules[rule].line,
                static_cast<unsigned long long>(fingerprint_));
  const int fd = ::open((path_ + name.data()).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  ::close(fd);
  return true;
}

bool Weather::hits(std::size_t rule) const {
  const When& w = script_.rules[rule].when;
  if (w.kind == When::Kind::always) return true;
  if (w.kind == When::Kind::once) return once(rule);
  const std::uint64_t n = counts_[rule].fetch_add(1, std::memory_order_relaxed) + 1;
  switch (w.kind) {
    case When::Kind::nth:
      return n == w.n;
    case When::Kind::from:
      return n >= w.n;
    case When::Kind::first:
      return n <= w.n;
    case When::Kind::every:
      return n % w.n == 0;
    case When::Kind::percent: {
      const auto seed = static_cast<std::uint64_t>(::getpid()) ^ (std::uint64_t{script_.rules[rule].line} << 40);
      return static_cast<double>(mix(mix(seed ^ fingerprint_) ^ n) % 1'000'000) < w.percent * 10'000;
    }
    default:
      return true;
  }
}

bool Weather::gone_now() const noexcept {
  if (script_.gone) return true;
  if (script_.gone_from == script_.gone_until) return false;
  const std::int64_t ms = monotonic_ns() / 1'000'000;
  return ms >= script_.gone_from && ms < script_.gone_until;
}

bool Weather::lost(std::int64_t opened_ns, unsigned long resets_then) const noexcept {
  if (script_.resets > resets_then) return true;
  if (script_.gone_from == script_.gone_until) return false;
  return opened_ns / 1'000'000 < script_.gone_until && monotonic_ns() / 1'000'000 >= script_.gone_from;
}

void Weather::log(Fn f, CK_SESSION_HANDLE s, std::int64_t begin, std::int64_t end, CK_RV rv) const noexcept {
  if (log_fd_ < 0 || (script_.log_only && !script_.log_only->test(static_cast<std::size_t>(f)))) return;
  std::array<char, 200> line{};
  const std::string_view name = name_of(f);
  const int n = std::snprintf(line.data(), line.size(), "%lld %lld %d %d %.*s %lu 0x%lx\n",
                              static_cast<long long>(begin), static_cast<long long>(end), static_cast<int>(::getpid()),
                              static_cast<int>(::gettid()), static_cast<int>(name.size()), name.data(), s, rv);
  if (n > 0) [[maybe_unused]]
    const ssize_t r = ::write(log_fd_, line.data(), static_cast<std::size_t>(n));
}

Status load_weather() {
  Station& s = station();
  const std::lock_guard lock(s.mutex);
  const char* path = std::getenv("KF_SHIM_SCRIPT");
  s.path = path == nullptr ? "" : path;
  const auto stamp = stamp_of(s.path);
  if (!stamp) {
    const Error e{"shim-script", "KF_SHIM_SCRIPT does not name a readable file"};
    complain(s, e);
    return e;
  }
  const Status read = read_script(s, *stamp);
  if (!read) complain(s, read.error());
  s.next_look = monotonic_ns() + kLookEvery;
  return read;
}

const Weather& weather() noexcept {
  Station& s = station();
  const std::int64_t t = monotonic_ns();
  std::int64_t due = s.next_look.load(std::memory_order_relaxed);
  if (t >= due && s.next_look.compare_exchange_strong(due, t + kLookEvery)) {
    const auto stamp = stamp_of(s.path);
    const std::lock_guard lock(s.mutex);
    if (stamp && !(*stamp == s.stamp)) {
      if (const Status read = read_script(s, *stamp); !read) complain(s, read.error());
    }
  }
  return *s.now.load(std::memory_order_acquire);
}

const std::string& script_path() noexcept { return station().path; }

}  // namespace kf::shim
