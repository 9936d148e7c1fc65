// BER-TLV and DGI: whatever is accepted is canonical, and no byte is lost.
#include "host/base/tlv.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kf;
  const ByteView all(data, size);
  ByteView in = all;
  while (!in.empty()) {
    const ByteView before = in;
    const auto t = read_tlv(in);
    if (!t) {
      FUZZ_CHECK(t.error().reason == "truncated" || t.error().reason == "bad-length" || t.error().reason == "bad-tag");
      break;
    }
    FUZZ_CHECK(t->whole.data() == before.data() && t->whole.size() + in.size() == before.size());
    const Bytes again = make_tlv(t->tag, t->value);
    FUZZ_CHECK(to_hex(again) == to_hex(t->whole));
  }
  in = all;
  while (!in.empty()) {
    const ByteView before = in;
    const auto d = read_dgi(in);
    if (!d) break;
    FUZZ_CHECK(d->whole.size() + in.size() == before.size());
    Bytes again;
    append_dgi(again, d->id, d->value);
    FUZZ_CHECK(to_hex(again) == to_hex(d->whole));
  }
  const auto list = read_tlvs(all);
  if (list) {
    std::size_t sum = 0;
    for (const Tlv& t : *list) sum += t.whole.size();
    FUZZ_CHECK(sum == size);
  }
  const auto back = from_hex(to_hex(all));
  FUZZ_CHECK(back.ok() && to_hex(*back) == to_hex(all));
  (void)from_hex(text(all));
  (void)from_base64(text(all));
  return 0;
}
