// What a personalised profile package must look like, by search and replace. Test equipment,
// independent of host/profile. docs/spec/interfaces.md 7. Pure functions.
#pragma once

#include <string>

#include "host/base/bytes.hpp"

namespace kf::sim {

struct ExpectedValues {
  std::string iccid;  // 18 to 20 digits
  std::string imsi;   // digits, empty: as the template has it
  Bytes ki, opc;      // empty: as the template has them
};

// Reasons: bad-template (an old value or pattern is missing or found more often than it may be), bad-value.
Result<Bytes> expected_package(ByteView template_der, const ExpectedValues& values);

}  // namespace kf::sim
