// What an engine logged, and waiting for what an engine will do by itself.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm::testing {

// Collects the lines of HsmConfig.log; lives as long as anybody writes.
class Journal {
 public:
  explicit Journal(HsmConfig& c) {
    c.log = [b = book_](const std::string& line) {
      const std::lock_guard lock(b->mutex);
      b->lines.push_back(line);
    };
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(book_->mutex);
    return book_->lines;
  }
  [[nodiscard]] std::size_t count(const std::string& part) const {
    std::size_t n = 0;
    for (const std::string& l : lines()) n += l.find(part) != std::string::npos ? 1 : 0;
    return n;
  }
  [[nodiscard]] std::string text() const {
    std::string all;
    for (const std::string& l : lines()) all += "\n  " + l;
    return all;
  }

 private:
  struct Book {
    std::mutex mutex;
    std::vector<std::string> lines;
  };
  std::shared_ptr<Book> book_ = std::make_shared<Book>();
};

inline bool eventually(std::chrono::milliseconds limit, const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

inline double seconds_since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

inline HsmStats::Token token_stats(const HsmEngine& e, const std::string& name) {
  for (const auto& t : e.stats().tokens) {
    if (t.name == name) return t;
  }
  ADD_FAILURE() << "no token named " << name;
  return {};
}

}  // namespace kf::hsm::testing
