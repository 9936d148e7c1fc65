// What the probe found, as a document.
#include <algorithm>
#include <cstdio>

#include "host/report/wording.hpp"
#include "hsm/probe/probe_report.hpp"

namespace kf::hsm {
namespace {

using report::Cell;
using report::Fact;
using report::joined;
using report::Prose;
using report::Section;
using report::Table;
using report::Tone;

using State = ProbeAttempt::State;

std::string number(double v) {
  char b[32];
  std::snprintf(b, sizeof b, v < 10 ? "%.1f" : "%.0f", v);
  return b;
}

Section titled(std::string title) { return {std::move(title), "", {}}; }

Cell cell(const ProbeAttempt& a, const char* good = "works") {
  switch (a.state) {
    case State::good:
      return {good, Tone::good};
    case State::refused:
      return {"no: " + a.why, Tone::bad};
    case State::lost:
      return {a.why, Tone::bad};
    case State::not_tried:
      break;
  }
  return {a.why.empty() ? "not tried" : a.why};
}
// Where a refusal is no defect.
Cell neutral(const ProbeAttempt& a, const char* good, const char* refused) {
  if (a.state == State::good) return {good};
  if (a.state == State::refused) return {std::string(refused) + " (" + a.why + ")"};
  return cell(a);
}

std::string what(DirectKind k) {
  switch (k) {
    case DirectKind::sign:
      return "sign, key in the token";
    case DirectKind::sign_with_copy:
      return "sign, copy in the session";
    case DirectKind::ecka:
      return "ephemeral pair, ECDH, destroy";
    case DirectKind::set:
      return "download set: that and a signature";
    case DirectKind::verify:
      return "import, verify, destroy";
  }
  return {};
}

Section verdicts(const ProbeReport& r) {
  Section s = titled("Verdict");
  for (const CustodyVerdict& v : judge(r)) {
    const Tone tone = v.answer == CustodyVerdict::Answer::yes  ? Tone::good
                      : v.answer == CustodyVerdict::Answer::no ? Tone::bad
                                                               : Tone::plain;
    s.fact(v.policy, {v.text, v.policy == "core" ? Tone::plain : tone});
  }
  return s;
}

Section left_out(const ProbeReport& r) {
  Section s = titled("Left out");
  for (const std::string& t : r.left_out) s.prose(t);
  return s;
}

Section incidents(const ProbeReport& r) {
  Section s = titled("Crashes and hangs");
  s.prose("Each ended one worker process and cost one step. In the product the engine replaces the worker.");
  for (const ProbeIncident& i : r.incidents) s.fact(i.step, {i.what, Tone::bad});
  return s;
}

Section slots(const ProbeReport& r) {
  Section s = titled("Slots and tokens");
  if (r.slots.empty()) s.prose("The module shows no slot.");
  if (r.slot_count > r.slots.size())
    s.prose("The first " + std::to_string(r.slots.size()) + " of " + std::to_string(r.slot_count) + " slots.");
  for (const ProbeSlot& i : r.slots) {
    const bool probed = r.slot == i.id;
    s.fact("slot " + std::to_string(i.id),
           i.description + (i.flags.empty() ? "" : " (" + joined(i.flags) + ")") + (probed ? "  <- probed" : ""));
    if (i.info.state == State::refused) s.fact("", cell(i.info));
    if (!i.token) {
      s.fact("  token", "none");
      continue;
    }
    const ProbeToken& t = *i.token;
    s.fact("  token", t.initialised ? "\"" + t.label + "\", serial " + t.serial + ", " + t.manufacturer + " " +
                                          t.model + ", hardware " + t.hardware + ", firmware " + t.firmware
                                    : "not initialised, " + t.manufacturer + " " + t.model);
    if (!t.initialised) continue;
    s.fact("  URI", t.uri);
    s.fact("  flags", joined(t.flags));
    s.fact("  PIN", std::to_string(t.pin_min) + " to " + std::to_string(t.pin_max) + " octets");
    s.fact("  sessions", "announced: " + t.sessions_max + ", read-write: " + t.rw_sessions_max +
                             "; open now: " + t.sessions_open + ", read-write: " + t.rw_sessions_open);
  }
  return s;
}

Section mechanisms(const ProbeReport& r) {
  Section s = titled("Mechanisms");
  const ProbeSlot* slot = r.probed();
  if (slot == nullptr) {
    const auto it = std::find_if(r.slots.begin(), r.slots.end(), [](const auto& i) { return i.mechanism_count != 0; });
    if (it == r.slots.end()) return {};
    slot = &*it;
  }
  s.title = "Mechanisms of slot " + std::to_string(slot->id);
  if (!slot->mechanism_list.good()) {
    s.fact("list", cell(slot->mechanism_list));
    return s;
  }
  s.prose(std::to_string(slot->mechanism_count) +
          " in all; these matter to Keyferry. Key sizes as the module counts them.");
  Table t{{"mechanism", "listed", "key sizes", "for"}, {}, report::kOnlyWords, {}};
  for (const ProbeMechanism& m : slot->mechanisms) {
    const bool needed = m.name == "CKM_EC_KEY_PAIR_GEN" || m.name == "CKM_ECDSA" || m.name == "CKM_ECDH1_DERIVE" ||
                        m.name == "CKM_AES_KEY_GEN" || m.name == "CKM_AES_GCM" || m.name == "CKM_AES_KEY_WRAP";
    const std::string sizes = m.max == 0 ? "" : std::to_string(m.min) + "-" + std::to_string(m.max);
    t.rows.push_back({m.name,
                      {m.listed ? "yes" : "no", m.listed ? Tone::good
                                                : needed ? Tone::bad
                                                         : Tone::plain},
                      sizes,
                      joined(m.flags)});
  }
  s.blocks.emplace_back(std::move(t));
  return s;
}

Section keys(const ProbeReport& r) {
  Section s = titled("Keys in the token");
  if (!r.key_list.good()) {
    s.fact("list", cell(r.key_list));
    return s;
  }
  if (r.keys.empty()) s.prose("None.");
  if (r.key_count > r.keys.size())
    s.prose("The first " + std::to_string(r.keys.size()) + " of " + std::to_string(r.key_count) + ".");
  Table t{{"kind", "label", "type", "flags"}, {}, report::kOnlyWords, {}};
  for (const ProbeKey& k : r.keys) {
    std::string type = k.type;
    if (k.type == "EC") type = k.curve;
    if (k.type == "AES" && k.bits != 0) type = "AES-" + std::to_string(k.bits);
    t.rows.push_back({k.kind, k.label.empty() ? "(none)" : k.label, type, joined(k.flags)});
  }
  s.blocks.emplace_back(std::move(t));
  return s;
}

Section identities(const ProbeReport& r) {
  Section s = titled("Identity keys");
  for (const ProbeIdentity& i : r.identities) {
    if (!i.found.good()) {
      s.fact(i.name, cell(i.found));
      continue;
    }
    s.fact(i.name, std::string(curve_name(*i.curve)));
    s.fact("  signature", cell(i.sign, "works; checked with OpenSSL"));
    s.fact("  copy into a session", neutral(i.copy,
                                            i.copy_guarded ? "permitted, as guarded as the key itself"
                                                           : "permitted, but LESS GUARDED than the key",
                                            "not permitted"));
  }
  return s;
}

Cell point_form(const ProbeCurve& c) {
  if (!c.pair.good()) return {"-"};
  return {c.point_der ? "OCTET STRING" : "raw"};
}
Cell value_len(const ProbeCurve& c) {
  if (!c.ecdh()) return {"-"};
  if (!c.ecdh_raw.good() && !c.ecdh_der.good()) return {"must be absent"};
  if (c.without_value_len.state == State::refused) return {"needed (" + c.without_value_len.why + ")"};
  return neutral(c.without_value_len, "not needed", "needed");
}
Cell off_curve(const ProbeCurve& c) {
  if (c.off_curve.state == State::good) return {"ACCEPTED (Keyferry checks points itself)", Tone::bad};
  if (c.off_curve.state == State::refused) return {"refused (" + c.off_curve.why + ")", Tone::good};
  return cell(c.off_curve);
}

Section curves(const ProbeReport& r) {
  Section s = titled("Curves, encodings and KDFs");
  s.prose("Each was tried, and what came out was compared with OpenSSL.");
  Table t{{""}, {}, report::kOnlyWords, {}};
  for (const ProbeCurve& c : r.curves) t.head.emplace_back(curve_name(c.curve));
  const auto row = [&](const char* name, auto&& value) {
    std::vector<Cell> cells{name};
    for (const ProbeCurve& c : r.curves) cells.push_back(value(c));
    t.rows.push_back(std::move(cells));
  };
  row("session key pair", [](const ProbeCurve& c) { return cell(c.pair); });
  row("  session for it", [](const ProbeCurve& c) {
    return Cell(c.pair.good() ? (c.read_write ? "read-write" : "read-only will do") : "-");
  });
  row("  its public point", point_form);
  row("  destroyed for good", [](const ProbeCurve& c) { return c.pair.good() ? cell(c.destroyed, "yes") : Cell("-"); });
  row("ECDH, peer point raw", [](const ProbeCurve& c) { return cell(c.ecdh_raw); });
  row("ECDH, peer point OCTET STRING", [](const ProbeCurve& c) { return cell(c.ecdh_der); });
  row("  CKA_VALUE_LEN", value_len);
  row("  KDF CKD_NULL", [](const ProbeCurve& c) { return c.ecdh() ? Cell("works", Tone::good) : Cell("-"); });
  std::vector<std::string> kdfs;
  for (const ProbeCurve& c : r.curves) {
    for (const auto& [name, a] : c.kdfs) {
      if (std::find(kdfs.begin(), kdfs.end(), name) == kdfs.end()) kdfs.push_back(name);
    }
  }
  for (const std::string& k : kdfs) {
    row(("  KDF " + k).c_str(), [&](const ProbeCurve& c) {
      const auto it = std::find_if(c.kdfs.begin(), c.kdfs.end(), [&](const auto& e) { return e.first == k; });
      return it == c.kdfs.end() ? Cell("-") : neutral(it->second, "works", "refused");
    });
  }
  row("  peer point off the curve", off_curve);
  row("ECDSA with a session key", [](const ProbeCurve& c) { return cell(c.sign); });
  row("verify, imported key OCTET STRING", [](const ProbeCurve& c) {
    return c.verify_raw.good() ? neutral(c.verify_der, "works", "refused") : cell(c.verify_der);
  });
  row("verify, imported key raw", [](const ProbeCurve& c) {
    return c.verify_der.good() ? neutral(c.verify_raw, "works", "refused") : cell(c.verify_raw);
  });
  row("copy of a session key", [](const ProbeCurve& c) { return neutral(c.copy, "permitted", "not permitted"); });
  s.blocks.emplace_back(std::move(t));
  return s;
}

Section limits(const ProbeReport& r) {
  Section s = titled("Limits, records and the end");
  s.fact("sessions opened", r.sessions.good() ? std::to_string(r.sessions_opened) + ", no more were tried"
                            : r.sessions.state == State::refused
                                ? std::to_string(r.sessions_opened) + ", then " + r.sessions.why
                                : cell(r.sessions).text);
  s.fact("session objects left",
         r.objects_left ? Cell(std::to_string(*r.objects_left), *r.objects_left == 0 ? Tone::good : Tone::bad)
                        : Cell("unknown"));
  s.fact("random octets", cell(r.random));
  s.fact("AES-256 key", cell(r.aes_key));
  s.fact("AES-GCM record", cell(r.gcm, "works; an altered record is refused"));
  s.fact("AES key wrap", cell(r.key_wrap));
  s.fact("AES key wrap, padded", neutral(r.key_wrap_pad, "works", "refused, and not needed"));
  s.fact("end of the process", cell(r.ended, "in order"));
  return s;
}

Section operations(const ProbeReport& r) {
  Section s = titled("Rates of direct calls, one process, one thread");
  Table t{{"", "per second", "p50 us", "p95 us", "p99 us", ""}, {}, 1, {}};
  for (const ProbeRate& o : r.operations)
    t.rows.push_back({what(o.kind) + ", " + std::string(curve_name(o.curve)),
                      number(o.per_second),
                      number(o.p50_us),
                      number(o.p95_us),
                      number(o.p99_us),
                      {o.problem, Tone::bad}});
  s.blocks.emplace_back(std::move(t));
  return s;
}

Section scaling(const std::vector<ProbeRate>& series, bool of_threads) {
  const ProbeRate& first = series.front();
  Section s = titled(of_threads ? "The knee of threads" : "The knee of processes");
  s.prose(std::string(first.kind == DirectKind::set ? "Download sets" : "Signatures") + " per second on " +
          std::string(curve_name(first.curve)) +
          (of_threads ? ", threads in one process." : ", processes of one thread."));
  report::Bars bars{{}, 0, "knee"};
  bars.in_terminal = true;
  if (const std::size_t at = knee(series); series[at].per_second > 0) bars.marked = at;
  for (std::size_t i = 0; i < series.size(); ++i) {
    const ProbeRate& p = series[i];
    const unsigned n = of_threads ? p.threads : p.processes;
    std::string label = number(p.per_second);
    if (i != 0 && first.per_second > 0) {
      char b[32];
      std::snprintf(b, sizeof b, " (%.2f x)", p.per_second / first.per_second);
      label += b;
    }
    if (!p.problem.empty()) label += "  " + p.problem;
    bars.data.push_back({std::to_string(n), p.per_second, label});
  }
  s.blocks.emplace_back(report::Chart{"", std::move(bars)});
  return s;
}

Section advice(const ProbeReport& r) {
  const ProbeAdvice a = advise(r);
  Section s = titled("Configuration to paste");
  const auto verdicts = judge(r);
  if (std::all_of(verdicts.begin(), verdicts.end(),
                  [](const CustodyVerdict& v) { return v.answer == CustodyVerdict::Answer::no; }))
    s.prose("No custody works with this token as it is: this serves once what is missing is there.");
  for (const std::string& t : a.why) s.prose(t);
  s.blocks.emplace_back(report::Code{a.toml});
  return s;
}

Section return_codes(const ProbeReport& r) {
  Section s = titled("Return codes and what Keyferry makes of them");
  s.prose(
      "job: this request fails, nothing else. session: a new session, tried again. key: looked up once more. busy: "
      "tried "
      "again later or elsewhere. device: counts towards \"token down\", as does every code that is not here. fatal: "
      "the "
      "worker is replaced.");
  std::vector<std::string> classes;
  for (const ProbeReturnCode& c : r.return_codes) {
    if (std::find(classes.begin(), classes.end(), c.cls) == classes.end()) classes.push_back(c.cls);
  }
  for (const std::string& cls : classes) {
    std::vector<std::string> names;
    for (const ProbeReturnCode& c : r.return_codes) {
      if (c.cls == cls) names.push_back(c.name.starts_with("CKR_") ? c.name.substr(4) : c.name);
    }
    s.fact(cls, joined(names, " "));
  }
  return s;
}

}  // namespace

report::Document document(const ProbeReport& r, const ProbeHead& h) {
  report::Document p;
  p.title = "Keyferry probe of " + r.module_path;
  p.lead = h.program + ", " + h.when + ". Library: " + r.library +
           (r.cryptoki.empty() ? "" : ", Cryptoki " + r.cryptoki) + ".";
  const auto add = [&](bool wanted, Section s) {
    if (wanted && !s.title.empty()) p.sections.push_back(std::move(s));
  };
  add(true, verdicts(r));
  add(!r.incidents.empty(), incidents(r));
  add(!r.left_out.empty(), left_out(r));
  add(r.tried, advice(r));
  add(true, slots(r));
  add(true, mechanisms(r));
  if (r.tried) {
    add(true, keys(r));
    add(!r.identities.empty(), identities(r));
    add(!r.curves.empty(), curves(r));
    add(true, limits(r));
    add(!r.operations.empty(), operations(r));
    if (!r.threads.empty()) add(true, scaling(r.threads, true));
    if (!r.processes.empty()) add(true, scaling(r.processes, false));
  }
  add(!r.return_codes.empty(), return_codes(r));
  return p;
}

}  // namespace kf::hsm
