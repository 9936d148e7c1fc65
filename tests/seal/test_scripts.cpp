// Whole scripts: every engine and the simulated card, which shares no code with the product, agree on random downloads
// and on the vector file. KEYFERRY_SCRIPTS says how many (the soak runs 100 000).
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "host/es8/parts.hpp"
#include "host/es8/scp03t.hpp"
#include "tests/seal/scripts.hpp"
#include "tests/sim/card/establishment_card.hpp"

namespace kf {
namespace {

using es8::CardAnswer;
using sim::card::Scp03tCard;

std::size_t scripts_wanted() {
  const char* n = std::getenv("KEYFERRY_SCRIPTS");
  return n == nullptr ? 3000 : std::strtoull(n, nullptr, 10);
}

struct Order {
  es8::KeySet keys;
  sim::card::KeySet card_keys;
  Aid isd_p;
  es8::Challenge hc{};
  es8::SequenceCounter counter{};
  Bytes profile;
  std::size_t max_tlv = es8::kMaxTlv;
};

es8::KeySetPlan random_plan(std::mt19937_64& g) {
  es8::KeySetPlan p;
  p.scenario_param = static_cast<std::uint8_t>(0x09 | (g() % 2 == 0 ? 0x02 : 0));  // with DR or without
  p.key_usage = g() % 4 == 0 ? 0x5C : 0x10;
  p.key_length = static_cast<std::uint8_t>(16 + 8 * (g() % 3));
  return p;
}

Order random_order(std::mt19937_64& g) {
  Order o;
  const es8::KeySetPlan plan = random_plan(g);
  const Bytes z = seal::random_octets(g, 32);
  std::optional<Bytes> dr;
  if (plan.with_dr()) dr = seal::random_octets(g, g() % 2 == 0 ? 16 : 32);
  o.keys = es8::derive_keys(z, plan, dr).keys;
  sim::card::Crt crt;  // the card's own derivation
  const Bytes template_ = es8::control_reference_template(plan);
  EXPECT_EQ(sim::card::parse_crt(template_, {}, crt), sim::card::kOk);
  o.card_keys = sim::card::derive(crt, z, sim::card::shared_info(crt, {}, dr ? ByteView(*dr) : ByteView())).keys;
  o.isd_p = *Aid::parse(concat(hex("A0000005591010FFFFFFFF890000"), seal::random_octets(g, 1), hex("00")));
  for (auto& b : o.hc) b = static_cast<std::uint8_t>(g());
  const std::uint32_t before = g() % 3 == 0 ? static_cast<std::uint32_t>(g() % 0xFFFFFE) : 0;
  o.card_keys.counter = before;
  o.counter = {static_cast<std::uint8_t>((before + 1) >> 16), static_cast<std::uint8_t>((before + 1) >> 8),
               static_cast<std::uint8_t>(before + 1)};
  const std::uint64_t kind = g() % 16;
  o.profile = seal::random_octets(g, kind == 0   ? g() % 70'000
                                     : kind < 8  ? g() % 6000
                                     : kind < 12 ? 1007 * (g() % 5)
                                                 : g() % 60);
  if (g() % 4 == 0) o.max_tlv = 26 + g() % 999;  // the card takes no longer ones than 1024
  return o;
}

ByteView value_of(ByteView command) {
  const auto t = read_tlv(command);
  return t ? t->value : ByteView();
}
CardAnswer answer_of(const Bytes& whole) {
  ByteView in = whole;
  const auto t = read_tlv(in);
  return {t->tag, to_bytes(t->value), whole};
}

// What the card says to a script, and what the host must make of it.
struct Played {
  std::vector<CardAnswer> answers;
  Bytes profile;  // as the card put it together
  Bytes data;     // that it answered
  std::string reason;
};
Played play(Order& o, const es8::ScriptRun& run, std::mt19937_64& g) {
  Played p;
  auto r = Scp03tCard::initialize(o.card_keys, o.isd_p.bytes(), value_of(run.command(0)));
  auto* card = std::get_if<Scp03tCard>(&r);
  EXPECT_NE(card, nullptr);
  if (card == nullptr) return p;
  p.answers.push_back(answer_of(to_bytes(card->answer84())));
  EXPECT_FALSE(card->authenticate(value_of(run.command(1))).has_value());
  p.answers.push_back(answer_of(hex("8500")));
  const std::size_t n = run.ends.size();
  for (std::size_t i = 2; i < n; ++i) {
    auto opened = card->open(value_of(run.command(i)));
    const auto* plain = std::get_if<Bytes>(&opened);
    EXPECT_NE(plain, nullptr) << "segment " << i - 1 << " of " << n - 2;
    if (plain == nullptr) return p;
    append(p.profile, *plain);
    const bool last = i + 1 == n;
    const bool spoil = g() % 64 == 0;
    const Bytes data = last || g() % 8 == 0 ? seal::random_octets(g, g() % 130) : Bytes();
    const Bytes a = card->answer(data, g() % 4 == 0, spoil);
    if (!p.reason.empty()) continue;
    if (g() % 256 == 0) {  // the card gives up
      p.answers.push_back(answer_of(hex("9F460102")));
      p.reason = "error-tag";
      continue;
    }
    p.answers.push_back(answer_of(a));
    if (spoil && a.size() > 2)
      p.reason = "bad-rmac";
    else
      append(p.data, data);
  }
  return p;
}

class Scripts : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto n : seal::engine_names()) engines.push_back(seal::engine(n));
  }
  std::vector<std::unique_ptr<seal::ScriptSealer>> engines;
};

TEST_F(Scripts, EnginesAndTheSimulatedCardAgree) {
  const std::size_t wanted = scripts_wanted();
  std::mt19937_64 g(20'26);
  std::size_t segments = 0, spoilt = 0, given_up = 0;
  for (std::size_t done = 0; done < wanted;) {
    std::vector<Order> orders(std::min<std::size_t>(1 + g() % 130, wanted - done));
    done += orders.size();
    std::vector<es8::ScriptOrder> in(orders.size());
    for (std::size_t i = 0; i < orders.size(); ++i) {
      Order& o = orders[i];
      o = random_order(g);
      in[i].keys = &o.keys;
      in[i].isd_p = o.isd_p;
      in[i].hc = o.hc;
      in[i].counter = o.counter;
      in[i].profile = o.profile;
      in[i].max_tlv = o.max_tlv;
    }
    const auto want = es8::seal_scripts(in, *engines.front());
    for (std::size_t e = 1; e < engines.size(); ++e) {
      const auto got = es8::seal_scripts(in, *engines[e]);
      for (std::size_t i = 0; i < in.size(); ++i) {
        ASSERT_TRUE(got[i].ok() && want[i].ok());
        ASSERT_TRUE(got[i]->octets == want[i]->octets && got[i]->ends == want[i]->ends) << engines[e]->name();
        ASSERT_TRUE(got[i]->session.mcv == want[i]->session.mcv) << engines[e]->name();
        ASSERT_TRUE(equal_ct(got[i]->session.keys.s_rmac.expose(), want[i]->session.keys.s_rmac.expose()));
      }
    }
    std::vector<Played> played;
    std::vector<es8::AnswerSet> sets;
    for (std::size_t i = 0; i < in.size(); ++i) {
      played.push_back(play(orders[i], *want[i], g));
      ASSERT_TRUE(played.back().profile == orders[i].profile) << "size " << orders[i].profile.size();
      segments += want[i]->ends.size() - 2;
    }
    for (std::size_t i = 0; i < in.size(); ++i) sets.push_back({&want[i]->session, 0, &played[i].answers});
    for (const auto& e : engines) {
      const auto opened = es8::open_answers(sets, *e);
      for (std::size_t i = 0; i < in.size(); ++i) {
        if (played[i].reason == "bad-rmac") {
          ASSERT_FALSE(opened[i].ok()) << e->name();
          ASSERT_EQ(opened[i].error().reason, "bad-rmac") << e->name();
          continue;
        }
        ASSERT_TRUE(opened[i].ok()) << e->name() << ": " << opened[i].error().text();
        ASSERT_TRUE(opened[i]->data == played[i].data) << e->name();
        ASSERT_EQ(opened[i]->error_tlv.has_value(), played[i].reason == "error-tag") << e->name();
        ASSERT_EQ(opened[i]->accepted, played[i].answers.size() - (opened[i]->error_tlv ? 1 : 0)) << e->name();
      }
    }
    for (const auto& p : played) {
      spoilt += p.reason == "bad-rmac" ? 1 : 0;
      given_up += p.reason == "error-tag" ? 1 : 0;
    }
  }
  EXPECT_GT(segments, wanted);
  EXPECT_GT(spoilt, 0U);
  EXPECT_GT(given_up, 0U);
}

TEST_F(Scripts, TheVectorFile) {
  const auto read = [](const std::string& path) {
    std::ifstream f(path);
    return f ? nlohmann::json::parse(f) : nlohmann::json();
  };
  std::size_t cases = 0;
  for (const char* path : {"/tests/vectors/data/scp03t.json", "/../shared/reference/vectors/scp03t.json"}) {
    const auto doc = read(KF_SOURCE_DIR + std::string(path));
    if (doc.is_null()) {
      EXPECT_NE(std::string(path).find("shared"), std::string::npos) << path << ": our own must be there";
      continue;
    }
    const auto before = cases;
    for (const auto& c : doc["cases"]) {
      SCOPED_TRACE(c["id"].get<std::string>());
      const auto in = [&](const char* k) { return hex(c["in"][k].get<std::string>()); };
      const auto& out = c["out"];
      const es8::KeySet keys{SecretBytes(in("key_enc")), SecretBytes(in("key_mac")), SecretBytes(in("key_dek")),
                             in("kvn").at(0)};
      es8::ScriptOrder o;
      o.keys = &keys;
      o.isd_p = *Aid::parse(in("isdp_aid"));
      std::ranges::copy(in("host_challenge"), o.hc.begin());
      const auto counter = c["in"]["counter_before"].get<std::uint32_t>() + 1;
      o.counter = {static_cast<std::uint8_t>(counter >> 16), static_cast<std::uint8_t>(counter >> 8),
                   static_cast<std::uint8_t>(counter)};
      std::vector<Bytes> plain;
      Bytes commands;
      std::vector<CardAnswer> answers;
      append(commands, hex(out["initialize_update"].get<std::string>()));
      append(commands, hex(out["external_authenticate"].get<std::string>()));
      for (const char* a : {"initialize_update_response", "external_authenticate_response"})
        answers.push_back(answer_of(hex(out[a].get<std::string>())));
      Bytes data;
      for (const auto& s : out["segments"]) {
        plain.push_back(hex(s["plaintext"].get<std::string>()));
        append(commands, hex(s["command"].get<std::string>()));
        answers.push_back(answer_of(hex(s["response"].get<std::string>())));
        append(data, hex(s["response_plaintext"].get<std::string>()));
      }
      const std::vector<ByteView> parts(plain.begin(), plain.end());
      o.segments = parts;
      for (const auto& e : engines) {
        const auto run = es8::seal_scripts({&o, 1}, *e);
        ASSERT_TRUE(run[0].ok());
        EXPECT_EQ(to_hex(run[0]->octets), to_hex(commands)) << e->name();
        EXPECT_EQ(to_hex(run[0]->session.keys.s_enc.expose()), out["s_enc"].get<std::string>()) << e->name();
        const es8::AnswerSet set{&run[0]->session, 0, &answers};
        const auto opened = es8::open_answers({&set, 1}, *e);
        ASSERT_TRUE(opened[0].ok()) << e->name() << ": " << opened[0].error().text();
        EXPECT_EQ(to_hex(opened[0]->data), to_hex(data)) << e->name();
        EXPECT_EQ(opened[0]->accepted, answers.size());
      }
      ++cases;
    }
    EXPECT_GT(cases, before) << path;
  }
}

TEST_F(Scripts, OneBatchOfOnlineAndOfflineAndWrongCards) {
  std::mt19937_64 g(3);
  Order a = random_order(g), b = random_order(g);
  b.card_keys.counter = 41;
  auto card = Scp03tCard::initialize(b.card_keys, b.isd_p.bytes(), value_of(es8::initialize_update(b.keys.kvn, b.hc)));
  const auto answer = es8::parse_initialize_update_answer(answer_of(to_bytes(std::get<Scp03tCard>(card).answer84())));
  ASSERT_TRUE(answer.ok());
  es8::InitializeUpdateAnswer wrong_counter = *answer, wrong_card = *answer, wrong_version = *answer;
  wrong_counter.counter[2] ^= 1;
  wrong_card.cryptogram[0] ^= 1;
  wrong_version.kvn ^= 1;
  std::vector<es8::ScriptOrder> in(5);
  in[0].keys = &a.keys;
  in[0].isd_p = a.isd_p;
  in[0].hc = a.hc;
  in[0].counter = a.counter;
  in[0].profile = a.profile;
  const std::array<const es8::InitializeUpdateAnswer*, 4> said{&wrong_counter, &wrong_card, &*answer, &wrong_version};
  for (std::size_t i = 1; i < 5; ++i) {
    in[i].keys = &b.keys;
    in[i].isd_p = b.isd_p;
    in[i].hc = b.hc;
    in[i].online = said[i - 1];
    in[i].profile = b.profile;
  }
  for (const auto& e : engines) {
    const auto r = es8::seal_scripts(in, *e);
    ASSERT_EQ(r.size(), 5U);
    EXPECT_TRUE(r[0].ok());
    EXPECT_EQ(r[1].error().reason, "bad-challenge");
    EXPECT_EQ(r[2].error().reason, "bad-cryptogram");
    ASSERT_TRUE(r[3].ok());
    EXPECT_EQ(r[4].error().reason, "bad-cryptogram");
    EXPECT_EQ(r[3]->command(0)[0], 0x85);
    const auto alone = es8::seal_online(b.keys, b.isd_p, b.hc, *answer, b.profile);
    ASSERT_TRUE(alone.ok());
    EXPECT_EQ(to_hex(r[3]->octets), [&] {
      Bytes all;
      for (const Bytes& t : alone->tlvs) append(all, t);
      return to_hex(all);
    }());
  }
}

TEST_F(Scripts, WhatIsSentIsCutLikeTheCommandsThemselves) {
  std::mt19937_64 g(4);
  Order a = random_order(g);
  a.profile = seal::random_octets(g, 9000);
  es8::ScriptOrder o;
  o.keys = &a.keys;
  o.isd_p = a.isd_p;
  o.profile = a.profile;
  const auto run = es8::seal_scripts({&o, 1}, *engines.back());
  const es8::SealedScript s = es8::seal_offline(a.keys, a.isd_p, {}, {}, a.profile);
  for (const std::size_t limit : {0, 1, 12, 1020, 1021, 1051, 1052, 2040, 4000, 100'000}) {
    const auto got = es8::send_parts(run[0]->octets, run[0]->ends, limit, false);
    const auto want = es8::cut_between_tlvs(s.tlvs, limit);
    ASSERT_EQ(got.size(), want.size()) << limit;
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(*got[i].hex, to_hex(want[i])) << limit;
  }
}

}  // namespace
}  // namespace kf
