#include "tests/sim/fleet/trigger.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "host/base/ids.hpp"
#include "host/base/tlv.hpp"

namespace kf::sim {
namespace {

void append_lv(Bytes& out, ByteView v) {
  out.push_back(static_cast<std::uint8_t>(v.size()));
  append(out, v);
}

Result<ByteView> read_lv(ByteView& in) {
  if (in.empty() || in.size() < 1u + in[0]) return Error{"truncated", "LV in the security parameters"};
  const ByteView v = in.subspan(1, in[0]);
  in = in.subspan(1u + in[0]);
  return v;
}

Result<ByteView> need(const std::vector<Tlv>& list, std::uint32_t tag) {
  const auto t = find_tlv(list, tag);
  if (!t) return Error{"bad-trigger", "a part of the triggering parameters is missing"};
  return t->value;
}

}  // namespace

Bytes encode_trigger(const Trigger& t) {
  std::array<unsigned, 4> ip{};
  if (std::sscanf(t.address.c_str(), "%u.%u.%u.%u", &ip[0], &ip[1], &ip[2], &ip[3]) != 4) ip = {127, 0, 0, 1};
  Bytes connection = hex("35010339020578");  // default bearer, buffer of 1400 bytes
  append(connection, {0x3C, 0x03, 0x02, static_cast<std::uint8_t>(t.port >> 8), static_cast<std::uint8_t>(t.port)});
  append(connection, {0x3E, 0x05, 0x21});
  for (const unsigned b : ip) connection.push_back(static_cast<std::uint8_t>(b));

  Bytes security;
  append_lv(security, view(t.psk_identity));
  const std::array<std::uint8_t, 2> key{t.key_version, t.key_id};
  append_lv(security, key);

  Bytes http;
  if (!t.host.empty()) append_tlv(http, 0x8A, view(t.host));
  append_tlv(http, 0x8B, view(t.agent_id));
  append_tlv(http, 0x8C, view(t.uri));

  Bytes inner;
  append_tlv(inner, 0x84, connection);
  append_tlv(inner, 0x85, security);
  append_tlv(inner, 0x86, hex("00032503000500"));  // three tries, five minutes apart
  append_tlv(inner, 0x89, http);
  return make_tlv(0x81, make_tlv(0x83, inner));
}

Result<Trigger> decode_trigger(ByteView payload) {
  KF_TRY(const auto outer, read_tlvs(payload));
  KF_TRY(const ByteView v81, need(outer, 0x81));
  KF_TRY(const auto mid, read_tlvs(v81));
  KF_TRY(const ByteView v83, need(mid, 0x83));
  KF_TRY(const auto parts, read_tlvs(v83));
  Trigger t;
  KF_TRY(const ByteView connection, need(parts, 0x84));
  KF_TRY(const auto bip, read_tlvs(connection));
  KF_TRY(const ByteView transport, need(bip, 0x3C));
  KF_TRY(const ByteView address, need(bip, 0x3E));
  if (transport.size() != 3 || address.size() != 5 || address[0] != 0x21)
    return Error{"bad-trigger", "transport level or destination address"};
  t.port = static_cast<std::uint16_t>(transport[1] << 8 | transport[2]);
  t.address = std::to_string(address[1]) + "." + std::to_string(address[2]) + "." + std::to_string(address[3]) + "." +
              std::to_string(address[4]);
  KF_TRY(ByteView security, need(parts, 0x85));
  KF_TRY(const ByteView identity, read_lv(security));
  KF_TRY(const ByteView key, read_lv(security));
  if (key.size() != 2) return Error{"bad-trigger", "key version and identifier"};
  t.psk_identity = text(identity);
  t.key_version = key[0];
  t.key_id = key[1];
  KF_TRY(const ByteView v89, need(parts, 0x89));
  KF_TRY(const auto http, read_tlvs(v89));
  if (const auto h = find_tlv(http, 0x8A)) t.host = text(h->value);
  if (const auto a = find_tlv(http, 0x8B)) t.agent_id = text(a->value);
  KF_TRY(const ByteView uri, need(http, 0x8C));
  t.uri = text(uri);
  if (t.uri.empty() || t.uri[0] != '/') return Error{"bad-trigger", "URI"};
  return t;
}

std::string psk_identity_of(std::string_view eid, std::uint8_t key_id, std::uint8_t key_version) {
  std::string s;
  s.reserve(90);
  s.append("8001028110").append(eid).append("4F10").append(isd_r_aid().str());
  const std::array<std::uint8_t, 6> keys{0x82, 0x01, key_id, 0x83, 0x01, key_version};
  append_hex(s, keys);
  return s;
}

Result<std::string> eid_of_psk_identity(std::string_view identity) {
  constexpr std::string_view prefix = "8001028110";
  const Error bad{"bad-psk-identity", "not the form of docs/spec/interfaces.md 5.3"};
  if (identity.size() != 90 || !identity.starts_with(prefix) || identity.substr(42, 4) != "4F10") return bad;
  const std::string_view eid = identity.substr(prefix.size(), 32);
  if (!std::all_of(eid.begin(), eid.end(), [](char c) { return c >= '0' && c <= '9'; })) return bad;
  return std::string(eid);
}

}  // namespace kf::sim
