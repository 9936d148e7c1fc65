// `keyferry init`: everything a first run needs below one directory, and nothing outside it. Idempotent.
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/main/admin_socket.hpp"
#include "host/main/commands.hpp"
#include "host/main/preflight.hpp"
#include "host/pki/test_pki.hpp"
#include "host/store/inspect.hpp"
#include "host/store/store.hpp"
#include "hsm/setup/softhsm.hpp"

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
    errno = 0;
    std::ofstream f(tmp, std::ios::binary);
    f.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!f.flush()) return Error{"init", tmp.string() + cannot_write()};
  }
  std::error_code ec;
  fs::rename(tmp, p, ec);
  if (ec) return Error{"init", p.string() + ": " + ec.message()};
  return {};
}

std::string cert_dp_file(const fs::path& dir, Curve curve) {
  return (dir / "pki" / ("cert-dp-" + std::string(curve_name(curve)) + ".der")).string();
}

bool is_there(const fs::path& p) {
  std::error_code ec;
  return fs::exists(p, ec);
}

// A file without an octet: of a copy that failed, say. SQLite takes it for a database without tables.
bool holds_nothing(const fs::path& p) {
  std::error_code ec;
  return fs::is_regular_file(p, ec) && fs::file_size(p, ec) == 0 && !ec;
}

// What an earlier run has left, and what the configuration says of it now, as far as that can be read.
struct Found {
  fs::path dir, store;
  bool finished = false;         // the configuration is written last
  std::optional<Config> config;  // may have mistakes
  bool own_token = false;        // [token] names another than the private SoftHSM below `dir`
};

Found look_at(const fs::path& dir) {
  Found f;
  f.dir = dir;
  f.store = dir / "store.db";
  f.finished = is_there(dir / "smdp.toml");
  if (!f.finished) return f;
  auto r = read_config((dir / "smdp.toml").string());
  if (!r) return f;
  f.config = std::move(r->config);
  if (!f.config->store_path.empty()) f.store = f.config->store_path;
  const std::pair<std::string, std::string> ours{"SOFTHSM2_CONF", (dir / "token" / "softhsm2.conf").string()};
  f.own_token =
      !f.config->hsm.tokens.empty() && std::ranges::none_of(f.config->hsm.tokens, [&](const hsm::TokenConfig& t) {
        return std::ranges::find(t.environment, ours) != t.environment.end();
      });
  return f;
}

bool has_token(const fs::path& dir) {
  std::error_code ec;
  fs::directory_iterator i(dir / "token" / "tokens", ec);
  return !ec && i != fs::directory_iterator();
}

bool opens_with_a_token(const fs::path& store) {
  const auto s = store::inspect(store.string());
  return s && s->has_data_key;
}

// May the test CI issue this one again? Not where a real CI has taken its place.
bool test_ci_issues(const Found& f, Curve curve) {
  if (f.own_token) return false;
  const std::string root = (f.dir / "pki" / ("ci-" + std::string(curve_name(curve)) + ".pem")).string();
  return !f.config || !is_there(root) ||  // a file that is not there is not among them, and is issued again itself
         std::ranges::find(f.config->ci_roots, root) != f.config->ci_roots.end();
}

// "ci-P-256", "eum-brainpoolP256r1": where a real CI has taken over nobody misses them, and docs/pki.md says to remove
// their keys.
std::optional<Curve> curve_of_test_ci(const std::string& file) {
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    for (const char* who : {"ci-", "eum-"})
      if (file == who + std::string(curve_name(curve))) return curve;
  return std::nullopt;
}

// What a finished set-up has lost and nobody can make again, or not unasked, each with the way out. A token, a store
// and a certificate fit each other only as they were made.
std::vector<std::string> lost_parts(const Found& f, bool new_store) {
  const std::string from_backup = ": put it back from a backup (docs/backup.md)";
  std::vector<std::string> out;
  if (!f.own_token) {
    if (!has_token(f.dir)) out.push_back((f.dir / "token" / "tokens").string() + from_backup);
    if (!is_there(f.dir / "token" / "pin")) out.push_back((f.dir / "token" / "pin").string() + from_backup);
  }
  if (holds_nothing(f.store))
    out.push_back(f.store.string() + ", which is empty" + from_backup +
                  ". Without one, move it away and say --new-store: every order and every ICCID that was given out is "
                  "forgotten then, so import only subscriptions that are on no card");
  if (!is_there(f.store) && !new_store)
    out.push_back(f.store.string() + from_backup +
                  ". Without one, --new-store makes an empty store: every order and every ICCID that was given out is "
                  "forgotten then, so import only subscriptions that are on no card");
  for (const std::string& stem : test_pki_stems((f.dir / "pki").string())) {
    const bool certificate = is_there(stem + ".pem");
    const std::string file = fs::path(stem).filename().string();
    if (const auto curve = curve_of_test_ci(file); curve && !test_ci_issues(f, *curve)) continue;
    const bool issuer = file.starts_with("ci-") || file == "tls-root";
    if (is_there(stem + ".key") || (!certificate && !issuer)) continue;  // is issued again, for that key or a new one
    out.push_back(stem + ".key" + from_backup +
                  (issuer ? std::string()
                          : ". Without one, move " + stem +
                                ".pem away, too: init issues a new pair, and who knew the old certificate needs the "
                                "new one"));
  }
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    if (const std::string file = cert_dp_file(f.dir, curve);
        !is_there(file) && f.config && !test_ci_issues(f, curve) &&
        std::ranges::any_of(f.config->identities, [&](const Identity& i) {
          return i.certificate_file == file || i.certificate_file.empty();
        }))
      out.push_back(file + from_backup + ", or ask your CI");
  return out;
}

// A set-up that was finished once, or parts that only an older token fits.
Status refuse_to_replace(const Found& f, bool new_store) {
  if (new_store && is_there(f.store))
    return Error{"init", "--new-store: " + f.store.string() + " is there, and init replaces nothing"};
  bool leftovers = opens_with_a_token(f.store);
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    leftovers = leftovers || is_there(cert_dp_file(f.dir, curve));
  std::vector<std::string> lost;
  if (f.finished)
    lost = lost_parts(f, new_store);
  else if (leftovers && !has_token(f.dir))
    lost.push_back((f.dir / "token" / "tokens").string() + ": put it back from a backup (docs/backup.md)");
  if (lost.empty()) return {};
  std::string lines = f.dir.string() + " was set up before, and this is missing now:";
  for (const auto& l : lost) lines += "\n  " + l;
  return Error{"init", lines +
                           "\nToken, keys, certificates and store belong together, and init replaces none of "
                           "them.\nTo begin anew, name another directory or remove this one yourself."};
}

// Whoever runs on this directory would be left with a token and a store that change under it.
Status refuse_while_running(const fs::path& dir) {
  std::string socket = (dir / "run" / "admin.sock").string();
  if (const auto r = read_config((dir / "smdp.toml").string()); r && !r->config.admin_socket.empty())
    socket = r->config.admin_socket;
  // One that stands still runs as well.
  if (const auto r = ask_server(socket, "status"); r.ok() || r.error().reason == "admin-silent")
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

Status ensure_store(const Found& f, hsm::HsmEngine& engine, std::vector<std::string>& done) {
  const std::string path = f.store.string();
  KF_TRY(auto store, store::Store::open({path}));
  std::optional<Bytes> wrapped;
  KF_CHECK(store->run([&](store::Tx& tx) { wrapped = tx.meta("data_key"); }));
  if (wrapped) {
    if (const auto key = engine.unwrap_data_key(*wrapped); !key)
      return Error{"init", path + " does not open with " +
                               (f.own_token ? "the token that the configuration names"
                                            : "the token in " + (f.dir / "token").string()) +
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

// By what others call us and the two that are simulated.
TestPkiHosts hosts_of(const Found& f, const InitOptions& o) {
  TestPkiHosts h;
  const auto add = [](std::vector<std::string>& to, const std::string& host) {
    const bool name = !host.empty() && host.find_first_not_of(
                                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789-_.") == std::string::npos;
    if ((name || net::is_ip_address(host)) && host != "0.0.0.0" && host != "::") to.push_back(host);
  };
  const auto add_url = [&](std::vector<std::string>& to, const std::string& url) {
    if (const auto u = net::parse_url(url)) add(to, u->host);
  };
  add(h.smdp, o.host);
  add(h.smdp, o.bind);
  add_url(h.smsr, o.smsr_url);
  add_url(h.op, o.operator_url);
  if (!f.config) return h;
  add_url(h.smdp, f.config->es2_url);
  add_url(h.smdp, f.config->es3_url);
  for (const Party& p : f.config->parties) add_url(p.role == Role::smsr ? h.smsr : h.op, p.url);
  return h;
}

Status ensure_pki(const Found& f, const InitOptions& o, std::vector<std::string>& done) {
  const std::string pki = (f.dir / "pki").string();
  std::vector<TestPkiFile> made;
  for (Curve curve : {Curve::p256, Curve::brainpool_p256r1})
    if (test_ci_issues(f, curve) || f.own_token)
      KF_CHECK(ensure_test_pki(pki, curve, default_parties(), hosts_of(f, o), &made));
  if (made.size() == test_pki_stems(pki).size() && !f.finished) return {};  // all of it, as on the first day
  for (const TestPkiFile& m : made)
    done.push_back("certificate " + m.path + (m.new_key ? ", with a new key" : ", again, for the key that is there"));
  return {};
}

std::string content_of(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

// The token: a private SoftHSM, unless the configuration names another; then its token, PIN and keys are the owner's.
Result<hsm::HsmConfig> ensure_token(const Found& f, std::vector<std::string>& done) {
  if (f.own_token) {
    hsm::HsmConfig own = f.config->hsm;
    own.tokens.resize(1);
    own.tokens.front().workers = 1;
    return own;
  }
  const std::string conf = (f.dir / "token" / "softhsm2.conf").string();
  const std::string before = content_of(conf);
  KF_TRY(hsm::TokenSetup setup, hsm::softhsm_setup((f.dir / "token").string(), kTokenLabel));
  setup.config.wrap_key_label = kWrapLabel;
  setup.config.tokens.front().workers = 1;
  KF_TRY(hsm::TokenSetupReport report, hsm::set_up_token(setup));
  if (report.token_created)
    done.push_back("token \"keyferry\" in a private SoftHSM below " + (f.dir / "token").string());
  else if (content_of(conf) != before)
    done.push_back(conf + ", which says where the tokens are");
  for (const auto& k : report.keys_created) done.push_back("key \"" + k + "\" generated in the token, not extractable");
  return setup.config;
}

// Of the options that were named: those that the configuration, which stays as it is, does not agree with.
std::string not_applied(const InitCommand& c, const Found& f) {
  const InitOptions& o = c.options;
  const auto differs = [&](std::string_view option) {
    if (!f.config) return option != "--dir" && option != "--new-store";
    const Config& k = *f.config;
    const auto url_of = [&](Role role, const std::string& url) {
      return std::ranges::none_of(k.parties, [&](const Party& p) { return p.role == role && p.url == url; });
    };
    const auto es2 = net::parse_url(k.es2_url);
    if (option == "--bind") return o.bind != k.es2_address || o.bind != k.es3_address;
    if (option == "--host") return !es2 || es2->host != o.host;
    if (option == "--es2-port") return o.es2_port != k.es2_port;
    if (option == "--es3-port") return o.es3_port != k.es3_port;
    if (option == "--smsr-url") return url_of(Role::smsr, o.smsr_url);
    if (option == "--operator-url") return url_of(Role::operator_, o.operator_url);
    return option == "--custody" && o.custody != k.custody;
  };
  std::string out;
  for (const std::string& option : c.given)
    if (differs(option)) out += (out.empty() ? "" : ", ") + option;
  return out;
}

Status init(const InitCommand& c, std::vector<std::string>& done, std::vector<std::string>& remarks) {
  KF_CHECK(check_init_options(c.options));
  const fs::path dir = fs::absolute(c.options.dir).lexically_normal();
  KF_CHECK(refuse_while_running(dir));
  const Found f = look_at(dir);
  if (f.own_token && c.force_config)
    return Error{"usage", "--force-config: " + (dir / "smdp.toml").string() +
                              " names a token of your own, and init would name the private SoftHSM: edit the file"};
  KF_CHECK(refuse_to_replace(f, c.new_store));
  KF_CHECK(make_private_dir(dir));
  for (const std::string_view sub : {"pki", "run", "token"}) {
    if (sub == "token" && f.own_token) continue;
    if (f.finished && !is_there(dir / sub)) done.push_back("directory " + (dir / sub).string());
    KF_CHECK(make_private_dir(dir / sub));
  }

  KF_TRY(const hsm::HsmConfig token, ensure_token(f, done));
  KF_CHECK(ensure_pki(f, c.options, done));
  KF_TRY(auto engine, hsm::HsmEngine::start(token));
  if (!f.own_token)
    for (Curve curve : {Curve::p256, Curve::brainpool_p256r1}) KF_CHECK(ensure_cert_dp(dir, curve, *engine, done));
  KF_CHECK(ensure_store(f, *engine, done));
  if (!f.finished || c.force_config) {
    KF_CHECK(write_config(dir, c.options, token.tokens.front().module_path));
    done.push_back("configuration " + (dir / "smdp.toml").string());
  } else if (const std::string options = not_applied(c, f); !options.empty()) {
    remarks.push_back("not applied: " + options + ". " + (dir / "smdp.toml").string() +
                      " is there and init replaces nothing: edit it, or say --force-config to have it written anew");
  }
  if (const auto now = read_config((dir / "smdp.toml").string()))
    for (const Mistake& m : check_names(now->config)) remarks.push_back("warning: " + m.key + ": " + m.what);
  return {};
}

}  // namespace

std::string cannot_write() {
  return std::string(": cannot be written") + (errno == 0 ? "" : std::string(": ") + std::strerror(errno));
}

int complain(int status, const std::string& lines) {
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) std::fprintf(stderr, "keyferry: %s\n", one_line(line).c_str());
  return status;
}

int run_init(const InitCommand& c) {
  std::vector<std::string> done, remarks;
  const Status s = init(c, done, remarks);
  for (const auto& d : done) std::printf("made  %s\n", d.c_str());
  if (!s)
    return complain(s.error().reason == "usage" ? 2 : 1,
                    s.error().detail.empty() ? s.error().reason : s.error().detail);
  if (done.empty()) std::printf("nothing to do: %s is set up\n", c.options.dir.c_str());
  for (const auto& r : remarks) complain(0, r);
  return 0;
}

}  // namespace kf::server
