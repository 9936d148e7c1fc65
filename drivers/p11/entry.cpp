// The one symbol that the module shows.
#include "drivers/p11/calls.hpp"

extern "C" CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  if (list == nullptr) return CKR_ARGUMENTS_BAD;
  *list = kf::p11core::function_list();
  return CKR_OK;
}
