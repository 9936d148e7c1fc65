#include "tests/hsm/shim/script.hpp"

#include <algorithm>
#include <cstdlib>
#include <functional>

namespace kf::shim {
namespace {

// Words of one line: blanks separate, "..." keeps blanks together, # starts a comment.
Result<std::vector<std::string>> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < line.size();) {
    if (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
      ++i;
    } else if (line[i] == '#') {
      break;
    } else if (line[i] == '"') {
      const auto end = line.find('"', i + 1);
      if (end == std::string_view::npos) return Error{"shim-script", "a quotation mark is not closed"};
      words.emplace_back(line.substr(i + 1, end - i - 1));
      i = end + 1;
    } else {
      const auto end = std::min(line.find_first_of(" \t\r#", i), line.size());
      words.emplace_back(line.substr(i, end - i));
      i = end;
    }
  }
  return words;
}

// One line being read: words are taken from the left.
class Line {
 public:
  explicit Line(std::vector<std::string> words) : words_(std::move(words)) {}
  [[nodiscard]] bool empty() const { return at_ == words_.size(); }
  [[nodiscard]] const std::string& peek() const {
    static const std::string nothing;
    return empty() ? nothing : words_[at_];
  }
  Result<std::string> word(const char* what) {
    if (empty()) return Error{"shim-script", std::string("expected ") + what + " at the end of the line"};
    return words_[at_++];
  }
  template <class F>
  auto named(const char* what, F&& lookup) -> Result<typename decltype(lookup(std::string_view()))::value_type> {
    KF_TRY(const std::string w, word(what));
    const auto v = lookup(w);
    if (!v) return Error{"shim-script", "'" + w + "' is no " + what};
    return *v;
  }
  Result<unsigned long> count(const char* what) { return named(what, number); }
  Result<double> amount(const char* what) {
    KF_TRY(const std::string w, word(what));
    char* end = nullptr;
    const double v = std::strtod(w.c_str(), &end);
    if (end == w.c_str() || *end != 0 || !(v >= 0)) return Error{"shim-script", "'" + w + "' is no " + what};
    return v;
  }
  Status function(std::optional<Fn>& out) {
    if (peek() == "*") {
      ++at_;
      out.reset();
      return {};
    }
    KF_TRY(out, named("function", function_named));
    return {};
  }
  Status when(When& w) {
    KF_TRY(const std::string kind, word("WHEN"));
    using Kind = When::Kind;
    if (kind == "always" || kind == "once") {
      w.kind = kind == "once" ? Kind::once : Kind::always;
      return {};
    }
    if (kind == "percent") {
      w.kind = Kind::percent;
      KF_TRY(w.percent, amount("percentage"));
      if (w.percent > 100) return Error{"shim-script", "more than 100 percent"};
      return {};
    }
    if (kind == "nth") {
      w.kind = Kind::nth;
    } else if (kind == "from") {
      w.kind = Kind::from;
    } else if (kind == "first") {
      w.kind = Kind::first;
    } else if (kind == "every") {
      w.kind = Kind::every;
    } else {
      return Error{"shim-script",
                   "'" + kind + "' is no WHEN (always, once, nth N, from N, first N, every N, percent P)"};
    }
    KF_TRY(w.n, count("number"));
    if (w.n == 0) return Error{"shim-script", "calls are counted from 1"};
    return {};
  }

 private:
  std::vector<std::string> words_;
  std::size_t at_ = 0;
};

Status read_rule(Line& l, Rule::Kind kind, Script& s) {
  Rule r;
  r.kind = kind;
  using Kind = Rule::Kind;
  const bool of_function = kind < Kind::dead_sessions;
  if (kind == Kind::leak) {
    KF_TRY(r.kib, l.count("number of KiB"));
  }
  if (of_function) KF_CHECK(l.function(r.function));
  if (kind != Kind::leak || !l.empty()) KF_CHECK(l.when(r.when));
  if (kind == Kind::rv || kind == Kind::rv_after) {
    KF_TRY(r.code, l.named("return code", rv_named));
  }
  if (kind == Kind::delay) {
    KF_TRY(r.milliseconds, l.amount("number of milliseconds"));
  }
  if (kind == Kind::crash && !l.empty()) {
    KF_TRY(const std::string how, l.word("abort or segv"));
    if (how != "abort" && how != "segv") return Error{"shim-script", "'" + how + "' is neither abort nor segv"};
    r.segv = how == "segv";
  }
  s.rules.push_back(r);
  return {};
}

struct Keyword {
  std::string_view name;
  std::function<Status(Line&, Script&)> read;
};

template <class M>
Keyword flag(std::string_view name, M member) {
  return {name, [member](Line&, Script& s) -> Status {
            s.*member = true;
            return {};
          }};
}
Keyword rule(std::string_view name, Rule::Kind kind) {
  return {name, [kind](Line& l, Script& s) { return read_rule(l, kind, s); }};
}

const std::vector<Keyword>& keywords() {
  static const std::vector<Keyword> all{
      {"module",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.module, l.word("path"));
         return {};
       }},
      {"log",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.log, l.word("path"));
         return {};
       }},
      {"log-only",
       [](Line& l, Script& s) -> Status {
         KF_TRY(const std::string list, l.word("list of functions"));
         s.log_only.emplace();
         for (std::size_t at = 0; at <= list.size();) {
           const auto end = std::min(list.find(',', at), list.size());
           const std::string name = list.substr(at, end - at);
           const auto f = function_named(name);
           if (!f) return Error{"shim-script", "'" + name + "' is no function"};
           s.log_only->set(static_cast<std::size_t>(*f));
           at = end + 1;
         }
         return {};
       }},
      rule("rv", Rule::Kind::rv),
      rule("rv-after", Rule::Kind::rv_after),
      rule("delay", Rule::Kind::delay),
      rule("hang", Rule::Kind::hang),
      rule("crash", Rule::Kind::crash),
      rule("leak", Rule::Kind::leak),
      rule("dead-sessions", Rule::Kind::dead_sessions),
      rule("dying-sessions", Rule::Kind::dying_sessions),
      rule("dead-objects", Rule::Kind::dead_objects),
      {"sessions",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.sessions, l.count("number"));
         return {};
       }},
      {"sessions-total",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.sessions_total, l.count("number"));
         return {};
       }},
      flag("gone", &Script::gone),
      {"gone-between",
       [](Line& l, Script& s) -> Status {
         KF_TRY(const unsigned long from, l.count("time in ms"));
         KF_TRY(const unsigned long until, l.count("time in ms"));
         if (until <= from) return Error{"shim-script", "the second time must be later than the first"};
         s.gone_from = static_cast<std::int64_t>(from);
         s.gone_until = static_cast<std::int64_t>(until);
         return {};
       }},
      {"resets",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.resets, l.count("number"));
         return {};
       }},
      {"token-flags",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.token_flags, l.count("mask"));
         return {};
       }},
      {"cryptoki",
       [](Line& l, Script& s) -> Status {
         KF_TRY(s.cryptoki, l.count("number"));
         if (*s.cryptoki > 255) return Error{"shim-script", "a major version is one octet"};
         return {};
       }},
      {"announce",
       [](Line& l, Script& s) -> Status {
         KF_TRY(const std::string what, l.word("max-sessions or max-rw-sessions"));
         if (what != "max-sessions" && what != "max-rw-sessions")
           return Error{"shim-script", "'" + what + "' is neither max-sessions nor max-rw-sessions"};
         auto& field = what == "max-sessions" ? s.max_sessions : s.max_rw_sessions;
         if (l.peek() == "all-ones") {
           KF_CHECK(l.word("number"));
           field = ~0UL;
           return {};
         }
         KF_TRY(field, l.count("number"));
         return {};
       }},
      {"hide-mechanism",
       [](Line& l, Script& s) -> Status {
         KF_TRY(const auto m, l.named("mechanism", mechanism_named));
         s.hidden_mechanisms.push_back(m);
         return {};
       }},
      {"refuse-kdf",
       [](Line& l, Script& s) -> Status {
         KF_TRY(const auto k, l.named("KDF", kdf_named));
         s.refused_kdfs.push_back(k);
         return {};
       }},
      flag("der-only", &Script::der_only),
      flag("raw-only", &Script::raw_only),
      flag("need-value-len", &Script::need_value_len),
      flag("refuse-value-len", &Script::refuse_value_len),
      {"forbid-copy",
       [](Line& l, Script& s) -> Status {
         s.forbid_copy = CKR_FUNCTION_NOT_SUPPORTED;
         if (!l.empty()) {
           KF_TRY(s.forbid_copy, l.named("return code", rv_named));
         }
         return {};
       }},
      {"hide-object",
       [](Line& l, Script& s) -> Status {
         KF_TRY(std::string label, l.word("label"));
         s.hidden_labels.push_back(std::move(label));
         return {};
       }},
      {"wrong-key",
       [](Line& l, Script& s) -> Status {
         WrongKey w;
         KF_TRY(w.label, l.word("label"));
         KF_TRY(w.other, l.word("label"));
         if (l.peek() == "private") {
           KF_CHECK(l.word("private"));
           w.private_only = true;
         }
         s.wrong_keys.push_back(std::move(w));
         return {};
       }},
  };
  return all;
}

Status read_line(Line& l, Script& s) {
  KF_TRY(const std::string name, l.word("a keyword"));
  const auto& all = keywords();
  const auto k = std::find_if(all.begin(), all.end(), [&](const Keyword& x) { return x.name == name; });
  if (k == all.end()) return Error{"shim-script", "unknown keyword '" + name + "'"};
  KF_CHECK(k->read(l, s));
  if (!l.empty()) return Error{"shim-script", "'" + l.peek() + "' is too much"};
  return {};
}

}  // namespace

Result<Script> parse(std::string_view text) {
  Script s;
  unsigned number_of_line = 0;
  while (!text.empty()) {
    ++number_of_line;
    const auto end = std::min(text.find('\n'), text.size());
    const auto at_line = [&](const Error& e) {
      return Error{e.reason, "line " + std::to_string(number_of_line) + ": " + e.detail};
    };
    auto words = words_of(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!words) return at_line(words.error());
    if (words->empty()) continue;
    Line line(std::move(*words));
    const std::size_t before = s.rules.size();
    if (const Status read = read_line(line, s); !read) return at_line(read.error());
    if (s.rules.size() != before) s.rules.back().line = number_of_line;
  }
  if (s.module.empty()) return Error{"shim-script", "no line 'module PATH'"};
  if (s.der_only && s.raw_only) return Error{"shim-script", "der-only and raw-only together leave nothing"};
  return s;
}

bool is_der_point(const unsigned char* data, unsigned long n) noexcept {
  if (data == nullptr || n < 4 || data[0] != 0x04) return false;
  unsigned long inner = 0;
  unsigned long head = 2;
  if (data[1] < 0x80) {
    inner = data[1];
  } else if (data[1] == 0x81) {
    inner = data[2];
    head = 3;
  } else {
    return false;
  }
  if (inner + head != n || inner % 2 == 0 || data[head] != 0x04) return false;
  // A raw point of one of these sizes is never an OCTET STRING around another of them.
  constexpr unsigned long kCoordinates[] = {20, 24, 28, 30, 32, 36, 40, 48, 52, 64, 66};
  return std::find(std::begin(kCoordinates), std::end(kCoordinates), (inner - 1) / 2) != std::end(kCoordinates);
}

}  // namespace kf::shim
