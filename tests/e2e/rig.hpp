// A world with an Operator in this process: what every end-to-end test stands on.
#pragma once

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>

#include "bench/burst/subscriptions.hpp"
#include "bench/world/world.hpp"
#include "host/base/random.hpp"
#include "tests/sim/operator/operator.hpp"

namespace kf::e2e {

namespace fs = std::filesystem;
namespace asio = boost::asio;
using bench::Json;
using bench::World;
using sim::Outcome;
using sim::Pattern;

struct RigOptions {
  std::string curve = "P-256", custody = "strict", radio = "none", profile;  // profile: a DER file; empty: the sample
  unsigned euiccs = 8;
  std::vector<std::string> faults, sim_args;
  std::vector<bench::Setting> settings;
  std::string log_level = "info";
  bool strict = false;  // SM-SR and Operator take only what the published v3 descriptions have
  bool record = true;   // in a program that validates what was sent (validated_at_the_end)
  std::uint64_t required_memory = 65536;
  std::vector<std::pair<std::string, std::string>> smdp_environment;
  std::function<void(World&)> before_start;  // the directory is there, nothing runs yet
  std::vector<std::size_t> iccid_digits;  // of the first subscriptions; the others as the template
};

inline std::string slurp(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

class Rig {
 public:
  explicit Rig(RigOptions o) : options_(std::move(o)) {
    // One directory per test program: token and PKI are made once, the store is fresh for every rig.
    dir_ = (fs::temp_directory_path() / ("kf-e2e-" + std::to_string(::getpid()))).string();
    bench::WorldOptions w;
    w.dir = dir_;
    w.curve = options_.curve;
    w.custody = options_.custody;
    w.euiccs = options_.euiccs;
    w.radio = options_.radio;
    w.faults = options_.faults;
    w.sim_args = options_.sim_args;
    if (options_.strict) w.sim_args.insert(w.sim_args.end(), {"--strict", "wsdl-3"});
    if (options_.record && recording()) {
      static int rigs = 0;
      record_ = records() + "/" + std::to_string(++rigs);
      w.sim_args.insert(w.sim_args.end(), {"--record", record_});
    }
    w.log_level = options_.log_level;
    w.settings = options_.settings;
    w.smdp_environment = options_.smdp_environment;
    auto world = World::prepare(w);
    if (!world) throw std::runtime_error("world: " + world.error().text());
    world_ = std::move(*world);
    template_ = must(bench::load_template(options_.profile));
    std::vector<std::string> eids;
    for (unsigned i = 0; i < options_.euiccs; ++i) eids.push_back(world_->eid(i));
    subscriptions_ = must(bench::make_subscriptions(template_, eids, options_.iccid_digits));
    std::string file = options_.profile;
    if (file.empty()) {
      file = dir_ + "/template.der";
      std::ofstream(file, std::ios::binary) << text(template_.der);
    }
    must(world_->import_template(file, text(subscriptions_.csv.expose()), kType, options_.required_memory));
    if (options_.before_start) options_.before_start(*world_);
    must(world_->start_sim());
    must(world_->start_smdp());
    new_operator();
  }
  ~Rig() {
    op_.reset();
    world_.reset();
  }

  static constexpr const char* kType = "e2e";

  // A program may have every envelope of its good runs written down, one folder a rig.
  static bool& recording() {
    static bool on = false;
    return on;
  }
  static std::string records() {
    return (fs::temp_directory_path() / ("kf-e2e-" + std::to_string(::getpid()) + "-soap")).string();
  }

  template <class T>
  static T must(Result<T> r) {
    if (!r) throw std::runtime_error(r.error().text());
    if constexpr (!std::is_void_v<T>) return std::move(*r);
  }

  // Runs one coroutine of this process to its end.
  template <class T>
  T run(asio::awaitable<T> a) {
    std::optional<T> out;
    std::exception_ptr failed;
    asio::co_spawn(io_, keep(std::move(a), &out), [&](std::exception_ptr e) {
      failed = e;
      io_.stop();
    });
    io_.restart();
    io_.run();
    if (failed) std::rethrow_exception(failed);
    return std::move(*out);
  }

  sim::Order order_of(unsigned i, bool enable = false) const {
    sim::Order o;
    o.eid = subscriptions_.list.at(i).eid;
    o.smsr_id = World::kSmsrOid;
    o.iccid = subscriptions_.list.at(i).iccid;
    o.enable = enable;
    return o;
  }
  Outcome download(unsigned i, bool enable = false, Pattern p = Pattern::callback,
                   std::chrono::seconds limit = std::chrono::seconds(120)) {
    return run(op_->order(order_of(i, enable), p, limit));
  }
  // All orders at once.
  std::vector<Outcome> download_all(bool enable = false, Pattern p = Pattern::callback,
                                    std::chrono::seconds limit = std::chrono::seconds(240)) {
    std::vector<Outcome> out(options_.euiccs);
    std::size_t left = out.size();
    for (unsigned i = 0; i < options_.euiccs; ++i)
      asio::co_spawn(io_, op_->order(order_of(i, enable), p, limit), [&, i](std::exception_ptr, Outcome o) {
        out[i] = std::move(o);
        if (--left == 0) io_.stop();
      });
    io_.restart();
    io_.run();
    return out;
  }
  es::Request request(es::Function f, unsigned i) const {
    es::Request r;
    r.interface = es::Interface::es2;
    r.function = f;
    r.eid = subscriptions_.list.at(i).eid;
    r.smsr_id = World::kSmsrOid;
    if (f != es::Function::get_eis) r.iccid = subscriptions_.list.at(i).iccid;
    return r;
  }
  Outcome call(es::Request r, Pattern p = Pattern::callback) {
    return run(op_->call(std::move(r), p, std::chrono::seconds(60)));
  }

  // EIS entries in state Created left at the SM-SR.
  std::uint64_t created_left() { return must(world_->sim_summary())["created_left"].get<std::uint64_t>(); }
  // The card of subscription i holds exactly the ordered package, every byte.
  bool verified(unsigned i) {
    const Json report = must(world_->sim_report());
    for (const auto& c : report["euiccs"]) {
      if (c["eid"] != subscriptions_.list.at(i).eid) continue;
      for (const auto& p : c["profiles"])
        if (p.value("iccid", "") == subscriptions_.list[i].iccid)
          return p.value("verified", false) && p.value("sha256", "") == to_hex(subscriptions_.list[i].expected);
    }
    return false;
  }

  World& world() { return *world_; }
  sim::Operator& op() { return *op_; }
  asio::io_context& io() { return io_; }
  const bench::Subscriptions& subscriptions() const { return subscriptions_; }
  const bench::Template& profile_template() const { return template_; }
  const std::string& dir() const { return dir_; }

 private:
  template <class T>
  static asio::awaitable<void> keep(asio::awaitable<T> a, std::optional<T>* out) {
    out->emplace(co_await std::move(a));
  }
  void new_operator() {
    sim::OperatorOptions o;
    o.smdp_url = world_->es2_url();
    o.oid = World::kOperatorOid;
    const auto tls = world_->tls("operator");
    o.tls = {tls.cert, tls.key, tls.ca};
    o.port = world_->operator_port();
    o.poll_interval = net::Millis(50);
    o.strict = options_.strict;
    o.record = record_;
    op_ = std::make_unique<sim::Operator>(io_, o);
    must(op_->start());
  }
  RigOptions options_;
  std::string dir_, record_;
  std::unique_ptr<World> world_;
  bench::Template template_;
  bench::Subscriptions subscriptions_;
  asio::io_context io_{1};
  std::unique_ptr<sim::Operator> op_;
};

// Does something every so often while downloads run.
class Meanwhile {
 public:
  Meanwhile(asio::io_context& io, std::chrono::milliseconds every, std::function<void()> what)
      : timer_(io), every_(every), what_(std::move(what)) {
    next();
  }

 private:
  void next() {
    timer_.expires_after(every_);
    timer_.async_wait([this](const boost::system::error_code& ec) {
      if (ec) return;
      what_();
      next();
    });
  }
  asio::steady_timer timer_;
  std::chrono::milliseconds every_;
  std::function<void()> what_;
};

// The same on a thread of its own, for what takes long: the Operator's connections must not wait for it, or the server
// closes them.
class Beside {
 public:
  Beside(std::chrono::milliseconds every, const std::function<void()>& what)
      : thread_([every, what](const std::stop_token& over) {
          while (!over.stop_requested()) {
            std::this_thread::sleep_for(every);
            what();
          }
        }) {}

 private:
  std::jthread thread_;
};

// "EXECUTED_SUCCESS", "FAILED 8.4/6.1" ...: what the Operator was told.
inline std::string told(const Outcome& o) {
  if (!o.response) return o.text();
  static constexpr const char* kNames[] = {"EXECUTED_SUCCESS", "EXECUTED_WITHWARNING", "FAILED", "EXPIRED"};
  std::string s = kNames[static_cast<int>(o.response->status)];
  if (o.response->code) s += " " + o.response->code->subject + "/" + o.response->code->reason;
  return s;
}

class CleanUp : public ::testing::Environment {  // the directory goes when the program ends
 public:
  void TearDown() override { fs::remove_all(fs::temp_directory_path() / ("kf-e2e-" + std::to_string(::getpid()))); }
};

}  // namespace kf::e2e
