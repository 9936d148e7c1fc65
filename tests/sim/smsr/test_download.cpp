// Whole downloads to cards that the simulator made itself: a minimal SM-DP of the test (messages by hand, octets by
// host/es8) against SM-SR and fleet, in one process and against the keyferry-sim process. Proves that issued cards
// accept real certificates and keys; the product's own end-to-end runs are in tests/e2e.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <cstdio>

#include "host/crypto/ec.hpp"
#include "host/es8/scp03t.hpp"
#include "host/profile/package.hpp"
#include "tests/sim/smsr/smdp_stub.hpp"

extern char** environ;

namespace kf::sim::test {
namespace {

using es::Function;

struct Identity {  // of the test's SM-DP
  Curve curve = Curve::p256;
  KeyPair key;
  Bytes cert;
  Bytes profile;
};

Identity make_identity(Curve curve, Bytes profile) {
  Identity id;
  id.curve = curve;
  id.key = generate_key_pair(curve);
  id.cert = *issue_cert_dp(pki_dir(), curve, id.key.q, Oid::trusted("2.999.20"));
  id.profile = std::move(profile);
  return id;
}

std::string step_failed(const char* step, const Answer& a) {
  return std::string(step) + ": " + a.code() + " " + a.error;
}

// One download; "" or where it ended.
asio::awaitable<std::string> download(SmdpStub& dp, const Identity& me, std::string eid, std::string iccid,
                                      bool enable) {
  const Answer eis = co_await dp.call(request(Function::get_eis, eid), false);
  if (eis.code() != "ok" || !eis.response->eis) co_return step_failed("GetEIS", eis);
  const auto ecasd = parse_gp_certificate(eis.response->eis->ecasd.keysets.at(0).certs.at(0).value);
  if (!ecasd.ok()) co_return "ECASD: " + ecasd.error().text();

  es::Request create = request(Function::create_isdp, eid);
  create.iccid = iccid;
  create.mno_id = "2.999.10";
  create.required_memory = 65536;
  create.more_to_do = true;
  const Answer created = co_await dp.call(std::move(create), true);
  if (created.code() != "ok") co_return step_failed("CreateISDP", created);
  const auto aid = Aid::parse(created.response->isd_p_aid);
  if (!aid.ok()) co_return "AID";

  es::Request data = request(Function::send_data, eid);
  data.more_to_do = true;
  data.sd_aid = to_bytes(isd_r_aid().bytes());
  std::vector<Bytes> apdus = es8::store_data_certificate(me.cert);
  const std::size_t blocks = apdus.size();
  apdus.insert(apdus.begin(), es8::install_for_personalization(*aid));
  data.data = es8::wrap_c_apdus(apdus);
  const Answer one = co_await dp.call(data, true);
  if (one.code() != "ok") co_return step_failed("SendData 1", one);
  const auto answers1 = es8::parse_euicc_response_data(*one.response->euicc_response_data);
  const auto rc = es8::rc_of(*answers1, apdus.size());
  if (!rc.ok()) co_return "RC: " + rc.error().text();

  const es8::KeySetPlan plan;
  const Bytes crt = es8::control_reference_template(plan);
  const KeyPair ephemeral = generate_key_pair(me.curve);
  const Signature sig = ecdsa_sign(me.curve, me.key.d.expose(), sha256(es8::signing_input(crt, ephemeral.q, *rc)));
  const auto key_apdus = es8::store_data_key(crt, ephemeral.q, sig, static_cast<std::uint8_t>(blocks));
  data.data = es8::wrap_c_apdus(key_apdus);
  const Answer two = co_await dp.call(data, true);
  if (two.code() != "ok") co_return step_failed("SendData 2", two);
  const auto answers2 = es8::parse_euicc_response_data(*two.response->euicc_response_data);
  const auto key_answer = es8::key_answer_of(*answers2, key_apdus.size(), plan);
  if (!key_answer.ok()) co_return "receipt: " + key_answer.error().text();
  const auto shs = ecka(me.curve, ephemeral.d.expose(), ecasd->q);
  const es8::DerivedKeys keys = es8::derive_keys(shs->expose(), plan, key_answer->dr);
  if (!es8::receipt_matches(keys, crt, *key_answer)) co_return "receipt differs";

  es8::Challenge hc{};
  random_fill(hc);
  const es8::SealedScript sealed = es8::seal_offline(keys.keys, *aid, hc, {0, 0, 1}, me.profile);
  data.sd_aid = to_bytes(aid->bytes());
  data.data.clear();
  for (const Bytes& t : sealed.tlvs) append(data.data, t);
  data.more_to_do = enable;
  const Answer three = co_await dp.call(data, true);
  if (three.code() != "ok") co_return step_failed("SendData 3", three);
  const auto answers3 = es8::parse_euicc_response_data(*three.response->euicc_response_data);
  const auto opened = es8::open_answers(sealed, 0, *answers3);
  if (!opened.ok()) co_return "answers: " + opened.error().text();
  if (to_hex(opened->data) != "3007A0053003800100") co_return "EUICCResponse " + to_hex(opened->data);

  es::Request completed = request(Function::profile_download_completed, eid);
  completed.iccid = iccid;
  const Answer done = co_await dp.call(std::move(completed), false);
  if (done.code() != "ok") co_return step_failed("ProfileDownloadCompleted", done);
  if (enable) {
    es::Request on = request(Function::enable_profile, eid);
    on.iccid = iccid;
    const Answer enabled = co_await dp.call(std::move(on), true);
    if (enabled.code() != "ok") co_return step_failed("EnableProfile", enabled);
  }
  co_return "";
}

std::string iccid_of(unsigned n) { return iccid_with_luhn("89000" + std::to_string(10'000'000'000'000 + n)); }

// `workers` downloads at a time until all are done.
struct Batch {
  SmdpStub& dp;
  const Identity& me;
  unsigned total = 0, next = 0, running = 0, done = 0;
  bool enable = false;
  std::vector<std::string> failures;
};
asio::awaitable<void> worker(Batch& b) {
  while (b.next < b.total) {
    const unsigned n = b.next++;
    std::string why = co_await download(b.dp, b.me, fleet_eid(n), iccid_of(n), b.enable);
    if (!why.empty()) b.failures.push_back(fleet_eid(n) + " " + why);
    ++b.done;
  }
}
void run_batch(asio::io_context& io, Batch& b, unsigned workers, std::chrono::seconds limit) {
  for (unsigned i = 0; i < workers; ++i)
    asio::co_spawn(io, worker(b), [](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
    });
  io.restart();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (b.done < b.total && std::chrono::steady_clock::now() < deadline)
    io.run_one_for(std::chrono::milliseconds(100));
}

Bytes big_profile() {  // a real one when it is at hand
  const std::string dir = std::string(KF_SOURCE_DIR) + "/../shared/profiles";
  if (std::filesystem::exists(dir))
    for (const auto& f : std::filesystem::directory_iterator(dir))
      if (f.path().extension() == ".der" && f.file_size() > 10'000) return to_bytes(view(slurp(f.path().string())));
  return profile::sample_package();
}

TEST(Download, FreshCardsOnBothCurvesEndDisabledAndVerified) {
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    SCOPED_TRACE(curve_name(curve));
    asio::io_context io;
    SmdpStub dp(io);
    SimulatorOptions o;
    o.pki_dir = pki_dir();
    o.curve = curve;
    o.fleet.euiccs = 3;
    o.fleet.rc_length = curve == Curve::p256 ? 16 : 32;
    o.smdp_url = dp.callback_url();
    Simulator sim(io, o);
    const auto s = sim.start();
    ASSERT_TRUE(s.ok()) << s.error().text();
    dp.connect(sim.smsr().es3_port());
    const Identity me = make_identity(curve, profile::sample_package());
    Batch b{dp, me, 3, 0, 0, 0, true, {}};
    run_batch(io, b, 3, std::chrono::seconds(30));
    EXPECT_EQ(b.done, 3u);
    for (const auto& f : b.failures) ADD_FAILURE() << f;
    for (unsigned n = 0; n < 3; ++n) {
      const auto card = sim.fleet().report(fleet_eid(n));
      ASSERT_EQ(card->profiles.size(), 1u);
      EXPECT_TRUE(card->profiles[0].verified);
      EXPECT_EQ(card->profiles[0].state, IsdpState::enabled);
      EXPECT_EQ(card->profiles[0].sha256, to_bytes(sha256(me.profile)));
      EXPECT_EQ(sim.smsr().entries(fleet_eid(n))->at(0).info.state, "Enabled");
    }
    const auto report = nlohmann::json::parse(sim.report(fleet_eid(1)));
    const auto& p = report["euiccs"][0]["profiles"][0];
    EXPECT_EQ(p["card_state"], "ENABLED");
    EXPECT_EQ(p["eis_state"], "Enabled");
    EXPECT_EQ(p["eis_iccid"], iccid_of(1));
    EXPECT_EQ(p["verified"], true);
    EXPECT_EQ(p["sha256"], to_hex(sha256(me.profile)));
    EXPECT_EQ(p["bytes"], me.profile.size());
    sim.stop();
    let_run(io, std::chrono::milliseconds(20));
  }
}

TEST(Download, CardFaultsShowWhereTheyShould) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"wrong-receipt", "receipt differs"},
      {"omit-dr", "receipt: missing-dr"},
      {"wrong-rmac", "answers: bad-rmac"},
      {"scp-error", "SendData 3: 8.3/4.2"},
      {"wrong-counter", "SendData 3: 8.3/4.2"},
      {"pe-rejected=2", "EUICCResponse "},
      {"old-rc-replay", "SendData 2: 8.4/4.2"},
      {"install-refused", "CreateISDP: 8.4/4.2"},
      {"enable-fails", "EnableProfile: 8.2.1/4.2"},
      {"completed-refused", "ProfileDownloadCompleted: 8.7/4.2"},
      {"pe-warning", "EUICCResponse "},
  };
  World w({}, static_cast<unsigned>(cases.size()));
  const Identity me = make_identity(Curve::p256, profile::sample_package());
  for (unsigned n = 0; n < cases.size(); ++n) {
    const auto& [fault, where] = cases[n];
    w.sim->clear_faults();
    ASSERT_TRUE(w.sim->add_fault(fault).ok());
    const std::string why = run(w.io, download(w.dp, me, fleet_eid(n), iccid_of(n), true));
    EXPECT_TRUE(why.starts_with(where)) << fault << ": " << why;
    const auto profiles = w.sim->fleet().report(fleet_eid(n))->profiles;
    if (fault == "pe-warning") {
      EXPECT_EQ(profiles.at(0).state, IsdpState::disabled) << "a warning is no abort";
    }
    if (fault == "pe-rejected=2") {
      EXPECT_EQ(profiles.at(0).state, IsdpState::personalized);
    }
  }
}

class Process {  // keyferry-sim, ended with POST /quit or by its id
 public:
  explicit Process(const std::vector<std::string>& arguments) {
    int pipe_fd[2];
    if (::pipe(pipe_fd) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], 1);
    posix_spawn_file_actions_addclose(&actions, pipe_fd[0]);
    posix_spawn_file_actions_addclose(&actions, pipe_fd[1]);
    std::string program = std::string(KF_BIN_DIR) + "/keyferry-sim";
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (auto& s : words) argv.push_back(s.data());
    argv.push_back(nullptr);
    if (posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ) != 0) pid = -1;
    posix_spawn_file_actions_destroy(&actions);
    ::close(pipe_fd[1]);
    std::string line;
    for (char c = 0; pid > 0 && ::read(pipe_fd[0], &c, 1) == 1 && c != '\n';) line.push_back(c);
    ::close(pipe_fd[0]);
    ready = nlohmann::json::parse(line, nullptr, false);
  }
  ~Process() {
    if (pid > 0 && !ended) {
      ::kill(pid, SIGTERM);
      wait();
    }
  }
  int wait() {
    int status = -1;
    ::waitpid(pid, &status, 0);
    ended = true;
    return status;
  }
  pid_t pid = -1;
  bool ended = false;
  nlohmann::json ready;
};

asio::awaitable<nlohmann::json> control(asio::io_context& io, std::uint16_t port, std::string method,
                                        std::string target, std::string body = {}) {
  net::ClientOptions o;
  o.plain = true;
  o.port = port;
  net::HttpClient c(io, std::move(o));
  net::Request r;
  r.method = std::move(method);
  r.target = std::move(target);
  r.body = std::move(body);
  r.content_type = "application/json";
  const auto a = co_await c.call(std::move(r), net::Millis(10'000), false);
  if (!a.ok()) co_return nlohmann::json{{"error", a.error().text()}};
  co_return nlohmann::json::parse(a->body, nullptr, false);
}

// The simulator as others use it: a process of its own, all ports free, the SM-DP's address told afterwards.
TEST(Download, TheProcessServesABurst) {
  if (!std::filesystem::exists(std::string(KF_BIN_DIR) + "/keyferry-sim")) GTEST_SKIP() << "keyferry-sim is not built";
  constexpr unsigned kDownloads = 200;
  const Identity me = make_identity(Curve::p256, big_profile());
  Process sim({"run", "--pki", pki_dir(), "--euiccs", std::to_string(kDownloads)});
  ASSERT_TRUE(sim.ready.is_object() && sim.ready.value("ready", false)) << sim.ready.dump();
  const std::uint16_t port = sim.ready["control_port"];
  asio::io_context io;
  SmdpStub dp(io);
  dp.connect(sim.ready["es3_port"]);
  EXPECT_EQ(run(io, control(io, port, "POST", "/config", R"({"smdp_url":")" + dp.callback_url() + "\"}"))["ok"], true);
  const auto before = run(io, control(io, port, "GET", "/summary"));
  Batch b{dp, me, kDownloads, 0, 0, 0, false, {}};
  const auto start = std::chrono::steady_clock::now();
  run_batch(io, b, 50, std::chrono::seconds(120));
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(b.done, kDownloads);
  for (const auto& f : b.failures) ADD_FAILURE() << f;
  let_run(io, std::chrono::milliseconds(500));
  const auto after = run(io, control(io, port, "GET", "/summary"));
  EXPECT_EQ(after["verified"], kDownloads) << after.dump();
  EXPECT_EQ(after["created_left"], 0);
  EXPECT_EQ(after["eis_disabled"], kDownloads);
  EXPECT_EQ(after["profile_bytes"], kDownloads * me.profile.size());
  EXPECT_EQ(after["notifications"], kDownloads);
  EXPECT_EQ(dp.notifications.size(), kDownloads);
  EXPECT_EQ(after["counters"]["es5"]["triggers"], kDownloads) << "one session a download";
  const double cpu = after["cpu_s"].get<double>() - before["cpu_s"].get<double>();
  std::printf("             %u downloads of %zu bytes, %.1f/s, simulator %.2f ms CPU a download\n", kDownloads,
              me.profile.size(), kDownloads / wall, 1000 * cpu / kDownloads);
  RecordProperty("simulator_us_per_download", static_cast<int>(1e6 * cpu / kDownloads));
  EXPECT_EQ(run(io, control(io, port, "POST", "/fault", R"({"add":["nonsense"]})")).contains("error"), true);
  EXPECT_EQ(run(io, control(io, port, "POST", "/quit"))["quit"], true);
  EXPECT_EQ(sim.wait(), 0);
}

}  // namespace
}  // namespace kf::sim::test
