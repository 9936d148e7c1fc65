// A plain main for libFuzzer-style targets, for machines with g++ only: replays the corpus, then mutates it for a
// while.
//
// fuzz_NAME [--seed N] [--seconds N] [--runs N] [--max-size N] FILE|DIRECTORY...
// --seed 0 takes a fresh seed; the seed is always printed. On a crash the input is written to crash-NAME.bin in the
// working directory; give that file as argument with --runs 0 to see it again.
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.hpp"

namespace {
namespace fs = std::filesystem;
using Input = std::vector<std::uint8_t>;

const std::uint8_t* g_data = nullptr;  // what runs now, for the crash handler
std::size_t g_size = 0;
constexpr int kHangSeconds = 20;

void on_crash(int signal_number) {
  const int fd = ::open("crash-" KF_FUZZ_NAME ".bin", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd >= 0 && g_data != nullptr) {
    [[maybe_unused]] const auto n = ::write(fd, g_data, g_size);
    ::close(fd);
  }
  static constexpr char kCrash[] = "crash: the input is in crash-" KF_FUZZ_NAME ".bin\n";
  static constexpr char kHang[] = "hang: the input is in crash-" KF_FUZZ_NAME ".bin\n";
  [[maybe_unused]] const auto w =
      signal_number == SIGALRM ? ::write(2, kHang, sizeof kHang - 1) : ::write(2, kCrash, sizeof kCrash - 1);
  std::signal(signal_number, SIG_DFL);
  ::raise(signal_number);
}

void run(const Input& in) {
  // A copy of exactly that size: a read behind the end is then seen by the sanitizers.
  const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[in.size()]);
  if (!in.empty()) std::memcpy(copy.get(), in.data(), in.size());
  g_data = copy.get();
  g_size = in.size();
  LLVMFuzzerTestOneInput(copy.get(), in.size());
  g_data = nullptr;
}

Input read_file(const fs::path& p) {
  std::ifstream f(p, std::ios::binary);
  return Input(std::istreambuf_iterator<char>(f), {});
}

class Mutator {
 public:
  Mutator(std::uint64_t seed, const std::vector<Input>& corpus, std::size_t max_size)
      : random_(seed), corpus_(corpus), max_size_(max_size) {}

  Input next() {
    Input in = corpus_[below(corpus_.size())];
    for (std::size_t n = 1 + below(5); n > 0; --n) change(in);
    if (in.size() > max_size_) in.resize(max_size_);
    return in;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random_() % n); }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }
  void change(Input& in) {
    // Values where the coding of lengths and tags turns.
    static constexpr std::uint8_t kEdges[] = {0x00, 0x01, 0x04, 0x1F, 0x20, 0x30, 0x7F, 0x80, 0x81, 0x82,
                                              0x83, 0x84, 0x85, 0x86, 0x9F, 0xA6, 0xAB, 0xAF, 0xFE, 0xFF};
    if (in.empty()) in.push_back(byte());
    const std::size_t at = below(in.size());
    switch (below(9)) {
      case 0:
        in[at] = static_cast<std::uint8_t>(in[at] ^ (1U << below(8)));
        break;
      case 1:
        in[at] = byte();
        break;
      case 2:
        in[at] = kEdges[below(std::size(kEdges))];
        break;
      case 3:
        in[at] = static_cast<std::uint8_t>(in[at] + (below(2) == 0 ? 1 : 255));
        break;
      case 4:
        in.resize(at);
        break;
      case 5:
        in.insert(in.begin() + static_cast<std::ptrdiff_t>(at), 1 + below(8), byte());
        break;
      case 6: {  // remove a run
        const std::size_t n = 1 + below(std::min<std::size_t>(in.size() - at, 32));
        in.erase(in.begin() + static_cast<std::ptrdiff_t>(at),
                 in.begin() + static_cast<std::ptrdiff_t>(std::min(in.size(), at + n)));
        break;
      }
      case 7: {  // copy a run elsewhere
        const std::size_t from = below(in.size());
        const std::size_t n = std::min(in.size() - std::max(at, from), 1 + below(64));
        std::memmove(in.data() + at, in.data() + from, n);
        break;
      }
      default: {  // splice with another entry
        const Input& other = corpus_[below(corpus_.size())];
        const std::size_t from = below(other.size());
        in.resize(at);
        in.insert(in.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      }
    }
  }
  std::mt19937_64 random_;
  const std::vector<Input>& corpus_;
  std::size_t max_size_;
};
}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = 0;
  double seconds = 3;
  std::uint64_t runs = ~std::uint64_t{0};
  std::size_t max_size = 8192;
  std::vector<fs::path> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const bool more = i + 1 < argc;
    if (a == "--seed" && more)
      seed = std::strtoull(argv[++i], nullptr, 0);
    else if (a == "--seconds" && more)
      seconds = std::strtod(argv[++i], nullptr);
    else if (a == "--runs" && more)
      runs = std::strtoull(argv[++i], nullptr, 0);
    else if (a == "--max-size" && more)
      max_size = std::strtoull(argv[++i], nullptr, 0);
    else if (a.starts_with("--"))
      return std::fprintf(stderr, "unknown option %s\n", a.c_str()), 2;
    else
      paths.emplace_back(a);
  }
  if (seed == 0) seed = std::random_device{}() | std::uint64_t{1} << 32;
  for (const int s : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM}) std::signal(s, on_crash);

  std::vector<fs::path> files;
  for (const fs::path& p : paths) {
    if (fs::is_directory(p)) {
      for (const auto& e : fs::recursive_directory_iterator(p))
        if (e.is_regular_file()) files.push_back(e.path());
    } else if (fs::is_regular_file(p)) {
      files.push_back(p);
    } else {
      return std::fprintf(stderr, "no such corpus: %s\n", p.c_str()), 2;
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<Input> corpus;
  for (const fs::path& f : files) corpus.push_back(read_file(f));
  std::printf("fuzz_%s: seed %llu, %zu corpus files\n", KF_FUZZ_NAME, static_cast<unsigned long long>(seed),
              corpus.size());
  std::fflush(stdout);
  run({});
  for (const Input& in : corpus) run(in);
  if (corpus.empty()) corpus.push_back({});

  Mutator mutator(seed, corpus, max_size);
  std::uint64_t done = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (done < runs && std::chrono::steady_clock::now() < end) {
    ::alarm(kHangSeconds);
    for (int i = 0; i < 16 && done < runs; ++i, ++done) run(mutator.next());
  }
  ::alarm(0);
  std::printf("fuzz_%s: %llu mutated inputs, no crash\n", KF_FUZZ_NAME, static_cast<unsigned long long>(done));
  return 0;
}
