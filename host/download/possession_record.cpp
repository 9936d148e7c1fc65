#include "host/download/possession_record.hpp"

namespace kf::download {
using Json = nlohmann::json;
using Ms = Possession::Ms;

namespace {
enum class Standing : std::uint8_t { neither, held, used };
constexpr std::string_view kStandings[] = {"", "held", "used"};  // as they are stored
Standing standing_of(std::string_view stored) {
  if (stored == "held") return Standing::held;
  return stored == "used" ? Standing::used : Standing::neither;
}
}  // namespace

// {"calls": [[transaction, "create" or "delete", ICCID, left]], "iccids": [[ICCID, "held", "used" or "", left of
// unnamed creations, of unnamed deletions, content was sent]]}
void PossessionRecord::write(const Possession& p, JsonText& out) {
  const auto left = [&](Ms until) { return until == Possession::kNever ? 0 : std::max<Ms>(0, until - p.clock_); };
  out.begin('{').key("calls").begin('[');
  for (const auto& [transaction, c] : p.open_)
    out.begin('[')
        .value(transaction)
        .value(c.kind == Possession::Kind::creation ? "create" : "delete")
        .value(c.iccid)
        .value(left(c.until))
        .end(']');
  out.end(']').key("iccids").begin('[');
  for (const auto& [iccid, f] : p.facts_) {
    Standing standing = p.counts_as_installed(iccid) ? Standing::used
                        : Possession::held(f)        ? Standing::held
                                                     : Standing::neither;
    // An unnamed creation whose time is over may have been executed all the same.
    const bool over = f.appear_until != Possession::kNever && f.appear_until <= p.clock_ && f.appear_until >= f.cleared;
    if (over && standing == Standing::neither) standing = Standing::held;
    if (standing == Standing::neither && left(f.appear_until) == 0 && left(f.vanish_until) == 0) continue;
    out.begin('[')
        .value(iccid)
        .value(kStandings[static_cast<std::size_t>(standing)])
        .value(left(f.appear_until))
        .value(left(f.vanish_until))
        .value(Possession::has_content(f))
        .end(']');
  }
  out.end(']').end('}');
}

Possession PossessionRecord::read(const Json& j) {
  Possession p;  // its clock stands at 0
  for (const auto& c : j.at("calls")) {
    const auto kind = c.at(1).get<std::string>() == "create" ? Possession::Kind::creation : Possession::Kind::deletion;
    const auto transaction = c.at(0).get<std::string>(), iccid = c.at(2).get<std::string>();
    (void)p.facts(iccid);
    p.insert(transaction, {kind, iccid, 0, c.at(3).get<Ms>()});
  }
  for (const auto& x : j.at("iccids")) {
    Possession::Facts& f = p.facts(x.at(0).get<std::string>());
    const Standing standing = standing_of(x.at(1).get<std::string>());
    if (standing == Standing::held) f.present = 0;
    if (standing == Standing::used) f.used = 0;
    if (const auto left = x.at(2).get<Ms>(); left > 0) f.appear_until = left;
    if (const auto left = x.at(3).get<Ms>(); left > 0) f.vanish_until = left;
    if (x.size() > 4 && x.at(4).get<bool>()) f.content = 0;
  }
  return p;
}

}  // namespace kf::download
