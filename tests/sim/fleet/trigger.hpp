// The administration session triggering parameters (Amendment B) that the SM-SR sends to a card, and the PSK identity.
//
// 81 L { 83 L { 84 connection, 85 security, 86 retry policy, 89 { 8A host, 8B agent id, 8C URI } } };
// docs/spec/interfaces.md 5.1, 5.3. In the field these bytes travel in an MT-SMS under SCP80; here MtSms carries
// them inside the process.
#pragma once

#include <functional>
#include <string>

#include "host/base/bytes.hpp"

namespace kf::sim {

struct Trigger {
  std::string address = "127.0.0.1";  // IPv4 of the SM-SR's ES5 listener
  std::uint16_t port = 0;
  std::string psk_identity;  // text as in TLS
  std::uint8_t key_version = 0x40, key_id = 0x01;
  std::string host;      // Host header
  std::string agent_id;  // X-Admin-From's agent part
  std::string uri;       // first POST
};
Bytes encode_trigger(const Trigger& t);
// Reasons: truncated, bad-length, bad-tag, bad-trigger.
Result<Trigger> decode_trigger(ByteView payload);

// UTF-8 text of the upper-case hex of 80 01 02 | 81 10 EID | 4F 10 ISD-R AID | 82 01 key id | 83 01 key version.
std::string psk_identity_of(std::string_view eid, std::uint8_t key_id = 0x01, std::uint8_t key_version = 0x40);
Result<std::string> eid_of_psk_identity(std::string_view identity);  // reasons: bad-psk-identity

// Stand-in for the MT-SMS: hands the trigger to the card with that EID; returns at once, delivery comes later or never.
using MtSms = std::function<void(const std::string& eid, Bytes payload)>;

}  // namespace kf::sim
