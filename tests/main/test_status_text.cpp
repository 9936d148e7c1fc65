// `keyferry status`: what is wrong is said in words, and no document, whole or not, can end the command.
#include <gtest/gtest.h>

#include "host/main/status_text.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

Json good() {
  return Json::parse(R"({"version": "1.2", "commit": "abc", "pid": 7, "uptime_s": 3.6, "custody": "strict",
    "routes": {"sign": ["hsm"], "ephemeral": ["hsm", "core"]}, "operations": {"sign": {"hsm": 12}},
    "downloads": {"accepted": 9, "completed": 8, "in_flight": 1, "latency_ms": {"p50": 20, "p99": 44}},
    "hsm": {"tokens": [{"name": "t1", "state": "up", "why": ""}],
            "workers": [{"token": "t1", "pid": 9, "live": true, "jobs": 3, "service_us": 2.5, "rss_bytes": 1048576}]},
    "messages": {"alarms": 2, "deliveries_waiting": 5}})");
}

bool has(const std::string& page, const std::string& what) { return page.find(what) != std::string::npos; }

TEST(StatusText, SaysWhatTheDocumentSays) {
  const std::string page = status_text(good());
  EXPECT_TRUE(has(page, "keyferry 1.2 (abc), pid 7, up 4 s, custody strict")) << page;
  EXPECT_TRUE(has(page, "health     good")) << page;
  EXPECT_TRUE(has(page, "accepted 9, completed 8")) << page;
  EXPECT_TRUE(has(page, "routes     ephemeral hsm core; sign hsm")) << page;
  EXPECT_TRUE(has(page, "engine     hsm sign: 12")) << page;
  EXPECT_TRUE(has(page, "worker     9 of t1: live, 3 jobs")) << page;
  EXPECT_TRUE(has(page, "alarms 2")) << page;
  EXPECT_TRUE(status_trouble(good()).empty());
}

TEST(StatusText, EveryTokenAndCoreThatIsNotUpIsNamed) {
  Json j = good();
  j["hsm"]["tokens"][0]["state"] = "down";
  j["hsm"]["tokens"][0]["why"] = "C_Login: 0xA0";
  j["core"]["cores"] = Json::parse(R"([{"state": "up"}, {"state": "lost", "why": "parity"}])");
  const auto t = status_trouble(j);
  ASSERT_EQ(t.size(), 2U);
  EXPECT_EQ(t[0], "token t1 is down: C_Login: 0xA0");
  EXPECT_EQ(t[1], "core 1 is lost: parity");
  EXPECT_TRUE(has(status_text(j), "health     in trouble\n           token t1 is down: C_Login: 0xA0\n"));
}

TEST(StatusText, NamesOfOthersCannotForgeLines) {
  Json j = good();
  j["hsm"]["tokens"][0]["name"] = "t\nhealth     good";
  j["hsm"]["tokens"][0]["state"] = "down";
  const std::string page = status_text(j);
  EXPECT_FALSE(has(page, "\nhealth     good")) << page;
}

TEST(StatusText, AnyDocumentMakesAPage) {
  Json whole = good();
  // Every member missing, and every member of another type.
  for (const auto& replacement : {Json(), Json("text"), Json(-1), Json(Json::array()), Json(Json::object())}) {
    for (const char* key : {"version", "uptime_s", "routes", "operations", "downloads", "hsm", "core", "messages"}) {
      Json j = whole;
      j[key] = replacement;
      EXPECT_TRUE(has(status_text(j), "keyferry ")) << key << " " << replacement;
      j.erase(key);
      EXPECT_TRUE(has(status_text(j), "keyferry ")) << key;
    }
    EXPECT_TRUE(has(status_text(replacement), "keyferry "));
  }
}

}  // namespace
}  // namespace kf::server
