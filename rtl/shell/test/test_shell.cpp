// Tests of kf_shell.   test_shell [--seed N] [--only NAME] [--rounds N]
// Each test starts with a reset core; the seed is printed first, so a failure can be repeated.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "Vkf_shell___024root.h"
#include "bench.hpp"
#include "rtl/test/arguments.hpp"

namespace kf::ecc::test {
namespace {

// Random waiting everywhere.
void slow(Bench& b) {
  const auto some = [&] { return b.below(3) == 0 ? 256U : 40 + b.below(216); };
  b.waits = {some(), some(), some(),          some(),           some(),          some(),
             some(), some(), 1 + b.below(60), 1 + b.below(120), b.below(4) == 0, b.below(4) == 0};
}

void post_all(Bench& b, unsigned n) {
  const std::uint64_t limit = b.cycle() + 2000000;
  for (unsigned i = 0; i < n;) {
    KF_NEED(b.cycle() < limit, "cycle limit: the ring stays full");
    if (b.post(b.job())) ++i;
    if (b.below(3) == 0 || i == n) b.ring_doorbell();
    if (b.below(2) == 0) b.consume(b.below(6));
  }
  b.ring_doorbell();
}

std::uint32_t errors_now(Bench& b) { return b.read(kRegStatus) & kStatusErrors; }
void clear_errors(Bench& b) {
  b.write(kRegStatus, kStatusErrors);
  KF_NEED(errors_now(b) == 0, "error bits can be cleared");
}

void registers(Bench& b) {
  b.waits.axil = 128;
  for (const auto& r : kRegisters)
    if (r.reset_known && !r.changes) KF_NEED(b.read(r.offset) == r.reset, std::string("reset value of ") + r.name);
  KF_NEED(b.read(kRegId) == kIdWord && b.read(kRegVersion) == kVersionWord, "identification");
  const std::uint32_t cap0 = b.read(kRegCap0), cap1 = b.read(kRegCap1);
  KF_NEED(kCap0Contexts.get(cap0) == 64 && kCap0Ii.get(cap0) == 1 && kCap0Log2KeySlots.get(cap0) == 8 &&
              kCap0Curves.get(cap0) == 3 && kCap0Operations.get(cap0) == 0x7E && kCap0TestImport.get(cap0) == 0,
          "CAP0");
  KF_NEED(kCap1MaxLog2Ring.get(cap1) == 16 && kCap1Log2Table.get(cap1) == 13 && kCap1FetchAhead.get(cap1) == 4, "CAP1");
  KF_NEED(b.read(kRegBuild) == 0, "BUILD is not given here");
  for (unsigned round = 0; round < 20; ++round)
    for (const auto& r : kRegisters) {
      if (r.offset == kRegControl || r.index || r.changes) continue;
      const std::uint32_t before = b.read(r.offset), value = static_cast<std::uint32_t>(b.word64());
      KF_NEED(b.write(r.offset, value) == 0, "answer to a write");
      const std::uint32_t want = ((before & ~r.plain) | (value & r.plain)) & r.readable;
      KF_NEED(b.read(r.offset) == want, std::string("write to ") + r.name);
      const unsigned strobes = b.below(15);
      KF_NEED(b.write(r.offset, ~value, strobes) == 2, "a partial write is refused");
      if (r.offset != kRegTableAddr) KF_NEED(b.read(r.offset) == want, std::string("partial write to ") + r.name);
    }
  // Control: orders read as 0.
  b.rings(2, 2);
  b.write(kRegControl, kControlEnable.put(1) | kControlAbort.put(1));
  KF_NEED(b.read(kRegControl) == 0, "abort beats enable");
  b.write(kRegControl, 0xFFFFFFF1U);
  KF_NEED(b.read(kRegControl) == kControlEnable.mask(), "only the bits of the map stand");
  b.write(kRegControl, 0, 7);
  KF_NEED(b.read(kRegControl) == kControlEnable.mask(), "partial write to CONTROL");
  b.enable(false);
  // What is not in the map.
  std::vector<bool> mapped(4096);
  for (const auto& r : kRegisters) mapped[r.offset] = true;
  for (const auto& c : kCounters) mapped[c.offset] = mapped[c.offset + 4] = true;
  for (unsigned a = 0; a < 4096; ++a) {
    if (mapped[a] || (a % 4 != 0 && b.below(8) != 0)) continue;
    KF_NEED(b.write(a, 0xFFFFFFFFU) == 0 && b.read(a) == 0, "offset " + std::to_string(a) + " is not in the map");
  }
  KF_NEED(b.read(kRegControl) == 0 && errors_now(b) == 0 && b.zeroise_pulses == 0, "nothing happened by that");
  b.check_counters();
}

void table(Bench& b) {
  b.waits.axil = 200;
  std::vector<std::pair<std::uint32_t, std::array<std::uint32_t, 16>>> want;
  for (unsigned round = 0; round < 12; ++round) {
    std::uint32_t entry = round == 0 ? 8191 : b.below(8192);
    b.write(kRegTableAddr, kTableAddrEntry.put(entry));
    for (unsigned k = 1 + b.below(3); k != 0; --k) {
      std::array<std::uint32_t, 16> e;
      for (auto& w : e) b.write(kRegTableData, w = static_cast<std::uint32_t>(b.word64()));
      want.emplace_back(entry, e);
      entry = (entry + 1) % 8192;
      KF_NEED(b.read(kRegTableAddr) == kTableAddrEntry.put(entry), "TABLE_ADDR moves on");
    }
  }
  KF_NEED(b.table_writes == want, "table writes");
  b.write(kRegControl, kControlLockTable.mask());
  b.write(kRegControl, 0);
  KF_NEED((b.read(kRegControl) & kControlLockTable.mask()) != 0, "the lock cannot be cleared");
  KF_NEED((b.read(kRegStatus) & kStatusTableLocked.mask()) != 0 && b.top->table_locked_o, "TABLE_LOCKED");
  b.write(kRegTableAddr, 0);
  for (unsigned i = 0; i < 16; ++i) b.write(kRegTableData, i);
  KF_NEED(b.table_writes == want && b.read(kRegTableAddr) == 0, "a locked table takes no writes");
  KF_NEED(errors_now(b) == kStatusTableRefused.mask(), "TABLE_REFUSED");
  clear_errors(b);
  // A flip of any copy of the lock in any cycle of an attempt.
  auto* r = b.top->rootp;
  for (CData* copy : {&r->kf_shell__DOT__registers__DOT__u_lock__DOT__u_a__DOT__q_o,
                      &r->kf_shell__DOT__registers__DOT__u_lock__DOT__u_b__DOT__q_o,
                      &r->kf_shell__DOT__registers__DOT__u_lock__DOT__u_c__DOT__q_o}) {
    for (unsigned i = 0; i < 16; ++i) {
      *copy ^= 1;
      b.write(kRegTableData, i);
      KF_NEED(b.table_writes == want && b.top->table_locked_o, "a table whose lock has one flip takes no writes");
    }
  }
  clear_errors(b);
  b.reset();
  KF_NEED(!b.top->table_locked_o, "a reset unlocks the table");
}

void one_job(Bench& b) {
  b.rings(3, 3);
  b.enable(true);
  for (unsigned op = 0; op < 12; ++op) {
    Descriptor d = b.job();
    d.opcode = static_cast<std::uint8_t>(op);  // unknown ones are the engine's business
    d.tag = 1;
    KF_NEED(b.post(d), "room");
    b.ring_doorbell();
    b.finish();
  }
  KF_NEED(errors_now(b) == 0, "no errors");
  b.check_counters();
}

void wrap(Bench& b) {
  for (unsigned log2 = 0; log2 < 5; ++log2) {
    b.enable(false);
    b.rings(log2, b.below(5));
    slow(b);
    b.poll_memory = log2 % 2 == 0;
    b.enable(true);
    post_all(b, (5U << log2) + b.below(7));
    b.finish();
  }
  KF_NEED(errors_now(b) == 0, "no errors");
  b.check_counters();
}

void large_ring(Bench& b) {
  b.rings(16, 16);
  b.enable(true);
  for (unsigned i = 0; i < 2500; ++i) KF_NEED(b.post(b.job()), "a large ring has room");
  b.ring_doorbell();
  b.finish();
  KF_NEED(errors_now(b) == 0, "no errors");
}

void full_and_empty(Bench& b) {
  b.rings(2, 3);
  slow(b);
  b.engine_stalled = true;
  b.engine_room = 2;
  b.enable(true);
  const std::uint64_t limit = b.cycle() + 100000;
  while (b.jobs.size() < 10) {  // 2 in the engine, 4 held by the shell, 4 in the ring
    KF_NEED(b.cycle() < limit, "cycle limit");
    if (b.post(b.job())) b.ring_doorbell();
  }
  b.run(3000);
  KF_NEED(!b.post(b.job()), "the ring is full");
  KF_NEED(b.read(kRegSqHead) == 6 && b.read(kRegSqTail) == 10 && b.fetched == 6,
          "what a stalled engine leaves in the ring");
  KF_NEED((b.read(kRegStatus) & kStatusIdle.mask()) == 0, "not idle");
  // Disabled, but not at rest: the rings' set-up stands.
  b.enable(false);
  for (const std::uint32_t at : {kRegSqBaseLo, kRegSqBaseHi, kRegSqLog2, kRegCqBaseLo, kRegCqBaseHi, kRegCqLog2}) {
    const std::uint32_t before = b.read(at);
    b.write(at, before ^ 1);
    KF_NEED(b.read(at) == before && errors_now(b) == kStatusConfigBusy.mask(), "CONFIG_BUSY while jobs are in flight");
    clear_errors(b);
  }
  b.enable(true);
  for (const std::uint32_t wrong : {9U, 7U, 6U, 5U, 11U}) {  // back by one, back to the head and before it, one too far
    b.write(kRegSqTail, wrong);
    KF_NEED(b.read(kRegSqTail) == 10 && errors_now(b) == kStatusSqTail.mask(), "a wrong doorbell is refused");
    clear_errors(b);
  }
  b.engine_stalled = false;
  b.engine_room = 96;
  b.finish();
  b.ring_doorbell();  // an empty ring stays empty
  b.run(500);
  KF_NEED(b.fetched == 10, "nothing was read from an empty ring");
  // A completion that stands in memory, which has not answered yet, can be consumed by its phase bit but does not
  // interrupt.
  for (unsigned i = 0; i < 2; ++i) {  // the second for what came while the first was pending
    b.write(kRegIrqStatus, kIrqStatusCompletion.mask());
    b.run(4);
  }
  b.waits.b_valid = 0;
  b.waits.w_ready = 0;
  KF_NEED(b.post(b.job()), "room");
  b.ring_doorbell();
  const std::uint64_t soon = b.cycle() + 20000;
  while (b.begun != 11) {
    KF_NEED(b.cycle() < soon, "cycle limit");
    b.tick();
  }
  b.run(100);
  b.write(kRegCqHead, 11);
  KF_NEED(b.read(kRegCqHead) == 10 && b.read(kRegCqTail) == 10 && errors_now(b) == kStatusCqHead.mask(),
          "not before it was sent");
  clear_errors(b);
  b.waits.w_ready = 256;
  b.run(2000);
  KF_NEED(b.consume(8) == 1, "it stands in memory");
  KF_NEED(b.read(kRegCqHead) == 11 && b.read(kRegCqTail) == 10 && errors_now(b) == 0,
          "a host that goes by the phase bit is early");
  KF_NEED(kIrqStatusCompletion.get(b.read(kRegIrqStatus)) == 0, "no interrupt before memory's answer");
  clear_errors(b);
  b.waits.b_valid = 256;
  b.finish();
  b.check_counters();
}

void doorbells(Bench& b) {
  b.rings(4, 4);
  slow(b);
  b.waits.axil = 256;
  b.enable(true);
  unsigned refused = 0;
  for (unsigned i = 0; i < 400;) {
    if (b.post(b.job())) ++i;
    for (unsigned k = b.below(5); k != 0; --k) b.ring_doorbell();
    if (b.below(4) == 0) {
      std::uint32_t wrong = 0;
      switch (b.below(3)) {
        case 0:
          wrong = b.sq_tail + 17 + b.below(1000);
          break;  // too far in any case
        case 1:
          wrong = b.sq_tail - 1 - b.below(1000);
          break;  // backwards
        default:
          wrong = b.sq_tail + 0x80000000U + b.below(100);
          break;
      }
      b.write(kRegSqTail, wrong);
      KF_NEED(b.read(kRegSqTail) == b.sq_tail, "a refused doorbell changes nothing");
      KF_NEED(errors_now(b) == kStatusSqTail.mask(), "SQ_TAIL error");
      clear_errors(b);
      ++refused;
    }
    if (b.below(4) == 0) {
      const std::uint32_t wrong = b.below(2) != 0 ? b.cq_head - 1 - b.below(100) : b.cq_head + 17 + b.below(100);
      b.write(kRegCqHead, wrong);
      KF_NEED(b.read(kRegCqHead) == b.cq_head, "a refused consumer index changes nothing");
      KF_NEED(errors_now(b) == kStatusCqHead.mask(), "CQ_HEAD error");
      clear_errors(b);
      ++refused;
    }
    b.consume(b.below(4));
  }
  b.ring_doorbell();
  b.finish();
  KF_NEED(refused > 100, "wrong indices were tried");
  b.check_counters();
}

void completion_ring_full(Bench& b) {
  for (unsigned log2 = 0; log2 < 3; ++log2) {
    b.enable(false);
    b.rings(6, log2);
    slow(b);
    b.enable(true);
    for (unsigned i = 0; i < 60; ++i) KF_NEED(b.post(b.job()), "room");
    b.ring_doorbell();
    b.run(8000);  // the bench checks every write against what was consumed
    KF_NEED(b.written == 1U << log2 && b.read(kRegCqTail) == 1U << log2, "the ring fills up and waits");
    KF_NEED(b.consume(b.jobs.size()) == 1U << log2, "all of them can be consumed");
    KF_NEED(b.read(kRegCqHead) == 1U << log2, "CQ_HEAD");
    b.finish();
  }
  KF_NEED(errors_now(b) == 0, "no errors");
  b.check_counters();
}

void bad_descriptors(Bench& b) {
  b.rings(5, 5);
  slow(b);
  b.enable(true);
  unsigned bad = 0;
  const auto go = [&](const Descriptor& d, bool wrong) {
    const std::uint64_t limit = b.cycle() + 100000;
    while (!b.post(d, wrong)) {
      KF_NEED(b.cycle() < limit, "cycle limit");
      b.consume(8);
    }
    bad += wrong;
    b.ring_doorbell();
  };
  for (unsigned bit = 32; bit < 256; ++bit) {
    if (bit >= 64 && bit < 128) continue;  // tag
    if (bit >= 33 && bit <= 40) continue;  // flags that mean something
    Descriptor d = b.job();
    reinterpret_cast<std::uint8_t*>(&d)[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    go(d, true);
    if (b.below(2) != 0) go(b.job(), false);
    b.consume(b.below(4));
  }
  b.finish();
  KF_NEED(bad == 152, "each reserved bit and the phase");
  KF_NEED(errors_now(b) == kStatusBadDescriptor.mask(), "BAD_DESCRIPTOR and no other error");
  clear_errors(b);
  b.check_counters();
}

// A bit of a beat that waits for the engine changes: the engine gets a check word that is not the operand's, or a
// descriptor that cannot be read.
void changed_beats(Bench& b) {
  auto& memory = b.top->rootp->kf_shell__DOT__submissions__DOT__beats__DOT__memory;
  b.rings(3, 3);
  b.enable(true);
  for (unsigned round = 0; round < 300; ++round) {
    b.waits.job_ready = 0;
    const std::size_t first = b.jobs.size();
    for (unsigned k = 1 + b.below(4); k != 0; --k) KF_NEED(b.post(b.job()), "room");
    b.ring_doorbell();
    b.run(120);
    const std::size_t which = first + b.below(static_cast<std::uint32_t>(b.jobs.size() - first));
    Posted& job = b.jobs[which];
    job.changed = round % 6;
    Beat want;
    std::memcpy(want.data(), reinterpret_cast<const std::uint8_t*>(&job.d) + 32 * job.changed, 32);
    unsigned found = 0;
    for (unsigned place = 0; place < 32; ++place) {
      if (std::memcmp(&memory[place][0], want.data(), 32) != 0) continue;
      ++found;
      unsigned bit = b.below(288);
      while (job.changed == 0 && bit >= 64 && bit < 128) bit = b.below(288);  // the host knows its tags
      memory[place][bit / 32] ^= 1U << bit % 32;
    }
    KF_NEED(found == 1, "the beat waits");
    b.waits.job_ready = 256;
    b.finish();
  }
  KF_NEED(errors_now(b) == 0, "no errors of the shell");
  b.check_counters();
}

// A bit of a pointer of the buffer changes, at rest or between two beats of a job. What the engine then gets may be
// refused, doubled or nonsense, but never one job's operand as another's.
void buffer_pointers(Bench& b) {
  auto* r = b.top->rootp;
  for (unsigned round = 0; round < 4; ++round) {
    for (CData* pointer : {&r->kf_shell__DOT__submissions__DOT__beats__DOT__read_q,
                           &r->kf_shell__DOT__submissions__DOT__beats__DOT__write_q}) {
      for (unsigned bit = 0; bit < 6; ++bit) {
        for (unsigned taken = 0; taken < 6; ++taken) {
          b.rings(4, 4);
          b.enable(true);
          const auto post = [&](unsigned n) {
            for (; n != 0; --n) KF_NEED(b.post(b.job()), "room");
            b.ring_doorbell();
          };
          for (unsigned k = 6 + b.below(6); k != 0; --k) {  // old beats in every place
            post(1);
            b.finish();
          }
          b.waits.job_ready = 0;
          post(1 + b.below(4));
          b.run(round == 0 ? 150 : 40 + b.below(60));
          b.waits.job_ready = 256;
          b.run(taken);
          b.waits.job_ready = 0;
          b.run(b.below(4));
          *pointer ^= static_cast<CData>(1U << bit);
          b.astray = true;
          b.waits.job_ready = 256;
          b.run(b.below(100));
          for (unsigned k = 0; k < 4; ++k) {
            b.post(b.job());
            b.ring_doorbell();
            b.run(60);
          }
          b.astray = false;
          b.reset();
        }
      }
    }
  }
  KF_NEED(b.operands_of_others == 0,
          std::to_string(b.operands_of_others) + " operands of other jobs were taken for right");
}

void bus_errors(Bench& b) {
  b.poll_memory = false;
  b.rings(4, 3);
  b.enable(true);
  slow(b);
  b.errors.read = 64;
  post_all(b, 200);
  b.finish();
  KF_NEED(errors_now(b) == kStatusAxiRead.mask(), "AXI_READ");
  clear_errors(b);
  b.errors = {};
  b.errors.last = 64;
  post_all(b, 100);
  b.finish();
  KF_NEED(errors_now(b) == kStatusAxiRead.mask(), "AXI_READ where the last mark is wrong");
  clear_errors(b);
  b.errors = {};
  b.errors.write = 64;
  post_all(b, 200);
  b.finish();
  KF_NEED(errors_now(b) == kStatusAxiWrite.mask(), "AXI_WRITE");
  clear_errors(b);
  b.errors = {100, 100, 30};
  b.waits = {};
  post_all(b, 400);
  b.finish();
  KF_NEED(b.n_axi > 100, "errors were met");
  b.check_counters();
}

void wait_abort(Bench& b) {
  const std::uint64_t limit = b.cycle() + 100000;
  while ((b.read(kRegStatus) & kStatusAborting.mask()) != 0) {
    KF_NEED(b.cycle() < limit, "cycle limit: the abort does not end");
    b.consume(4);
  }
}

void abort_order(Bench& b) {
  unsigned aborted = 0;
  for (unsigned round = 0; round < 60; ++round) {
    b.enable(false);
    b.rings(b.below(6), b.below(5));
    slow(b);
    b.engine_stalled = b.below(3) == 0;
    b.enable(true);
    while (b.jobs.size() < (1U << b.sq_log2)) KF_NEED(b.post(b.job()), "room");
    b.ring_doorbell();
    b.run(b.below(600));
    b.engine_stalled = false;
    if (b.below(4) == 0) b.enable(false);
    b.write(kRegControl, kControlAbort.mask() | (b.below(2) != 0 ? kControlEnable.mask() : 0));
    b.write(kRegControl, kControlEnable.mask());  // too early, unless the abort has ended already
    if (b.top->abort_o) {
      KF_NEED(b.read(kRegControl) == 0 || !b.top->abort_o, "ENABLE stays 0 while aborting");
    }
    wait_abort(b);
    if (b.read(kRegControl) == 0) {
      b.run(200);
      KF_NEED(b.fetched == b.written && b.fetched == b.taken, "every fetched descriptor is answered after an abort");
      KF_NEED(b.read(kRegSqHead) == b.fetched && b.read(kRegCqTail) == b.fetched, "indices after an abort");
      KF_NEED((b.read(kRegStatus) & kStatusIdle.mask()) != 0, "idle after an abort");
    }
    for (const auto& p : b.jobs)
      aborted += p.answered && p.answer.status == static_cast<std::uint8_t>(JobStatus::aborted);
    b.enable(true);  // what was not fetched is done now
    b.finish();
  }
  KF_NEED(aborted > 50, "jobs were aborted");
  KF_NEED(errors_now(b) == 0, "no errors");
  b.check_counters();
}

bool shell_memory_clear(Bench& b) {
  const auto* r = b.top->rootp;
  for (unsigned i = 0; i < 32; ++i)
    for (unsigned w = 0; w < 9; ++w)
      if ((w < 8 && r->kf_shell__DOT__completions__DOT__beats__DOT__memory[i][w] != 0) ||
          r->kf_shell__DOT__submissions__DOT__beats__DOT__memory[i][w] != 0)
        return false;
  for (unsigned i = 0; i < 8; ++i)
    if (r->kf_shell__DOT__completions__DOT__checks__DOT__memory[i] != 0) return false;
  return true;
}

void zeroise(Bench& b) {
  KF_NEED((b.run(40), shell_memory_clear(b)), "buffers are overwritten after reset");
  unsigned blanked = 0, dirty = 0;
  for (unsigned round = 0; round < 60; ++round) {
    b.enable(false);
    b.rings(5, b.below(4));
    slow(b);
    b.enable(true);
    while (b.jobs.size() < 32) KF_NEED(b.post(b.job()), "room");
    b.ring_doorbell();
    b.run(b.below(1500));
    dirty += !shell_memory_clear(b);
    const unsigned pulses = b.zeroise_pulses;
    b.write(kRegControl, kControlZeroise.mask() | kControlEnable.mask());
    KF_NEED(b.zeroise_pulses == pulses + 1, "one pulse for the engine");
    KF_NEED((b.read(kRegStatus) & kStatusWiped.mask()) == 0 || !b.top->abort_o, "WIPED falls");
    if (b.below(3) == 0) b.write(kRegControl, kControlZeroise.mask());  // and again
    wait_abort(b);
    KF_NEED((b.read(kRegStatus) & kStatusWiped.mask()) != 0, "WIPED after the end");
    KF_NEED(b.engine_wiped && shell_memory_clear(b), "buffers are overwritten");
    KF_NEED(b.fetched == b.written, "every fetched descriptor is answered");
    for (const auto& p : b.jobs)
      blanked += p.written && p.blank_allowed && p.answer.status == static_cast<std::uint8_t>(JobStatus::ok);
    b.enable(true);
    b.finish();
  }
  KF_NEED(dirty > 40 && blanked > 10, "there was something to overwrite and to blank");
  b.check_counters();
}

// Neither memory nor host nor engine moves: what is secret is gone all the same, and STATUS.WIPED says so.
void zeroise_alone(Bench& b) {
  const auto clear = [&b] {  // of the last beat of a completion and the first of a descriptor nothing is secret
    const auto* r = b.top->rootp;
    unsigned first_beats = 0;
    for (unsigned i = 0; i < 32; ++i) {
      bool operands = false, result = false;
      for (unsigned w = 0; w < 8; ++w) {
        operands = operands || r->kf_shell__DOT__submissions__DOT__beats__DOT__memory[i][w] != 0;
        result =
            result || ((i % 4 != 3 || w == 5) && r->kf_shell__DOT__completions__DOT__beats__DOT__memory[i][w] != 0);
      }
      result = result || (i < 8 && r->kf_shell__DOT__completions__DOT__checks__DOT__memory[i] != 0);
      first_beats += operands;
      if (result) return false;
    }
    return first_beats <= 4;
  };
  unsigned dirty = 0, offered = 0;
  for (unsigned round = 0; round < 60; ++round) {
    b.enable(false);
    b.rings(5, 2 + b.below(3));
    b.waits = {};
    b.waits.job_ready = 40 + b.below(200);  // so that descriptors wait, and completions
    b.waits.w_ready = 10 + b.below(30);
    b.enable(true);
    while (b.jobs.size() < 32) KF_NEED(b.post(b.job()), "room");
    b.ring_doorbell();
    b.run(100 + b.below(400));
    const Waits before = b.waits;
    b.waits.ar_ready = b.waits.r_valid = b.waits.aw_ready = b.waits.w_ready = b.waits.b_valid = b.waits.job_ready =
        b.waits.cpl_valid = 0;
    b.run(b.below(4));
    dirty += !clear();
    offered += b.top->m_axi_wvalid;
    b.write(kRegControl, kControlZeroise.mask());
    b.wipe_left = 0;
    b.run(80);
    const std::uint32_t status = b.read(kRegStatus);
    KF_NEED((status & kStatusWiped.mask()) != 0, "WIPED waits for somebody");
    KF_NEED(clear(), "something secret has stayed");
    KF_NEED(!b.top->m_axi_wvalid || b.top->m_axi_wlast || b.top->m_axi_wdata[0] == 0, "a secret is offered to memory");
    b.waits = before;
    wait_abort(b);
    KF_NEED(shell_memory_clear(b), "the rest is overwritten in the end");
    KF_NEED(b.fetched == b.written, "every fetched descriptor is answered");
    b.enable(true);
    b.finish();
  }
  KF_NEED(dirty > 30 && offered > 5, "there was something to overwrite: " + std::to_string(dirty) + " times, " +
                                         std::to_string(offered) + " offered");
  b.check_counters();
}

void disable(Bench& b) {
  unsigned refused = 0;
  for (unsigned round = 0; round < 40; ++round) {
    b.rings(b.below(5), b.below(5));
    slow(b);
    b.enable(true);
    const unsigned n = 20 + b.below(40);
    const std::uint64_t limit = b.cycle() + 200000;
    for (unsigned i = 0; i < n;) {
      KF_NEED(b.cycle() < limit, "cycle limit");
      if (b.post(b.job())) {
        ++i;
        b.ring_doorbell();
      }
      if (b.below(4) == 0) b.enable(b.below(2) != 0);
      if (b.below(4) == 0) b.enable(true);
      b.consume(b.below(5));
      if (b.below(6) == 0 && (b.read(kRegStatus) & kStatusIdle.mask()) == 0) {
        // Not stopped, unless it has come to rest with ENABLE = 0 in between: write what stands there.
        const bool on = (b.read(kRegControl) & kControlEnable.mask()) != 0;
        if (on) {
          b.write(b.below(2) != 0 ? kRegSqBaseHi : kRegCqBaseLo, static_cast<std::uint32_t>(b.word64()));
          b.write(b.below(2) != 0 ? kRegSqLog2 : kRegCqLog2, b.below(5));
          KF_NEED(errors_now(b) == kStatusConfigBusy.mask(), "CONFIG_BUSY");
          clear_errors(b);
          ++refused;
        }
      }
    }
    b.enable(false);
    const std::uint64_t rest = b.cycle() + 200000;
    // A read whose address stands on the bus when ENABLE goes must stay there until the bus takes it (AXI4, A3.2.1).
    while (b.top->m_axi_arvalid || b.written != b.fetched || b.taken != b.fetched) {
      KF_NEED(b.cycle() < rest, "cycle limit: what was fetched is not completed");
      b.consume(4);
      b.run(20);
    }
    const std::size_t fetched = b.fetched;
    KF_NEED((b.read(kRegStatus) & kStatusIdle.mask()) != 0, "idle when all that was fetched is completed");
    b.run(400);
    KF_NEED(b.fetched == fetched && !b.top->m_axi_arvalid, "no fetch while disabled");
    b.enable(true);
    b.finish();
    b.enable(false);
  }
  KF_NEED(refused > 10, "busy writes were tried");
  b.check_counters();
}

void wrong_rings(Bench& b) {
  b.rings(3, 3);
  KF_NEED(b.post(b.job()), "room");
  const std::uint64_t seen = b.ar_seen;
  struct Case {
    std::uint64_t sq;
    std::uint32_t sl;
    std::uint64_t cq;
    std::uint32_t cl;
    std::uint32_t want;
  };
  const Case cases[] = {{b.sq_base, 17, b.cq_base, 3, kStatusSqConfig.mask()},
                        {b.sq_base, 31, b.cq_base, 3, kStatusSqConfig.mask()},
                        {b.sq_base + 128, 3, b.cq_base, 3, kStatusSqConfig.mask()},
                        {b.sq_base + 1, 3, b.cq_base, 3, kStatusSqConfig.mask()},
                        {b.sq_base, 3, b.cq_base, 17, kStatusCqConfig.mask()},
                        {b.sq_base, 3, b.cq_base, 31, kStatusCqConfig.mask()},
                        {b.sq_base, 3, b.cq_base + 64, 3, kStatusCqConfig.mask()},
                        {b.sq_base, 3, b.cq_base + 1, 3, kStatusCqConfig.mask()},
                        {b.sq_base + 8, 20, b.cq_base + 32, 20, kStatusSqConfig.mask() | kStatusCqConfig.mask()}};
  b.write(kRegIrqEnable, kIrqEnableError.mask());
  for (const auto& c : cases) {
    b.set_rings(c.sq, c.sl, c.cq, c.cl);
    const std::uint32_t tail_error = c.sl > 16 ? kStatusSqTail.mask() : 0;
    b.write(kRegSqTail, 1);
    KF_NEED(b.read(kRegSqTail) == (c.sl > 16 ? 0U : 1U), "a ring that cannot be takes no doorbell");
    b.enable(true);
    b.run(100);
    KF_NEED(b.ar_seen == seen && b.read(kRegSqHead) == 0, "nothing is fetched from a ring that cannot be");
    KF_NEED(errors_now(b) == (c.want | tail_error), "configuration error");
    KF_NEED(b.top->irq_o && (b.read(kRegIrqStatus) == kIrqStatusError.mask()), "error interrupt");
    b.write(kRegStatus, kStatusErrors);
    KF_NEED((errors_now(b) & c.want) == c.want, "the error stands as long as its cause");
    b.enable(false);
    clear_errors(b);
    b.write(kRegIrqStatus, kIrqStatusError.mask());
    b.run(3);
    KF_NEED(!b.top->irq_o && b.read(kRegIrqStatus) == 0, "the interrupt can be cleared");
  }
  b.set_rings(b.sq_base, b.sq_log2, b.cq_base, b.cq_log2);
  b.enable(true);
  b.ring_doorbell();
  b.finish();
}

void interrupts(Bench& b) {
  b.rings(6, 6);
  b.enable(true);
  const auto jobs = [&](unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      KF_NEED(b.post(b.job()), "room");
      b.ring_doorbell();
      const std::uint64_t limit = b.cycle() + 5000;
      while (b.written != b.jobs.size()) {
        KF_NEED(!b.top->irq_o || b.written != 0, "interrupt before a completion");
        KF_NEED(b.cycle() < limit, "cycle limit");
        b.tick();
      }
    }
    b.run(4);
  };
  const auto pending = [&] { return b.read(kRegIrqStatus); };
  // Masked: status without the wire.
  jobs(1);
  KF_NEED(pending() == kIrqStatusCompletion.mask() && !b.top->irq_o && b.irq_cycles == 0,
          "a masked interrupt is only noted");
  b.write(kRegIrqEnable, kIrqEnableCompletion.mask());
  b.run(2);
  KF_NEED(b.top->irq_o, "and comes when enabled");
  b.write(kRegIrqStatus, kIrqStatusError.mask() | kIrqStatusEntropy.mask());
  KF_NEED(pending() == kIrqStatusCompletion.mask(), "other bits do not clear it");
  b.write(kRegIrqStatus, kIrqStatusCompletion.mask());
  b.run(2);
  KF_NEED(!b.top->irq_o && pending() == 0, "cleared");
  // By number.
  for (unsigned n : {2U, 5U, 17U}) {
    b.consume(64);
    b.write(kRegIrqCoalesce, kIrqCoalesceCompletions.put(n));
    jobs(n - 1);
    KF_NEED(pending() == 0 && !b.top->irq_o, "too few for an interrupt");
    jobs(1);
    KF_NEED(pending() == kIrqStatusCompletion.mask() && b.top->irq_o, "enough for an interrupt");
    jobs(n);  // while it is pending
    b.write(kRegIrqStatus, kIrqStatusCompletion.mask());
    b.run(3);
    KF_NEED(pending() == kIrqStatusCompletion.mask(), "what came while it was pending is reported at once");
    b.write(kRegIrqStatus, kIrqStatusCompletion.mask());
    b.run(3);
    KF_NEED(pending() == 0, "and only once");
  }
  // By time.
  b.consume(64);
  b.write(kRegIrqCoalesce, kIrqCoalesceCompletions.put(1000) | kIrqCoalesceTimeout.put(3));
  for (unsigned round = 0; round < 3; ++round) {
    const std::uint64_t before = b.cycle();
    jobs(2);
    while (!b.top->irq_o) {
      KF_NEED(b.cycle() < before + 2000, "cycle limit: no interrupt by time");
      b.tick();
    }
    KF_NEED(b.cycle() > before + 3 * 256 && b.cycle() < before + 3 * 256 + 200,
            "time to the interrupt: " + std::to_string(b.cycle() - before));
    b.write(kRegIrqStatus, kIrqStatusCompletion.mask());
    b.run(2000);
    KF_NEED(!b.top->irq_o, "no interrupt without completions");
  }
  // Never by time.
  b.write(kRegIrqCoalesce, kIrqCoalesceCompletions.put(1000));
  jobs(1);
  b.run(3000);
  KF_NEED(pending() == 0, "timeout 0 is never");
  b.finish();
  // Entropy and faults.
  b.write(kRegIrqEnable, 7);
  b.top->entropy_alarm_i = 1;
  b.run(3);
  KF_NEED(b.top->irq_o && pending() == kIrqStatusEntropy.mask(), "entropy alarm");
  KF_NEED((b.read(kRegStatus) & kStatusEntropyAlarm.mask()) != 0, "ENTROPY_ALARM");
  for (unsigned bit = 0; bit < 8; ++bit) {  // causes, started, seeded
    b.top->entropy_state_i = 1U << bit;
    const Field field = std::array{kEntropyRepetition,  kEntropyProportion, kEntropyBlock,   kEntropyStarved,
                                   kEntropyKnownAnswer, kEntropyFault,      kEntropyStarted, kEntropySeeded}[bit];
    KF_NEED(b.read(kRegEntropy) == field.mask(), "ENTROPY, bit " + std::to_string(bit));
  }
  b.top->entropy_state_i = 0;
  b.write(kRegIrqStatus, 7);
  KF_NEED(pending() == 0, "a lasting alarm interrupts once");
  b.top->entropy_alarm_i = 0;
  b.run(3);
  b.top->selftest_i = 3;
  b.run(3);
  KF_NEED(pending() == kIrqStatusError.mask() && (b.read(kRegStatus) & kStatusSelftestFailed.mask()) != 0,
          "a failed self-test");
  b.write(kRegIrqStatus, 7);
  for (unsigned s = 0; s < 3; ++s) {
    b.top->selftest_i = s;
    const std::uint32_t status = b.read(kRegStatus);
    KF_NEED(kStatusSelftestRunning.get(status) == (s == 1) && kStatusSelftestPassed.get(status) == (s == 2) &&
                kStatusSelftestFailed.get(status) == 0,
            "self-test state");
  }
  b.top->ready_i = 0;
  KF_NEED((b.read(kRegStatus) & kStatusReady.mask()) == 0, "READY follows the engine");
  b.top->ready_i = 1;
  KF_NEED((b.read(kRegStatus) & kStatusReady.mask()) != 0 && pending() == 0, "READY");
  // Each event input by itself.
  const std::uint64_t entropy = b.n_entropy;
  b.events = 16;
  b.run(3000);
  b.check_counters();
  b.events = 0;
  KF_NEED(b.n_entropy > entropy && pending() == (kIrqStatusError.mask() | kIrqStatusEntropy.mask()),
          "events of the engine");
  KF_NEED(errors_now(b) == kStatusFault.mask(), "FAULT");
  clear_errors(b);
  // A lost frame.
  b.frame_fault = true;
  KF_NEED(b.post(b.job()), "room");
  b.ring_doorbell();
  b.finish();
  KF_NEED(errors_now(b) == kStatusFrame.mask(), "FRAME");
  clear_errors(b);
}

void reset_in_flight(Bench& b) {
  for (unsigned round = 0; round < 30; ++round) {
    b.rings(4, 3);
    slow(b);
    b.enable(true);
    while (b.jobs.size() < 16) KF_NEED(b.post(b.job()), "room");
    b.ring_doorbell();
    b.run(b.below(800));
    b.reset();
    for (const auto& r : kRegisters)
      if (r.reset_known && !r.changes) KF_NEED(b.read(r.offset) == r.reset, std::string("after a reset: ") + r.name);
    b.run(40);
    KF_NEED(shell_memory_clear(b), "buffers are overwritten after reset");
  }
  b.rings(4, 3);
  b.enable(true);
  post_all(b, 40);
  b.finish();
  b.check_counters();
}

void mixture(Bench& b, unsigned rounds) {
  std::uint64_t total = 0, aborts = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    b.enable(false);
    b.rings(b.below(7), b.below(7));
    slow(b);
    b.errors = b.below(2) != 0 ? Errors{} : Errors{b.below(40), b.below(40), b.below(20)};
    b.poll_memory = b.errors.write == 0 && b.below(2) != 0;
    b.events = b.below(3) == 0 ? b.below(64) : 0;
    b.engine_room = 1 + b.below(100);
    b.write(kRegIrqCoalesce, static_cast<std::uint32_t>(b.word64()) & 0x0003000F);
    b.write(kRegIrqEnable, b.below(8));
    b.enable(true);
    const unsigned n = 50 + b.below(150);
    const std::uint64_t limit = b.cycle() + 1000000;
    for (unsigned i = 0; i < n;) {
      KF_NEED(b.cycle() < limit, "cycle limit");
      switch (b.below(40)) {
        case 0:
          b.enable(false);
          b.run(b.below(300));
          b.enable(true);
          break;
        case 1:
          b.engine_stalled = false;
          b.write(kRegControl, kControlAbort.mask());
          wait_abort(b);
          b.enable(true);
          ++aborts;
          break;
        case 2:
          if (b.below(3) == 0) {
            b.engine_stalled = false;
            b.write(kRegControl, kControlZeroise.mask());
            wait_abort(b);
            b.enable(true);
            ++aborts;
          }
          break;
        case 3:
          b.write(kRegIrqStatus, b.below(8));
          break;
        case 4:
          slow(b);
          break;
        case 5:
          b.run(b.below(1500));
          break;
        case 6:
          b.engine_stalled = b.below(2) != 0;
          break;
        case 7:
          b.write(kRegSqTail, static_cast<std::uint32_t>(b.word64()) | 0x10000);
          break;
        case 8:
          b.read(kRegStatus);
          break;
        case 9:
          b.engine_stalled = false;
          break;
        default:
          for (unsigned k = 1 + b.below(6); k != 0; --k) {
            const bool wrong = b.below(16) == 0;
            Descriptor d = b.job();
            if (wrong)
              reinterpret_cast<std::uint8_t*>(&d)[16 + b.below(16)] |= static_cast<std::uint8_t>(1U << b.below(8));
            i += b.post(d, wrong);
          }
          b.ring_doorbell();
          b.engine_stalled = b.engine_stalled && b.below(4) != 0;
          b.consume(b.below(9));
      }
    }
    b.engine_stalled = false;
    b.ring_doorbell();
    b.finish();
    total += b.jobs.size();
    b.check_counters();
  }
  std::printf("    %llu jobs, %llu aborts and zeroisations, %llu cycles\n", static_cast<unsigned long long>(total),
              static_cast<unsigned long long>(aborts), static_cast<unsigned long long>(b.cycle()));
}

// All of that while one copy after the other changes of what is there three times: nobody sees anything.
void flips(Bench& b, unsigned rounds) {
  for (b.flipped_copy = 0; b.flipped_copy < 3; ++b.flipped_copy) {
    b.flips = 64;
    mixture(b, 1 + rounds / 6);
    b.flips = 0;
    b.run(10);
  }
  std::printf("    %llu flips\n", static_cast<unsigned long long>(b.flips_done));
}

int all(int argc, char** argv) {
  std::uint64_t seed = std::random_device{}();
  std::string only;
  unsigned rounds = 60;
  try {
    for (rtl::Arguments a(argc, argv); a.next();) {
      if (a.is("--seed"))
        seed = a.number<std::uint64_t>();
      else if (a.is("--only"))
        only = a.text();
      else if (a.is("--rounds"))
        rounds = a.number(1U);
      else
        a.unknown();
    }
  } catch (const std::exception& x) {
    std::fprintf(stderr, "test_shell: %s\nusage: test_shell [--seed N] [--only NAME] [--rounds N]\n", x.what());
    return 2;
  }
  const std::pair<std::string_view, std::function<void(Bench&)>> tests[] = {
      {"registers", registers},
      {"table", table},
      {"one_job", one_job},
      {"wrap", wrap},
      {"large_ring", large_ring},
      {"full_and_empty", full_and_empty},
      {"doorbells", doorbells},
      {"completion_ring_full", completion_ring_full},
      {"bad_descriptors", bad_descriptors},
      {"changed_beats", changed_beats},
      {"buffer_pointers", buffer_pointers},
      {"bus_errors", bus_errors},
      {"abort", abort_order},
      {"zeroise", zeroise},
      {"zeroise_alone", zeroise_alone},
      {"disable", disable},
      {"wrong_rings", wrong_rings},
      {"interrupts", interrupts},
      {"reset_in_flight", reset_in_flight},
      {"mixture", [rounds](Bench& b) { mixture(b, rounds); }},
      {"flips", [rounds](Bench& b) { flips(b, rounds); }}};
  const auto known = [&](const auto& t) { return t.first == only; };
  if (!only.empty() && std::none_of(std::begin(tests), std::end(tests), known)) {
    std::fprintf(stderr, "test_shell: --only '%s': no such test. There are:", only.c_str());
    for (const auto& t : tests) std::fprintf(stderr, " %.*s", static_cast<int>(t.first.size()), t.first.data());
    std::fputc('\n', stderr);
    return 2;
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  unsigned done = 0, failed = 0;
  for (const auto& [name, test] : tests) {
    if (!only.empty() && only != name) continue;
    Bench b(seed);
    ++done;
    try {
      test(b);
      std::printf("ok     %.*s\n", static_cast<int>(name.size()), name.data());
    } catch (const Failure& e) {
      ++failed;
      std::printf("FAILED %.*s in cycle %llu: %s\n", static_cast<int>(name.size()), name.data(),
                  static_cast<unsigned long long>(b.cycle()), e.what());
    }
  }
  std::printf("%u tests, %u failed, seed %llu\n", done, failed, static_cast<unsigned long long>(seed));
  return done == 0 || failed != 0 ? 1 : 0;
}

}  // namespace
}  // namespace kf::ecc::test

int main(int argc, char** argv) { return kf::ecc::test::all(argc, argv); }
