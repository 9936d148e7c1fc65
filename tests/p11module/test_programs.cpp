// The module under more programs of others: GnuTLS, NSS, OpenSSH, p11-kit, PyKCS11, Java, and OpenSSL with a provider
// that uses the module while the configuration is read. A program that is not installed skips its test by name; what
// is right is said by OpenSSL.
#include <algorithm>

#include "tests/p11module/tools.hpp"

namespace kf::p11test {
namespace {

// Two pairs, CKA_ID 01 and 02; tokens objects are taken, since most of these programs know no others.
constexpr const char* kKeys =
    "token_objects = \"volatile\"\ndefault_usage = \"sign\"\n"
    "[[key]]\nuse = \"sign\"\nlabel = \"signs\"\ncurve = \"P-256\"\n"
    "[[key]]\nuse = \"derive\"\nlabel = \"agrees\"\ncurve = \"P-256\"\n";
constexpr const char* kSigns = "pkcs11:token=keyferry-core-0;object=signs";

class Programs : public Tools {
 protected:
  void SetUp() override { dir.configure(kKeys); }
  // The first of the places where a distribution puts a file; empty: nowhere.
  static std::string place_of(const std::string& below_library_folder) {
    for (const char* lib : {"/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/", "/usr/lib/"})
      if (installed(lib + below_library_folder)) return lib + below_library_folder;
    return {};
  }
  static bool has(const Said& s, const std::string& text) { return s.out.find(text) != std::string::npos; }
};

TEST_F(Programs, OpensslReadingItsConfiguration) {
  dir.configure("log = \"none\"\n");
  dir.write("openssl.cnf",
            "openssl_conf = all\n[all]\nproviders = list\nalg_section = evp\n[list]\ndefault = on\nkeyferry = ours\n"
            "[on]\nactivate = 1\n[ours]\nmodule = " KF_P11_PROVIDER
            "\nactivate = 1\n[evp]\ndefault_properties = ?provider=keyferry\n");
  ::setenv("OPENSSL_CONF", dir.file("openssl.cnf").c_str(), 1);
  const Said s = run({"openssl", "list", "-providers"});
  ::unsetenv("OPENSSL_CONF");
  EXPECT_EQ(s.status, 0) << (s.status == 124 ? "deadlock\n" : "") << s.out;
  EXPECT_TRUE(has(s, "the module works in a provider")) << s.out;
}

TEST_F(Programs, Gnutls) {
  if (!installed("/usr/bin/p11tool")) GTEST_SKIP() << "p11tool and certtool (package gnutls-bin) are not installed";
  const std::string provider = std::string("--provider=") + kModule;
  const Said list = run({"p11tool", provider, "--list-all", "pkcs11:token=keyferry-core-0"});
  EXPECT_EQ(list.status, 0) << list.out;
  EXPECT_TRUE(has(list, "object=agrees;type=private")) << list.out;
  const Said generated = run({"p11tool", provider, "--generate-ecc", "--curve=secp256r1", "--label=fresh",
                              "--outfile=" + dir.file("public.pem"), "pkcs11:token=keyferry-core-0"});
  EXPECT_EQ(generated.status, 0) << generated.out;
  EXPECT_EQ(run({"openssl", "pkey", "-pubin", "-in", dir.file("public.pem"), "-noout"}).status, 0);
  const Said tested = run({"p11tool", provider, "--test-sign", std::string(kSigns) + ";type=private"});
  EXPECT_EQ(tested.status, 0) << tested.out;
  EXPECT_TRUE(has(tested, "Verifying against public key in the token... ok")) << tested.out;
  dir.write("template", "cn = core\n");
  const Said made =
      run({"certtool", provider, "--generate-self-signed", std::string("--load-privkey=") + kSigns + ";type=private",
           std::string("--load-pubkey=") + kSigns + ";type=public", "--template=" + dir.file("template"),
           "--outfile=" + dir.file("cert.pem")});
  ASSERT_EQ(made.status, 0) << made.out;
  EXPECT_EQ(run({"openssl", "verify", "-check_ss_sig", "-CAfile", dir.file("cert.pem"), dir.file("cert.pem")}).status,
            0);
}

TEST_F(Programs, Nss) {
  if (!installed("/usr/bin/modutil") || !installed("/usr/bin/certutil"))
    GTEST_SKIP() << "modutil and certutil (package libnss3-tools) are not installed";
  std::filesystem::create_directory(dir.file("db"));
  const std::string db = "sql:" + dir.file("db");
  ASSERT_EQ(run({"certutil", "-N", "-d", db, "--empty-password"}).status, 0);
  const Said added = run({"modutil", "-dbdir", db, "-add", "keyferry", "-libfile", kModule, "-force"});
  ASSERT_EQ(added.status, 0) << added.out;
  const Said listed = run({"modutil", "-dbdir", db, "-list", "keyferry"});
  EXPECT_TRUE(has(listed, "Token Name: keyferry-core-0")) << listed.out;
  EXPECT_TRUE(has(listed, "Public (no login required)")) << listed.out;
  const Said keys = run({"certutil", "-K", "-d", db, "-h", "keyferry-core-0"});
  EXPECT_EQ(keys.status, 0) << keys.out;
  EXPECT_TRUE(has(keys, "signs")) << keys.out;
  // A request for a certificate is signed by the start key, whose CKA_ID is 01.
  dir.write("noise", "not used: the token makes the key");
  const Said request = run({"certutil", "-R", "-d", db, "-h", "keyferry-core-0", "-k", "01", "-s", "CN=core", "-o",
                            dir.file("request"), "-z", dir.file("noise")});
  ASSERT_EQ(request.status, 0) << request.out;
  const Said good = run({"openssl", "req", "-inform", "DER", "-in", dir.file("request"), "-verify", "-noout"});
  EXPECT_EQ(good.status, 0) << good.out;
  // So is a certificate, which goes into the token for as long as certutil runs.
  const Said certificate = run({"certutil", "-S", "-d", db, "-h", "keyferry-core-0", "-k", "01", "-n", "core", "-s",
                                "CN=core", "-x", "-t", ",,", "-z", dir.file("noise")});
  EXPECT_EQ(certificate.status, 0) << certificate.out;
}

TEST_F(Programs, Openssh) {
  if (!installed("/usr/bin/ssh-keygen") || !installed("/usr/bin/ssh-agent") ||
      !installed("/usr/lib/openssh/ssh-pkcs11-helper"))
    GTEST_SKIP() << "ssh-keygen and ssh-agent (package openssh-client) are not installed";
  const Said keys = run({"ssh-keygen", "-D", kModule});
  EXPECT_EQ(keys.status, 0) << keys.out;
  EXPECT_TRUE(has(keys, "ecdsa-sha2-nistp256")) << keys.out;
  EXPECT_TRUE(has(keys, " signs")) << keys.out;
  // The agent keeps the module loaded: what it signs can be verified by the key that it names.
  dir.write("script",
            "set -e\ncd \"$1\"\nssh-add -s \"$2\"\nssh-add -L | grep ' signs$' > key.pub\necho hello > message\n"
            "ssh-keygen -Y sign -f key.pub -n test message\n"
            "echo \"me $(cut -d' ' -f1,2 key.pub)\" > allowed\n"
            "ssh-keygen -Y verify -f allowed -I me -n test -s message.sig < message\n");
  dir.write("askpass", "#!/bin/sh\necho 1234\n");
  ::chmod(dir.file("askpass").c_str(), 0700);
  ::setenv("SSH_ASKPASS", dir.file("askpass").c_str(), 1);
  ::setenv("SSH_ASKPASS_REQUIRE", "force", 1);
  const Said s =
      run({"ssh-agent", "-a", dir.file("agent"), "-P", "*", "sh", dir.file("script"), dir.file(""), kModule});
  ::unsetenv("SSH_ASKPASS");
  ::unsetenv("SSH_ASKPASS_REQUIRE");
  EXPECT_EQ(s.status, 0) << s.out;
  EXPECT_TRUE(has(s, "Good \"test\" signature for me")) << s.out;
}

// p11-kit's server with the module, and a program that has only p11-kit's client.
TEST_F(Programs, P11KitRemote) {
  const std::string client = place_of("pkcs11/p11-kit-client.so");
  if (client.empty() || !installed("/usr/bin/p11-kit") || !installed("/usr/bin/pkcs11-tool"))
    GTEST_SKIP() << "p11-kit (packages p11-kit, p11-kit-modules) or pkcs11-tool (package opensc) is not installed";
  const Bytes hash = random_bytes(32);
  dir.write("hash", std::string(hash.begin(), hash.end()));
  dir.write("script",
            "cd \"$1\"\np11-kit server -f -n \"$1/socket\" --provider \"$2\" pkcs11: > server &\n"
            "while ! [ -S socket ]; do sleep 0.05; done\nexport P11_KIT_SERVER_ADDRESS=unix:path=$1/socket\n"
            "pkcs11-tool --module \"$3\" --login --pin 1 -O -s -m ECDSA -d 01 -i hash -o signature\n"
            "status=$?\nkill $!\nexit $status\n");
  const Said s = run({"sh", dir.file("script"), dir.file(""), kModule, client});
  ASSERT_EQ(s.status, 0) << s.out;
  Digest32 digest{};
  std::copy(hash.begin(), hash.end(), digest.begin());
  EXPECT_TRUE(ecdsa_verify(Curve::p256, point_in(s.out, "signs"), digest, octets(dir.read("signature")))) << s.out;
}

TEST_F(Programs, Pykcs11) {
  if (run({"/usr/bin/python3", "-c", "import PyKCS11"}).status != 0)
    GTEST_SKIP() << "PyKCS11 (package python3-pykcs11) is not installed";
  dir.write("script.py", R"(
import sys
from PyKCS11 import *
lib = PyKCS11Lib()
lib.load(sys.argv[1])
session = lib.openSession(lib.getSlotList(tokenPresent=True)[0], CKF_SERIAL_SESSION)
session.login("1234")
def pair(oid, use):
    return session.generateKeyPair([(CKA_EC_PARAMS, oid), (CKA_TOKEN, False)],
                                   [(use, True), (CKA_TOKEN, False)], mecha=Mechanism(CKM_EC_KEY_PAIR_GEN))
secret = [(CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_GENERIC_SECRET), (CKA_TOKEN, False),
          (CKA_SENSITIVE, False), (CKA_EXTRACTABLE, True)]
def agree(own, peer):
    point = bytes(session.getAttributeValue(peer, [CKA_EC_POINT])[0])
    key = session.deriveKey(own, secret, ECDH1_DERIVE_Mechanism(point))
    return bytes(session.getAttributeValue(key, [CKA_VALUE])[0])
for oid in (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06092b2403030208010107")):
    how = Mechanism(CKM_ECDSA_SHA256)
    public, private = pair(oid, CKA_SIGN)
    signature = session.sign(private, b"hello", how)
    assert session.verify(public, b"hello", signature, how)
    assert not session.verify(public, b"hullo", signature, how)
    (pa, a), (pb, b) = pair(oid, CKA_DERIVE), pair(oid, CKA_DERIVE)
    assert agree(a, pb) == agree(b, pa)
session.logout()
print("both curves work")
)");
  const Said s = run({"/usr/bin/python3", dir.file("script.py"), kModule});
  EXPECT_EQ(s.status, 0) << s.out;
  EXPECT_TRUE(has(s, "both curves work")) << s.out;
}

// SunPKCS11: a pair that signs, a pair that agrees; what is right is said by Java's own provider.
TEST_F(Programs, Java) {
  if (run({"java", "--list-modules"}).out.find("jdk.compiler") == std::string::npos)
    GTEST_SKIP() << "a Java development kit (package default-jdk-headless) is not installed";
  dir.configure("log = \"none\"\n");
  const std::string common = "library = " + std::string(kModule) + "\nslotListIndex = 0\n";
  dir.write("sign.cfg",
            "name = Signs\n" + common + "attributes(generate, CKO_PRIVATE_KEY, CKK_EC) = {\n  CKA_SIGN = true\n}\n");
  dir.write("derive.cfg", "name = Agrees\n" + common +
                              "attributes(generate, CKO_PRIVATE_KEY, CKK_EC) = {\n  CKA_DERIVE = true\n}\n"
                              "attributes(generate, CKO_SECRET_KEY, CKK_GENERIC_SECRET) = {\n"
                              "  CKA_SENSITIVE = false\n  CKA_EXTRACTABLE = true\n}\n");
  dir.write("Core.java", R"(
import java.security.*;
import java.security.spec.*;
import java.util.Arrays;
import javax.crypto.KeyAgreement;

public class Core {
  static Provider load(String file) { return Security.getProvider("SunPKCS11").configure(file); }
  static KeyPair pair(Object provider) throws Exception {
    KeyPairGenerator g = provider instanceof Provider ? KeyPairGenerator.getInstance("EC", (Provider) provider)
                                                      : KeyPairGenerator.getInstance("EC", "SunEC");
    g.initialize(new ECGenParameterSpec("secp256r1"));
    return g.generateKeyPair();
  }
  static PublicKey elsewhere(PublicKey k) throws Exception {
    return KeyFactory.getInstance("EC", "SunEC").generatePublic(new X509EncodedKeySpec(k.getEncoded()));
  }
  static byte[] agree(KeyAgreement a, PrivateKey own, PublicKey peer) throws Exception {
    a.init(own);
    a.doPhase(peer, true);
    return a.generateSecret();
  }
  public static void main(String[] arguments) throws Exception {
    byte[] message = "hello".getBytes();
    Provider signs = load(arguments[0]);
    KeyPair pair = pair(signs);
    Signature s = Signature.getInstance("SHA256withECDSA", signs);
    s.initSign(pair.getPrivate());
    s.update(message);
    byte[] signature = s.sign();
    for (Signature v : new Signature[] {s, Signature.getInstance("SHA256withECDSA", "SunEC")}) {
      v.initVerify(v == s ? pair.getPublic() : elsewhere(pair.getPublic()));
      v.update(message);
      if (!v.verify(signature)) throw new Exception("signature");
    }
    Provider agrees = load(arguments[1]);
    KeyPair own = pair(agrees);
    KeyPair peer = pair("SunEC");
    byte[] here = agree(KeyAgreement.getInstance("ECDH", agrees), own.getPrivate(), peer.getPublic());
    byte[] there = agree(KeyAgreement.getInstance("ECDH", "SunEC"), peer.getPrivate(), elsewhere(own.getPublic()));
    if (!Arrays.equals(here, there)) throw new Exception("agreement");
    System.out.println("signs and agrees");
  }
}
)");
  const Said s = run({"java", dir.file("Core.java"), dir.file("sign.cfg"), dir.file("derive.cfg")});
  EXPECT_EQ(s.status, 0) << s.out;
  EXPECT_TRUE(has(s, "signs and agrees")) << s.out;
}

// keytool makes a pair, copies it into the token and puts its certificate beside it; all of it ends with keytool.
TEST_F(Programs, Keytool) {
  if (!installed("/usr/bin/keytool")) GTEST_SKIP() << "keytool (package default-jre-headless) is not installed";
  dir.write("java.cfg", "name = Keyferry\nlibrary = " + std::string(kModule) + "\nslotListIndex = 0\n" +
                            "attributes(generate, CKO_PRIVATE_KEY, CKK_EC) = {\n  CKA_SIGN = true\n}\n");
  const std::vector<std::string> keytool{"keytool",
                                         "-providerClass",
                                         "sun.security.pkcs11.SunPKCS11",
                                         "-providerArg",
                                         dir.file("java.cfg"),
                                         "-keystore",
                                         "NONE",
                                         "-storetype",
                                         "PKCS11",
                                         "-storepass",
                                         "1234"};
  std::vector<std::string> generate = keytool;
  generate.insert(generate.end(), {"-genkeypair", "-alias", "core", "-keyalg", "EC", "-groupname", "secp256r1",
                                   "-dname", "CN=core", "-v"});
  const Said made = run(generate);
  EXPECT_EQ(made.status, 0) << made.out;
  EXPECT_TRUE(has(made, "Storing keystore")) << made.out;
}

}  // namespace
}  // namespace kf::p11test
