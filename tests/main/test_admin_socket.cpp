// The administration socket: nothing that comes in ends it or keeps others out.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <stdexcept>
#include <thread>

#include "host/base/random.hpp"
#include "host/main/admin_socket.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

class AdminSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("kf-admin-" + random_uuid());
    fs::create_directories(dir_);
    path_ = (dir_ / "a.sock").string();
  }
  void TearDown() override {
    if (admin_) {
      boost::asio::post(io_, [this] { admin_->stop(); });
      boost::asio::post(io_, [this] { io_.stop(); });
    }
    if (loop_.joinable()) loop_.join();
    admin_.reset();
    fs::remove_all(dir_);
  }
  void start(AdminSocket::Handler h, AdminLimits limits = {}) {
    admin_ = std::make_unique<AdminSocket>(io_, path_, std::move(h), limits);
    ASSERT_TRUE(admin_->start().ok());
    loop_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(io_);
      io_.run();  // an exception that gets here ends the test program, as it ended the server
    });
  }
  int connected() {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path_.copy(a.sun_path, sizeof a.sun_path - 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    return fd;
  }
  std::string ask(const std::string& line) {
    const auto a = ask_server(path_, line);
    return a ? *a : a.error().text();
  }

  fs::path dir_;
  std::string path_;
  boost::asio::io_context io_{1};
  std::unique_ptr<AdminSocket> admin_;
  std::thread loop_;
};

std::string echo(const std::string& line) { return "[" + line + "]\n"; }

TEST_F(AdminSocketTest, BytesThatAreNoTextReachTheHandlerAsText) {
  start(echo);
  EXPECT_EQ(ask("\xff"), "[?]\n");
  EXPECT_EQ(ask("status"), "[status]\n");
}

TEST_F(AdminSocketTest, AHandlerThatThrowsAnswersAndTheNextOneIsServed) {
  start([](const std::string& line) -> std::string {
    if (line == "bad") throw std::runtime_error("invalid UTF-8");
    return echo(line);
  });
  EXPECT_NE(ask("bad").find("\"ok\": false"), std::string::npos);
  EXPECT_EQ(ask("good"), "[good]\n");
}

TEST_F(AdminSocketTest, ALineWithoutEndIsRefused) {
  start(echo);
  EXPECT_NE(ask(std::string(4000, 'x')).find("line too long"), std::string::npos);
  EXPECT_EQ(ask("good"), "[good]\n");
}

TEST_F(AdminSocketTest, SilentClientsAreBoundedInNumberAndTime) {
  AdminLimits l;
  l.clients = 4;
  l.time = std::chrono::milliseconds(200);
  start(echo, l);
  std::vector<int> silent;
  for (int i = 0; i < 12; ++i) silent.push_back(connected());
  EXPECT_EQ(ask("good"), "[good]\n");  // after three rounds of four have had their time
  for (const int fd : silent) ::close(fd);
}

TEST_F(AdminSocketTest, AcceptsAgainAfterTheSystemHadNoDescriptorLeft) {
  start(echo);
  EXPECT_EQ(ask("one"), "[one]\n");
  const int mine = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  // No descriptor above those that are open: accept4() says EMFILE.
  const int highest = ::fcntl(mine, F_DUPFD_CLOEXEC, 0);
  ::close(highest);
  std::vector<int> fillers;
  rlimit tight = old;
  tight.rlim_cur = static_cast<rlim_t>(highest);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  while (true) {
    const int fd = ::dup(mine);
    if (fd < 0) break;
    fillers.push_back(fd);
  }
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  path_.copy(a.sun_path, sizeof a.sun_path - 1);
  ASSERT_EQ(::connect(mine, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));  // the loop meets EMFILE, more than once
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  for (const int fd : fillers) ::close(fd);
  const timeval patience{20, 0};
  ::setsockopt(mine, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ASSERT_EQ(::send(mine, "two\n", 4, MSG_NOSIGNAL), 4);
  char got[16] = {};
  EXPECT_EQ(::recv(mine, got, sizeof got - 1, 0), 6) << "the client that met EMFILE is served afterwards";
  EXPECT_STREQ(got, "[two]\n");
  ::close(mine);
  EXPECT_EQ(ask("three"), "[three]\n");
}

}  // namespace
}  // namespace kf::server
