#include "tests/hsm/token_fixture.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/engine/test_token.hpp"

namespace kf::hsm::testing {

ScratchDir::ScratchDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "keyferry-hsm-XXXXXX").string();
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
    c->workers = 1;
    return *c;
  }();
  return config;
}

Spied spied(const ScratchDir& dir, std::vector<std::pair<std::string, std::string>> extra) {
  Spied s;
  s.config = token_config();
  s.log = dir.path() + "/spy.log";
  s.config.environment.emplace_back("KF_SPY_MODULE", s.config.module_path);
  s.config.environment.emplace_back("KF_SPY_LOG", s.log);
  for (auto& e : extra) s.config.environment.push_back(std::move(e));
  s.config.module_path = KF_P11_SPY;
  return s;
}

std::size_t Spied::count(std::string_view call) const {
  std::ifstream in(log);
  std::size_t n = 0;
  for (std::string line; std::getline(in, line);) n += line == call ? 1 : 0;
  return n;
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
