// The module as a program sees it: loaded with dlopen, every call by its function list; templates in one line; what is
// right is said by OpenSSL (host/crypto).
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <p11-kit/pkcs11.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"

namespace kf::p11test {

inline constexpr const char* kModule = KF_P11_MODULE;
inline constexpr std::array kBoth{Curve::p256, Curve::brainpool_p256r1};

inline CK_FUNCTION_LIST* raw_module() {
  static CK_FUNCTION_LIST* const f = [] {
    void* h = ::dlopen(kModule, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = nullptr;
    void* symbol = h == nullptr ? nullptr : ::dlsym(h, "C_GetFunctionList");
    std::memcpy(&get, &symbol, sizeof get);
    CK_FUNCTION_LIST* list = nullptr;
    return get != nullptr && get(&list) == CKR_OK ? list : nullptr;
  }();
  return f;
}

inline Bytes oid(Curve c) {
  return c == Curve::p256 ? Bytes{0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}
                          : Bytes{0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07};
}
inline Bytes der(const Point& q) {
  Bytes d(2 + q.size());
  d[0] = 0x04;
  d[1] = q.size();
  std::copy(q.begin(), q.end(), d.begin() + 2);
  return d;
}

// A template that owns its values.
class Attributes {
 public:
  Attributes() = default;
  Attributes(Attributes&&) = default;  // the values stay where they are
  Attributes(const Attributes&) = delete;
  Attributes& flag(CK_ATTRIBUTE_TYPE type, bool on) { return octets(type, Bytes{on ? CK_BBOOL{1} : CK_BBOOL{0}}); }
  Attributes& number(CK_ATTRIBUTE_TYPE type, CK_ULONG v) {
    Bytes b(sizeof v);
    std::memcpy(b.data(), &v, sizeof v);
    return octets(type, std::move(b));
  }
  Attributes& octets(CK_ATTRIBUTE_TYPE type, Bytes v) {
    values_.push_back(std::move(v));
    list_.push_back({type, values_.back().data(), values_.back().size()});
    return *this;
  }
  CK_ATTRIBUTE* data() { return list_.data(); }
  [[nodiscard]] CK_ULONG size() const { return list_.size(); }

 private:
  std::deque<Bytes> values_;
  std::vector<CK_ATTRIBUTE> list_;
};

struct Pair {
  CK_OBJECT_HANDLE pub = 0, priv = 0;
};

// One session; closed at the end.
struct Session {
  CK_FUNCTION_LIST& f;
  CK_SESSION_HANDLE h = CK_INVALID_HANDLE;
  explicit Session(CK_FUNCTION_LIST* list, CK_FLAGS flags = 0, CK_SLOT_ID slot = 0) : f(*list) {
    EXPECT_EQ(f.C_OpenSession(slot, CKF_SERIAL_SESSION | flags, nullptr, nullptr, &h), CKR_OK);
  }
  ~Session() { f.C_CloseSession(h); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  CK_RV generate(Curve c, bool for_sign, Pair& p) {
    Attributes pub;
    Attributes priv;
    pub.octets(CKA_EC_PARAMS, oid(c)).flag(CKA_TOKEN, false);
    priv.flag(CKA_TOKEN, false).flag(for_sign ? CKA_SIGN : CKA_DERIVE, true);
    return generate(pub, priv, p);
  }
  CK_RV generate(Attributes& pub, Attributes& priv, Pair& p) {
    CK_MECHANISM m{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
    return f.C_GenerateKeyPair(h, &m, pub.data(), pub.size(), priv.data(), priv.size(), &p.pub, &p.priv);
  }
  Point point(CK_OBJECT_HANDLE pub) {
    Point q{};
    Bytes b(67);
    CK_ATTRIBUTE a{CKA_EC_POINT, b.data(), b.size()};
    EXPECT_EQ(f.C_GetAttributeValue(h, pub, &a, 1), CKR_OK);
    EXPECT_EQ(a.ulValueLen, 67U);
    std::copy(b.begin() + 2, b.end(), q.begin());
    return q;
  }
  CK_RV sign(CK_OBJECT_HANDLE key, ByteView data, Signature& out, CK_MECHANISM_TYPE type = CKM_ECDSA) {
    CK_MECHANISM m{type, nullptr, 0};
    if (const CK_RV rv = f.C_SignInit(h, &m, key); rv != CKR_OK) return rv;
    CK_ULONG n = out.size();
    return f.C_Sign(h, const_cast<std::uint8_t*>(data.data()), data.size(), out.data(), &n);
  }
  CK_RV verify(CK_OBJECT_HANDLE key, ByteView data, ByteView signature, CK_MECHANISM_TYPE type = CKM_ECDSA) {
    CK_MECHANISM m{type, nullptr, 0};
    if (const CK_RV rv = f.C_VerifyInit(h, &m, key); rv != CKR_OK) return rv;
    return f.C_Verify(h, const_cast<std::uint8_t*>(data.data()), data.size(),
                      const_cast<std::uint8_t*>(signature.data()), signature.size());
  }
  static Attributes readable_secret() {
    Attributes t;
    t.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false);
    t.flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    return t;
  }
  CK_RV derive(CK_OBJECT_HANDLE key, Bytes peer, Attributes t, CK_OBJECT_HANDLE& out, CK_ULONG kdf = CKD_NULL,
               Bytes shared = {}) {
    CK_ECDH1_DERIVE_PARAMS p{};
    p.kdf = kdf;
    p.pSharedData = shared.empty() ? nullptr : shared.data();
    p.ulSharedDataLen = shared.size();
    p.pPublicData = peer.data();
    p.ulPublicDataLen = peer.size();
    CK_MECHANISM m{CKM_ECDH1_DERIVE, &p, sizeof p};
    return f.C_DeriveKey(h, &m, key, t.data(), t.size(), &out);
  }
  CK_RV derive(CK_OBJECT_HANDLE key, const Point& peer, CK_OBJECT_HANDLE& out) {
    return derive(key, Bytes(peer.begin(), peer.end()), readable_secret(), out);
  }
  Bytes value(CK_OBJECT_HANDLE o) {
    Bytes b(64);
    CK_ATTRIBUTE a{CKA_VALUE, b.data(), b.size()};
    EXPECT_EQ(f.C_GetAttributeValue(h, o, &a, 1), CKR_OK);
    b.resize(std::min<std::size_t>(a.ulValueLen, b.size()));
    return b;
  }
  int flag(CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type) {  // -1: cannot be read
    CK_BBOOL v = 0;
    CK_ATTRIBUTE a{type, &v, sizeof v};
    return f.C_GetAttributeValue(h, o, &a, 1) == CKR_OK ? v : -1;
  }
  std::vector<CK_OBJECT_HANDLE> find(Attributes t = {}) {
    std::vector<CK_OBJECT_HANDLE> out(1024);
    CK_ULONG n = 0;
    EXPECT_EQ(f.C_FindObjectsInit(h, t.data(), t.size()), CKR_OK);
    EXPECT_EQ(f.C_FindObjects(h, out.data(), out.size(), &n), CKR_OK);
    EXPECT_EQ(f.C_FindObjectsFinal(h), CKR_OK);
    out.resize(n);
    return out;
  }
};

// Simulators that this process has started.
inline std::vector<pid_t> simulators() {
  std::vector<pid_t> out;
  std::error_code ec;
  for (const auto& e : std::filesystem::directory_iterator("/proc", ec)) {
    const std::string name = e.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream in(e.path() / "stat");
    const std::string stat{std::istreambuf_iterator<char>(in), {}};
    const auto end = stat.rfind(") ");
    if (end == std::string::npos || stat.find("(keyferry-ecc-si") == std::string::npos || stat[end + 2] == 'Z')
      continue;
    if (std::stoi(stat.substr(end + 4)) == ::getpid()) out.push_back(std::stoi(name));
  }
  return out;
}

// A directory and a configuration of the module in it, named to it by the environment.
class Scratch {
 public:
  explicit Scratch(const std::string& toml = {}) {
    std::string name = (std::filesystem::temp_directory_path() / "kf-p11-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    if (!toml.empty()) configure(toml);
  }
  ~Scratch() {
    ::unsetenv("KEYFERRY_P11_CONF");
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void configure(const std::string& toml) {
    write("p11.toml", toml);
    ::setenv("KEYFERRY_P11_CONF", file("p11.toml").c_str(), 1);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, std::string_view content) const {
    std::ofstream(file(name), std::ios::binary) << content;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

// Threads of this process. One that was joined, or whose end nobody waits for, stands in /proc for a moment longer.
inline std::size_t threads_here() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}
// How many there are once none is about to end any more.
inline std::size_t settled_threads() {
  std::size_t n = threads_here();
  for (int same = 0; same < 20; ++same) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (const std::size_t now = threads_here(); now != n) {
      n = now;
      same = 0;
    }
  }
  return n;
}
// Whether there are n, now or when those that are ending have ended.
inline bool eventually_threads(std::size_t n) {
  for (int i = 0; i < 2000; ++i) {
    if (threads_here() == n) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace kf::p11test
