// Who may ask for what, decided from a request's head: certificates, paths, methods. With certificates and a
// configuration of its own, tests/main/test_request_gate.cpp has media types, addresses for answers, and the lines that
// refused parties leave in the log.
#include <gtest/gtest.h>

#include "host/server/request_gate.hpp"

namespace kf::server {
namespace {

constexpr std::string_view kPath = "/es2", kSecond = "/es2/v2";

Settings settings() {
  Settings c;
  Party op;
  op.role = Role::operator_;
  op.oid = Oid::trusted("2.999.10");
  op.fingerprints = {"AA"};
  op.names = {"names of the operator"};
  c.parties.push_back(op);
  Party smsr;
  smsr.role = Role::smsr;
  smsr.oid = Oid::trusted("2.999.20");
  smsr.fingerprints = {"BB"};
  smsr.names = {"names of the SM-SR"};
  smsr.by_subject = true;
  c.parties.push_back(smsr);
  return c;
}
net::Request head() {
  net::Request r;
  r.target = kPath;
  r.content_type = "application/soap+xml; charset=utf-8";
  r.peer.fingerprint = "AA";
  r.peer.address = "192.0.2.1:4000";
  r.peer.network = "192.0.2.1";
  return r;
}
net::Admission admit(const net::Request& r, Role role = Role::operator_) {
  return admit_soap(settings(), r, role, kPath, kSecond);
}
template <class F>
unsigned status_with(F change, Role role = Role::operator_) {
  net::Request r = head();
  change(r);
  const net::Admission a = admit(r, role);
  EXPECT_EQ(a.status == 0, a.reason.empty()) << a.reason;
  return a.status;
}

TEST(RequestGate, AnOperatorsMessageGoesOn) {
  EXPECT_EQ(admit(head()).status, 0U);
  EXPECT_EQ(status_with([](auto& r) { r.target = kSecond; }), 0U);
  EXPECT_EQ(status_with([](auto& r) { r.target = "/es2?x=1"; }), 0U);
  EXPECT_EQ(status_with([](auto& r) { r.content_type = "text/xml"; }), 0U);
  EXPECT_EQ(status_with([](auto& r) { r.headers = {{"Content-Encoding", "identity"}}; }), 0U);
}

TEST(RequestGate, TheCertificateDecidesWhoAsks) {
  EXPECT_EQ(status_with([](auto& r) { r.peer.fingerprint = "BB"; }), 403U) << "an SM-SR at ES2";
  EXPECT_EQ(status_with([](auto& r) { r.peer.fingerprint = "BB"; }, Role::smsr), 0U);
  EXPECT_EQ(status_with([](auto& r) { r.peer.fingerprint = "CC"; }), 403U);
  EXPECT_EQ(status_with([](auto& r) { r.peer.fingerprint.clear(); }), 403U);
  // A renewed certificate: of the party that is known by its names, not of the one that is known by its certificate.
  const auto renewed = [](std::string names) {
    return [names = std::move(names)](net::Request& r) { r.peer.fingerprint = "CC", r.peer.names = names; };
  };
  EXPECT_EQ(status_with(renewed("names of the SM-SR"), Role::smsr), 0U);
  EXPECT_EQ(status_with(renewed("names of the operator")), 403U);
  EXPECT_EQ(status_with(renewed("")), 403U);
}

// Whoever it is, and whatever is asked for: a stranger learns nothing about paths and methods.
TEST(RequestGate, AStrangerIsToldNothingElse) {
  for (const char* target : {"/es2", "/es2?wsdl", "/elsewhere"})
    EXPECT_EQ(status_with([&](auto& r) { r.peer.fingerprint = "CC", r.method = "GET", r.target = target; }), 403U);
}

TEST(RequestGate, DescriptionsAreForGetAtTheServedPaths) {
  for (const char* method : {"GET", "HEAD"}) {
    const auto ask = [&](std::string target) {
      return status_with([&](auto& r) { r.method = method, r.target = target, r.content_type.clear(); });
    };
    EXPECT_EQ(ask("/es2?wsdl"), 0U);
    EXPECT_EQ(ask("/es2/v2?WSDL"), 0U);
    EXPECT_EQ(ask("/es2?xsd=es2.xsd"), 0U);
    EXPECT_EQ(ask("/other?wsdl"), 404U);
    EXPECT_EQ(ask("/es2"), 405U);
  }
  for (const char* method : {"PUT", "DELETE", "OPTIONS", "post", ""})
    EXPECT_EQ(status_with([&](auto& r) { r.method = method; }), 405U) << method;
  for (const char* target : {"/", "/es", "/es22", "/ES2", "//es2", "", "?wsdl"})
    EXPECT_EQ(status_with([&](auto& r) { r.target = target; }), 404U) << target;
}

TEST(RequestGate, FaultsAndDescriptionsAsAnswers) {
  EXPECT_EQ(accepted_response().status, 202U);
  const Party p = settings().parties.front();
  EXPECT_EQ(description_response(p, "/es2?xsd=../../etc/passwd", "es2-smdp.wsdl", "https://dp.example/es2").status,
            404U);
  const net::Response wsdl = description_response(p, "/es2?wsdl", "es2-smdp.wsdl", "https://dp.example/es2");
  EXPECT_EQ(wsdl.status, 200U);
  EXPECT_NE(wsdl.body.find("https://dp.example/es2"), std::string::npos);
}

}  // namespace
}  // namespace kf::server
