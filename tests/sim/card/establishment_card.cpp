#include "tests/sim/card/establishment_card.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/card/walker.hpp"

namespace kf::sim::card {
namespace {

constexpr Sw kWrongData = 0x6A80, kNotFound = 0x6A88, kSignature = 0x6600;

std::uint8_t curve_code(CardCurve c) { return c == CardCurve::p256 ? 0x00 : 0x03; }

bool bcd_date(ByteView v) {  // syntax: four BCD bytes that are a day of the calendar
  if (v.size() != 4) return false;
  unsigned digits[8];
  for (std::size_t i = 0; i < 4; ++i) {
    digits[2 * i] = v[i] >> 4;
    digits[2 * i + 1] = v[i] & 0x0F;
  }
  if (std::any_of(std::begin(digits), std::end(digits), [](unsigned d) { return d > 9; })) return false;
  const unsigned year = digits[0] * 1000 + digits[1] * 100 + digits[2] * 10 + digits[3];
  const unsigned month = digits[4] * 10 + digits[5];
  const unsigned day = digits[6] * 10 + digits[7];
  static constexpr unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (month < 1 || month > 12 || day < 1) return false;
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return day <= days[month - 1] + (leap && month == 2 ? 1 : 0);
}

// B0 41 04 X Y, F0 01 curve; nothing else.
bool point_and_curve(ByteView in, ByteView& point, std::uint8_t& curve) {
  TlvWalker w(in);
  TlvItem b0;
  TlvItem f0;
  if (!w.next(b0) || b0.tag != 0xB0 || b0.value.size() != 65 || !w.next(f0) || f0.tag != 0xF0 || f0.value.size() != 1 ||
      !w.finished())
    return false;
  point = b0.value;
  curve = f0.value[0];
  return true;
}

bool size_in(ByteView v, std::size_t low, std::size_t high) { return v.size() >= low && v.size() <= high; }

}  // namespace

Sw check_dp_certificate(ByteView cert, const EuiccIdentity& id, Bytes& pk_dp) {
  ByteView body;
  if (!single_tlv(cert, 0x7F21, body)) return kWrongData;
  // The order of docs/spec/crypto.md 5.1; 53 and 73 share a place.
  struct Field {
    std::uint32_t tag;
    std::size_t low, high;
    bool mandatory;
  };
  static constexpr Field fields[] = {{0x93, 1, 16, true},   {0x42, 1, 16, true},   {0x5F20, 1, 16, true},
                                     {0x95, 1, 2, true},    {0x5F25, 4, 4, false}, {0x5F24, 4, 4, true},
                                     {0x45, 1, 16, false},  {0x73, 3, 127, true},  {0x7F49, 1, 255, true},
                                     {0x5F37, 64, 64, true}};
  ByteView usage;
  ByteView discretionary;
  ByteView key;
  ByteView signature;
  std::size_t signed_length = 0;
  TlvWalker w(body);
  TlvItem t;
  bool have = w.next(t);
  for (const Field& f : fields) {
    if (!have || t.tag != f.tag) {
      if (f.mandatory) return kWrongData;
      continue;
    }
    if (!size_in(t.value, f.low, f.high)) return kWrongData;
    if ((f.tag == 0x5F24 || f.tag == 0x5F25) && !bcd_date(t.value)) return kWrongData;
    if (f.tag == 0x95) usage = t.value;
    if (f.tag == 0x73) discretionary = t.value;
    if (f.tag == 0x7F49) key = t.value;
    if (f.tag == 0x5F37) {
      signature = t.value;
      signed_length = static_cast<std::size_t>(t.whole.data() - body.data());
    }
    have = w.next(t);
  }
  if (have || !w.finished()) return kWrongData;
  if (usage.size() != 1 || (usage[0] != 0x88 && usage[0] != 0x82)) return kWrongData;

  ByteView type;
  ByteView aki;
  bool has_type = false;
  bool has_aki = false;
  TlvWalker d(discretionary);
  while (d.next(t)) {
    if ((t.tag == 0xC8 && std::exchange(has_type, true)) || (t.tag == 0xC9 && std::exchange(has_aki, true)))
      return kWrongData;
    if (t.tag == 0xC8) type = t.value;
    if (t.tag == 0xC9) aki = t.value;
  }
  if (!d.finished() || type.size() != 1 || type[0] != 0x01) return kWrongData;  // C8: an SM-DP
  if (has_aki && aki.size() != 20) return kWrongData;

  ByteView point;
  std::uint8_t curve = 0xFF;
  if (!point_and_curve(key, point, curve) || curve != curve_code(id.curve)) return kWrongData;
  if (has_aki && !std::equal(aki.begin(), aki.end(), id.ci_ski.begin(), id.ci_ski.end())) return kSignature;
  if (!ecdsa_verify(id.curve, id.pk_ci, {body.first(signed_length)}, signature)) return kSignature;
  if (!point_ok(id.curve, point)) return kWrongData;
  pk_dp = to_bytes(point);
  return kOk;
}

Sw parse_crt(ByteView dgi_value, const EuiccIdentity& id, Crt& out) {
  ByteView body;
  if (!single_tlv(dgi_value, 0xA6, body)) return kWrongData;
  out.whole = dgi_value;
  TlvWalker w(body);
  TlvItem t;
  bool have = w.next(t);
  const auto take = [&](std::uint32_t tag, std::size_t low, std::size_t high, ByteView& v) {
    if (!have || t.tag != tag || !size_in(t.value, low, high)) return false;
    v = t.value;
    have = w.next(t);
    return true;
  };
  ByteView scenario, usage, access, type, length, kid, kvn, counter;
  if (!take(0x90, 2, 2, scenario) || !take(0x95, 1, 1, usage)) return kWrongData;
  if (have && t.tag == 0x96 && !take(0x96, 1, 1, access)) return kWrongData;
  if (!take(0x80, 1, 1, type) || !take(0x81, 1, 1, length) || !take(0x82, 1, 1, kid) || !take(0x83, 1, 1, kvn) ||
      !take(0x91, 0, 8, counter))
    return kWrongData;
  out.scenario = scenario[1];
  if (scenario[0] != 0x03 || (out.scenario & 0xF8) != 0x08) return kWrongData;
  out.usage = usage[0];
  if (out.usage != 0x10 && out.usage != 0x5C) return kWrongData;
  if (type[0] != 0x88 || (length[0] != 0x10 && length[0] != 0x18 && length[0] != 0x20)) return kWrongData;
  out.key_length = length[0];
  out.kid = kid[0];
  out.kvn = kvn[0];
  if (out.kid != 0x01 || out.kvn < 0x30 || out.kvn > 0x3F) return kWrongData;
  const std::size_t n = counter.size();
  if (n != 0 && n != 2 && n != 3 && n != 5 && n != 8) return kWrongData;
  std::uint64_t initial = 0;
  for (const std::uint8_t b : counter) initial = initial << 8 | b;
  if (initial > 0xFFFFFF) return kWrongData;  // the SCP03 counter has three bytes
  out.counter = static_cast<std::uint32_t>(initial);
  if (out.with_host_id() && (!take(0x45, 1, 16, out.sdin) || !take(0x84, 1, 16, out.host_id))) return kWrongData;
  if (have || !w.finished()) return kWrongData;
  if (out.with_host_id() &&
      (id.sin.empty() || !std::equal(out.sdin.begin(), out.sdin.end(), id.sdin.begin(), id.sdin.end())))
    return kNotFound;
  return kOk;
}

Sw split_key_command(ByteView data, KeyCommand& out) {
  DgiItem crt;
  DgiItem key;
  DgiItem sig;
  if (read_dgi(data, crt) != DgiRead::ok || crt.id != 0x3A02 || read_dgi(data, key) != DgiRead::ok ||
      key.id != 0x7F49 || read_dgi(data, sig) != DgiRead::ok || sig.id != 0x5F37 || sig.value.size() != 64 ||
      !data.empty())
    return kWrongData;
  out = {crt.whole, key.whole, crt.value, key.value, sig.value};
  return kOk;
}

bool key_signature_ok(const KeyCommand& c, CardCurve curve, ByteView pk_dp, ByteView rc) {
  const std::array<std::uint8_t, 3> rc_head{0x00, 0x85, static_cast<std::uint8_t>(rc.size())};
  return ecdsa_verify(curve, pk_dp, {c.crt_dgi, c.key_dgi, rc_head, rc}, c.signature);
}

Sw ephemeral_point(ByteView key, CardCurve curve, ByteView& point) {
  std::uint8_t code = curve_code(curve);
  if (key.size() == 65) {
    point = key;
  } else if (!point_and_curve(key, point, code)) {
    return kWrongData;
  }
  return code == curve_code(curve) && point_ok(curve, point) ? kOk : kWrongData;
}

Bytes shared_info(const Crt& crt, const EuiccIdentity& id, ByteView dr) {
  Bytes si{crt.usage, 0x88, static_cast<std::uint8_t>(crt.key_length)};
  if (crt.with_dr()) append(si, dr);
  if (crt.with_host_id()) {
    for (const ByteView v : {crt.host_id, ByteView(id.sin), crt.sdin}) {
      put_length(si, v.size());
      append(si, v);
    }
  }
  return si;
}

Derived derive(const Crt& crt, ByteView z, ByteView si) {
  const std::size_t l = crt.key_length;
  const bool base = crt.usage == 0x5C;
  const SecretBytes data = x963(z, si, l * (base ? 2 : 4));
  const auto part = [&](std::size_t i) { return SecretBytes(data.expose().subspan(i * l, l)); };
  Derived d;
  d.receipt_key = part(0);
  d.keys.enc = part(1);
  d.keys.mac = part(base ? 1 : 2);
  d.keys.dek = part(base ? 1 : 3);
  d.keys.kid = crt.kid;
  d.keys.kvn = crt.kvn;
  d.keys.counter = crt.counter;
  return d;
}

Block make_receipt(ByteView receipt_key, const Crt& crt, ByteView dr) {
  if (dr.empty()) return cmac(receipt_key, {crt.whole});
  const std::array<std::uint8_t, 2> head{0x85, static_cast<std::uint8_t>(dr.size())};
  return cmac(receipt_key, {crt.whole, head, dr});
}

}  // namespace kf::sim::card
