#include "tests/sim/card/euicc.hpp"

#include <algorithm>
#include <utility>

#include "host/base/random.hpp"
#include "tests/sim/card/establishment_card.hpp"
#include "tests/sim/card/interpreter.hpp"
#include "tests/sim/card/walker.hpp"

namespace kf::sim {
namespace {

using namespace card;

constexpr Sw kWrongLength = 0x6700, kWrongData = 0x6A80, kNoMemory = 0x6A84, kWrongP1P2 = 0x6A86, kNotFound = 0x6A88,
             kConditions = 0x6985, kPol1 = 0x69E1, kStorage = 0x6581, kSignature = 0x6600, kClass = 0x6E00;

constexpr std::uint8_t kAidPrefix[] = {0xA0, 0x00, 0x00, 0x05, 0x59, 0x10, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x89};
constexpr std::size_t kMaxCommandBuffer = 2048;  // blocks of one STORE DATA series

bool same(ByteView a, ByteView b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

enum class WellKnown : std::uint8_t { isd_r = 0x01, ecasd = 0x02, load_file = 0x0D, module = 0x0E };
// A0000005591010FFFFFFFF890000xx00
bool is_well_known(ByteView aid, WellKnown which) {
  return aid.size() == 16 && same(aid.first(12), kAidPrefix) && aid[12] == 0 && aid[13] == 0 &&
         aid[14] == static_cast<std::uint8_t>(which) && aid[15] == 0;
}
// An ISD-P instance AID: the SGP.02 prefix and a number of its own from 0010 on (docs/spec/interfaces.md 2.5).
bool may_be_isdp(ByteView aid) {
  return aid.size() == 16 && same(aid.first(12), kAidPrefix) && (aid[12] != 0 || aid[13] != 0 || aid[14] >= 0x10);
}

bool take_lv(ByteView& in, ByteView& value) {
  if (in.empty() || in.size() - 1 < in[0]) return false;
  value = in.subspan(1, in[0]);
  in = in.subspan(1 + std::size_t{in[0]});
  return true;
}

struct Reply {
  Sw sw = kOk;
  Bytes data;
};

struct Isdp {
  Bytes aid;
  IsdpState state = IsdpState::selectable;
  std::uint32_t reserved = 0;  // bytes taken from the card's memory
  bool has_quota = false;      // memory was requested at creation
  KeySet keys;
  std::string iccid;  // of the last header taken
  std::optional<std::uint8_t> pol;
  bool header_taken = false;
  bool delete_pending = false;  // POL1 bit 3, once disabled: goes with the confirmation of the notification
  Bytes sha256, plaintext;
  std::size_t bytes = 0, elements = 0;
  bool verified = false;
  [[nodiscard]] bool pol_bit(unsigned bit) const { return pol && (*pol >> (bit - 1) & 1U) != 0; }
};

// Between INSTALL [for personalization] and the end of STORE DATA #2.
struct Establishment {
  Bytes isdp_aid;
  std::uint8_t next_block = 0;
  Bytes buffer;
  Bytes pk_dp, rc;  // empty before STORE DATA #1 was accepted
};

// One SCP03t session with the plaintext it brought; both end together (docs/spec/crypto.md 6.6: the card discards).
struct Session {
  Bytes isdp_aid;
  Scp03tCard scp;
  Interpreter walk;
  Sha256 hash;
  Bytes plaintext;
  unsigned attempts = 0;  // 86 commands seen
};

enum class Chain { none, drop_on_reset, keep_on_reset };

}  // namespace

struct Euicc::Impl {
  EuiccIdentity id;
  EuiccFaults faults;
  Random random;
  std::vector<std::unique_ptr<Isdp>> isdps;  // in order of creation
  std::uint32_t free = 0;
  bool keep = false, counter_skipped = false, reset = false;
  Chain chain = Chain::none;
  std::optional<Establishment> establishment;
  std::unique_ptr<Session> session;
  std::optional<Bytes> notification;
  std::uint16_t sequence = 0;
  bool confirmation_due = false;

  ~Impl() { wipe(id.sk_ecasd); }

  Isdp* find(ByteView aid) {
    const auto it = std::find_if(isdps.begin(), isdps.end(), [&](const auto& p) { return same(p->aid, aid); });
    return it == isdps.end() ? nullptr : it->get();
  }
  Isdp* enabled() {
    const auto it =
        std::find_if(isdps.begin(), isdps.end(), [](const auto& p) { return p->state == IsdpState::enabled; });
    return it == isdps.end() ? nullptr : it->get();
  }
  void drop_context() {
    establishment.reset();
    session.reset();
  }
  void remove(const Isdp* gone) {
    if (establishment && same(establishment->isdp_aid, gone->aid)) establishment.reset();
    if (session && same(session->isdp_aid, gone->aid)) session.reset();
    free += gone->reserved;
    std::erase_if(isdps, [&](const auto& p) { return p.get() == gone; });
  }

  ScriptResult process(ByteView body, ByteView aid);
  bool scp03t(const TlvItem& t, Isdp& isdp, Bytes& out);
  Bytes segment(ByteView value, Isdp& isdp, bool& failed);
  Reply command(ByteView apdu);
  Reply install(std::uint8_t p1, std::uint8_t p2, ByteView data);
  Reply install_for_personalization(ByteView data);
  Reply store_data(std::uint8_t p1, std::uint8_t p2, ByteView data);
  Reply key_block(std::uint8_t p1, ByteView data);
  Reply establish_keys(const Establishment& e);
  Reply platform(ByteView data);
  Reply enable(Isdp& target);
  Reply disable(Isdp& target);
  Reply confirm(ByteView data);
  Reply remove_command(std::uint8_t p1, std::uint8_t p2, ByteView data);
  void notify(std::uint8_t type, ByteView isdp_aid);
};

// --- Scripts (docs/spec/interfaces.md 5.6, 5.7) ----------------------------------------------------------------------

namespace {

// The TLVs inside AE 80 ... 00 00 or AA L ...
bool unwrap_script(ByteView body, ByteView& list) {
  if (body.size() >= 4 && body[0] == 0xAE && body[1] == 0x80) {
    if (body[body.size() - 2] != 0 || body[body.size() - 1] != 0) return false;
    list = body.subspan(2, body.size() - 4);
    return true;
  }
  return single_tlv(body, 0xAA, list);
}

// Bad format TLV: 01 unknown tag, 02 wrong length, 03 length not found (ETSI TS 102 226 coding, from memory).
void put_bad_format(Bytes& out, TlvError e) {
  const std::uint8_t code = e == TlvError::unknown_tag ? 1 : e == TlvError::no_length ? 3 : 2;
  append(out, {0x90, 0x01, code});
}

void put_scp_error(Bytes& out, std::uint32_t command_tag, ScpError e) {
  const std::uint8_t second = command_tag == 0x84 ? 0x44 : command_tag == 0x85 ? 0x45 : 0x46;
  append(out, {0x9F, second, 0x01, static_cast<std::uint8_t>(e)});
}

}  // namespace

ScriptResult Euicc::Impl::process(ByteView body, ByteView aid) {
  Bytes out{0xAF, 0x80};
  const auto finish = [&out](const char* status) {
    append(out, {0x00, 0x00});
    return ScriptResult{std::move(out), status};
  };
  const bool to_isd_r = aid.empty() || is_well_known(aid, WellKnown::isd_r);
  Isdp* isdp = to_isd_r ? nullptr : find(aid);
  if (!to_isd_r && isdp == nullptr && !is_well_known(aid, WellKnown::ecasd)) return finish("unknown-application");

  ByteView list;
  if (!unwrap_script(body, list)) {
    drop_context();
    chain = Chain::none;
    put_bad_format(out, TlvError::wrong_length);
    return finish("script-format-error");
  }
  reset = false;
  bool keep_context = false;
  TlvWalker w(list);
  TlvItem t;
  bool first = true;
  bool stopped = false;
  while (!stopped && w.next(t)) {
    if (first) {
      const bool chained = t.tag == 0x83 && t.value.size() == 1;
      const std::uint8_t kind = chained ? t.value[0] : 0;
      if (kind != 0x02 && kind != 0x03) drop_context();  // a script of its own, or the first of a chain
      keep_context = kind == 0x01 || kind == 0x11 || kind == 0x02;
      if (kind == 0x01 || kind == 0x11) chain = kind == 0x01 ? Chain::drop_on_reset : Chain::keep_on_reset;
      if (kind == 0x02 && chain == Chain::none) chain = Chain::drop_on_reset;
      first = false;
      if (kind == 0x01 || kind == 0x11 || kind == 0x02 || kind == 0x03) continue;
    }
    if (t.tag == 0x81 || t.tag == 0x82) continue;
    if (isdp != nullptr) {
      stopped = !scp03t(t, *isdp, out);
    } else if (t.tag == 0x22) {
      const Reply r = to_isd_r ? command(t.value) : Reply{kConditions, {}};
      put_tlv(out, 0x23,
              concat(r.data, std::array<std::uint8_t, 2>{static_cast<std::uint8_t>(r.sw >> 8),
                                                         static_cast<std::uint8_t>(r.sw & 0xFF)}));
      stopped = r.sw != kOk;
      if (stopped) establishment.reset();
    } else {
      put_bad_format(out, t.tag == 0x83 ? TlvError::wrong_length : TlvError::unknown_tag);
      drop_context();
      stopped = true;
    }
  }
  if (first && list.empty()) drop_context();
  if (!stopped && w.error() != TlvError::none) {
    const std::uint8_t tag = w.rest()[0];
    if (isdp != nullptr) {
      put_scp_error(out, tag, ScpError::structure);
    } else {
      put_bad_format(out, w.error());
    }
    drop_context();
  }
  if (!keep_context || (reset && chain == Chain::drop_on_reset)) {
    drop_context();
    chain = Chain::none;
  }
  return finish("ok");
}

// --- SCP03t, to an ISD-P (docs/spec/crypto.md 6) ---------------------------------------------------------------------

// Appends the answer; false stops the script.
bool Euicc::Impl::scp03t(const TlvItem& item, Isdp& isdp, Bytes& out) {
  TlvItem t = item;
  const bool wrapped = item.tag == 0x22;  // the option for SM-SRs that carry C-APDUs only (docs/spec/interfaces.md 2.4)
  if (wrapped) {
    TlvWalker w(item.value);
    const bool one = w.next(t) && w.finished();
    if (!one || (t.tag != 0x84 && t.tag != 0x85 && t.tag != 0x86)) {  // a C-APDU in clear: no security domain takes it
      put_tlv(out, 0x23, std::array<std::uint8_t, 2>{kConditions >> 8, kConditions & 0xFF});
      session.reset();
      return false;
    }
  }
  std::optional<ScpError> error;
  Bytes answer;
  bool failed = false;
  if (t.tag == 0x84) {
    session.reset();
    unsigned step = 1;
    if (faults.wrong_counter && !counter_skipped) step = 2;
    auto s = Scp03tCard::initialize(isdp.keys, isdp.aid, t.value, {}, step);
    if (const auto* e = std::get_if<ScpError>(&s)) {
      error = *e;
    } else {
      counter_skipped = counter_skipped || step == 2;
      const std::uint32_t quota = isdp.has_quota ? isdp.reserved : free;
      session = std::make_unique<Session>(
          Session{isdp.aid, std::move(std::get<Scp03tCard>(s)), Interpreter(quota), Sha256(), {}, 0});
      answer = to_bytes(session->scp.answer84());
    }
  } else if (t.tag == 0x85) {
    const bool mine = session && same(session->isdp_aid, isdp.aid);
    error = t.value.size() != 17 ? std::optional(ScpError::structure)
            : mine               ? session->scp.authenticate(t.value)
                                 : std::optional(ScpError::security);
    answer = {0x85, 0x00};
  } else if (t.tag == 0x86) {
    answer = segment(t.value, isdp, failed);
  } else {
    error = ScpError::structure;
  }
  if (error) {
    answer.clear();
    put_scp_error(answer, t.tag, *error);
    failed = true;
  }
  if (failed) session.reset();
  if (wrapped) {
    put_tlv(out, 0x23, answer);
  } else {
    append(out, answer);
  }
  return !failed;
}

Bytes Euicc::Impl::segment(ByteView value, Isdp& isdp, bool& failed) {
  const auto refuse = [&failed](ScpError e) {
    failed = true;
    Bytes out;
    put_scp_error(out, 0x86, e);
    return out;
  };
  // Structure first (docs/spec/crypto.md 6.5), then state, then the session's own checks.
  if (value.size() < 24 || value.size() % 16 != 8) return refuse(ScpError::structure);
  if (!session || !same(session->isdp_aid, isdp.aid) || isdp.state != IsdpState::personalized)
    return refuse(ScpError::security);
  Session& s = *session;
  if (faults.scp_error_at_segment && s.attempts == *faults.scp_error_at_segment) return refuse(ScpError::security);
  ++s.attempts;
  auto opened = s.scp.open(value);
  if (const auto* e = std::get_if<ScpError>(&opened)) return refuse(*e);
  Bytes& plain = std::get<Bytes>(opened);

  const bool had_header = s.walk.header().has_value();
  const auto outcome = s.walk.feed(plain, [this](unsigned index) -> std::optional<Interpreter::Injected> {
    if (!faults.pe_error_at || *faults.pe_error_at != index) return std::nullopt;
    return Interpreter::Injected{faults.pe_error_status, faults.pe_error_aborts};
  });
  s.hash.update(plain);
  if (keep) append(s.plaintext, plain);
  wipe(plain);
  if (!had_header && s.walk.header()) {
    isdp.header_taken = true;
    isdp.iccid = s.walk.header()->iccid;
    isdp.pol = s.walk.header()->pol;
  }
  if (outcome == Interpreter::Outcome::more) return s.scp.answer({}, id.r_mac_on_empty, faults.wrong_r_mac);

  Bytes answer = s.scp.answer(s.walk.euicc_response(), id.r_mac_on_empty, faults.wrong_r_mac);
  if (outcome == Interpreter::Outcome::aborted) {
    failed = true;  // the rest of the script would go to a package that is no longer being installed
    return answer;
  }
  isdp.state = IsdpState::disabled;
  isdp.sha256 = s.hash.finish();
  isdp.bytes = static_cast<std::size_t>(s.walk.bytes());
  isdp.elements = s.walk.elements();
  isdp.plaintext = std::move(s.plaintext);
  isdp.verified = true;
  if (!isdp.has_quota) {
    isdp.reserved = static_cast<std::uint32_t>(isdp.bytes);  // the quota was what is free: it fits
    free -= isdp.reserved;
  }
  return answer;
}

// --- C-APDUs, to the ISD-R (docs/spec/interfaces.md 3; docs/spec/crypto.md 4, 9) -------------------------------------

Reply Euicc::Impl::command(ByteView a) {
  if (a.size() < 5) return {kWrongLength, {}};
  const std::size_t lc = a[4];
  if (a.size() != 5 + lc && a.size() != 6 + lc) return {kWrongLength, {}};  // with or without Le
  if (a[0] != 0x80) return {kClass, {}};
  const ByteView data = a.subspan(5, lc);
  switch (a[1]) {
    case 0xE6:
      return install(a[2], a[3], data);
    case 0xE2:
      return store_data(a[2], a[3], data);
    case 0xE4:
      return remove_command(a[2], a[3], data);
    default:
      return {kWrongP1P2, {}};
  }
}

Reply Euicc::Impl::install(std::uint8_t p1, std::uint8_t p2, ByteView data) {
  if (p1 == 0x20 && p2 == 0x00) return install_for_personalization(data);
  if (p1 != 0x0C || p2 != 0x00) return {kWrongP1P2, {}};
  ByteView load_file, module, aid, privileges, params, token;
  if (!take_lv(data, load_file) || !take_lv(data, module) || !take_lv(data, aid) || !take_lv(data, privileges) ||
      !take_lv(data, params) || !take_lv(data, token) || !data.empty() || !token.empty())
    return {kWrongData, {}};
  static constexpr std::uint8_t security_domain[] = {0x80, 0xC0, 0x00};
  static constexpr std::uint8_t scp03_i70[] = {0x81, 0x02, 0x03, 0x70};
  if (!same(privileges, security_domain)) return {kWrongData, {}};
  TlvWalker w(params);
  TlvItem t;
  if (!w.next(t) || t.tag != 0xC9 || !same(t.value, scp03_i70)) return {kWrongData, {}};
  std::optional<std::uint32_t> memory;
  if (w.next(t)) {
    ByteView value;
    if (t.tag != 0xEF || !single_tlv(t.value, 0x83, value) || value.empty() || value.size() > 4)
      return {kWrongData, {}};
    std::uint32_t v = 0;
    for (const std::uint8_t b : value) v = v << 8 | b;
    memory = v;
  }
  if (!w.finished()) return {kWrongData, {}};
  if (!is_well_known(load_file, WellKnown::load_file) || !is_well_known(module, WellKnown::module))
    return {kNotFound, {}};
  if (faults.refuse_install || !may_be_isdp(aid) || find(aid) != nullptr) return {kWrongData, {}};
  if (faults.memory_full || memory.value_or(0) > free) return {kNoMemory, {}};
  auto isdp = std::make_unique<Isdp>();
  isdp->aid = to_bytes(aid);
  isdp->has_quota = memory.has_value();
  isdp->reserved = memory.value_or(0);
  free -= isdp->reserved;
  isdps.push_back(std::move(isdp));
  return {kOk, {0x00}};
}

Reply Euicc::Impl::install_for_personalization(ByteView data) {
  establishment.reset();
  ByteView empty1, empty2, aid;
  if (!take_lv(data, empty1) || !take_lv(data, empty2) || !take_lv(data, aid) || !empty1.empty() || !empty2.empty() ||
      aid.size() < 5 || aid.size() > 16 || data.size() != 3 || data[0] != 0 || data[1] != 0 || data[2] != 0)
    return {kWrongData, {}};
  const Isdp* isdp = find(aid);
  if (isdp == nullptr) return {kNotFound, {}};
  if (isdp->state != IsdpState::selectable && isdp->state != IsdpState::personalized) return {kConditions, {}};
  establishment.emplace();
  establishment->isdp_aid = to_bytes(aid);
  return {kOk, {0x00}};
}

Reply Euicc::Impl::store_data(std::uint8_t p1, std::uint8_t p2, ByteView data) {
  if (p1 == 0x88) return p2 == 0 ? platform(data) : Reply{kWrongP1P2, {}};
  if (p1 != 0x09 && p1 != 0x89) return {kWrongP1P2, {}};
  if (p1 == 0x89 && p2 == 0 && data.size() >= 2 && data[0] == 0x3A && data[1] == 0x08) return confirm(data);
  if (!establishment) return {kConditions, {}};
  if (p2 != establishment->next_block) return {kWrongP1P2, {}};
  ++establishment->next_block;
  if (establishment->buffer.size() + data.size() > kMaxCommandBuffer) return {kWrongData, {}};
  append(establishment->buffer, data);
  return key_block(p1, data);
}

// One block of STORE DATA #1 (certificate, ended by its DGI length) or #2 (keys, ended by P1 = 89).
Reply Euicc::Impl::key_block(std::uint8_t p1, ByteView data) {
  Establishment& e = *establishment;
  if (!e.rc.empty()) {
    if (p1 == 0x09) return {};
    const Establishment last = std::move(e);  // RC is single use, whatever the result
    establishment.reset();
    return establish_keys(last);
  }
  if (p1 != 0x09) return {kWrongP1P2, {}};
  if (e.buffer.size() >= 2 && (e.buffer[0] != 0x3A || e.buffer[1] != 0x01)) return {kWrongData, {}};
  ByteView in = e.buffer;
  DgiItem cert;
  switch (read_dgi(in, cert)) {
    case DgiRead::bad:
      return {kWrongData, {}};
    case DgiRead::incomplete:
      return {data.size() == 255 ? kOk : kWrongData, {}};  // only full blocks go on: docs/spec/crypto.md A2
    case DgiRead::ok:
      break;
  }
  if (!in.empty()) return {kWrongData, {}};
  if (const Sw sw = check_dp_certificate(cert.value, id, e.pk_dp); sw != kOk) return {sw, {}};
  e.buffer.clear();
  e.rc.resize(id.rc_length == 32 ? 32 : 16);
  random(e.rc);
  Reply r;
  put_tlv(r.data, 0x85, e.rc);
  return r;
}

Reply Euicc::Impl::establish_keys(const Establishment& e) {
  KeyCommand c;
  if (const Sw sw = split_key_command(e.buffer, c); sw != kOk) return {sw, {}};
  if (!key_signature_ok(c, id.curve, e.pk_dp, e.rc)) return {kSignature, {}};
  Crt crt;
  if (const Sw sw = parse_crt(c.crt, id, crt); sw != kOk) return {sw, {}};
  ByteView point;
  if (const Sw sw = ephemeral_point(c.key, id.curve, point); sw != kOk) return {sw, {}};
  Isdp* isdp = find(e.isdp_aid);
  if (isdp == nullptr) return {kNotFound, {}};
  if (!isdp->keys.enc.empty() && !crt.delete_existing()) return {kConditions, {}};
  const auto z = ecka(id.curve, id.sk_ecasd, point);
  if (!z) return {kWrongData, {}};
  Bytes dr;
  if (crt.with_dr()) {
    dr.resize(16);
    random(dr);
  }
  Derived d = derive(crt, z->expose(), shared_info(crt, id, dr));
  Block receipt = make_receipt(d.receipt_key.expose(), crt, dr);
  if (faults.wrong_receipt) receipt[15] ^= 0x01;
  session.reset();  // a session of the old key set does not outlive it
  isdp->keys = std::move(d.keys);
  isdp->state = IsdpState::personalized;
  Reply r;
  if (crt.with_dr() && !faults.omit_dr) put_tlv(r.data, 0x85, dr);
  put_tlv(r.data, 0x86, receipt);
  return r;
}

// 3A03 enable, 3A04 disable: one DGI holding 4F <AID>.
Reply Euicc::Impl::platform(ByteView data) {
  DgiItem d;
  ByteView aid;
  if (read_dgi(data, d) != DgiRead::ok || !data.empty() || (d.id != 0x3A03 && d.id != 0x3A04) ||
      !single_tlv(d.value, 0x4F, aid) || aid.size() < 5 || aid.size() > 16)
    return {kWrongData, {}};
  Isdp* target = find(aid);
  if (target == nullptr) return {kNotFound, {}};
  return d.id == 0x3A03 ? enable(*target) : disable(*target);
}

Reply Euicc::Impl::enable(Isdp& target) {
  if (target.state != IsdpState::disabled) return {kConditions, {}};
  Isdp* previous = enabled();
  if (previous != nullptr && previous->pol_bit(1)) return {kPol1, {}};
  reset = true;
  if (faults.enable_rolls_back) {  // tried, could not attach, back again: nothing has changed when the notification
                                   // goes out
    notify(0x03, previous != nullptr ? previous->aid : target.aid);
    return {};
  }
  if (previous != nullptr) {
    previous->state = IsdpState::disabled;
    previous->delete_pending = previous->pol_bit(3);
  }
  target.state = IsdpState::enabled;
  target.delete_pending = false;
  notify(0x02, target.aid);
  return {};
}

Reply Euicc::Impl::disable(Isdp& target) {
  if (target.state != IsdpState::enabled) return {kConditions, {}};
  if (target.pol_bit(1)) return {kPol1, {}};
  reset = true;
  target.state = IsdpState::disabled;
  target.delete_pending = target.pol_bit(3);
  notify(0x02, target.aid);
  return {};
}

void Euicc::Impl::notify(std::uint8_t type, ByteView isdp_aid) {
  ++sequence;
  confirmation_due = true;
  Bytes inner;
  const auto eid = from_hex(id.eid);
  put_tlv(inner, 0x4C, eid.ok() ? ByteView(*eid) : ByteView());
  put_tlv(inner, 0x4D, std::array<std::uint8_t, 1>{type});
  put_tlv(inner, 0x4E,
          std::array<std::uint8_t, 2>{static_cast<std::uint8_t>(sequence >> 8),
                                      static_cast<std::uint8_t>(sequence & 0xFF)});
  put_tlv(inner, 0x2F, isdp_aid);
  Bytes out;
  put_tlv(out, 0xE1, inner);
  notification = std::move(out);
}

// 3A08: the SM-SR has taken the notification; what POL1 bit 3 condemned goes now and is listed.
Reply Euicc::Impl::confirm(ByteView data) {
  DgiItem d;
  ByteView seq;
  if (read_dgi(data, d) != DgiRead::ok || !data.empty() || d.id != 0x3A08 || !single_tlv(d.value, 0x4E, seq) ||
      seq.size() != 2)
    return {kWrongData, {}};
  if (!confirmation_due || seq[0] * 256U + seq[1] != sequence) return {kNotFound, {}};
  confirmation_due = false;
  Bytes list;
  std::vector<const Isdp*> gone;
  for (const auto& p : isdps) {
    if (!p->delete_pending || p->state == IsdpState::enabled) continue;
    put_tlv(list, 0x4F, p->aid);
    gone.push_back(p.get());
  }
  for (const Isdp* p : gone) remove(p);
  Reply r;
  put_tlv(r.data, 0x80, list);
  return r;
}

Reply Euicc::Impl::remove_command(std::uint8_t p1, std::uint8_t p2, ByteView data) {
  if (p1 != 0x00 || p2 != 0x40) return {kWrongP1P2, {}};
  ByteView aid;
  if (!single_tlv(data, 0x4F, aid) || aid.size() < 5 || aid.size() > 16) return {kWrongData, {}};
  const Isdp* isdp = find(aid);
  if (isdp == nullptr) return {kNotFound, {}};
  if (faults.delete_fails) return {kStorage, {}};
  if (isdp->state == IsdpState::enabled) return {kConditions, {}};
  if (isdp->header_taken && (faults.pol1_forbids_delete || isdp->pol_bit(2))) return {kPol1, {}};
  remove(isdp);
  return {kOk, {0x00}};
}

// --- The card
// ---------------------------------------------------------------------------------------------------------

Euicc::Euicc(EuiccIdentity identity, EuiccFaults faults, Random random) : impl_(std::make_unique<Impl>()) {
  impl_->id = std::move(identity);
  impl_->faults = faults;
  impl_->random = random ? std::move(random) : Random(random_fill);
  impl_->free = impl_->id.memory;
}
Euicc::~Euicc() = default;
Euicc::Euicc(Euicc&&) noexcept = default;

ScriptResult Euicc::process_script(ByteView body, ByteView target_aid) { return impl_->process(body, target_aid); }
const EuiccIdentity& Euicc::identity() const { return impl_->id; }
EuiccFaults& Euicc::faults() { return impl_->faults; }
std::uint32_t Euicc::free_memory() const { return impl_->free; }
std::optional<Bytes> Euicc::take_notification() { return std::exchange(impl_->notification, std::nullopt); }
void Euicc::keep_plaintext(bool on) { impl_->keep = on; }

std::vector<InstalledProfile> Euicc::profiles() const {
  std::vector<InstalledProfile> out;
  for (const auto& p : impl_->isdps)
    out.push_back({to_hex(p->aid), p->state, p->iccid, p->sha256, p->bytes, p->elements, p->verified});
  return out;
}

Bytes Euicc::plaintext(const std::string& isdp_aid) const {
  const auto aid = from_hex(isdp_aid);
  const Isdp* p = aid.ok() ? impl_->find(*aid) : nullptr;
  return p != nullptr ? p->plaintext : Bytes();
}

}  // namespace kf::sim
