// The module under programs of others: pkcs11-tool (opensc) and OpenSSL's engine `pkcs11` (libp11). A program that is
// not installed skips its tests.
//
// Each pkcs11-tool run is a process, and what it generates ends with it; so keys for signing, agreeing and verifying
// come from the module's configuration (start keys), and generation is shown by itself.
#include <algorithm>

#include "tests/p11module/tools.hpp"

namespace kf::p11test {
namespace {

class Pkcs11Tool : public Tools {
 protected:
  void SetUp() override {
    if (!installed("/usr/bin/pkcs11-tool")) GTEST_SKIP() << "pkcs11-tool (package opensc) is not installed";
  }
};

TEST_F(Pkcs11Tool, Lists) {
  const Said slots = tool({"-L"});
  EXPECT_EQ(slots.status, 0) << slots.out;
  EXPECT_NE(slots.out.find("SIMULATED"), std::string::npos) << slots.out;
  EXPECT_NE(slots.out.find("keyferry-core-0"), std::string::npos) << slots.out;
  const Said mechanisms = tool({"-M"});
  EXPECT_EQ(mechanisms.status, 0);
  for (const char* m : {"ECDSA, keySize={256,256}", "ECDSA-SHA256", "ECDH1-DERIVE", "ECDSA-KEY-PAIR-GEN"})
    EXPECT_NE(mechanisms.out.find(m), std::string::npos) << mechanisms.out;
  EXPECT_EQ(mechanisms.out.find(", hw"), std::string::npos) << "simulated";
}

TEST_F(Pkcs11Tool, Generates) {
  // It asks for token objects only, which a token without memory refuses, unless told to take them for a while.
  const Said refused = tool({"-m", "ECDSA-KEY-PAIR-GEN", "-k", "--key-type", "EC:prime256v1", "--usage-sign"});
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.out.find("CKR_TOKEN_WRITE_PROTECTED"), std::string::npos) << refused.out;
  dir.configure("token_objects = \"volatile\"\n");
  for (const char* curve : {"prime256v1", "brainpoolP256r1"}) {
    for (const char* use : {"--usage-sign", "--usage-derive"}) {
      const Said s =
          tool({"-m", "ECDSA-KEY-PAIR-GEN", "-k", "--key-type", std::string("EC:") + curve, use, "-a", "fresh"});
      EXPECT_EQ(s.status, 0) << s.out;
      const Point q = point_in(s.out, "fresh");
      EXPECT_TRUE(check_point(curve[0] == 'p' ? Curve::p256 : Curve::brainpool_p256r1, q).ok()) << s.out;
      EXPECT_NE(s.out.find("never extractable"), std::string::npos) << s.out;
    }
  }
  const Said both = tool({"-m", "ECDSA-KEY-PAIR-GEN", "-k", "--key-type", "EC:prime256v1"});
  EXPECT_NE(both.out.find("CKR_TEMPLATE_INCONSISTENT"), std::string::npos) << "a key signs or agrees: " << both.out;
  // Asked for both, unless the configuration says which it is; and with a login.
  for (const char* use : {"sign", "derive"}) {
    dir.configure("token_objects = \"volatile\"\ndefault_usage = \"" + std::string(use) + "\"\n");
    const Said one = tool({"--login", "--pin", "1234", "-k", "--key-type", "EC:prime256v1"});
    EXPECT_EQ(one.status, 0) << one.out;
    EXPECT_NE(one.out.find(std::string("Usage:      ") + use + "\n"), std::string::npos) << one.out;
  }
}

TEST_F(Pkcs11Tool, SignsVerifiesAndDerives) {
  for (const Curve c : kBoth) {
    const std::string curve = "curve = \"" + std::string(curve_name(c)) + "\"\n";
    const KeyPair other = generate_key_pair(c);
    dir.configure("[[key]]\nuse = \"sign\"\nlabel = \"signs\"\n" + curve +
                  "[[key]]\nuse = \"derive\"\nlabel = \"agrees\"\n" + curve +
                  "[[key]]\nuse = \"verify\"\nlabel = \"theirs\"\npoint = \"" + to_hex(other.q) + "\"\n" + curve);
    const Bytes message = random_bytes(300);
    const Digest32 hash = sha256(message);
    dir.write("message", std::string(message.begin(), message.end()));
    dir.write("hash", std::string(hash.begin(), hash.end()));

    // List and sign in one process: the key is another one in the next.
    for (const bool whole : {false, true}) {
      const Said s = tool({"-O", "-s", "-m", whole ? "ECDSA-SHA256" : "ECDSA", "-d", "01", "-i",
                           dir.file(whole ? "message" : "hash"), "-o", dir.file("signature")});
      ASSERT_EQ(s.status, 0) << s.out;
      const Point q = point_in(s.out, "signs");
      ASSERT_TRUE(check_point(c, q).ok()) << s.out;
      const Bytes signature = octets(dir.read("signature"));
      EXPECT_EQ(signature.size(), 64U);
      EXPECT_TRUE(ecdsa_verify(c, q, hash, signature));
    }

    const Signature theirs = ecdsa_sign(c, other.d.expose(), hash);
    dir.write("theirs", std::string(theirs.begin(), theirs.end()));
    const std::vector<std::string> verify{
        "--verify", "-m", "ECDSA", "-d", "03", "-i", dir.file("hash"), "--signature-file", dir.file("theirs")};
    const Said valid = tool(verify);
    EXPECT_EQ(valid.status, 0) << valid.out;
    EXPECT_NE(valid.out.find("Signature is valid"), std::string::npos) << valid.out;
    Signature altered = theirs;
    altered[9] ^= 1;
    dir.write("theirs", std::string(altered.begin(), altered.end()));
    EXPECT_NE(tool(verify).out.find("Invalid signature"), std::string::npos);

    // SubjectPublicKeyInfo of the peer, as the tool reads it.
    const Bytes oid_of = oid(c);
    Bytes spki{0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01};
    spki.insert(spki.end(), oid_of.begin(), oid_of.end());
    spki.insert(spki.begin(), {0x30, static_cast<std::uint8_t>(spki.size())});
    spki.insert(spki.end(), {0x03, 66, 0});
    spki.insert(spki.end(), other.q.begin(), other.q.end());
    spki.insert(spki.begin(), {0x30, static_cast<std::uint8_t>(spki.size())});
    dir.write("peer", std::string(spki.begin(), spki.end()));
    const Said derived =
        tool({"-O", "--derive", "-m", "ECDH1-DERIVE", "-d", "02", "-i", dir.file("peer"), "-o", dir.file("shs")});
    ASSERT_EQ(derived.status, 0) << derived.out;
    const Point own = point_in(derived.out, "agrees");
    ASSERT_TRUE(check_point(c, own).ok()) << derived.out;
    const auto z = ecka(c, other.d.expose(), own);
    ASSERT_TRUE(z.ok());
    EXPECT_TRUE(std::ranges::equal(octets(dir.read("shs")), z->expose()));
  }
}

// A certificate that OpenSSL signs with a key of the core, read and verified without the module.
TEST_F(Tools, OpensslEngine) {
  constexpr std::array kPlaces{"/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so",
                               "/usr/lib/aarch64-linux-gnu/engines-3/pkcs11.so"};
  if (std::none_of(kPlaces.begin(), kPlaces.end(), [](const char* p) { return installed(p); }))
    GTEST_SKIP() << "OpenSSL's engine (package libengine-pkcs11-openssl) is not installed";
  for (const Curve c : kBoth) {
    // With a key to verify with, whose point is checked while the engine is being asked.
    const std::string curve = "curve = \"" + std::string(curve_name(c)) + "\"\n";
    dir.configure("[[key]]\nuse = \"sign\"\nlabel = \"signs\"\n" + curve +
                  "[[key]]\nuse = \"verify\"\nlabel = \"theirs\"\npoint = \"" + to_hex(generate_key_pair(c).q) +
                  "\"\n" + curve);
    dir.write("openssl.cnf",
              "openssl_conf = all\n[all]\nengines = list\n[list]\npkcs11 = one\n[one]\nengine_id = pkcs11\n"
              "MODULE_PATH = " +
                  std::string(kModule) + "\ninit = 0\n[req]\ndistinguished_name = name\n[name]\n");
    ::setenv("OPENSSL_CONF", dir.file("openssl.cnf").c_str(), 1);
    const Said made =
        run({"openssl", "req", "-new", "-x509", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-key",
             "pkcs11:object=signs;type=private", "-subj", "/CN=core", "-out", dir.file("cert.pem")});
    ::unsetenv("OPENSSL_CONF");
    ASSERT_EQ(made.status, 0) << made.out;
    const Said good =
        run({"openssl", "verify", "-check_ss_sig", "-CAfile", dir.file("cert.pem"), dir.file("cert.pem")});
    EXPECT_EQ(good.status, 0) << good.out;
    const Said text = run({"openssl", "x509", "-in", dir.file("cert.pem"), "-noout", "-text"});
    EXPECT_NE(text.out.find(c == Curve::p256 ? "prime256v1" : "brainpoolP256r1"), std::string::npos) << text.out;
  }
}

}  // namespace
}  // namespace kf::p11test
