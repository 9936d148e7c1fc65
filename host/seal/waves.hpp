// Which segments are worked on next: many downloads cut into waves that stay in the second-level cache between their
// encryption and their MAC. Shared by the engines that work on lanes; inside of host/seal.
//
// A lane is the MAC chain of one download, then of the next one. In a wave each lane gets a few segments in order;
// their encryption needs no order at all. Nothing here computes: the planner writes the header, the tail and the
// padding of each TLV, where the engine encrypts them in place.
#pragma once

#include "host/seal/engine.hpp"

namespace kf::seal {

inline constexpr std::size_t kSchedule = 15 * 16;  // round keys of AES-256

// A download under way. Lives in the planner's memory, which is wiped.
struct Work {
  SealJob* job = nullptr;
  std::size_t next = 0, count = 0;  // segments
  std::uint8_t* at = nullptr;       // the next TLV
  unsigned enc_rounds = 0, mac_rounds = 0;
  alignas(16) std::uint8_t enc[kSchedule], mac[kSchedule], k1[16], k2[16];
};

struct Segment {
  Work* work = nullptr;
  std::size_t index = 0;
  const std::uint8_t* plain = nullptr;
  std::size_t plain_size = 0;
  std::uint8_t* tlv = nullptr;
  std::size_t head = 0;   // octets of tag and length
  std::size_t whole = 0;  // whole blocks in `plain`; one more of tail and padding follows
  std::uint64_t counter = 0;
  [[nodiscard]] std::uint8_t* cipher() const { return tlv + head; }
  [[nodiscard]] std::size_t cipher_size() const { return (whole + 1) * 16; }
};

// What has been used is wiped when a batch ends.
class Waves {
 public:
  // `segments`: of one wave, all lanes together; a lane never gets more than `most` of them.
  Waves(unsigned lanes, std::size_t segments, std::size_t most);
  ~Waves() { finish(); }
  Waves(const Waves&) = delete;
  Waves& operator=(const Waves&) = delete;

  void start(std::span<SealJob* const> jobs);  // they outlive the batch
  bool next();                                 // plans the next wave; false: all is done
  void finish();

  [[nodiscard]] unsigned lanes() const { return used_; }    // of this wave: lanes 0 .. lanes() - 1 have segments
  [[nodiscard]] std::size_t rows() const { return rows_; }  // segments of the longest lane
  [[nodiscard]] std::span<const Segment> lane(unsigned l) const { return {&segments_[l * quota_], filled_[l]}; }
  [[nodiscard]] std::span<Work* const> fresh() const { return fresh_; }  // begun in this wave: keys are to be set

 private:
  static constexpr std::size_t kJobs = 4;  // that one lane begins in one wave, at most
  Work* take();
  void fill(unsigned lane);

  unsigned lanes_, used_ = 0;
  std::size_t budget_, most_, quota_ = 0, rows_ = 0;
  std::vector<Segment> segments_;  // quota_ for each lane
  std::vector<std::size_t> filled_;
  std::vector<Work*> current_;  // by lane: has segments left
  std::vector<Work> memory_;
  std::vector<Work*> free_, fresh_, busy_;
  std::span<SealJob* const> queue_;
  std::size_t most_used_ = 0;  // of memory_: what is to be wiped
};

}  // namespace kf::seal
