#include "host/net/occupancy.hpp"

#include <algorithm>
#include <utility>

namespace kf::net::detail {

Occupancy::Limits limits_of(const ServerOptions& o) {
  const auto share = [&](std::size_t n) { return n == 0 ? o.max_connections : n; };
  return {.places = o.max_connections,
          .per_address = share(o.max_per_address),
          .per_party = share(o.max_per_party),
          .handshakes_per_s = o.handshakes_per_second,
          .handshakes_at_once = std::max(1.0, o.handshakes_per_second * 5),
          .octets = std::max(o.max_bodies_per_party, o.max_body)};
}

std::string address_key(const boost::asio::ip::address& a) {
  if (a.is_v4()) return a.to_string();
  if (a.to_v6().is_v4_mapped())
    return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, a.to_v6()).to_string();
  auto octets = a.to_v6().to_bytes();
  std::fill(octets.begin() + 8, octets.end(), 0);
  return boost::asio::ip::make_address_v6(octets).to_string() + "/64";
}

Occupancy::Holder& Occupancy::holder(const std::string& key, Time now) {
  if (holders_.size() >= sweep_at_) {
    forget_idle_holders(now);
    sweep_at_ = 2 * holders_.size() + 256;
  }
  return holders_[key];
}

// Holders of no place whose handshakes are paid off.
void Occupancy::forget_idle_holders(Time now) {
  std::erase_if(holders_, [&](const auto& h) { return h.second.count == 0 && h.second.handshakes_until <= now; });
}

void Occupancy::join(Guest& g, Holder& h) {
  g.holder_ = &h;
  ++h.count;
  ++size_;
}

bool Occupancy::hold(Guest& g, std::size_t octets) {
  if (g.holder_ == nullptr) return true;
  std::size_t& all = g.holder_->octets;
  all = all - g.octets_ + octets;
  g.octets_ = octets;
  return octets == 0 || all <= limits_.octets;
}

void Occupancy::part(Guest& g) {
  spare(g, false);
  hold(g, 0);
  --g.holder_->count;
  --size_;
  g.holder_ = nullptr;
}

void Occupancy::spare(Guest& g, bool is_spare) {
  if (g.holder_ == nullptr || g.spare_ == is_spare) return;
  auto& list = g.holder_->spare;
  if (is_spare)
    g.at_ = list.insert(list.end(), &g);
  else
    list.erase(g.at_);
  g.spare_ = is_spare;
  spare_ = is_spare ? spare_ + 1 : spare_ - 1;
}

Occupancy::Guest* Occupancy::oldest_of(Holder& h) {
  if (h.spare.empty()) return nullptr;
  Guest* g = h.spare.front();
  spare(*g, false);
  return g;
}

Occupancy::Guest* Occupancy::sacrifice() {
  const auto greediest = std::ranges::max_element(
      holders_, {}, [](const auto& h) { return std::make_pair(h.second.spare.size(), h.second.count); });
  return greediest == holders_.end() ? nullptr : oldest_of(greediest->second);
}

Occupancy::Entry Occupancy::enter(Guest& g, const boost::asio::ip::address& from, Time now) {
  Holder& h = holder("a" + address_key(from), now);
  Entry e;
  if (h.count >= limits_.per_address)
    e.victim = oldest_of(h);
  else if (size_ >= limits_.places)
    e.victim = sacrifice();
  e.admitted = e.victim != nullptr || (h.count < limits_.per_address && size_ < limits_.places);
  if (!e.admitted) return e;
  join(g, h);
  spare(g, true);
  return e;
}

Occupancy::Entry Occupancy::identify(Guest& g, const std::string& party, Time now) {
  Holder& h = holder("p" + party, now);
  Entry e;
  // With several parties at their bounds the last places are still for those who hold few. Places that are of no use
  // count as free: enter() gives them away.
  const std::size_t free = limits_.places - std::min(limits_.places, size_ - spare_);
  if (h.count >= limits_.per_party || h.count / kShare > free) {
    e.victim = oldest_of(h);
    e.admitted = e.victim != nullptr;
  }
  if (!e.admitted) return e;
  const bool was_spare = g.spare_;
  part(g);
  join(g, h);
  spare(g, was_spare);
  return e;
}

void Occupancy::leave(Guest& g) {
  if (g.holder_ != nullptr) part(g);
}

Occupancy::Duration Occupancy::handshake_wait(Guest& g, Time now, Duration patience) {
  if (g.holder_ == nullptr || limits_.handshakes_per_s <= 0) return Duration::zero();
  const auto seconds = [](double s) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s)); };
  const Duration each = seconds(1 / limits_.handshakes_per_s);
  const Duration saved = seconds((limits_.handshakes_at_once - 1) / limits_.handshakes_per_s);
  Holder& h = *g.holder_;
  const Time turn = std::max(h.handshakes_until, now);
  const Duration wait = std::max(Duration::zero(), turn - now - saved);
  if (wait <= patience) h.handshakes_until = turn + each;
  return wait;
}

std::size_t Occupancy::held_by(const Guest& g) const { return g.holder_ == nullptr ? 0 : g.holder_->count; }

}  // namespace kf::net::detail
