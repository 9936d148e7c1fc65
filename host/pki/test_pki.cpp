#include "host/pki/test_pki.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "host/base/random.hpp"
#include "host/pki/openssl_x509.hpp"

namespace kf {
namespace {
constexpr int kCertYears = 30;
constexpr int kTlsYears = 10;

std::string errno_text(const std::string& path) { return path + ": " + std::strerror(errno); }

Result<std::string> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{"pki-file", errno_text(path)};
  std::string out;
  char buf[4096];
  ssize_t n = 0;
  while ((n = ::read(fd, buf, sizeof buf)) > 0) out.append(buf, static_cast<std::size_t>(n));
  wipe(buf, sizeof buf);
  const bool ok = n == 0;
  const std::string why = ok ? std::string() : errno_text(path);
  ::close(fd);
  if (!ok) return Error{"pki-file", why};
  return out;
}

// Whole or not at all: a temporary beside it, then rename.
Status write_file(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return Error{"pki-file", errno_text(temporary)};
  std::size_t at = 0;
  bool ok = true;
  while (ok && at < content.size()) {
    const ssize_t n = ::write(fd, content.data() + at, content.size() - at);
    ok = n > 0;
    if (ok) at += static_cast<std::size_t>(n);
  }
  ok = ok && ::fsync(fd) == 0;
  ok = ::close(fd) == 0 && ok;
  ok = ok && ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!ok) return Error{"pki-file", errno_text(path)};
  return {};
}

Result<IssuedX509> read_pair(const std::string& stem) {
  IssuedX509 p;
  KF_TRY(p.cert_pem, read_file(stem + ".pem"));
  KF_TRY(p.key_pem, read_file(stem + ".key"));
  return p;
}

template <class Make>
Result<IssuedX509> ensure_pair(const std::string& stem, Curve c, std::vector<TestPkiFile>* made, const Make& make) {
  const bool cert = std::filesystem::exists(stem + ".pem");
  const bool key = std::filesystem::exists(stem + ".key");
  if (cert && key) return read_pair(stem);
  if (cert) return Error{"pki-incomplete", stem + ".key is missing"};
  std::string own_key;  // a key that is there is never replaced: others may know it, or its certificate was lost
  if (key) {
    KF_TRY(own_key, read_file(stem + ".key"));
    const auto read = load_pem_key(own_key);
    if (!read || read->curve != c) {
      wipe(own_key);
      return Error{"bad-key", stem + ".key: " + (read ? "a key on another curve" : read.error().text())};
    }
  }
  IssuedX509 p = make(own_key);
  wipe(own_key);
  // The key first: a certificate never stands there without its key.
  if (!key) KF_CHECK(write_file(stem + ".key", p.key_pem, 0600));
  KF_CHECK(write_file(stem + ".pem", p.cert_pem, 0644));
  if (made != nullptr) made->push_back({stem + ".pem", !key});
  return p;
}

struct Wiped {  // the private key leaves memory with its scope
  IssuedX509 x;
  explicit Wiped(IssuedX509 v) : x(std::move(v)) {}
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { wipe(x.key_pem); }
};

std::string stem_of(const std::string& dir, const char* what, Curve c) {
  return dir + "/" + what + "-" + std::string(curve_name(c));
}

// The registered identifier of the subjectAltName, as OID content octets; empty when there is none.
Bytes registered_id(ByteView der) {
  const unsigned char* p = der.data();
  const ossl::X509Ptr x(d2i_X509(nullptr, &p, static_cast<long>(der.size())));
  if (!x) return {};
  const ossl::NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x.get(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* n = sk_GENERAL_NAME_value(names.get(), i);
    if (n->type != GEN_RID) continue;
    const auto* b = OBJ_get0_data(n->d.registeredID);
    return Bytes(b, b + OBJ_length(n->d.registeredID));
  }
  return {};
}
}  // namespace

TestPkiParties default_parties() {
  TestPkiParties p;
  p.op = Oid::trusted("2.999.10");
  p.smdp = Oid::trusted("2.999.20");
  p.smsr = Oid::trusted("2.999.30");
  p.eum = Oid::trusted("2.999.40");
  p.m2m = Oid::trusted("2.999.50");
  p.ci = Oid::trusted("2.999.60");
  return p;
}

std::vector<std::string> test_pki_stems(const std::string& dir) {
  std::vector<std::string> out;
  for (const char* what : {"ci", "eum"})
    for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) out.push_back(stem_of(dir, what, c));
  for (const char* what : {"root", "smdp", "smsr", "operator", "m2m"}) out.push_back(dir + "/tls-" + what);
  return out;
}

Status ensure_test_pki(const std::string& dir, Curve c, const TestPkiParties& p, const TestPkiHosts& hosts,
                       std::vector<TestPkiFile>* made) {
  if (c != Curve::p256 && c != Curve::brainpool_p256r1)
    return Error{"unknown-curve",
                 "the test PKI is made for P-256 and brainpoolP256r1, not " + std::string(curve_name(c))};
  std::error_code ec;
  std::filesystem::create_directories(dir, ec);
  if (ec) return Error{"pki-file", dir + ": " + ec.message()};
  const Date from = add_days(today_utc(), -1);  // clocks differ
  const Date ca_to = add_days(from, 365 * kCertYears);
  const Date tls_to = add_days(from, 365 * kTlsYears);
  const std::string suffix = " (" + std::string(curve_name(c)) + ")";

  KF_TRY(auto ci_pair, ensure_pair(stem_of(dir, "ci", c), c, made, [&](const std::string& key) {
           return make_ci_root(c, "Test CI" + suffix, p.ci, from, ca_to, key);
         }));
  const Wiped ci(std::move(ci_pair));
  KF_TRY(auto eum_pair, ensure_pair(stem_of(dir, "eum", c), c, made, [&](const std::string& key) {
           return make_eum(c, "Test EUM" + suffix, p.eum, ci.x, from, ca_to, key);
         }));
  const Wiped eum(std::move(eum_pair));
  KF_TRY(const X509Info ci_info, parse_x509(view(ci.x.cert_pem)));
  KF_TRY(const X509Info eum_info, parse_x509(view(eum.x.cert_pem)));
  if (auto s = verify_eum(eum_info, std::span(&ci_info, 1), today_utc()); !s.ok())
    return Error{"pki-mismatch", stem_of(dir, "eum", c) + ".pem: " + s.error().text()};

  KF_TRY(auto root_pair, ensure_pair(dir + "/tls-root", Curve::p256, made, [&](const std::string& key) {
           return make_tls_root("Test TLS root", from, tls_to, key);
         }));
  const Wiped root(std::move(root_pair));
  const std::vector<std::string> nobody;
  const struct {
    const char* name;
    const Oid& oid;
    const std::vector<std::string>& hosts;
  } leafs[] = {
      {"smdp", p.smdp, hosts.smdp}, {"smsr", p.smsr, hosts.smsr}, {"operator", p.op, hosts.op}, {"m2m", p.m2m, nobody}};
  for (const auto& l : leafs) {
    std::vector<std::string> names{"localhost", "127.0.0.1", "::1"};
    for (const std::string& h : l.hosts)
      if (std::find(names.begin(), names.end(), h) == names.end()) names.push_back(h);
    KF_TRY(auto leaf, ensure_pair(dir + "/tls-" + l.name, Curve::p256, made, [&](const std::string& key) {
             return make_tls_leaf(l.name, l.oid, names, root.x, from, tls_to, key);
           }));
    wipe(leaf.key_pem);
  }
  return {};
}

Result<Bytes> issue_cert_dp(const std::string& dir, Curve c, const Point& q, const Oid& smdp) {
  KF_TRY(auto pair, read_pair(stem_of(dir, "ci", c)));
  const Wiped ci(std::move(pair));
  KF_TRY(const X509Info info, parse_x509(view(ci.x.cert_pem)));
  KF_TRY(const PemKey key, load_pem_key(ci.x.key_pem));
  if (key.curve != c || key.q != info.q)
    return Error{"pki-mismatch", "the CI's key does not belong to its certificate"};
  KF_TRY(const Point checked, check_point(c, q));
  GpTemplate t;
  t.serial = random_bytes(8);
  t.ca_id = registered_id(info.der);
  if (t.ca_id.empty() || t.ca_id.size() > 16)
    return Error{"pki-mismatch", "the CI's certificate names no OID of 1 to 16 bytes"};
  t.subject = oid_octets(smdp);
  if (t.subject.empty() || t.subject.size() > 16)
    return Error{"oid-format", "an SM-DP identifier has 1 to 16 bytes in 5F20"};
  t.key_usage = {0x88};  // docs/spec/crypto.md A8
  t.effective = add_days(today_utc(), -1);
  t.expiry = add_days(today_utc(), 365 * kTlsYears);
  t.type = 0x01;
  t.aki = info.ski;
  t.curve = c;
  t.q = checked;
  return issue_gp_certificate(t, [&](const Digest32& h) { return ecdsa_sign(c, key.d.expose(), h); });
}
}  // namespace kf
