// Any bytes as the operator's CSV: never a crash, errors without rows, and every accepted row can be written.
#include "host/profile/csv.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
using namespace kf::profile;

const kf::Bytes& sample() {
  static const kf::Bytes b = sample_package();
  return b;
}
const std::vector<Slot>& slots() {
  static const std::vector<Slot> s = find_slots(sample()).value();
  return s;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const CsvResult r = parse_csv(kf::text(kf::ByteView{data, size}), slots());
  FUZZ_CHECK(r.errors.size() <= 1000);
  FUZZ_CHECK(r.errors.empty() != r.rows.empty());
  for (const RowError& e : r.errors) FUZZ_CHECK(e.line >= 1 && e.line <= size + 1 && e.message.size() < 200);
  for (const Row& row : r.rows) FUZZ_CHECK(personalise(sample(), slots(), row.personal).ok());
  return 0;
}
