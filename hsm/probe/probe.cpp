#include "hsm/probe/probe.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "hsm/probe/probe_hands.hpp"

namespace kf::hsm {
namespace {

using Json = nlohmann::json;
using State = ProbeAttempt::State;

constexpr unsigned kSessionCap = 64;
// The best of so many interleaved passes: a machine that does other things as well is slower now and then, never
// faster.
constexpr unsigned kPasses = 3;

// Seconds that all processors together were there, and were busy.
struct ProcessorTime {
  double total = 0, busy = 0;
  static ProcessorTime now() {
    std::ifstream in("/proc/stat");
    std::string cpu;
    in >> cpu;
    ProcessorTime t;
    double v = 0;
    for (int i = 0; i < 8 && in >> v; ++i) {  // user nice system idle iowait irq softirq steal
      v /= static_cast<double>(::sysconf(_SC_CLK_TCK));
      t.total += v;
      if (i != 3 && i != 4) t.busy += v;
    }
    return t;
  }
};

class Probe {
 public:
  Probe(const ProbeOptions& o, const ProbeProgress& progress) : o_(o), progress_(progress), hands_(o, r_) {}

  Result<ProbeReport> run() {
    r_.module_path = o_.token.module_path;
    r_.config = o_.token;
    r_.cores = std::max(1U, std::thread::hardware_concurrency());
    KF_CHECK(survey());
    const bool on = choose_token() && log_in();
    if (on) {
      r_.tried = true;
      keys();
      for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) curve(c);
      identities();
      storage();
      sessions();
      measure();
    }
    if (hands_.stopped()) return Error{"interrupted", "stopped on request"};
    return std::move(r_);
  }

 private:
  void say(const std::string& what) const {
    if (progress_ && !hands_.stopped()) progress_(what);
  }

  Status survey() {
    TokenConfig t = o_.token;
    t.token_uri.clear();
    hands_.use(t, false);
    say("loading the module");
    if (const Status s = hands_.ready(); !s) {
      if (is_loss(s.error()))
        return Error{s.error().reason,
                     r_.module_path + " crashes or hangs while it is loaded and initialised: " + s.error().detail};
      return s;
    }
    say("library and slots");
    ProbeAttempt why;
    const auto j = hands_.step("library", Json::object(), "C_GetInfo and the list of slots", why);
    if (hands_.stopped()) return Error{"interrupted", "stopped on request"};
    if (!j)
      return Error{why.state == State::lost ? "hsm-worker-lost" : "hsm-module",
                   r_.module_path + ", asked for its slots (C_GetInfo, C_GetSlotList): " + why.why};
    if (const auto info = attempt_of(*j, "info"); info.good()) {
      r_.library = j->at("manufacturer").get<std::string>() + " / " + j->at("description").get<std::string>() + " " +
                   j->at("version").get<std::string>();
      r_.cryptoki = j->at("cryptoki");
    } else {
      r_.library = "unknown (" + info.why + ")";
    }
    if (const auto list = attempt_of(*j, "slot_list"); !list.good())
      r_.left_out.push_back("Slots and tokens: " + list.why + ".");
    r_.slot_count = j->at("slot_count");
    for (const Json& s : j->at("slots")) r_.slots.push_back(slot_of(s));
    for (ProbeSlot& s : r_.slots) mechanisms(s);
    if (const auto codes = hands_.step("return-codes", Json::object(), "table of return codes", why)) {
      for (const Json& row : codes->at("rows"))
        r_.return_codes.push_back({row.at("code"), row.at("name"), row.at("class")});
    }
    return {};
  }

  void mechanisms(ProbeSlot& s) {
    if (!s.token) return;
    say("mechanisms of slot " + std::to_string(s.id));
    ProbeAttempt why;
    const auto j =
        hands_.step("mechanisms", {{"slot", s.id}}, "C_GetMechanismList of slot " + std::to_string(s.id), why);
    s.mechanism_list = j ? attempt_of(*j, "list") : why;
    if (!j) return;
    s.mechanism_count = j->at("count");
    for (const Json& m : j->at("mechanisms"))
      s.mechanisms.push_back({m.at("name"), m.at("listed"), m.value("min", std::uint64_t{0}),
                              m.value("max", std::uint64_t{0}), strings_of(m, "flags")});
  }

  bool choose_token() {
    TokenConfig t = o_.token;
    if (t.token_uri.empty()) {
      std::vector<const ProbeSlot*> fit;
      for (const ProbeSlot& s : r_.slots) {
        if (s.token && s.token->initialised) fit.push_back(&s);
      }
      if (fit.size() != 1) {
        r_.left_out.push_back(fit.empty()
                                  ? "Everything that needs a token: the module shows no initialised one. Initialise it "
                                    "with the vendor's tool (SoftHSM: `keyferry init` does it) and probe again."
                                  : "Everything that needs a token: there are " + std::to_string(fit.size()) +
                                        " of them. Choose one by its URI, for example --token '" +
                                        fit.front()->token->uri + "'.");
        return false;
      }
      t.token_uri = fit.front()->token->uri;
    }
    hands_.use(t, false);
    ProbeAttempt why;
    const auto j = hands_.step("token", Json::object(), "looking for the token", why);
    if (!j) {
      r_.left_out.push_back("Everything that needs a token: " + why.why + ".");
      return false;
    }
    r_.slot = j->at("slot").get<std::uint64_t>();
    r_.token_uri = t.token_uri;
    r_.config.token_uri = t.token_uri;
    return true;
  }

  bool log_in() {
    const ProbeSlot* slot = r_.probed();
    const bool has_pin = !r_.config.pin_file.empty() || !r_.config.pin_env.empty() || !r_.config.pin_credential.empty();
    if (!has_pin) {
      if (slot != nullptr && slot->token && !slot->token->login_required) return true;
      r_.left_out.push_back(
          "Keys, curves, limits and rates: they need a login. Put the user PIN into a file that only you can read and "
          "add "
          "--pin-file FILE (or --pin-env VARIABLE).");
      return false;
    }
    say("logging in");
    hands_.use(r_.config, true);
    if (const Status s = hands_.ready(); !s) {
      if (is_loss(s.error())) hands_.note("login", "C_Login", s.error());
      // A refused PIN is not tried again by anybody: three wrong ones lock most tokens.
      r_.left_out.push_back("Keys, curves, limits and rates: the login did not succeed: " + s.error().detail + ".");
      return false;
    }
    return r_.logged_in = true;
  }

  void keys() {
    say("keys");
    ProbeAttempt why;
    const auto j = hands_.step("keys", Json::object(), "listing the keys", why);
    r_.key_list = j ? attempt_of(*j, "list") : why;
    if (!j) return;
    r_.key_count = j->at("count");
    for (const Json& k : j->at("keys"))
      r_.keys.push_back({k.at("kind"), k.at("type"), k.at("label"), k.at("id"), k.value("curve", ""),
                         k.value("bits", std::uint64_t{0}), strings_of(k, "flags")});
  }

  // One ECDH, with its value read and compared.
  ProbeAttempt ecdh(Json args, const std::string& what, std::uint64_t* octets = nullptr) {
    ProbeAttempt why;
    const auto j = hands_.step("ecdh", args, what, why);
    if (!j) return why;
    if (const auto a = attempt_of(*j, "derive"); !a.good()) return a;
    if (const auto a = attempt_of(*j, "read"); !a.good()) return a;
    if (octets != nullptr) *octets = j->value("octets", std::uint64_t{0});
    if (j->contains("matches") && !j->at("matches").get<bool>())
      return {State::refused, "C_DeriveKey: the value differs from OpenSSL's"};
    return attempt_of(*j, "destroy");
  }

  // What else there is to know about ECDH, in the encoding that works.
  void learn_rest(const std::string& name, ProbeCurve& c) {
    const bool with_length = c.ecdh_raw.good() || c.ecdh_der.good();
    bool der = with_length && !c.ecdh_raw.good();
    c.without_value_len =
        ecdh({{"curve", name}, {"der", der}, {"value_len", false}}, "ECDH on " + name + " without CKA_VALUE_LEN");
    if (!with_length && !c.without_value_len.good()) {
      der = true;
      c.without_value_len = ecdh({{"curve", name}, {"der", der}, {"value_len", false}},
                                 "ECDH on " + name + " without CKA_VALUE_LEN, peer point as OCTET STRING");
    }
    if (!c.ecdh()) return;
    const Json how{{"curve", name}, {"der", der}, {"value_len", with_length}};
    for (const char* kdf : {"SHA1", "SHA256", "SHA384", "SHA512"}) {
      Json args = how;
      args["kdf"] = kdf;
      c.kdfs.emplace_back(std::string("CKD_") + kdf + "_KDF",
                          ecdh(args, "ECDH on " + name + " with CKD_" + kdf + "_KDF"));
    }
    Json args = how;
    args["off_curve"] = true;
    c.off_curve = hands_.attempt("ecdh", args, "ECDH on " + name + " with a point that is not on the curve", "derive");
  }

  void curve(Curve id) {
    const std::string name(curve_name(id));
    say("curve " + name);
    ProbeCurve c;
    c.curve = id;
    ProbeAttempt why;
    if (const auto j = hands_.step("pair", {{"curve", name}}, "session key pair on " + name, why)) {
      c.read_write = j->value("read_write", false);
      c.pair = attempt_of(*j, "generate");
      c.pair_plain = attempt_of(*j, "plain");
      if (c.pair.good()) c.pair = attempt_of(*j, "point");
      c.point_der = j->value("der", false);
      c.destroyed = attempt_of(*j, "destroy");
    } else {
      c.pair = why;
    }
    if (c.pair.good()) {
      c.ecdh_raw = ecdh({{"curve", name}}, "ECDH on " + name + ", raw peer point", &c.value_octets);
      c.ecdh_der = ecdh({{"curve", name}, {"der", true}}, "ECDH on " + name + ", peer point as OCTET STRING",
                        c.ecdh_raw.good() ? nullptr : &c.value_octets);
      learn_rest(name, c);
    }
    // Also without a key pair of ours: a module may sign with keys it was given, and generate none.
    c.sign = hands_.attempt("sign", {{"curve", name}}, "signature with a session key on " + name, "sign");
    c.verify_der = hands_.attempt("verify", {{"curve", name}},
                                  "verification on " + name + " with an imported key (OCTET STRING)", "verify");
    c.verify_raw = hands_.attempt("verify", {{"curve", name}, {"raw", true}},
                                  "verification on " + name + " with an imported key (raw point)", "verify");
    if (c.sign.good()) c.copy = hands_.attempt("copy", {{"curve", name}}, "copy of a session key on " + name, "copy");
    r_.curves.push_back(std::move(c));
  }

  void identities() {
    for (const std::string& name : o_.identity) {
      say("identity key '" + name + "'");
      ProbeIdentity i;
      i.name = name;
      ProbeAttempt why;
      const auto j = hands_.step("sign", {{"key", name}}, "signature with the key '" + name + "'", why);
      i.found = j ? attempt_of(*j, "key") : why;
      if (j && i.found.good()) {
        i.curve = curve_by_name(j->value("curve", ""));
        i.sign = attempt_of(*j, "sign");
        const std::string on(curve_name(*i.curve));
        if (const auto k =
                hands_.step("copy", {{"curve", on}, {"key", name}}, "copy of the key '" + name + "'", i.copy)) {
          i.copy = attempt_of(*k, "copy");
          i.copy_guarded = k->value("guarded", false);
        }
      }
      r_.identities.push_back(std::move(i));
    }
    if (o_.identity.empty())
      r_.left_out.push_back(
          "Identity keys: none was named, so signatures were made with session keys. Add --identity LABEL (once for "
          "each "
          "key) to try yours, and whether it may be copied into a session object.");
  }

  void storage() {
    say("records and wrapping");
    r_.random = hands_.attempt("random", Json::object(), "C_GenerateRandom", "random");
    r_.aes_key = hands_.attempt("wrap", {{"what", "generate"}}, "AES-256 session key", "result");
    if (!r_.aes_key.good()) return;
    r_.gcm = hands_.attempt("wrap", {{"what", "gcm"}}, "CKM_AES_GCM", "result");
    r_.key_wrap = hands_.attempt("wrap", {{"what", "AES_KEY_WRAP"}}, "CKM_AES_KEY_WRAP", "result");
    r_.key_wrap_pad = hands_.attempt("wrap", {{"what", "AES_KEY_WRAP_PAD"}}, "CKM_AES_KEY_WRAP_PAD", "result");
  }

  void sessions() {
    say("sessions");
    ProbeAttempt why;
    if (const auto j = hands_.step("sessions", {{"cap", kSessionCap}}, "opening sessions", why)) {
      r_.sessions = attempt_of(*j, "stopped");
      r_.sessions_opened = j->at("opened");
    } else {
      r_.sessions = why;
    }
    Json curves = Json::array();
    for (const ProbeCurve& c : r_.curves) {
      if (c.ecdh()) curves.push_back(curve_name(c.curve));
    }
    if (const auto j = hands_.step("objects", {{"curves", curves}}, "counting session objects", why);
        j && attempt_of(*j, "list").good())
      r_.objects_left = j->at("count").get<std::uint64_t>();
    if (const Status s = hands_.end(); s) {
      r_.ended = {State::good, {}};
    } else {
      r_.ended = {is_loss(s.error()) ? State::lost : State::refused, s.error().detail};
    }
  }

  // Rates ------------------------------------------------------------------------------------------------------------

  [[nodiscard]] std::vector<HsmConfig::IdentityKey> usable_identities() const {
    std::vector<HsmConfig::IdentityKey> out;
    for (const ProbeIdentity& i : r_.identities) {
      const bool first = std::none_of(out.begin(), out.end(), [&](const auto& k) { return k.curve == i.curve; });
      if (i.sign.good() && first) out.push_back({*i.curve, i.name, std::nullopt});
    }
    return out;
  }

  ProbeRate measure_one(DirectKind kind, Curve c, unsigned processes, unsigned threads, double seconds) {
    ProbeRate rate;
    rate.kind = kind;
    rate.curve = c;
    rate.processes = processes;
    rate.threads = threads;
    const auto keys = usable_identities();
    std::vector<std::unique_ptr<DirectClient>> clients;
    const auto fail = [&](const Error& e) {
      if (e.reason == "hsm-worker-lost" || e.reason == "hsm-worker") hands_.note("measure", "measuring", e);
      rate.problem = e.detail;
      return rate;
    };
    for (unsigned i = 0; i < processes; ++i) {
      auto d = hands_.start(keys);
      if (!d) return fail(d.error());
      clients.push_back(std::move(*d));
    }
    const DirectRun run{kind, c, threads, static_cast<unsigned>(std::max(1.0, seconds * 1000))};
    for (auto& d : clients) {
      if (const Status s = d->begin(run); !s) return fail(s.error());
    }
    for (auto& d : clients) {
      const auto r = d->finish();
      if (!r) return fail(r.error());
      if (r->failed != 0) rate.problem = std::to_string(r->failed) + " calls failed, first " + r->first_error;
      if (r->seconds > 0) rate.per_second += static_cast<double>(r->done) / r->seconds;
      own_cpu_seconds_ += r->cpu_seconds;
      rate.p50_us = std::max(rate.p50_us, r->p50_us);
      rate.p95_us = std::max(rate.p95_us, r->p95_us);
      rate.p99_us = std::max(rate.p99_us, r->p99_us);
    }
    return rate;
  }

  void measure() {
    if (o_.seconds <= 0) {
      r_.left_out.push_back("Rates: not measured (--seconds 0).");
      return;
    }
    const auto keys = usable_identities();
    for (const ProbeCurve& c : r_.curves) {
      const auto own = std::find_if(r_.identities.begin(), r_.identities.end(),
                                    [&](const ProbeIdentity& i) { return i.curve == c.curve && i.sign.good(); });
      const bool has_own = own != r_.identities.end();
      std::vector<DirectKind> kinds;
      if (has_own || c.sign.good()) kinds.push_back(DirectKind::sign);
      if (has_own && own->copy.good()) kinds.push_back(DirectKind::sign_with_copy);
      if (c.ecdh()) kinds.push_back(DirectKind::ecka);
      if (c.ecdh() && !kinds.empty() && kinds.front() == DirectKind::sign) kinds.push_back(DirectKind::set);
      if (c.verify()) kinds.push_back(DirectKind::verify);
      for (const DirectKind k : kinds) {
        if (hands_.stopped() || !hands_.may("measure")) return;
        say("rate on " + std::string(curve_name(c.curve)));
        r_.operations.push_back(measure_one(k, c.curve, 1, 1, o_.seconds / 2));
      }
    }
    scale();
  }

  // Threads and processes, on the curve of the first identity key, with sets when the token can do them.
  void scale() {
    const auto keys = usable_identities();
    const auto good = [](const ProbeRate& o) { return o.problem.empty() && o.per_second > 0; };
    const ProbeRate* reference = nullptr;
    for (const DirectKind k : {DirectKind::set, DirectKind::sign}) {
      for (const ProbeRate& o : r_.operations) {
        const bool preferred = keys.empty() || o.curve == keys.front().curve;
        if (reference == nullptr && o.kind == k && preferred && good(o)) reference = &o;
      }
    }
    if (reference == nullptr) return;
    const DirectKind kind = reference->kind;
    const Curve on = reference->curve;
    std::vector<unsigned> threads;
    std::vector<unsigned> processes;
    for (unsigned n = 1; n <= std::min(o_.max_threads, 64U); n *= 2) threads.push_back(n);
    const unsigned most = o_.max_processes == 0 ? 2 * r_.cores : o_.max_processes;
    for (unsigned n = 1; n <= std::min(most, 64U); n = n >= 8 ? n * 2 : n + 1) processes.push_back(n);
    const ProcessorTime before = ProcessorTime::now();
    own_cpu_seconds_ = 0;
    for (unsigned pass = 1; pass <= kPasses; ++pass) {
      series(r_.threads, threads, true, kind, on, pass);
      series(r_.processes, processes, false, kind, on, pass);
    }
    const ProcessorTime after = ProcessorTime::now();
    if (after.total > before.total)
      r_.other_load =
          std::clamp((after.busy - before.busy - own_cpu_seconds_) / (after.total - before.total), 0.0, 1.0);
  }

  void series(std::vector<ProbeRate>& out, const std::vector<unsigned>& efforts, bool of_threads, DirectKind kind,
              Curve on, unsigned pass) {
    for (std::size_t i = 0; i < efforts.size(); ++i) {
      if (hands_.stopped() || !hands_.may("measure")) return;
      const unsigned n = efforts[i];
      say("pass " + std::to_string(pass) + " of " + std::to_string(kPasses) + ": " + std::to_string(n) +
          (of_threads ? " threads" : " processes"));
      ProbeRate rate = measure_one(kind, on, of_threads ? 1 : n, of_threads ? n : 1, o_.seconds / kPasses);
      const bool good = rate.problem.empty();
      if (i >= out.size()) {
        out.push_back(std::move(rate));
      } else if (!good || (out[i].problem.empty() && rate.per_second > out[i].per_second)) {
        out[i] = std::move(rate);
      }
      if (!good) return;  // more of the same would fail as well
    }
  }

  const ProbeOptions& o_;
  const ProbeProgress& progress_;
  ProbeReport r_;
  Hands hands_;
  double own_cpu_seconds_ = 0;  // of measured calls
};

}  // namespace

Result<ProbeReport> probe(const ProbeOptions& o, const ProbeProgress& progress) {
  try {
    return Probe(o, progress).run();
  } catch (const Json::exception& e) {  // an answer that our own worker did not write like this
    return Error{"hsm-worker", std::string("the worker's answer cannot be read: ") + e.what()};
  }
}

}  // namespace kf::hsm
