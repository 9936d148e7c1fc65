// The engine on intel-ipsec-mb: the library fills its own lanes, we keep enough jobs in flight.
#include <intel-ipsec-mb.h>

#include <algorithm>
#include <array>

#include "host/base/secret.hpp"
#include "host/seal/waves.hpp"

namespace kf::seal {
namespace {

// Chains under way at once: twice the library's widest lanes, so that one that has just ended is not waited for.
constexpr unsigned kChains = 32;
constexpr std::size_t kChainWaveSegments = 256;
constexpr std::size_t kChainSegments = 64;

struct FreeManager {
  void operator()(IMB_MGR* m) const { free_mb_mgr(m); }
};

class IpsecSealer final : public EngineBase {
 public:
  explicit IpsecSealer(IMB_MGR* m)
      : manager_(m), fallback_(make_openssl_sealer()), waves_(kChains, kChainWaveSegments, kChainSegments) {}
  ~IpsecSealer() override { clear(); }
  [[nodiscard]] std::string_view name() const override { return "ipsec-mb"; }

  void seal(std::span<SealJob> jobs) override {
    for (const SealJob& j : jobs) check(j);
    std::vector<SealJob*> group;
    for (const std::size_t enc : {16, 24, 32}) {
      group.clear();
      for (SealJob& j : jobs)
        if (j.s_enc.size() == enc && takes(j)) group.push_back(&j);
      if (!group.empty()) seal_group(group);
    }
    for (SealJob& j : jobs)
      if (!takes(j)) fallback_->seal({&j, 1});
  }

  void cmac(std::span<MacJob> jobs) override {
    struct Mine {  // keys and the contiguous message of one MAC
      Work keys;
      Chain chain;
    };
    for (const MacJob& j : jobs) check(j);
    for (std::size_t from = 0; from < jobs.size(); from += kChains) {
      const auto some = jobs.subspan(from, std::min<std::size_t>(kChains, jobs.size() - from));
      std::vector<Mine> mine(some.size());
      std::size_t in_flight = 0;
      const auto take = [&](IMB_JOB* done) {
        for (; done != nullptr; done = IMB_GET_COMPLETED_JOB(manager_.get())) {
          must(done->status == IMB_STATUS_COMPLETED);
          --in_flight;
        }
      };
      for (std::size_t i = 0; i < some.size(); ++i) {
        MacJob& j = some[i];
        if (!takes(j)) {
          fallback_->cmac({&j, 1});
          continue;
        }
        Mine& m = mine[i];
        m.keys.mac_rounds = static_cast<unsigned>(j.key.size() / 4 + 6);
        expand(j.key, m.keys.mac);
        subkeys(m.keys.mac_rounds, m.keys.mac, m.keys.k1, m.keys.k2);
        m.chain.copy = concat(j.first, j.rest);
        ++in_flight;
        take(submit_mac(m.chain.copy.data(), m.chain.copy.size(), m.keys, m.chain));
      }
      while (in_flight > 0) {
        IMB_JOB* done = IMB_FLUSH_JOB(manager_.get());
        must(done != nullptr);
        take(done);
      }
      for (std::size_t i = 0; i < some.size(); ++i) {
        if (takes(some[i])) some[i].mac = mine[i].chain.mac;
        wipe(&mine[i].keys, sizeof mine[i].keys);
        wipe(mine[i].chain.copy);
        wipe(mine[i].chain.mac.data(), 16);
      }
    }
    clear();
  }

 private:
  // What the library cannot do: CMAC with AES-192, messages of 2^16 octets and more. It goes to OpenSSL.
  static constexpr std::size_t kLongest = 65535;
  static bool takes(const MacJob& j) { return j.key.size() != 24 && 16 + j.rest.size() <= kLongest; }
  static bool takes(const SealJob& j) {
    const auto fits = [](std::size_t plain) { return 16 + sealed_tlv_size(plain) - kMacSize <= kLongest; };
    return j.s_mac.size() != 24 && (j.parts.empty() ? fits(std::min(j.segment, j.plain.size()))
                                                    : std::ranges::all_of(j.parts, fits, &ByteView::size));
  }

  void seal_group(std::span<SealJob* const> jobs) {
    waves_.start(jobs);
    while (waves_.next()) {
      for (Work* w : waves_.fresh()) {
        expand(w->job->s_enc, w->enc);
        expand(w->job->s_mac, w->mac);
        subkeys(w->mac_rounds, w->mac, w->k1, w->k2);
      }
      encrypt_wave();
      mac_wave();
    }
    waves_.finish();
    clear();
  }

  void expand(ByteView key, std::uint8_t* schedule) {
    if (key.size() == 16)
      IMB_AES_KEYEXP_128(manager_.get(), key.data(), schedule, unused_.data());
    else if (key.size() == 24)
      IMB_AES_KEYEXP_192(manager_.get(), key.data(), schedule, unused_.data());
    else
      IMB_AES_KEYEXP_256(manager_.get(), key.data(), schedule, unused_.data());
  }
  void subkeys(unsigned rounds, const std::uint8_t* schedule, std::uint8_t* k1, std::uint8_t* k2) {
    if (rounds == 10)
      IMB_AES_CMAC_SUBKEY_GEN_128(manager_.get(), schedule, k1, k2);
    else
      IMB_AES_CMAC_SUBKEY_GEN_256(manager_.get(), schedule, k1, k2);
  }

  // Bursts of CBC. The library reads a message from one place, and the tail with its padding stands in the output: so
  // the whole blocks are brought there, and all is encrypted in place.
  void encrypt_wave() {
    std::size_t n = 0;
    unsigned rounds = 0;
    const auto burst = [&] {
      const auto key_size = static_cast<IMB_KEY_SIZE_BYTES>((rounds - 6) * 4);
      icv_burst(n, key_size);
      must(IMB_SUBMIT_CIPHER_BURST_NOCHECK(manager_.get(), jobs_.data(), static_cast<std::uint32_t>(n), IMB_CIPHER_CBC,
                                           IMB_DIR_ENCRYPT, key_size) == n);
      n = 0;
    };
    for (std::size_t row = 0; row < waves_.rows(); ++row)
      for (unsigned l = 0; l < waves_.lanes(); ++l) {
        if (waves_.lane(l).size() <= row) continue;
        const Segment& g = waves_.lane(l)[row];
        rounds = g.work->enc_rounds;
        std::copy_n(g.plain, 16 * g.whole, g.cipher());
        icvs_[n] = counter_block(g.counter, 0);
        IMB_JOB& j = jobs_[n];
        j = {};
        j.enc_keys = g.work->enc;
        j.src = j.dst = g.cipher();
        j.msg_len_to_cipher_in_bytes = g.cipher_size();
        j.iv = icvs_[n].data();
        j.iv_len_in_bytes = 16;
        if (++n == jobs_.size()) burst();
      }
    if (n > 0) burst();
  }
  // Counters to ICVs in place: CBC of one block under an IV of zeros, in lanes like everything else.
  void icv_burst(std::size_t n, IMB_KEY_SIZE_BYTES key_size) {
    static constexpr Block16 kZero{};
    for (std::size_t i = 0; i < n; ++i) {
      IMB_JOB& j = short_[i];
      j = {};
      j.enc_keys = jobs_[i].enc_keys;
      j.src = j.dst = icvs_[i].data();
      j.msg_len_to_cipher_in_bytes = 16;
      j.iv = kZero.data();
      j.iv_len_in_bytes = 16;
    }
    must(IMB_SUBMIT_CIPHER_BURST_NOCHECK(manager_.get(), short_.data(), static_cast<std::uint32_t>(n), IMB_CIPHER_CBC,
                                         IMB_DIR_ENCRYPT, key_size) == n);
  }

  // The message of a MAC is the chaining value, then the TLV. Instead of copying the TLV, the chaining value stands in
  // front of it while the job runs, and what it covered, the end of the TLV before, is put back. The first TLV of a
  // download has no place in front of it that is ours and is copied.
  struct Chain {
    std::size_t next = 0;
    std::array<std::uint8_t, 16> covered{};
    Bytes copy;
    Block16 mac{};
  };

  void mac_wave() {
    for (Chain& c : chains_) c.next = 0;
    std::size_t in_flight = 0;
    for (unsigned l = 0; l < waves_.lanes(); ++l) {
      if (waves_.lane(l).empty()) continue;
      ++in_flight;
      for (IMB_JOB* done = submit(l); done != nullptr; done = proceed(done, in_flight)) continue;
    }
    while (in_flight > 0) {
      IMB_JOB* done = IMB_FLUSH_JOB(manager_.get());
      must(done != nullptr);
      while (done != nullptr) done = proceed(done, in_flight);
    }
  }
  // A MAC is there: noted, and the next one of its chain goes in. Null: nothing else has come out.
  IMB_JOB* proceed(IMB_JOB* done, std::size_t& in_flight) {
    must(done->status == IMB_STATUS_COMPLETED);
    Chain& c = *static_cast<Chain*>(done->user_data);
    const auto l = static_cast<unsigned>(&c - chains_.data());
    const Segment& g = waves_.lane(l)[c.next];
    if (g.index > 0) std::ranges::copy(c.covered, g.tlv - 16);
    g.work->job->chain = c.mac;
    g.work->job->mcv[g.index] = c.mac;
    std::copy_n(c.mac.begin(), kMacSize, g.cipher() + g.cipher_size());
    if (++c.next < waves_.lane(l).size()) return submit(l);
    --in_flight;
    return IMB_GET_COMPLETED_JOB(manager_.get());
  }
  IMB_JOB* submit(unsigned l) {
    Chain& c = chains_[l];
    const Segment& g = waves_.lane(l)[c.next];
    const std::size_t size = 16 + g.head + g.cipher_size();
    const std::uint8_t* message = g.tlv - 16;
    const Block16& chain = g.work->job->chain;
    if (g.index > 0) {
      std::copy_n(g.tlv - 16, 16, c.covered.begin());
      std::ranges::copy(chain, g.tlv - 16);
    } else {
      c.copy.resize(size);
      std::ranges::copy(chain, c.copy.begin());
      std::copy_n(g.tlv, g.head + g.cipher_size(), c.copy.begin() + 16);
      message = c.copy.data();
    }
    return submit_mac(message, size, *g.work, c);
  }
  IMB_JOB* submit_mac(const std::uint8_t* message, std::size_t size, const Work& w, Chain& c) {
    IMB_JOB* j = IMB_GET_NEXT_JOB(manager_.get());
    *j = {};
    j->cipher_mode = IMB_CIPHER_NULL;
    j->cipher_direction = IMB_DIR_ENCRYPT;
    j->chain_order = IMB_ORDER_HASH_CIPHER;
    j->hash_alg = w.mac_rounds == 10 ? IMB_AUTH_AES_CMAC : IMB_AUTH_AES_CMAC_256;
    j->src = message;
    j->msg_len_to_hash_in_bytes = size;
    j->auth_tag_output = c.mac.data();
    j->auth_tag_output_len_in_bytes = 16;
    j->u.CMAC._key_expanded = w.mac;
    j->u.CMAC._skey1 = w.k1;
    j->u.CMAC._skey2 = w.k2;
    j->user_data = &c;
    return IMB_SUBMIT_JOB_NOCHECK(manager_.get());
  }

  void decrypt(std::span<DecryptWork> work) override {
    for (DecryptWork& w : work) {
      Block16 icv = aes_ecb_block(w.key, w.counter);
      alignas(16) std::array<std::uint8_t, kSchedule> enc{};
      alignas(16) std::array<std::uint8_t, kSchedule> dec{};
      if (w.key.size() == 16)
        IMB_AES_KEYEXP_128(manager_.get(), w.key.data(), enc.data(), dec.data());
      else if (w.key.size() == 24)
        IMB_AES_KEYEXP_192(manager_.get(), w.key.data(), enc.data(), dec.data());
      else
        IMB_AES_KEYEXP_256(manager_.get(), w.key.data(), enc.data(), dec.data());
      IMB_JOB j{};
      j.enc_keys = enc.data();
      j.dec_keys = dec.data();
      j.src = w.in.data();
      j.dst = w.out.data();
      j.msg_len_to_cipher_in_bytes = w.in.size();
      j.iv = icv.data();
      j.iv_len_in_bytes = 16;
      must(IMB_SUBMIT_CIPHER_BURST_NOCHECK(manager_.get(), &j, 1, IMB_CIPHER_CBC, IMB_DIR_DECRYPT,
                                           static_cast<IMB_KEY_SIZE_BYTES>(w.key.size())) == 1);
      wipe(icv.data(), icv.size());
      wipe(enc.data(), enc.size());
      wipe(dec.data(), dec.size());
    }
  }

  void clear() {
    wipe(unused_.data(), unused_.size());
    wipe(icvs_.data(), sizeof icvs_);
  }

  std::unique_ptr<IMB_MGR, FreeManager> manager_;
  std::unique_ptr<ScriptSealer> fallback_;
  Waves waves_;
  std::array<Chain, kChains> chains_;
  std::array<IMB_JOB, IMB_MAX_BURST_SIZE> jobs_{}, short_{};
  std::array<Block16, IMB_MAX_BURST_SIZE> icvs_{};
  alignas(16) std::array<std::uint8_t, kSchedule> unused_{};  // decryption keys that key expansion also makes
};

}  // namespace

std::unique_ptr<ScriptSealer> make_ipsec_sealer() {
  IMB_MGR* m = alloc_mb_mgr(0);
  if (m == nullptr) return nullptr;
  IMB_ARCH arch = IMB_ARCH_NONE;
  init_mb_mgr_auto(m, &arch);
  if (arch < IMB_ARCH_SSE) {  // without AES-NI the library is not faster than OpenSSL
    free_mb_mgr(m);
    return nullptr;
  }
  return std::make_unique<IpsecSealer>(m);
}

}  // namespace kf::seal
