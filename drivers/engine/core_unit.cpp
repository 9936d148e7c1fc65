#include "drivers/engine/core_unit.hpp"

#include <algorithm>
#include <utility>

#include "drivers/core/known_answers.hpp"

namespace kf::ecc {
namespace {
CurveNumber number_of(std::size_t curve) { return curve == 0 ? CurveNumber::p256 : CurveNumber::brainpoolp256r1; }

void put(std::uint8_t (&v)[32], const std::uint8_t* big_endian) { std::reverse_copy(big_endian, big_endian + 32, v); }
void take(const std::uint8_t (&v)[32], std::uint8_t* big_endian) { std::reverse_copy(v, v + 32, big_endian); }

}  // namespace

std::size_t curve_index(Curve c) { return c == Curve::p256 ? 0 : c == Curve::brainpool_p256r1 ? 1 : kNoCurve; }

CoreUnit::CoreUnit(std::unique_ptr<Device> device, unsigned keys_ahead)
    : device_(std::move(device)), where_(device_->transport().name()), keys_ahead_(keys_ahead) {
  const unsigned slots = device_->key_slots();
  for (unsigned s = slots; s != 0; --s) free_slots_.push_back(static_cast<std::uint16_t>(s - 1));
}
CoreUnit::~CoreUnit() = default;

std::size_t CoreUnit::send(JobKind kind) {
  if (descriptors_.empty()) return 0;
  for (auto& d : descriptors_) d.tag = next_tag_++;
  const std::size_t n = device_->submit(descriptors_);
  next_tag_ -= descriptors_.size() - n;
  if (n == 0) return 0;
  const auto now = EngineClock::now();
  if (jobs_.empty()) last_answer_ = now;
  batches_.push_back({kind, n, now});
  ++counts_.batches;
  return n;
}
Descriptor& CoreUnit::describe(Opcode op, std::size_t curve, std::uint16_t slot) {
  Descriptor& d = descriptors_.emplace_back();
  d.opcode = static_cast<std::uint8_t>(op);
  d.curve = static_cast<std::uint8_t>(number_of(curve));
  d.key_slot = slot;
  return d;
}

void CoreUnit::describe_verify(std::size_t curve, const Point& q, const Digest32& e, const Signature& s) {
  Descriptor& d = describe(Opcode::verify, curve, 0);
  put(d.v[0], q.data() + 1);
  put(d.v[1], q.data() + 33);
  put(d.v[2], e.data());
  put(d.v[3], s.data());
  put(d.v[4], s.data() + 32);
}
void CoreUnit::describe_known_answers(std::size_t curve) {
  const KnownSignature& k = known_signature(number_of(curve));
  describe_verify(curve, k.q, k.e, k.s);
  describe_verify(curve, k.q, k.e, k.wrong);
}
void CoreUnit::enter_known_answers(std::size_t curve, std::size_t sent) {
  if (sent > 0) jobs_.push_back({JobKind::known_answer, static_cast<std::uint8_t>(curve), {}, {}});
  if (sent > 1) jobs_.push_back({JobKind::known_refusal, static_cast<std::uint8_t>(curve), {}, {}});
}

std::size_t CoreUnit::agree(std::size_t curve, Queue<Work>& works, std::size_t most) {
  const std::size_t n = std::min({most, works.size(), ready_[curve].size()});
  descriptors_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    Descriptor& d = describe(Opcode::ecka, curve, ready_[curve][i].slot);
    d.flags = kDescriptorGeneration.put(ready_[curve][i].generation);
    put(d.v[0], works[i].request.peer.data() + 1);
    put(d.v[1], works[i].request.peer.data() + 33);
  }
  const std::size_t sent = send(JobKind::agree);
  for (std::size_t i = 0; i < sent; ++i)
    jobs_.push_back({JobKind::agree, static_cast<std::uint8_t>(curve), ready_[curve][i], std::move(works[i])});
  ready_[curve].drop(sent);
  works.drop(sent);
  return sent;
}

std::size_t CoreUnit::verify(std::size_t curve, Queue<Work>& works, std::size_t most) {
  descriptors_.clear();
  // The first batch on a curve begins with two whose answers are known: answers come in order, so nothing is believed
  // before them.
  const std::size_t asked = verify_asked_[curve] ? 0 : 2;
  if (asked != 0) describe_known_answers(curve);
  const std::size_t n = std::min({most, works.size(), std::max<std::size_t>(contexts(), asked + 1) - asked});
  for (std::size_t i = 0; i < n; ++i) {
    const EccRequest& r = works[i].request;
    describe_verify(curve, r.peer, r.hash, r.signature);
  }
  std::size_t sent = send(JobKind::verify);
  const std::size_t known = std::min(sent, asked);
  enter_known_answers(curve, known);
  verify_asked_[curve] = known == asked;
  sent -= known;
  for (std::size_t i = 0; i < sent; ++i)
    jobs_.push_back({JobKind::verify, static_cast<std::uint8_t>(curve), {}, std::move(works[i])});
  works.drop(sent);
  return sent;
}

std::size_t CoreUnit::generate(std::size_t curve, std::size_t most) {
  const std::size_t held = ready_[curve].size() + making_[curve];
  const std::size_t n = std::min({most, free_slots_.size(), keys_ahead_ > held ? keys_ahead_ - held : 0});
  descriptors_.clear();
  for (std::size_t i = 0; i < n; ++i) describe(Opcode::generate, curve, free_slots_[free_slots_.size() - 1 - i]);
  const std::size_t sent = send(JobKind::generate);
  for (std::size_t i = 0; i < sent; ++i) {
    jobs_.push_back({JobKind::generate, static_cast<std::uint8_t>(curve), {free_slots_.back(), {}}, {}});
    free_slots_.pop_back();
  }
  making_[curve] += sent;
  return sent;
}

void CoreUnit::known_answer() {
  next_known_ = (next_known_ + 1) % kUnitCurves;
  descriptors_.clear();
  describe_known_answers(next_known_);
  enter_known_answers(next_known_, send(JobKind::known_answer));
}

std::size_t CoreUnit::erase(std::size_t most) {
  const std::size_t n = std::min(most, doubtful_.size());
  descriptors_.clear();
  for (std::size_t i = 0; i < n; ++i) describe(Opcode::erase, 0, doubtful_[doubtful_.size() - 1 - i]);
  const std::size_t sent = send(JobKind::erase);
  for (std::size_t i = 0; i < sent; ++i) {
    jobs_.push_back({JobKind::erase, 0, {doubtful_.back(), {}}, {}});
    doubtful_.pop_back();
  }
  return sent;
}

bool CoreUnit::look() {
  CoreHardware h;
  const std::array<std::pair<std::uint32_t, std::uint64_t*>, 7> all{{{kCountCycles, &h.cycles},
                                                                     {kCountBusyCycles, &h.busy_cycles},
                                                                     {kCountBadDescriptors, &h.bad_descriptors},
                                                                     {kCountAxiErrors, &h.axi_errors},
                                                                     {kCountParityFaults, &h.parity_faults},
                                                                     {kCountCycleGateFaults, &h.cycle_gate_faults},
                                                                     {kCountEntropyFailures, &h.entropy_failures}}};
  for (const auto& [offset, value] : all) {
    *value = device_->counter(offset);
    if (*value == ~std::uint64_t{0}) return false;  // gone: check() finds out why
  }
  const auto faults = [](const CoreHardware& c) {
    return c.bad_descriptors + c.axi_errors + c.parity_faults + c.cycle_gate_faults + c.entropy_failures;
  };
  const bool worse = faults(h) > faults(hardware_);
  hardware_ = h;
  return worse;
}

double CoreUnit::progress(EngineClock::time_point now) const {
  if (batches_.empty()) return 1;
  const double usual = took_[static_cast<std::size_t>(batches_.front().kind)];
  if (usual <= 0) return 0;
  return std::chrono::duration<double>(now - batches_.front().begun).count() / usual;
}

EngineClock::time_point CoreUnit::when(double progress) const {
  if (batches_.empty()) return EngineClock::time_point::min();
  const double usual = took_[static_cast<std::size_t>(batches_.front().kind)];
  if (usual <= 0) return EngineClock::time_point::max();
  return batches_.front().begun +
         std::chrono::duration_cast<EngineClock::duration>(std::chrono::duration<double>(progress * usual));
}

CoreView CoreUnit::view(EngineClock::time_point now) const {
  CoreView v;
  v.contexts = contexts();
  v.batches = batches_.size();
  v.progress = progress(now);
  v.has_doubtful_slots = !doubtful_.empty();
  for (std::size_t c = 0; c < kUnitCurves; ++c) {
    v.keys_ready[c] = ready_[c].size();
    v.keys_coming[c] = making_[c];
  }
  v.late_enough = when(kLateEnough);
  v.silent = interrupt_fd() < 0 && in_flight() != 0;
  return v;
}

Status CoreUnit::answer(Job& job, const Completion& c, std::vector<UnitAnswer>& into) {
  const auto status = static_cast<JobStatus>(c.status);
  if (status == JobStatus::fault) ++counts_.faults;
  if (status == JobStatus::exception) ++counts_.exceptions;
  if (status == JobStatus::self_test || status == JobStatus::descriptor || status == JobStatus::entropy) {
    const std::string alarm = device_->entropy_alarm();
    return Error{"core-lost", "the core answered with status " + std::to_string(c.status) +
                                  (alarm.empty() ? std::string() : ", at alarm: " + alarm)};
  }
  UnitAnswer a{UnitAnswer::What::again, std::move(job.work), {}};
  a.completion.id = a.work.request.id;
  a.completion.op = a.work.request.op;
  switch (job.kind) {
    case JobKind::generate:
      --making_[job.curve];
      if (status != JobStatus::ok) {
        doubtful_.push_back(job.key.slot);
        return {};
      }
      job.key.q[0] = 4;
      job.key.generation = static_cast<std::uint8_t>(kCompletionGeneration.get(c.flags));
      take(c.x, job.key.q.data() + 1);
      take(c.y, job.key.q.data() + 33);
      ready_[job.curve].push_back(job.key);
      ++counts_.generated;
      return {};
    case JobKind::agree:
      // Erased by the agreement, unless the core never saw it.
      (status == JobStatus::fault ? doubtful_ : free_slots_).push_back(job.key.slot);
      if (status == JobStatus::key) return Error{"core-lost", "the core does not know a key it has made"};
      if (status == JobStatus::ok) {
        a.what = UnitAnswer::What::done;
        a.completion.status = EccStatus::ok;
        a.completion.epk = job.key.q;
        take(c.x, a.completion.shs.expose_mut().data());
        ++counts_.agreed;
      } else if (status == JobStatus::off_curve || status == JobStatus::range) {
        a.what = UnitAnswer::What::done;
        a.completion.status = EccStatus::bad_input;
      } else if (status == JobStatus::exception) {  // no valid input has none: not tried again
        a.what = UnitAnswer::What::done;
        a.completion.status = EccStatus::failed;
      }
      break;
    case JobKind::verify:
      a.what = UnitAnswer::What::done;
      if (status == JobStatus::ok)
        a.completion.status = EccStatus::ok;
      else if (status == JobStatus::bad_signature)
        a.completion.status = EccStatus::bad_signature;
      else if (status == JobStatus::fault || status == JobStatus::aborted)
        a.what = UnitAnswer::What::again;
      else
        a.what = UnitAnswer::What::decide_in_software;  // public data: range, off_curve, exception
      if (a.what == UnitAnswer::What::done) ++counts_.verified;
      break;
    case JobKind::erase:
      if (!worn_.worn(job.key.slot, status))
        (status == JobStatus::ok ? free_slots_ : doubtful_).push_back(job.key.slot);
      return {};
    case JobKind::known_answer:
    case JobKind::known_refusal:
      if (status != (job.kind == JobKind::known_answer ? JobStatus::ok : JobStatus::bad_signature))
        return Error{"core-lost", "a known answer was wrong: status " + std::to_string(c.status)};
      ++counts_.known_answers;
      return {};
  }
  into.push_back(std::move(a));
  return {};
}

Status CoreUnit::poll(std::vector<UnitAnswer>& into) {
  KF_CHECK(state_);
  KF_CHECK(device_->state());
  std::array<Completion, 64> answers;
  for (;;) {
    const std::size_t n = device_->poll(answers);
    if (n == 0) break;
    const auto now = EngineClock::now();
    last_answer_ = now;
    Status bad;
    for (std::size_t i = 0; i < n && bad.ok(); ++i) {
      const Completion& c = answers[i];
      if (jobs_.empty() || c.tag != oldest_tag_) {
        bad = Error{"core-lost", "the core answered a job that is not due"};
        break;
      }
      ++oldest_tag_;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      Batch& b = batches_.front();
      if (--b.left == 0) {
        double& usual = took_[static_cast<std::size_t>(b.kind)];
        const double took = std::chrono::duration<double>(now - b.begun).count();
        usual = usual == 0 ? took : 0.75 * usual + 0.25 * took;
        batches_.pop_front();
        if (!batches_.empty()) batches_.front().begun = now;
      }
      bad = answer(job, c, into);
      if (!bad.ok() && (job.kind == JobKind::agree || job.kind == JobKind::verify))
        into.push_back({UnitAnswer::What::again, std::move(job.work), {}});
    }
    wipe(answers.data(), sizeof answers);
    if (!bad.ok()) return state_ = bad;
  }
  return {};
}

std::vector<Work> CoreUnit::give_up() {
  std::vector<Work> out;
  for (Job& j : jobs_) {
    if (j.kind == JobKind::agree || j.kind == JobKind::verify) out.push_back(std::move(j.work));
  }
  jobs_.clear();
  batches_.clear();
  return out;
}

}  // namespace kf::ecc
