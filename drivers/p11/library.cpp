#include "drivers/p11/library.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <utility>

#include "drivers/p11/openssl.hpp"

namespace kf::p11core {
namespace {

CoreService::Log log_to(const std::string& where) {
  if (where == "none") return [](const std::string&) {};
  return [where](const std::string& line) {
    std::FILE* f = where == "stderr" ? stderr : std::fopen(where.c_str(), "ae");
    if (f == nullptr) return;
    std::fprintf(f, "libkeyferry-p11: %s\n", line.c_str());
    if (f == stderr) {
      std::fflush(f);
    } else {
      std::fclose(f);
    }
  };
}

CK_ATTRIBUTE attr(CK_ATTRIBUTE_TYPE type, ByteView v) { return {type, const_cast<std::uint8_t*>(v.data()), v.size()}; }
template <class T>
ByteView octets_of(const T& v) {
  return {reinterpret_cast<const std::uint8_t*>(&v), sizeof v};
}

// What all start keys have: label, and as CKA_ID their place in the configuration, from 1.
std::vector<CK_ATTRIBUTE> named(const StartKey& k, std::size_t i) {
  static constexpr auto kIds = [] {
    std::array<std::uint8_t, 256> all{};
    for (std::size_t n = 0; n < all.size(); ++n) all[n] = static_cast<std::uint8_t>(n);
    return all;
  }();
  return {attr(CKA_TOKEN, octets_of(kYes)), attr(CKA_MODIFIABLE, octets_of(kNo)), attr(CKA_LABEL, view(k.label)),
          attr(CKA_ID, ByteView(kIds).subspan((i + 1) % kIds.size(), 1))};
}

}  // namespace

CK_RV rv_of(Outcome o) {
  switch (o) {
    case Outcome::ok:
      return CKR_OK;
    case Outcome::bad_signature:
      return CKR_SIGNATURE_INVALID;
    case Outcome::undecided:
      return CKR_FUNCTION_FAILED;
    case Outcome::no_slot:
      return CKR_DEVICE_MEMORY;
    case Outcome::key_gone:
      return CKR_KEY_HANDLE_INVALID;
    case Outcome::fault:
    case Outcome::lost:
      return CKR_DEVICE_ERROR;
  }
  return CKR_GENERAL_ERROR;
}

ApplicationMutex::ApplicationMutex(const CK_C_INITIALIZE_ARGS& functions) : functions_(functions) {
  if (functions_.CreateMutex != nullptr && functions_.CreateMutex(&mutex_) != CKR_OK)
    throw std::runtime_error("the application makes no mutex");
}
ApplicationMutex::~ApplicationMutex() {
  if (functions_.DestroyMutex != nullptr) static_cast<void>(functions_.DestroyMutex(mutex_));
}
ApplicationMutex::Held::Held(const ApplicationMutex& m) : m_(m) {
  if (m_.functions_.LockMutex != nullptr) ok_ = m_.functions_.LockMutex(m_.mutex_) == CKR_OK;
}
ApplicationMutex::Held::~Held() {
  if (ok_ && m_.functions_.UnlockMutex != nullptr) static_cast<void>(m_.functions_.UnlockMutex(m_.mutex_));
}

Library::Library(Configuration c, const Start& how)
    : config_(std::move(c)),
      mutex_(how.mutex.value_or(CK_C_INITIALIZE_ARGS{})),
      logged_in_(config_.cores.size(), false) {
  const CoreService::Log log = log_to(config_.log);
  const bool any_thread = how.threads == CoreService::Threads::callers;
  for (std::size_t i = 0; i < config_.cores.size(); ++i)
    services_.push_back(
        std::make_unique<CoreService>("core " + std::to_string(i), opener(config_, i, any_thread), log, how.threads));
  place_fixed_keys();
}

Result<std::unique_ptr<Library>> Library::start(const Start& how) {
  prepare_openssl();
  auto c = read_configuration();
  if (!c) {
    log_to("stderr")(c.error().text());
    return c.error();
  }
  return std::unique_ptr<Library>(new Library(std::move(*c), how));
}

Library::~Library() {
  objects_.clear();
  sessions_.clear();
  services_.clear();  // overwrites the key slots
}

// ---- sessions

CK_RV Library::open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_SESSION_HANDLE& handle) {
  if (const CK_RV rv = make_start_keys(slot); rv != CKR_OK) return rv;
  core(slot).warm_up();
  const std::lock_guard g(lock_);
  auto s = std::make_shared<Session>();
  s->handle = handle = next_session_++;
  s->slot = slot;
  s->flags = flags;
  sessions_.emplace(handle, std::move(s));
  return CKR_OK;
}

template <class Which>
std::vector<std::shared_ptr<Object>> Library::take_out(Which&& which) {
  std::vector<std::shared_ptr<Object>> out;
  std::erase_if(objects_, [&](auto& entry) {
    if (!which(*entry.second)) return false;
    out.push_back(std::move(entry.second));
    return true;
  });
  return out;
}

CK_RV Library::close_session(CK_SESSION_HANDLE handle) {
  const auto s = session(handle);
  if (!s) return CKR_SESSION_HANDLE_INVALID;
  {
    // A call under way makes its objects first, so that none outlives its session.
    const std::lock_guard g(s->lock);
    if (std::exchange(s->closed, true)) return CKR_SESSION_HANDLE_INVALID;
  }
  std::vector<std::shared_ptr<Object>> mine;
  {
    const std::lock_guard g(lock_);
    sessions_.erase(handle);
    end_login_with_last_session(s->slot);
    mine = take_out([&](const Object& o) { return o.owner == handle; });
  }
  return erase(std::move(mine));
}

CK_RV Library::close_sessions(CK_SLOT_ID slot) {
  std::vector<std::shared_ptr<Session>> all;
  {
    const std::lock_guard g(lock_);
    for (const auto& [h, s] : sessions_)
      if (s->slot == slot) all.push_back(s);
  }
  for (const auto& s : all) {
    const std::lock_guard g(s->lock);
    s->closed = true;
  }
  std::vector<std::shared_ptr<Object>> mine;
  {
    const std::lock_guard g(lock_);
    for (const auto& s : all) {
      sessions_.erase(s->handle);
      for (auto& o : take_out([&](const Object& x) { return x.owner == s->handle; })) mine.push_back(std::move(o));
    }
    end_login_with_last_session(slot);
  }
  return erase(std::move(mine));
}

std::shared_ptr<Session> Library::session(CK_SESSION_HANDLE handle) const {
  const std::lock_guard g(lock_);
  const auto it = sessions_.find(handle);
  return it == sessions_.end() ? nullptr : it->second;
}

std::pair<std::size_t, std::size_t> Library::session_count(CK_SLOT_ID slot) const {
  const std::lock_guard g(lock_);
  std::size_t all = 0;
  std::size_t read_write = 0;
  for (const auto& [h, s] : sessions_) {
    if (s->slot != slot) continue;
    ++all;
    read_write += (s->flags & CKF_RW_SESSION) != 0 ? 1 : 0;
  }
  return {all, read_write};
}

CK_RV Library::login(CK_SLOT_ID slot) {
  const std::lock_guard g(lock_);
  if (logged_in_[slot]) return CKR_USER_ALREADY_LOGGED_IN;
  logged_in_[slot] = true;
  return CKR_OK;
}

bool Library::logged_in(CK_SLOT_ID slot) const {
  const std::lock_guard g(lock_);
  return logged_in_[slot];
}

// PKCS#11 2.40, 5.6: handles of private objects end with the login, private session objects with them.
CK_RV Library::logout(CK_SLOT_ID slot) {
  std::vector<std::shared_ptr<Object>> gone;
  {
    const std::lock_guard g(lock_);
    if (!logged_in_[slot]) return CKR_USER_NOT_LOGGED_IN;
    logged_in_[slot] = false;
    gone = take_out(
        [&](const Object& o) { return o.slot == slot && o.owner != CK_INVALID_HANDLE && o.flag(CKA_PRIVATE); });
    renew_handles(slot);
  }
  return erase(std::move(gone));
}

void Library::renew_handles(CK_SLOT_ID slot) {
  std::vector<CK_OBJECT_HANDLE> old;
  for (const auto& [h, o] : objects_)
    if (o->slot == slot && o->flag(CKA_PRIVATE)) old.push_back(h);
  for (const CK_OBJECT_HANDLE h : old) {
    auto node = objects_.extract(h);
    node.key() = node.mapped()->handle = next_object_++;
    objects_.insert(std::move(node));
  }
}

void Library::end_login_with_last_session(CK_SLOT_ID slot) {
  if (!logged_in_[slot]) return;
  if (std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& e) { return e.second->slot == slot; })) return;
  logged_in_[slot] = false;
  renew_handles(slot);
}

// ---- objects

CK_RV Library::admit(const Session& s, Object& o) const {
  o.slot = s.slot;
  if (!o.flag(CKA_TOKEN)) {
    o.owner = s.handle;
    return CKR_OK;
  }
  if ((s.flags & CKF_RW_SESSION) == 0) return CKR_SESSION_READ_ONLY;
  return config_.volatile_token_objects ? CKR_OK : CKR_TOKEN_WRITE_PROTECTED;
}

void Library::add(std::span<const std::shared_ptr<Object>> objects) {
  const std::lock_guard g(lock_);
  for (const auto& o : objects) {
    o->handle = next_object_++;
    objects_.emplace(o->handle, o);
  }
}

// Keys of a core that was lost.
void Library::forget_lost(CK_SLOT_ID slot) {
  const CoreService& c = core(slot);
  std::erase_if(objects_, [&](const auto& e) {
    const Object& o = *e.second;
    return o.slot == slot && o.key && !c.alive(o.key->key);
  });
}

std::shared_ptr<Object> Library::alive(const Session& s, CK_OBJECT_HANDLE handle) {
  const auto it = objects_.find(handle);
  if (it == objects_.end() || it->second->slot != s.slot) return nullptr;
  if (it->second->key && !core(s.slot).alive(it->second->key->key)) {
    forget_lost(s.slot);
    return nullptr;
  }
  return it->second;
}

std::shared_ptr<Object> Library::object(const Session& s, CK_OBJECT_HANDLE handle) {
  const std::lock_guard g(lock_);
  return alive(s, handle);
}

std::vector<CK_OBJECT_HANDLE> Library::find(const Session& s, Template t) {
  const std::lock_guard g(lock_);
  forget_lost(s.slot);
  std::vector<CK_OBJECT_HANDLE> out;
  for (const auto& [h, o] : objects_)
    if (o->slot == s.slot && o->matches(t)) out.push_back(h);
  std::sort(out.begin(), out.end());
  return out;
}

CK_RV Library::copy(const Session& s, CK_OBJECT_HANDLE from, Template t, CK_OBJECT_HANDLE& to) {
  auto made = std::make_shared<Object>();
  const std::lock_guard g(lock_);
  const auto o = alive(s, from);
  if (!o) return CKR_OBJECT_HANDLE_INVALID;
  if (const CK_RV rv = plan_copy(*o, t, *made); rv != CKR_OK) return rv;
  if (const CK_RV rv = admit(s, *made); rv != CKR_OK) return rv;
  made->handle = next_object_;
  objects_.emplace(made->handle, made);
  if (made->key) ++made->key->objects;
  to = next_object_++;
  return CKR_OK;
}

CK_RV Library::destroy(const Session& s, CK_OBJECT_HANDLE handle) {
  std::vector<std::shared_ptr<Object>> one;
  {
    const std::lock_guard g(lock_);
    const auto o = alive(s, handle);
    if (!o) return CKR_OBJECT_HANDLE_INVALID;
    if (o->start_key) return CKR_ACTION_PROHIBITED;
    if (o->owner == CK_INVALID_HANDLE && (s.flags & CKF_RW_SESSION) == 0) return CKR_SESSION_READ_ONLY;
    objects_.erase(handle);
    one.push_back(o);
  }
  return erase(std::move(one));
}

// Returns when the scalars are overwritten in their cores: whoever still uses one is waited for.
CK_RV Library::erase(std::vector<std::shared_ptr<Object>> objects) {
  std::map<CK_SLOT_ID, std::vector<CoreKey>> keys;
  for (const auto& o : objects) {
    if (!o->key || --o->key->objects != 0) continue;  // a copy still needs it
    const std::unique_lock alone(o->key->use);
    if (!o->key->spent.exchange(true)) keys[o->slot].push_back(o->key->key);
  }
  CK_RV rv = CKR_OK;
  for (const auto& [slot, list] : keys)
    if (core(slot).erase(list) != Outcome::ok) rv = CKR_DEVICE_ERROR;
  return rv;
}

// The public keys of the configuration.
void Library::place_fixed_keys() {
  for (std::size_t i = 0; i < config_.keys.size(); ++i) {
    const StartKey& k = config_.keys[i];
    if (k.use != StartKey::Use::verify) continue;
    const CK_OBJECT_CLASS cls = CKO_PUBLIC_KEY;
    const CK_KEY_TYPE type = CKK_EC;
    std::vector<CK_ATTRIBUTE> t = named(k, i);
    t.push_back(attr(CKA_CLASS, octets_of(cls)));
    t.push_back(attr(CKA_KEY_TYPE, octets_of(type)));
    t.push_back(attr(CKA_EC_PARAMS, oid_of(k.curve)));
    t.push_back(attr(CKA_EC_POINT, k.point));
    auto pub = std::make_shared<Object>();
    if (plan_public(t, *pub) != CKR_OK) continue;  // the point was checked with the configuration
    pub->slot = k.core;
    pub->start_key = true;
    add({&pub, 1});
  }
}

// Pairs of the configuration, made when the first session of the core is opened and again after the core was lost.
CK_RV Library::make_start_keys(CK_SLOT_ID slot) {
  const auto here = [&](const StartKey& k) { return k.core == slot && k.use != StartKey::Use::verify; };
  if (std::none_of(config_.keys.begin(), config_.keys.end(), here)) return CKR_OK;
  const std::lock_guard one(starting_);
  {
    const std::lock_guard g(lock_);
    forget_lost(slot);
    const auto pair = [&](const auto& e) { return e.second->slot == slot && e.second->start_key && e.second->key; };
    if (std::any_of(objects_.begin(), objects_.end(), pair)) return CKR_OK;
    // Public halves of what a lost core held.
    std::erase_if(objects_, [&](const auto& e) {
      return e.second->slot == slot && e.second->start_key && e.second->flag(CKA_LOCAL);
    });
  }
  std::vector<std::shared_ptr<Object>> made;
  for (std::size_t i = 0; i < config_.keys.size(); ++i) {
    const StartKey& k = config_.keys[i];
    if (!here(k)) continue;
    const bool sign = k.use == StartKey::Use::sign;
    std::vector<CK_ATTRIBUTE> pub_t = named(k, i);
    std::vector<CK_ATTRIBUTE> priv_t = pub_t;
    pub_t.push_back(attr(CKA_EC_PARAMS, oid_of(k.curve)));
    priv_t.push_back(attr(sign ? CKA_SIGN : CKA_DERIVE, octets_of(kYes)));
    auto pub = std::make_shared<Object>();
    auto priv = std::make_shared<Object>();
    CK_RV rv = plan_pair(pub_t, priv_t, Usage::refuse, *pub, *priv);
    CoreKey key;
    Point q{};
    if (rv == CKR_OK) rv = rv_of(core(slot).generate(k.curve, sign, key, q));
    if (rv != CKR_OK) {
      erase(std::move(made));
      return rv;
    }
    complete_pair(*pub, *priv, key, q);
    for (const auto& o : {pub, priv}) {
      o->slot = slot;
      o->start_key = true;
      made.push_back(o);
    }
  }
  add(made);
  return CKR_OK;
}

}  // namespace kf::p11core
