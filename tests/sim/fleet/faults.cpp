#include "tests/sim/fleet/faults.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "host/base/ids.hpp"

namespace kf::sim {

const std::vector<FaultInfo>& fault_catalogue() {
  static const std::vector<FaultInfo> list = {
      // the card
      {"wrong-receipt", "", "the card's receipt is wrong"},
      {"wrong-rmac", "", "R-MAC of the last SCP03t answer is wrong"},
      {"wrong-counter", "", "sequence counter differs once: EXTERNAL AUTHENTICATE answers 9F45 01 02"},
      {"omit-dr", "", "DR is missing in the answer to STORE DATA #2"},
      {"pol1-forbids-delete", "", "DELETE answers 69E1 once the card has taken the profile header"},
      {"enable-fails", "", "the card rolls back after EnableProfile"},
      {"pe-rejected", "index", "the Profile Element with that index (0 = header; default 3) is refused, aborted"},
      {"pe-warning", "index",
       "the same without abort; a warning if that element is not mandated (default 9: the sample profile's)"},
      {"memory-full", "eis", "INSTALL answers 6A84; with =eis the EIS already shows no memory left"},
      {"install-refused", "", "INSTALL answers 6A80"},
      {"delete-fails", "", "DELETE answers 6581"},
      {"scp-error", "segment", "the 86 with that index (default 0) answers 9F46 01 02"},
      // the link between SM-SR and card
      {"lost-session", "script", "the session breaks after the n-th script (default 1) was executed, result unsent"},
      {"lost-script", "script", "the session breaks before the n-th script (default 1) was executed"},
      {"slow-radio", "ms", "every exchange takes that much longer (default 2000)"},
      {"unreachable", "", "the card never answers the trigger"},
      // what the EIS says
      {"unknown-eid", "", "the SM-SR does not know the EID"},
      {"expired-ecasd", "", "CERT.ECASD.ECKA has expired"},
      {"badly-signed-ecasd", "", "its signature is wrong"},
      {"off-curve-ecasd", "", "its point is not on the curve (signature right)"},
      {"infinite-ecasd", "", "its point is infinity, one byte 00 (signature right)"},
      {"truncated-ecasd", "", "its last ten bytes are missing"},
      {"nonminimal-ecasd", "", "its outer length is not minimal"},
      {"other-eid-ecasd", "", "it names another EID (signature right)"},
      {"more-ecasd", "", "a certificate of another EID stands before CERT.ECASD.ECKA"},
      {"bad-eum-signature", "", "EumSignature does not verify"},
      {"wrong-eis-eid", "", "GetEIS answers with the EIS of another EID"},
      {"eis-stale", "oid", "a Created ISD-P of that SM-DP (default: the registered one) is there; set it at start"},
      // the SM-SR
      {"dropped-answer", "function", "never calls back (default: any function)"},
      {"callback-twice", "function", "calls back twice"},
      {"callback-no-relatesto", "function", "RelatesTo is missing in the callback"},
      {"bad-hex-answer", "odd|nothex|truncated|nonminimal", "EuiccResponseData of SendData is malformed (default odd)"},
      {"old-rc-replay", "", "SendData answers with the RC of an earlier session"},
      {"completed-refused", "", "ProfileDownloadCompleted is refused"},
      {"http-500", "function", "HTTP 500 instead of accepting the request"},
      {"http-404", "function", "HTTP 404 instead of accepting the request"},
      {"late-creation", "ms",
       "CreateISDP reaches the card that much later (default 3000), whatever its ValidityPeriod says"},
      {"scp03t-in-23", "", "SCP03t answers travel inside 23, as R-APDUs do"},
      {"reply-sync", "function", "answers 200 synchronously although a callback was asked for"},
  };
  return list;
}

namespace {
std::optional<unsigned> number(std::string_view s) {
  unsigned v = 0;
  const auto r = std::from_chars(s.data(), s.data() + s.size(), v);
  if (s.empty() || r.ec != std::errc{} || r.ptr != s.data() + s.size()) return std::nullopt;
  return v;
}
Error bad(std::string_view spec, const std::string& why) {
  std::string names;
  for (const auto& f : fault_catalogue()) names.append(names.empty() ? "" : " ").append(f.name);
  return {"bad-fault",
          "'" + std::string(spec) + "': " + why + "; NAME[=VALUE][@COUNT][:every-N|:digits], names: " + names};
}

// Why `value` is none of `kind` (FaultInfo::value); empty: it is one. A value may be left out.
std::string wrong_value(std::string_view kind, std::string_view value) {
  if (value.empty()) return {};
  if (kind == "ms" || kind == "index" || kind == "script" || kind == "segment")
    return number(value) ? "" : "the value must be a whole number (" + std::string(kind) + ")";
  if (kind == "oid") return parse_oid(value) ? "" : "the value must be an OID, for example 2.999.20";
  if (kind == "function") {
    const bool name = std::all_of(value.begin(), value.end(),
                                  [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
    return name ? "" : "the value must be the name of a function, for example SendData";
  }
  for (std::string_view rest = kind; !rest.empty();) {  // words with | between them
    const auto bar = rest.find('|');
    if (rest.substr(0, bar) == value) return {};
    rest = bar == std::string_view::npos ? std::string_view() : rest.substr(bar + 1);
  }
  return "the value must be " + std::string(kind);
}

}  // namespace

bool FaultSpec::selects(const CardId& id) const {
  if (every != 0) return id.index % every == 0;
  return suffix.empty() ||
         (id.eid.size() >= suffix.size() && id.eid.compare(id.eid.size() - suffix.size(), suffix.size(), suffix) == 0);
}

Status FaultPlan::add(std::string_view spec) {
  FaultSpec f;
  std::string_view rest = spec;
  if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
    std::string_view sel = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (sel.starts_with("every-")) {
      const auto n = number(sel.substr(6));
      if (!n || *n == 0) return bad(spec, "every-N needs a number above 0");
      f.every = *n;
    } else if (sel != "all") {
      if (sel.empty() || sel.size() > 32 ||
          !std::all_of(sel.begin(), sel.end(), [](char c) { return c >= '0' && c <= '9'; }))
        return bad(spec, "the selector is neither every-N nor digits of an EID");
      f.suffix = sel;
    }
  }
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    const auto n = number(rest.substr(at + 1));
    if (!n || *n == 0) return bad(spec, "@COUNT needs a number above 0");
    f.count = *n;
    rest = rest.substr(0, at);
  }
  if (const auto eq = rest.find('='); eq != std::string_view::npos) {
    f.value = rest.substr(eq + 1);
    rest = rest.substr(0, eq);
  }
  f.name = rest;
  const auto& cat = fault_catalogue();
  const auto known = std::find_if(cat.begin(), cat.end(), [&](const FaultInfo& i) { return i.name == f.name; });
  if (known == cat.end()) return bad(spec, "no such fault");
  if (known->value.empty() && !f.value.empty()) return bad(spec, "this fault takes no value");
  if (const std::string why = wrong_value(known->value, f.value); !why.empty()) return bad(spec, why);
  specs_.push_back(std::move(f));
  ++version_;
  return {};
}

void FaultPlan::clear() {
  specs_.clear();
  ++version_;
}

std::vector<std::string> FaultPlan::list() const {
  std::vector<std::string> out;
  for (const auto& s : specs_) {
    std::string t = s.name;
    if (!s.value.empty()) t += "=" + s.value;
    if (s.count != 0) t += "@" + std::to_string(s.count);
    if (s.every != 0)
      t += ":every-" + std::to_string(s.every);
    else if (!s.suffix.empty())
      t += ":" + s.suffix;
    out.push_back(std::move(t));
  }
  return out;
}

const FaultSpec* FaultPlan::find(std::string_view name, const CardId& id) const {
  for (const auto& s : specs_)
    if (s.name == name && s.selects(id)) return &s;
  return nullptr;
}

const FaultSpec* FaultPlan::fire(std::string_view name, const CardId& id, std::string_view value) {
  for (auto& s : specs_) {
    if (s.name != name || !s.selects(id) || (!value.empty() && !s.value.empty() && s.value != value)) continue;
    if (s.count != 0) {
      unsigned& n = s.fired[id.eid];
      if (n >= s.count) continue;
      ++n;
    }
    return &s;
  }
  return nullptr;
}

unsigned fault_number(const FaultSpec& s, unsigned fallback) { return number(s.value).value_or(fallback); }

}  // namespace kf::sim
