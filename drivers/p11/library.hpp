// The initialised module: its cores, sessions and objects. PKCS#11 2.40, slot i is core i.
//
// One lock guards the tables and is never held while a core works. A session has a lock of its own, since a caller
// that uses one from two threads must get an error or a wait, never a crash. Objects are found by handle under the
// table's lock; a private key is used under its slot's lock, so that nobody erases it meanwhile.
// Threading: any. Errors: CK_RV.
#pragma once

#include <mutex>
#include <optional>
#include <unordered_map>

#include "drivers/p11/config.hpp"
#include "drivers/p11/object.hpp"
#include "host/crypto/ec_plain.hpp"

namespace kf::p11core {

// The mutex of an application that allows no other kind.
class ApplicationMutex {
 public:
  // Throws when the application makes none; without functions there is nothing to hold.
  explicit ApplicationMutex(const CK_C_INITIALIZE_ARGS& functions);
  ~ApplicationMutex();
  ApplicationMutex(const ApplicationMutex&) = delete;
  ApplicationMutex& operator=(const ApplicationMutex&) = delete;
  class Held {
   public:
    explicit Held(const ApplicationMutex& m);
    ~Held();
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    [[nodiscard]] bool ok() const { return ok_; }

   private:
    const ApplicationMutex& m_;
    bool ok_ = true;
  };

 private:
  CK_C_INITIALIZE_ARGS functions_{};
  void* mutex_ = nullptr;
};

// A signature or verification that C_SignInit or C_VerifyInit has begun.
struct Operation {
  std::shared_ptr<Object> key;
  CK_MECHANISM_TYPE mechanism = 0;
  std::optional<Sha256> digest;  // of CKM_ECDSA_SHA256
  bool in_parts = false;         // an Update was made
};

struct Session {
  CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
  CK_SLOT_ID slot = 0;
  CK_FLAGS flags = 0;
  std::mutex lock;      // guards what follows
  bool closed = false;  // a call that waited for the lock must not go on
  std::optional<std::vector<CK_OBJECT_HANDLE>> found;
  std::size_t told = 0;
  std::optional<Operation> signing, verifying;
};

class Library {
 public:
  struct Start {
    CoreService::Threads threads = CoreService::Threads::own;
    std::optional<CK_C_INITIALIZE_ARGS> mutex;
  };
  // Starts the services; cores are opened when somebody needs them. Reasons: p11-conf.
  static Result<std::unique_ptr<Library>> start(const Start& how);
  ~Library();  // every session, every key
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  [[nodiscard]] std::size_t cores() const { return services_.size(); }
  [[nodiscard]] CoreService& core(CK_SLOT_ID slot) const { return *services_[slot]; }
  [[nodiscard]] const Configuration& configuration() const { return config_; }
  [[nodiscard]] const ApplicationMutex& application_mutex() const { return mutex_; }

  // CKR_DEVICE_ERROR when start keys are configured and the core cannot make them.
  CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_SESSION_HANDLE& handle);
  CK_RV close_session(CK_SESSION_HANDLE handle);
  CK_RV close_sessions(CK_SLOT_ID slot);
  [[nodiscard]] std::shared_ptr<Session> session(CK_SESSION_HANDLE handle) const;          // null: no such session
  [[nodiscard]] std::pair<std::size_t, std::size_t> session_count(CK_SLOT_ID slot) const;  // all, read-write

  // The application's, in all sessions of the slot; ends with the last of them.
  CK_RV login(CK_SLOT_ID slot);
  CK_RV logout(CK_SLOT_ID slot);  // destroys private session objects; private token objects get other handles
  [[nodiscard]] bool logged_in(CK_SLOT_ID slot) const;

  // May the object be made in this session? Sets its owner and slot.
  CK_RV admit(const Session& s, Object& o) const;
  void add(std::span<const std::shared_ptr<Object>> objects);  // gives handles
  // Null: no such object in the session's slot, or its key went with its core.
  [[nodiscard]] std::shared_ptr<Object> object(const Session& s, CK_OBJECT_HANDLE handle);
  std::vector<CK_OBJECT_HANDLE> find(const Session& s, Template t);
  CK_RV copy(const Session& s, CK_OBJECT_HANDLE from, Template t, CK_OBJECT_HANDLE& to);
  CK_RV destroy(const Session& s, CK_OBJECT_HANDLE handle);
  // Reading and changing attributes.
  template <class F>
  CK_RV with_object(const Session& s, CK_OBJECT_HANDLE handle, F&& f) {
    const std::lock_guard g(lock_);
    const auto o = alive(s, handle);
    return o ? f(*o) : CKR_OBJECT_HANDLE_INVALID;
  }

 private:
  Library(Configuration c, const Start& how);
  std::shared_ptr<Object> alive(const Session& s, CK_OBJECT_HANDLE handle);  // under the lock
  void forget_lost(CK_SLOT_ID slot);                                         // under the lock
  void renew_handles(CK_SLOT_ID slot);                                       // under the lock
  void end_login_with_last_session(CK_SLOT_ID slot);                         // under the lock
  CK_RV erase(std::vector<std::shared_ptr<Object>> objects);                 // without it
  template <class Which>
  std::vector<std::shared_ptr<Object>> take_out(Which&& which);
  void place_fixed_keys();
  CK_RV make_start_keys(CK_SLOT_ID slot);

  Configuration config_;
  ApplicationMutex mutex_;
  std::vector<std::unique_ptr<CoreService>> services_;
  std::mutex starting_;  // one thread makes start keys
  mutable std::mutex lock_;
  std::unordered_map<CK_SESSION_HANDLE, std::shared_ptr<Session>> sessions_;
  std::unordered_map<CK_OBJECT_HANDLE, std::shared_ptr<Object>> objects_;
  std::vector<bool> logged_in_;  // by slot
  CK_ULONG next_session_ = 1, next_object_ = 1;
};

CK_RV rv_of(Outcome o);  // but for bad_signature and undecided, which depend on the call

}  // namespace kf::p11core
