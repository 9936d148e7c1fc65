// Made-up subscriptions for a burst: ICCID, IMSI, random Ki and OPc, and the SHA-256 of the package that the eUICC must
// end up with, computed without the product's personaliser. The keys live only in the CSV text, until it is imported.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"

namespace kf::bench {

struct Template {
  Bytes der;
  std::string name;  // for the report
  std::string profile_type;
  std::size_t elements = 0;
  std::size_t iccid_digits = 20, imsi_digits = 0, ki_bytes = 0, opc_bytes = 0;  // 0: the package has no such place
};
// Empty path: the sample package. Reasons: those of parse_package and find_slots, file; the text names the file.
Result<Template> load_template(const std::string& path);

struct Subscription {
  std::string eid, iccid;
  Digest32 expected{};  // of the personalised package
};
struct Subscriptions {
  std::vector<Subscription> list;
  SecretBytes csv;  // for `keyferry profile import`, header line first
};
// One for each EID; iccid_digits: of the first ones, the others have as many as the template. Reasons: those of
// expected_package.
Result<Subscriptions> make_subscriptions(const Template& t, const std::vector<std::string>& eids,
                                         const std::vector<std::size_t>& iccid_digits = {});

}  // namespace kf::bench
