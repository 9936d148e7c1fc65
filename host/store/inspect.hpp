// A look into a store without opening it for work: nothing is made, changed or locked, a server may be running on it.
#pragma once

#include <string>

#include "host/base/bytes.hpp"
#include "host/base/result.hpp"

namespace kf::store {

struct StoreFacts {
  bool has_data_key = false;
  Bytes data_key;  // as wrapped by the token
};
int schema_version();  // of what Store::open() makes
// Reasons: store-open (not there, no database, no store), store-version.
Result<StoreFacts> inspect(const std::string& path);

}  // namespace kf::store
