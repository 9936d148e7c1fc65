#include "tests/sim/smsr/script.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "host/base/tlv.hpp"

namespace kf::sim {
namespace {

constexpr std::size_t kFullSegment = 1008;  // C and MAC of a segment that leaves no room for another block

Bytes store_data(std::uint8_t p1, std::uint16_t dgi, ByteView value) {
  Bytes data;
  append_dgi(data, dgi, value);
  Bytes out{0x80, 0xE2, p1, 0x00, static_cast<std::uint8_t>(data.size())};
  append(out, data);
  return out;
}

void append_lv(Bytes& out, ByteView v) {
  out.push_back(static_cast<std::uint8_t>(v.size()));
  append(out, v);
}

}  // namespace

Bytes create_isdp_apdu(ByteView isdp_aid, std::uint32_t memory) {
  Bytes data;
  append_lv(data, hex("A0000005591010FFFFFFFF8900000D00"));
  append_lv(data, hex("A0000005591010FFFFFFFF8900000E00"));
  append_lv(data, isdp_aid);
  append(data, hex("0380C000"));
  if (memory == 0) {
    append(data, hex("06C90481020370"));
  } else {
    append(data, hex("0EC90481020370EF068304"));
    append(data, {static_cast<std::uint8_t>(memory >> 24), static_cast<std::uint8_t>(memory >> 16),
                  static_cast<std::uint8_t>(memory >> 8), static_cast<std::uint8_t>(memory)});
  }
  data.push_back(0x00);  // no token
  Bytes out = hex("80E60C00");
  append_lv(out, data);
  out.push_back(0x00);
  return out;
}

Bytes enable_apdu(ByteView isdp_aid) { return store_data(0x88, 0x3A03, make_tlv(0x4F, isdp_aid)); }
Bytes disable_apdu(ByteView isdp_aid) { return store_data(0x88, 0x3A04, make_tlv(0x4F, isdp_aid)); }

Bytes delete_apdu(ByteView isdp_aid) {
  Bytes out = hex("80E40040");
  append_lv(out, make_tlv(0x4F, isdp_aid));
  out.push_back(0x00);
  return out;
}

Bytes confirm_notification_apdu(std::uint16_t sequence) {
  const std::array<std::uint8_t, 4> v{0x4E, 0x02, static_cast<std::uint8_t>(sequence >> 8),
                                      static_cast<std::uint8_t>(sequence)};
  Bytes out = store_data(0x89, 0x3A08, v);
  out.push_back(0x00);
  return out;
}

Bytes as_command(ByteView apdu) { return make_tlv(0x22, apdu); }

Result<DataKind> look_at(ByteView data) {
  KF_TRY(const auto list, read_tlvs(data));
  DataKind k;
  if (list.empty()) return Error{"truncated", "no command in Data"};
  for (const Tlv& t : list) {
    if (t.tag == 0x22)
      k.c_apdus = true;
    else if (t.tag == 0x84 || t.tag == 0x85 || t.tag == 0x86)
      k.scp03t = true;
    else
      return Error{"mixed-data", "Data holds neither C-APDUs (22) nor SCP03t commands (84, 85, 86)"};
  }
  if (k.c_apdus && k.scp03t) return Error{"mixed-data", "C-APDUs and SCP03t commands in one Data"};
  if (k.scp03t) {
    k.starts_session = list.front().tag == 0x84;
    k.ends_mid_profile = list.back().tag != 0x86 || list.back().value.size() >= kFullSegment;
    return k;
  }
  for (const Tlv& t : list) {
    const ByteView a = t.value;
    if (a.size() < 5) return Error{"truncated", "C-APDU shorter than five bytes"};
    if (a[1] == 0xE6 && a[2] == 0x20 && a.size() >= 8 && a[5] == 0 && a[6] == 0 && a.size() >= 8u + a[7]) {
      if (&t == &list.front()) k.starts_session = true;
      k.install_aid = to_bytes(a.subspan(8, a[7]));
    }
    if (a[1] == 0xE2) k.ends_mid_store_data = (a[2] & 0x80) == 0;
  }
  return k;
}

Chain chain_for(const DataKind& k, bool open, bool more) {
  const bool goes_on = k.scp03t ? more && k.ends_mid_profile : k.ends_mid_store_data;
  if (!open || k.starts_session) return goes_on ? Chain::first : Chain::none;
  return goes_on ? Chain::subsequent : Chain::last;
}

Bytes script_template(ByteView commands, Chain chain) {
  Bytes out;
  out.reserve(commands.size() + 8);
  append(out, {0xAE, 0x80});
  if (chain != Chain::none) append(out, {0x83, 0x01, static_cast<std::uint8_t>(chain)});
  append(out, commands);
  append(out, {0x00, 0x00});
  return out;
}

unsigned ScriptAnswer::first_bad_sw() const {
  for (const auto& t : list)
    if (t.tag == 0x23 && t.sw() != 0x9000) return t.sw() == 0 ? 0x6F00 : t.sw();
  return 0;
}

bool ScriptAnswer::scp03t_error() const {
  return std::any_of(list.begin(), list.end(), [](const CardAnswerTlv& t) { return t.tag >> 8 == 0x9F; });
}

Result<ScriptAnswer> read_answer(ByteView body) {
  ByteView in;
  if (body.size() >= 4 && body[0] == 0xAF && body[1] == 0x80) {
    if (body[body.size() - 1] != 0 || body[body.size() - 2] != 0) return Error{"truncated", "AF 80 without 00 00"};
    in = body.subspan(2, body.size() - 4);
  } else {
    ByteView rest = body;
    KF_TRY(const Tlv t, read_tlv(rest));
    if (t.tag != 0xAB || !rest.empty()) return Error{"bad-format", "response script without AF 80 or AB"};
    in = t.value;
  }
  ScriptAnswer a;
  while (!in.empty()) {
    KF_TRY(const Tlv t, read_tlv(in));
    if (t.tag == 0x90) return Error{"bad-format", "the card reports a badly formed script"};
    if (t.tag == 0x83 || (t.tag == 0x80 && a.list.empty())) continue;
    append(a.relay, t.whole);
    a.list.push_back({t.tag, to_bytes(t.value)});
  }
  return a;
}

Result<CardNotification> read_notification(ByteView e1) {
  KF_TRY(const Tlv outer, read_tlv(e1));
  if (outer.tag != 0xE1) return Error{"bad-notification", "no E1"};
  KF_TRY(const auto list, read_tlvs(outer.value));
  const auto eid = find_tlv(list, 0x4C), type = find_tlv(list, 0x4D), seq = find_tlv(list, 0x4E),
             aid = find_tlv(list, 0x2F);
  if (!eid || !type || !seq || type->value.size() != 1 || seq->value.size() != 2 || eid->value.size() != 16)
    return Error{"bad-notification", "4C, 4D or 4E missing or of the wrong length"};
  CardNotification n;
  n.eid = to_hex(eid->value);
  n.type = type->value[0];
  n.sequence = static_cast<std::uint16_t>(seq->value[0] << 8 | seq->value[1]);
  if (aid) n.isdp_aid = to_hex(aid->value);
  return n;
}

std::vector<std::string> deleted_profiles(ByteView answer_data) {
  std::vector<std::string> out;
  const auto list = read_tlvs(answer_data);
  if (!list.ok()) return out;
  const auto v = find_tlv(*list, 0x80);
  if (!v) return out;
  const auto aids = read_tlvs(v->value);
  if (!aids.ok()) return out;
  for (const Tlv& t : *aids)
    if (t.tag == 0x4F) out.push_back(to_hex(t.value));
  return out;
}

std::string isdp_aid_for(std::uint16_t n) {
  std::array<char, 40> s{};
  std::snprintf(s.data(), s.size(), "A0000005591010FFFFFFFF8900%04X00", n);
  return s.data();
}

}  // namespace kf::sim
