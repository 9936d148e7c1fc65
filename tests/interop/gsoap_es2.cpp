// An Operator made by gSOAP from an interface description (wsdl2h, soapcpp2): six functions of ES2 and
// UpdateSubscriptionAddress against a running SM-DP. Compiled by the test with PROXY_HEADER, NSMAP and PROXY from what
// was generated, and with PUBLISHED when the description is the one that came with SGP.02 v3: there, functions that
// reach the card have no answer on the connection.
//
// gsoap_es2 URL PEM CA OID SMDP-OID SMSR-OID EID ICCID [REPLY-TO]: with REPLY-TO the answers of those functions go
// there (# in it is replaced by the number of the call), and the EIS says when they have taken effect.
#include PROXY_HEADER
#include NSMAP

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>

namespace {

struct soap* ctx = nullptr;
std::string url, oid, smdp, smsr, eid, iccid, reply_to;
unsigned calls = 0;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "FAILED %s: error %d\n", what, ctx->error);
  if (ctx->error != 0) soap_print_fault(ctx, stderr);
  std::exit(1);
}

// A URI is a plain string in gSOAP's own WS-Addressing, and a structure where the description brings its schema along.
void put(char*& to, const std::string& s) { to = soap_strdup(ctx, s.c_str()); }
template <class T>
void put(T*& to, const std::string& s) {
  to = new T();
  to->soap_default(ctx);
  to->__item = s;
}
template <class T>
void put_endpoint(T*& to, const std::string& s) {
  to = new T();
  put(to->Address, s);
}

// What the description calls required, and ReplyTo when the answer shall go elsewhere.
void header(const std::string& action, bool elsewhere) {
  ++calls;
  auto* h = new SOAP_ENV__Header();
  put_endpoint(h->wsa5__From, "https://operator.example/es2?EntityId=" + oid);
  put(h->wsa5__To, url + "?EntityId=" + smdp);
  put(h->wsa5__Action, "http://gsma.com/ES2/" + action);
  put(h->wsa5__MessageID, "//" + oid + "/gsoap-" + std::to_string(getpid()) + "-" + std::to_string(calls));
  if (elsewhere) {
    std::string to = reply_to;
    if (const auto at = to.find('#'); at != std::string::npos) to.replace(at, 1, std::to_string(calls));
    put_endpoint(h->wsa5__ReplyTo, to);
  }
  ctx->header = h;
}

template <class Request>
Request made() {
  Request r;
  r.soap_default(ctx);
  r.FunctionCallIdentifier = "gsoap-" + std::to_string(getpid()) + "-" + std::to_string(calls);
  r.Eid.__ptr = static_cast<unsigned char*>(soap_malloc(ctx, 16));
  r.Eid.__size = 16;
  for (unsigned i = 0; i < 16; ++i)
    r.Eid.__ptr[i] = static_cast<unsigned char>(std::stoi(eid.substr(2 * i, 2), nullptr, 16));
  return r;
}

template <class Response>
void expect_success(const char* what, const Response& r) {
  if (r.FunctionExecutionStatus == nullptr) give_up(what);
  if (const auto* code = r.FunctionExecutionStatus->StatusCodeData) {
    std::fprintf(stderr, "FAILED %s: %s/%s\n", what, code->Subject.c_str(), code->Reason.c_str());
    std::exit(1);
  }
  std::printf("%s EXECUTED_SUCCESS\n", what);
}

#ifdef PUBLISHED
std::string text_of(ns1__ProfileStateType s) { return soap_ns1__ProfileStateType2s(ctx, s); }
template <class T>
const T& entry(const T* p) {
  return *p;
}
#else
std::string text_of(const std::string& s) { return s; }
#endif
template <class T>
const T& entry(const T& p) {
  return p;
}

std::string state(PROXY& p) {  // of the only profile; "" when there is none
  header("DataPreparation/ES2-GetEISRequest", false);
  auto r = made<_ns1__ES2_GetEISRequest>();
  r.Smsr_id = smsr;
  _ns1__ES2_GetEISResponse a;
  if (p.ES2_GetEIS(&r, a) != SOAP_OK) give_up("ES2-GetEIS");
  expect_success("ES2-GetEIS", a);
  if (a.Eis == nullptr) give_up("ES2-GetEIS: no Eis");
  return a.Eis->ProfileInfo.empty() ? "" : text_of(entry(a.Eis->ProfileInfo.front()).State);
}

// Waits until the EIS agrees: how one learns it when the answer goes to somebody else.
void expect_state(PROXY& p, const std::string& wanted) {
  std::string now;
  for (int i = 0; i < 600 && (now = state(p)) != wanted; ++i) usleep(100'000);
  if (now != wanted) {
    std::fprintf(stderr, "FAILED the EIS shows '%s' and not '%s'\n", now.c_str(), wanted.c_str());
    std::exit(1);
  }
}

#ifdef PUBLISHED
#define CARD_CALL(NAME)                                           \
  if (p.NAME(&r) != SOAP_OK && ctx->error != 202) give_up(#NAME); \
  std::printf(#NAME " accepted\n")
#else
#define CARD_CALL(NAME)                                           \
  _##ns1__##NAME##Response a;                                     \
  const int e = p.NAME(&r, a);                                    \
  if (reply_to.empty() ? e != SOAP_OK : e != 202) give_up(#NAME); \
  if (reply_to.empty())                                           \
    expect_success(#NAME, a);                                     \
  else                                                            \
    std::printf(#NAME " accepted\n")
#endif

void drive(PROXY& p) {
  const bool elsewhere = !reply_to.empty();
  {
    header("ProfileManagement/ES2-DownloadProfile", elsewhere);
    auto r = made<_ns1__ES2_DownloadProfileRequest>();
    r.SmSr_id = smsr;
    r.Iccid = &iccid;
    CARD_CALL(ES2_DownloadProfile);
  }
  expect_state(p, "Disabled");
  {
    header("PlatformManagement/ES2-EnableProfile", elsewhere);
    auto r = made<_ns1__ES2_EnableProfileRequest>();
    r.SmSr_id = smsr;
    r.Iccid = iccid;
    CARD_CALL(ES2_EnableProfile);
  }
  expect_state(p, "Enabled");
  {
    header("PlatformManagement/ES2-DisableProfile", elsewhere);
    auto r = made<_ns1__ES2_DisableProfileRequest>();
    r.Smsr_id = smsr;
    r.Iccid = iccid;
    CARD_CALL(ES2_DisableProfile);
  }
  expect_state(p, "Disabled");
  {
    header("ProfileManagement/ES2-UpdatePolicyRulesRequest", false);
    auto r = made<_ns1__ES2_UpdatePolicyRulesRequest>();
    r.Smsr_id = smsr;
    r.Iccid = iccid;
    r.pol2 = new std::remove_pointer_t<decltype(r.pol2)>();
    _ns1__ES2_UpdatePolicyRulesResponse a;
    if (p.ES2_UpdatePolicyRules(&r, a) != SOAP_OK) give_up("ES2-UpdatePolicyRules");
    expect_success("ES2-UpdatePolicyRules", a);
  }
  {
    header("ProfileManagement/ES2-UpdateSubscriptionAddressRequest", false);
    auto r = made<_ns1__ES2_UpdateSubscriptionAddressRequest>();
    std::string imsi = "240011234567890";
    r.Smsr_id = smsr;
    r.Iccid = iccid;
    r.newSubscriptionAddress = new std::remove_pointer_t<decltype(r.newSubscriptionAddress)>();
    r.newSubscriptionAddress->Imsi = &imsi;
    _ns1__ES2_UpdateSubscriptionAddressResponse a;
    if (p.ES2_UpdateSubscriptionAddress(&r, a) != SOAP_OK) give_up("ES2-UpdateSubscriptionAddress");
    expect_success("ES2-UpdateSubscriptionAddress", a);
  }
  {
    header("PlatformManagement/ES2-DeleteProfile", elsewhere);
    auto r = made<_ns1__ES2_DeleteProfileRequest>();
    r.Smsr_id = smsr;
    r.Iccid = iccid;
    CARD_CALL(ES2_DeleteProfile);
  }
  expect_state(p, "");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 9) return 2;
  url = argv[1];
  oid = argv[4];
  smdp = argv[5];
  smsr = argv[6];
  eid = argv[7];
  iccid = argv[8];
  if (argc > 9) reply_to = argv[9];
  soap_ssl_init();
  ctx = soap_new1(SOAP_XML_STRICT | SOAP_XML_TREE | SOAP_C_UTFSTRING);
  // The host is an address, which gSOAP compares with names only.
  if (soap_ssl_client_context(ctx, SOAP_SSL_REQUIRE_SERVER_AUTHENTICATION | SOAP_SSL_SKIP_HOST_CHECK, argv[2], nullptr,
                              argv[3], nullptr, nullptr) != SOAP_OK)
    give_up("TLS");
  PROXY p(ctx, url.c_str());
  drive(p);
  std::printf("%u calls\n", calls);
  return 0;  // what gSOAP allocated dies with the process
}
