// `keyferry init`: everything a first run needs below one directory, and nothing outside it. Idempotent.
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "host/base/random.hpp"
#include "host/pki/test_pki.hpp"
#include "host/server/commands.hpp"
#include "host/store/store.hpp"
#include "hsm/engine/softhsm.hpp"

namespace kf::server {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTokenLabel = "keyferry";
constexpr const char* kWrapLabel = "Keyferry wrap key";

Status make_private_dir(const fs::path& p) {
  std::error_code ec;
  fs::create_directories(p, ec);
  if (ec) return Error{"init", p.string() + ": " + ec.message()};
  if (::chmod(p.c_str(), 0700) != 0) return Error{"init", p.string() + ": cannot be made private"};
  return {};
}

Status write_file(const fs::path& p, std::string_view content) {
  const fs::path tmp = p.string() + ".new";
  {
    std::ofstream f(tmp, std::ios::binary);
    f.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!f.flush()) return Error{"init", tmp.string() + ": cannot be written"};
  }
  std::error_code ec;
  fs::rename(tmp, p, ec);
  if (ec) return Error{"init", p.string() + ": " + ec.message()};
  return {};
}

Status init(const InitCommand& c, std::vector<std::string>& done) {
  const fs::path dir = fs::absolute(c.options.dir).lexically_normal();
  KF_CHECK(make_private_dir(dir));
  KF_CHECK(make_private_dir(dir / "pki"));
  KF_CHECK(make_private_dir(dir / "run"));
  KF_CHECK(make_private_dir(dir / "token"));

  // The token: a private SoftHSM unless a module is named; then its token, PIN file and keys are the integrator's.
  if (!c.options.module.empty())
    return Error{
        "init",
        "--module: set up your own token with your vendor's tools, then name it under [token] of the configuration "
        "(docs/configuration.md, \"Your own HSM\")"};
  KF_TRY(hsm::TokenSetup setup, hsm::softhsm_setup((dir / "token").string(), kTokenLabel));
  setup.config.wrap_key_label = kWrapLabel;
  setup.config.tokens.front().workers = 1;
  KF_TRY(hsm::TokenSetupReport report, hsm::set_up_token(setup));
  if (report.token_created) done.push_back("token \"keyferry\" in a private SoftHSM below " + (dir / "token").string());
  for (const auto& k : report.keys_created) done.push_back("key \"" + k + "\" generated in the token, not extractable");

  for (Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    KF_CHECK(ensure_test_pki((dir / "pki").string(), curve, default_parties()));

  // CERT.DP.ECDSA by the test CI over what the token holds; an existing certificate is kept while it fits the key.
  KF_TRY(auto engine, hsm::HsmEngine::start(setup.config));
  for (Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    KF_TRY(Point q, engine->public_key(curve));
    const fs::path file = dir / "pki" / ("cert-dp-" + std::string(curve_name(curve)) + ".der");
    if (fs::exists(file)) {
      std::ifstream f(file, std::ios::binary);
      const Bytes old(std::istreambuf_iterator<char>(f), {});
      if (auto cert = parse_gp_certificate(old); cert && cert->q == q) continue;
    }
    KF_TRY(Bytes cert, issue_cert_dp((dir / "pki").string(), curve, q, default_parties().smdp));
    KF_CHECK(write_file(file, text(cert)));
    done.push_back("CERT.DP.ECDSA on " + std::string(curve_name(curve)) + " issued by the test CI: " + file.string());
  }

  KF_TRY(auto store, store::Store::open({(dir / "store.db").string()}));
  bool have_key = false;
  KF_CHECK(store->run([&](store::Tx& tx) { have_key = tx.meta("data_key").has_value(); }));
  if (!have_key) {
    KF_TRY(Bytes wrapped, engine->new_wrapped_data_key());
    KF_CHECK(store->run([&](store::Tx& tx) { tx.set_meta("data_key", wrapped); }));
    done.push_back("store " + (dir / "store.db").string() + ", its data key wrapped by the token");
  }

  const fs::path config = dir / "smdp.toml";
  if (!fs::exists(config) || c.force_config) {
    KF_CHECK(write_file(config, initial_config(c.options, kTokenLabel, setup.config.tokens.front().module_path)));
    done.push_back("configuration " + config.string());
  }
  return {};
}

}  // namespace

int complain(int status, const std::string& line) {
  std::fprintf(stderr, "keyferry: %s\n", line.c_str());
  return status;
}

int run_init(const InitCommand& c) {
  std::vector<std::string> done;
  const Status s = init(c, done);
  for (const auto& d : done) std::printf("made  %s\n", d.c_str());
  if (!s) return complain(1, s.error().detail.empty() ? s.error().reason : s.error().detail);
  if (done.empty()) std::printf("nothing to do: %s is set up\n", c.options.dir.c_str());
  return 0;
}

}  // namespace kf::server
