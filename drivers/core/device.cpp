#include "drivers/core/device.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "drivers/ecc/comb_table.hpp"
#include "host/base/random.hpp"
#include "host/base/secret.hpp"

namespace kf::ecc {
namespace {

constexpr std::uint32_t kKnownCap0 = kCap0Contexts.mask() | kCap0Ii.mask() | kCap0Log2KeySlots.mask() |
                                     kCap0Curves.mask() | kCap0TestImport.mask() | kCap0Operations.mask();
constexpr std::uint32_t kKnownCap1 = kCap1MaxLog2Ring.mask() | kCap1Log2Table.mask() | kCap1FetchAhead.mask();
constexpr std::uint32_t kBothCurves =
    1U << static_cast<unsigned>(CurveNumber::p256) | 1U << static_cast<unsigned>(CurveNumber::brainpoolp256r1);
constexpr std::uint32_t kNeeded =
    1U << static_cast<unsigned>(Opcode::generate) | 1U << static_cast<unsigned>(Opcode::ecka) |
    1U << static_cast<unsigned>(Opcode::sign) | 1U << static_cast<unsigned>(Opcode::verify) |
    1U << static_cast<unsigned>(Opcode::check) | 1U << static_cast<unsigned>(Opcode::erase);
constexpr std::size_t kDescriptorRead = offsetof(Descriptor, not_read);  // the core reads no further
constexpr std::uint64_t kLow32 = 0xFFFF'FFFF;

std::string hex(std::uint32_t v) {
  char text[16];
  std::snprintf(text, sizeof text, "%08X", v);
  return text;
}

// The words with status and phase bit of a completion: what the core writes last.
std::uint64_t load_last(const Completion& c) {
  auto* word = reinterpret_cast<std::uint64_t*>(const_cast<std::uint8_t*>(&c.status));
  return std::atomic_ref<std::uint64_t>(*word).load(std::memory_order_acquire);
}
void store_last(Completion& c, std::uint64_t value) {
  std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(&c.status)).store(value, std::memory_order_relaxed);
}

template <std::size_t N>
bool blank(const std::uint8_t (&field)[N]) {
  std::uint8_t any = 0;
  for (const std::uint8_t b : field) any |= b;
  return any == 0;
}

// The statuses a completion may carry. They are four bits apart, so a damaged one is none.
bool known(JobStatus s) {
  switch (s) {
    case JobStatus::ok:
    case JobStatus::off_curve:
    case JobStatus::exception:
    case JobStatus::entropy:
    case JobStatus::bad_signature:
    case JobStatus::fault:
    case JobStatus::range:
    case JobStatus::key:
    case JobStatus::descriptor:
    case JobStatus::aborted:
    case JobStatus::self_test:
      return true;
    case JobStatus::not_finished:
      return false;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<Device>> Device::open(std::unique_ptr<Transport> transport, const DeviceOptions& options) {
  if (options.interrupt_age == 0)
    return Error{"bad-option", "interrupt_age 0: the last completions would not be reported"};
  std::unique_ptr<Device> d(new Device(std::move(transport), options));
  KF_CHECK(d->transport_->alive());
  KF_CHECK(d->probe());
  KF_CHECK(d->start());
  return d;
}

Device::~Device() {
  if (sq_ == nullptr) return;
  if (state_.ok()) {
    options_.stop_limit = std::min(options_.stop_limit, std::chrono::milliseconds(2000));
    if (in_flight() != 0)
      static_cast<void>(give_up(kControlAbort.put(1)));
    else
      transport_->write(kRegControl, 0);
  }
  wipe(sq_, sizeof(Descriptor) << options_.sq_log2);
  wipe(cq_, sizeof(Completion) << options_.cq_log2);
}

Status Device::probe() {
  const std::uint32_t id = transport_->read(kRegId);
  const std::uint32_t version = transport_->read(kRegVersion);
  const std::uint32_t cap0 = transport_->read(kRegCap0);
  const std::uint32_t cap1 = transport_->read(kRegCap1);
  KF_CHECK(transport_->alive());
  if (id == kAllOnes && version == kAllOnes) return Error{"device-gone", "every register reads as all ones"};
  const std::string words =
      " (ID " + hex(id) + ", VERSION " + hex(version) + ", CAP0 " + hex(cap0) + ", CAP1 " + hex(cap1) + ")";
  if (id != kIdWord) return Error{"not-a-core", "the identification is not that of this core" + words};
  if (kVersionMajor.get(version) != kVersionMajor.get(kVersionWord))
    return Error{"unknown-core", "another major version of the register map" + words};
  if (kVersionMinor.get(version) < kVersionMinor.get(kVersionWord))
    return Error{"unknown-core", "an older register map, with other numbers for the statuses" + words};

  const auto unknown = [&](const char* what) -> Status { return Error{"unknown-core", what + words}; };
  // A later minor version may add capabilities that need not be used; in ours every bit has its meaning.
  const bool ours = kVersionMinor.get(version) <= kVersionMinor.get(kVersionWord);
  if (ours && ((cap0 & ~kKnownCap0) != 0 || (cap1 & ~kKnownCap1) != 0))
    return unknown("a capability bit without a meaning");
  if (ours && (kCap0Curves.get(cap0) & ~kBothCurves) != 0) return unknown("a curve without a name");
  if ((kCap0Curves.get(cap0) & kBothCurves) != kBothCurves) return unknown("a curve is missing");
  if ((kCap0Operations.get(cap0) & kNeeded) != kNeeded) return unknown("an operation is missing");
  Capabilities c;
  c.version = version;
  c.build = transport_->read(kRegBuild);
  c.contexts = kCap0Contexts.get(cap0);
  c.ii = kCap0Ii.get(cap0);
  const unsigned slots_log2 = kCap0Log2KeySlots.get(cap0);
  c.max_log2_ring = kCap1MaxLog2Ring.get(cap1);
  c.test_build = kCap0TestImport.get(cap0) != 0;
  if (c.contexts == 0) return unknown("no contexts");
  if (c.ii != 1 && c.ii != 2 && c.ii != 4) return unknown("an impossible initiation interval");
  if (slots_log2 > 16) return unknown("more key slots than a descriptor can name");
  c.key_slots = 1U << slots_log2;
  if (std::size_t{16} << kCap1Log2Table.get(cap1) != comb_table().size()) return unknown("a table of another size");
  if (c.test_build && !options_.allow_test_build)
    return Error{"test-build", "this core takes scalars from descriptors: a test build, not for use" + words};

  const std::span<std::uint8_t> dma = transport_->dma();
  if (options_.sq_log2 > c.max_log2_ring || options_.cq_log2 > c.max_log2_ring ||
      (sizeof(Descriptor) << options_.sq_log2) + (sizeof(Completion) << options_.cq_log2) > dma.size())
    return Error{"bad-option", "rings of 2^" + std::to_string(options_.sq_log2) + " and 2^" +
                                   std::to_string(options_.cq_log2) + " entries: too large for the core or its memory"};
  if (reinterpret_cast<std::uintptr_t>(dma.data()) % 64 != 0 || transport_->dma_base() % 256 != 0)
    return Error{"bad-option", "the memory must be aligned to 64 bytes, its address on the bus to 256"};
  capabilities_ = c;
  sq_ = reinterpret_cast<Descriptor*>(dma.data());
  cq_ = reinterpret_cast<Completion*>(dma.data() + (sizeof(Descriptor) << options_.sq_log2));
  due_.assign(std::size_t{1} << options_.sq_log2, Due{});
  limit_ = 1U << std::min(options_.sq_log2, options_.cq_log2);
  return {};
}

Status Device::start() {
  KF_TRY(std::uint32_t status, status_word());
  const bool running = kStatusTableLocked.get(status) != 0;
  if (!running) {
    transport_->write(kRegTableAddr, 0);
    for (const std::uint32_t word : comb_table()) transport_->write(kRegTableData, word);
    transport_->write(kRegControl, kControlLockTable.put(1));
  }
  const auto end = std::chrono::steady_clock::now() + options_.start_limit;
  for (;;) {
    auto s = status_word();
    if (!s) return std::move(s).error();
    status = *s;
    if (kStatusEntropyAlarm.get(status) != 0) return Error{"entropy", "the core stands at alarm: " + entropy_alarm()};
    if (kStatusSelftestPassed.get(status) != 0) break;
    if (kStatusSelftestFailed.get(status) != 0) return Error{"self-test", "the core's known answers were wrong"};
    if (std::chrono::steady_clock::now() > end) return Error{"self-test", "the core's self-test does not end"};
    transport_->pause();
  }
  if (running) KF_CHECK(erase_all());  // keys of whoever had it before
  transport_->write(kRegStatus, kStatusErrors);
  transport_->write(kRegBatchTimeout, options_.batch_timeout);
  const unsigned completions =
      options_.interrupt_completions != 0 ? options_.interrupt_completions : capabilities_.contexts;
  transport_->write(kRegIrqCoalesce,
                    kIrqCoalesceCompletions.put(completions) | kIrqCoalesceTimeout.put(options_.interrupt_age));
  const bool interrupts = transport_->interrupt_fd() >= 0;
  transport_->write(kRegIrqEnable,
                    interrupts ? kIrqEnableCompletion.mask() | kIrqEnableError.mask() | kIrqEnableEntropy.mask() : 0);
  if (interrupts) transport_->rearm_interrupt();
  return reset_rings();
}

Result<std::uint32_t> Device::status_word() {
  const std::uint32_t status = transport_->read(kRegStatus);
  if (status != kAllOnes) return status;
  const Status alive = transport_->alive();
  return lose(alive.ok() ? Error{"device-gone", "every register reads as all ones"} : alive.error()).error();
}

Status Device::wait_status(Field f, bool set, std::chrono::milliseconds limit, const char* what) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    KF_TRY(const std::uint32_t status, status_word());
    if ((f.get(status) != 0) == set) return {};
    if (std::chrono::steady_clock::now() > end) return Error{"not-idle", what};
    transport_->pause();
  }
}

Status Device::lose(Error why) {
  if (state_.ok()) state_ = std::move(why);
  open_ = false;
  cut_ = true;
  owed_as_ = JobStatus::fault;
  return state_;
}

Status Device::stop_core() {
  transport_->write(kRegControl, kControlEnable.put(0));
  KF_CHECK(wait_status(kStatusAborting, false, options_.stop_limit, "the core does not end its abort"));
  return wait_status(kStatusIdle, true, options_.stop_limit, "the core does not come to rest");
}

Status Device::reset_rings() {
  if (!state_.ok()) return state_;
  if (in_flight() != 0) return Error{"in-flight", std::to_string(in_flight()) + " completions are not collected"};
  KF_CHECK(stop_core());
  const std::size_t sq_bytes = sizeof(Descriptor) << options_.sq_log2;
  wipe(sq_, sq_bytes);
  wipe(cq_, sizeof(Completion) << options_.cq_log2);
  const std::uint64_t sq_at = transport_->dma_base();
  const std::uint64_t cq_at = sq_at + sq_bytes;
  const std::array<std::pair<std::uint32_t, std::uint32_t>, 6> ring_registers{{
      {kRegSqBaseLo, static_cast<std::uint32_t>(sq_at)},
      {kRegSqBaseHi, static_cast<std::uint32_t>(sq_at >> 32)},
      {kRegSqLog2, options_.sq_log2},
      {kRegCqBaseLo, static_cast<std::uint32_t>(cq_at)},
      {kRegCqBaseHi, static_cast<std::uint32_t>(cq_at >> 32)},
      {kRegCqLog2, options_.cq_log2},
  }};
  for (const auto& [offset, value] : ring_registers) transport_->write(offset, value);
  // Before the core may use them: a bit that changed on its way there would move a ring to memory that is another's.
  for (const auto& [offset, value] : ring_registers) {
    const std::uint32_t there = transport_->read(offset);
    if (there != value)
      return lose({"ring-registers",
                   "register " + hex(offset) + " holds " + hex(there) + " where " + hex(value) + " was written"});
  }
  // Another epoch, so that nothing that an earlier one left behind can be the answer to a job of this one. Never 0: so
  // is fresh memory.
  std::uint32_t fresh = 0;
  while (fresh == 0 || fresh == epoch_ >> 32) random_fill({reinterpret_cast<std::uint8_t*>(&fresh), sizeof fresh});
  epoch_ = std::uint64_t{fresh} << 32;
  submitted_ = polled_ = 0;
  asked_ = kNothingAsked;
  early_at_ = kNothingAsked;
  overdue_ = kNothingAsked;
  cut_ = false;
  std::atomic_thread_fence(std::memory_order_release);
  transport_->write(kRegControl, kControlEnable.put(1));
  open_ = true;
  return {};
}

Status Device::restart() {
  if (in_flight() != 0) return Error{"in-flight", std::to_string(in_flight()) + " completions are not collected"};
  KF_CHECK(transport_->alive());
  state_ = {};
  Status s = probe();
  if (s.ok()) s = start();
  if (!s.ok()) return lose(s.error());
  return s;
}

std::size_t Device::submit(std::span<const Descriptor> jobs) {
  const std::size_t n = std::min(jobs.size(), room());
  if (n == 0) return 0;
  for (std::size_t i = 0; i < n; ++i, ++submitted_) {
    const Descriptor& job = jobs[i];
    Descriptor& d = sq(submitted_);
    std::memcpy(static_cast<void*>(&d), &job, kDescriptorRead);
    const bool first_lap = (submitted_ >> options_.sq_log2 & 1) == 0;
    d.flags = (job.flags & ~kDescriptorPhase) | (first_lap ? kDescriptorPhase : 0);
    d.tag = epoch_ | submitted_;
    due(submitted_) = {job.tag, job.opcode, job.curve};
  }
  std::atomic_thread_fence(std::memory_order_release);
  transport_->write(kRegSqTail, submitted_);
  counters_.submitted += n;
  ++counters_.doorbells;
  return n;
}

bool Device::there(std::uint32_t index) const {
  const bool first_lap = (index >> options_.cq_log2 & 1) == 0;
  return (load_last(cq(index)) >> 32 & kCompletionPhase) == (first_lap ? kCompletionPhase : 0);
}

// Did the core write this completion? Asked only when the ring contradicts itself, and once for each index until
// check().
bool Device::written(std::uint32_t index) {
  if (asked_ == index) return false;
  const std::uint32_t tail = transport_->read(kRegCqTail);
  if (tail != kAllOnes && static_cast<std::int32_t>(tail - index) > 0) return true;
  asked_ = index;
  return false;
}

bool Device::plausible(const Completion& c, const Due& due) const {
  const auto status = static_cast<JobStatus>(c.status);
  if (!known(status) || (c.flags & ~(kCompletionPhase | kCompletionGeneration.mask())) != 0 || !blank(c.zero) ||
      !blank(c.reserved))
    return false;
  // A key that was made has a generation, nothing else has.
  const auto op = static_cast<Opcode>(due.opcode);
  const bool made = status == JobStatus::ok && (op == Opcode::generate || op == Opcode::import);
  if ((kCompletionGeneration.get(c.flags) != 0) != made) return false;
  const bool x = !blank(c.x), y = !blank(c.y);
  if (status == JobStatus::descriptor)  // refused before the job was looked at: then the core forgets the opcode
    return !x && !y && (c.opcode == due.opcode || c.opcode == 0);
  if (c.opcode != due.opcode || c.curve != due.curve) return false;
  if (status != JobStatus::ok)
    return !x && !y && (status != JobStatus::bad_signature || due.opcode == static_cast<std::uint8_t>(Opcode::verify));
  switch (op) {
    case Opcode::generate:
      return x || y;
    case Opcode::ecka:
      return x && !y;
    case Opcode::sign:
      return x && y;
    default:
      return !x && !y;
  }
}

void Device::owe(Completion& out, JobStatus status) {
  const Due& d = due(polled_);
  out = Completion{};
  out.status = static_cast<std::uint8_t>(status);
  out.opcode = d.opcode;
  out.curve = d.curve;
  out.tag = d.tag;
}

// What was secret in the entries is overwritten. The completion keeps the phase of this lap and holds no status, so
// that it is not due in the next one, nor plausible before the core has written it anew.
void Device::consume() {
  Completion& c = cq(polled_);
  wipe(&c, offsetof(Completion, zero));
  c.tag = 0;
  c.check = 0;
  const bool first_lap = (polled_ >> options_.cq_log2 & 1) == 0;
  store_last(c, kLow32 | static_cast<std::uint64_t>(first_lap ? kCompletionPhase : 0) << 32);
  wipe(sq(polled_).v, sizeof(Descriptor::v));
  ++polled_;
  ++counters_.completed;
}

bool Device::take(Completion& out) {
  const Due& d = due(polled_);
  if (!there(polled_)) {
    if (cut_) {
      if (owed_as_ == JobStatus::fault) ++counters_.lost;
      owe(out, owed_as_);
      return true;
    }
    // The core writes in order: a later one that is there means that this one was, and was damaged. Looked at once
    // more, as both may have come just now.
    const bool overtaken = in_flight() > 1 && there(polled_ + 1) && !there(polled_);
    if ((!overtaken && overdue_ != polled_) || !written(polled_) || there(polled_)) return false;
    ++counters_.missing;
    owe(out, JobStatus::fault);
    return true;
  }
  out = cq(polled_);
  if (out.tag != (epoch_ | polled_)) {
    if (!cut_ && !written(polled_)) {
      early_at_ = polled_;
      wipe(&out, sizeof out);
      return false;
    }
    ++counters_.tags_not_due;
    owe(out, JobStatus::fault);
    return true;
  }
  if (early_at_ == polled_) ++counters_.early;
  if (const bool whole = out.check == check_word(out); !whole || !plausible(out, d)) {
    ++(whole ? counters_.implausible : counters_.damaged);
    owe(out, JobStatus::fault);
    return true;
  }
  out.tag = d.tag;
  out.flags &= kCompletionGeneration.mask();
  out.check = 0;  // it tells something of x and y
  return true;
}

std::size_t Device::poll(std::span<Completion> into) {
  if (in_flight() == 0) return 0;
  transport_->sync();
  std::size_t n = 0;
  for (; n < into.size() && in_flight() != 0; ++n) {
    if (!take(into[n])) break;
    consume();
  }
  // Once something was cut off, the core's indices and ours part until the rings are reset.
  if (n != 0 && !cut_) transport_->write(kRegCqHead, polled_);
  return n;
}

Status Device::check() {
  if (!state_.ok()) return state_;
  if (const Status alive = transport_->alive(); !alive.ok()) return lose(alive.error());
  KF_TRY(const std::uint32_t status, status_word());
  const std::uint32_t control = transport_->read(kRegControl);
  if (kStatusTableLocked.get(status) == 0 || kStatusSelftestPassed.get(status) == 0 ||
      (open_ && kControlEnable.get(control) == 0)) {
    ++counters_.resets_seen;
    return lose({"core-reset", "the core was reset (STATUS " + hex(status) + ", CONTROL " + hex(control) + ")"});
  }
  if (!open_) return {};
  const std::uint32_t tail = transport_->read(kRegSqTail);
  const std::uint32_t head = transport_->read(kRegCqHead);
  const std::uint32_t done = transport_->read(kRegCqTail);
  if (const Status alive = transport_->alive(); !alive.ok()) return lose(alive.error());
  if (tail != submitted_) {
    ++counters_.doorbells_repeated;
    transport_->write(kRegSqTail, submitted_);
  }
  if (head != polled_) {
    ++counters_.heads_repeated;
    transport_->write(kRegCqHead, polled_);
  }
  if (in_flight() != 0 && tail == submitted_ && done == polled_) ++counters_.late;
  asked_ = kNothingAsked;
  // Written, in memory and still not there: poll() may give it up, also as the last one in flight.
  overdue_ = in_flight() != 0 && static_cast<std::int32_t>(done - polled_) > 0 ? polled_ : kNothingAsked;
  return {};
}

void Device::rearm_interrupt() {
  ++counters_.interrupts;
  transport_->rearm_interrupt();
}

// Until nothing is left of what it stops or erases.
Status Device::carry_out(std::uint32_t order) {
  transport_->write(kRegControl, order);
  KF_CHECK(wait_status(kStatusAborting, false, options_.stop_limit, "the core does not end its abort"));
  KF_CHECK(wait_status(kStatusIdle, true, options_.stop_limit, "the core does not come to rest"));
  if (order != kControlZeroise.put(1)) return {};
  return wait_status(kStatusWiped, true, options_.stop_limit, "the core does not end its zeroisation");
}

// The order is given twice. On its way into the core it passes flops of one copy: a bit that changes there would lose
// it without a trace, since a core that got no order says that it is at rest and wiped.
Status Device::erase_all() {
  KF_CHECK(carry_out(kControlZeroise.put(1)));
  return carry_out(kControlZeroise.put(1));
}

Status Device::give_up(std::uint32_t order) {
  if (!state_.ok()) return state_;
  open_ = false;
  const Status s = order == kControlZeroise.put(1) ? erase_all() : carry_out(order);
  if (!s.ok()) return lose(s.error());
  cut_ = true;
  owed_as_ = JobStatus::aborted;
  return {};
}

Status Device::abort() { return give_up(kControlAbort.put(1)); }
Status Device::zeroise() { return give_up(kControlZeroise.put(1)); }

std::uint64_t Device::counter(std::uint32_t offset) {
  const std::uint64_t low = transport_->read(offset);
  return low | static_cast<std::uint64_t>(transport_->read(offset + 4)) << 32;
}

std::uint32_t Device::errors() {
  const std::uint32_t status = transport_->read(kRegStatus);
  if (status == kAllOnes) return 0;
  const std::uint32_t errors = status & kStatusErrors;
  if (errors != 0) transport_->write(kRegStatus, errors);
  return errors;
}

std::string Device::entropy_alarm() {
  static constexpr std::array<std::pair<Field, std::string_view>, 6> kNames{
      {{kEntropyRepetition, "the noise source repeats one sample (repetition count)"},
       {kEntropyProportion, "the noise source gives one sample too often (adaptive proportion)"},
       {kEntropyBlock, "a block of the noise source or the generator came twice"},
       {kEntropyStarved, "no sample comes from the noise source"},
       {kEntropyKnownAnswer, "the generator's known answer was wrong"},
       {kEntropyFault, "a check inside the generator failed"}}};
  const std::uint32_t word = transport_->read(kRegEntropy);
  std::string all;
  if (word == kAllOnes) return all;
  for (const auto& [field, name] : kNames) {
    if (field.get(word) == 0) continue;
    if (!all.empty()) all += "; ";
    all += name;
  }
  return all;
}

}  // namespace kf::ecc
