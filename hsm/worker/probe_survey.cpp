// Library, slots, tokens and mechanisms: what the module says about itself.
#include <p11-kit/uri.h>

#include <array>
#include <cstdlib>

#include "hsm/worker/probe_steps.hpp"

namespace kf::hsm::worker {
namespace {

constexpr std::size_t kMaxSlots = 64;  // a page for people; the rest is counted

struct Flag {
  CK_FLAGS bit;
  const char* name;
};
constexpr std::array kSlotFlags{Flag{CKF_TOKEN_PRESENT, "token present"}, Flag{CKF_REMOVABLE_DEVICE, "removable"},
                                Flag{CKF_HW_SLOT, "hardware"}};
constexpr std::array kTokenFlags{Flag{CKF_RNG, "random generator"},
                                 Flag{CKF_WRITE_PROTECTED, "write protected"},
                                 Flag{CKF_LOGIN_REQUIRED, "login required"},
                                 Flag{CKF_USER_PIN_INITIALIZED, "user PIN set"},
                                 Flag{CKF_RESTORE_KEY_NOT_NEEDED, "restore key not needed"},
                                 Flag{CKF_CLOCK_ON_TOKEN, "clock"},
                                 Flag{CKF_PROTECTED_AUTHENTICATION_PATH, "PIN pad"},
                                 Flag{CKF_DUAL_CRYPTO_OPERATIONS, "dual operations"},
                                 Flag{CKF_TOKEN_INITIALIZED, "initialised"},
                                 Flag{CKF_USER_PIN_COUNT_LOW, "a wrong user PIN was tried"},
                                 Flag{CKF_USER_PIN_FINAL_TRY, "user PIN: last try"},
                                 Flag{CKF_USER_PIN_LOCKED, "user PIN locked"},
                                 Flag{CKF_USER_PIN_TO_BE_CHANGED, "user PIN must be changed"},
                                 Flag{CKF_SO_PIN_COUNT_LOW, "a wrong SO PIN was tried"},
                                 Flag{CKF_SO_PIN_FINAL_TRY, "SO PIN: last try"},
                                 Flag{CKF_SO_PIN_LOCKED, "SO PIN locked"},
                                 Flag{CKF_SO_PIN_TO_BE_CHANGED, "SO PIN must be changed"}};
constexpr std::array kMechanismFlags{Flag{CKF_HW, "hardware"},
                                     Flag{CKF_GENERATE, "generate"},
                                     Flag{CKF_GENERATE_KEY_PAIR, "generate pair"},
                                     Flag{CKF_SIGN, "sign"},
                                     Flag{CKF_VERIFY, "verify"},
                                     Flag{CKF_DERIVE, "derive"},
                                     Flag{CKF_ENCRYPT, "encrypt"},
                                     Flag{CKF_DECRYPT, "decrypt"},
                                     Flag{CKF_WRAP, "wrap"},
                                     Flag{CKF_UNWRAP, "unwrap"},
                                     Flag{CKF_DIGEST, "digest"},
                                     Flag{CKF_EC_NAMEDCURVE, "named curves"},
                                     Flag{CKF_EC_UNCOMPRESS, "uncompressed points"},
                                     Flag{CKF_EC_COMPRESS, "compressed points"}};

struct Mechanism {
  CK_MECHANISM_TYPE type;
  const char* name;
};
// What Keyferry uses, and what an integrator looks for when one of these is missing.
constexpr std::array kMechanisms{Mechanism{CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"},
                                 Mechanism{CKM_ECDSA, "CKM_ECDSA"},
                                 Mechanism{CKM_ECDSA_SHA256, "CKM_ECDSA_SHA256"},
                                 Mechanism{CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE"},
                                 Mechanism{CKM_ECDH1_COFACTOR_DERIVE, "CKM_ECDH1_COFACTOR_DERIVE"},
                                 Mechanism{CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN"},
                                 Mechanism{CKM_AES_GCM, "CKM_AES_GCM"},
                                 Mechanism{CKM_AES_CCM, "CKM_AES_CCM"},
                                 Mechanism{CKM_AES_CBC, "CKM_AES_CBC"},
                                 Mechanism{CKM_AES_CBC_PAD, "CKM_AES_CBC_PAD"},
                                 Mechanism{CKM_AES_CMAC, "CKM_AES_CMAC"},
                                 Mechanism{CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP"},
                                 Mechanism{CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD"},
                                 Mechanism{0x210BUL, "CKM_AES_KEY_WRAP_KWP"},
                                 Mechanism{CKM_GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN"},
                                 Mechanism{CKM_SHA256, "CKM_SHA256"}};

Json names(std::span<const Flag> table, CK_FLAGS set) {
  Json out = Json::array();
  for (const Flag& f : table) {
    if ((set & f.bit) != 0) out.push_back(f.name);
  }
  return out;
}

std::string version_text(const CK_VERSION& v) { return std::to_string(v.major) + "." + std::to_string(v.minor); }

// Two values have a meaning of their own, and modules mix them up (docs/spec/pkcs11.md L8).
std::string limit_text(CK_ULONG n) {
  if (n == CK_UNAVAILABLE_INFORMATION) return "not told";
  if (n == CK_EFFECTIVELY_INFINITE) return "no limit";
  if (n > 0x7FFFFFFF) return "no limit (" + std::to_string(n) + ")";
  return std::to_string(n);
}
std::string count_text(CK_ULONG n) { return n == CK_UNAVAILABLE_INFORMATION ? "not told" : std::to_string(n); }

std::string uri_of(const CK_TOKEN_INFO& t) {
  const std::unique_ptr<P11KitUri, decltype(&p11_kit_uri_free)> uri(p11_kit_uri_new(), &p11_kit_uri_free);
  if (!uri) return {};
  CK_TOKEN_INFO* i = p11_kit_uri_get_token_info(uri.get());
  // Label and serial name one token, also after an update of the vendor's library; model and manufacturer may change.
  std::copy(std::begin(t.label), std::end(t.label), std::begin(i->label));
  std::copy(std::begin(t.serialNumber), std::end(t.serialNumber), std::begin(i->serialNumber));
  char* s = nullptr;
  if (p11_kit_uri_format(uri.get(), P11_KIT_URI_FOR_TOKEN, &s) != P11_KIT_URI_OK) return {};
  std::string out = s;
  std::free(s);
  return out;
}

Json token_json(const CK_TOKEN_INFO& t) {
  return {{"label", clean(p11::padded_text(t.label))},
          {"manufacturer", clean(p11::padded_text(t.manufacturerID))},
          {"model", clean(p11::padded_text(t.model))},
          {"serial", clean(p11::padded_text(t.serialNumber))},
          {"uri", uri_of(t)},
          {"hardware", version_text(t.hardwareVersion)},
          {"firmware", version_text(t.firmwareVersion)},
          {"flags", names(kTokenFlags, t.flags)},
          {"initialised", (t.flags & CKF_TOKEN_INITIALIZED) != 0},
          {"user_pin", (t.flags & CKF_USER_PIN_INITIALIZED) != 0},
          {"login_required", (t.flags & CKF_LOGIN_REQUIRED) != 0},
          {"random", (t.flags & CKF_RNG) != 0},
          {"pin_min", t.ulMinPinLen},
          {"pin_max", t.ulMaxPinLen},
          {"sessions_max", limit_text(t.ulMaxSessionCount)},
          {"sessions_open", count_text(t.ulSessionCount)},
          {"rw_sessions_max", limit_text(t.ulMaxRwSessionCount)},
          {"rw_sessions_open", count_text(t.ulRwSessionCount)}};
}

Json slot_json(CK_FUNCTION_LIST& f, CK_SLOT_ID id) {
  Json j{{"id", id}};
  CK_SLOT_INFO s{};
  CK_RV rv = f.C_GetSlotInfo(id, &s);
  j["info"] = attempt("C_GetSlotInfo", rv);
  if (rv != CKR_OK) return j;
  j["description"] = clean(p11::padded_text(s.slotDescription));
  j["manufacturer"] = clean(p11::padded_text(s.manufacturerID));
  j["flags"] = names(kSlotFlags, s.flags);
  if ((s.flags & CKF_TOKEN_PRESENT) == 0) return j;
  CK_TOKEN_INFO t{};
  rv = f.C_GetTokenInfo(id, &t);
  if (rv == CKR_OK) {
    j["token"] = token_json(t);
  } else {
    j["info"] = attempt("C_GetTokenInfo", rv);
  }
  return j;
}

}  // namespace

Result<Json> step_library(ProbeContext& x, const Json&) {
  CK_FUNCTION_LIST& f = x.module->f();
  Json j;
  CK_INFO i{};
  const CK_RV rv = f.C_GetInfo(&i);
  j["info"] = attempt("C_GetInfo", rv);
  if (rv == CKR_OK) {
    j["cryptoki"] = version_text(i.cryptokiVersion);
    j["manufacturer"] = clean(p11::padded_text(i.manufacturerID));
    j["description"] = clean(p11::padded_text(i.libraryDescription));
    j["version"] = version_text(i.libraryVersion);
  }
  CK_ULONG n = 0;
  CK_RV listed = f.C_GetSlotList(CK_FALSE, nullptr, &n);
  std::vector<CK_SLOT_ID> ids(n + 8);  // some more: a slot may appear between the two calls
  n = ids.size();
  if (listed == CKR_OK) listed = f.C_GetSlotList(CK_FALSE, ids.data(), &n);
  j["slot_list"] = attempt("C_GetSlotList", listed);
  j["slot_count"] = listed == CKR_OK ? n : 0;
  j["slots"] = Json::array();
  if (listed != CKR_OK) return j;
  ids.resize(std::min<std::size_t>(n, kMaxSlots));
  for (const CK_SLOT_ID id : ids) j["slots"].push_back(slot_json(f, id));
  return j;
}

Result<Json> step_mechanisms(ProbeContext& x, const Json& a) {
  CK_FUNCTION_LIST& f = x.module->f();
  const CK_SLOT_ID slot = a.at("slot").get<CK_SLOT_ID>();
  CK_ULONG n = 0;
  CK_RV rv = f.C_GetMechanismList(slot, nullptr, &n);
  std::vector<CK_MECHANISM_TYPE> all(n + 1);  // p11-kit's client reads one past the end when it thins the list out
  if (rv == CKR_OK && n != 0) rv = f.C_GetMechanismList(slot, all.data(), &n);
  Json j{{"list", attempt("C_GetMechanismList", rv)}, {"count", rv == CKR_OK ? n : 0}, {"mechanisms", Json::array()}};
  if (rv != CKR_OK) return j;
  all.resize(std::min<std::size_t>(n, all.size() - 1));
  for (const Mechanism& m : kMechanisms) {
    const bool listed = std::find(all.begin(), all.end(), m.type) != all.end();
    Json row{{"name", m.name}, {"listed", listed}};
    CK_MECHANISM_INFO i{};
    if (listed && f.C_GetMechanismInfo(slot, m.type, &i) == CKR_OK) {
      row["min"] = i.ulMinKeySize;
      row["max"] = i.ulMaxKeySize;
      row["flags"] = names(kMechanismFlags, i.flags);
    }
    j["mechanisms"].push_back(std::move(row));
  }
  return j;
}

Result<Json> step_return_codes(ProbeContext&, const Json&) {
  Json rows = Json::array();
  for (const p11::RvRow& r : p11::rv_table())
    rows.push_back({{"code", r.rv}, {"name", r.name}, {"class", p11::to_string(r.cls)}});
  return Json{{"rows", std::move(rows)}};
}

}  // namespace kf::hsm::worker
