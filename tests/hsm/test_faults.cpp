// Workers that die, hang or fail: exactly one completion for each accepted job, done by another worker where that is
// safe, and the engine serves again.
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "host/crypto/ec.hpp"
#include "hsm/engine/worker_process.hpp"
#include "hsm/wire/ring.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm {
namespace {

using namespace testing;
using std::chrono::milliseconds;

void quiet(HsmConfig& c) {
  c.log = [](const std::string&) {};
}

// One letter of /proc/PID/stat; empty: no such process.
std::string state_of(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const auto paren = text.rfind(')');
  return paren == std::string::npos ? "" : text.substr(paren + 2, 1);
}

// Signs until it works; the time that took. The engine must come back by itself.
milliseconds until_it_serves(HsmEngine& e, std::uint64_t id) {
  const auto t0 = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) {
    const auto a = run_all(e, {sign_request(id + static_cast<std::uint64_t>(i), Curve::p256)}, 20);
    if (!a.empty() && a.begin()->second.status == EccStatus::ok) break;
    std::this_thread::sleep_for(milliseconds(20));
  }
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - t0);
}

void kill_mid_load(unsigned workers) {
  HsmConfig c = token_config();
  c.tokens.front().workers = workers;
  quiet(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  const Point q = *e->public_key(Curve::p256);
  std::vector<EccRequest> rs;
  for (std::uint64_t i = 0; i < 3000; ++i)
    rs.push_back(i % 3 == 0 ? ecka_case(i, Curve::p256).request : sign_request(i, Curve::p256));
  const int victim = e->worker_pids().at(0);
  bool killed = false;
  const auto answers = run_all(*e, rs, 120, [&](std::size_t answered) {
    if (killed || answered < 300) return;
    killed = true;
    ::kill(victim, SIGKILL);
  });
  ASSERT_TRUE(killed);
  for (const auto& r : rs) {
    const auto& a = answers.at(r.id);  // run_all has seen that each came exactly once
    ASSERT_EQ(a.status, EccStatus::ok) << to_string(a.status);
    if (r.op == EccOp::sign) {
      ASSERT_TRUE(ecdsa_verify(Curve::p256, q, r.hash, a.signature));
    }
  }
  EXPECT_GT(e->stats().retries, 0U) << "the kill came too late to hit anything";
  EXPECT_LT(until_it_serves(*e, 10'000), milliseconds(10'000));
  for (int i = 0; i < 500 && e->worker_pids().size() < workers; ++i) std::this_thread::sleep_for(milliseconds(20));
  const auto pids = e->worker_pids();
  EXPECT_EQ(pids.size(), workers);
  EXPECT_EQ(std::count(pids.begin(), pids.end(), victim), 0);
  EXPECT_EQ(e->stats().workers.at(0).restarts, 1U);
}

TEST(Faults, KilledWorkerOneOfOne) { kill_mid_load(1); }
TEST(Faults, KilledWorkerOneOfTwo) { kill_mid_load(2); }

TEST(Faults, AdminCallsSurviveALostWorker) {
  HsmConfig c = token_config();
  c.tokens.front().workers = 2;
  quiet(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  std::atomic<bool> stop{false};
  std::atomic<int> good{0};
  std::atomic<int> bad{0};
  std::thread caller([&] {
    while (!stop) ++(e->seal_record({}, hex("0102")).ok() ? good : bad);
  });
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(milliseconds(150));
    ::kill(e->worker_pids().at(0), SIGKILL);
    std::this_thread::sleep_for(milliseconds(400));
  }
  stop = true;
  caller.join();
  EXPECT_GT(good, 20);
  EXPECT_EQ(bad, 0);
}

TEST(Faults, AStoppedWorkerIsReplacedAndItsJobDoneByTheNext) {
  HsmConfig c = token_config();
  c.tokens.front().workers = 1;
  c.call_limit = milliseconds(400);
  quiet(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  std::this_thread::sleep_for(milliseconds(600));
  EXPECT_EQ(e->stats().workers.at(0).restarts, 0U) << "idle is not stalled";
  const int victim = e->worker_pids().at(0);
  ::kill(victim, SIGSTOP);  // as a process that hangs as a whole
  for (int i = 0; i < 500 && state_of(victim) != "T"; ++i) std::this_thread::sleep_for(milliseconds(2));
  const auto t0 = std::chrono::steady_clock::now();
  const auto answers = run_all(*e, {sign_request(1, Curve::p256)}, 20);
  EXPECT_EQ(answers.at(1).status, EccStatus::ok);
  EXPECT_GE(std::chrono::steady_clock::now() - t0, milliseconds(350));
  EXPECT_LT(until_it_serves(*e, 100), milliseconds(10'000));
  EXPECT_EQ(::kill(victim, 0), -1) << "the stopped worker is gone and reaped";
}

TEST(Faults, ACallOfTheEnginesThreadIsAnsweredByAWorkerThatIsToRetire) {
  // The worker outgrows its budget while nobody polls: its end waits for this thread, and this thread makes a call.
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.memory_budget = std::size_t{16} << 20;
  quiet(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set("leak 4096 C_SignInit");
  std::vector<EccRequest> rs;
  for (std::uint64_t i = 0; i < 30; ++i) rs.push_back(sign_request(i, Curve::p256));
  run_all(*e, rs);
  std::this_thread::sleep_for(milliseconds(1200));  // the supervisor looks at memory twice a second
  const auto objects = e->session_objects();
  EXPECT_TRUE(objects.ok()) << objects.error().text();
  for (int i = 0; i < 300 && e->stats().workers.at(0).recycled == 0; ++i) {
    std::vector<EccCompletion> none(1);
    e->poll(none);
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(e->stats().workers.at(0).recycled, 1U);
  EXPECT_EQ(run_all(*e, {sign_request(100, Curve::p256)}, 20).at(100).status, EccStatus::ok);
}

TEST(Faults, WithoutHopeAnswersComeAtOnce) {
  // Every start but the first fails: the token has lost the key that the first worker found... simulated by a PIN file
  // that disappears. The engine must not restart with a refused PIN, and must answer new jobs immediately.
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  std::filesystem::copy_file(s.config.tokens.front().pin_file, dir.path() + "/pin");
  s.config.tokens.front().pin_file = dir.path() + "/pin";
  quiet(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  std::filesystem::remove(s.config.tokens.front().pin_file);
  ::kill(e->worker_pids().at(0), SIGKILL);
  const auto state = [&] { return e->stats().tokens.at(0).state; };
  for (int i = 0; i < 3000 && state() != "refused"; ++i) std::this_thread::sleep_for(milliseconds(10));
  ASSERT_EQ(state(), "refused");
  const std::vector<EccRequest> rs{sign_request(1, Curve::p256), sign_request(2, Curve::p256)};
  EXPECT_EQ(e->submit(rs), 2U);
  std::vector<EccCompletion> out(3);
  EXPECT_EQ(e->poll(out), 2U) << "they are answered already";
  EXPECT_EQ(out[0].status, EccStatus::engine_down);
  EXPECT_EQ(out[1].status, EccStatus::engine_down);
  EXPECT_EQ(e->stats().engine_down, 2U);
  EXPECT_EQ(e->stats().timed_out, 0U);
  EXPECT_EQ(e->seal_record({}, hex("00")).error().reason, "hsm-worker");
  EXPECT_EQ(s.shim.count("C_Login"), 1U);
}

// A module of PKCS#11 3.x whose list says so: it begins as that of 2.40.
TEST(Faults, AModuleOfALaterVersion) {
  for (const unsigned major : {3U, 4U}) {
    const ScratchDir dir;
    Shimmed s = shimmed(dir, "cryptoki " + std::to_string(major));
    quiet(s.config);
    const auto e = HsmEngine::start(s.config);
    ASSERT_EQ(e.ok(), major == 3) << major;
    if (e.ok()) {
      EXPECT_EQ(run_all(**e, {sign_request(1, Curve::p256)}, 20).at(1).status, EccStatus::ok);
    }
  }
}

TEST(Faults, ReturnCodesByClass) {
  const struct {
    const char* function;
    const char* code;
    EccOp op;
    EccStatus status;  // of the job that is hit
    std::uint64_t restarts;
  } rows[] = {
      {"C_SignInit", "0xb3", EccOp::sign, EccStatus::ok, 0},      // SESSION_HANDLE_INVALID: new session, retried
      {"C_SignInit", "0x90", EccOp::sign, EccStatus::ok, 0},      // OPERATION_ACTIVE
      {"C_SignInit", "0x60", EccOp::sign, EccStatus::ok, 0},      // KEY_HANDLE_INVALID: looked up again
      {"C_SignInit", "0x06", EccOp::sign, EccStatus::ok, 0},      // FUNCTION_FAILED: busy, tried again later
      {"C_SignInit", "0x30", EccOp::sign, EccStatus::ok, 0},      // DEVICE_ERROR, and then it works: tried again
      {"C_SignInit", "0x68", EccOp::sign, EccStatus::failed, 0},  // KEY_FUNCTION_NOT_PERMITTED: the job's own fault
      {"C_SignInit", "0x101", EccOp::sign, EccStatus::ok, 1},     // USER_NOT_LOGGED_IN: a new process logs in
      {"C_DeriveKey", "0xb0", EccOp::ephemeral_ecka, EccStatus::ok, 0},
      {"C_GenerateKeyPair", "0xb0", EccOp::ephemeral_ecka, EccStatus::ok, 0},
      {"C_DeriveKey", "0x31", EccOp::ephemeral_ecka, EccStatus::ok, 0},       // DEVICE_MEMORY: busy
      {"C_DeriveKey", "0x1b9", EccOp::ephemeral_ecka, EccStatus::failed, 0},  // PUBLIC_KEY_INVALID: the job's own fault
      {"C_DeriveKey", "0x201", EccOp::ephemeral_ecka, EccStatus::ok, 0},      // TOKEN_RESOURCE_EXCEEDED: busy
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.function) + " " + row.code);
    const ScratchDir dir;
    Shimmed s = shimmed(dir);
    quiet(s.config);
    const auto e = start(s.config);
    ASSERT_TRUE(e);
    s.shim.set("rv " + std::string(row.function) + " once " + row.code);
    std::vector<EckaCase> cases;
    std::vector<EccRequest> rs;
    for (std::uint64_t i = 0; i < 15; ++i) {
      cases.push_back(ecka_case(i, Curve::p256));
      rs.push_back(row.op == EccOp::sign ? sign_request(i, Curve::p256) : cases.back().request);
    }
    const auto answers = run_all(*e, rs, 20);
    std::size_t other = 0;
    for (std::uint64_t i = 0; i < 15; ++i) {
      const auto& a = answers.at(i);
      if (a.status != EccStatus::ok) {
        ++other;
        EXPECT_EQ(a.status, row.status) << to_string(a.status);
      } else if (row.op == EccOp::ephemeral_ecka) {
        EXPECT_TRUE(equal_ct(ecka(Curve::p256, cases[i].peer_d.expose(), a.epk)->expose(), a.shs.expose()));
      }
    }
    EXPECT_EQ(other, row.status == EccStatus::ok ? 0U : 1U);
    EXPECT_EQ(s.shim.count(row.function, std::stoul(row.code, nullptr, 0)), 1U) << "the fault was never injected";
    EXPECT_EQ(e->stats().workers.at(0).restarts, row.restarts);
    EXPECT_EQ(*e->session_objects(), 0U) << "an object survived the failing path";
  }
}

TEST(Faults, LearnsThatThePeerPointMustBeWrapped) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir, "der-only");
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  auto k = ecka_case(5, Curve::p256);
  const auto a = run_all(*e, {k.request}, 20);
  ASSERT_EQ(a.at(5).status, EccStatus::ok);
  EXPECT_TRUE(equal_ct(ecka(Curve::p256, k.peer_d.expose(), a.at(5).epk)->expose(), a.at(5).shs.expose()));
}

TEST(Faults, StartAndStopEndsCleanly) {
  // L15: crashes at exit show as an exit status; 25 cycles here, the soak runs more.
  const int event_fd = ::eventfd(0, EFD_CLOEXEC);
  for (int i = 0; i < 25; ++i) {
    const auto ring = wire::Ring::create();
    ASSERT_TRUE(ring.ok());
    auto w = WorkerProcess::spawn(token_config(), token_config().tokens.front(), wire::Configuration::Mode::serve,
                                  (*ring)->fd(), event_fd);
    ASSERT_TRUE(w.ok()) << w.error().text();
    const auto ready = w->wait_ready(std::chrono::seconds(20));
    ASSERT_TRUE(ready.ok()) << ready.error().text();
    EXPECT_EQ(ready->size(), 2U);
    w->hang_up();
    const auto status = w->reap(std::chrono::seconds(5));
    ASSERT_TRUE(status.has_value()) << "a worker without its socket must end";
    EXPECT_EQ(*status, 0) << wait_status_text(*status);
  }
}

TEST(Faults, WorkerDiesWithItsParent) {
  // A child starts an engine and is killed; its worker must go although nobody closes anything in order.
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe(pipe_ends.data()), 0);
  const HsmConfig c = token_config();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto e = HsmEngine::start(c);
    const int pid = e.ok() ? (*e)->worker_pids().at(0) : -1;
    [[maybe_unused]] const ssize_t n = ::write(pipe_ends[1], &pid, sizeof pid);
    for (;;) ::pause();
  }
  int worker = -1;
  ASSERT_EQ(::read(pipe_ends[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ASSERT_GT(worker, 0);
  EXPECT_EQ(::kill(worker, 0), 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  // Nobody may reap an orphan in a container without an init process: a zombie counts as dead.
  const auto gone = [&] { return state_of(worker).empty() || state_of(worker) == "Z"; };
  for (int i = 0; i < 300 && !gone(); ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(gone());
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

}  // namespace
}  // namespace kf::hsm
