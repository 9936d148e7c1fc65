// The pipeline against sealing one download alone: same octets whatever came together, bounded memory, every order
// called back once.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>

#include "host/base/random.hpp"
#include "host/pipeline/seal_pipeline.hpp"
#include "host/profile/package.hpp"

namespace kf::pipeline {
namespace {

es8::KeySet keys_of(std::size_t size, std::uint8_t seed) {
  const auto key = [&](std::uint8_t more) {
    Bytes b(size);
    for (std::size_t i = 0; i < size; ++i) b[i] = static_cast<std::uint8_t>(seed * 31 + more + i * 7);
    return SecretBytes(ByteView(b));
  };
  return {key(1), key(2), key(3), 0x30};
}

const Aid kIsdP = Aid::of("A0000005591010FFFFFFFF8900001000");

struct Wanted {
  es8::KeySet keys;
  es8::Challenge hc{};
  Bytes package;
};

// Every order once, and what it came to.
class Results {
 public:
  explicit Results(std::size_t n) : done_(n) {}
  std::function<void(Sealed)> taker(std::size_t i) {
    return [this, i](Sealed s) {
      const std::lock_guard g(lock_);
      EXPECT_FALSE(done_[i].has_value()) << "order " << i << " called back twice";
      done_[i] = std::move(s);
      ++count_;
      changed_.notify_all();
    };
  }
  bool wait(std::size_t n) {
    std::unique_lock g(lock_);
    return changed_.wait_for(g, std::chrono::minutes(2), [&] { return count_ >= n; });
  }
  Sealed& operator[](std::size_t i) { return *done_[i]; }
  std::size_t count() {
    const std::lock_guard g(lock_);
    return count_;
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::optional<Sealed>> done_;
  std::size_t count_ = 0;
};

Order order_of(const Wanted& w) {
  Order o;
  o.keys = w.keys.clone();
  o.isd_p = kIsdP;
  o.hc = w.hc;
  o.counter = {0, 0, 1};
  o.about_bytes = w.package.size();
  o.package = [&w]() -> Result<Package> {
    Package p;
    p.own = SecretBytes(ByteView(w.package));
    for (ByteView rest = p.own.expose(); !rest.empty(); rest = rest.subspan(p.segments.back().size()))
      p.segments.push_back(rest.first(std::min<std::size_t>(1007, rest.size())));
    p.bytes = w.package.size();
    return p;
  };
  return o;
}

std::string alone(const Wanted& w) {
  const es8::SealedScript s = es8::seal_offline(w.keys, kIsdP, w.hc, {0, 0, 1}, w.package);
  seal::ScriptSealer& reference = *[] {
    static auto e = std::move(*seal::make_sealer("openssl"));
    return e.get();
  }();
  es8::ScriptOrder o;
  o.keys = &w.keys;
  o.isd_p = kIsdP;
  o.hc = w.hc;
  o.counter = {0, 0, 1};
  o.profile = w.package;
  auto r = es8::seal_scripts({&o, 1}, reference);
  EXPECT_TRUE(r[0].ok());
  EXPECT_EQ(s.mcv, r[0]->session.mcv);
  return to_hex(r[0]->octets);
}

TEST(Pipeline, GivesWhatSealingAloneGives) {
  std::mt19937 random(std::random_device{}());
  auto made = SealPipeline::make({.threads = 2, .bytes_in_flight = std::size_t{2} << 20});
  ASSERT_TRUE(made.ok());
  SealPipeline& p = **made;
  constexpr std::size_t kOrders = 300;
  std::vector<Wanted> wanted(kOrders);
  Results results(kOrders);
  for (std::size_t i = 0; i < kOrders; ++i) {
    Wanted& w = wanted[i];
    w.keys = keys_of(16 + 8 * (random() % 3), static_cast<std::uint8_t>(i));
    random_fill(w.hc);
    w.package = random_bytes(1 + random() % (i % 50 == 0 ? 200'000 : 20'000));
    Order o = order_of(w);
    o.send_data_limit = i % 3 == 0 ? 3000 : 0;
    p.submit(std::move(o), results.taker(i));
    if (i % 37 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_TRUE(results.wait(kOrders));
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < kOrders; ++i) {
    Sealed& s = results[i];
    ASSERT_TRUE(s.status.ok()) << s.status.error().text();
    std::string sent;
    std::size_t commands = 0;
    for (const auto& part : s.parts) {
      sent += *part.hex;
      commands += part.commands;
    }
    ASSERT_EQ(sent, alone(wanted[i])) << "order " << i;
    EXPECT_EQ(commands, 2 + s.segments);
    EXPECT_EQ(s.session->mcv.size(), 1 + s.segments);
    EXPECT_EQ(s.bytes, wanted[i].package.size());
    bytes += s.bytes;
  }
  const Stats st = p.stats();
  EXPECT_EQ(st.orders, kOrders);
  EXPECT_EQ(st.bytes, bytes);
  EXPECT_GT(st.batch.max(), 1U) << "orders that wait together go together";
  EXPECT_LE(st.peak_bytes, std::size_t{2} << 20);
}

TEST(Pipeline, AFailureIsOneOrdersOwn) {
  auto made = SealPipeline::make({});
  ASSERT_TRUE(made.ok());
  Wanted w{keys_of(16, 5), {}, random_bytes(5000)};
  Results results(3);
  for (std::size_t i = 0; i < 3; ++i) {
    Order o = order_of(w);
    if (i == 1) o.package = [] { return Error{"bad-record", "the profile cannot be opened"}; };
    (*made)->submit(std::move(o), results.taker(i));
  }
  ASSERT_TRUE(results.wait(3));
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_EQ(results[1].status.error().reason, "bad-record");
  EXPECT_TRUE(results[1].parts.empty());
  EXPECT_TRUE(results[2].status.ok());
}

TEST(Pipeline, WhatThrowsEndsItsOrderAndNoThread) {
  auto made = SealPipeline::make({});
  ASSERT_TRUE(made.ok());
  Wanted w{keys_of(16, 5), {}, random_bytes(5000)};
  Results results(3);
  for (std::size_t i = 0; i < 3; ++i) {
    Order o = order_of(w);
    if (i == 1) o.package = []() -> Result<Package> { throw std::runtime_error("a bug"); };
    auto taker = results.taker(i);
    (*made)->submit(std::move(o), [i, taker](Sealed x) {
      taker(std::move(x));
      if (i == 0) throw std::runtime_error("a bug in who is called back");
    });
  }
  ASSERT_TRUE(results.wait(3));
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_EQ(results[1].status.error().detail, "a bug");
  EXPECT_TRUE(results[2].status.ok());
}

TEST(Pipeline, AWrongCryptogramIsTold) {
  auto made = SealPipeline::make({});
  ASSERT_TRUE(made.ok());
  const Wanted w{keys_of(16, 9), {1, 2, 3, 4, 5, 6, 7, 8}, random_bytes(3000)};
  const es8::SequenceCounter counter{0, 0, 7};
  es8::InitializeUpdateAnswer a;
  a.kvn = 0x30;
  a.counter = counter;
  a.cc = es8::card_challenge(w.keys, counter, kIsdP);
  a.cryptogram = es8::card_cryptogram(es8::session_keys(w.keys, w.hc, a.cc), w.hc, a.cc);
  Results results(2);
  for (std::size_t i = 0; i < 2; ++i) {
    Order o = order_of(w);
    o.online = a;
    if (i == 1) o.online->cryptogram[0] ^= 1;
    (*made)->submit(std::move(o), results.taker(i));
  }
  ASSERT_TRUE(results.wait(2));
  ASSERT_TRUE(results[0].status.ok()) << results[0].status.error().text();
  EXPECT_EQ(results[0].parts.front().hex->substr(0, 2), "85") << "84 went before";
  EXPECT_EQ(results[1].status.error().reason, "bad-cryptogram");
}

// Orders wait while as much is in flight as may be; one that is larger than the bound goes alone.
TEST(Pipeline, MemoryIsBounded) {
  const std::size_t package = 50'000;
  auto made = SealPipeline::make({.threads = 2, .bytes_in_flight = 3 * memory_of(package)});
  ASSERT_TRUE(made.ok());
  constexpr std::size_t kOrders = 60;
  std::vector<Wanted> wanted(kOrders);
  Results results(kOrders);
  std::atomic<int> open{0}, most{0};
  for (std::size_t i = 0; i < kOrders; ++i) {
    wanted[i] = {keys_of(16, static_cast<std::uint8_t>(i)), {}, random_bytes(i == 30 ? 10 * package : package)};
    Order o = order_of(wanted[i]);
    auto inner = std::move(o.package);
    o.package = [&, inner] {
      const int now = ++open;
      for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
      }
      return inner();
    };
    (*made)->submit(std::move(o), [&open, take = results.taker(i)](Sealed s) {
      --open;
      take(std::move(s));
    });
  }
  ASSERT_TRUE(results.wait(kOrders));
  EXPECT_LE(most, 3);
  EXPECT_LE((*made)->stats().peak_bytes, memory_of(10 * package));
  for (std::size_t i = 0; i < kOrders; ++i) EXPECT_TRUE(results[i].status.ok());
}

TEST(Pipeline, StoppingCallsEveryOrderBack) {
  constexpr std::size_t kOrders = 200;
  std::vector<Wanted> wanted(kOrders);
  Results results(kOrders);
  {
    auto made = SealPipeline::make({.threads = 1, .bytes_in_flight = 1});  // one after the other
    ASSERT_TRUE(made.ok());
    for (std::size_t i = 0; i < kOrders; ++i) {
      wanted[i] = {keys_of(16, static_cast<std::uint8_t>(i)), {}, random_bytes(30'000)};
      (*made)->submit(order_of(wanted[i]), results.taker(i));
    }
  }
  ASSERT_EQ(results.count(), kOrders);
  for (std::size_t i = 0; i < kOrders; ++i) {
    const Status& s = results[i].status;
    EXPECT_TRUE(s.ok() || s.error().reason == "pipeline-stopped") << s.error().text();
  }
}

TEST(Pipeline, AnUnknownEngineIsNamed) {
  const auto made = SealPipeline::make({.engine = "abacus"});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().reason, "no-engine");
  EXPECT_NE(made.error().text().find("openssl"), std::string::npos) << made.error().text();
}

// Cutting a personalised template into segments without copying what is shared.
TEST(PersonaliseSegments, AreThePersonalisedPackage) {
  std::mt19937 random(11);
  const Bytes t = profile::sample_package();
  const auto slots = profile::find_slots(t);
  ASSERT_TRUE(slots.ok());
  for (int round = 0; round < 60; ++round) {
    profile::Personal p;
    p.iccid = Iccid::trusted(iccid_with_luhn("89000123456789" + std::to_string(10'000 + round)));
    p.imsi = "00101000000" + std::to_string(1000 + round);
    p.ki = SecretBytes(ByteView(random_bytes(16)));
    p.opc = SecretBytes(ByteView(random_bytes(16)));
    const std::size_t segment = round == 0 ? 1007 : 1 + random() % 1500;  // some cut through a value
    const auto whole = profile::personalise(t, *slots, p);
    const auto cut = profile::personalise_segments(t, *slots, p, segment);
    ASSERT_TRUE(whole.ok() && cut.ok());
    Bytes together;
    std::size_t shared = 0;
    for (const ByteView s : cut->segments) {
      append(together, s);
      if (s.data() >= t.data() && s.data() < t.data() + t.size()) shared += s.size();
      EXPECT_TRUE(s.size() == segment || s.data() == cut->segments.back().data());
    }
    EXPECT_EQ(to_hex(together), to_hex(*whole));
    EXPECT_EQ(shared + cut->own.size(), t.size());
    if (segment <= 1007) {
      EXPECT_GT(shared, 0U);
    }
    EXPECT_EQ(cut->bytes, t.size());
  }
  profile::Personal bad;
  bad.iccid = Iccid::trusted("123");
  EXPECT_FALSE(profile::personalise_segments(t, *slots, bad, 1007));
}

}  // namespace
}  // namespace kf::pipeline
