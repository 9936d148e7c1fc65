// What the store keeps, as values: calls, profiles, messages, key sets, records. No SQL and no transaction: whoever
// only carries these values includes this header. Blobs named `sealed` come from the vault or the token.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/base/bytes.hpp"

namespace kf::store {

// What this room's errors are told apart by; their slugs: "store-open" and so on.
enum class StoreFault : std::uint8_t { open, version, in_use, commit, gone, failed, job, full };
std::string_view slug(StoreFault f);

enum class ReplyKind : int { sync = 0, callback = 1, poll = 2 };

struct CallRow {  // one ES2 request, by (requester, FunctionCallIdentifier)
  std::string requester, fcid, function;
  Bytes digest;  // SHA-256 of its values: "identical body"
  ReplyKind reply = ReplyKind::sync;
  std::string reply_to, message_id, ns;
  std::string download_id;  // empty: a relay
  std::string response;     // the stored answer; empty: still running
  std::int64_t received_ms = 0;
  std::string reply_parameters;  // header blocks that the answer repeats (es::MessageHeader)
  std::int64_t delivery = 0;     // the message that carries the answer, as long as it waits; 0: none was made
};

// uncertain: its ISD-P, perhaps with the whole profile, may be on the eUICC that the row names; for no other one.
enum class ProfileState : int { free = 0, reserved = 1, installed = 2, uncertain = 3 };

struct ProfileRow {
  std::string iccid, owner, profile_type;
  std::int64_t template_id = 0;  // 0: `sealed` holds the complete package
  Bytes sealed;                  // personal values, or the package
  std::string pol2;              // JSON, empty: none given
  std::uint64_t required_memory = 65536;
  ProfileState state = ProfileState::free;
  std::string eid, smsr, download_id;  // where it is going or went
};

struct TemplateRow {
  std::int64_t id = 0;
  std::string name;
  Bytes sealed;       // the package
  std::string slots;  // JSON
};

enum class DeliveryKind : int {
  callback = 0,
  notification = 1,
  poll = 2,
  kept = 3  // its receiver refused it or was never there: waits for a poll of its party, or for retention
};

struct DeliveryRow {
  std::int64_t id = 0;
  std::string party;  // OID of the receiver
  DeliveryKind kind = DeliveryKind::callback;
  std::string address;  // URL, or the MakeConnection address
  std::string body;     // the complete envelope
  int attempts = 0;
  std::int64_t created_ms = 0;
  std::string source;         // of a notification: OID of the SM-SR that caused it
  std::int64_t replaces = 0;  // not stored: the row that went for this one
};

struct KeySetRow {
  std::string iccid, eid, isd_p_aid;
  int kvn = 0x30;
  Bytes sealed;  // by the token
};

struct ProfileCount {
  std::string owner, profile_type;
  std::int64_t free = 0, reserved = 0, installed = 0, uncertain = 0;
};

struct DownloadRow {
  std::string id, record;
};

struct FollowUpRow {  // one card: an EID at an SM-SR
  std::string eid, smsr, record;
};

// What could not be taken up and waits for a person. The ICCID, where it is known, stays reserved.
struct SetAsideRow {
  std::string kind;  // "download", "relay", "message", "follow-up"
  std::string name;  // id of the download, FunctionCallIdentifier, number of the message, the card and when
  std::string iccid, why;
  std::int64_t at_ms = 0;
  std::string record{};  // a follow-up's, which is kept nowhere else
};

// What one party has in the store: its calls with their answers, and messages for it. Under the key of notifications
// `calls` is their number.
struct Usage {
  std::int64_t calls = 0, bytes = 0;
};

}  // namespace kf::store
