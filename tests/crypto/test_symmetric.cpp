#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "host/base/random.hpp"
#include "host/crypto/symmetric.hpp"

namespace kf {
namespace {

// OpenSSL's own CMAC: the oracle for ours.
Bytes oracle(ByteView key, ByteView message) {
  const char* cipher = key.size() == 16 ? "AES-128-CBC" : key.size() == 24 ? "AES-192-CBC" : "AES-256-CBC";
  Bytes out(16);
  std::size_t n = 0;
  if (EVP_Q_mac(nullptr, "CMAC", nullptr, cipher, nullptr, key.data(), key.size(), message.data(), message.size(),
                out.data(), out.size(), &n) == nullptr)
    return {};
  return out;
}

TEST(CmacAgainstOpenssl, EveryLengthAndKeySize) {
  for (const std::size_t key_size : {16, 24, 32}) {
    const Bytes key = random_bytes(key_size);
    const Bytes message = random_bytes(3000);
    Cmac reused(key);
    for (std::size_t n = 0; n <= message.size(); n += n < 130 ? 1 : 173) {
      const ByteView m = ByteView(message).first(n);
      const Bytes want = oracle(key, m);
      ASSERT_EQ(to_hex(aes_cmac(key, m)), to_hex(want)) << n << " bytes, key of " << key_size;
      reused.update(m);
      ASSERT_EQ(to_hex(reused.finish()), to_hex(want)) << "second use, " << n << " bytes";
    }
  }
}

TEST(CmacAgainstOpenssl, AnyCutOfTheMessage) {
  const Bytes key = random_bytes(16);
  const Bytes message = random_bytes(2100);
  const std::string want = to_hex(oracle(key, message));
  Cmac m(key);
  for (std::size_t step : {1, 2, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025}) {
    for (ByteView rest = message; !rest.empty();) {
      const ByteView part = rest.first(std::min(step, rest.size()));
      m.update(part);
      m.update({});
      rest = rest.subspan(part.size());
    }
    EXPECT_EQ(to_hex(m.finish()), want) << "steps of " << step;
  }
}

TEST(Cbc, DecryptUndoesEncryptAndReusedContextEqualsAFreshOne) {
  for (const std::size_t key_size : {16, 24, 32}) {
    const Bytes key = random_bytes(key_size);
    CbcEncryptor reused(key);
    for (const std::size_t n : {std::size_t{0}, std::size_t{16}, std::size_t{32}, std::size_t{1008}}) {
      Block16 iv{};
      random_fill(iv);
      const Bytes plain = random_bytes(n);
      Bytes a = plain;
      Bytes b = plain;
      aes_cbc_encrypt(key, iv, a);
      reused.encrypt(iv, b);
      EXPECT_EQ(a, b);
      EXPECT_EQ(a == plain, n == 0);
      aes_cbc_decrypt(key, iv, a);
      EXPECT_EQ(a, plain);
    }
  }
}

TEST(Cbc, Sp800_38aExample) {  // F.2.1, CBC-AES128
  const Bytes key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
  Block16 iv{};
  for (std::size_t i = 0; i < 16; ++i) iv[i] = static_cast<std::uint8_t>(i);
  Bytes b = hex("6BC1BEE22E409F96E93D7E117393172A");
  aes_cbc_encrypt(key, iv, b);
  EXPECT_EQ(to_hex(b), "7649ABAC8119B246CEE98E9B12E9197D");
}

TEST(Ecb, ManyBlocksAreTheSameAsOneByOne) {
  const Bytes key = random_bytes(32);
  Bytes many = random_bytes(160);
  const Bytes plain = many;
  aes_ecb_encrypt(key, many);
  for (std::size_t i = 0; i < 10; ++i) {
    Block16 b{};
    std::copy_n(plain.begin() + static_cast<std::ptrdiff_t>(16 * i), 16, b.begin());
    EXPECT_EQ(to_hex(aes_ecb_block(key, b)), to_hex(ByteView(many).subspan(16 * i, 16)));
  }
}

TEST(Kdf, LongerOutputStartsLikeTheShorterForX963AndNotForScp03) {
  const Bytes z = random_bytes(32);
  const Bytes info = random_bytes(19);
  const SecretBytes full = x963_kdf(z, info, 128);
  for (const std::size_t n : {1, 16, 31, 32, 33, 64, 65, 127})
    EXPECT_EQ(to_hex(x963_kdf(z, info, n).expose()), to_hex(full.expose().first(n)));
  EXPECT_EQ(x963_kdf(z, info, 0).size(), 0U);
  // The SCP03 input carries the length: 64 and 128 bits are unrelated.
  const Bytes key = random_bytes(16);
  EXPECT_NE(to_hex(scp03_kdf(key, 0x04, info, 64).expose()), to_hex(scp03_kdf(key, 0x04, info, 128).expose().first(8)));
  EXPECT_EQ(scp03_kdf(random_bytes(32), 0x04, info, 256).size(), 32U);
}

TEST(Gcm, ARecordOpensOnlyUnchangedAtItsPlaceUnderItsKey) {
  const Bytes key = random_bytes(32);
  for (const std::size_t n : {0, 1, 48, 1000}) {
    const Bytes plain = random_bytes(n);
    const Bytes aad = hex("0102");
    const Bytes sealed = gcm_seal(key, aad, plain);
    EXPECT_EQ(sealed.size(), 12 + n + 16);
    EXPECT_NE(sealed, gcm_seal(key, aad, plain)) << "the nonce must be fresh";
    const auto opened = gcm_open(key, aad, sealed);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(to_hex(opened->expose()), to_hex(plain));
    EXPECT_EQ(gcm_open(key, hex("0103"), sealed).error().reason, "bad-record");
    EXPECT_EQ(gcm_open(random_bytes(32), aad, sealed).error().reason, "bad-record");
    EXPECT_EQ(gcm_open(Bytes(16), aad, sealed).error().reason, "bad-record");
    for (std::size_t i = 0; i < sealed.size(); i += i < 40 ? 1 : 97) {
      Bytes changed = sealed;
      changed[i] ^= 1;
      EXPECT_FALSE(gcm_open(key, aad, changed).ok()) << "byte " << i;
      EXPECT_FALSE(gcm_open(key, aad, ByteView(sealed).first(i)).ok()) << "cut at " << i;
    }
  }
}

}  // namespace
}  // namespace kf
