#include "tests/sim/card/interpreter.hpp"

#include <algorithm>

#include "tests/sim/card/walker.hpp"

namespace kf::sim::card {
namespace {

// Status values of the EUICCResponse (docs/spec/interfaces.md 7.4).
enum : std::uint32_t {
  kPeNotSupported = 1,
  kBadValues = 3,
  kNotEnoughMemory = 4,
  kInvalidFormat = 5,
  kUnsupportedVersion = 31
};
constexpr std::uint16_t kHeader = 0xA0, kEnd = 0xAA;
constexpr std::size_t kMaxStatuses = 64;

bool context_constructed(std::uint16_t tag) {
  const unsigned first = tag > 0xFF ? tag >> 8 : tag;
  return (first & 0xE0) == 0xA0;
}
bool known_element(std::uint16_t tag) {
  return (tag >= 0xA0 && tag <= 0xAA) || (tag >= 0xB0 && tag <= 0xBE) || (tag >= 0xBF1F && tag <= 0xBF21);
}

void put_integer(Bytes& out, std::uint8_t tag, std::uint32_t v) {
  Bytes be{static_cast<std::uint8_t>(v >> 24), static_cast<std::uint8_t>(v >> 16 & 0xFF),
           static_cast<std::uint8_t>(v >> 8 & 0xFF), static_cast<std::uint8_t>(v & 0xFF)};
  std::size_t skip = 0;
  while (skip < 3 && be[skip] == 0 && be[skip + 1] < 0x80) ++skip;
  if (be[0] >= 0x80) be.insert(be.begin(), std::uint8_t{0});  // DER INTEGERs are signed
  put_tlv(out, tag, ByteView(be).subspan(skip));
}

}  // namespace

void Interpreter::fail(std::uint32_t status) {
  statuses_.push_back({status, identification_});
  outcome_ = Outcome::aborted;
}

// Tag of one or two bytes, DER length of up to three further bytes.
Interpreter::Verdict Interpreter::take_header_byte(std::uint8_t b) {
  head_[head_size_++] = b;
  std::size_t at = 1;
  std::uint16_t tag = head_[0];
  if ((head_[0] & 0x1F) == 0x1F) {
    if (head_size_ < 2) return Verdict::incomplete;
    if (head_[1] < 0x1F || head_[1] > 0x7F) return Verdict::bad;
    tag = static_cast<std::uint16_t>(head_[0] << 8 | head_[1]);
    at = 2;
  }
  if (head_size_ == at) return tag == 0 ? Verdict::bad : Verdict::incomplete;
  std::uint32_t len = head_[at];
  if (len > 0x7F) {
    const std::size_t more = len - 0x80;
    if (more < 1 || more > 3) return Verdict::bad;
    if (head_size_ < at + 1 + more) return Verdict::incomplete;
    len = 0;
    for (std::size_t i = 1; i <= more; ++i) len = len << 8 | head_[at + i];
    if (len < 0x80 || (more > 1 && len >> (8 * (more - 1)) == 0)) return Verdict::bad;
  }
  tag_ = tag;
  length_ = len;
  return Verdict::complete;
}

Interpreter::Outcome Interpreter::feed(ByteView in, const Inject& inject) {
  bytes_ += in.size();
  std::size_t at = 0;
  while (outcome_ == Outcome::more && at < in.size()) {
    if (in_primitive_) {
      const std::size_t n = std::min<std::size_t>(primitive_left_, in.size() - at);
      for (std::size_t i = 0; i < n && captured_ < capture_.size(); ++i) capture_[captured_++] = in[at + i];
      at += n;
      primitive_left_ -= static_cast<std::uint32_t>(n);
      if (primitive_left_ == 0) primitive_complete();
    } else {
      if (depth_ == 0 && head_size_ == 0) {  // a new PE
        identification_.clear();
        mandated_ = false;
        supported_ = true;
        has_pe_header_ = false;
      }
      const Verdict v = take_header_byte(in[at++]);
      // A child's tag and length must lie inside its parent too.
      const bool outside = depth_ > 0 && (head_size_ > stack_[depth_ - 1].remaining ||
                                          (v == Verdict::incomplete && head_size_ == stack_[depth_ - 1].remaining));
      if (v == Verdict::bad || outside) {
        fail(kInvalidFormat);
      } else if (v == Verdict::complete) {
        open_tlv();
        head_size_ = 0;
      }
    }
    if (outcome_ == Outcome::more && !in_primitive_ && head_size_ == 0) close_finished(inject);
  }
  if (outcome_ == Outcome::done && at < in.size()) {  // something behind PE-End
    fail(kInvalidFormat);
  } else if (outcome_ == Outcome::more && bytes_ > quota_) {
    fail(kNotEnoughMemory);
  } else if (outcome_ == Outcome::done && bytes_ > quota_) {
    fail(kNotEnoughMemory);
  }
  return outcome_;
}

void Interpreter::open_tlv() {
  const bool constructed = ((tag_ > 0xFF ? tag_ >> 8 : tag_) & 0x20) != 0;
  if (depth_ == 0) {
    if (!context_constructed(tag_) || (elements_ == 0) != (tag_ == kHeader)) return fail(kInvalidFormat);
    supported_ = known_element(tag_);
    if (elements_ == 0) {
      last_field_ = 0;
      header_fields_ = 0;
      header_status_ = 0;
      candidate_ = {};
    }
  } else {
    Frame& parent = stack_[depth_ - 1];
    const std::uint64_t whole = head_size_ + std::uint64_t{length_};
    if (whole > parent.remaining) return fail(kInvalidFormat);
    parent.remaining -= static_cast<std::uint32_t>(whole);
    ++parent.children;
    if (depth_ == 1 && stack_[0].tag == kHeader) {  // ProfileHeader: fields in order, at most once
      const auto field = static_cast<std::uint16_t>(tag_ & 0x1F);
      if (tag_ > 0xFF || (tag_ & 0xC0) != 0x80 || (last_field_ != 0 && field < last_field_))
        return fail(kInvalidFormat);
      last_field_ = static_cast<std::uint16_t>(field + 1);
      header_fields_ |= 1U << field;
    } else if (depth_ == 1 && parent.children == 1 && tag_ != 0xA0) {
      return fail(kInvalidFormat);  // every other PE begins with its PEHeader
    }
  }
  if (constructed) {
    if (depth_ == kDepth) return fail(kInvalidFormat);
    stack_[depth_++] = {length_, 0, tag_};
  } else {
    captured_ = 0;
    primitive_left_ = length_;
    in_primitive_ = true;
    if (length_ == 0) primitive_complete();
  }
}

bool Interpreter::in_pe_header() const {
  return depth_ == 2 && stack_[0].tag != kHeader && stack_[0].children == 1 && stack_[1].tag == 0xA0;
}

void Interpreter::primitive_complete() {
  in_primitive_ = false;
  if (depth_ == 1 && stack_[0].tag == kHeader) return header_field();
  if (!in_pe_header()) return;
  if (tag_ == 0x80 && length_ == 0 && !has_pe_header_ && !mandated_) {
    mandated_ = true;
  } else if (tag_ == 0x81 && length_ >= 1 && length_ <= 4 && !has_pe_header_) {
    identification_.assign(capture_.begin(), capture_.begin() + static_cast<std::ptrdiff_t>(captured_));
    has_pe_header_ = true;
  } else {
    fail(kInvalidFormat);
  }
}

void Interpreter::header_field() {
  const ByteView v(capture_.data(), captured_);
  const auto wrong = [this](std::uint32_t status) {
    if (header_status_ == 0) header_status_ = status;
  };
  switch (tag_) {
    case 0x80:
      if (length_ != 1 || v[0] < 2 || v[0] > 3) wrong(kUnsupportedVersion);
      break;
    case 0x81:
      if (length_ != 1) wrong(kUnsupportedVersion);
      break;
    case 0x83: {
      std::string digits = to_hex(v);
      while (digits.size() > 18 && digits.back() == 'F') digits.pop_back();
      const bool decimal = std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (length_ != 10 || !decimal) return wrong(kBadValues);
      candidate_.iccid = digits;
      break;
    }
    case 0x84:
      if (length_ == 0 || length_ > 4) return wrong(kBadValues);
      candidate_.pol = v[0];
      break;
    default:
      break;
  }
}

void Interpreter::close_finished(const Inject& inject) {
  while (outcome_ == Outcome::more && depth_ > 0 && stack_[depth_ - 1].remaining == 0) {
    if (in_pe_header() && !has_pe_header_) return fail(kInvalidFormat);  // no identification
    if (--depth_ == 0) element_complete(inject);
  }
}

// 80, 81, 83, A5 and A6 are not optional in a ProfileHeader.
void Interpreter::finish_header() {
  constexpr unsigned needed = 1U << 0 | 1U << 1 | 1U << 3 | 1U << 5 | 1U << 6;
  if ((header_fields_ & needed) != needed) return fail(kInvalidFormat);
  if (header_status_ != 0) fail(header_status_);
}

void Interpreter::element_complete(const Inject& inject) {
  const std::uint16_t tag = stack_[0].tag;
  if (tag == kHeader) {
    finish_header();
  } else if (!has_pe_header_) {
    fail(kInvalidFormat);
  }
  if (outcome_ != Outcome::more) return;
  if (const auto injected = inject ? inject(elements_) : std::nullopt; injected && injected->status != 0) {
    if (injected->aborts) return fail(injected->status);
    if (statuses_.size() < kMaxStatuses) statuses_.push_back({injected->status, identification_});
  } else if (!supported_) {  // SAIP: a PE the card does not know stops the installation only when mandated
    if (mandated_ || statuses_.size() >= kMaxStatuses) return fail(kPeNotSupported);
    statuses_.push_back({kPeNotSupported, identification_});
  }
  if (tag == kHeader) header_ = candidate_;
  ++elements_;
  if (tag == kEnd) outcome_ = Outcome::done;
}

Bytes Interpreter::euicc_response() const {
  Bytes list;
  const auto entry = [&list](std::uint32_t status, ByteView id) {
    Bytes e;
    put_integer(e, 0x80, status);
    if (!id.empty()) put_tlv(e, 0x81, id);
    put_tlv(list, 0x30, e);
  };
  if (statuses_.empty()) entry(0, {});
  for (const PeStatusEntry& s : statuses_) entry(s.status, s.identification);
  Bytes inner;
  put_tlv(inner, 0xA0, list);
  if (outcome_ == Outcome::aborted) put_tlv(inner, 0x81, {});
  Bytes out;
  put_tlv(out, 0x30, inner);
  return out;
}

}  // namespace kf::sim::card
