// SCP03t, host side: sealing a profile into 84, 85, 86 ... and opening the answers. docs/spec/crypto.md 6.
// i = '70', security level 33, offline mode (card challenge computed) or online mode (card challenge received).
#pragma once

#include "host/es8/establishment.hpp"
#include "host/seal/sealer.hpp"

namespace kf::es8 {

inline constexpr std::size_t kMaxTlv = 1020;   // whole 86 TLV as sent (docs/spec/crypto.md A16)
std::size_t max_segment(std::size_t max_tlv);  // 1020 and 1024 both give 1007
std::vector<ByteView> cut_profile(ByteView profile, std::size_t max_tlv = kMaxTlv);

using Challenge = std::array<std::uint8_t, 8>;
using SequenceCounter = std::array<std::uint8_t, 3>;

struct SessionKeys {
  SecretBytes s_enc, s_mac, s_rmac;
};
Challenge card_challenge(const KeySet& k, const SequenceCounter& c, const Aid& isd_p);      // KDF 02
SessionKeys session_keys(const KeySet& k, const Challenge& hc, const Challenge& cc);        // KDF 04, 06, 07
Challenge card_cryptogram(const SessionKeys& s, const Challenge& hc, const Challenge& cc);  // KDF 00
Challenge host_cryptogram(const SessionKeys& s, const Challenge& hc, const Challenge& cc);  // KDF 01

Bytes initialize_update(std::uint8_t kvn, const Challenge& hc);  // 84 0A KVN 00 HC

struct InitializeUpdateAnswer {
  Challenge cc{};
  Challenge cryptogram{};
  SequenceCounter counter{};
  std::uint8_t kvn = 0;
};
// Checks 03, 70 and the length. Reasons: scp-error (9F44; detail holds the code), bad-format.
Result<InitializeUpdateAnswer> parse_initialize_update_answer(const CardAnswer& a);

// One sealed session: the commands in order and what is needed to check each answer. Move-only, wipes itself.
// mcv[0] belongs to 85, mcv[1 + i] to segment i.
struct SealedScript {
  std::vector<Bytes> tlvs;                        // [84,] 85, 86 ...
  std::vector<std::array<std::uint8_t, 16>> mcv;  // MAC chaining value after 85 and after each 86
  SessionKeys keys;
  Challenge hc{}, cc{};
  bool offline = true;  // tlvs[0] is 84
  [[nodiscard]] std::size_t first_segment() const { return offline ? 2 : 1; }
};
// Offline: 84, 85 and all segments with the computed card challenge (counter 000001 for a new key set).
SealedScript seal_offline(const KeySet& k, const Aid& isd_p, const Challenge& hc, const SequenceCounter& c,
                          ByteView profile, std::size_t max_tlv = kMaxTlv);
// The same with segments that were cut elsewhere (1 to max_segment() bytes each): replays and vector files.
SealedScript seal_segments_offline(const KeySet& k, const Aid& isd_p, const Challenge& hc, const SequenceCounter& c,
                                   std::span<const ByteView> segments);
// Online: 84 was sent alone and answered; seals 85 and the segments. Reasons: bad-cryptogram, bad-challenge (CC does
// not follow from the counter).
Result<SealedScript> seal_online(const KeySet& k, const Aid& isd_p, const Challenge& hc,
                                 const InitializeUpdateAnswer& a, ByteView profile, std::size_t max_tlv = kMaxTlv);

// The same for many downloads in one call, and the product's one way to seal: every function above ends here. Keys are
// derived, segments encrypted and chains of MACs computed side by side (host/seal); each script is what it would be
// alone. An order's references and views live as long as the call.
struct ScriptOrder {
  const KeySet* keys = nullptr;
  Aid isd_p;
  Challenge hc{};
  SequenceCounter counter{};                       // offline
  const InitializeUpdateAnswer* online = nullptr;  // instead: 84 was answered with this
  ByteView profile;
  std::size_t max_tlv = kMaxTlv;
  std::span<const ByteView> segments;  // instead of `profile`: cut elsewhere
};
// A script as it is sent: the commands one behind the other. session.tlvs holds [84,] 85 and an empty string for each
// segment, which is all that checking the answers needs.
struct ScriptRun {
  SealedScript session;
  Bytes octets;
  std::vector<std::uint32_t> ends;  // offset behind each command
  [[nodiscard]] ByteView command(std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends[i - 1];
    return ByteView(octets).subspan(begin, ends[i] - begin);
  }
};
// One result an order, in their order. Reasons: those of seal_online. Memory: the scripts and a few hundred octets an
// order, so the caller bounds a batch by the sizes of its profiles.
std::vector<Result<ScriptRun>> seal_scripts(std::span<const ScriptOrder> orders, seal::ScriptSealer& engine);

// Checks the answers to tlvs[from], tlvs[from+1] ... in order; `answers` may be fewer than commands.
struct OpenedAnswers {
  std::size_t accepted = 0;           // commands answered without error, counted from `from`
  std::size_t segments_accepted = 0;  // 86 commands among them
  Bytes data;                         // plaintext of protected 86 answers, concatenated (the EUICCResponse)
  std::optional<Bytes> error_tlv;     // 9F44, 9F45, 9F46 or another 9Fxx
  // The card challenge in 84 is not the computed one: the card's counter differs. Normally 9F45 follows; either way a
  // new session in online mode is due (docs/spec/crypto.md 6.3).
  std::optional<SequenceCounter> other_counter;
};
// Reasons: bad-cryptogram (card cryptogram in 84), bad-rmac, bad-padding, bad-format. An R-MAC on an empty answer is
// taken when it is right (docs/spec/crypto.md A17). A 9F.. is not an error of this function: it is in error_tlv.
Result<OpenedAnswers> open_answers(const SealedScript& s, std::size_t from, const std::vector<CardAnswer>& answers);
// The same for many downloads in one call.
struct AnswerSet {
  const SealedScript* script = nullptr;
  std::size_t from = 0;
  const std::vector<CardAnswer>* answers = nullptr;
};
std::vector<Result<OpenedAnswers>> open_answers(std::span<const AnswerSet> sets, seal::ScriptSealer& engine);

}  // namespace kf::es8
