// Inside of host/seal: what the engines share. The policy of opening an answer is here once; an engine only computes.
#pragma once

#include "host/seal/sealer.hpp"

namespace kf::seal {

void must(bool condition);  // a broken caller: aborts
void check(const SealJob& j);
void check(const OpenJob& j);
void check(const MacJob& j);

// 86 and the length of a value; 2 to 4 octets at `at`, returns how many.
std::size_t put_header(std::uint8_t* at, std::size_t value);
Block16 counter_block(std::uint64_t counter, std::uint8_t first);

// AES-CBC decryption under an ICV that is the encrypted counter block.
struct DecryptWork {
  ByteView key;
  Block16 counter{};
  ByteView in;
  std::span<std::uint8_t> out;
};

class EngineBase : public ScriptSealer {
 public:
  void open(std::span<OpenJob> jobs) final;

 protected:
  virtual void decrypt(std::span<DecryptWork> work) = 0;
};

std::unique_ptr<ScriptSealer> make_openssl_sealer();
std::unique_ptr<ScriptSealer> make_ipsec_sealer();                       // null: this processor cannot
std::unique_ptr<ScriptSealer> make_lanes_sealer(std::string_view name);  // null: not known or this processor cannot

}  // namespace kf::seal
