// The profile inventory: all or nothing, errors by line, nothing readable on disk, personal values back in their
// places.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "host/base/random.hpp"
#include "host/server/inventory.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

Bytes whole(const LoadedProfile& p) {
  Bytes out;
  for (const ByteView s : p.segments) append(out, s);
  return out;
}

class InventoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (store_) TearDown();
    dir_ = fs::temp_directory_path() / ("kf-inventory-" + random_uuid());
    fs::create_directories(dir_);
    auto s = store::Store::open({(dir_ / "s.db").string()});
    ASSERT_TRUE(s.ok());
    store_ = std::move(*s);
    inventory_ = std::make_unique<Inventory>(*store_, vault_);
    options_.owner = *parse_oid("2.999.10");
    options_.profile_type = "meter";
  }
  void TearDown() override {
    inventory_.reset();
    store_.reset();
    fs::remove_all(dir_);
  }
  store::ProfileRow row(const std::string& iccid) {
    store::ProfileRow r;
    EXPECT_TRUE(store_->run([&](store::Tx& tx) { r = tx.get_profile(iccid).value_or(store::ProfileRow{}); }).ok());
    return r;
  }
  std::string everything_on_disk() {
    EXPECT_TRUE(store_->run([](store::Tx&) {}).ok());
    std::string all;
    for (const auto& e : fs::directory_iterator(dir_)) {
      std::ifstream f(e.path(), std::ios::binary);
      all.append(std::istreambuf_iterator<char>(f), {});
    }
    return all;
  }
  fs::path dir_;
  std::unique_ptr<store::Store> store_;
  store::Vault vault_{SecretBytes(random_bytes(32))};
  std::unique_ptr<Inventory> inventory_;
  ImportOptions options_;
};

const std::string kKi = "A1A2A3A4A5A6A7A8A9AAABACADAEAFB0", kOpc = "C1C2C3C4C5C6C7C8C9CACBCCCDCECFD0";
std::string csv_row(const std::string& iccid, const std::string& imsi) {
  return iccid + "," + imsi + "," + kKi + "," + kOpc + ",447700900123\n";
}
const std::string kHeader = "iccid,imsi,ki,opc,msisdn\n";

TEST_F(InventoryTest, TemplateAndCsv) {
  const Bytes t = profile::sample_package();
  const std::string a = iccid_with_luhn("8900012345678900001"), b = iccid_with_luhn("8900012345678900002");
  const auto r = inventory_->import_template(
      "sample", t, kHeader + csv_row(a, "001010000000001") + csv_row(b, "001010000000002"), options_);
  ASSERT_TRUE(r.errors.empty()) << r.errors.front();
  EXPECT_EQ(r.imported, 2U);
  const auto loaded = inventory_->load(row(b), 1007);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  EXPECT_LT(loaded->own.size(), loaded->bytes) << "most of a template is shared, not copied";
  const Bytes package = whole(*loaded);
  EXPECT_EQ(package.size(), loaded->bytes);
  const auto p = profile::parse_package(package);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->header.iccid_digits, b);
  const std::string bytes = to_hex(package);
  EXPECT_NE(bytes.find(kKi), std::string::npos);
  EXPECT_NE(bytes.find(kOpc), std::string::npos);
  EXPECT_EQ(inventory_->subscription(row(b))->imsi, "001010000000002");
  EXPECT_EQ(inventory_->subscription(row(b))->msisdn, "447700900123");
}

// A complete package says nothing of its subscription to the SM-DP, so the operator may; the package stays as it was.
TEST_F(InventoryTest, CompletePackagesWithAndWithoutAnAddress) {
  const Bytes der = profile::sample_package();
  const std::string iccid = profile::parse_package(der)->header.iccid_digits;
  ASSERT_TRUE(inventory_->import_packages({{"plain.der", der}}, options_).errors.empty());
  EXPECT_EQ(*inventory_->subscription(row(iccid)), es::SubscriptionAddress{});
  EXPECT_EQ(whole(*inventory_->load(row(iccid), 1007)), der);

  SetUp();  // an empty store
  options_.addresses[iccid] = {.imsi = "001010000000001", .msisdn = "+447700900123"};
  const auto r = inventory_->import_packages({{"with.der", der}}, options_);
  ASSERT_TRUE(r.errors.empty()) << r.errors.front();
  EXPECT_EQ(inventory_->subscription(row(iccid))->imsi, "001010000000001");
  EXPECT_EQ(inventory_->subscription(row(iccid))->msisdn, "+447700900123");
  const auto loaded = inventory_->load(row(iccid), 1007);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  EXPECT_EQ(whole(*loaded), der);
  EXPECT_EQ(loaded->bytes, der.size());
  EXPECT_EQ(everything_on_disk().find("001010000000001"), std::string::npos);

  SetUp();
  options_.addresses["89000000000000000012"] = {.imsi = "001010000000002", .msisdn = ""};
  const auto stray = inventory_->import_packages({{"with.der", der}}, options_);
  ASSERT_EQ(stray.errors.size(), 1U);
  EXPECT_NE(stray.errors.front().find("89000000000000000012"), std::string::npos);
  EXPECT_EQ(row(iccid).iccid, "") << "all or nothing";
}

TEST_F(InventoryTest, MemoryFollowsFromThePackage) {
  EXPECT_EQ(memory_for(1), 65'536U);
  EXPECT_EQ(memory_for(52'428), 65'536U);
  EXPECT_EQ(memory_for(1'000'000), 1'250'304U);
  for (const std::size_t n : {60'000U, 70'001U, 1'048'576U}) EXPECT_GE(memory_for(n), n + n / 4);
  const Bytes der = profile::sample_package();
  const std::string iccid = profile::parse_package(der)->header.iccid_digits;
  ASSERT_TRUE(inventory_->import_packages({{"plain.der", der}}, options_).errors.empty());
  EXPECT_EQ(row(iccid).required_memory, memory_for(der.size()));
  const std::string a = iccid_with_luhn("8900012345678900001");
  options_.required_memory = 12'345;
  ASSERT_TRUE(inventory_->import_template("t", der, kHeader + csv_row(a, "001010000000001"), options_).errors.empty());
  EXPECT_EQ(row(a).required_memory, 12'345U) << "what is given wins";
}

TEST_F(InventoryTest, NothingReadableOnDisk) {
  const Bytes t = profile::sample_package();
  const std::string a = iccid_with_luhn("8900012345678900001");
  ASSERT_TRUE(
      inventory_->import_template("sample", t, kHeader + csv_row(a, "001010000000001"), options_).errors.empty());
  const std::string disk = everything_on_disk();
  ASSERT_NE(disk.find(a), std::string::npos) << "the ICCID is the key and stands in the clear";
  EXPECT_EQ(disk.find(std::string(text(hex(kKi)))), std::string::npos);
  EXPECT_EQ(disk.find(kKi), std::string::npos);
  EXPECT_EQ(disk.find("001010000000001"), std::string::npos);
  for (std::size_t at = 0; at + 16 <= t.size(); at += 16)
    ASSERT_EQ(disk.find(std::string(text(ByteView(t).subspan(at, 16)))), std::string::npos)
        << "16 bytes of the template at " << at;
}

TEST_F(InventoryTest, OneBadRowAndNothingIsImported) {
  const Bytes t = profile::sample_package();
  const std::string a = iccid_with_luhn("8900012345678900001"), b = iccid_with_luhn("8900012345678900002");
  const std::string csv = kHeader + csv_row(a, "001010000000001") + b + ",0010x,00,11,\n";
  const auto r = inventory_->import_template("sample", t, csv, options_);
  ASSERT_FALSE(r.errors.empty());
  EXPECT_EQ(r.imported, 0U);
  EXPECT_EQ(r.errors.front().rfind("line 3", 0), 0U) << r.errors.front();
  EXPECT_TRUE(row(a).iccid.empty());
}

TEST_F(InventoryTest, AnIccidThatIsThereAlready) {
  const Bytes t = profile::sample_package();
  const std::string a = iccid_with_luhn("8900012345678900001"), b = iccid_with_luhn("8900012345678900002");
  ASSERT_TRUE(
      inventory_->import_template("sample", t, kHeader + csv_row(a, "001010000000001"), options_).errors.empty());
  const auto r = inventory_->import_template(
      "sample", t, kHeader + csv_row(b, "001010000000002") + csv_row(a, "001010000000003"), options_);
  ASSERT_EQ(r.errors.size(), 1U);
  EXPECT_NE(r.errors[0].find("line 3"), std::string::npos) << r.errors[0];
  EXPECT_NE(r.errors[0].find(a), std::string::npos);
  EXPECT_TRUE(row(b).iccid.empty()) << "half-imported";
}

TEST_F(InventoryTest, CompletePackages) {
  const Bytes t = profile::sample_package();
  const auto iccid = profile::parse_package(t)->header.iccid_digits;
  options_.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  ASSERT_TRUE(inventory_->import_packages({{"a.der", t}}, options_).errors.empty());
  EXPECT_EQ(whole(*inventory_->load(row(iccid), 1007)), t);
  EXPECT_EQ(pol2_from_json(row(iccid).pol2), options_.pol2);
  const auto r = inventory_->import_packages({{"b.der", Bytes(t.begin(), t.end() - 1)}}, options_);
  ASSERT_EQ(r.errors.size(), 1U);
  EXPECT_EQ(r.errors[0].rfind("b.der", 0), 0U);
}

TEST_F(InventoryTest, ARecordMovedToAnotherIccidDoesNotOpen) {
  const Bytes t = profile::sample_package();
  const std::string a = iccid_with_luhn("8900012345678900001");
  ASSERT_TRUE(
      inventory_->import_template("sample", t, kHeader + csv_row(a, "001010000000001"), options_).errors.empty());
  store::ProfileRow moved = row(a);
  moved.iccid = iccid_with_luhn("8900012345678900002");
  EXPECT_FALSE(inventory_->load(moved, 1007).ok());
}

}  // namespace
}  // namespace kf::server
