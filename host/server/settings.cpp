#include "host/server/settings.hpp"

#include <algorithm>

namespace kf::server {

const Party* Settings::by_peer(const net::Peer& peer) const {
  for (const Party& p : parties)
    if (std::ranges::find(p.fingerprints, peer.fingerprint) != p.fingerprints.end()) return &p;
  const Party* p = by_names(peer.names);
  return p != nullptr && p->by_subject ? p : nullptr;
}
const Party* Settings::by_names(std::string_view names) const {
  if (names.empty()) return nullptr;
  const Party* found = nullptr;
  for (const Party& p : parties) {
    if (std::ranges::find(p.names, names) == p.names.end()) continue;
    if (p.by_subject) return &p;  // nobody else has them then
    found = &p;
  }
  return found;
}
const Party* Settings::by_oid(std::string_view o) const {
  for (const Party& p : parties)
    if (p.oid.str() == o) return &p;
  return nullptr;
}

}  // namespace kf::server
