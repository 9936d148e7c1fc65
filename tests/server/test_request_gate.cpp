// Who may ask for what, decided from a request's head: no server, no socket.
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

TEST(RequestGate, WhatCannotBeReadIsSaidSo) {
  for (const char* type :
       {"", "text/plain", "application/json", "multipart/related; boundary=x", "application/soap+xml; charset=utf-16",
        "application/soap+xml; charset=\"windows-1252\"", "soap", "/", ";"})
    EXPECT_EQ(status_with([&](auto& r) { r.content_type = type; }), 415U) << type;
  EXPECT_EQ(status_with([](auto& r) { r.headers = {{"content-encoding", "gzip"}}; }), 415U);
  for (const char* type : {"application/soap+xml; charset=US-ASCII", "text/xml; charset=\"iso-8859-1\""}) {
    EXPECT_EQ(status_with([&](auto& r) { r.content_type = type; }), 0U) << type;
    net::Request r = head();
    r.content_type = type;
    EXPECT_TRUE(declared_ascii(r)) << type;
  }
  EXPECT_FALSE(declared_ascii(head()));
}

TEST(RequestGate, AnswersGoToRegisteredHostsAndKnownPorts) {
  Party p;
  p.url = "https://operator.example:8443/es2";
  const auto allowed = [&](const std::string& registered, const std::string& url) {
    const auto u = net::parse_url(url);
    EXPECT_TRUE(u.ok()) << url;
    return u.ok() && reply_allowed(p, registered, *u);
  };
  EXPECT_TRUE(allowed("operator.example", "https://operator.example/a"));
  EXPECT_TRUE(allowed("operator.example", "https://operator.example:8443/a"));
  EXPECT_FALSE(allowed("operator.example", "https://operator.example:22/a"));
  EXPECT_FALSE(allowed("operator.example", "https://operator.example.evil/a"));
  EXPECT_FALSE(allowed("operator.example", "https://evil/operator.example"));
  EXPECT_TRUE(allowed("operator.example:9000", "https://operator.example:9000/a"));
  EXPECT_FALSE(allowed("operator.example:9000", "https://operator.example/a"));
  p.url = "not a url";
  EXPECT_TRUE(allowed("operator.example", "https://operator.example/a"));
  EXPECT_FALSE(allowed("operator.example", "https://operator.example:8443/a"));
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
