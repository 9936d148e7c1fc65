#include "hsm/p11/rv.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace kf::p11 {
namespace {

// Values that Debian 12's header of p11-kit does not have, or has wrong: PKCS#11 2.40 and 3.0 agree on these.
namespace standard {
constexpr CK_RV CKR_AEAD_DECRYPT_FAILED_ = 0x42;
constexpr CK_RV CKR_EXCEEDED_MAX_ITERATIONS_ = 0x1B5;
constexpr CK_RV CKR_FIPS_SELF_TEST_FAILED_ = 0x1B6;
constexpr CK_RV CKR_LIBRARY_LOAD_FAILED_ = 0x1B7;
constexpr CK_RV CKR_PIN_TOO_WEAK_ = 0x1B8;
constexpr CK_RV CKR_PUBLIC_KEY_INVALID_ = 0x1B9;
constexpr CK_RV CKR_TOKEN_RESOURCE_EXCEEDED_ = 0x201;
constexpr CK_RV CKR_OPERATION_CANCEL_FAILED_ = 0x202;
constexpr CK_RV CKR_KEY_EXHAUSTED_ = 0x203;
}  // namespace standard

#define KF_RV(code, cls) \
  RvRow { code, #code, RvClass::cls }
#define KF_RV_STANDARD(code, cls) \
  RvRow { standard::code##_, #code, RvClass::cls }
// Judged from the public threads behind each code (docs/spec/pkcs11.md L5, L7, L11, L18): a vendor's FUNCTION_FAILED is
// mostly throttling, DEVICE_MEMORY and SESSION_COUNT mean "full right now".
constexpr std::array kTable{
    KF_RV(CKR_OK, ok),
    KF_RV(CKR_ARGUMENTS_BAD, job),
    KF_RV(CKR_ATTRIBUTE_READ_ONLY, job),
    KF_RV(CKR_ATTRIBUTE_SENSITIVE, job),
    KF_RV(CKR_ATTRIBUTE_TYPE_INVALID, job),
    KF_RV(CKR_ATTRIBUTE_VALUE_INVALID, job),
    KF_RV(CKR_ACTION_PROHIBITED, job),
    KF_RV(CKR_DATA_INVALID, job),
    KF_RV(CKR_DATA_LEN_RANGE, job),
    KF_RV(CKR_ENCRYPTED_DATA_INVALID, job),
    KF_RV(CKR_ENCRYPTED_DATA_LEN_RANGE, job),
    KF_RV(CKR_WRAPPED_KEY_INVALID, job),
    KF_RV(CKR_WRAPPED_KEY_LEN_RANGE, job),
    KF_RV(CKR_SIGNATURE_INVALID, job),
    KF_RV(CKR_SIGNATURE_LEN_RANGE, job),
    KF_RV(CKR_MECHANISM_INVALID, job),
    KF_RV(CKR_MECHANISM_PARAM_INVALID, job),
    KF_RV(CKR_DOMAIN_PARAMS_INVALID, job),
    KF_RV(CKR_CURVE_NOT_SUPPORTED, job),
    KF_RV_STANDARD(CKR_PUBLIC_KEY_INVALID, job),
    RvRow{0x1C4, "CKR_PUBLIC_KEY_INVALID (0x1C4)", RvClass::job},  // of modules built with that header
    KF_RV_STANDARD(CKR_AEAD_DECRYPT_FAILED, job),
    KF_RV(CKR_KEY_SIZE_RANGE, job),
    KF_RV(CKR_KEY_TYPE_INCONSISTENT, job),
    KF_RV(CKR_KEY_FUNCTION_NOT_PERMITTED, job),
    KF_RV(CKR_KEY_UNEXTRACTABLE, job),
    KF_RV(CKR_KEY_NOT_WRAPPABLE, job),
    KF_RV(CKR_TEMPLATE_INCOMPLETE, job),
    KF_RV(CKR_TEMPLATE_INCONSISTENT, job),
    KF_RV(CKR_PIN_INCORRECT, job),
    KF_RV(CKR_PIN_INVALID, job),
    KF_RV(CKR_PIN_LEN_RANGE, job),
    KF_RV(CKR_PIN_EXPIRED, job),
    KF_RV(CKR_PIN_LOCKED, job),
    KF_RV_STANDARD(CKR_PIN_TOO_WEAK, job),
    KF_RV_STANDARD(CKR_EXCEEDED_MAX_ITERATIONS, job),
    KF_RV(CKR_FUNCTION_REJECTED, job),
    KF_RV(CKR_KEY_NOT_NEEDED, job),
    KF_RV(CKR_KEY_NEEDED, job),
    KF_RV(CKR_KEY_INDIGESTIBLE, job),
    KF_RV(CKR_UNWRAPPING_KEY_SIZE_RANGE, job),
    KF_RV(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, job),
    KF_RV(CKR_WRAPPING_KEY_SIZE_RANGE, job),
    KF_RV(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, job),
    KF_RV(CKR_SESSION_CLOSED, session),
    KF_RV(CKR_SESSION_HANDLE_INVALID, session),
    KF_RV(CKR_SESSION_READ_ONLY, session),
    KF_RV(CKR_OPERATION_ACTIVE, session),
    KF_RV(CKR_OPERATION_NOT_INITIALIZED, session),
    KF_RV(CKR_BUFFER_TOO_SMALL, session),
    KF_RV(CKR_FUNCTION_CANCELED, session),
    KF_RV_STANDARD(CKR_OPERATION_CANCEL_FAILED, session),
    KF_RV(CKR_KEY_HANDLE_INVALID, key),
    KF_RV(CKR_OBJECT_HANDLE_INVALID, key),
    KF_RV(CKR_KEY_CHANGED, key),
    KF_RV(CKR_WRAPPING_KEY_HANDLE_INVALID, key),
    KF_RV(CKR_UNWRAPPING_KEY_HANDLE_INVALID, key),
    KF_RV_STANDARD(CKR_KEY_EXHAUSTED, key),
    KF_RV(CKR_DEVICE_MEMORY, busy),
    KF_RV(CKR_SESSION_COUNT, busy),
    KF_RV(CKR_FUNCTION_FAILED, busy),
    KF_RV_STANDARD(CKR_TOKEN_RESOURCE_EXCEEDED, busy),
    KF_RV(CKR_GENERAL_ERROR, device),
    KF_RV(CKR_DEVICE_ERROR, device),
    KF_RV(CKR_DEVICE_REMOVED, device),
    KF_RV(CKR_TOKEN_NOT_PRESENT, device),
    KF_RV(CKR_TOKEN_NOT_RECOGNIZED, device),
    KF_RV(CKR_TOKEN_WRITE_PROTECTED, device),
    KF_RV(CKR_SLOT_ID_INVALID, device),
    KF_RV(CKR_FUNCTION_NOT_SUPPORTED, device),
    KF_RV(CKR_RANDOM_NO_RNG, device),
    KF_RV(CKR_USER_PIN_NOT_INITIALIZED, device),
    KF_RV_STANDARD(CKR_FIPS_SELF_TEST_FAILED, device),
    KF_RV_STANDARD(CKR_LIBRARY_LOAD_FAILED, device),
    KF_RV(CKR_HOST_MEMORY, fatal),
    KF_RV(CKR_CRYPTOKI_NOT_INITIALIZED, fatal),
    KF_RV(CKR_CANT_LOCK, fatal),
    KF_RV(CKR_MUTEX_BAD, fatal),
    KF_RV(CKR_MUTEX_NOT_LOCKED, fatal),
    // The worker wiped its PIN after the one login: only a new process can log in again (docs/spec/pkcs11.md L2, L13).
    KF_RV(CKR_USER_NOT_LOGGED_IN, fatal),
};
#undef KF_RV
#undef KF_RV_STANDARD

const RvRow* find(CK_RV rv) noexcept {
  const auto* it = std::find_if(kTable.begin(), kTable.end(), [rv](const RvRow& r) { return r.rv == rv; });
  return it == kTable.end() ? nullptr : it;
}

}  // namespace

std::span<const RvRow> rv_table() noexcept { return kTable; }

RvClass rv_class(CK_RV rv) noexcept {
  if (rv == CKR_OK) return RvClass::ok;
  const RvRow* row = find(rv);
  return row == nullptr ? RvClass::device : row->cls;
}

std::string_view to_string(RvClass c) noexcept {
  constexpr std::array<std::string_view, 7> names{"ok", "job", "session", "key", "busy", "device", "fatal"};
  return names[static_cast<std::size_t>(c)];
}

std::string rv_text(CK_RV rv) {
  if (const RvRow* row = find(rv)) return std::string(row->name);
  std::array<char, 32> b{};
  std::snprintf(b.data(), b.size(), "CKR_0x%08lx", rv);
  return b.data();
}

Error rv_error(std::string reason, std::string_view call, CK_RV rv, std::string_view hint) {
  std::string d(call);
  d += ": " + rv_text(rv) + " (" + std::string(to_string(rv_class(rv))) + ")";
  if (!hint.empty()) d += "; " + std::string(hint);
  return {std::move(reason), std::move(d)};
}

}  // namespace kf::p11
