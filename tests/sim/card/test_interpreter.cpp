// The Profile Package Interpreter: real TS.48 packages, cuts anywhere, and every framing error.
#include "tests/sim/card/test_host.hpp"

namespace kf::sim::test {
namespace {

using card::Interpreter;
using Outcome = Interpreter::Outcome;

// Feeds `der` in pieces of `step`; stops at the first outcome that is not `more`.
Outcome feed(Interpreter& w, ByteView der, std::size_t step, const Interpreter::Inject& inject = {}) {
  Outcome o = Outcome::more;
  for (std::size_t at = 0; at < der.size() && o == Outcome::more; at += step)
    o = w.feed(der.subspan(at, std::min(step, der.size() - at)), inject);
  return o;
}
struct Walked {
  Outcome outcome = Outcome::more;
  std::string response;
  unsigned elements = 0;
};
// The result must not depend on where the bytes were cut.
Walked walk(ByteView der, std::uint32_t quota = 1U << 20) {
  std::optional<Walked> first;
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{1007}, der.size() + 1}) {
    Interpreter w(quota);
    const Outcome o = feed(w, der, step);
    const Walked r{o, o == Outcome::more ? "" : to_hex(w.euicc_response()), w.elements()};
    if (first) {
      EXPECT_EQ(first->outcome, r.outcome) << "step " << step;
      EXPECT_EQ(first->response, r.response) << "step " << step;
    } else {
      first = r;
    }
  }
  return *first;
}
const char* const kSuccess = "3007A0053003800100";

TEST(Interpreter, Ts48Packages) {
  struct Known {
    const char* file;
    std::size_t bytes;
    unsigned elements;
  };
  unsigned run = 0;
  for (const Known k :
       {Known{"ts48v7-saip23-bertlv-suci.der", 12385, 30}, Known{"ts48v7-saip23-bertlv-suci-noramrfm.der", 12037, 26},
        Known{"ts48v7-saip23-nobertlv.der", 12261, 30}, Known{"ts48v7-saip23-nobertlv-noramrfm.der", 11913, 26}}) {
    const auto der = read_file(shared_path(std::string("profiles/") + k.file));
    if (!der) continue;
    SCOPED_TRACE(k.file);
    ASSERT_EQ(der->size(), k.bytes);
    const Walked r = walk(*der);
    EXPECT_EQ(r.outcome, Outcome::done);
    EXPECT_EQ(r.response, kSuccess);
    EXPECT_EQ(r.elements, k.elements);
    Interpreter w(1U << 20);
    feed(w, *der, 1007);
    ASSERT_TRUE(w.header());
    EXPECT_EQ(w.header()->iccid, "89000123456789012341");
    EXPECT_FALSE(w.header()->pol);
    EXPECT_EQ(w.bytes(), k.bytes);
    // One byte behind PE-End, or one missing.
    Interpreter behind(1U << 20);
    EXPECT_EQ(behind.feed(concat(*der, hex("A0")), {}), Outcome::aborted);
    EXPECT_EQ(walk(ByteView(*der).first(der->size() - 1)).outcome, Outcome::more);
    ++run;
  }
  if (run == 0) GTEST_SKIP() << "../shared/profiles is absent";
  EXPECT_EQ(run, 4U);
}

TEST(Interpreter, OwnPackage) {
  const Bytes p = package(std::uint8_t{0x02});
  EXPECT_EQ(walk(p).response, kSuccess);
  Interpreter w(1U << 20);
  EXPECT_EQ(feed(w, p, 5), Outcome::done);
  EXPECT_EQ(w.elements(), 4U);
  EXPECT_EQ(w.header()->pol, std::uint8_t{0x02});
  // The header counts from the moment its last byte came, not before.
  const std::size_t n = header_pe(std::uint8_t{0x02}).size();
  Interpreter h(1U << 20);
  h.feed(ByteView(p).first(n - 1), {});
  EXPECT_FALSE(h.header());
  h.feed(ByteView(p).subspan(n - 1, 1), {});
  EXPECT_TRUE(h.header());
}

TEST(Interpreter, IccidOf19Digits) {
  Interpreter w(1000);
  w.feed(header_pe({}, "8900012345678901234F"), {});
  ASSERT_TRUE(w.header());
  EXPECT_EQ(w.header()->iccid, "8900012345678901234");
}

TEST(Interpreter, FramingErrors) {
  const Bytes head = header_pe();
  const Bytes end = pe(0xAA, 9);
  struct Case {
    const char* name;
    Bytes der;
    std::string response;
  };
  const std::string format = pe_response({{"05", ""}}, true);  // no PE to name
  const std::string format_pe1 = pe_response({{"05", "01"}}, true);
  const std::vector<Case> cases = {
      {"no header first", concat(middle_pe(), end), format},
      {"end first", end, format},
      {"second header", concat(head, head, end), format},
      {"universal tag", concat(head, hex("30028000"), end), format},
      {"primitive context tag", concat(head, hex("8100")), format},
      {"length not minimal", concat(head, hex("B0817F")), format},
      {"length not minimal, two bytes", concat(head, hex("B08200FF")), format},
      {"indefinite length", concat(head, hex("B080")), format},
      {"length of four bytes", concat(head, hex("B08400000001")), format},
      {"three-byte tag", concat(head, hex("BF8181")), format},
      {"two-byte tag below 31", concat(head, hex("BF1E00")), format},
      {"PE without a PEHeader", concat(head, tlv(0xB0, tlv(0x81, hex("01")))), format},
      {"empty PE", concat(head, hex("B000")), format},
      {"PEHeader without identification", concat(head, tlv(0xB0, tlv(0xA0, hex("8000")))), format},
      {"PEHeader with two identifications", concat(head, tlv(0xB0, tlv(0xA0, hex("810101810101")))), format_pe1},
      {"mandated after identification", concat(head, tlv(0xB0, tlv(0xA0, hex("8101018000")))), format_pe1},
      {"child longer than its parent", concat(head, tlv(0xB0, concat(hex("A003810101"), hex("8205AA")))), format_pe1},
      {"child header cut by its parent", concat(head, tlv(0xB0, concat(hex("A003810101"), hex("82")))), format_pe1},
      {"child length cut by its parent", concat(head, tlv(0xB0, concat(hex("A003810101"), hex("8281")))), format_pe1},
      {"header without ICCID", tlv(0xA0, hex("800102810103A5028100A600")), format},
      {"header without services",
       tlv(0xA0, concat(hex("800102810103"), tlv(0x83, hex("89000123456789012341")), hex("A600"))), format},
      {"header fields out of order",
       tlv(0xA0, concat(hex("810103800102"), tlv(0x83, hex("89000123456789012341")), hex("A500A600"))), format},
      {"header field twice",
       tlv(0xA0, concat(hex("800102800102"), tlv(0x83, hex("89000123456789012341")), hex("A500A600"))), format},
      {"ICCID not decimal", header_pe({}, "8900012345678901234A"), pe_response({{"03", ""}}, true)},
      {"version 4", header_pe({}, "89000123456789012341", 4), pe_response({{"1F", ""}}, true)},
      {"bytes behind the end", concat(head, end, hex("00")), pe_response({{"05", "09"}}, true)},
      {"second end", concat(head, end, end), pe_response({{"05", "09"}}, true)},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    // Cut points matter for "behind the end" only in so far as nothing may be fed after done: one piece here.
    Interpreter w(1U << 20);
    EXPECT_EQ(w.feed(c.der, {}), Outcome::aborted);
    EXPECT_EQ(to_hex(w.euicc_response()), c.response);
  }
}

TEST(Interpreter, UnknownElements) {
  // Not mandated: a warning, the installation goes on. Mandated: the end.
  const Walked warned = walk(package({}, pe(0xAB, 0x20, false)));
  EXPECT_EQ(warned.outcome, Outcome::done);
  EXPECT_EQ(warned.response, pe_response({{"01", "20"}}, false));
  EXPECT_EQ(warned.elements, 5U);
  const Walked refused = walk(package({}, pe(0xBF22, 0x21, true)));
  EXPECT_EQ(refused.outcome, Outcome::aborted);
  EXPECT_EQ(refused.response, pe_response({{"01", "21"}}, true));
  // The later elements of 7.2 are known.
  EXPECT_EQ(walk(package({}, concat(pe(0xBE, 0x22), pe(0xBF1F, 0x23), pe(0xBF21, 0x24)))).response, kSuccess);
}

TEST(Interpreter, Quota) {
  const Bytes p = package();
  EXPECT_EQ(walk(p, static_cast<std::uint32_t>(p.size())).response, kSuccess);
  Interpreter w(static_cast<std::uint32_t>(p.size() - 1));
  EXPECT_EQ(w.feed(p, {}), Outcome::aborted);
  EXPECT_EQ(to_hex(w.euicc_response()), pe_response({{"04", "09"}}, true));
}

TEST(Interpreter, LongStatusAndSeveralWarnings) {
  Interpreter w(1U << 20);
  const auto inject = [](unsigned i) -> std::optional<Interpreter::Injected> {
    if (i == 1) return Interpreter::Injected{36864, false};
    if (i == 2) return Interpreter::Injected{200, false};
    return std::nullopt;
  };
  EXPECT_EQ(w.feed(package(), inject), Outcome::done);
  EXPECT_EQ(to_hex(w.euicc_response()), pe_response({{"009000", "01"}, {"00C8", "02"}}, false));
}

// Deep nesting is refused, not followed.
TEST(Interpreter, Depth) {
  Bytes inner = hex("0400");
  for (int i = 0; i < 40; ++i) inner = tlv(0x30, inner);
  Interpreter w(1U << 20);
  EXPECT_EQ(w.feed(concat(header_pe(), tlv(0xB0, concat(hex("A003810101"), inner))), {}), Outcome::aborted);
}

}  // namespace
}  // namespace kf::sim::test
