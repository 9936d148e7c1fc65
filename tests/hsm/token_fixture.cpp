#include "tests/hsm/token_fixture.hpp"

#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <tuple>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/setup/softhsm.hpp"
#include "hsm/setup/test_token.hpp"

namespace kf::hsm::testing {

ScratchDir::ScratchDir(bool in_memory) {
  const bool memory = in_memory && ::access("/dev/shm", W_OK) == 0;
  const std::filesystem::path base = memory ? "/dev/shm" : std::filesystem::temp_directory_path();
  std::string pattern = (base / "keyferry-hsm-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}
ScratchDir::~ScratchDir() {
  std::error_code ec;
  std::filesystem::remove_all(path_, ec);
}

HsmConfig token_config() {
  static const ScratchDir dir;
  static const HsmConfig config = [] {
    auto c = make_throwaway_token(dir.path());
    if (!c) {
      std::fprintf(stderr, "cannot set up a SoftHSM token: %s\n", c.error().text().c_str());
      std::abort();
    }
    c->tokens.front().workers = 1;
    c->memory_budget = std::size_t{4} << 30;  // a sanitizer's worker needs much; tests of the budget set their own
    return *c;
  }();
  return config;
}

namespace {

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "cannot set up a SoftHSM token: %s\n", what.c_str());
  std::abort();
}

void write_file(const std::string& path, std::string_view text) {
  const std::string fresh = path + ".new";
  {
    std::ofstream out(fresh, std::ios::binary);
    out << text;
  }
  std::filesystem::permissions(fresh, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::rename(fresh, path);
}

// Runs the helper that imports the keys: the test program itself never maps a module.
void import_keys(const TokenConfig& t, const std::string& key_file) {
  std::vector<std::string> words{KF_CLONE_TOKEN, t.module_path, t.token_uri, t.pin_file, key_file};
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  std::vector<std::string> environment;
  for (const auto& [name, value] : t.environment) environment.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (std::string& e : environment) envp.push_back(e.data());
  envp.push_back(nullptr);
  pid_t pid = -1;
  if (::posix_spawn(&pid, KF_CLONE_TOKEN, nullptr, nullptr, argv.data(), envp.data()) != 0) give_up("posix_spawn");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (status != 0) give_up("clone_token ended with status " + std::to_string(status));
}

// A new token below `dir` with nothing in it; the configuration names the keys that are to come.
HsmConfig empty_token(const std::string& dir, const std::string& label) {
  auto s = softhsm_setup(dir, label);
  if (!s) give_up(s.error().text());
  TokenSetup bare = *s;
  bare.config.identity_keys.clear();
  bare.config.wrap_key_label.clear();
  if (const auto made = set_up_token(bare); !made) give_up(made.error().text());
  s->config.tokens.front().workers = 1;
  return s->config;
}

// Lines for clone_token: what the configuration names.
std::string fresh_keys(const HsmConfig& c) {
  std::string keys;
  for (const auto& k : c.identity_keys) {
    const KeyPair pair = generate_key_pair(k.curve);
    keys += "ec " + std::to_string(static_cast<unsigned>(k.curve)) + " " + to_hex(view(k.label)) + " " +
            to_hex(pair.d.expose()) + " " + to_hex(pair.q) + "\n";
  }
  return keys + "aes " + to_hex(view(c.wrap_key_label)) + " " + to_hex(random_bytes(32)) + "\n";
}

}  // namespace

HsmConfig two_tokens() {
  static const ScratchDir dir;
  static const HsmConfig config = [] {
    HsmConfig a = empty_token(dir.path() + "/a", "keyferry-a");
    HsmConfig b = empty_token(dir.path() + "/b", "keyferry-b");
    write_file(dir.path() + "/keys", fresh_keys(a));
    a.tokens.push_back(b.tokens.front());
    a.tokens[0].name = "a";
    a.tokens[1].name = "b";
    for (const TokenConfig& t : a.tokens) import_keys(t, dir.path() + "/keys");
    return a;
  }();
  return config;
}

HsmConfig crowded_token() {
  static const ScratchDir dir(true);
  static const HsmConfig config = [] {
    HsmConfig c = empty_token(dir.path(), "keyferry-crowded");
    write_file(dir.path() + "/keys", fresh_keys(c) + "many 500\n");
    import_keys(c.tokens.front(), dir.path() + "/keys");
    return c;
  }();
  return config;
}

Shim::Shim(const ScratchDir& dir, TokenConfig& token, const std::string& name)
    : module_(token.module_path), script_(dir.path() + "/" + name + ".script"), log_(dir.path() + "/" + name + ".log") {
  token.module_path = KF_P11_SHIM;
  token.environment.emplace_back("KF_SHIM_SCRIPT", script_);
  clear();
}

void Shim::set(std::string_view rules) {
  // The serial makes each script another one: `once` fires once in each.
  std::string text = "# " + std::to_string(++serial_) + "\nmodule " + module_ + "\nlog " + log_ + "\n";
  if (!log_only_.empty()) text += "log-only " + log_only_ + "\n";
  if (resets_ != 0) text += "resets " + std::to_string(resets_) + "\n";
  write_file(script_, text + std::string(rules) + "\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the shim looks once a millisecond
}

void Shim::bring_back() {
  ++resets_;
  clear();
}

std::vector<Shim::Call> Shim::calls() const {
  std::vector<Call> all;
  std::ifstream in(log_);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    Call c;
    words >> c.begin >> c.end >> c.pid >> c.tid >> c.function >> c.session >> std::hex >> c.rv;
    if (words.fail()) {
      ADD_FAILURE() << "shim log: " << line;
    } else {
      all.push_back(std::move(c));
    }
  }
  return all;
}

std::size_t Shim::count(std::string_view function) const {
  const auto all = calls();
  return static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [&](const Call& c) { return c.function == function; }));
}

std::size_t Shim::count(std::string_view function, unsigned long rv) const {
  const auto all = calls();
  return static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [&](const Call& c) { return c.function == function && c.rv == rv; }));
}

std::size_t Shim::overlaps() const {
  auto all = calls();
  std::erase_if(all, [](const Call& c) { return c.session == 0; });
  std::sort(all.begin(), all.end(),
            [](const Call& a, const Call& b) { return std::tie(a.session, a.begin) < std::tie(b.session, b.begin); });
  std::size_t n = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    const Call& before = all[i - 1];
    if (before.session == all[i].session && (before.end == 0 || all[i].begin < before.end)) ++n;
  }
  return n;
}

void Shim::forget_calls() {
  std::error_code ec;
  std::filesystem::resize_file(log_, 0, ec);  // writers append: they go on at the new end
}

Shimmed shimmed(const ScratchDir& dir, std::string_view rules) {
  HsmConfig c = token_config();
  Shim shim(dir, c.tokens.front());
  if (!rules.empty()) shim.set(rules);
  return {std::move(c), std::move(shim)};
}

std::unique_ptr<HsmEngine> start(const HsmConfig& c) {
  auto e = HsmEngine::start(c);
  if (!e) {
    ADD_FAILURE() << e.error().text();
    return nullptr;
  }
  return std::move(*e);
}

std::map<std::uint64_t, EccCompletion> run_all(HsmEngine& e, const std::vector<EccRequest>& requests, int seconds,
                                               const std::function<void(std::size_t)>& during) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::map<std::uint64_t, EccCompletion> answers;
  std::size_t accepted = 0;
  std::vector<EccCompletion> some(64);
  while (answers.size() < requests.size() && std::chrono::steady_clock::now() < deadline) {
    accepted += e.submit(std::span(requests).subspan(accepted));
    pollfd p{e.event_fd(), POLLIN, 0};
    ::poll(&p, 1, 20);
    while (const std::size_t n = e.poll(some)) {
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t id = some[i].id;
        const bool known = std::any_of(requests.begin(), requests.end(),
                                       [&](const EccRequest& r) { return r.id == id && r.op == some[i].op; });
        EXPECT_TRUE(known) << "completion of an unknown request " << id;
        EXPECT_TRUE(answers.emplace(id, std::move(some[i])).second) << "request " << id << " completed twice";
      }
    }
    if (during) during(answers.size());
  }
  EXPECT_EQ(answers.size(), requests.size());
  return answers;
}

EccRequest sign_request(std::uint64_t id, Curve c) {
  EccRequest r;
  r.id = id;
  r.op = EccOp::sign;
  r.curve = c;
  random_fill(r.hash);
  return r;
}

EckaCase ecka_case(std::uint64_t id, Curve c) {
  KeyPair peer = generate_key_pair(c);
  EckaCase k;
  k.request.id = id;
  k.request.op = EccOp::ephemeral_ecka;
  k.request.curve = c;
  k.request.peer = peer.q;
  k.peer_d = std::move(peer.d);
  return k;
}

}  // namespace kf::hsm::testing
