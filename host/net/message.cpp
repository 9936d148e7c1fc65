#include "host/net/message.hpp"

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

namespace kf::net::detail {
namespace {

namespace http = boost::beast::http;
using BeastView = boost::beast::string_view;
using ErrorCode = boost::beast::error_code;

constexpr std::size_t chunk_size = 8 << 10;

std::string_view std_view(BeastView v) { return {v.data(), v.size()}; }

bool iequal(std::string_view a, std::string_view b) {
  return boost::beast::iequals(BeastView(a.data(), a.size()), BeastView(b.data(), b.size()));
}

// Beast checks the grammar and the framing; what it leaves open is decided here, on the strict side.
template <bool is_request>
class Parser final : public http::basic_parser<is_request> {
 public:
  Parser(std::size_t max_header, std::size_t max_body) : max_body_(max_body) {
    this->header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(max_header, 1U << 30)));
    this->body_limit(boost::none);  // counted in on_body_impl and on_chunk_body_impl, so that 413 and 400 differ
  }
  Message m;

 private:
  void on_request_impl(http::verb, BeastView method, BeastView target, int version, ErrorCode&) override {
    m.method = std_view(method);
    m.target = std_view(target);
    m.http11 = version >= 11;
  }
  void on_response_impl(int code, BeastView, int version, ErrorCode& ec) override {
    m.status = static_cast<unsigned>(code);
    m.http11 = version >= 11;
    if (code < 100 || code > 599) ec = http::error::bad_status;
  }
  void on_field_impl(http::field f, BeastView name, BeastView value, ErrorCode& ec) override {
    if (this->is_header_done()) return;  // a trailer never changes what the header said
    switch (f) {
      case http::field::host:
        m.host = std_view(value);
        ++m.hosts;
        break;
      case http::field::content_type:
        if (m.content_type.empty()) m.content_type = std_view(value);
        break;
      case http::field::expect:
        (iequal(std_view(value), "100-continue") ? m.expect_continue : m.bad_expect) = true;
        break;
      case http::field::transfer_encoding:
        // Any other coding, or chunked from an HTTP/1.0 peer, would leave the end of the message in doubt.
        if (!iequal(std_view(value), "chunked") || !m.http11) ec = http::error::bad_transfer_encoding;
        break;
      case http::field::connection:
      case http::field::proxy_connection:
      case http::field::keep_alive:
      case http::field::content_length:
        break;
      default:
        m.headers.emplace_back(std_view(name), std_view(value));
    }
  }
  void on_header_impl(ErrorCode&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode& ec) override {
    if (length && *length > max_body_) {
      ec = http::error::body_limit;
    } else if (length) {
      m.body.reserve(static_cast<std::size_t>(*length));
    }
  }
  std::size_t on_body_impl(BeastView part, ErrorCode& ec) override {
    if (part.size() > max_body_ - m.body.size()) {
      ec = http::error::body_limit;
      return 0;
    }
    m.body.append(part.data(), part.size());
    return part.size();
  }
  void on_chunk_header_impl(std::uint64_t size, BeastView, ErrorCode& ec) override {
    if (size > max_body_ - m.body.size()) ec = http::error::body_limit;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView part, ErrorCode& ec) override {
    return on_body_impl(part, ec);
  }
  void on_finish_impl(ErrorCode&) override {}

  std::size_t max_body_;
};

bool is_token(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}
bool is_field_value(std::string_view s) {
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F); });
}
bool is_target(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

void append_number(std::string& out, std::size_t n, int base = 10) {
  std::array<char, 24> digits{};
  const auto r = std::to_chars(digits.data(), digits.data() + digits.size(), n, base);
  out.append(digits.data(), r.ptr);
}

bool append_field(std::string& out, std::string_view name, std::string_view value) {
  if (!is_token(name) || !is_field_value(value)) return false;
  out.append(name).append(": ").append(value).append("\r\n");
  return true;
}

// The caller's fields; those that frame the message are ours alone.
bool append_fields(std::string& out, const Headers& h, bool has_type) {
  for (const auto& [name, value] : h) {
    if (iequal(name, "Content-Length") || iequal(name, "Transfer-Encoding") || iequal(name, "Connection") ||
        iequal(name, "Host") || (has_type && iequal(name, "Content-Type"))) {
      continue;
    }
    if (!append_field(out, name, value)) return false;
  }
  return true;
}

void append_chunks(std::string& out, std::string_view body) {
  while (!body.empty()) {
    const auto part = body.substr(0, chunk_size);
    append_number(out, part.size(), 16);
    out.append("\r\n").append(part).append("\r\n");
    body.remove_prefix(part.size());
  }
  out.append("0\r\n\r\n");
}

bool bodiless(unsigned status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

template <bool is_request>
struct MessageReader<is_request>::Impl {
  std::size_t max_header, max_body;
  std::optional<Parser<is_request>> parser;
  std::size_t header_bytes = 0;
  bool head_reported = false;
  std::string error;
};

template <bool is_request>
MessageReader<is_request>::MessageReader(std::size_t max_header, std::size_t max_body)
    : impl_(std::make_unique<Impl>()) {
  impl_->max_header = max_header;
  impl_->max_body = max_body;
  reset();
}
template <bool is_request>
MessageReader<is_request>::~MessageReader() = default;

template <bool is_request>
void MessageReader<is_request>::reset(bool head_request) {
  impl_->parser.emplace(impl_->max_header, impl_->max_body);
  if (head_request) impl_->parser->skip(true);
  impl_->header_bytes = 0;
  impl_->head_reported = false;
}

template <bool is_request>
Step MessageReader<is_request>::put(std::string_view& in) {
  auto& p = *impl_->parser;
  for (;;) {
    if (impl_->head_reported) {
      if (p.is_done()) return Step::done;
      if (p.m.length.value_or(0) > impl_->max_body) return Step::body_too_large;  // announced: do not wait for it
    }
    if (in.empty()) return Step::more;
    // Beast 1.81 aborts (an assertion in parse_chunk_header) when the last chunk, "0 CRLF CRLF", comes in pieces and is
    // seen again with four octets of it. A chunked body that is not complete has at least five to come, so wait for
    // them.
    if (impl_->head_reported && p.chunked() && in.size() < 5) return Step::more;
    // An empty line before a request is tolerated (RFC 9112, 2.2).
    if (is_request && !p.got_some() && in.front() == '\r') {
      if (in.size() < 2) return Step::more;
      if (in[1] == '\n') {
        in.remove_prefix(2);
        if (++impl_->header_bytes > 16) return Step::bad;
        continue;
      }
    }
    ErrorCode ec;
    const std::size_t used = p.put({in.data(), in.size()}, ec);
    in.remove_prefix(used);
    if (!impl_->head_reported) {
      impl_->header_bytes += used;
      if (impl_->header_bytes > impl_->max_header) return Step::head_too_large;
    }
    if (ec == http::error::need_more) {
      if (!impl_->head_reported && impl_->header_bytes + in.size() > impl_->max_header) return Step::head_too_large;
      return Step::more;
    }
    if (ec == http::error::header_limit) return Step::head_too_large;
    if (ec == http::error::body_limit) return Step::body_too_large;
    if (ec) {
      impl_->error = ec.message();
      return Step::bad;
    }
    if (!impl_->head_reported && p.is_header_done()) {
      impl_->head_reported = true;
      Message& m = p.m;
      m.keep_alive = p.keep_alive();
      m.chunked = p.chunked();
      if (const auto n = p.content_length()) m.length = *n;
      p.eager(true);
      return Step::head;
    }
  }
}

template <bool is_request>
Step MessageReader<is_request>::put_eof() {
  auto& p = *impl_->parser;
  if (!impl_->head_reported) return Step::bad;
  ErrorCode ec;
  p.put_eof(ec);
  return ec ? Step::bad : Step::done;
}

template <bool is_request>
Message& MessageReader<is_request>::message() {
  return impl_->parser->m;
}
template <bool is_request>
const std::string& MessageReader<is_request>::error() const {
  return impl_->error;
}

template class MessageReader<true>;
template class MessageReader<false>;

bool append_request(std::string& out, const Request& r, std::string_view authority) {
  if (!is_token(r.method) || !is_target(r.target)) return false;
  out.append(r.method).append(" ").append(r.target).append(" HTTP/1.1\r\n");
  if (!append_field(out, "Host", r.host.empty() ? authority : std::string_view(r.host))) return false;
  if (!r.content_type.empty() && !append_field(out, "Content-Type", r.content_type)) return false;
  if (!append_fields(out, r.headers, !r.content_type.empty())) return false;
  if (r.chunked) {
    out.append("Transfer-Encoding: chunked\r\n\r\n");
    append_chunks(out, r.body);
    return true;
  }
  if (!r.body.empty() || (r.method != "GET" && r.method != "HEAD")) {
    out.append("Content-Length: ");
    append_number(out, r.body.size());
    out.append("\r\n");
  }
  out.append("\r\n");
  return true;
}

bool append_response(std::string& out, const Response& r, const AnswerForm& f) {
  if (r.status < 200 || r.status > 599) return false;
  const auto reason = http::obsolete_reason(http::int_to_status(r.status));
  out.append("HTTP/1.1 ");
  append_number(out, r.status);
  out.append(" ").append(reason.data(), reason.size()).append("\r\n");
  if (!f.date.empty()) out.append("Date: ").append(f.date).append("\r\n");
  if (!r.content_type.empty() && !append_field(out, "Content-Type", r.content_type)) return false;
  if (!append_fields(out, r.headers, !r.content_type.empty())) return false;
  if (!f.keep_alive) {
    out.append("Connection: close\r\n");
  } else if (!f.http11) {
    out.append("Connection: keep-alive\r\n");
  }
  if (bodiless(r.status)) {
    out.append("\r\n");
  } else if (r.chunked && f.http11) {
    out.append("Transfer-Encoding: chunked\r\n\r\n");
    if (!f.head_request) append_chunks(out, r.body);
  } else {
    out.append("Content-Length: ");
    append_number(out, r.body.size());
    out.append("\r\n\r\n");
  }
  return true;
}

std::string_view plain_body(const Response& r, const AnswerForm& f) {
  return bodiless(r.status) || f.head_request || (r.chunked && f.http11) ? std::string_view()
                                                                         : std::string_view(r.body);
}

std::string imf_date(std::int64_t unix_seconds) {
  const auto t = static_cast<std::time_t>(unix_seconds);
  std::tm tm{};
  gmtime_r(&t, &tm);
  // Not strftime: its names follow the locale.
  static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::array<char, 64> text{};
  const int n = std::snprintf(
      text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[static_cast<std::size_t>(tm.tm_wday)],
      tm.tm_mday, months[static_cast<std::size_t>(tm.tm_mon)], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
  return {text.data(), static_cast<std::size_t>(n)};
}

}  // namespace kf::net::detail
