// An SM-SR that is slow, late, silent or contradictory at every call, and ValidityPeriods that end at random moments:
// every order ends in one outcome, what the Operator is told agrees with the card, nothing is left behind unwatched, no
// ICCID is ever on two cards, and the server never ends by itself; the same with kill -9 in the middle.
//
// KF_HOSTILE_SEED repeats the choices of a run; KF_HOSTILE_ORDERS and KF_HOSTILE_ROUNDS make it long (the soak tests).
#include "tests/e2e/hostile_world.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

unsigned number_from(const char* name, unsigned otherwise) {
  const char* v = std::getenv(name);
  return v == nullptr ? otherwise : static_cast<unsigned>(std::stoul(v));
}

void trial(HostileOptions o, std::chrono::seconds limit, std::chrono::seconds calm) {
  HostileWorld w(std::move(o));
  w.run(limit);
  w.calm_down(calm);
  w.judge();
}

TEST(Hostile, EveryOutcomeAgreesWithTheCards) {
  HostileOptions o;
  o.orders = number_from("KF_HOSTILE_ORDERS", 60);
  o.seed = number_from("KF_HOSTILE_SEED", 0);
  trial(o, std::chrono::seconds(90 + o.orders / o.per_second), std::chrono::seconds(60));
}

TEST(Hostile, EveryOutcomeAgreesWithTheCardsAfterKillNine) {
  const unsigned rounds = number_from("KF_HOSTILE_ROUNDS", 2), seed = number_from("KF_HOSTILE_SEED", 0);
  for (unsigned round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    HostileOptions o;
    o.orders = rounds > 2 ? 300 : 60;
    o.per_second = rounds > 2 ? 60 : 10;  // enough come behind the kills
    o.kills = 1 + round % 3;
    o.seed = seed == 0 ? 0 : seed + round;
    trial(o, std::chrono::seconds(90 + o.orders / o.per_second), std::chrono::seconds(60));
  }
}

}  // namespace
}  // namespace kf::e2e
