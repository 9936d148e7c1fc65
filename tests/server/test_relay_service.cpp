// Whose requests an SM-SR carries out: what one peer leaves unanswered takes nothing from another.
#include "host/server/relay_service.hpp"
#include "tests/server/services_fixture.hpp"

namespace kf::server {
namespace {

class RelayServiceTest : public ServicesTest {
 protected:
  void SetUp() override {
    ServicesTest::SetUp();
    for (const auto& [oid, role] : {std::pair("2.999.10", Role::operator_), std::pair("2.999.11", Role::operator_),
                                    std::pair("2.999.31", Role::smsr), std::pair("2.999.32", Role::smsr)}) {
      Party p;
      p.oid = Oid::trusted(oid);
      p.role = role;
      config_.parties.push_back(p);
    }
    config_.relays_per_operator = 9;
    relays_ = std::make_unique<RelayService>(*parts_);
  }
  void TearDown() override {
    relays_->stop();
    ServicesTest::TearDown();
  }
  const Party& party(const char* oid) { return *config_.by_oid(oid); }
  unsigned reserve_all(const Party& op, const Party& smsr) {
    unsigned n = 0;
    while (n < 100 && relays_->reserve(op, smsr).empty()) ++n;
    return n;
  }
  std::unique_ptr<RelayService> relays_;
};

// It acknowledges and never calls back: a day later nothing is answered yet.
TEST_F(RelayServiceTest, AnSmsrThatNeverCallsBackLeavesPlacesForTheOthers) {
  const Party &op = party("2.999.10"), &silent = party("2.999.31"), &good = party("2.999.32");
  EXPECT_EQ(reserve_all(op, silent), 8U);
  EXPECT_NE(relays_->reserve(op, silent).find("2.999.31"), std::string::npos) << "says to which";
  EXPECT_TRUE(relays_->reserve(op, good).empty());
  EXPECT_FALSE(relays_->reserve(op, good).empty()) << "9 in all";
  EXPECT_TRUE(relays_->reserve(party("2.999.11"), silent).empty()) << "another Operator has its own";
  relays_->cancel(op, good);
  for (int i = 0; i < 8; ++i) relays_->cancel(op, silent);
  EXPECT_EQ(reserve_all(op, good), 8U) << "all were given back";
}

}  // namespace
}  // namespace kf::server
