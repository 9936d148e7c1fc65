// What an SM-SR relays from a card: EuiccResponseData, the answers to the key establishment and to an SCP03t session.
// Without the session keys nothing but the genuine protected answer can come out as data. First input byte: options.
#include "host/es8/scp03t.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
using namespace kf;
using namespace kf::es8;
constexpr char kResponse[] = "3007A0053003800100";  // the genuine protected answer of corpus/card_answers

const SealedScript& session() {  // the worked example: docs/spec/crypto.md 12
  static const SealedScript s = [] {
    const KeySet k{SecretBytes(hex("360CE4CBB65BFEF76D4EEB30F99BE1F4")),
                   SecretBytes(hex("A58732AD84D10DA5CB3231E8992CDA51")),
                   SecretBytes(hex("6ED91EEBFAB4666037AE42A9F0342F58")), 0x30};
    const Bytes a = hex("A01412C77400F0C93D059011DA99AEEC5F11C6682A62");
    const Bytes b = hex("611F6DCB3967AB91A93E2DE82A0ADB00");
    const Bytes c = hex("392B649324");
    const std::vector<ByteView> segments{a, b, c};
    return seal_segments_offline(k, Aid::of("A0000005591010FFFFFFFF8900001100"),
                                 {0x05, 0x73, 0x70, 0x6F, 0x3A, 0x88, 0xC1, 0xB3}, {0, 0, 1}, segments);
  }();
  return s;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::uint8_t options = data[0];
  const auto answers = parse_euicc_response_data(ByteView(data + 1, size - 1), (options & 0x80) != 0);
  if (!answers) {
    FUZZ_CHECK(!answers.error().reason.empty());
    return 0;
  }
  std::size_t bytes = 0;
  for (const CardAnswer& a : *answers) {
    bytes += a.whole.size();
    FUZZ_CHECK(a.whole.size() >= a.value.size() + 2);
    (void)a.sw();
  }
  FUZZ_CHECK(bytes <= size - 1);

  const std::size_t from = options & 0x07;
  const auto opened = open_answers(session(), from, *answers);
  if (opened) {
    FUZZ_CHECK(opened->accepted <= answers->size() && opened->segments_accepted <= opened->accepted);
    FUZZ_CHECK(opened->data.empty() || to_hex(opened->data) == kResponse);
  }
  KeySetPlan plan;
  plan.scenario_param = static_cast<std::uint8_t>(0x08 | (options >> 4 & 0x03));
  const auto rc = rc_of(*answers, from);
  if (rc) FUZZ_CHECK(rc->size() == 16 || rc->size() == 32);
  const auto key = key_answer_of(*answers, from, plan);
  if (key) FUZZ_CHECK(key->receipt.size() == 16 && key->dr.has_value() == plan.with_dr());
  for (const CardAnswer& a : *answers) (void)parse_initialize_update_answer(a);
  std::vector<Bytes> wholes;
  for (const CardAnswer& a : *answers) wholes.push_back(a.whole);
  std::size_t cut = 0;
  for (const Bytes& run : cut_between_tlvs(wholes, options)) cut += run.size();
  FUZZ_CHECK(cut == bytes);
  return 0;
}
