// A look into a store without opening it for work: nothing is made, changed or locked, a server may be running on it.
#pragma once

#include <functional>
#include <string>

#include "host/base/bytes.hpp"
#include "host/base/result.hpp"
#include "host/store/tx.hpp"

namespace kf::store {

struct StoreFacts {
  bool has_data_key = false;
  Bytes data_key;  // as wrapped by the token
};
int schema_version();  // of what Store::open() makes
// Reasons: store-open (not there, no database, no store), store-version.
Result<StoreFacts> inspect(const std::string& path);
// Lets `work` read, also where the disk is full. Reasons: those of inspect(), store-version of an older store too,
// store-failed.
Status look(const std::string& path, const std::function<void(Tx&)>& work);

}  // namespace kf::store
