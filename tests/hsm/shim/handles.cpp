#include "tests/hsm/shim/handles.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace kf::shim {
namespace {
constexpr unsigned long kManyPlaces = 4096;
constexpr CK_OBJECT_HANDLE kOtherNames = 0x5A0000000000UL;  // no module counts so far
}  // namespace

std::size_t Sessions::living() const {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& e) { return !e.second.dead; }));
}

// A byte in a file for each session, locked as long as the session lives: the kernel gives back the places of a process
// that was killed.
std::optional<unsigned long> Sessions::take_place(unsigned long limit) {
  if (lock_fd_ < 0) {
    lock_fd_ = ::open((script_path() + ".sessions").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_fd_ < 0) return std::nullopt;
  }
  for (unsigned long i = 0; i < limit; ++i) {
    if (places_.count(i) != 0) continue;
    struct flock l {};
    l.l_type = F_WRLCK;
    l.l_whence = SEEK_SET;
    l.l_start = static_cast<off_t>(i);
    l.l_len = 1;
    if (::fcntl(lock_fd_, F_OFD_SETLK, &l) == 0) {
      places_.insert(i);
      return i;
    }
  }
  return std::nullopt;
}

void Sessions::give_back(Entry& e) {
  if (!e.place) return;
  struct flock l {};
  l.l_type = F_UNLCK;
  l.l_whence = SEEK_SET;
  l.l_start = static_cast<off_t>(*e.place);
  l.l_len = 1;
  ::fcntl(lock_fd_, F_OFD_SETLK, &l);
  places_.erase(*e.place);
  e.place.reset();
}

CK_RV Sessions::open(const Weather& w, CK_FUNCTION_LIST& f, CK_SLOT_ID slot, CK_FLAGS flags, void* application,
                     CK_NOTIFY notify, CK_SESSION_HANDLE_PTR out) {
  if (out == nullptr) return CKR_ARGUMENTS_BAD;
  const std::lock_guard lock(mutex_);
  // What a reset of the device took away is closed in the module too, so that the login goes with the last of them.
  for (auto& [seen, e] : entries_) {
    if (!e.dead && w.lost(e.opened_ns, e.resets)) kill(f, e);
  }
  if (w.script().sessions && living() >= *w.script().sessions) return CKR_SESSION_COUNT;
  Entry e;
  e.place = take_place(std::min(w.script().sessions_total.value_or(kManyPlaces), kManyPlaces));
  if (!e.place && w.script().sessions_total) return CKR_SESSION_COUNT;
  if (const CK_RV rv = f.C_OpenSession(slot, flags, application, notify, &e.real); rv != CKR_OK) {
    give_back(e);
    return rv;
  }
  e.slot = slot;
  e.opened_ns = monotonic_ns();
  e.resets = w.script().resets;
  *out = (static_cast<unsigned long>(::getpid()) << 32) + ++last_;
  entries_.emplace(*out, e);
  return CKR_OK;
}

void Sessions::kill(CK_FUNCTION_LIST& f, Entry& e) {
  f.C_CloseSession(e.real);
  e.dead = true;
  give_back(e);
}

CK_RV Sessions::use(const Weather& w, CK_FUNCTION_LIST& f, CK_SESSION_HANDLE seen, CK_SESSION_HANDLE& real) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(seen);
  if (w.gone_now()) {
    for (auto& [handle, e] : entries_) {
      if (!e.dead) kill(f, e);
    }
    return CKR_DEVICE_REMOVED;
  }
  if (found == entries_.end()) return CKR_SESSION_HANDLE_INVALID;
  if (w.lost(found->second.opened_ns, found->second.resets)) {
    for (auto& [handle, e] : entries_) {
      if (!e.dead && w.lost(e.opened_ns, e.resets)) kill(f, e);
    }
  }
  Entry& e = found->second;
  if (!e.dead) {
    const auto& rules = w.script().rules;
    const bool first_time = e.judged_by != w.id();
    e.judged_by = w.id();
    bool dies = false;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const bool judges =
          rules[i].kind == Rule::Kind::dying_sessions || (rules[i].kind == Rule::Kind::dead_sessions && first_time);
      if (judges && w.hits(i)) dies = true;
    }
    if (dies) kill(f, e);
  }
  if (e.dead) return CKR_SESSION_HANDLE_INVALID;
  real = e.real;
  return CKR_OK;
}

CK_RV Sessions::close(CK_FUNCTION_LIST& f, CK_SESSION_HANDLE seen) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(seen);
  if (found == entries_.end()) return CKR_SESSION_HANDLE_INVALID;
  Entry e = found->second;
  entries_.erase(found);
  if (e.dead) return CKR_SESSION_HANDLE_INVALID;
  give_back(e);
  return f.C_CloseSession(e.real);
}

void Sessions::forget_all_of(CK_SLOT_ID slot) {
  const std::lock_guard lock(mutex_);
  for (auto i = entries_.begin(); i != entries_.end();) {
    if (i->second.slot == slot) {
      give_back(i->second);
      i = entries_.erase(i);
    } else {
      ++i;
    }
  }
}

void Sessions::forget_all() {
  const std::lock_guard lock(mutex_);
  for (auto& [seen, e] : entries_) give_back(e);
  entries_.clear();
}

bool Objects::hidden(const Weather& w, CK_FUNCTION_LIST& f, CK_SESSION_HANDLE real_session, CK_OBJECT_HANDLE real) {
  const auto& labels = w.script().hidden_labels;
  if (labels.empty()) return false;
  std::array<char, 256> text{};
  CK_ATTRIBUTE a{CKA_LABEL, text.data(), text.size()};
  if (f.C_GetAttributeValue(real_session, real, &a, 1) != CKR_OK || a.ulValueLen > text.size()) return false;
  return std::find(labels.begin(), labels.end(), std::string_view(text.data(), a.ulValueLen)) != labels.end();
}

CK_RV Objects::use(const Weather& w, CK_FUNCTION_LIST& f, CK_SESSION_HANDLE real_session, CK_OBJECT_HANDLE& object,
                   CK_RV invalid) {
  CK_OBJECT_HANDLE real = object;
  if (!plain_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(mutex_);
    if (dead_.count(object) != 0) return invalid;
    if (const auto other = real_of_.find(object); other != real_of_.end()) real = other->second;
  }
  if (hidden(w, f, real_session, real)) return invalid;
  const auto& rules = w.script().rules;
  bool dies = false;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (rules[i].kind == Rule::Kind::dead_objects && w.hits(i)) dies = true;
  }
  if (dies) {
    // A session object is really destroyed; an object of the token only gets another handle when it is looked up again.
    CK_BBOOL of_token = CK_TRUE;
    CK_ATTRIBUTE a{CKA_TOKEN, &of_token, sizeof of_token};
    if (f.C_GetAttributeValue(real_session, real, &a, 1) == CKR_OK && of_token == CK_FALSE)
      f.C_DestroyObject(real_session, real);
    const std::lock_guard lock(mutex_);
    dead_.insert(object);
    plain_.store(false, std::memory_order_release);
    return invalid;
  }
  object = real;
  return CKR_OK;
}

CK_OBJECT_HANDLE Objects::seen(CK_OBJECT_HANDLE real) {
  if (plain_.load(std::memory_order_acquire)) return real;
  const std::lock_guard lock(mutex_);
  const auto named = name_of_.find(real);
  const CK_OBJECT_HANDLE current = named == name_of_.end() ? real : named->second;
  if (dead_.count(current) == 0) return current;
  const CK_OBJECT_HANDLE fresh = kOtherNames + ++last_;
  name_of_[real] = fresh;
  real_of_[fresh] = real;
  return fresh;
}

void Objects::forget(CK_OBJECT_HANDLE seen_handle) {
  if (plain_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  const auto other = real_of_.find(seen_handle);
  if (other == real_of_.end()) return;
  if (const auto named = name_of_.find(other->second); named != name_of_.end() && named->second == seen_handle)
    name_of_.erase(named);
  real_of_.erase(other);
}

void Objects::forget_all() {
  const std::lock_guard lock(mutex_);
  dead_.clear();
  real_of_.clear();
  name_of_.clear();
  plain_.store(true, std::memory_order_release);
}

}  // namespace kf::shim
