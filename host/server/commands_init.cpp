// `keyferry init`: everything a first run needs below one directory, and nothing outside it. Idempotent.
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/base/random.hpp"
#include "host/pki/test_pki.hpp"
#include "host/server/admin_socket.hpp"
#include "host/server/commands.hpp"
#include "host/store/inspect.hpp"
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

std::string cert_dp_file(const fs::path& dir, Curve curve) {
  return (dir / "pki" / ("cert-dp-" + std::string(curve_name(curve)) + ".der")).string();
}

bool has_token(const fs::path& dir) {
  std::error_code ec;
  fs::directory_iterator i(dir / "token" / "tokens", ec);
  return !ec && i != fs::directory_iterator();
}

bool opens_with_a_token(const fs::path& dir) {
  const auto s = store::inspect((dir / "store.db").string());
  return s && s->has_data_key;
}

// What belongs to a finished set-up and is not there. A token, a store and a certificate fit each other only as they
// were made: what is lost comes from a backup, never from here.
std::vector<std::string> missing_parts(const fs::path& dir) {
  std::vector<std::string> out;
  std::error_code ec;
  if (!has_token(dir)) out.push_back((dir / "token" / "tokens").string());
  std::vector<fs::path> files{dir / "token" / "pin", dir / "store.db", dir / "pki" / "tls-root.pem",
                              dir / "pki" / "tls-smdp.pem", dir / "pki" / "tls-smdp.key"};
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    files.emplace_back(dir / "pki" / ("ci-" + std::string(curve_name(curve)) + ".pem"));
    files.emplace_back(cert_dp_file(dir, curve));
  }
  for (const auto& f : files)
    if (!fs::exists(f, ec)) out.push_back(f.string());
  return out;
}

// A set-up that was finished once (the configuration is written last), or parts that only an older token fits.
Status refuse_to_replace(const fs::path& dir) {
  std::error_code ec;
  const bool finished = fs::exists(dir / "smdp.toml", ec);
  bool leftovers = opens_with_a_token(dir);
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    leftovers = leftovers || fs::exists(cert_dp_file(dir, curve), ec);
  std::vector<std::string> missing;
  if (finished)
    missing = missing_parts(dir);
  else if (leftovers && !has_token(dir))
    missing.push_back((dir / "token" / "tokens").string());
  if (missing.empty()) return {};
  std::string lines = dir.string() + " was set up before, and this is missing now:";
  for (const auto& m : missing) lines += "\n  " + m;
  return Error{"init", lines +
                           "\nPut it back from a backup (docs/backup.md): token, certificates and store belong "
                           "together, and init replaces none of them.\nTo begin anew, name another directory or "
                           "remove this one yourself."};
}

// Whoever runs on this directory would be left with a token and a store that change under it.
Status refuse_while_running(const fs::path& dir) {
  std::string socket = (dir / "run" / "admin.sock").string();
  if (const auto r = read_config((dir / "smdp.toml").string()); r && !r->config.admin_socket.empty())
    socket = r->config.admin_socket;
  if (ask_server(socket, "status").ok())
    return Error{"init", "a server runs on " + dir.string() + " (it answers at " + socket + "): stop it first"};
  return {};
}

// CERT.DP.ECDSA by the test CI over what the token holds; one that is there is kept, and must fit.
Status ensure_cert_dp(const fs::path& dir, Curve curve, hsm::HsmEngine& engine, std::vector<std::string>& done) {
  KF_TRY(const Point q, engine.public_key(curve));
  const std::string file = cert_dp_file(dir, curve);
  if (fs::exists(file)) {
    std::ifstream f(file, std::ios::binary);
    const Bytes old(std::istreambuf_iterator<char>(f), {});
    if (const auto cert = parse_gp_certificate(old); cert && cert->q == q) return {};
    return Error{"init",
                 file + " is not the certificate of the key in " + (dir / "token").string() +
                     ". It is not replaced: put back the token it was issued for, or move the file away to have "
                     "the test CI issue another"};
  }
  KF_TRY(const Bytes cert, issue_cert_dp((dir / "pki").string(), curve, q, default_parties().smdp));
  KF_CHECK(write_file(file, text(cert)));
  done.push_back("CERT.DP.ECDSA on " + std::string(curve_name(curve)) + " issued by the test CI: " + file);
  return {};
}

Status ensure_store(const fs::path& dir, hsm::HsmEngine& engine, std::vector<std::string>& done) {
  const std::string path = (dir / "store.db").string();
  KF_TRY(auto store, store::Store::open({path}));
  std::optional<Bytes> wrapped;
  KF_CHECK(store->run([&](store::Tx& tx) { wrapped = tx.meta("data_key"); }));
  if (wrapped) {
    if (const auto key = engine.unwrap_data_key(*wrapped); !key)
      return Error{"init", path + " does not open with the token in " + (dir / "token").string() +
                               ": put back the token that belongs to it, from a backup (docs/backup.md)"};
    return {};
  }
  KF_TRY(wrapped, engine.new_wrapped_data_key());
  KF_CHECK(store->run([&](store::Tx& tx) { tx.set_meta("data_key", *wrapped); }));
  done.push_back("store " + path + ", its data key wrapped by the token");
  return {};
}

// By way of a file beside it that the readers have found good.
Status write_config(const fs::path& dir, const InitOptions& o, const std::string& module) {
  const fs::path draft = dir / "smdp.toml.draft";
  KF_CHECK(write_file(draft, initial_config(o, kTokenLabel, module)));
  const auto r = read_config(draft.string());
  std::error_code ec;
  if (!r || !r->mistakes.empty()) {
    fs::remove(draft, ec);
    return Error{"init", r ? r->mistakes.text("the configuration that these options make") : r.error().detail};
  }
  fs::rename(draft, dir / "smdp.toml", ec);
  if (ec) return Error{"init", (dir / "smdp.toml").string() + ": " + ec.message()};
  return {};
}

Status init(const InitCommand& c, std::vector<std::string>& done) {
  // The token: a private SoftHSM unless a module is named; then its token, PIN file and keys are the integrator's.
  if (!c.options.module.empty())
    return Error{
        "usage",
        "--module: set up your own token with your vendor's tools, then name it under [token] of the configuration "
        "(docs/configuration.md, \"Your own HSM\")"};
  KF_CHECK(check_init_options(c.options));
  const fs::path dir = fs::absolute(c.options.dir).lexically_normal();
  KF_CHECK(refuse_while_running(dir));
  KF_CHECK(refuse_to_replace(dir));
  KF_CHECK(make_private_dir(dir));
  for (const char* sub : {"pki", "run", "token"}) KF_CHECK(make_private_dir(dir / sub));

  KF_TRY(hsm::TokenSetup setup, hsm::softhsm_setup((dir / "token").string(), kTokenLabel));
  setup.config.wrap_key_label = kWrapLabel;
  setup.config.tokens.front().workers = 1;
  KF_TRY(hsm::TokenSetupReport report, hsm::set_up_token(setup));
  if (report.token_created) done.push_back("token \"keyferry\" in a private SoftHSM below " + (dir / "token").string());
  for (const auto& k : report.keys_created) done.push_back("key \"" + k + "\" generated in the token, not extractable");

  for (Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    KF_CHECK(ensure_test_pki((dir / "pki").string(), curve, default_parties()));
  KF_TRY(auto engine, hsm::HsmEngine::start(setup.config));
  for (Curve curve : {Curve::p256, Curve::brainpool_p256r1}) KF_CHECK(ensure_cert_dp(dir, curve, *engine, done));
  KF_CHECK(ensure_store(dir, *engine, done));
  if (!fs::exists(dir / "smdp.toml") || c.force_config) {
    KF_CHECK(write_config(dir, c.options, setup.config.tokens.front().module_path));
    done.push_back("configuration " + (dir / "smdp.toml").string());
  }
  return {};
}

}  // namespace

int complain(int status, const std::string& lines) {
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) std::fprintf(stderr, "keyferry: %s\n", line.c_str());
  return status;
}

int run_init(const InitCommand& c) {
  std::vector<std::string> done;
  const Status s = init(c, done);
  for (const auto& d : done) std::printf("made  %s\n", d.c_str());
  if (!s)
    return complain(s.error().reason == "usage" ? 2 : 1,
                    s.error().detail.empty() ? s.error().reason : s.error().detail);
  if (done.empty()) std::printf("nothing to do: %s is set up\n", c.options.dir.c_str());
  return 0;
}

}  // namespace kf::server
