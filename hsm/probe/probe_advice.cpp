// What follows from the findings: custody verdicts, the knee, and the configuration to paste.
#include <algorithm>
#include <cstdio>

#include "host/report/wording.hpp"
#include "hsm/probe/probe_report.hpp"

namespace kf::hsm {
namespace {

using Answer = CustodyVerdict::Answer;
using report::joined;

constexpr double kNear = 0.9;             // of the best rate: more effort than that buys nothing
constexpr double kThreadsMustGain = 1.1;  // over processes, before threads are advised: a crash costs all of them
constexpr double kOtherLoad = 0.15;       // of the processors: above it the knee is worth a remark
constexpr double kTooBusy = 0.3;          // above it the knee is noise
constexpr unsigned kSpareSessions = 2;    // keeper and administration, beside one for each thread

// The slot whose mechanisms tell about the module: the probed one, or the only one that has any.
const ProbeSlot* telling_slot(const ProbeReport& r) {
  if (const ProbeSlot* s = r.probed()) return s;
  const ProbeSlot* only = nullptr;
  for (const ProbeSlot& s : r.slots) {
    if (!s.token) continue;
    if (only != nullptr) return nullptr;
    only = &s;
  }
  return only;
}

const ProbeMechanism* mechanism(const ProbeReport& r, std::string_view name) {
  const ProbeSlot* s = telling_slot(r);
  if (s == nullptr) return nullptr;
  const auto it =
      std::find_if(s->mechanisms.begin(), s->mechanisms.end(), [&](const ProbeMechanism& m) { return m.name == name; });
  return it == s->mechanisms.end() ? nullptr : &*it;
}

// "CKM_ECDSA is missing (C_SignInit: CKR_MECHANISM_INVALID)", or what else went wrong.
std::string lack(const ProbeReport& r, std::string_view mechanism_name, const ProbeAttempt& a, std::string_view what) {
  const ProbeMechanism* m = mechanism(r, mechanism_name);
  const std::string why = a.why.empty() ? std::string("not tried") : a.why;
  if (a.state == ProbeAttempt::State::lost) return std::string(what) + ": " + why;
  if (!a.tried()) return std::string(what) + " was " + why;
  if (m != nullptr && !m->listed) return std::string(mechanism_name) + " is missing (" + why + ")";
  return std::string(what) + " does not work (" + why + ")";
}

// What keeps a policy from working: on every curve, or on this one.
std::vector<std::string> storage_lacks(const ProbeReport& r) {
  std::vector<std::string> out;
  if (!r.random.good()) out.push_back("the random generator does not work (" + r.random.why + ")");
  if (!r.aes_key.good()) {
    out.push_back(lack(r, "CKM_AES_KEY_GEN", r.aes_key, "making an AES-256 key"));
    return out;
  }
  if (!r.gcm.good()) out.push_back(lack(r, "CKM_AES_GCM", r.gcm, "sealing records with AES-GCM"));
  if (!r.key_wrap.good())
    out.push_back(lack(r, "CKM_AES_KEY_WRAP", r.key_wrap, "wrapping the data key with AES key wrap"));
  return out;
}

// What is missing on one curve, and what could not be found out.
struct Lacks {
  std::vector<std::string> missing, untried;
  bool operator==(const Lacks&) const = default;
};

Lacks sign_lacks(const ProbeReport& r, const ProbeCurve& c) {
  // An identity key that signs is what counts; a token may refuse to make session keys for signing.
  for (const ProbeIdentity& i : r.identities) {
    if (i.curve == c.curve && i.sign.good()) return {};
  }
  if (c.sign.good()) return {};
  const ProbeMechanism* m = mechanism(r, "CKM_ECDSA");
  if (m != nullptr && m->listed && c.sign.why.starts_with("C_GenerateKeyPair"))
    return {{}, {"no session key to sign with can be made (" + c.sign.why + "): name an identity key with --identity"}};
  return {{lack(r, "CKM_ECDSA", c.sign, "ECDSA")}, {}};
}

std::vector<std::string> ephemeral_lacks(const ProbeReport& r, const ProbeCurve& c) {
  if (!c.pair.good()) {
    std::string text = lack(r, "CKM_EC_KEY_PAIR_GEN", c.pair, "making a session key pair");
    if (c.pair_plain.good()) text += "; a plainer template is accepted, which would leave the key extractable";
    return {text};
  }
  std::vector<std::string> out;
  if (!c.destroyed.good()) out.push_back("a session key cannot be destroyed (" + c.destroyed.why + ")");
  if (!c.ecdh()) out.push_back(lack(r, "CKM_ECDH1_DERIVE", c.ecdh_raw, "ECDH with a value that may be read"));
  return out;
}

CustodyVerdict verdict(const std::string& policy, const std::vector<std::string>& common,
                       const std::vector<std::pair<std::string, Lacks>>& by_curve) {
  const auto reasons = [](const Lacks& l) { return joined(l.missing.empty() ? l.untried : l.missing, "; "); };
  std::vector<std::string> good;
  std::string bad;  // "; on CURVE ..." for each
  bool open = false;
  for (const auto& [curve, lacks] : by_curve) {
    if (lacks == Lacks{}) {
      good.push_back(curve);
    } else {
      bad += "; on " + curve + " " + reasons(lacks);
      open = open || lacks.missing.empty();
    }
  }
  if (common.empty() && !good.empty())
    return {policy, Answer::yes, "yes, on " + joined(good, " and ") + (bad.empty() ? "" : "; not" + bad.substr(1))};
  std::vector<std::string> all = common;
  if (good.empty() && !by_curve.empty()) {
    // The same on every curve is said once.
    const bool same = std::all_of(by_curve.begin(), by_curve.end(),
                                  [&](const auto& c) { return c.second == by_curve.front().second; });
    all.push_back(same ? reasons(by_curve.front().second) : bad.substr(2));
  }
  if (common.empty() && open) return {policy, Answer::unknown, "unknown: " + joined(all, "; ")};
  return {policy, Answer::no, "no: " + joined(all, "; ")};
}

// Without a login there is only the module's own word for it.
std::vector<CustodyVerdict> judge_by_list(const ProbeReport& r) {
  const auto missing = [&](std::initializer_list<const char*> names) {
    std::vector<std::string> out;
    for (const char* n : names) {
      if (const ProbeMechanism* m = mechanism(r, n); m != nullptr && !m->listed) out.emplace_back(n);
    }
    return out;
  };
  const auto say = [&](const std::string& policy, const std::vector<std::string>& lacks) -> CustodyVerdict {
    const ProbeSlot* s = telling_slot(r);
    if (s == nullptr) return {policy, Answer::unknown, "unknown: no token was probed"};
    if (!s->mechanism_list.good())
      return {policy, Answer::unknown,
              "unknown: the token's mechanism list cannot be read (" + s->mechanism_list.why + ")"};
    if (!lacks.empty())
      return {policy, Answer::no,
              "no: " + joined(lacks) + (lacks.size() == 1 ? " is" : " are") + " not in the mechanism list"};
    return {policy, Answer::unknown,
            "unknown: the mechanism list has all that is needed; only a run with a login can tell"};
  };
  return {say("strict", missing({"CKM_EC_KEY_PAIR_GEN", "CKM_ECDSA", "CKM_ECDH1_DERIVE", "CKM_AES_KEY_GEN",
                                 "CKM_AES_GCM", "CKM_AES_KEY_WRAP"})),
          say("hybrid", missing({"CKM_ECDSA", "CKM_AES_KEY_GEN", "CKM_AES_GCM", "CKM_AES_KEY_WRAP"}))};
}

std::optional<std::uint64_t> number(const std::string& limit) {
  if (limit.empty() || limit.find_first_not_of("0123456789") != std::string::npos || limit.size() > 9)
    return std::nullopt;
  return std::stoull(limit);
}

// The most sessions that all workers together may have, as far as it is known.
std::optional<std::uint64_t> session_limit(const ProbeReport& r) {
  const ProbeSlot* s = r.probed();
  std::optional<std::uint64_t> told = s != nullptr && s->token ? number(s->token->sessions_max) : std::nullopt;
  // Found by trying: fewer could be opened than were asked for, beside the keeper.
  if (r.sessions.state == ProbeAttempt::State::refused) {
    const std::uint64_t found = r.sessions_opened + (r.logged_in ? 1 : 0);
    if (!told || found < *told) told = found;
  }
  return told;
}

void advise_effort(const ProbeReport& r, ProbeAdvice& a) {
  const auto still_rising = [](std::size_t i, const std::vector<ProbeRate>& series) {
    return i + 1 == series.size() && series.size() > 1;
  };
  const auto any = [](const std::vector<ProbeRate>& series) {
    return std::any_of(series.begin(), series.end(), [](const ProbeRate& p) { return p.per_second > 0; });
  };
  if (!any(r.processes)) {
    a.why.push_back("Nothing was measured, so workers and threads are the defaults.");
  } else {
    const std::size_t kp = knee(r.processes);
    a.workers = r.processes[kp].processes;
    a.why.push_back("The knee of processes is at " + std::to_string(a.workers) + ".");
    if (still_rising(kp, r.processes))
      a.why.push_back("The rate still rises at the last number tried: measure further with --max-processes.");
    if (any(r.threads)) {
      const std::size_t kt = knee(r.threads);
      if (r.threads[kt].threads > 1 && r.threads[kt].per_second > kThreadsMustGain * r.processes[kp].per_second) {
        a.workers = 1;
        a.threads = r.threads[kt].threads;
        a.why.push_back("Threads carry further than processes here: " + std::to_string(a.threads) + " in one process.");
        if (still_rising(kt, r.threads))
          a.why.push_back("The rate still rises at the last number tried: measure further with --max-threads.");
      }
    }
  }
  if (r.other_load > kOtherLoad && any(r.processes)) {
    const std::string busy = "Other programs took " + std::to_string(static_cast<int>(100 * r.other_load)) +
                             " % of the processors meanwhile: ";
    if (r.other_load > kTooBusy) {
      a.workers = ProbeAdvice{}.workers;
      a.threads = ProbeAdvice{}.threads;
      a.why = {busy +
               "the knees say little, and workers and threads below are the defaults. Repeat this on a quiet machine."};
    } else {
      a.why.push_back(busy + "repeat this on a quiet machine.");
    }
  }
  if (a.workers < 2) {
    a.workers = 2;
    a.why.push_back("Two workers at least: the other one goes on while one is replaced.");
  }
  if (const auto limit = session_limit(r)) {
    const auto fits = [&](unsigned workers, unsigned threads) {
      return std::uint64_t{workers} * (threads + kSpareSessions) <= *limit;
    };
    const ProbeAdvice before = a;
    while (a.threads > 1 && !fits(a.workers, a.threads)) --a.threads;
    while (a.workers > 1 && !fits(a.workers, a.threads)) --a.workers;
    if (a.workers != before.workers || a.threads != before.threads)
      a.why.push_back("The token gives " + std::to_string(*limit) +
                      " sessions at most; a worker takes one for each thread and " + std::to_string(kSpareSessions) +
                      " more.");
  }
}

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char b[8];
      std::snprintf(b, sizeof b, "\\u%04X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += b;
    } else {
      out += c;
    }
  }
  return out + "\"";
}
// A key of a TOML table: bare when it may be.
std::string key_text(const std::string& s) {
  const bool bare =
      !s.empty() &&
      s.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
  return bare ? s : quoted(s);
}
std::string comment(std::string s) {
  std::replace_if(
      s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return "# " + s + "\n";
}

std::string block(const ProbeReport& r, const ProbeAdvice& a, const std::vector<CustodyVerdict>& verdicts) {
  std::string t = "[token]\n";
  t += "module = " + quoted(r.module_path) + "\n";
  t += "uri = " + quoted(r.token_uri.empty() ? "pkcs11:token=YOUR-TOKEN" : r.token_uri) + "\n";
  if (!r.config.pin_env.empty()) {
    t += "pin_env = " + quoted(r.config.pin_env) + "\n";
  } else if (!r.config.pin_credential.empty()) {
    t += "pin_credential = " + quoted(r.config.pin_credential) + "\n";
  } else {
    t += "pin_file = " + quoted(r.config.pin_file.empty() ? "token/pin" : r.config.pin_file);
    t += "  # first line: the user PIN; chmod 600\n";
  }
  std::vector<std::string> wrap;
  for (const ProbeKey& k : r.keys) {
    if (k.kind == "secret" && k.type == "AES" && k.bits == 256 && k.has("encrypt") && k.has("decrypt") &&
        k.has("wrap") && k.has("unwrap") && !k.label.empty())
      wrap.push_back(k.label);
  }
  t += "wrap_key = " + quoted(wrap.empty() ? "Keyferry wrap key" : wrap.front());
  t += wrap.empty() ? "  # make it with the vendor's tool: AES-256, encrypt, decrypt, wrap, unwrap, not extractable\n"
                    : (wrap.size() > 1 ? "  # one of " + std::to_string(wrap.size()) + " that would do\n" : "\n");
  t += "workers = " + std::to_string(a.workers) + "\n";
  t += "threads = " + std::to_string(a.threads) + "\n";
  if (!r.config.environment.empty()) {
    t += "\n[token.environment]\n";
    for (const auto& [name, value] : r.config.environment) t += key_text(name) + " = " + quoted(value) + "\n";
  }
  const auto yes =
      std::find_if(verdicts.begin(), verdicts.end(), [](const auto& v) { return v.answer == Answer::yes; });
  if (yes != verdicts.end()) t += "\n";
  if (yes != verdicts.end()) t += comment("under [custody]: policy = " + quoted(yes->policy));
  for (const ProbeIdentity& i : r.identities) {
    if (i.sign.good())
      t += comment("under [[identity]]: curve = " + quoted(std::string(curve_name(*i.curve))) +
                   ", label = " + quoted(i.name));
  }
  return t;
}

}  // namespace

bool ProbeKey::has(std::string_view flag) const { return std::find(flags.begin(), flags.end(), flag) != flags.end(); }

const ProbeSlot* ProbeReport::probed() const {
  if (!slot) return nullptr;
  const auto it = std::find_if(slots.begin(), slots.end(), [&](const ProbeSlot& s) { return s.id == *slot; });
  return it == slots.end() ? nullptr : &*it;
}

std::vector<CustodyVerdict> judge(const ProbeReport& r) {
  std::vector<CustodyVerdict> out;
  if (!r.tried) {
    out = judge_by_list(r);
  } else {
    const std::vector<std::string> common = storage_lacks(r);
    std::vector<std::pair<std::string, Lacks>> strict;
    std::vector<std::pair<std::string, Lacks>> hybrid;
    for (const ProbeCurve& c : r.curves) {
      const std::string name(curve_name(c.curve));
      hybrid.emplace_back(name, sign_lacks(r, c));
      strict.push_back(hybrid.back());
      for (std::string& l : ephemeral_lacks(r, c)) strict.back().second.missing.push_back(std::move(l));
    }
    out.push_back(verdict("strict", common, strict));
    out.push_back(verdict("hybrid", common, hybrid));
  }
  // The core's part is the ephemeral keys; what is asked of the token is what hybrid asks.
  const CustodyVerdict& hybrid = out.back();
  const char* part = hybrid.answer == Answer::yes  ? "yes: the token does its part, which is that of hybrid"
                     : hybrid.answer == Answer::no ? "no: the token does not do its part, which is that of hybrid"
                                                   : "as hybrid: the token's part is the same";
  out.push_back({"core", hybrid.answer, part});
  return out;
}

std::size_t knee(const std::vector<ProbeRate>& series) {
  double best = 0;
  for (const ProbeRate& p : series) best = std::max(best, p.per_second);
  const auto it =
      std::find_if(series.begin(), series.end(), [&](const ProbeRate& p) { return p.per_second >= kNear * best; });
  return static_cast<std::size_t>(it - series.begin());
}

ProbeAdvice advise(const ProbeReport& r) {
  ProbeAdvice a;
  advise_effort(r, a);
  a.toml = block(r, a, judge(r));
  return a;
}

}  // namespace kf::hsm
