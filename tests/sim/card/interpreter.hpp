// The Profile Package Interpreter: walks a DER profile package as it arrives, in pieces cut anywhere, with bounded
// memory. docs/spec/interfaces.md 7. Checks: header first and once, known ProfileElement tags, every PE's own header
// with its identification, DER nesting and lengths down to the last primitive, PE-End last with nothing behind it. Does
// not install anything: file systems and keys inside the PEs are not interpreted. Not thread-safe.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "host/base/bytes.hpp"

namespace kf::sim::card {

struct PeStatusEntry {
  std::uint32_t status = 0;  // docs/spec/interfaces.md 7.4
  Bytes identification;      // value octets of the PE's 81; empty when unknown (header, framing errors)
};

struct PackageHeader {
  std::string iccid;                // digits, the pad nibble F removed
  std::optional<std::uint8_t> pol;  // first octet of POL1
};

class Interpreter {
 public:
  enum class Outcome { more, done, aborted };
  struct Injected {
    std::uint32_t status = 0;
    bool aborts = true;
  };
  // Asked once per complete PE with its index (0 = header): a status to report instead of acceptance.
  using Inject = std::function<std::optional<Injected>(unsigned index)>;

  // quota: bytes granted to the profile; exceeding it is status 4.
  explicit Interpreter(std::uint32_t quota) : quota_(quota) {}

  // After done or aborted nothing more may be fed.
  Outcome feed(ByteView plaintext, const Inject& inject);

  [[nodiscard]] const std::optional<PackageHeader>& header() const { return header_; }  // once PE 0 was accepted
  [[nodiscard]] unsigned elements() const { return elements_; }                         // complete PEs
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] const std::vector<PeStatusEntry>& statuses() const { return statuses_; }
  [[nodiscard]] Bytes euicc_response() const;  // valid after done or aborted

 private:
  struct Frame {
    std::uint32_t remaining = 0;  // bytes of the value not yet claimed by children
    std::uint32_t children = 0;
    std::uint16_t tag = 0;
  };
  enum class Verdict { incomplete, complete, bad };

  Verdict take_header_byte(std::uint8_t b);
  void open_tlv();  // head_ holds a complete tag and length
  void close_finished(const Inject& inject);
  void primitive_complete();
  void element_complete(const Inject& inject);
  void fail(std::uint32_t status);  // reports and aborts
  void header_field();
  void finish_header();
  [[nodiscard]] bool in_pe_header() const;

  static constexpr std::size_t kDepth = 24;
  std::array<Frame, kDepth> stack_{};
  std::size_t depth_ = 0;
  std::array<std::uint8_t, 6> head_{};
  std::size_t head_size_ = 0;
  std::uint16_t tag_ = 0;
  std::uint32_t length_ = 0;
  bool in_primitive_ = false;
  std::uint32_t primitive_left_ = 0;
  std::array<std::uint8_t, 16> capture_{};  // start of the current primitive's value
  std::size_t captured_ = 0;

  Bytes identification_;  // of the current PE
  bool mandated_ = false, supported_ = true, has_pe_header_ = false;
  std::uint16_t last_field_ = 0;     // of the ProfileHeader
  unsigned header_fields_ = 0;       // bits by tag number
  std::uint32_t header_status_ = 0;  // first thing wrong with the ProfileHeader's values
  PackageHeader candidate_;

  std::optional<PackageHeader> header_;
  std::vector<PeStatusEntry> statuses_;
  unsigned elements_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint32_t quota_ = 0;
  Outcome outcome_ = Outcome::more;
};

}  // namespace kf::sim::card
