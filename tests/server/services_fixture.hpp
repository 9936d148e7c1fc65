// Services around one store, with no SM-SR configured, so that every call fails at once. Each service is a real one; a
// test plays the peers.
#pragma once
#include <gtest/gtest.h>
#include <boost/asio/executor_work_guard.hpp>

#include "host/base/clock.hpp"
#include "host/crypto/software_engine.hpp"
#include "host/server/download_service.hpp"
#include "host/server/sqlite_books.hpp"
#include "tests/server/store_fixture.hpp"

namespace kf::server {

struct NoToken : RecordSealer {
  Result<Bytes> seal_record(ByteView, ByteView) override { return Error{"hsm-worker", "there is none"}; }
  Result<SecretBytes> open_record(ByteView, ByteView) override { return Error{"hsm-worker", "there is none"}; }
};

class ServicesTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    config_.timeouts.backoff = 1;
    config_.timeouts.get_eis_tries = 1;
    config_.follow_up.backoff_ms = config_.follow_up.longest_pause_ms = 60'000;
    storage_ = std::make_unique<Storage>(io_, *store_);
    inventory_ = std::make_unique<Inventory>(*store_, vault_);
    auto pipeline = pipeline::SealPipeline::make({});
    ASSERT_TRUE(pipeline.ok());
    sealing_ = std::move(*pipeline);
    crypto_ = std::make_unique<CryptoService>(io_, CryptoService::Routing{{&engine_}, {&engine_}, {&engine_}});
    es3_ = std::make_unique<Es3Client>(io_, config_, metrics_);
    orders_ = std::make_unique<SqliteOrderBook>(*storage_, config_);
    cards_ = std::make_unique<SqliteCardBook>(*storage_);
    messages_ = std::make_unique<SqliteMessageBook>(*storage_);
    follow_ups_ = std::make_unique<FollowUpService>(io_, config_, *cards_, metrics_, *es3_);
    replies_ = std::make_unique<Replies>(io_, config_);
    delivery_ = std::make_unique<DeliveryService>(io_, config_, *messages_, metrics_);
    parts_ = std::make_unique<DownloadService::Parts>(DownloadService::Parts{io_,
                                                                             pool_,
                                                                             *sealing_,
                                                                             config_,
                                                                             *orders_,
                                                                             *messages_,
                                                                             metrics_,
                                                                             *crypto_,
                                                                             *es3_,
                                                                             *follow_ups_,
                                                                             *inventory_,
                                                                             *replies_,
                                                                             *delivery_,
                                                                             token_,
                                                                             trust_,
                                                                             {}});
    service_ = std::make_unique<DownloadService>(*parts_);
  }
  void TearDown() override {
    service_->stop();
    follow_ups_->stop();
    crypto_->stop();
    StoreTest::TearDown();
    pool_.join();
    sealing_.reset();
  }
  download::Order order(const std::string& id, const std::string& requester, const std::string& iccid) {
    download::Order o;
    o.id = o.function_call_identifier = id;
    o.requester = Oid::trusted(requester);
    o.eid = Eid::trusted(eid_with_check_digits("890010120123412340987654321001"));
    o.iccid = Iccid::trusted(iccid);
    o.smsr = Oid::trusted("2.999.30");
    o.enable = true;
    o.received_ms = anchored_ms();
    o.deadline_ms = o.received_ms + 3'600'000;
    EXPECT_TRUE(store_
                    ->run([&](store::Tx& tx) {
                      store::ProfileRow p;
                      p.iccid = iccid;
                      tx.insert_profile(p);
                      tx.set_profile(iccid, store::ProfileState::reserved, o.eid.str(), o.smsr.str(), id);
                    })
                    .ok());
    return o;
  }
  // What a peer with that certificate posts.
  static net::Request posted(std::string target, std::string certificate, std::string body) {
    net::Request r;
    r.target = std::move(target);
    r.content_type = "application/soap+xml; charset=utf-8";
    r.peer.fingerprint = std::move(certificate);
    r.body = std::move(body);
    return r;
  }
  template <class F>
  auto stored(F f) {
    decltype(f(std::declval<store::Tx&>())) out{};
    EXPECT_TRUE(store_->run([&](store::Tx& tx) { out = f(tx); }).ok());
    return out;
  }
  std::int64_t ended() {
    return stored([](store::Tx& tx) { return tx.download_counts().ended; });
  }
  template <class F>
  bool until(F f) {  // a slow machine only makes it later
    for (int i = 0; i < 1000; ++i) {
      if (f()) return true;
      io_.restart();
      io_.run_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  asio::thread_pool pool_{1};
  Settings config_;
  NoToken token_;
  Metrics metrics_;
  Trust trust_;
  SoftwareEngine engine_;
  store::Vault vault_{SecretBytes(random_bytes(32))};
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<SqliteOrderBook> orders_;
  std::unique_ptr<SqliteCardBook> cards_;
  std::unique_ptr<SqliteMessageBook> messages_;
  std::unique_ptr<Inventory> inventory_;
  std::unique_ptr<pipeline::SealPipeline> sealing_;
  std::unique_ptr<CryptoService> crypto_;
  std::unique_ptr<Es3Client> es3_;
  std::unique_ptr<FollowUpService> follow_ups_;
  std::unique_ptr<Replies> replies_;
  std::unique_ptr<DeliveryService> delivery_;
  std::unique_ptr<DownloadService::Parts> parts_;
  std::unique_ptr<DownloadService> service_;
};

}  // namespace kf::server
