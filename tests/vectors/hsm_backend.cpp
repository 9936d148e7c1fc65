// The HSM under the vectors: a private throw-away SoftHSM token into which the test scalars are imported as session
// objects.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "host/crypto/ec.hpp"
#include "hsm/setup/test_token.hpp"
#include "tests/vectors/engine.hpp"

namespace kf::vectors {
namespace {
// A directory of our own that goes with us.
class Directory {
 public:
  static Result<std::unique_ptr<Directory>> make() {
    std::string name = (std::filesystem::temp_directory_path() / "keyferry-vectors-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return Error{"hsm-token", name + ": " + std::strerror(errno)};
    return std::unique_ptr<Directory>(new Directory(std::move(name)));
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit Directory(std::string p) : path_(std::move(p)) {}
  std::string path_;
};

class Hsm final : public VectorEngine {
 public:
  Hsm(std::unique_ptr<Directory> d, std::unique_ptr<hsm::TestTokenClient> t)
      : directory_(std::move(d)), token_(std::move(t)) {}
  std::string_view name() const override { return "hsm"; }
  bool carries(Curve c) const override { return c == Curve::p256 || c == Curve::brainpool_p256r1; }
  bool deterministic() const override { return false; }
  Result<Signature> sign(Curve c, ByteView d32, const Point& q, const Digest32& h) override {
    return token_->sign_with(c, d32, q, h);
  }
  Result<SecretArray<32>> ecka(Curve c, ByteView d32, const Point& own_q, const Point& peer) override {
    return token_->ecka_with(c, d32, own_q, peer);
  }
  Result<bool> verify(Curve c, const Point& q, const Digest32& h, ByteView s) override {
    return token_->verify_with(c, q, h, s);
  }

 private:
  std::unique_ptr<Directory> directory_;  // outlives the worker
  std::unique_ptr<hsm::TestTokenClient> token_;
};
}  // namespace

Result<std::unique_ptr<VectorEngine>> hsm_backend(const HsmOptions& o) {
  // The test token looks for SoftHSM in the usual places and in this variable.
  if (!o.module_path.empty()) ::setenv("SOFTHSM2_MODULE", o.module_path.c_str(), 1);
  KF_TRY(auto directory, Directory::make());
  KF_TRY(const hsm::HsmConfig config, hsm::make_throwaway_token(directory->path()));
  KF_TRY(auto token, hsm::TestTokenClient::start(config));
  return std::unique_ptr<VectorEngine>(std::make_unique<Hsm>(std::move(directory), std::move(token)));
}
}  // namespace kf::vectors
