// Sealing many downloads at once: derivations, cryptograms, 85, segments; each step over all of them.
// docs/spec/crypto.md 6.1 to 6.5.
#include <algorithm>

#include "host/es8/scp03t.hpp"

namespace kf::es8 {
namespace {
constexpr std::uint8_t kSecurityLevel = 0x33;  // C-MAC, C-DECRYPTION, R-MAC, R-ENCRYPTION

enum Constant : std::uint8_t {
  kCardCryptogram = 0x00,
  kHostCryptogram = 0x01,
  kCardChallenge = 0x02,
  kSessionEnc = 0x04,
  kSessionMac = 0x06,
  kSessionRmac = 0x07
};

// The derivations of one step, for all downloads. Outputs are wiped with it.
class Derivations {
 public:
  Derivations(seal::ScriptSealer& engine, std::size_t about) : engine_(engine) {
    jobs_.reserve(about);
    outputs_.reserve(about);
  }
  ~Derivations() {
    for (seal::MacJob& j : jobs_) wipe(j.mac.data(), j.mac.size());
  }
  Derivations(const Derivations&) = delete;
  Derivations& operator=(const Derivations&) = delete;

  // `key`, `context` and `out` live until run(). docs/spec/crypto.md 6.1: one CMAC for each 16 octets of output.
  void add(ByteView key, Constant constant, ByteView context, std::span<std::uint8_t> out) {
    for (std::size_t at = 0; at < out.size(); at += 16) {
      seal::MacJob& j = jobs_.emplace_back();
      j.key = key;
      j.first[11] = constant;
      j.first[13] = static_cast<std::uint8_t>(out.size() * 8 >> 8);
      j.first[14] = static_cast<std::uint8_t>(out.size() * 8);
      j.first[15] = static_cast<std::uint8_t>(at / 16 + 1);
      j.rest = context;
      outputs_.push_back(out.subspan(at, std::min<std::size_t>(16, out.size() - at)));
    }
  }
  void run() {
    engine_.cmac(jobs_);
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      std::copy_n(jobs_[i].mac.begin(), outputs_[i].size(), outputs_[i].begin());
      wipe(jobs_[i].mac.data(), jobs_[i].mac.size());
    }
    jobs_.clear();
    outputs_.clear();
  }

 private:
  seal::ScriptSealer& engine_;
  std::vector<seal::MacJob> jobs_;
  std::vector<std::span<std::uint8_t>> outputs_;
};

// What is known of one download while its script is made.
struct DraftScript {
  const ScriptOrder* order = nullptr;
  ScriptRun run;
  Bytes challenge_context;
  std::array<std::uint8_t, 16> context{};  // HC || CC
  Challenge challenge{};                   // computed
  Challenge card{}, host{};                // cryptograms
  std::optional<Error> error;
};

std::size_t segment_of(const ScriptOrder& o) { return std::max<std::size_t>(1, max_segment(o.max_tlv)); }

void derive(std::vector<DraftScript>& drafts, seal::ScriptSealer& engine) {
  Derivations d(engine, 6 * drafts.size());
  for (DraftScript& x : drafts) {
    const ScriptOrder& o = *x.order;
    if (o.online != nullptr && o.online->kvn != o.keys->kvn) {
      x.error = Error{ScriptFault::bad_cryptogram, "the card answered for another key version"};
      continue;
    }
    x.challenge_context = concat(o.online != nullptr ? o.online->counter : o.counter, o.isd_p.bytes());
    d.add(o.keys->enc.expose(), kCardChallenge, x.challenge_context, x.challenge);
  }
  d.run();
  for (DraftScript& x : drafts) {
    if (x.error) continue;
    const ScriptOrder& o = *x.order;
    if (o.online != nullptr && !equal_ct(x.challenge, o.online->cc)) {
      x.error = Error{ScriptFault::bad_challenge,
                      "the card challenge does not follow from counter " + to_hex(o.online->counter)};
      continue;
    }
    SealedScript& s = x.run.session;
    s.offline = o.online == nullptr;
    s.hc = o.hc;
    s.cc = x.challenge;
    std::ranges::copy(s.cc, std::ranges::copy(s.hc, x.context.begin()).out);
    const std::size_t n = o.keys->enc.size();  // session keys are as long as the static ones
    s.keys = {SecretBytes(n), SecretBytes(n), SecretBytes(n)};
    d.add(o.keys->enc.expose(), kSessionEnc, x.context, s.keys.s_enc.expose_mut());
    d.add(o.keys->mac.expose(), kSessionMac, x.context, s.keys.s_mac.expose_mut());
    d.add(o.keys->mac.expose(), kSessionRmac, x.context, s.keys.s_rmac.expose_mut());
  }
  d.run();
  for (DraftScript& x : drafts) {
    if (x.error) continue;
    const ByteView s_mac = x.run.session.keys.s_mac.expose();
    d.add(s_mac, kHostCryptogram, x.context, x.host);
    if (x.order->online != nullptr) d.add(s_mac, kCardCryptogram, x.context, x.card);
  }
  d.run();
  for (DraftScript& x : drafts)
    if (!x.error && x.order->online != nullptr && !equal_ct(x.card, x.order->online->cryptogram))
      x.error = Error{ScriptFault::bad_cryptogram, "the card does not know the key set"};
}

// [84,] 85 and the room for the segments.
void begin_scripts(std::vector<DraftScript>& drafts, seal::ScriptSealer& engine) {
  std::vector<seal::MacJob> macs;
  macs.reserve(drafts.size());
  for (DraftScript& x : drafts) {
    if (x.error) continue;
    SealedScript& s = x.run.session;
    if (s.offline) s.tlvs.push_back(initialize_update(x.order->keys->kvn, s.hc));
    Bytes auth;
    auth.reserve(2 + 1 + 8 + seal::kMacSize);
    append(auth, {0x85, 1 + 8 + seal::kMacSize, kSecurityLevel});
    append(auth, x.host);
    s.tlvs.push_back(std::move(auth));
    macs.push_back({s.keys.s_mac.expose(), {}, s.tlvs.back(), {}});
  }
  engine.cmac(macs);
  std::size_t at = 0;
  for (DraftScript& x : drafts) {
    if (x.error) continue;
    SealedScript& s = x.run.session;
    const Block16& mac = macs[at++].mac;
    append(s.tlvs.back(), ByteView(mac).first(seal::kMacSize));
    s.mcv.push_back(mac);
  }
}

void seal_segments(std::vector<DraftScript>& drafts, seal::ScriptSealer& engine) {
  std::vector<seal::SealJob> jobs;
  jobs.reserve(drafts.size());
  for (DraftScript& x : drafts) {
    if (x.error) continue;
    ScriptRun& r = x.run;
    SealedScript& s = r.session;
    seal::SealJob j;
    j.s_enc = s.keys.s_enc.expose();
    j.s_mac = s.keys.s_mac.expose();
    j.chain = s.mcv.front();
    j.plain = x.order->profile;
    j.segment = segment_of(*x.order);
    j.parts = x.order->segments;
    const std::size_t n = j.segments();
    std::size_t head = 0;
    for (const Bytes& t : s.tlvs) head += t.size();
    r.octets.reserve(head + j.sealed());
    r.ends.reserve(s.tlvs.size() + n);
    for (const Bytes& t : s.tlvs) {
      append(r.octets, t);
      r.ends.push_back(static_cast<std::uint32_t>(r.octets.size()));
    }
    r.octets.resize(head + j.sealed());
    std::size_t end = head;
    for (std::size_t i = 0; i < n; ++i) {
      end += seal::sealed_tlv_size(j.part(i).size());
      r.ends.push_back(static_cast<std::uint32_t>(end));
    }
    s.tlvs.resize(s.tlvs.size() + n);
    s.mcv.resize(1 + n);
    j.out = std::span(r.octets).subspan(head);
    j.mcv = std::span(s.mcv).subspan(1);
    jobs.push_back(j);
  }
  engine.seal(jobs);
}
}  // namespace

std::vector<Result<ScriptRun>> seal_scripts(std::span<const ScriptOrder> orders, seal::ScriptSealer& engine) {
  std::vector<DraftScript> drafts(orders.size());
  for (std::size_t i = 0; i < orders.size(); ++i) drafts[i].order = &orders[i];
  derive(drafts, engine);
  begin_scripts(drafts, engine);
  seal_segments(drafts, engine);
  std::vector<Result<ScriptRun>> out;
  out.reserve(drafts.size());
  for (DraftScript& x : drafts) {
    if (x.error)
      out.emplace_back(std::move(*x.error));
    else
      out.emplace_back(std::move(x.run));
  }
  return out;
}

}  // namespace kf::es8
