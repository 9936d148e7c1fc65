#include "tests/sim/smsr/hostile.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "host/base/ids.hpp"

namespace kf::sim {
namespace {

constexpr unsigned kPoisons = 7;
constexpr std::size_t kHugeText = 900'000;
constexpr unsigned kHugeEis = 4000;  // profiles, about 1.7 MB

// The text of the first element of that local name, replaced.
bool set_text(std::string& xml, std::string_view name, std::string_view value) {
  const std::string tag = std::string(name) + ">";
  auto at = xml.find(tag);
  while (at != std::string::npos && (at == 0 || (xml[at - 1] != ':' && xml[at - 1] != '<'))) at = xml.find(tag, at + 1);
  if (at == std::string::npos) return false;
  const auto from = at + tag.size(), to = xml.find('<', from);
  if (to == std::string::npos) return false;
  xml.replace(from, to - from, value);
  return true;
}

}  // namespace

const std::vector<HostileName>& hostile_names() {
  using O = HostileOptions;
  static const std::vector<HostileName> list = {
      {"slow", &O::slow, "executed after up to slow_ms"},
      {"late", &O::late, "executed and answered after up to late_ms"},
      {"silent", &O::silent, "neither executed nor answered"},
      {"mute", &O::mute, "executed, never answered"},
      {"belated", &O::belated, "answered FAILED 8.1/5.4, executed after up to late_ms"},
      {"lagging", &O::lagging, "executed at once, answered after up to late_ms"},
      {"twice", &O::twice, "two callbacks"},
      {"forget", &O::forget, "a repetition is taken for a new call"},
      {"http", &O::http, "503, 401 or 302; half of the calls answered 503 are executed"},
      {"garbage", &O::garbage, "200 with octets that are no SOAP"},
      {"huge", &O::huge, "GetEIS shows thousands of foreign profiles"},
      {"poison", &O::poison, "texts that break whoever stores or shows them"},
      {"completed", &O::completed, "ProfileDownloadCompleted is refused"},
      {"deletion", &O::deletion, "DeleteISDP is refused"},
      {"eis", &O::eis, "the EIS shows a change up to lie_ms late"},
      {"slow_ms", &O::slow_ms, "milliseconds"},
      {"late_ms", &O::late_ms, "milliseconds"},
      {"lie_ms", &O::lie_ms, "milliseconds"},
  };
  return list;
}

Result<HostileOptions> parse_hostile(std::string_view spec, HostileOptions o) {
  const auto bad = [&](const std::string& why) {
    std::string names = "seed all";
    for (const auto& n : hostile_names()) names.append(" ").append(n.name);
    return Error{"bad-hostile", why + "; NAME=NUMBER,... with " + names};
  };
  while (!spec.empty()) {
    const std::string_view item = spec.substr(0, spec.find(','));
    spec.remove_prefix(std::min(spec.size(), item.size() + 1));
    const auto eq = item.find('=');
    const std::string_view name = item.substr(0, eq);
    std::uint64_t value = 0;
    const std::string_view digits = eq == std::string_view::npos ? std::string_view() : item.substr(eq + 1);
    const auto r = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || r.ec != std::errc{} || r.ptr != digits.data() + digits.size())
      return bad("\"" + std::string(item) + "\" gives no number");
    if (name == "seed") {
      o.seed = value;
      continue;
    }
    if (value > (name.ends_with("_ms") ? 600'000u : 100u)) return bad("too large");
    if (name == "all") {
      for (const auto& n : hostile_names())
        if (!n.name.ends_with("_ms")) o.*n.value = static_cast<unsigned>(value);
      continue;
    }
    const auto& list = hostile_names();
    const auto known = std::find_if(list.begin(), list.end(), [&](const HostileName& n) { return n.name == name; });
    if (known == list.end()) return bad("no such name");
    o.*known->value = static_cast<unsigned>(value);
  }
  return o;
}

void Hostility::configure(HostileOptions o) {
  if (o.seed == 0) o.seed = std::random_device{}();
  if (!on_ || o.seed != options_.seed) random_.seed(o.seed);
  options_ = o;
  on_ = true;
}

HostileOptions Hostility::quiet() const {
  HostileOptions o;
  o.seed = options_.seed;
  return o;
}

bool Hostility::chance(unsigned percent, std::string_view name) {
  if (percent == 0 || random_() % 100 >= percent) return false;
  ++done_[std::string(name)];
  return true;
}

Hostility::Millis Hostility::up_to(unsigned ms) { return Millis(ms == 0 ? 0 : random_() % ms + 1); }

Hostility::Ways Hostility::choose(const es::Request& q) {
  using es::Function;
  Ways w;
  if (!on_) return w;
  const auto& o = options_;
  // One way of its own kind for each call, so that each gets its share; what can be added to any of them follows.
  if (chance(o.silent, "silent")) {
    w.executed = w.answered = false;
  } else if (chance(o.mute, "mute")) {
    w.answered = false;
  } else if (chance(o.late, "late")) {
    w.before = up_to(o.late_ms);
  } else if (q.function != Function::get_eis && chance(o.belated, "belated")) {
    w.belated = true;
    w.before = up_to(o.late_ms);
  } else if (chance(o.lagging, "lagging")) {
    w.after = up_to(o.late_ms);
  } else if (chance(o.slow, "slow")) {
    w.before = up_to(o.slow_ms);
  } else if (chance(o.http, "http")) {
    constexpr std::array<unsigned, 3> kStatus{503, 401, 302};
    w.http = kStatus[random_() % kStatus.size()];
    w.executed = w.http == 503 && random_() % 2 == 0;  // who turns somebody away does not execute
    w.answered = false;
  } else if (chance(o.garbage, "garbage")) {
    w.garbage = true;
    w.executed = random_() % 2 == 0;
    w.answered = false;
  } else if (q.function == Function::profile_download_completed && chance(o.completed, "completed")) {
    w.refused = true;
  } else if (q.function == Function::delete_isdp && chance(o.deletion, "deletion")) {
    w.refused = true;
  } else if (q.function == Function::get_eis && chance(o.huge, "huge")) {
    w.huge = true;
  }
  if (w.answered && chance(o.poison, "poison")) w.poison = 1 + static_cast<unsigned>(random_() % kPoisons);
  w.twice = w.answered && chance(o.twice, "twice");
  w.forgotten = chance(o.forget, "forget");
  if (q.validity_period)  // nobody could be right about a call executed after the time it was for
    w.before = std::min<Millis>(w.before, std::chrono::seconds(*q.validity_period) * 9 / 10);
  std::string line = std::string(es::function_name(q.function)) + " " + q.iccid.value_or("") + " for " +
                     (q.validity_period ? std::to_string(*q.validity_period) + " s" : "-") + ":";
  if (!w.executed) line += " not executed";
  if (w.before.count() > 0) line += " executed after " + std::to_string(w.before.count()) + " ms";
  if (w.after.count() > 0) line += " answered " + std::to_string(w.after.count()) + " ms later";
  if (!w.answered) line += " not answered";
  if (w.belated) line += " (said to have failed)";
  if (w.http != 0) line += " HTTP " + std::to_string(w.http);
  if (w.poison != 0) line += " poison " + std::to_string(w.poison);
  if (w.garbage) line += " garbage";
  if (w.refused) line += " refused";
  if (w.forgotten) line += " forgotten";
  note(q.eid, line);
  return w;
}

Hostility::Clock::time_point Hostility::lies_until() {
  return on_ && chance(options_.eis, "eis") ? Clock::now() + up_to(options_.lie_ms) : Clock::time_point{};
}

void Hostility::put(const std::string& iccid, const std::string& eid) {
  note(eid, "INSTALL of " + iccid);
  auto& cards = where_[iccid];
  cards.insert(eid);
  if (cards.size() < 2) return;
  std::string line = iccid + " on";
  for (const auto& c : cards) line += " " + c;
  two_cards_.push_back(std::move(line));
}

void Hostility::gone(const std::string& iccid, const std::string& eid) {
  note(eid, "gone: " + iccid);
  if (const auto it = where_.find(iccid); it != where_.end()) it->second.erase(eid);
}

void Hostility::note(const std::string& eid, const std::string& line) {
  constexpr std::size_t kMost = 100'000;
  if (!on_) return;
  auto& s = stories_[eid];
  if (s.size() > kMost) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<Millis>(now).count() % 86'400'000;
  s += std::to_string(ms / 3'600'000) + ":" + std::to_string(ms / 60'000 % 60) + ":" + std::to_string(ms / 1000 % 60) +
       "." + std::to_string(ms % 1000) + " " + line + "\n";
}

std::string Hostility::story(const std::string& eid) const {
  const auto it = stories_.find(eid);
  return it == stories_.end() ? std::string() : it->second;
}

std::string Hostility::text() const {
  nlohmann::ordered_json j;
  j["on"] = on_;
  j["seed"] = options_.seed;
  j["done"] = done_;
  j["pending"] = pending;
  j["two_cards"] = two_cards_;
  return j.dump();
}

std::string poisoned(std::string xml, unsigned kind) {
  switch (kind) {
    case 1:  // cut at byte 80, the last letter is broken
      set_text(xml, "Status", std::string(79, 'S') + "\xC3\xA9");
      break;
    case 2:
      set_text(xml, "Status",
               "line\nALARM token down\xC2\x9B"
               "31m\xE2\x80\xAE");
      break;
    case 3:
      set_text(xml, "Status", std::string(kHugeText, 'h'));
      break;
    case 4:
      set_text(xml, "Status", "\xFF\xFE\xC3");
      break;
    case 5:  // the same in a field that is passed on to the Operator
      if (!set_text(xml, "Message", std::string(79, 'M') + "\xC3\xA9" + std::string(kHugeText, 'm')))
        set_text(xml, "Action", "urn:x\nALARM token down\xC2\x9B");
      break;
    case 6:
      if (!set_text(xml, "Identifier", std::string(79, 'I') + "\xC3\xA9\r\n\t\xC2\x85"))
        set_text(xml, "MessageID", "//2.999.30/" + std::string(kHugeText, 'i'));
      break;
    default:
      if (!set_text(xml, "EuiccResponseData", std::string(79, 'Z') + "\xC3\xA9"))
        set_text(xml, "State", std::string(79, 's') + "\xC3\xA9");
      break;
  }
  return xml;
}

net::Response hostile_answer(const Hostility::Ways& w) {
  net::Response r;
  if (w.garbage) {
    r.content_type = "application/soap+xml";
    r.body = std::string("<\0\xFF<<garbage \xC3", 14) + std::string(3000, '<');
    return r;
  }
  r.status = w.http;
  if (w.http == 302) r.headers.emplace_back("Location", "https://elsewhere.invalid/es3");
  if (w.http == 503) r.headers.emplace_back("Retry-After", "1");
  return r;
}

void enlarge(es::Eis& eis) {
  es::ProfileInfo p;
  p.mno_id = "2.999.77";
  p.smdp_id = "2.999.78";
  p.state = "Disabled";
  p.profile_type = "of somebody else";
  for (unsigned i = 0; i < kHugeEis; ++i) {
    p.iccid = iccid_with_luhn("8977000000" + std::to_string(100'000'000 + i));
    p.isd_p_aid = "A0000005591010FFFFFFFF8900" + std::to_string(100'000 + i).substr(0, 6);
    eis.profiles.push_back(p);
  }
}

}  // namespace kf::sim
