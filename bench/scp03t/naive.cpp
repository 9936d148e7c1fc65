#include "bench/scp03t/naive.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>

#include "host/base/tlv.hpp"

namespace kf::bench {
namespace {

void must(bool ok) {
  if (!ok) std::abort();
}
struct Free {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
  void operator()(EVP_MAC_CTX* c) const { EVP_MAC_CTX_free(c); }
};

const EVP_CIPHER* cipher(const char* mode, std::size_t key) {
  static EVP_CIPHER* const all[2][3]{
      {EVP_CIPHER_fetch(nullptr, "AES-128-CBC", nullptr), EVP_CIPHER_fetch(nullptr, "AES-192-CBC", nullptr),
       EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr)},
      {EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr), EVP_CIPHER_fetch(nullptr, "AES-192-ECB", nullptr),
       EVP_CIPHER_fetch(nullptr, "AES-256-ECB", nullptr)}};
  return all[mode[0] == 'E' ? 1 : 0][key / 8 - 2];
}

}  // namespace

struct NaiveSealer::Impl {
  std::unique_ptr<EVP_CIPHER_CTX, Free> cbc{EVP_CIPHER_CTX_new()}, ecb{EVP_CIPHER_CTX_new()};
  std::unique_ptr<EVP_MAC_CTX, Free> mac;
};

NaiveSealer::NaiveSealer(ByteView s_enc, ByteView s_mac) : impl_(std::make_unique<Impl>()) {
  static EVP_MAC* const cmac = EVP_MAC_fetch(nullptr, "CMAC", nullptr);
  impl_->mac.reset(EVP_MAC_CTX_new(cmac));
  static constexpr std::array<const char*, 3> kNames{"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"};
  std::string name = kNames.at(s_mac.size() / 8 - 2);
  const std::array<OSSL_PARAM, 2> params{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, name.data(), 0),
                                         OSSL_PARAM_construct_end()};
  must(EVP_MAC_init(impl_->mac.get(), s_mac.data(), s_mac.size(), params.data()) == 1);
  must(EVP_EncryptInit_ex2(impl_->cbc.get(), cipher("CBC", s_enc.size()), s_enc.data(), nullptr, nullptr) == 1);
  must(EVP_EncryptInit_ex2(impl_->ecb.get(), cipher("ECB", s_enc.size()), s_enc.data(), nullptr, nullptr) == 1);
  EVP_CIPHER_CTX_set_padding(impl_->cbc.get(), 0);
  EVP_CIPHER_CTX_set_padding(impl_->ecb.get(), 0);
}
NaiveSealer::~NaiveSealer() = default;

std::uint8_t* NaiveSealer::seal(ByteView segment, std::uint64_t counter, Block16& chain, std::uint8_t* at) {
  Block16 icv{};
  for (std::size_t i = 0; i < 8; ++i) icv[15 - i] = static_cast<std::uint8_t>(counter >> (8 * i));
  int n = 0;
  must(EVP_EncryptUpdate(impl_->ecb.get(), icv.data(), &n, icv.data(), 16) == 1);
  const std::size_t cipher_size = (segment.size() / 16 + 1) * 16;
  Bytes head{0x86};
  append_ber_length(head, cipher_size + 8);
  std::uint8_t* const cipher_at = std::ranges::copy(head, at).out;
  std::uint8_t* const end = std::ranges::copy(segment, cipher_at).out;
  *end = 0x80;
  std::fill(end + 1, cipher_at + cipher_size, std::uint8_t{0});
  must(EVP_EncryptInit_ex2(impl_->cbc.get(), nullptr, nullptr, icv.data(), nullptr) == 1);
  must(EVP_EncryptUpdate(impl_->cbc.get(), cipher_at, &n, cipher_at, static_cast<int>(cipher_size)) == 1);
  must(EVP_MAC_init(impl_->mac.get(), nullptr, 0, nullptr) == 1);
  must(EVP_MAC_update(impl_->mac.get(), chain.data(), chain.size()) == 1);
  must(EVP_MAC_update(impl_->mac.get(), at, head.size() + cipher_size) == 1);
  std::size_t size = 0;
  must(EVP_MAC_final(impl_->mac.get(), chain.data(), &size, chain.size()) == 1);
  return std::copy_n(chain.begin(), 8, cipher_at + cipher_size);
}

std::string naive_hex(ByteView v) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string s(2 * v.size(), '\0');
  char* at = s.data();
  for (const std::uint8_t b : v) {
    *at++ = kDigits[b >> 4];
    *at++ = kDigits[b & 15];
  }
  return s;
}

}  // namespace kf::bench
