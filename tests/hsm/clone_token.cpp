// Imports known keys into a token, so that several test tokens hold the same ones. Test equipment; a program of its own
// because test programs never map a PKCS#11 module themselves.
//
// usage: clone_token MODULE TOKEN-URI PIN-FILE KEY-FILE. Each line of the key file is one key, labels and values in
// hex:
//   ec CURVE LABEL D Q    an identity key pair, CURVE as in kf::Curve
//   aes LABEL VALUE       a wrap key
//   many N                N more key pairs on P-256, labelled bystander-0 ...: a token that is not empty
// The attributes are those of `keyferry init`; sensitive and not extractable from the first moment.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/p11/token.hpp"

namespace {

using namespace kf;
using p11::attr;
using p11::attr_octets;
using p11::kFalse;
using p11::kTrue;

constexpr CK_OBJECT_CLASS kPublicKey = CKO_PUBLIC_KEY;
constexpr CK_OBJECT_CLASS kPrivateKey = CKO_PRIVATE_KEY;
constexpr CK_OBJECT_CLASS kSecretKey = CKO_SECRET_KEY;
constexpr CK_KEY_TYPE kEc = CKK_EC;
constexpr CK_KEY_TYPE kAes = CKK_AES;

Status create(p11::Session& s, std::span<CK_ATTRIBUTE> t, const char* what) {
  CK_OBJECT_HANDLE h = 0;
  const CK_RV rv = s.f().C_CreateObject(s.handle(), t.data(), t.size(), &h);
  if (rv != CKR_OK) return p11::rv_error("hsm-key", std::string("C_CreateObject of ") + what, rv);
  return {};
}

Bytes params_of(Curve c) { return c == Curve::p256 ? hex("06082A8648CE3D030107") : hex("06092B2403030208010107"); }

Status import_pair(p11::Session& s, Curve curve, ByteView label, ByteView d, ByteView q) {
  const Bytes params = params_of(curve);
  const Bytes point = concat(hex("0441"), q);
  const Bytes id = random_bytes(16);
  std::array pub{attr(CKA_CLASS, kPublicKey),     attr(CKA_KEY_TYPE, kEc),
                 attr_octets(CKA_LABEL, label),   attr_octets(CKA_ID, id),
                 attr(CKA_TOKEN, kTrue),          attr(CKA_PRIVATE, kFalse),
                 attr(CKA_VERIFY, kTrue),         attr_octets(CKA_EC_PARAMS, params),
                 attr_octets(CKA_EC_POINT, point)};
  std::array priv{attr(CKA_CLASS, kPrivateKey),
                  attr(CKA_KEY_TYPE, kEc),
                  attr_octets(CKA_LABEL, label),
                  attr_octets(CKA_ID, id),
                  attr(CKA_TOKEN, kTrue),
                  attr(CKA_PRIVATE, kTrue),
                  attr(CKA_SENSITIVE, kTrue),
                  attr(CKA_EXTRACTABLE, kFalse),
                  attr(CKA_SIGN, kTrue),
                  attr(CKA_DERIVE, kFalse),
                  attr(CKA_DECRYPT, kFalse),
                  attr(CKA_UNWRAP, kFalse),
                  attr_octets(CKA_EC_PARAMS, params),
                  attr_octets(CKA_VALUE, d)};
  KF_CHECK(create(s, pub, "a public key"));
  return create(s, priv, "a private key");
}

Status import_aes(p11::Session& s, ByteView label, ByteView value) {
  const Bytes id = random_bytes(16);
  std::array t{attr(CKA_CLASS, kSecretKey),  attr(CKA_KEY_TYPE, kAes),      attr_octets(CKA_LABEL, label),
               attr_octets(CKA_ID, id),      attr(CKA_TOKEN, kTrue),        attr(CKA_PRIVATE, kTrue),
               attr(CKA_SENSITIVE, kTrue),   attr(CKA_EXTRACTABLE, kFalse), attr(CKA_ENCRYPT, kTrue),
               attr(CKA_DECRYPT, kTrue),     attr(CKA_WRAP, kTrue),         attr(CKA_UNWRAP, kTrue),
               attr_octets(CKA_VALUE, value)};
  return create(s, t, "a wrap key");
}

Status import_line(p11::Session& s, const std::string& line) {
  std::istringstream words(line);
  std::string kind;
  words >> kind;
  const auto malformed = [&] { return Error{"key-file", "malformed line of kind '" + kind + "'"}; };
  if (kind == "ec") {
    unsigned curve = 0;
    std::string label;
    std::string d;
    std::string q;
    if (!(words >> curve >> label >> d >> q)) return malformed();
    KF_TRY(const Bytes l, from_hex(label));
    KF_TRY(Bytes scalar, from_hex(d));
    KF_TRY(const Bytes point, from_hex(q));
    const SecretBytes kept = SecretBytes::adopt(std::move(scalar));
    return import_pair(s, static_cast<Curve>(curve), l, kept.expose(), point);
  }
  if (kind == "aes") {
    std::string label;
    std::string value;
    if (!(words >> label >> value)) return malformed();
    KF_TRY(const Bytes l, from_hex(label));
    KF_TRY(Bytes v, from_hex(value));
    const SecretBytes kept = SecretBytes::adopt(std::move(v));
    return import_aes(s, l, kept.expose());
  }
  if (kind == "many") {
    unsigned n = 0;
    if (!(words >> n)) return malformed();
    for (unsigned i = 0; i < n; ++i) {
      const KeyPair k = generate_key_pair(Curve::p256);
      KF_CHECK(import_pair(s, Curve::p256, view("bystander-" + std::to_string(i)), k.d.expose(), k.q));
    }
    return {};
  }
  return malformed();
}

Status run(const std::vector<std::string>& args) {
  if (args.size() != 4) return Error{"usage", "clone_token MODULE TOKEN-URI PIN-FILE KEY-FILE"};
  std::string pin;
  std::getline(std::ifstream(args[2]), pin);
  KF_TRY(const auto module, p11::Module::load(args[0]));
  KF_TRY(auto info, p11::find_token(*module, args[1]));
  p11::Token token(*module, std::move(info));
  KF_CHECK(token.login(SecretBytes(view(pin)), true));
  p11::Session s;
  if (const CK_RV rv = token.open_session(s, true); rv != CKR_OK)
    return p11::rv_error("hsm-token", "C_OpenSession", rv);
  std::ifstream in(args[3]);
  if (!in) return Error{"key-file", args[3]};
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) KF_CHECK(import_line(s, line));
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const Status s = run({argv + 1, argv + argc});
  if (!s) std::fprintf(stderr, "clone_token: %s\n", s.error().text().c_str());
  std::fflush(nullptr);
  ::_exit(s.ok() ? 0 : 1);
}
