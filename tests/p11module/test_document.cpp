// docs/pkcs11-module.md does what it says: its configuration is taken, and the commands under "With other programs" are
// run as they stand there, in a folder with the files that they name. A block whose program is not installed is left
// out by name.
#include <algorithm>

#include "tests/p11module/tools.hpp"

namespace kf::p11test {
namespace {

struct Block {
  std::string language, text;
};

std::vector<Block> blocks_of(const std::string& document) {
  std::vector<Block> out;
  for (std::size_t at = 0; (at = document.find("```", at)) != std::string::npos;) {
    const std::size_t line = document.find('\n', at);
    const std::size_t end = document.find("\n```", line);
    if (end == std::string::npos) break;
    out.push_back({document.substr(at + 3, line - at - 3), document.substr(line + 1, end - line)});
    at = end + 4;
  }
  return out;
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

class Document : public Tools {
 protected:
  void SetUp() override {
    std::ifstream in(KF_SOURCE_DIR "/docs/pkcs11-module.md");
    document = {std::istreambuf_iterator<char>(in), {}};
    const auto section = document.find("## With other programs");
    ASSERT_NE(section, std::string::npos);
    for (const Block& b : blocks_of(document))
      if (b.language == "toml") toml += b.text;
    programs = blocks_of(document.substr(section));
  }
  // The programs that a block begins its lines with, after what is set for them.
  static std::string missing_of(const std::string& text) {
    for (const char* p :
         {"pkcs11-tool", "openssl", "p11tool", "certtool", "certutil", "modutil", "ssh-agent", "p11-kit", "keytool"}) {
      const bool used = text.starts_with(p) || text.find(std::string("\n") + p) != std::string::npos;
      if (used && !installed(std::string("/usr/bin/") + p)) return p;
    }
    return {};
  }
  // What the commands find in their folder. The document's point is the generator: its key is 1.
  void prepare() {
    Scalar one{};
    one.back() = 1;
    const Bytes message = random_bytes(300);
    const Digest32 hash = sha256(message);
    const Signature signature = ecdsa_sign(Curve::p256, one, hash);
    const auto write = [&](const char* name, ByteView v) { dir.write(name, std::string(v.begin(), v.end())); };
    write("message", message);
    write("hash", hash);
    write("signature", signature);
    dir.write("noise", "any file");
    dir.write("template", "cn = core\n");
    ASSERT_EQ(std::system(("openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout -outform DER -out " +
                           dir.file("peer.der") + " 2> " + dir.file("said"))
                              .c_str()),
              0);
    dir.write("openssl.cnf",
              "openssl_conf = all\n[all]\nengines = list\n[list]\npkcs11 = one\n[one]\nengine_id = pkcs11\n"
              "MODULE_PATH = " +
                  std::string(kModule) + "\ninit = 0\n[req]\ndistinguished_name = name\n[name]\n");
    dir.write("askpass", "#!/bin/sh\necho 1234\n");
    ::chmod(dir.file("askpass").c_str(), 0700);
    std::filesystem::create_directory(dir.file("db"));
  }
  // The document's own settings come first: they are those of its reader, with this build's folder.
  std::string script_of(const Block& b) const {
    std::string before = "set -e\ncd \"$1\"\nM=\"$2\"\nexport SSH_ASKPASS=$PWD/askpass SSH_ASKPASS_REQUIRE=force\n";
    if (b.text.find("openssl") == 0) before += "export OPENSSL_CONF=$PWD/openssl.cnf\n";
    std::string text = b.text;
    // A server in the background: its socket must be there, and it must end.
    if (text.find(" &\n") != std::string::npos) {
      before += "trap 'kill $!' EXIT\n";
      text = replaced(text, " &\n", " > server &\nwhile ! [ -S socket ]; do sleep 0.05; done\n");
    }
    return before + text;
  }
  std::string document, toml;
  std::vector<Block> programs;
};

TEST_F(Document, ItsConfigurationIsTaken) {
  ASSERT_FALSE(toml.empty());
  dir.configure(toml);
  CK_FUNCTION_LIST* const f = raw_module();
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  CK_ULONG n = 0;
  EXPECT_EQ(f->C_GetSlotList(CK_TRUE, nullptr, &n), CKR_OK);
  EXPECT_EQ(n, 1U);
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

TEST_F(Document, ItsCommandsWork) {
  prepare();
  dir.configure(replaced(replaced(toml, "token_objects = \"refused\"", "token_objects = \"volatile\""),
                         "default_usage = \"refuse\"", "default_usage = \"sign\""));
  std::size_t ran = 0;
  std::size_t commands = 0;
  for (const Block& b : programs) {
    if (b.text.starts_with("name = ")) {  // SunPKCS11's configurations, for keytool below
      dir.write(b.text.starts_with("name = Signs") ? "sign.cfg" : "derive.cfg",
                replaced(b.text, "/opt/keyferry/lib/libkeyferry-p11.so", kModule));
      continue;
    }
    if (b.language != "sh" || b.text.starts_with("export KEYFERRY_P11_CONF")) continue;
    ++commands;
    if (const std::string missing = missing_of(b.text); !missing.empty()) {
      std::printf("left out: %s is not installed\n", missing.c_str());
      continue;
    }
    if (b.text.starts_with("openssl") && std::system("openssl engine pkcs11 > /dev/null 2>&1") != 0) {
      std::printf("left out: OpenSSL's engine pkcs11 is not installed\n");
      continue;
    }
    dir.write("script", script_of(b));
    const Said s = run({"sh", dir.file("script"), dir.file(""), kModule});
    EXPECT_EQ(s.status, 0) << b.text << s.out;
    ++ran;
  }
  EXPECT_GE(commands, 7U) << "the document shows fewer programs than there are";
  std::printf("%zu of %zu blocks of commands were run\n", ran, commands);
  if (ran == 0) GTEST_SKIP() << "none of the programs is installed";
}

}  // namespace
}  // namespace kf::p11test
