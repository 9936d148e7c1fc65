// A provider of OpenSSL that uses the module while OpenSSL reads its configuration and activates providers, as
// pkcs11-provider does: a module that fetches in the default context then waits for itself. Refuses to be activated
// when the module does not work.
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

#include <cstdio>

#include "tests/p11module/support.hpp"

namespace kf::p11test {
namespace {

bool module_works() {
  CK_FUNCTION_LIST* const f = raw_module();
  if (f == nullptr || f->C_Initialize(nullptr) != CKR_OK) return false;
  bool good = false;
  {
    Session s(f);
    Pair p;
    CK_OBJECT_HANDLE o = 0;
    Signature signature{};
    const Bytes message(100, 7);
    good = s.generate(Curve::p256, true, p) == CKR_OK &&
           s.sign(p.priv, message, signature, CKM_ECDSA_SHA256) == CKR_OK &&
           s.verify(p.pub, message, signature, CKM_ECDSA_SHA256) == CKR_OK;
    // A point from outside is checked in this process.
    Attributes t;
    t.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC);
    t.octets(CKA_EC_PARAMS, oid(Curve::p256)).octets(CKA_EC_POINT, der(s.point(p.pub)));
    good = good && f->C_CreateObject(s.h, t.data(), t.size(), &o) == CKR_OK;
    // e = 0 is decided by software.
    good = good && s.sign(p.priv, Bytes(32), signature) == CKR_OK && s.verify(p.pub, Bytes(32), signature) == CKR_OK &&
           s.verify(p.pub, Bytes(32), Bytes(64, 9)) != CKR_OK;
  }
  return f->C_Finalize(nullptr) == CKR_OK && good;
}

}  // namespace
}  // namespace kf::p11test

extern "C" __attribute__((visibility("default"))) int OSSL_provider_init(const OSSL_CORE_HANDLE* handle,
                                                                         const OSSL_DISPATCH*,
                                                                         const OSSL_DISPATCH** out, void** context) {
  static const OSSL_DISPATCH nothing[] = {{0, nullptr}};
  *out = nothing;
  *context = const_cast<OSSL_CORE_HANDLE*>(handle);
  const bool works = kf::p11test::module_works();
  // OpenSSL goes on without a provider that fails, and says so to nobody.
  std::fprintf(stderr, "%s\n", works ? "the module works in a provider" : "the module does not work in a provider");
  return works ? 1 : 0;
}
