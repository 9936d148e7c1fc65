// The names of PKCS#11 2.40 that a script of the fault shim may use, and the list of functions. Data only.
#pragma once

#include <p11-kit/pkcs11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kf::shim {

// X(function, what its first argument is). C_GetFunctionList is the shim's own and not in the list.
#define KF_SHIM_FUNCTIONS(X)        \
  X(C_Initialize, none)             \
  X(C_Finalize, none)               \
  X(C_GetInfo, none)                \
  X(C_GetSlotList, none)            \
  X(C_GetSlotInfo, slot)            \
  X(C_GetTokenInfo, slot)           \
  X(C_WaitForSlotEvent, none)       \
  X(C_GetMechanismList, slot)       \
  X(C_GetMechanismInfo, slot)       \
  X(C_InitToken, slot)              \
  X(C_InitPIN, session)             \
  X(C_SetPIN, session)              \
  X(C_OpenSession, slot)            \
  X(C_CloseSession, session)        \
  X(C_CloseAllSessions, slot)       \
  X(C_GetSessionInfo, session)      \
  X(C_GetOperationState, session)   \
  X(C_SetOperationState, session)   \
  X(C_Login, session)               \
  X(C_Logout, session)              \
  X(C_CreateObject, session)        \
  X(C_CopyObject, session)          \
  X(C_DestroyObject, session)       \
  X(C_GetObjectSize, session)       \
  X(C_GetAttributeValue, session)   \
  X(C_SetAttributeValue, session)   \
  X(C_FindObjectsInit, session)     \
  X(C_FindObjects, session)         \
  X(C_FindObjectsFinal, session)    \
  X(C_EncryptInit, session)         \
  X(C_Encrypt, session)             \
  X(C_EncryptUpdate, session)       \
  X(C_EncryptFinal, session)        \
  X(C_DecryptInit, session)         \
  X(C_Decrypt, session)             \
  X(C_DecryptUpdate, session)       \
  X(C_DecryptFinal, session)        \
  X(C_DigestInit, session)          \
  X(C_Digest, session)              \
  X(C_DigestUpdate, session)        \
  X(C_DigestKey, session)           \
  X(C_DigestFinal, session)         \
  X(C_SignInit, session)            \
  X(C_Sign, session)                \
  X(C_SignUpdate, session)          \
  X(C_SignFinal, session)           \
  X(C_SignRecoverInit, session)     \
  X(C_SignRecover, session)         \
  X(C_VerifyInit, session)          \
  X(C_Verify, session)              \
  X(C_VerifyUpdate, session)        \
  X(C_VerifyFinal, session)         \
  X(C_VerifyRecoverInit, session)   \
  X(C_VerifyRecover, session)       \
  X(C_DigestEncryptUpdate, session) \
  X(C_DecryptDigestUpdate, session) \
  X(C_SignEncryptUpdate, session)   \
  X(C_DecryptVerifyUpdate, session) \
  X(C_GenerateKey, session)         \
  X(C_GenerateKeyPair, session)     \
  X(C_WrapKey, session)             \
  X(C_UnwrapKey, session)           \
  X(C_DeriveKey, session)           \
  X(C_SeedRandom, session)          \
  X(C_GenerateRandom, session)      \
  X(C_GetFunctionStatus, session)   \
  X(C_CancelFunction, session)

enum class Fn : std::uint8_t {
#define KF_SHIM_ENUM(name, kind) name,
  KF_SHIM_FUNCTIONS(KF_SHIM_ENUM)
#undef KF_SHIM_ENUM
      count
};
inline constexpr std::size_t kFunctions = static_cast<std::size_t>(Fn::count);

std::string_view name_of(Fn f) noexcept;
std::optional<Fn> function_named(std::string_view name) noexcept;

// A name of the family, or a number (decimal, or hexadecimal with 0x).
std::optional<unsigned long> number(std::string_view text) noexcept;
std::optional<CK_RV> rv_named(std::string_view text) noexcept;                     // CKR_...
std::optional<CK_MECHANISM_TYPE> mechanism_named(std::string_view text) noexcept;  // CKM_... of elliptic curves and AES
std::optional<unsigned long> kdf_named(std::string_view text) noexcept;            // CKD_...

}  // namespace kf::shim
