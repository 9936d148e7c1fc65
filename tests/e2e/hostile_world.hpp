// Orders to an SM-SR that misbehaves at every call, and the judgement afterwards: what each Operator was told against
// what is really on the cards (the simulator's ledger) and what the SM-DP's own store says.
#pragma once

#include <sqlite3.h>

#include <iostream>
#include <map>
#include <random>
#include <set>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {

struct HostileOptions {
  unsigned orders = 60;
  unsigned kills = 0;        // kill -9 of the server, at random moments while orders run
  unsigned per_second = 20;  // orders placed
  std::uint64_t seed = 0;    // 0: a new one; it is printed
  std::string ways = "all=4,slow=8,eis=10,completed=20,deletion=20,forget=25,twice=10,huge=1,lie_ms=1500";
  std::vector<bench::Setting> settings;  // on top of short time-outs
};

// What the server's store says, read while it runs.
class StoreReader {
 public:
  explicit StoreReader(const std::string& file) {
    if (sqlite3_open_v2(file.c_str(), &db_, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK)
      throw std::runtime_error(file + " cannot be read");
    sqlite3_busy_timeout(db_, 10'000);
  }
  StoreReader(const StoreReader&) = delete;
  StoreReader& operator=(const StoreReader&) = delete;
  ~StoreReader() { sqlite3_close(db_); }
  // First two columns; nothing when there is no such table or column.
  std::vector<std::pair<std::string, std::string>> rows(const char* sql) {
    std::vector<std::pair<std::string, std::string>> out;
    sqlite3_stmt* s = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &s, nullptr) != SQLITE_OK) return out;
    const auto column = [s](int n) {
      const auto* t = reinterpret_cast<const char*>(sqlite3_column_text(s, n));
      return std::string(t == nullptr ? "" : t);
    };
    while (sqlite3_step(s) == SQLITE_ROW) out.emplace_back(column(0), column(1));
    sqlite3_finalize(s);
    return out;
  }

 private:
  sqlite3* db_ = nullptr;
};

class HostileWorld {
 public:
  explicit HostileWorld(HostileOptions o) : options_(std::move(o)) {
    if (options_.seed == 0) options_.seed = std::random_device{}();
    random_.seed(options_.seed);
    std::cout << "seed " << options_.seed << std::endl;
    RigOptions r;
    r.euiccs = options_.orders;
    r.sim_args = {"--hostile", "seed=" + std::to_string(options_.seed) + "," + options_.ways, "--silence", "500"};
    r.log_level = "info";
    r.settings = {
        {"limits.min_validity_s", std::int64_t{1}},    {"timeouts.get_eis_s", std::int64_t{2}},
        {"timeouts.card_s", std::int64_t{3}},          {"timeouts.completed_s", std::int64_t{2}},
        {"timeouts.enable_s", std::int64_t{4}},        {"timeouts.backoff_ms", std::int64_t{50}},
        {"timeouts.completed_tries", std::int64_t{3}}, {"timeouts.follow_up_pause_s", std::int64_t{1}},
        {"timeouts.eis_settle_ms", std::int64_t{4000}}};  // its EIS lags behind by lie_ms, and a machine is slow
    r.settings.insert(r.settings.end(), options_.settings.begin(), options_.settings.end());
    rig_ = std::make_unique<Rig>(std::move(r));
  }

  // Places all orders, by ICCID and by ProfileType, and waits until each has its outcome (or none came in `limit`).
  void run(std::chrono::seconds limit) {
    limit_ = limit;
    orders_.resize(options_.orders);
    for (unsigned i = 0; i < options_.orders; ++i) {
      sim::Order& o = orders_[i].order;
      o = rig_->order_of(i);
      if (random_() % 3 != 0) {
        o.iccid.clear();
        o.profile_type = Rig::kType;
      }
      o.call_id = "hostile-" + std::to_string(i);
      o.enable = random_() % 3 == 0;
      o.validity = random_() % 2 == 0 ? kPatient : 1 + static_cast<std::uint32_t>(random_() % 7);
    }
    left_ = options_.orders;
    std::vector<std::unique_ptr<asio::steady_timer>> starts;
    for (unsigned i = 0; i < options_.orders; ++i) {
      starts.push_back(
          std::make_unique<asio::steady_timer>(rig_->io(), std::chrono::milliseconds(i * 1000 / options_.per_second)));
      starts.back()->async_wait([this, i](const boost::system::error_code& ec) {
        if (!ec) place(i, 0);
      });
    }
    kill_timer_ = std::make_unique<asio::steady_timer>(rig_->io());
    if (options_.kills > 0) next_kill();
    rig_->io().restart();
    rig_->io().run();
    kill_timer_.reset();
  }

  // The SM-SR is well-behaved from now on; waits until it has executed what it owes and until the SM-DP has nothing
  // more to clean up, or `limit` is over.
  void calm_down(std::chrono::seconds limit) {
    Rig::must(world().sim_hostile(""));
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < deadline) {
      const Json s = Rig::must(world().sim_summary());
      const Json d = Rig::must(world().smdp_status())["downloads"];
      if (s["hostile"]["pending"] == 0 && s["created_left"] == 0 && d["in_flight"] == 0 && d["waiting"] == 0 &&
          uncertain().empty())
        return;
      asio::steady_timer t(rig_->io(), std::chrono::milliseconds(200));  // the Operator goes on answering
      t.async_wait([this](const boost::system::error_code&) { rig_->io().stop(); });
      rig_->io().restart();
      rig_->io().run();
    }
  }

  void judge() {
    const Json summary = Rig::must(world().sim_summary()), hostile = summary["hostile"];
    const Json status = Rig::must(world().smdp_status());
    std::map<std::string, unsigned> ends;
    for (const auto& o : orders_) ++ends[o.outcome.response ? told(o.outcome) : "no outcome"];
    std::cout << "ways taken " << hostile["done"].dump() << "\n";
    for (const auto& [end, n] : ends) std::cout << "  " << n << "  " << end << "\n";

    EXPECT_EQ(world().trouble(), "");
    EXPECT_EQ(ended_by_itself_, 0U) << "the server ended without being killed";
    EXPECT_EQ(kills_, options_.kills);
    EXPECT_EQ(status["downloads"]["in_flight"], 0);
    EXPECT_EQ(status["downloads"]["waiting"], 0);
    EXPECT_EQ(hostile["two_cards"], Json::array());
    EXPECT_EQ(rig_->op().contradictions(), std::vector<std::string>());
    judge_cards();
    for (std::size_t i = 0; i < orders_.size(); ++i) judge_order(i);
    // A world in which nothing went wrong, or nothing went well, shows nothing.
    EXPECT_GE(hostile["done"].size(), 8U);
    EXPECT_GE(ends.size(), 3U);
    EXPECT_GE(succeeded_, orders_.size() / 10);
  }

  World& world() { return rig_->world(); }

 private:
  // Seconds that the orders have which are to succeed, also on a slow machine. An order that waits for an EnableProfile
  // without an answer lasts so long, and what a silent CreateISDP may leave is watched for ten seconds more: the test
  // takes that time.
  static constexpr std::uint32_t kPatient = 40;
  struct Placed {
    sim::Order order;
    Outcome outcome;
  };
  // An order whose 202 was lost with the connection is placed again with the same FunctionCallIdentifier.
  void place(std::size_t i, unsigned attempt) {
    asio::co_spawn(rig_->io(), rig_->op().order(orders_[i].order, Pattern::callback, limit_),
                   [this, i, attempt](const std::exception_ptr&, Outcome x) {
                     const bool never_came = x.error.find("no outcome in time") != std::string::npos;
                     if (!x.response && !never_came && attempt < 20) {
                       auto pause = std::make_shared<asio::steady_timer>(rig_->io(), std::chrono::milliseconds(500));
                       pause->async_wait([this, i, attempt, pause](const boost::system::error_code& ec) {
                         if (!ec) place(i, attempt + 1);
                       });
                       return;
                     }
                     orders_[i].outcome = std::move(x);
                     if (--left_ == 0) rig_->io().stop();
                   });
  }
  void next_kill() {
    kill_timer_->expires_after(std::chrono::milliseconds(400 + random_() % 1200));
    kill_timer_->async_wait([this](const boost::system::error_code& ec) {
      if (ec) return;
      if (!world().smdp().running()) ++ended_by_itself_;
      world().kill_smdp();
      ++kills_;
      Rig::must(world().start_smdp());
      if (kills_ < options_.kills) next_kill();
    });
  }
  std::set<std::string> uncertain() {
    std::set<std::string> out;
    for (const auto& [iccid, state] :
         StoreReader(world().dir() + "/store.db").rows("SELECT iccid,state FROM profiles WHERE state=3"))
      out.insert(iccid);
    return out;
  }

  // ICCID and EID of what the inventory gives to no other eUICC: uncertain, or, told by an alarm, kept as installed.
  std::set<std::pair<std::string, std::string>> bound() {
    std::set<std::pair<std::string, std::string>> out;
    for (auto& row :
         StoreReader(world().dir() + "/store.db").rows("SELECT iccid,eid FROM profiles WHERE state IN(2,3)"))
      out.insert(std::move(row));
    return out;
  }

  // Nothing stays in Created that nobody looks after.
  void judge_cards() {
    const std::string log = slurp(world().smdp_log());
    std::string followed;
    for (const auto& [eid, record] : StoreReader(world().dir() + "/store.db").rows("SELECT eid,record FROM follow_ups"))
      if (record.find("\"given_up\":true") == std::string::npos) followed += eid + " ";
    const auto alarmed = [&](const std::string& what) {
      for (auto at = log.find("ALARM"); at != std::string::npos; at = log.find("ALARM", at + 1))
        if (log.substr(at, log.find('\n', at) - at).find(what) != std::string::npos) return true;
      return false;
    };
    const Json report = Rig::must(world().sim_report());
    for (const auto& card : report["euiccs"])
      for (const auto& p : card["profiles"]) {
        if (p["eis_state"].is_null()) continue;  // the SM-SR itself does not know it
        const std::string eid = card["eid"], iccid = p.value("eis_iccid", p.value("iccid", ""));
        on_card_[eid].push_back({iccid, p["eis_state"], p.value("verified", false)});
        if (p["eis_state"] == "Created") {
          EXPECT_TRUE(alarmed(eid) || alarmed(iccid) || followed.find(eid) != std::string::npos)
              << "ICCID " << iccid << " is left in state Created on " << eid << ", and nobody is told\n"
              << explain(eid);
        }
      }
  }

  // Everything that is known of one card and its order, for whoever has to understand a failure.
  std::string explain(const std::string& eid) {
    std::string s = world().sim_story(eid);
    for (const auto& o : orders_)
      if (o.order.eid == eid)
        s += "order: validity " + std::to_string(*o.order.validity) + " s, " + o.outcome.text() + "\n";
    std::istringstream log(slurp(world().smdp_log()));
    for (std::string line; std::getline(log, line);)
      if (line.find(eid) != std::string::npos || line.find(" info keyferry ") != std::string::npos) s += line + "\n";
    return s;
  }

  void judge_order(std::size_t i) {
    const Placed& p = orders_[i];
    const bool fine = !::testing::Test::HasFailure();
    SCOPED_TRACE("order " + std::to_string(i) + " EID " + p.order.eid + " told " + p.outcome.text());
    ASSERT_TRUE(p.outcome.response.has_value()) << "lost";
    const std::string iccid = p.outcome.response->iccid.value_or(p.order.iccid);
    const auto known = bound();
    const Entry* entry = nullptr;
    for (const auto& e : on_card_[p.order.eid])
      if (e.state == "Disabled" || e.state == "Enabled") {
        EXPECT_EQ(entry, nullptr) << "two profiles of one order";
        entry = &e;
      }
    if (p.outcome.succeeded()) {
      ++succeeded_;
      ASSERT_NE(entry, nullptr) << "the profile is not there";
      EXPECT_EQ(entry->iccid, iccid);
      EXPECT_TRUE(entry->verified);
      const bool plain = p.outcome.response->status == es::ExecStatus::success;
      const std::string message = p.outcome.response->code ? p.outcome.response->code->message : "";
      const bool unknown =
          message.find("not known") != std::string::npos || message.find("may yet be") != std::string::npos;
      if (!p.order.enable) {
        EXPECT_EQ(entry->state, "Disabled");
      } else if (!unknown) {
        EXPECT_EQ(entry->state, plain ? "Enabled" : "Disabled") << message;
      }
    } else if (entry != nullptr) {
      EXPECT_TRUE(known.contains({entry->iccid, p.order.eid}))
          << "told otherwise, but " << entry->iccid << " is on the card, " << entry->state
          << ", and the inventory may give it to another";
    }
    if (fine && ::testing::Test::HasFailure()) std::cout << explain(p.order.eid);  // the first is enough
  }

  struct Entry {
    std::string iccid, state;
    bool verified = false;
  };
  HostileOptions options_;
  std::mt19937_64 random_;
  std::unique_ptr<Rig> rig_;
  std::vector<Placed> orders_;
  std::map<std::string, std::vector<Entry>> on_card_;  // by EID, as the SM-SR's ledger has it
  std::unique_ptr<asio::steady_timer> kill_timer_;
  std::chrono::seconds limit_{60};
  std::size_t left_ = 0, succeeded_ = 0;
  unsigned kills_ = 0, ended_by_itself_ = 0;
};

}  // namespace kf::e2e
