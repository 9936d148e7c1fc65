#include "bench/scp03t/path.hpp"

#include <algorithm>
#include <functional>
#include <random>

#include "bench/process/usage.hpp"
#include "bench/scp03t/cell.hpp"
#include "bench/scp03t/naive.hpp"
#include "host/base/secret.hpp"
#include "host/es8/parts.hpp"
#include "host/es8/scp03t.hpp"

namespace kf::bench {
namespace {
const char* const kIsdp = "A0000005591010FFFFFFFF8900001300";

// Adds what has passed since the last call to one of the times.
class Lap {
 public:
  void operator()(double& into) {
    const double t = proc::thread_cpu_seconds();
    into += t - last_;
    last_ = t;
  }
  void skip() { last_ = proc::thread_cpu_seconds(); }

 private:
  double last_ = proc::thread_cpu_seconds();
};
}  // namespace

Path::Path(std::size_t bytes, std::size_t downloads, std::size_t key_size, std::uint64_t seed) : bytes_(bytes) {
  std::mt19937_64 g(seed);
  const Bytes sample = profile::sample_package();
  while (template_.size() < bytes)
    append(template_, ByteView(sample).first(std::min(sample.size(), bytes - template_.size())));
  slots_ = std::move(profile::find_slots(sample)).value();
  for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].offset = bytes * i / slots_.size();
  const auto has = [&](profile::Field f) {
    return std::ranges::any_of(slots_, [f](const auto& s) { return s.field == f; });
  };
  for (std::size_t i = 0; i < downloads; ++i) {
    Download& d = downloads_.emplace_back();
    std::string digits = "8988211" + std::to_string(100'000'000'000 + i).substr(1);
    for (char check = '0'; check <= '9'; ++check)  // nineteen digits, the last one is a check digit
      if (auto iccid = parse_iccid(digits + check)) {
        d.personal.iccid = *iccid;
        break;
      }
    if (has(profile::Field::imsi)) d.personal.imsi = "99970" + std::to_string(10'000'000'000 + i).substr(1);
    if (has(profile::Field::ki)) d.personal.ki = SecretBytes(random_octets(16, g));
    if (has(profile::Field::opc)) d.personal.opc = SecretBytes(random_octets(16, g));
    if (has(profile::Field::pin1)) d.personal.pin1 = "1234";
    if (has(profile::Field::puk1)) d.personal.puk1 = "12345678";
    if (has(profile::Field::adm1)) d.personal.adm1 = "87654321";
    for (Bytes* k : {&d.s_enc, &d.s_mac, &d.key_enc, &d.key_mac}) *k = random_octets(key_size, g);
  }
  request_.interface = es::Interface::es3;
  request_.function = es::Function::send_data;
  request_.function_call_identifier = "1234567890";
  request_.eid = "89001012012341234012345678901224";
  request_.sd_aid = hex(kIsdp);
  request_.more_to_do = false;
  header_.from = "https://smdp.example.com/es3?EntityId=1.3.6.1.4.1.99999.1";
  header_.to = "https://smsr.example.com/es3?EntityId=1.3.6.1.4.1.99999.2";
  header_.reply_to = "https://smdp.example.com/es3/callback";
  header_.message_id = "//1.3.6.1.4.1.99999.1/00000001?TransactionId=00000001&MessageDate=2026-01-01T00:00:00Z";
  header_.action = "http://gsma.com/ES3/ISDP/ES3-SendData";
  now_.resize(downloads);
}

void Path::note(std::size_t i, std::string_view body) { now_[i] = std::hash<std::string_view>{}(body); }

std::size_t Path::differing() const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < now_.size(); ++i) n += now_[i] == before_.at(i) ? 0 : 1;
  return n;
}

std::size_t Path::memory(std::size_t batch) const {
  const std::size_t sealed = seal::sealed_size(bytes_, kSegment);
  return std::min(batch, downloads_.size()) * (bytes_ + sealed) + 4 * sealed;  // packages, scripts, one hex and body
}

PathTimes Path::product(seal::ScriptSealer& engine, std::size_t batch) {
  before_ = now_;
  PathTimes t;
  std::vector<profile::Segmented> packages;
  std::vector<Bytes> scripts;
  std::vector<std::vector<std::uint32_t>> ends;
  std::vector<std::vector<Block16>> mcv;
  std::vector<seal::SealJob> jobs;
  for (std::size_t from = 0; from < downloads_.size(); from += batch) {
    const std::size_t n = std::min(batch, downloads_.size() - from);
    Lap lap;
    packages.clear();
    for (std::size_t i = 0; i < n; ++i)
      packages.push_back(
          std::move(profile::personalise_segments(template_, slots_, downloads_[from + i].personal, kSegment)).value());
    lap(t.personalise);
    scripts.assign(n, {});
    ends.assign(n, {});
    mcv.assign(n, {});
    jobs.assign(n, {});
    for (std::size_t i = 0; i < n; ++i) {
      Download& d = downloads_[from + i];
      seal::SealJob& j = jobs[i];
      j.s_enc = d.s_enc;
      j.s_mac = d.s_mac;
      j.chain = d.chain;
      j.parts = packages[i].segments;
      scripts[i].resize(j.sealed());
      mcv[i].resize(j.segments());
      j.out = scripts[i];
      j.mcv = mcv[i];
      std::size_t end = 0;
      for (const ByteView part : j.parts)
        ends[i].push_back(static_cast<std::uint32_t>(end += seal::sealed_tlv_size(part.size())));
    }
    lap(t.cut);
    engine.seal(jobs);
    lap(t.seal);
    packages.clear();
    lap(t.wipe);
    for (std::size_t i = 0; i < n; ++i) {
      lap.skip();
      request_.data_hex = es8::send_parts(scripts[i], ends[i], 0, false).front().hex;
      lap(t.hex);
      const std::string body = es::write_message(header_, request_);
      lap(t.envelope);
      note(from + i, body);
    }
  }
  request_.data_hex.reset();
  return t;
}

PathTimes Path::naive() {
  before_ = now_;
  PathTimes t;
  for (std::size_t i = 0; i < downloads_.size(); ++i) {
    Download& d = downloads_[i];
    Lap lap;
    Bytes package = std::move(profile::personalise(template_, slots_, d.personal)).value();
    lap(t.personalise);
    const auto segments = es8::cut_profile(package);
    Bytes script(seal::sealed_size(package.size(), kSegment));
    lap(t.cut);
    {
      NaiveSealer sealer(d.s_enc, d.s_mac);
      Block16 chain = d.chain;
      std::uint8_t* at = script.data();
      for (std::size_t s = 0; s < segments.size(); ++s) at = sealer.seal(segments[s], s + 1, chain, at);
    }
    lap(t.seal);
    wipe(package);
    lap(t.wipe);
    const std::string digits = naive_hex(script);
    lap(t.hex);
    // The envelope with its one variable part set in.
    request_.data = {0};
    std::string body = es::write_message(header_, request_);
    const std::size_t place = body.find(">00<");
    body.replace(place + 1, 2, digits);
    lap(t.envelope);
    note(i, body);
  }
  return t;
}

double Path::derive_product(seal::ScriptSealer& engine, std::size_t batch) {
  std::vector<es8::KeySet> keys;
  std::vector<es8::ScriptOrder> orders(downloads_.size());
  for (const Download& d : downloads_)
    keys.push_back(
        {SecretBytes(ByteView(d.key_enc)), SecretBytes(ByteView(d.key_mac)), SecretBytes(ByteView(d.key_mac)), 0x30});
  for (std::size_t i = 0; i < orders.size(); ++i) {
    orders[i].keys = &keys[i];
    orders[i].isd_p = Aid::of(kIsdp);
    orders[i].counter = {0, 0, 1};
  }
  const double t0 = proc::thread_cpu_seconds();
  for (std::size_t from = 0; from < orders.size(); from += batch)
    (void)es8::seal_scripts(std::span(orders).subspan(from, std::min(batch, orders.size() - from)), engine);
  return (proc::thread_cpu_seconds() - t0) / static_cast<double>(orders.size());
}

double Path::derive_naive() {
  std::vector<es8::KeySet> keys;
  for (const Download& d : downloads_)
    keys.push_back(
        {SecretBytes(ByteView(d.key_enc)), SecretBytes(ByteView(d.key_mac)), SecretBytes(ByteView(d.key_mac)), 0x30});
  const Aid isd_p = Aid::of(kIsdp);
  const es8::Challenge hc{};
  const double t0 = proc::thread_cpu_seconds();
  for (const es8::KeySet& k : keys) {
    const es8::Challenge cc = es8::card_challenge(k, {0, 0, 1}, isd_p);
    const es8::SessionKeys s = es8::session_keys(k, hc, cc);
    const es8::Challenge host = es8::host_cryptogram(s, hc, cc);
    (void)aes_cmac(s.s_mac.expose(), concat(Block16{}, hex("851133"), host));
  }
  return (proc::thread_cpu_seconds() - t0) / static_cast<double>(keys.size());
}

}  // namespace kf::bench
