// The card's answers to a sealed session: cryptogram, R-MAC, R-ENCRYPTION, error tags. docs/spec/crypto.md 6.2 to 6.6.
#include <algorithm>

#include "host/crypto/symmetric.hpp"
#include "host/es8/scp03t.hpp"

namespace kf::es8 {
namespace {
bool is_error(const CardAnswer& a) { return a.tag >> 8 == 0x9F; }

Error format_error(const CardAnswer& a, const char* expected) {
  return {ScriptFault::bad_format, std::string(expected) + ", got " +
                                       to_hex(ByteView(a.whole).first(std::min<std::size_t>(16, a.whole.size())))};
}

// What can be said of an answer 86 without keys. Empty value: accepted, no data, no R-MAC.
Status check_segment_answer(const CardAnswer& a) {
  if (a.tag != 0x86) return format_error(a, "86");
  if (a.value.empty()) return {};
  if (a.value.size() > 0xFFFF || a.value.size() < seal::kMacSize || (a.value.size() - seal::kMacSize) % 16 != 0)
    return format_error(a, "86 with whole blocks and an R-MAC");
  return {};
}

// One set while it is opened: judged without keys first, then with what the engine says about its protected answers.
struct DraftAnswers {
  const AnswerSet* set = nullptr;
  std::size_t clean = 0;      // answers in front of the first one that ends the set
  Status end;                 // its fault; none: an error tag, or all were taken
  std::size_t first_job = 0;  // of the protected answers among them
  Bytes plain;
  OpenedAnswers out;
};

// Everything but R-MACs and ciphertext. An error tag is never protected; the session is over whatever follows.
void judge(DraftAnswers& d) {
  const SealedScript& s = *d.set->script;
  const auto& answers = *d.set->answers;
  // An error tag may stand behind the last answer.
  const auto clean = static_cast<std::size_t>(std::ranges::find_if(answers, is_error) - answers.begin());
  if (d.set->from > s.tlvs.size() || clean > s.tlvs.size() - d.set->from) {
    d.end = Error{ScriptFault::bad_format, "more answers than commands"};
    return;
  }
  const auto step = [&](const CardAnswer& a, std::size_t command) -> Status {
    if (d.out.other_counter) return Error{ScriptFault::bad_cryptogram, "85 accepted under another card challenge"};
    if (command + 1 == s.first_segment()) {
      if (a.tag != 0x85 || !a.value.empty()) return format_error(a, "85 00");
    } else if (command < s.first_segment()) {
      KF_TRY(const InitializeUpdateAnswer r, parse_initialize_update_answer(a));
      if (r.kvn != s.tlvs[0][2]) return Error{ScriptFault::bad_format, "the card answered for another key version"};
      if (r.cc != s.cc)
        d.out.other_counter = r.counter;
      else if (!equal_ct(card_cryptogram(s.keys, s.hc, s.cc), r.cryptogram))
        return Error{ScriptFault::bad_cryptogram, "the card does not know the key set"};
    } else {
      return check_segment_answer(a);
    }
    return {};
  };
  for (const CardAnswer& a : answers) {
    if (is_error(a)) {
      d.out.error_tlv = a.whole;
      return;
    }
    if (d.end = step(a, d.set->from + d.clean); !d.end) return;
    ++d.clean;
  }
}

// The protected ones among the clean answers. `plain` of the draft gets room for all of their data.
void collect(DraftAnswers& d, std::vector<seal::OpenJob>& jobs) {
  const SealedScript& s = *d.set->script;
  d.first_job = jobs.size();
  const auto protected_ones = [&](auto&& take) {
    for (std::size_t i = 0; i < d.clean; ++i) {
      const CardAnswer& a = (*d.set->answers)[i];
      const std::size_t command = d.set->from + i;
      if (command >= s.first_segment() && !a.value.empty()) take(a, command - s.first_segment());
    }
  };
  std::size_t room = 0;
  protected_ones([&](const CardAnswer& a, std::size_t) { room += a.value.size() - seal::kMacSize; });
  d.plain.resize(room);
  std::size_t at = 0;
  protected_ones([&](const CardAnswer& a, std::size_t segment) {
    seal::OpenJob& j = jobs.emplace_back();
    j.s_enc = s.keys.s_enc.expose();
    j.s_rmac = s.keys.s_rmac.expose();
    j.mcv = s.mcv[segment + 1];
    j.counter = segment + 1;
    j.value = a.value;
    j.plain = std::span(d.plain).subspan(at, a.value.size() - seal::kMacSize);
    at += j.plain.size();
  });
}

Result<OpenedAnswers> finish(DraftAnswers& d, std::span<const seal::OpenJob> jobs) {
  const SealedScript& s = *d.set->script;
  std::size_t job = d.first_job;
  for (std::size_t i = 0; i < d.clean; ++i) {
    const std::size_t command = d.set->from + i;
    if (command >= s.first_segment()) {
      if (!(*d.set->answers)[i].value.empty()) {
        const seal::OpenJob& j = jobs[job++];
        const std::string which = "answer to segment " + std::to_string(j.counter);
        if (j.status == seal::OpenStatus::bad_rmac) return Error{ScriptFault::bad_rmac, which};
        if (j.status == seal::OpenStatus::bad_padding) return Error{ScriptFault::bad_padding, which};
        append(d.out.data, j.plain.first(j.size));
      }
      ++d.out.segments_accepted;
    }
    ++d.out.accepted;
  }
  if (!d.end) return d.end.error();
  return std::move(d.out);
}
}  // namespace

Result<InitializeUpdateAnswer> parse_initialize_update_answer(const CardAnswer& a) {
  if (is_error(a)) return Error{ScriptFault::scp_error, to_hex(a.whole)};
  if (a.tag != 0x84 || a.value.size() != 32) return format_error(a, "84 20");
  const auto at = a.value.begin();
  InitializeUpdateAnswer r;
  r.kvn = at[10];  // behind ten bytes of diversification data
  if (at[11] != 0x03 || at[12] != 0x70) return Error{ScriptFault::bad_format, "not SCP03 with i = 70"};
  std::copy_n(at + 13, 8, r.cc.begin());
  std::copy_n(at + 21, 8, r.cryptogram.begin());
  std::copy_n(at + 29, 3, r.counter.begin());
  return r;
}

std::vector<Result<OpenedAnswers>> open_answers(std::span<const AnswerSet> sets, seal::ScriptSealer& engine) {
  std::vector<DraftAnswers> drafts(sets.size());
  std::vector<seal::OpenJob> jobs;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    drafts[i].set = &sets[i];
    judge(drafts[i]);
    collect(drafts[i], jobs);
  }
  engine.open(jobs);
  std::vector<Result<OpenedAnswers>> out;
  out.reserve(sets.size());
  for (DraftAnswers& d : drafts) out.push_back(finish(d, jobs));
  return out;
}

Result<OpenedAnswers> open_answers(const SealedScript& s, std::size_t from, const std::vector<CardAnswer>& answers) {
  const AnswerSet one{&s, from, &answers};
  return std::move(open_answers({&one, 1}, seal::default_sealer()).front());
}

}  // namespace kf::es8
