// Clients that nobody here wrote, generated from an interface description, against a real server with the simulated
// SM-SR behind it. From our own description always, from the published one where ../shared/wsdl exists.
#include <sys/wait.h>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

const std::string kSource = KF_SOURCE_DIR;
const std::string kPython = "/usr/bin/python3";  // Debian's, which has Debian's packages

struct Ran {
  int status = -1;
  std::string out;
};
Ran run_command(const std::string& command) {
  Ran r;
  FILE* p = ::popen((command + " 2>&1").c_str(), "r");
  if (p == nullptr) return r;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, p)) > 0;) r.out.append(buffer, n);
  const int s = ::pclose(p);
  r.status = WIFEXITED(s) ? WEXITSTATUS(s) : -1;
  return r;
}

// The arguments that every client takes: where, who, with which cards.
std::string world_arguments(Rig& rig, unsigned cards) {
  const auto tls = rig.world().tls("operator");
  std::string s = " --url " + rig.world().es2_url() + " --cert " + tls.cert + " --key " + tls.key + " --ca " + tls.ca +
                  " --oid " + std::string(World::kOperatorOid) + " --smdp-oid 2.999.20 --smsr-oid " +
                  std::string(World::kSmsrOid);
  for (unsigned i = 0; i < cards; ++i)
    s += " --card " + rig.subscriptions().list[i].eid + "," + rig.subscriptions().list[i].iccid;
  return s;
}

struct Description {
  const char* name;
  const char* wsdl;  // relative to the source folder; "": as the server gives it
  const char* xsd;
  unsigned cards;  // one for each pattern that it allows for an order
};
class Zeep : public ::testing::TestWithParam<Description> {};

TEST_P(Zeep, DrivesTheFunctionsOfEs2) {
  const Description& d = GetParam();
  if (run_command(kPython + " -c 'import zeep, lxml'").status != 0) GTEST_SKIP() << "python3-zeep is not installed";
  if (!fs::exists(kSource + "/" + d.xsd)) GTEST_SKIP() << "../shared/wsdl is absent";
  RigOptions o;
  o.euiccs = d.cards;
  Rig rig(o);
  std::string command = kPython + " " + kSource + "/tests/interop/zeep_es2.py --xsd " + kSource + "/" + d.xsd;
  if (*d.wsdl != 0) command += " --wsdl " + kSource + "/" + d.wsdl;
  const Ran r = run_command(command + world_arguments(rig, d.cards));
  EXPECT_EQ(r.status, 0) << r.out << slurp(rig.world().smdp_log());
  EXPECT_NE(r.out.find(std::to_string(d.cards) + " cards"), std::string::npos) << r.out;
  EXPECT_EQ(rig.created_left(), 0U);
}
INSTANTIATE_TEST_SUITE_P(
    Descriptions, Zeep,
    ::testing::Values(Description{"ours", "docs/interfaces/es2-smdp.wsdl", "docs/interfaces/messages.xsd", 3},
                      Description{"published", "../shared/wsdl/ES2_SMDP.wsdl", "../shared/wsdl/xsd", 2}),
    [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace kf::e2e
