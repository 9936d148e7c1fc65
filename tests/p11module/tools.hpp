// Programs of others, run with the module in their hands.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tests/p11module/support.hpp"

namespace kf::p11test {

struct Said {
  int status = -1;
  std::string out;  // and errors
};

class Tools : public ::testing::Test {
 protected:
  // A program that hangs is ended after two minutes, with status 124.
  Said run(std::vector<std::string> args) {
    args.insert(args.begin(), {"timeout", "120"});
    std::vector<char*> argv;
    for (std::string& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    const std::string file = dir.file("said");
    std::filesystem::remove(file);
    posix_spawn_file_actions_t to_file;
    posix_spawn_file_actions_init(&to_file);
    posix_spawn_file_actions_addopen(&to_file, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&to_file, STDOUT_FILENO, file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&to_file, STDOUT_FILENO, STDERR_FILENO);
    pid_t pid = -1;
    Said s;
    if (::posix_spawnp(&pid, argv[0], &to_file, nullptr, argv.data(), environ) == 0) {
      int status = 0;
      ::waitpid(pid, &status, 0);
      s.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    }
    posix_spawn_file_actions_destroy(&to_file);
    s.out = dir.read("said");
    return s;
  }
  Said tool(std::vector<std::string> args) {
    args.insert(args.begin(), {"pkcs11-tool", "--module", kModule});
    return run(std::move(args));
  }
  static bool installed(const std::string& file) { return std::filesystem::exists(file); }
  // The public key that the tool prints for a label.
  static Point point_in(const std::string& listing, const std::string& label) {
    Point q{};
    constexpr std::string_view kPoint = "EC_POINT:   0441";
    for (auto at = listing.find(kPoint); at != std::string::npos; at = listing.find(kPoint, at + 1)) {
      const auto named = listing.find("label:      ", at);
      if (named == std::string::npos || listing.compare(named + 12, label.size() + 1, label + "\n") != 0) continue;
      const auto v = from_hex(listing.substr(at + kPoint.size(), 130));
      if (v && v->size() == q.size()) std::copy(v->begin(), v->end(), q.begin());
    }
    return q;
  }
  static Bytes octets(const std::string& s) { return {s.begin(), s.end()}; }
  Scratch dir;
};

}  // namespace kf::p11test
