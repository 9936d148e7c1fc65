// Who holds the places of a server: connections by address until the peer is verified, by party after that. Says whose
// connection goes when there is no room, and how long a handshake has to wait its turn. Decides nothing about sockets.
//
// The rule: nobody is refused a place as long as somebody else holds one that is of no use at the moment (a connection
// that has not said anything, or one that waits between two requests). Of those the oldest of the greediest goes.
// Memory is bounded by the number of places. Loop thread only. Private to host/net.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <chrono>
#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>

#include "host/net/http.hpp"

namespace kf::net::detail {

class Occupancy {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;
  struct Limits {
    std::size_t places = 4096;
    std::size_t per_address = 1024;    // before the peer is verified
    std::size_t per_party = 1024;      // after it
    double handshakes_per_s = 200;     // of one address; 0: no limit
    double handshakes_at_once = 1000;  // what an address may save up
    std::size_t octets = SIZE_MAX;     // of bodies of one holder
  };

 private:
  struct Holder;

 public:
  // One connection. Must outlive its stay: leave() before it dies.
  class Guest {
   public:
    Guest() = default;
    virtual ~Guest() = default;
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

   private:
    friend class Occupancy;
    Holder* holder_ = nullptr;
    bool spare_ = false;
    std::size_t octets_ = 0;
    std::list<Guest*>::iterator at_;
  };

  // A party may have so many times the places that would be free beside its own.
  static constexpr std::size_t kShare = 8;

  explicit Occupancy(Limits l) : limits_(l) {}

  // A guest that has said nothing yet. `victim`: the connection that has to go for it, which the caller closes and
  // which is not named again.
  struct Entry {
    bool admitted = true;  // false: every place is at work
    Guest* victim = nullptr;
  };
  Entry enter(Guest& g, const boost::asio::ip::address& from, Time now);
  // The peer is verified: counted by party from here on. Not admitted: the party holds all it may, all of it at work.
  Entry identify(Guest& g, const std::string& party, Time now);
  void leave(Guest& g);
  // Of use or not? A spare one may be closed for others.
  void spare(Guest& g, bool spare);
  // The guest's body has so many octets by now. False: with those of the holder's other guests it is too much.
  bool hold(Guest& g, std::size_t octets);
  // The connection to close when descriptors run out; nullptr: none is spare.
  Guest* sacrifice();

  // How long this guest, not verified yet, waits before its handshake; each call counts as one handshake unless the
  // answer is over `patience`, which means never.
  Duration handshake_wait(Guest& g, Time now, Duration patience);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t holders() const { return holders_.size(); }  // addresses and parties remembered
  [[nodiscard]] std::size_t held_by(const Guest& g) const;               // by its address or party

 private:
  struct Holder {
    std::size_t count = 0;
    std::size_t octets = 0;
    std::list<Guest*> spare;  // the front is the oldest
    Time handshakes_until{};  // when the handshakes granted so far would be done at the permitted rate
  };
  Holder& holder(const std::string& key, Time now);
  void join(Guest& g, Holder& h);
  void part(Guest& g);
  Guest* oldest_of(Holder& h);
  void forget_idle_holders(Time now);

  Limits limits_;
  std::size_t size_ = 0, spare_ = 0;                 // guests; of them those that may be closed for others
  std::unordered_map<std::string, Holder> holders_;  // its elements stay where they are
  std::size_t sweep_at_ = 256;
};

Occupancy::Limits limits_of(const ServerOptions& o);

// What counts as one address, in shares and in the log: an IPv4 address, or the /64 of an IPv6 one, which a single
// machine has at its disposal. As text: "192.0.2.7", "2001:db8:0:1::/64".
std::string address_key(const boost::asio::ip::address& a);

}  // namespace kf::net::detail
