#include "drivers/p11/config.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include "drivers/simulated/transport/sim_transport.hpp"
#include "host/crypto/ec.hpp"
#include "host/os/programs.hpp"

namespace kf::p11core {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kMostCores = 16;

struct Bad {
  std::string key, what;
};

// A table of the file, that remembers which keys were asked for.
class Section {
 public:
  Section(const toml::table& t, std::string path) : t_(t), path_(std::move(path)) {}
  [[noreturn]] void bad(std::string_view k, std::string what) const {
    throw Bad{path_ + std::string(k), std::move(what)};
  }
  template <class T>
  std::optional<T> get(std::string_view k, const char* type) {
    seen_.insert(std::string(k));
    const toml::node* n = t_.get(k);
    if (n == nullptr) return std::nullopt;
    auto v = n->value_exact<T>();
    if (!v) bad(k, std::string("must be ") + type);
    return v;
  }
  std::string text(std::string_view k, std::optional<std::string> fallback) {
    auto v = get<std::string>(k, "a text");
    if (!v && !fallback) bad(k, "is missing");
    return v ? *v : *fallback;
  }
  std::uint64_t number(std::string_view k, std::uint64_t fallback) {
    const auto v = get<std::int64_t>(k, "a whole number");
    if (v && *v < 0) bad(k, "must not be negative");
    return v ? static_cast<std::uint64_t>(*v) : fallback;
  }
  bool chosen(std::string_view k, const char* yes, const char* no, std::optional<std::string> fallback) {
    const std::string v = text(k, std::move(fallback));
    if (v != yes && v != no) bad(k, "is '" + v + "', must be '" + yes + "' or '" + no + "'");
    return v == yes;
  }
  void end() const {
    for (const auto& [k, v] : t_)
      if (seen_.count(std::string(k.str())) == 0) bad(k.str(), "is unknown here");
  }
  // Tables under this key; each is given to `take` with its path.
  template <class F>
  bool tables(std::string_view k, F&& take) {
    seen_.insert(std::string(k));
    const toml::node* n = t_.get(k);
    if (n == nullptr) return false;
    const toml::array* a = n->as_array();
    if (a == nullptr) bad(k, "must be written as [[" + std::string(k) + "]]");
    std::size_t i = 0;
    for (const toml::node& e : *a) {
      const std::string path = std::string(k) + "[" + std::to_string(i++) + "].";
      if (e.as_table() == nullptr) bad(k, "must be written as [[" + std::string(k) + "]]");
      Section s(*e.as_table(), path);
      take(s);
      s.end();
    }
    return true;
  }

 private:
  const toml::table& t_;
  std::string path_;
  std::set<std::string> seen_;
};

void read_core(Section& s, Configuration& c) {
  const std::string transport = s.text("transport", "simulator");
  if (transport == "simulator") {
    c.cores.emplace_back(SimulatedCore{s.text("program", "")});
  } else if (transport == "vfio") {
    ecc::VfioOptions o;
    o.device = s.text("device", std::nullopt);
    o.memory_bytes = s.number("memory_bytes", o.memory_bytes);
    o.memory_address = s.number("memory_address", o.memory_address);
    c.cores.emplace_back(std::move(o));
  } else if (transport == "uio") {
    ecc::UioOptions o;
    o.registers = s.text("registers", std::nullopt);
    o.registers_offset = s.number("registers_offset", o.registers_offset);
    o.memory = s.text("memory", std::nullopt);
    o.memory_bytes = s.number("memory_bytes", o.memory_bytes);
    o.memory_address = s.number("memory_address", o.memory_address);
    o.interrupt = s.text("interrupt", "");
    c.cores.emplace_back(std::move(o));
  } else {
    s.bad("transport", "is '" + transport + "', must be 'simulator', 'vfio' or 'uio'");
  }
}

void read_key(Section& s, Configuration& c) {
  StartKey k;
  const std::string use = s.text("use", std::nullopt);
  if (use == "sign") {
    k.use = StartKey::Use::sign;
  } else if (use == "derive") {
    k.use = StartKey::Use::derive;
  } else if (use == "verify") {
    k.use = StartKey::Use::verify;
  } else {
    s.bad("use", "is '" + use + "', must be 'sign', 'derive' or 'verify'");
  }
  k.curve = s.chosen("curve", "P-256", "brainpoolP256r1", std::nullopt) ? ecc::CurveNumber::p256
                                                                        : ecc::CurveNumber::brainpoolp256r1;
  k.label = s.text("label", std::nullopt);
  if (k.use == StartKey::Use::verify) {
    const auto point = from_hex(s.text("point", std::nullopt));
    if (!point || !point_of(*point, k.point) || !check_point(curve_of(k.curve), k.point))
      s.bad("point", "must be a point of the curve in hexadecimal: 04, X, Y (65 octets)");
  }
  if (k.label.empty() || k.label.size() > 64) s.bad("label", "must have 1 to 64 octets");
  const std::uint64_t core = s.number("core", 0);
  if (core >= c.cores.size())
    s.bad("core",
          "names core " + std::to_string(core) + "; the first is 0, there are " + std::to_string(c.cores.size()));
  k.core = static_cast<unsigned>(core);
  c.keys.push_back(std::move(k));
}

Configuration from(const toml::table& root) {
  Configuration c;
  Section s(root, "");
  c.volatile_token_objects = s.chosen("token_objects", "volatile", "refused", "refused");
  const std::string usage = s.text("default_usage", "refuse");
  if (usage == "sign") {
    c.default_usage = Usage::sign;
  } else if (usage == "derive") {
    c.default_usage = Usage::derive;
  } else if (usage != "refuse") {
    s.bad("default_usage", "is '" + usage + "', must be 'refuse', 'sign' or 'derive'");
  }
  c.log = s.text("log", c.log);
  c.cores.clear();
  if (!s.tables("core", [&](Section& t) { read_core(t, c); })) c.cores.emplace_back(SimulatedCore{});
  if (c.cores.empty() || c.cores.size() > kMostCores) s.bad("core", "there must be 1 to " + std::to_string(kMostCores));
  s.tables("key", [&](Section& t) { read_key(t, c); });
  s.end();
  return c;
}

// The simulator that was built, or installed, with this module.
std::string simulator_beside_module() {
  Dl_info info{};
  static const int here = 0;
  if (::dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ec;
  return os::find_program(fs::canonical(info.dli_fname, ec).parent_path(), "keyferry-ecc-sim").value_or("");
}

Result<std::unique_ptr<ecc::Device>> open_simulated(const SimulatedCore& s, bool any_thread) {
  ecc::SimOptions o;
  o.any_thread = any_thread;
  o.program = s.program.empty() ? simulator_beside_module() : s.program;
  if (o.program.empty())
    return Error{"ecc-sim",
                 "the keyferry-ecc-sim that came with the module is not there; name it as `program` under [[core]]"};
  KF_TRY(auto t, ecc::SimTransport::open(o));
  return ecc::Device::open(std::move(t));
}

template <class Transport, class Options>
Result<std::unique_ptr<ecc::Device>> open_board(const Options& o) {
  KF_TRY(auto t, Transport::open(o));
  return ecc::Device::open(std::move(t));
}

}  // namespace

Result<Configuration> read_configuration() {
  const char* path = ::secure_getenv("KEYFERRY_P11_CONF");
  if (path == nullptr || *path == 0) return Configuration{};
  const std::string where = "KEYFERRY_P11_CONF, file '" + std::string(path) + "': ";
  try {
    return from(toml::parse_file(path));
  } catch (const Bad& b) {
    return Error{"p11-conf", where + b.key + " " + b.what};
  } catch (const toml::parse_error& e) {
    return Error{"p11-conf", where + std::string(e.description()) + ", line " + std::to_string(e.source().begin.line)};
  }
}

bool is_simulated(const Configuration& c, std::size_t core) {
  return std::holds_alternative<SimulatedCore>(c.cores[core]);
}

const char* place_of(const Configuration& c, std::size_t core) {
  constexpr std::array kPlaces{"SIMULATED (keyferry-ecc-sim)", "on a board by VFIO", "on a board by UIO"};
  return kPlaces[c.cores[core].index()];
}

CoreService::Open opener(const Configuration& c, std::size_t core, bool any_thread) {
  if (const auto* s = std::get_if<SimulatedCore>(&c.cores[core]))
    return [s = *s, any_thread] { return open_simulated(s, any_thread); };
  if (const auto* v = std::get_if<ecc::VfioOptions>(&c.cores[core]))
    return [o = *v] { return open_board<ecc::VfioTransport>(o); };
  return [o = std::get<ecc::UioOptions>(c.cores[core])] { return open_board<ecc::UioTransport>(o); };
}

}  // namespace kf::p11core
