// What the shim knows about the handles of this process: sessions (all of them renumbered) and object handles (passed
// through as they are until one dies). Any thread; a session itself is used by one thread at a time.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "tests/hsm/shim/weather.hpp"

namespace kf::shim {

// Session handles that the caller sees are unique over all processes (process id in the upper half) and never used
// twice.
class Sessions {
 public:
  // CKR_SESSION_COUNT when a limit of the weather is reached.
  CK_RV open(const Weather& w, CK_FUNCTION_LIST& f, CK_SLOT_ID slot, CK_FLAGS flags, void* application,
             CK_NOTIFY notify, CK_SESSION_HANDLE_PTR out);
  // The module's handle, after the weather has had its chance to kill it.
  CK_RV use(const Weather& w, CK_FUNCTION_LIST& f, CK_SESSION_HANDLE seen, CK_SESSION_HANDLE& real);
  CK_RV close(CK_FUNCTION_LIST& f, CK_SESSION_HANDLE seen);
  void forget_all_of(CK_SLOT_ID slot);
  void forget_all();

 private:
  struct Entry {
    CK_SESSION_HANDLE real = 0;
    CK_SLOT_ID slot = 0;
    std::int64_t opened_ns = 0;
    unsigned long resets = 0;
    unsigned judged_by = 0;  // id of the weather whose dead-sessions rules have seen it
    bool dead = false;
    std::optional<unsigned long> place;  // in the lock file that counts the sessions of all processes
  };
  void kill(CK_FUNCTION_LIST& f, Entry& e);
  [[nodiscard]] std::size_t living() const;
  std::optional<unsigned long> take_place(unsigned long limit);
  void give_back(Entry& e);

  std::mutex mutex_;
  std::unordered_map<CK_SESSION_HANDLE, Entry> entries_;
  std::unordered_set<unsigned long> places_;
  unsigned long last_ = 0;
  int lock_fd_ = -1;
};

class Objects {
 public:
  // Replaces the caller's handle by the module's; `invalid` when the object is hidden, or dies or has died.
  CK_RV use(const Weather& w, CK_FUNCTION_LIST& f, CK_SESSION_HANDLE real_session, CK_OBJECT_HANDLE& object,
            CK_RV invalid);
  // What the caller gets to see for a handle that the module just gave: another one if the handle has died before.
  CK_OBJECT_HANDLE seen(CK_OBJECT_HANDLE real);
  static bool hidden(const Weather& w, CK_FUNCTION_LIST& f, CK_SESSION_HANDLE real_session, CK_OBJECT_HANDLE real);
  void forget(CK_OBJECT_HANDLE seen_handle);
  void forget_all();

 private:
  std::mutex mutex_;
  std::atomic<bool> plain_{true};                                   // nothing has died yet: nothing to look up
  std::unordered_set<CK_OBJECT_HANDLE> dead_;                       // as the caller sees them
  std::unordered_map<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE> real_of_;  // other names
  std::unordered_map<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE> name_of_;  // the latest other name
  CK_OBJECT_HANDLE last_ = 0;
};

}  // namespace kf::shim
