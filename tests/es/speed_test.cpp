// What one message of a download costs: a SendData request and response of 12.6 KB (25 KB of hex), an EIS.
#include <chrono>
#include <cstdio>

#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

template <class F>
double best_us(F f) {
  double best = 1e9;
  for (int round = 0; round < 50; ++round) {
    const auto t = std::chrono::steady_clock::now();
    for (int i = 0; i < 10; ++i) f();
    best = std::min(best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - t).count() / 10);
  }
  return best;
}

// The bound is wide, for sanitizer builds and busy machines; it catches what is not linear. The number is for people.
constexpr double kBoundUs = 5000;

void report(const char* what, double us) {
  std::printf("[ measured ] %-32s %7.1f us\n", what, us);
  EXPECT_LT(us, kBoundUs) << what;
}

TEST(Speed, SendDataAndEis) {
  Request r;
  r.interface = Interface::es3;
  r.function = Function::send_data;
  r.function_call_identifier = "c";
  r.eid = kEid;
  r.sd_aid = hex("A0000005591010FFFFFFFF8900001300");
  for (int k = 0; k < 12600; ++k) r.data.push_back(static_cast<std::uint8_t>(k * 31 + k / 7));
  SendHeader h{"https://a?EntityId=1.2", "https://b?EntityId=1.3", "", "//1.2/x?TransactionId=t", "", "", {}};
  h.action = action_of(r);
  const std::string request_xml = write_message(h, r);
  Response a;
  a.interface = Interface::es3;
  a.function = Function::send_data;
  a.euicc_response_data = r.data;
  const std::string response_xml = write_message(h, a);
  const std::string eis_xml = own("eis.xml");
  const CodecOptions o;
  report("write SendData request", best_us([&] { EXPECT_GT(write_message(h, r).size(), 25200U); }));
  report("parse SendData request", best_us([&] { EXPECT_EQ(parse_message(request_xml, o).index(), 0U); }));
  report("parse SendData response", best_us([&] { EXPECT_EQ(parse_message(response_xml, o).index(), 0U); }));
  report("parse EIS", best_us([&] { EXPECT_EQ(parse_message(eis_xml, o).index(), 0U); }));
}

// A megabyte made to be slow to look at: thousands of unknown children, every scope full of declarations.
TEST(Speed, HostileInputStaysLinear) {
  std::string declarations;
  for (int i = 0; i < 30; ++i) declarations += " xmlns:p" + std::to_string(i) + "='u" + std::to_string(i) + "'";
  std::string children;
  while (children.size() < 1'000'000) children += "<r:x/><p0:y/>";
  const std::string xml = replaced(request(Interface::es2, "DownloadProfile", kCall + kEidElement + kSmsr + children),
                                   "<r:ES2-DownloadProfileRequest", "<r:ES2-DownloadProfileRequest" + declarations);
  const auto t = std::chrono::steady_clock::now();
  const Message m = message(xml);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - t).count();
  std::printf("[ measured ] %-32s %7.1f ms\n", "1 MB of unknown children", ms);
  EXPECT_EQ(m.unknown_elements.size(), 2U);
  EXPECT_LT(ms, 5000);
}

// The same for the signature of the EUM, whose namespaces are followed to its leaves: a new prefix in each element.
TEST(Speed, HostileSignatureStaysLinear) {
  std::string children;
  for (int i = 0; children.size() < 1'000'000; ++i) children += "<p" + std::to_string(i) + ":x/>";
  const std::string xml = own("eis.xml");
  const std::size_t from = xml.find('>', xml.find("EumSignature")) + 1;
  const std::string hostile = xml.substr(0, from) + "<o>" + children + "</o>" + xml.substr(from);
  const auto t = std::chrono::steady_clock::now();
  fault(hostile);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - t).count();
  std::printf("[ measured ] %-32s %7.1f ms\n", "1 MB of prefixes in EumSignature", ms);
  EXPECT_LT(ms, 5000);
}

}  // namespace
}  // namespace kf::es::test
