#include "hsm/probe/probe_page.hpp"

#include <algorithm>
#include <cstdio>

namespace kf::hsm::page {
namespace {

using State = ProbeAttempt::State;

std::string joined(const std::vector<std::string>& parts, const char* between = ", ") {
  std::string out;
  for (const std::string& p : parts) out += (out.empty() ? "" : between) + p;
  return out;
}
std::string number(double v) {
  char b[32];
  std::snprintf(b, sizeof b, v < 10 ? "%.1f" : "%.0f", v);
  return b;
}

Section titled(std::string title) {
  Section s;
  s.title = std::move(title);
  return s;
}

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
    s.facts.push_back({v.policy, {v.text, v.policy == "core" ? Tone::plain : tone}});
  }
  return s;
}

Section left_out(const ProbeReport& r) {
  Section s = titled("Left out");
  s.paragraphs = r.left_out;
  return s;
}

Section incidents(const ProbeReport& r) {
  Section s = titled("Crashes and hangs");
  s.paragraphs.push_back(
      "Each ended one worker process and cost one step. In the product the engine replaces the worker.");
  for (const ProbeIncident& i : r.incidents) s.facts.push_back({i.step, {i.what, Tone::bad}});
  return s;
}

Section slots(const ProbeReport& r) {
  Section s = titled("Slots and tokens");
  if (r.slots.empty()) s.paragraphs.push_back("The module shows no slot.");
  if (r.slot_count > r.slots.size())
    s.paragraphs.push_back("The first " + std::to_string(r.slots.size()) + " of " + std::to_string(r.slot_count) +
                           " slots.");
  for (const ProbeSlot& i : r.slots) {
    const bool probed = r.slot == i.id;
    s.facts.push_back(
        {"slot " + std::to_string(i.id),
         i.description + (i.flags.empty() ? "" : " (" + joined(i.flags) + ")") + (probed ? "  <- probed" : "")});
    if (i.info.state == State::refused) s.facts.push_back({"", cell(i.info)});
    if (!i.token) {
      s.facts.push_back({"  token", "none"});
      continue;
    }
    const ProbeToken& t = *i.token;
    s.facts.push_back({"  token", t.initialised
                                      ? "\"" + t.label + "\", serial " + t.serial + ", " + t.manufacturer + " " +
                                            t.model + ", hardware " + t.hardware + ", firmware " + t.firmware
                                      : "not initialised, " + t.manufacturer + " " + t.model});
    if (!t.initialised) continue;
    s.facts.push_back({"  URI", t.uri});
    s.facts.push_back({"  flags", joined(t.flags)});
    s.facts.push_back({"  PIN", std::to_string(t.pin_min) + " to " + std::to_string(t.pin_max) + " octets"});
    s.facts.push_back({"  sessions", "announced: " + t.sessions_max + ", read-write: " + t.rw_sessions_max +
                                         "; open now: " + t.sessions_open + ", read-write: " + t.rw_sessions_open});
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
    s.facts.push_back({"list", cell(slot->mechanism_list)});
    return s;
  }
  s.paragraphs.push_back(std::to_string(slot->mechanism_count) +
                         " in all; these matter to Keyferry. Key sizes as the module counts them.");
  s.table.head = {"mechanism", "listed", "key sizes", "for"};
  for (const ProbeMechanism& m : slot->mechanisms) {
    const bool needed = m.name == "CKM_EC_KEY_PAIR_GEN" || m.name == "CKM_ECDSA" || m.name == "CKM_ECDH1_DERIVE" ||
                        m.name == "CKM_AES_KEY_GEN" || m.name == "CKM_AES_GCM" || m.name == "CKM_AES_KEY_WRAP";
    const std::string sizes = m.max == 0 ? "" : std::to_string(m.min) + "-" + std::to_string(m.max);
    s.table.rows.push_back({m.name,
                            {m.listed ? "yes" : "no", m.listed ? Tone::good
                                                      : needed ? Tone::bad
                                                               : Tone::plain},
                            sizes,
                            joined(m.flags)});
  }
  return s;
}

Section keys(const ProbeReport& r) {
  Section s = titled("Keys in the token");
  if (!r.key_list.good()) {
    s.facts.push_back({"list", cell(r.key_list)});
    return s;
  }
  if (r.keys.empty()) s.paragraphs.push_back("None.");
  if (r.key_count > r.keys.size())
    s.paragraphs.push_back("The first " + std::to_string(r.keys.size()) + " of " + std::to_string(r.key_count) + ".");
  if (!r.keys.empty()) s.table.head = {"kind", "label", "type", "flags"};
  for (const ProbeKey& k : r.keys) {
    std::string type = k.type;
    if (k.type == "EC") type = k.curve;
    if (k.type == "AES" && k.bits != 0) type = "AES-" + std::to_string(k.bits);
    s.table.rows.push_back({k.kind, k.label.empty() ? "(none)" : k.label, type, joined(k.flags)});
  }
  return s;
}

Section identities(const ProbeReport& r) {
  Section s = titled("Identity keys");
  for (const ProbeIdentity& i : r.identities) {
    if (!i.found.good()) {
      s.facts.push_back({i.name, cell(i.found)});
      continue;
    }
    s.facts.push_back({i.name, std::string(curve_name(*i.curve))});
    s.facts.push_back({"  signature", cell(i.sign, "works; checked with OpenSSL")});
    s.facts.push_back({"  copy into a session", neutral(i.copy,
                                                        i.copy_guarded ? "permitted, as guarded as the key itself"
                                                                       : "permitted, but LESS GUARDED than the key",
                                                        "not permitted")});
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
  s.paragraphs.push_back("Each was tried, and what came out was compared with OpenSSL.");
  s.table.head = {""};
  for (const ProbeCurve& c : r.curves) s.table.head.emplace_back(curve_name(c.curve));
  const auto row = [&](const char* name, auto&& value) {
    std::vector<Cell> cells{name};
    for (const ProbeCurve& c : r.curves) cells.push_back(value(c));
    s.table.rows.push_back(std::move(cells));
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
  return s;
}

Section limits(const ProbeReport& r) {
  Section s = titled("Limits, records and the end");
  s.facts.push_back({"sessions opened", r.sessions.good() ? std::to_string(r.sessions_opened) + ", no more were tried"
                                        : r.sessions.state == State::refused
                                            ? std::to_string(r.sessions_opened) + ", then " + r.sessions.why
                                            : cell(r.sessions).text});
  s.facts.push_back({"session objects left", r.objects_left ? Cell(std::to_string(*r.objects_left),
                                                                   *r.objects_left == 0 ? Tone::good : Tone::bad)
                                                            : Cell("unknown")});
  s.facts.push_back({"random octets", cell(r.random)});
  s.facts.push_back({"AES-256 key", cell(r.aes_key)});
  s.facts.push_back({"AES-GCM record", cell(r.gcm, "works; an altered record is refused")});
  s.facts.push_back({"AES key wrap", cell(r.key_wrap)});
  s.facts.push_back({"AES key wrap, padded", neutral(r.key_wrap_pad, "works", "refused, and not needed")});
  s.facts.push_back({"end of the process", cell(r.ended, "in order")});
  return s;
}

Section operations(const ProbeReport& r) {
  Section s = titled("Rates of direct calls, one process, one thread");
  s.table.head = {"", "per second", "p50 us", "p95 us", "p99 us", ""};
  for (const ProbeRate& o : r.operations)
    s.table.rows.push_back({what(o.kind) + ", " + std::string(curve_name(o.curve)),
                            number(o.per_second),
                            number(o.p50_us),
                            number(o.p95_us),
                            number(o.p99_us),
                            {o.problem, Tone::bad}});
  return s;
}

Section scaling(const std::vector<ProbeRate>& series, bool of_threads) {
  const ProbeRate& first = series.front();
  Section s = titled(of_threads ? "The knee of threads" : "The knee of processes");
  s.paragraphs.push_back(std::string(first.kind == DirectKind::set ? "Download sets" : "Signatures") +
                         " per second on " + std::string(curve_name(first.curve)) +
                         (of_threads ? ", threads in one process." : ", processes of one thread."));
  const std::size_t at = knee(series);
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
    s.bars.push_back({std::to_string(n), p.per_second, label, i == at && p.per_second > 0});
  }
  return s;
}

Section advice(const ProbeReport& r) {
  const ProbeAdvice a = advise(r);
  Section s = titled("Configuration to paste");
  const auto verdicts = judge(r);
  if (std::all_of(verdicts.begin(), verdicts.end(),
                  [](const CustodyVerdict& v) { return v.answer == CustodyVerdict::Answer::no; }))
    s.paragraphs.push_back("No custody works with this token as it is: this serves once what is missing is there.");
  s.paragraphs.insert(s.paragraphs.end(), a.why.begin(), a.why.end());
  s.code = a.toml;
  return s;
}

Section return_codes(const ProbeReport& r) {
  Section s = titled("Return codes and what Keyferry makes of them");
  s.paragraphs.push_back(
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
    s.facts.push_back({cls, joined(names, " ")});
  }
  return s;
}

}  // namespace

Page build(const ProbeReport& r, const ProbeHead& h) {
  Page p;
  p.title = "Keyferry probe of " + r.module_path;
  p.about = h.program + ", " + h.when + ". Library: " + r.library +
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

}  // namespace kf::hsm::page
