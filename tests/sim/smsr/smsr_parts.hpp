// Inside the SM-SR simulator: what one EID, one call and one answer consist of.
#pragma once

#include "host/base/ids.hpp"
#include "tests/sim/smsr/smsr.hpp"

namespace kf::sim {

struct Smsr::Euicc {
  CardId id;
  EuiccRecord record;
  std::vector<EisEntry> entries;
  std::vector<EisEntry> ghosts;  // deleted, still shown by an EIS that lies
  std::uint16_t next_isdp = 0;   // an AID is not given twice
  bool chain_open = false;       // the last SendData left a script chain open
  std::string isdp_in_work;      // named by the last INSTALL [for personalization]

  EisEntry* entry(const std::string& iccid) {
    for (auto& e : entries)
      if (same_iccid(e.info.iccid, iccid)) return &e;
    return nullptr;
  }
  EisEntry* entry_by_aid(const std::string& aid) {
    for (auto& e : entries)
      if (e.info.isd_p_aid == aid) return &e;
    return nullptr;
  }
  [[nodiscard]] std::uint64_t remaining() const {
    std::uint64_t used = 0;
    for (const auto& e : entries) used += e.info.allocated_memory;
    return record.eis.available_memory > used ? record.eis.available_memory - used : 0;
  }
};

struct Smsr::Reply {
  bool synchronous = true;
  std::string to;  // wsa:To of the answer: From of the request, or ReplyTo byte for byte
  std::string relates_to, transaction_id, ns;
};

struct Smsr::Call {
  Bytes digest;  // of the function and its element values, to tell a repeat from a reused identifier
  std::shared_ptr<const es::Request> request;  // released when done
  CardId id;
  bool done = false;
  es::Response answer;
  std::vector<Reply> owed;                   // callbacks to send when done
  std::vector<asio::steady_timer*> waiting;  // synchronous requests
  Clock::time_point received{};
  Hostility::Ways ways;
};

// FAILED (or EXPIRED) with its codes; also counted by the caller.
es::Response failed(const es::Request& q, std::string_view subject, std::string_view reason, std::string identifier,
                    std::string message);
es::Response succeeded(const es::Request& q);

}  // namespace kf::sim
