#include "host/main/config/section.hpp"

#include <algorithm>

namespace kf::server {
namespace fs = std::filesystem;

std::string Section::key(std::string_view k) const {
  return path_.empty() ? std::string(k) : path_ + "." + std::string(k);
}

void Section::bad(std::string_view k, std::string what) const { mistakes_->add(key(k), std::move(what)); }

void Section::bad_entry(std::string_view k, std::string what) const { mistakes_->add_entry(key(k), std::move(what)); }

template <class T>
std::optional<T> Section::get(std::string_view k, const char* type) {
  seen_.insert(std::string(k));
  if (!has(k)) return std::nullopt;
  auto v = t_->get(k)->value_exact<T>();
  if (!v) bad(k, std::string("must be ") + type);
  return v;
}

std::string Section::str(std::string_view k, std::optional<std::string> fallback) {
  auto v = get<std::string>(k, "a string");
  if (!v && !fallback) bad(k, "required");
  return v ? *v : fallback.value_or("");
}

bool Section::boolean(std::string_view k, bool fallback) { return get<bool>(k, "true or false").value_or(fallback); }

std::int64_t Section::integer(std::string_view k, std::int64_t fallback, std::int64_t low, std::int64_t high,
                              const char* form) {
  const std::int64_t v = get<std::int64_t>(k, form != nullptr ? form : "a whole number").value_or(fallback);
  if (v >= low && v <= high) return v;
  bad(k, "must be " + (form != nullptr ? form : "from " + std::to_string(low) + " to " + std::to_string(high)));
  return fallback;
}

std::string Section::file(std::string_view k, bool required) {
  const std::string p = required ? path(k) : path(k, "");
  std::error_code ec;
  if (p.empty() && required) bad(k, "required");
  if (p.empty() || fs::exists(p, ec)) return p;
  bad(k, "file not found: " + p);
  return {};
}

std::string Section::path(std::string_view k, std::optional<std::string> fallback) {
  const std::string s = str(k, std::move(fallback));
  return s.empty() ? s : (base_ / s).lexically_normal().string();
}

std::vector<std::string> Section::files(std::string_view k) {
  std::vector<std::string> out;
  std::error_code ec;
  for (const std::string& f : strings(k)) {
    const std::string p = (base_ / f).lexically_normal().string();
    if (fs::exists(p, ec))
      out.push_back(p);
    else
      bad_entry(k, "file not found: " + p);
  }
  return out;
}

std::vector<std::string> Section::strings(std::string_view k) {
  seen_.insert(std::string(k));
  std::vector<std::string> out;
  if (!has(k)) return out;
  const toml::array* a = t_->get(k)->as_array();
  if (a == nullptr) {
    bad(k, "must be a list of strings");
    return out;
  }
  for (const auto& n : *a) {
    auto v = n.value_exact<std::string>();
    if (!v) {
      bad(k, "must be a list of strings");
      return {};
    }
    out.push_back(*v);
  }
  return out;
}

std::vector<std::string> Section::one_or_more(std::string_view k) {
  if (has(k) && t_->get(k)->is_string()) return {str(k)};
  return strings(k);
}

std::string Section::one_of(std::string_view k, std::string fallback, const std::vector<std::string>& allowed) {
  const std::string v = str(k, fallback);
  if (std::ranges::find(allowed, v) != allowed.end()) return v;
  std::string names;
  for (std::size_t i = 0; i < allowed.size(); ++i)
    names += (i == 0 ? "" : i + 1 == allowed.size() ? " or " : ", ") + ("\"" + allowed[i] + "\"");
  bad(k, "must be " + names);
  return fallback;
}

Oid Section::oid(std::string_view k) {
  const std::string s = str(k);
  if (!good(k)) return {};
  auto o = parse_oid(s);
  if (o) return *o;
  bad(k, o.error().detail);
  return {};
}

// SOAP goes over TLS with a certificate on both sides, or not at all.
std::string Section::https_url(std::string_view k, std::optional<std::string> fallback) {
  std::string s = str(k, std::move(fallback));
  if (s.empty() && good(k)) return s;
  if (!good(k)) return {};
  const auto u = net::parse_url(s);
  if (!u)
    bad(k, u.error().detail + "; must look like https://smsr.example:9444/es3");
  else if (!u->tls)
    bad(k, "must begin with https://: messages never go out in clear");
  return good(k) ? s : std::string();
}

Section Section::table(std::string_view k) {
  seen_.insert(std::string(k));
  const toml::node* n = t_ == nullptr ? nullptr : t_->get(k);
  if (n != nullptr && !n->is_table()) bad(k, "must be a table");
  return {n == nullptr ? nullptr : n->as_table(), key(k), base_, *mistakes_};
}

std::vector<Section> Section::tables(std::string_view k) {
  seen_.insert(std::string(k));
  std::vector<Section> out;
  const toml::node* n = t_ == nullptr ? nullptr : t_->get(k);
  if (n == nullptr) return out;
  if (!n->is_array_of_tables()) {
    bad(k, "must be a list of tables, [[" + key(k) + "]]");
    return out;
  }
  std::size_t i = 0;
  for (const auto& e : *n->as_array())
    out.emplace_back(e.as_table(), key(k) + "[" + std::to_string(i++) + "]", base_, *mistakes_);
  return out;
}

std::vector<std::string> Section::keys() const {
  std::vector<std::string> out;
  if (t_ == nullptr) return out;
  for (const auto& [k, v] : *t_) out.emplace_back(k.str());
  return out;
}

void Section::done() const {
  for (const std::string& k : keys())
    if (seen_.count(k) == 0) bad(k, "unknown key");
}

}  // namespace kf::server
