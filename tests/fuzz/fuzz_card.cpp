// Any bytes as remote-command scripts, as a certificate, a CRT or a profile package: the simulated eUICC never crashes
// and keeps its books. First byte: what the rest is. For scripts the rest is a sequence of (control byte, two bytes
// length, that many bytes): control bits 0-1 the target, bit 2 "put AE 80 ... 00 00 around it", bit 3 "as one C-APDU in
// 22".
#include <cstdint>
#include <cstdlib>

#include "tests/sim/card/establishment_card.hpp"
#include "tests/sim/card/euicc.hpp"
#include "tests/sim/card/interpreter.hpp"
#include "tests/sim/card/walker.hpp"

namespace {
using namespace kf::sim;

void demand(bool promise) {
  if (!promise) std::abort();
}

const kf::Bytes& isdp_aid() {
  static const kf::Bytes a = kf::hex("A0000005591010FFFFFFFF8900001300");
  return a;
}

EuiccIdentity identity(CardCurve curve) {
  EuiccIdentity id;
  id.eid = "89001012012341234098765432100191";
  id.curve = curve;
  id.sk_ecasd = kf::Bytes(32, 0x11);
  // The base point of P-256: some point that is on the curve.
  id.pk_ci = kf::hex(
      "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C2964FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B"
      "315ECECBB6406837BF51F5");
  id.ci_ski = kf::Bytes(20, 0x22);
  id.sin = kf::hex("0102");
  id.sdin = kf::hex("0304");
  return id;
}

void check_card(const Euicc& c) {
  unsigned enabled = 0;
  for (const InstalledProfile& p : c.profiles()) {
    demand(!p.verified && p.sha256.empty());  // nobody has the keys
    enabled += p.state == IsdpState::enabled ? 1 : 0;
  }
  demand(enabled == 0);
  demand(c.free_memory() <= c.identity().memory);
}

void scripts(kf::ByteView in) {
  Euicc c(identity(CardCurve::p256));
  // An ISD-P to aim at, and an open chain with INSTALL [for personalization].
  c.process_script(
      kf::hex(
          "AE8083011122"
          "4D80E60C004710A0000005591010FFFFFFFF8900000D0010A0000005591010FFFFFFFF8900000E0010A0000005591010FFFFFFFF89"
          "000013000380C0000EC90481020370EF0683040001000000"
          "221C80E6200016000010A0000005591010FFFFFFFF8900001300000000000000"),
      {});
  demand(c.profiles().size() == 1);
  while (in.size() >= 3) {
    const std::uint8_t control = in[0];
    const std::size_t n = std::min<std::size_t>(in[1] * std::size_t{256} + in[2], in.size() - 3);
    kf::Bytes body = kf::to_bytes(in.subspan(3, n));
    in = in.subspan(3 + n);
    if ((control & 0x08) != 0) {
      kf::Bytes wrapped;
      card::put_tlv(wrapped, 0x22, kf::ByteView(body).first(std::min<std::size_t>(body.size(), 261)));
      body = std::move(wrapped);
    }
    if ((control & 0x04) != 0) body = kf::concat(kf::hex("AE80830102"), body, kf::hex("0000"));
    kf::Bytes target;
    if ((control & 0x03) == 1) target = isdp_aid();
    if ((control & 0x03) == 2) target = kf::hex("A0000005591010FFFFFFFF8900000200");
    if ((control & 0x03) == 3) target = kf::hex("A000000559");
    const ScriptResult r = c.process_script(body, target);
    demand(r.body.size() >= 4 && r.body[0] == 0xAF && r.body[1] == 0x80 && r.body[r.body.size() - 1] == 0 &&
           r.body[r.body.size() - 2] == 0);
    demand(!r.script_status.empty());
    check_card(c);
    c.take_notification();
  }
}

// The same package in other pieces gives the same answer.
void package(kf::ByteView in) {
  using card::Interpreter;
  const auto feed = [&](std::size_t step, kf::Bytes& answer) {
    Interpreter w(1U << 20);
    auto o = Interpreter::Outcome::more;
    std::size_t at = 0;
    for (; at < in.size() && o == Interpreter::Outcome::more; at += step)
      o = w.feed(in.subspan(at, std::min(step, in.size() - at)), {});
    if (o != Interpreter::Outcome::more) answer = w.euicc_response();
    // What ended before the last piece has something behind it, and only the whole can see that.
    return std::pair(o, o == Interpreter::Outcome::done && at < in.size());
  };
  kf::Bytes whole, pieces;
  const auto a = feed(in.size() + 1, whole);
  const auto b = feed(3, pieces);
  if (b.second) {
    demand(a.first == Interpreter::Outcome::aborted);
  } else if (b.first != Interpreter::Outcome::done || a.first == Interpreter::Outcome::done) {
    demand(a.first == b.first && whole == pieces);
  } else {
    demand(false);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const kf::ByteView in = kf::ByteView(data, size).subspan(1);
  const EuiccIdentity id = identity((data[0] & 0x80) != 0 ? CardCurve::brainpool_p256r1 : CardCurve::p256);
  switch (data[0] & 0x03) {
    case 0:
      scripts(in);
      break;
    case 1: {
      kf::Bytes pk;
      demand(card::check_dp_certificate(in, id, pk) != card::kOk || pk.size() == 65);
      break;
    }
    case 2: {
      card::Crt crt;
      if (card::parse_crt(in, id, crt) == card::kOk) {
        const auto d = card::derive(crt, kf::Bytes(32, 0x33), card::shared_info(crt, id, kf::Bytes(16)));
        demand(d.keys.enc.size() == crt.key_length && d.receipt_key.size() == crt.key_length);
      }
      card::KeyCommand k;
      if (card::split_key_command(in, k) == card::kOk) demand(k.signature.size() == 64);
      kf::ByteView point;
      demand(card::ephemeral_point(in, id.curve, point) != card::kOk || point.size() == 65);
      break;
    }
    default:
      package(in);
      break;
  }
  return 0;
}
