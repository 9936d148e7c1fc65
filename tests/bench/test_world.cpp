// The parts of bench/world that need no running SM-DP: settings in the configuration file, the two wires.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "bench/process/ports.hpp"
#include "bench/world/world.hpp"

namespace kf::bench {
namespace {

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("kf-world-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::string content(const std::string& file) {
  std::ifstream f(file);
  std::ostringstream s;
  s << f.rdbuf();
  return s.str();
}

TEST(Settings, AreWrittenIntoTheRightSections) {
  const Folder dir;
  const std::string file = dir.file("smdp.toml");
  std::ofstream(file) << "[smdp]\noid = \"2.999.20\"\n[[party]]\nrole = \"operator\"\n[[party]]\nrole = "
                         "\"smsr\"\n[limits]\nmax_body_bytes = 5000\n";
  ASSERT_TRUE(apply_settings(file, {{"limits.downloads_in_flight", std::int64_t{7}},
                                    {"log.level", std::string("debug")},
                                    {"smsr.synchronous", true},
                                    {"smdp.oid", std::string("2.999.21")}}));
  const std::string now = content(file);
  EXPECT_NE(now.find("downloads_in_flight = 7"), std::string::npos) << now;
  EXPECT_NE(now.find("max_body_bytes = 5000"), std::string::npos);
  EXPECT_NE(now.find("2.999.21"), std::string::npos);
  EXPECT_EQ(now.find("2.999.20"), std::string::npos);
  const auto smsr = now.find("role = 'smsr'");
  ASSERT_NE(smsr, std::string::npos) << now;
  EXPECT_NE(now.find("synchronous = true"), std::string::npos);
}

TEST(Settings, AreReadFromACommandLine) {
  const auto value = [](const char* text) {
    const auto s = setting_of(text);
    EXPECT_TRUE(s.ok()) << text;
    return s ? s->value : decltype(s->value){};
  };
  EXPECT_EQ(setting_of("core.cores=2")->key, "core.cores");
  EXPECT_EQ(value("core.cores=2"), decltype(Setting::value)(std::int64_t{2}));
  EXPECT_EQ(value("a=-5"), decltype(Setting::value)(std::int64_t{-5}));
  EXPECT_EQ(value("a=true"), decltype(Setting::value)(true));
  EXPECT_EQ(value("a=2 workers"), decltype(Setting::value)(std::string("2 workers")));
  EXPECT_EQ(value("a=x=y"), decltype(Setting::value)(std::string("x=y")));
  EXPECT_EQ(value("a="), decltype(Setting::value)(std::string()));
  EXPECT_EQ(value("routing.verify=software,core"),
            decltype(Setting::value)(std::vector<std::string>{"software", "core"}));
  EXPECT_FALSE(setting_of("core.cores"));
  EXPECT_FALSE(setting_of("=2"));

  const Folder dir;
  const std::string file = dir.file("smdp.toml");
  std::ofstream(file) << "[routing]\nverify = \"core\"\n";
  ASSERT_TRUE(apply_settings(file, {*setting_of("routing.verify=software,core")}));
  EXPECT_NE(content(file).find("verify = [ 'software', 'core' ]"), std::string::npos) << content(file);
}

TEST(Settings, UnknownPartyAndMissingFileAreErrors) {
  const Folder dir;
  const std::string file = dir.file("smdp.toml");
  std::ofstream(file) << "[smdp]\n";
  EXPECT_FALSE(apply_settings(file, {{"operator.name", std::string("x")}}));
  EXPECT_FALSE(apply_settings(dir.file("absent.toml"), {}));
}

TEST(Wires, HttpTakesTheBodyOfA200Only) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t size = sizeof a;
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&a), &size), 0);
  std::thread server([listener] {
    for (const std::string answer :
         {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 Bad Request\r\n\r\n{\"error\":\"no\"}"}) {
      const int c = ::accept(listener, nullptr, nullptr);
      char buf[4096];
      [[maybe_unused]] const ssize_t n = ::recv(c, buf, sizeof buf, 0);
      ::send(c, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(c);
    }
  });
  const auto good = http_loopback("GET", ntohs(a.sin_port), "/summary", "", Millis(5000));
  const auto bad = http_loopback("POST", ntohs(a.sin_port), "/fault", "{}", Millis(5000));
  server.join();
  ::close(listener);
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, "{}");
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().detail.find("400"), std::string::npos);
  EXPECT_FALSE(http_loopback("GET", ntohs(a.sin_port), "/", "", Millis(1000)));
}

TEST(Wires, UnixSocketThatIsNotThere) {
  EXPECT_EQ(read_unix_socket("/nonexistent/admin.sock", Millis(100)).error().reason, "wire");
}

TEST(LastLine, SkipsEmptyOnes) {
  const Folder dir;
  std::ofstream(dir.file("log")) << "one\ntwo\n\n";
  EXPECT_EQ(last_line(dir.file("log")), "two");
  EXPECT_EQ(last_line(dir.file("absent")), "");
}

}  // namespace
}  // namespace kf::bench
