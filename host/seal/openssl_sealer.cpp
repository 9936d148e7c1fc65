// The reference: one EVP call a segment and mode, each download by itself. Runs everywhere.
#include <algorithm>

#include "host/base/secret.hpp"
#include "host/seal/engine.hpp"

namespace kf::seal {
namespace {

class OpensslSealer final : public EngineBase {
 public:
  [[nodiscard]] std::string_view name() const override { return "openssl"; }

  void seal(std::span<SealJob> jobs) override {
    for (SealJob& j : jobs) {
      check(j);
      seal_one(j);
    }
  }

  void cmac(std::span<MacJob> jobs) override {
    for (MacJob& j : jobs) {
      check(j);
      Cmac mac(j.key);
      mac.update(j.first);
      mac.update(j.rest);
      j.mac = mac.finish();
    }
  }

 private:
  static void seal_one(SealJob& j) {
    const std::size_t n = j.segments();
    if (n == 0) return;
    // ICVs depend on the counter alone: one ECB call for all of them.
    SecretBytes icvs(n * 16);
    for (std::size_t i = 0; i < n; ++i)
      std::ranges::copy(counter_block(j.first_counter + i, 0),
                        icvs.expose_mut().begin() + static_cast<std::ptrdiff_t>(16 * i));
    aes_ecb_encrypt(j.s_enc, icvs.expose_mut());
    CbcEncryptor enc(j.s_enc);
    Cmac mac(j.s_mac);
    std::uint8_t* at = j.out.data();
    for (std::size_t i = 0; i < n; ++i) {
      const ByteView part = j.part(i);
      const std::size_t cipher_size = (part.size() / 16 + 1) * 16;
      const std::size_t head = put_header(at, cipher_size + kMacSize);
      const std::span<std::uint8_t> cipher(at + head, cipher_size);
      const auto end = std::ranges::copy(part, cipher.begin()).out;
      *end = 0x80;
      std::fill(end + 1, cipher.end(), std::uint8_t{0});
      Block16 icv{};
      std::copy_n(icvs.expose().begin() + static_cast<std::ptrdiff_t>(16 * i), 16, icv.begin());
      enc.encrypt(icv, cipher);
      wipe(icv.data(), icv.size());
      mac.update(j.chain);  // one block: what follows is one run of whole blocks in place
      mac.update(ByteView(at, head + cipher_size));
      j.chain = mac.finish();
      j.mcv[i] = j.chain;
      at = std::copy_n(j.chain.begin(), kMacSize, at + head + cipher_size);
    }
  }

  void decrypt(std::span<DecryptWork> work) override {
    for (DecryptWork& w : work) {
      std::ranges::copy(w.in, w.out.begin());
      aes_cbc_decrypt(w.key, aes_ecb_block(w.key, w.counter), w.out);
    }
  }
};

}  // namespace

std::unique_ptr<ScriptSealer> make_openssl_sealer() { return std::make_unique<OpensslSealer>(); }

}  // namespace kf::seal
