// HTTP/1.1 messages to and from octets. Parsing is Beast's, straight into our own strings; message.cpp is the only file
// that includes Beast. Private to host/net.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "host/net/http.hpp"

namespace kf::net::detail {

struct Message {
  std::string method, target;  // request
  unsigned status = 0;         // response
  std::string host, content_type;
  // Without Host and Content-Type (above) and what only concerns the connection (Connection, Keep-Alive,
  // Content-Length, Transfer-Encoding, Expect, Proxy-Connection).
  Headers headers;
  std::string body;
  bool http11 = true;
  bool keep_alive = false;
  bool chunked = false;
  bool expect_continue = false;
  bool bad_expect = false;  // an Expect that we do not know: 417
  unsigned hosts = 0;       // Host fields
  std::optional<std::uint64_t> length;
};

enum class Step { more, head, done, bad, head_too_large, body_too_large };

template <bool is_request>
class MessageReader {
 public:
  MessageReader(std::size_t max_header, std::size_t max_body);
  ~MessageReader();
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;

  void reset(bool head_request = false);  // for the next message; head_request: the answer has no body
  // Takes what it can use off the front of `in`; call again with the rest and more. `head` is returned once per
  // message, `done` when it is complete.
  Step put(std::string_view& in);
  Step put_eof();  // the connection ended: done or bad
  [[nodiscard]] Message& message();
  [[nodiscard]] const std::string& error() const;  // after bad

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
extern template class MessageReader<true>;
extern template class MessageReader<false>;
using RequestReader = MessageReader<true>;
using ResponseReader = MessageReader<false>;

// Appends the head of a request or response, and chunked bodies whole; other bodies are the caller's to send.
// False: a header, target or method holds a character that would break the message; `out` is then useless.
bool append_request(std::string& out, const Request& r, std::string_view authority);
struct AnswerForm {
  bool http11 = true;  // what the request said
  bool keep_alive = true;
  bool head_request = false;
  std::string_view date;  // IMF-fixdate
};
bool append_response(std::string& out, const Response& r, const AnswerForm& f);
// The body that follows append_response(): empty when there must be none or when it was chunked.
std::string_view plain_body(const Response& r, const AnswerForm& f);

std::string imf_date(std::int64_t unix_seconds);

}  // namespace kf::net::detail
