#include "tests/vectors/card.hpp"

#include <algorithm>

#include "host/base/tlv.hpp"
#include "host/crypto/ec.hpp"
#include "host/pki/gp_cert.hpp"

namespace kf::vectors {
namespace {
Bytes with_sw(Bytes data, std::uint16_t sw) {
  append(data, {static_cast<std::uint8_t>(sw >> 8), static_cast<std::uint8_t>(sw)});
  return data;
}

struct Crt {
  std::uint8_t scenario = 0, usage = 0, type = 0, length = 0;
  Bytes sdin, host_id;
};
// docs/spec/crypto.md 4.4: tags in the order of the table.
std::optional<Crt> parse_crt(ByteView in) {
  const auto outer = read_tlv(in);
  if (!outer || outer->tag != 0xA6 || !in.empty()) return std::nullopt;
  const auto list = read_tlvs(outer->value);
  if (!list) return std::nullopt;
  static constexpr std::array<std::uint32_t, 10> kOrder{0x90, 0x95, 0x96, 0x80, 0x81, 0x82, 0x83, 0x91, 0x45, 0x84};
  Crt c;
  std::size_t next = 0;
  unsigned seen = 0;
  for (const Tlv& t : *list) {
    const auto at = std::find(kOrder.begin() + static_cast<std::ptrdiff_t>(next), kOrder.end(), t.tag);
    if (at == kOrder.end()) return std::nullopt;
    next = static_cast<std::size_t>(at - kOrder.begin()) + 1;
    seen |= 1U << (next - 1);
    const std::size_t n = t.value.size();
    switch (t.tag) {
      case 0x90:
        if (n != 2 || t.value[0] != 0x03) return std::nullopt;
        c.scenario = t.value[1];
        break;
      case 0x45:
        c.sdin = to_bytes(t.value);
        break;
      case 0x84:
        c.host_id = to_bytes(t.value);
        break;
      case 0x91:
        if (n != 0 && n != 2 && n != 3 && n != 5 && n != 8) return std::nullopt;
        break;
      default:
        if (n != 1) return std::nullopt;
        if (t.tag == 0x95) c.usage = t.value[0];
        if (t.tag == 0x80) c.type = t.value[0];
        if (t.tag == 0x81) c.length = t.value[0];
    }
  }
  constexpr unsigned kMandatory = 0b0001111011;  // all but 96, 91, 45, 84
  const bool ids = (c.scenario & 0x04) != 0;
  const bool ok = (seen & kMandatory) == kMandatory && (c.scenario & 0xF8) == 0x08 &&
                  (c.usage == 0x10 || c.usage == 0x5C) && c.type == 0x88 &&
                  (c.length == 16 || c.length == 24 || c.length == 32) && ids == !c.host_id.empty() &&
                  ids == !c.sdin.empty();
  if (!ok) return std::nullopt;
  return c;
}

// docs/spec/crypto.md A3: raw, or as in certificates.
ByteView point_of(ByteView v) {
  if (v.size() == 70 && v[0] == 0xB0 && v[1] == 0x41) return v.subspan(2, 65);
  return v;
}

void append_lv(Bytes& out, ByteView v) {
  append_ber_length(out, v.size());
  append(out, v);
}
}  // namespace

Bytes CardEstablishment::refuse(std::uint16_t sw) {
  buffer_.clear();
  pk_dp_.reset();
  installed_ = false;
  return with_sw({}, sw);
}

Bytes CardEstablishment::process(ByteView c) {
  if (c.size() < 5) return refuse(0x6700);
  const std::size_t lc = c[4];
  if (c.size() != 5 + lc && !(c.size() == 6 + lc && c[5 + lc] == 0x00)) return refuse(0x6700);
  const ByteView data = c.subspan(5, lc);
  if (c[0] == 0x80 && c[1] == 0xE6 && c[2] == 0x20 && c[3] == 0x00) {
    if (data.size() < 6 || data[0] != 0 || data[1] != 0 || data[2] + 6U != data.size() || data[data.size() - 1] != 0 ||
        data[data.size() - 2] != 0 || data[data.size() - 3] != 0)
      return refuse(0x6A80);
    const ByteView aid = data.subspan(3, data[2]);
    if (!std::equal(aid.begin(), aid.end(), k_.isd_p.bytes().begin(), k_.isd_p.bytes().end())) return refuse(0x6A88);
    installed_ = true;
    next_block_ = 0;
    buffer_.clear();
    pk_dp_.reset();
    return with_sw({0x00}, 0x9000);
  }
  if (c[0] != 0x80 || c[1] != 0xE2) return refuse(0x6A86);
  if (!installed_) return refuse(0x6985);
  return store_data(c[2], c[3], data);
}

Bytes CardEstablishment::store_data(std::uint8_t p1, std::uint8_t p2, ByteView data) {
  if ((p1 != 0x09 && p1 != 0x89) || p2 != next_block_) return refuse(0x6A86);
  ++next_block_;
  append(buffer_, data);
  if (p1 == 0x89) return key(std::exchange(buffer_, {}));
  ByteView in = buffer_;
  if (const auto d = read_dgi(in); !d)
    return d.error().reason == "truncated" && !pk_dp_ ? with_sw({}, 0x9000) : refuse(0x6A80);
  if (pk_dp_) return with_sw({}, 0x9000);  // a block of STORE DATA #2, more to come
  return certificate(std::exchange(buffer_, {}));
}

Bytes CardEstablishment::certificate(ByteView in) {
  const auto d = read_dgi(in);
  if (!d || d->id != 0x3A01 || !in.empty()) return refuse(0x6A80);
  const auto cert = parse_gp_certificate(d->value);
  if (!cert) return refuse(0x6A80);
  const bool usage = cert->key_usage == Bytes{0x88} || cert->key_usage == Bytes{0x82};
  if (!usage || cert->type != std::optional<std::uint8_t>{0x01} || cert->curve != k_.curve) return refuse(0x6A80);
  if (cert->aki && *cert->aki != k_.ci_ski) return refuse(0x6600);
  if (!ecdsa_verify(k_.curve, k_.pk_ci, sha256(cert->tbs), cert->signature))
    return refuse(0x6600);  // dates: no clock (docs/spec/crypto.md A10)
  pk_dp_ = cert->q;
  Bytes answer;
  append_tlv(answer, 0x85, k_.rc);
  return with_sw(std::move(answer), 0x9000);
}

Bytes CardEstablishment::key(ByteView in) {
  if (!pk_dp_) return refuse(0x6985);
  std::array<Dgi, 3> d;
  static constexpr std::array<std::uint16_t, 3> kIds{0x3A02, 0x7F49, 0x5F37};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto r = read_dgi(in);
    if (!r || r->id != kIds[i]) return refuse(0x6A80);
    d[i] = *r;
  }
  if (!in.empty() || d[2].value.size() != 64) return refuse(0x6A80);
  Bytes rc;
  append_dgi(rc, 0x0085, k_.rc);
  // The signature before anything else is looked at (docs/spec/crypto.md 4.5).
  if (!ecdsa_verify(k_.curve, *pk_dp_, sha256(concat(d[0].whole, d[1].whole, rc)), d[2].value)) return refuse(0x6600);
  const auto crt = parse_crt(d[0].value);
  if (!crt) return refuse(0x6A80);
  if ((crt->scenario & 0x04) != 0 && crt->sdin != k_.sdin) return refuse(0x6A88);
  const auto z = ecka(k_.curve, k_.sk_ecasd, point_of(d[1].value));
  if (!z) return refuse(0x6A80);

  Bytes si{crt->usage, crt->type, crt->length};
  Bytes answer;
  if ((crt->scenario & 0x02) != 0) {
    append(si, k_.dr.value_or(Bytes{}));
    append_tlv(answer, 0x85, k_.dr.value_or(Bytes{}));
  }
  if ((crt->scenario & 0x04) != 0) {
    append_lv(si, crt->host_id);
    append_lv(si, k_.sin);
    append_lv(si, k_.sdin);
  }
  const SecretBytes receipt_key = x963_kdf(z->expose(), si, crt->length);
  append_tlv(answer, 0x86, aes_cmac(receipt_key.expose(), concat(d[0].value, answer)));
  return with_sw(std::move(answer), 0x9000);
}

Bytes CardScp03t::refuse(std::uint8_t tag, std::uint8_t code) {
  state_ = State::closed;
  return {0x9F, tag, 0x01, code};
}

Bytes CardScp03t::process(ByteView in) {
  auto t = read_tlv(in);
  const std::uint8_t tag = t && (t->tag == 0x84 || t->tag == 0x85) ? static_cast<std::uint8_t>(t->tag - 0x40) : 0x46;
  if (!t || !in.empty()) return refuse(tag, 0x01);
  if (t->tag == 0x84) return initialize(t->value);
  if (t->tag == 0x85) return authenticate(t->whole, t->value);
  if (t->tag == 0x86) return segment(t->whole, t->value);
  return refuse(0x46, 0x01);
}

Bytes CardScp03t::initialize(ByteView v) {
  if (v.size() != 10) return refuse(0x44, 0x01);
  if (v[0] != s_.kvn || (v[1] != 0x00 && v[1] != 0x01)) return refuse(0x44, 0x03);
  ++counter_;
  const Bytes counter{static_cast<std::uint8_t>(counter_ >> 16), static_cast<std::uint8_t>(counter_ >> 8),
                      static_cast<std::uint8_t>(counter_)};
  const auto kdf = [](ByteView key, std::uint8_t dc, ByteView context, std::size_t bits) {
    return to_bytes(scp03_kdf(key, dc, context, bits).expose());
  };
  const Bytes cc = kdf(s_.key_enc, 0x02, concat(counter, s_.isd_p.bytes()), 64);
  context_ = concat(v.subspan(2), cc);
  const std::size_t bits = s_.key_enc.size() * 8;
  s_enc_ = kdf(s_.key_enc, 0x04, context_, bits);
  s_mac_ = kdf(s_.key_mac, 0x06, context_, bits);
  s_rmac_ = kdf(s_.key_mac, 0x07, context_, bits);
  received_.clear();
  state_ = State::initialized;
  return make_tlv(0x84,
                  concat(s_.diversification, Bytes{s_.kvn, 0x03, 0x70}, cc, kdf(s_mac_, 0x00, context_, 64), counter));
}

Bytes CardScp03t::authenticate(ByteView whole, ByteView v) {
  if (v.size() != 17) return refuse(0x45, 0x01);
  const auto cryptogram = scp03_kdf(s_mac_.empty() ? Bytes(16) : s_mac_, 0x01, context_, 64);
  const Block16 m = aes_cmac(s_mac_.empty() ? Bytes(16) : s_mac_, concat(Block16{}, whole.first(whole.size() - 8)));
  if (state_ != State::initialized || v[0] != 0x33 || !equal_ct(cryptogram.expose(), v.subspan(1, 8)) ||
      !equal_ct(ByteView(m).first(8), v.last(8)))
    return refuse(0x45, 0x02);
  mcv_ = m;
  segments_ = 0;
  state_ = State::open;
  return {0x85, 0x00};
}

Bytes CardScp03t::segment(ByteView whole, ByteView v) {
  if (whole.size() > 1024 || v.size() < 24 || (v.size() - 8) % 16 != 0) return refuse(0x46, 0x01);
  if (state_ != State::open) return refuse(0x46, 0x02);
  const Block16 m = aes_cmac(s_mac_, concat(mcv_, whole.first(whole.size() - 8)));
  if (!equal_ct(ByteView(m).first(8), v.last(8))) return refuse(0x46, 0x02);
  mcv_ = m;
  ++segments_;
  Block16 counter{};
  for (std::size_t i = 0; i < 4; ++i) counter[12 + i] = static_cast<std::uint8_t>(segments_ >> (24 - 8 * i));
  Bytes plain = to_bytes(v.first(v.size() - 8));
  aes_cbc_decrypt(s_enc_, aes_ecb_block(s_enc_, counter), plain);
  std::size_t n = plain.size();
  while (n > 0 && plain[n - 1] == 0) --n;
  if (n == 0 || plain[n - 1] != 0x80 || plain.size() - n > 15) return refuse(0x46, 0x02);
  append(received_, ByteView(plain).first(n - 1));
  if (answer_.empty()) return {0x86, 0x00};
  Bytes data = std::exchange(answer_, {});
  data.push_back(0x80);
  data.resize((data.size() + 15) / 16 * 16);
  counter[0] = 0x80;
  aes_cbc_encrypt(s_enc_, aes_ecb_block(s_enc_, counter), data);
  Bytes head{0x86};
  append_ber_length(head, data.size() + 8);
  const Block16 r = aes_cmac(s_rmac_, concat(mcv_, head, data));
  return concat(head, data, ByteView(r).first(8));
}
}  // namespace kf::vectors
