// What the tests of the driver share: jobs through a Device until all are answered.
#pragma once

#include <chrono>
#include <thread>

#include "drivers/core/device.hpp"
#include "tests/board/support.hpp"

namespace kf::ecc::test {

// Submits all jobs and collects all answers; time passes as the transport has it. Fails after 120 s without progress;
// check() is called every second in which nothing comes, as an owner does.
inline void all(Device& d, std::span<const Descriptor> jobs, std::vector<Completion>& answers) {
  answers.assign(jobs.size(), Completion{});
  std::size_t sent = 0, got = 0;
  using Clock = std::chrono::steady_clock;
  auto last = Clock::now();
  auto checked = last;
  while (got < jobs.size()) {
    sent += d.submit(jobs.subspan(sent));
    d.transport().pause();
    const std::size_t n = d.poll(std::span(answers).subspan(got));
    got += n;
    const auto now = Clock::now();
    if (n != 0) last = checked = now;
    if (now - checked > std::chrono::seconds(1)) {
      checked = now;
      const Status s = d.check();
      ASSERT_TRUE(s.ok()) << s.error().text();
    }
    ASSERT_LT(now - last, std::chrono::seconds(120)) << jobs.size() - got << " jobs are not answered";
  }
}
inline void all(Device& d, std::initializer_list<Descriptor> jobs, std::vector<Completion>& answers) {
  all(d, std::span(jobs.begin(), jobs.size()), answers);
}

// Faults that a Device saw. `late` is none.
inline std::uint64_t faults(const DeviceCounters& c) {
  return c.tags_not_due + c.missing + c.damaged + c.implausible + c.early + c.doorbells_repeated + c.heads_repeated +
         c.resets_seen + c.lost;
}

}  // namespace kf::ecc::test
