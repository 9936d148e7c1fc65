// Any bytes as a profile package and as an EUICCResponse: never a crash, and what is accepted keeps its promises.
#include "host/profile/package.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
using namespace kf::profile;

void check(kf::ByteView in) {
  const auto package = parse_package(in);
  const auto slots = find_slots(in);
  if (!package.ok()) {
    FUZZ_CHECK(!slots.ok());
    return;
  }
  std::size_t at = 0;
  for (const Element& e : package->elements) {
    FUZZ_CHECK(e.offset == at && e.size >= 2);
    at += e.size;
  }
  FUZZ_CHECK(at == in.size() && package->elements.front().name == "header" && package->elements.back().name == "end");
  if (!slots.ok()) return;
  std::size_t behind = 0;
  for (const Slot& s : *slots) {
    FUZZ_CHECK(s.offset >= behind && s.size <= in.size() - s.offset);
    behind = s.offset + s.size;
  }
  Personal p;
  p.iccid = kf::Iccid::trusted(kf::iccid_with_luhn("8949000000123456789"));
  for (const Slot& s : *slots) {
    if (s.field == Field::ki) p.ki = kf::SecretBytes(s.size);
    if (s.field == Field::imsi) p.imsi = "262011234567890";
    if (s.field == Field::pin1) p.pin1 = "1234";
  }
  const auto out = personalise(in, *slots, p);
  if (!out.ok()) return;
  FUZZ_CHECK(out->size() == in.size());
  const auto again = parse_package(*out);
  FUZZ_CHECK(again.ok() && again->elements.size() == package->elements.size());
  FUZZ_CHECK(again->header.iccid_digits == p.iccid.str());
  FUZZ_CHECK(template_imsi(*out, *slots) == p.imsi);
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const kf::ByteView in{data, size};
  check(in);
  if (const auto r = parse_euicc_response(in))
    FUZZ_CHECK(r->message.size() <= 256 && r->statuses.size() <= size / 5 + 1);
  return 0;
}
