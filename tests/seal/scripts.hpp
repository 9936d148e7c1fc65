// Random batches of downloads and what an engine makes of them. Everything follows from the generator.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "host/seal/sealer.hpp"

namespace kf::seal {

struct Download {
  Bytes s_enc, s_mac, plain;
  Block16 chain{};
  std::uint64_t first_counter = 1;
  std::size_t segment = 1007;
  std::vector<Bytes> parts;  // instead of plain
};

struct Sealed {
  Bytes out;
  std::vector<Block16> mcv;
  Block16 chain{};
  bool operator==(const Sealed&) const = default;
};

inline Bytes random_octets(std::mt19937_64& g, std::size_t n) {
  Bytes b(n);
  for (auto& x : b) x = static_cast<std::uint8_t>(g());
  return b;
}

inline Download random_download(std::mt19937_64& g, std::size_t key_size, std::size_t size, std::size_t segment) {
  Download d;
  d.s_enc = random_octets(g, key_size);
  d.s_mac = random_octets(g, key_size);
  d.plain = random_octets(g, size);
  d.segment = segment;
  for (auto& x : d.chain) x = static_cast<std::uint8_t>(g());
  if (g() % 4 == 0) d.first_counter = g() % 3 == 0 ? g() : 1 + g() % 70000;
  return d;
}

// Sizes as they come: many of one template, edges, anything.
inline std::vector<Download> random_batch(std::mt19937_64& g, std::size_t jobs, std::size_t largest) {
  static constexpr std::size_t kKeys[]{16, 24, 32};
  const std::size_t one_size = g() % (largest + 1);
  const std::size_t one_key = kKeys[g() % 3];
  const bool alike = g() % 2 == 0;
  std::vector<Download> out;
  for (std::size_t i = 0; i < jobs; ++i) {
    const std::size_t edge = std::min(largest, (g() % 70) * 1007 + g() % 3);
    const std::size_t size = alike ? one_size : g() % 3 == 0 ? edge : g() % 3 == 0 ? g() % 40 : g() % (largest + 1);
    const std::size_t segment = g() % 3 != 0 ? 1007 : g() % 4 == 0 ? 1 + g() % 8 : 1 + g() % 3000;
    Download d = random_download(g, alike ? one_key : kKeys[g() % 3], std::min(size, segment * 400), segment);
    if (!alike && g() % 16 == 0) d.s_mac = random_octets(g, kKeys[g() % 3]);
    if (!alike && g() % 16 == 0) {
      d.plain.clear();
      for (std::size_t n = g() % 9; n-- > 0;) d.parts.push_back(random_octets(g, g() % 1300));
    }
    out.push_back(std::move(d));
  }
  return out;
}

inline std::vector<Sealed> seal_all(ScriptSealer& engine, const std::vector<Download>& downloads) {
  std::vector<Sealed> out(downloads.size());
  std::vector<SealJob> jobs(downloads.size());
  std::vector<std::vector<ByteView>> parts(downloads.size());
  for (std::size_t i = 0; i < downloads.size(); ++i) {
    const Download& d = downloads[i];
    SealJob& j = jobs[i];
    j.s_enc = d.s_enc;
    j.s_mac = d.s_mac;
    j.chain = d.chain;
    j.first_counter = d.first_counter;
    j.plain = d.plain;
    j.segment = d.segment;
    parts[i].assign(d.parts.begin(), d.parts.end());
    j.parts = parts[i];
    out[i].out.assign(j.sealed() + 32, 0xEE);  // what stands behind must stay
    out[i].mcv.resize(j.segments());
    j.out = std::span(out[i].out).first(j.sealed());
    j.mcv = out[i].mcv;
  }
  engine.seal(jobs);
  for (std::size_t i = 0; i < downloads.size(); ++i) {
    out[i].chain = jobs[i].chain;
    const auto behind = std::span(out[i].out).last(32);
    EXPECT_TRUE(std::ranges::all_of(behind, [](std::uint8_t b) { return b == 0xEE; })) << engine.name();
    out[i].out.erase(out[i].out.end() - 32, out[i].out.end());
  }
  return out;
}

inline std::unique_ptr<ScriptSealer> engine(std::string_view name) {
  auto e = make_sealer(name);
  if (!e) {
    ADD_FAILURE() << e.error().text();
    std::abort();
  }
  return std::move(e).value();
}

}  // namespace kf::seal
