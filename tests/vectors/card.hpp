// The card's end of one key establishment and of one SCP03t session, so that a vector file is checked from both sides.
//
// It is written on the product's primitives (host/crypto, the certificate parser): the card that shares nothing with
// the product is tests/sim/card. Checks and status words: docs/spec/crypto.md 9.
#pragma once

#include <optional>

#include "host/base/ids.hpp"
#include "host/crypto/curve.hpp"
#include "host/crypto/symmetric.hpp"

namespace kf::vectors {

struct CardKeys {
  Curve curve = Curve::p256;
  Bytes sk_ecasd;
  Point pk_ci{};
  Bytes ci_ski;
  Aid isd_p;
  Bytes rc;  // what the card's generator yields
  std::optional<Bytes> dr;
  Bytes sin, sdin;
};

class CardEstablishment {
 public:
  explicit CardEstablishment(CardKeys k) : k_(std::move(k)) {}
  Bytes process(ByteView c_apdu);  // the R-APDU, status word included

 private:
  Bytes store_data(std::uint8_t p1, std::uint8_t p2, ByteView data);
  Bytes certificate(ByteView dgis);
  Bytes key(ByteView dgis);
  Bytes refuse(std::uint16_t sw);
  CardKeys k_;
  bool installed_ = false;
  std::uint8_t next_block_ = 0;
  Bytes buffer_;
  std::optional<Point> pk_dp_;
};

struct CardSession {
  Bytes key_enc, key_mac;
  std::uint8_t kvn = 0x30;
  Aid isd_p;
  std::size_t counter_before = 0;
  Bytes diversification;
};

class CardScp03t {
 public:
  explicit CardScp03t(CardSession s) : s_(std::move(s)), counter_(s_.counter_before) {}
  Bytes process(ByteView tlv);                                   // the answer TLV
  void answer_with(Bytes plain) { answer_ = std::move(plain); }  // data of the next answer to 86; empty: 86 00
  [[nodiscard]] const Bytes& received() const { return received_; }

 private:
  Bytes initialize(ByteView value);
  Bytes authenticate(ByteView whole, ByteView value);
  Bytes segment(ByteView whole, ByteView value);
  Bytes refuse(std::uint8_t tag, std::uint8_t code);
  enum class State { closed, initialized, open };
  CardSession s_;
  std::size_t counter_;
  State state_ = State::closed;
  Bytes s_enc_, s_mac_, s_rmac_, context_;
  Block16 mcv_{};
  std::uint32_t segments_ = 0;
  Bytes answer_, received_;
};

}  // namespace kf::vectors
