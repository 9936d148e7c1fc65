#include "host/seal/engine.hpp"

#include <algorithm>
#include <cstdlib>

#include "host/base/secret.hpp"
#include "host/base/tlv.hpp"

namespace kf::seal {
namespace {

bool is_key(ByteView k) { return k.size() == 16 || k.size() == 24 || k.size() == 32; }

// Octets in front of the padding, or nothing when it is no padding.
std::optional<std::size_t> unpadded(ByteView plain) {
  std::size_t n = plain.size();
  while (n > 0 && plain[n - 1] == 0x00) --n;
  if (n == 0 || plain[n - 1] != 0x80 || plain.size() - n >= 16) return std::nullopt;
  return n - 1;
}

}  // namespace

void must(bool condition) {
  if (!condition) std::abort();
}

std::size_t sealed_tlv_size(std::size_t plain) {
  must(plain <= kMaxPlain);
  const std::size_t value = (plain / 16 + 1) * 16 + kMacSize;
  return 1 + ber_length_size(value) + value;
}

std::size_t segment_count(std::size_t package, std::size_t segment) {
  must(segment > 0);
  return (package + segment - 1) / segment;
}

std::size_t sealed_size(std::size_t package, std::size_t segment) {
  must(segment > 0);
  const std::size_t rest = package % segment;
  return package / segment * sealed_tlv_size(segment) + (rest == 0 ? 0 : sealed_tlv_size(rest));
}

std::size_t SealJob::segments() const { return parts.empty() ? segment_count(plain.size(), segment) : parts.size(); }

ByteView SealJob::part(std::size_t i) const {
  if (!parts.empty()) return parts[i];
  return plain.subspan(i * segment, std::min(segment, plain.size() - i * segment));
}

std::size_t SealJob::sealed() const {
  if (parts.empty()) return sealed_size(plain.size(), segment);
  std::size_t n = 0;
  for (const ByteView p : parts) n += sealed_tlv_size(p.size());
  return n;
}

void check(const SealJob& j) {
  must(is_key(j.s_enc) && is_key(j.s_mac));
  must(j.out.size() == j.sealed() && j.mcv.size() == j.segments());
}

void check(const OpenJob& j) {
  must(is_key(j.s_enc) && is_key(j.s_rmac));
  must(j.value.size() >= kMacSize && j.value.size() <= 0xFFFF && (j.value.size() - kMacSize) % 16 == 0);
  must(j.plain.size() == j.value.size() - kMacSize);
}

void check(const MacJob& j) { must(is_key(j.key) && !j.rest.empty()); }

std::size_t put_header(std::uint8_t* at, std::size_t value) {
  const std::size_t length_size = ber_length_size(value);
  at[0] = 0x86;
  if (length_size > 1) at[1] = static_cast<std::uint8_t>(0x80 | (length_size - 1));
  for (std::size_t i = 0; i < (length_size == 1 ? 1 : length_size - 1); ++i)
    at[length_size - i] = static_cast<std::uint8_t>(value >> (8 * i));
  return 1 + length_size;
}

Block16 counter_block(std::uint64_t counter, std::uint8_t first) {
  Block16 b{};
  for (std::size_t i = 0; i < sizeof counter; ++i) b[15 - i] = static_cast<std::uint8_t>(counter >> (8 * i));
  b[0] = first;
  return b;
}

// The R-MAC first, over all of them; what is not authentic is not decrypted.
void EngineBase::open(std::span<OpenJob> jobs) {
  std::size_t staged = 0;
  for (const OpenJob& j : jobs) {
    check(j);
    staged += 4 + j.plain.size();
  }
  Bytes messages(staged);
  std::vector<MacJob> macs_of(jobs.size());
  std::uint8_t* at = messages.data();
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const OpenJob& j = jobs[i];
    const std::size_t head = put_header(at, j.value.size());
    std::copy_n(j.value.begin(), j.plain.size(), at + head);
    macs_of[i].key = j.s_rmac;
    macs_of[i].first = j.mcv;
    macs_of[i].rest = ByteView(at, head + j.plain.size());
    at += head + j.plain.size();
  }
  cmac(macs_of);

  std::vector<DecryptWork> work;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    OpenJob& j = jobs[i];
    j.size = 0;
    j.status = equal_ct(ByteView(macs_of[i].mac).first(kMacSize), j.value.last(kMacSize)) ? OpenStatus::ok
                                                                                          : OpenStatus::bad_rmac;
    wipe(macs_of[i].mac.data(), macs_of[i].mac.size());
    if (j.status != OpenStatus::ok || j.plain.empty()) continue;
    work.push_back({j.s_enc, counter_block(j.counter, 0x80), j.value.first(j.plain.size()), j.plain});
  }
  decrypt(work);
  for (OpenJob& j : jobs) {
    if (j.status != OpenStatus::ok || j.plain.empty()) continue;
    if (const auto n = unpadded(j.plain))
      j.size = *n;
    else
      j.status = OpenStatus::bad_padding;
  }
}

}  // namespace kf::seal
