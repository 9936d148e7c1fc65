#include "drivers/p11/calls.hpp"

namespace kf::p11core {
namespace {

template <class... A>
CK_RV unsupported(A...) {
  return call([](Library&) -> CK_RV { return CKR_FUNCTION_NOT_SUPPORTED; });
}

CK_RV get_function_list(CK_FUNCTION_LIST** list) {
  if (list == nullptr) return CKR_ARGUMENTS_BAD;
  *list = function_list();
  return CKR_OK;
}

CK_FUNCTION_LIST make() {
  CK_FUNCTION_LIST f{};
  f.version = {2, 40};
  f.C_Initialize = api::initialize;
  f.C_Finalize = api::finalize;
  f.C_GetInfo = api::get_info;
  f.C_GetFunctionList = get_function_list;
  f.C_GetSlotList = api::get_slot_list;
  f.C_GetSlotInfo = api::get_slot_info;
  f.C_GetTokenInfo = api::get_token_info;
  f.C_GetMechanismList = api::get_mechanism_list;
  f.C_GetMechanismInfo = api::get_mechanism_info;
  f.C_InitToken = unsupported;
  f.C_InitPIN = unsupported;
  f.C_SetPIN = unsupported;
  f.C_OpenSession = api::open_session;
  f.C_CloseSession = api::close_session;
  f.C_CloseAllSessions = api::close_all_sessions;
  f.C_GetSessionInfo = api::get_session_info;
  f.C_GetOperationState = unsupported;
  f.C_SetOperationState = unsupported;
  f.C_Login = api::login;
  f.C_Logout = api::logout;
  f.C_CreateObject = api::create_object;
  f.C_CopyObject = api::copy_object;
  f.C_DestroyObject = api::destroy_object;
  f.C_GetObjectSize = api::get_object_size;
  f.C_GetAttributeValue = api::get_attribute_value;
  f.C_SetAttributeValue = api::set_attribute_value;
  f.C_FindObjectsInit = api::find_objects_init;
  f.C_FindObjects = api::find_objects;
  f.C_FindObjectsFinal = api::find_objects_final;
  f.C_EncryptInit = unsupported;
  f.C_Encrypt = unsupported;
  f.C_EncryptUpdate = unsupported;
  f.C_EncryptFinal = unsupported;
  f.C_DecryptInit = unsupported;
  f.C_Decrypt = unsupported;
  f.C_DecryptUpdate = unsupported;
  f.C_DecryptFinal = unsupported;
  f.C_DigestInit = unsupported;
  f.C_Digest = unsupported;
  f.C_DigestUpdate = unsupported;
  f.C_DigestKey = unsupported;
  f.C_DigestFinal = unsupported;
  f.C_SignInit = api::sign_init;
  f.C_Sign = api::sign;
  f.C_SignUpdate = api::sign_update;
  f.C_SignFinal = api::sign_final;
  f.C_SignRecoverInit = unsupported;
  f.C_SignRecover = unsupported;
  f.C_VerifyInit = api::verify_init;
  f.C_Verify = api::verify;
  f.C_VerifyUpdate = api::verify_update;
  f.C_VerifyFinal = api::verify_final;
  f.C_VerifyRecoverInit = unsupported;
  f.C_VerifyRecover = unsupported;
  f.C_DigestEncryptUpdate = unsupported;
  f.C_DecryptDigestUpdate = unsupported;
  f.C_SignEncryptUpdate = unsupported;
  f.C_DecryptVerifyUpdate = unsupported;
  f.C_GenerateKey = unsupported;
  f.C_GenerateKeyPair = api::generate_key_pair;
  f.C_WrapKey = unsupported;
  f.C_UnwrapKey = unsupported;
  f.C_DeriveKey = api::derive_key;
  f.C_SeedRandom = api::seed_random;
  f.C_GenerateRandom = api::generate_random;
  f.C_GetFunctionStatus = api::not_parallel;
  f.C_CancelFunction = api::not_parallel;
  f.C_WaitForSlotEvent = api::wait_for_slot_event;
  return f;
}

}  // namespace

CK_FUNCTION_LIST* function_list() {
  static CK_FUNCTION_LIST list = make();
  return &list;
}

}  // namespace kf::p11core
