// HttpServer: one connection's requests and answers, from the first head to the last octet.
#include <ctime>
#include <utility>

#include "host/net/server_impl.hpp"

namespace kf::net {

using namespace detail;

namespace {

constexpr unsigned go_on = 0, hang_up = 1;  // verdicts beside HTTP statuses

// One line for whoever looks at the answer, where nobody has said more.
std::string_view usual_reason(unsigned status) {
  switch (status) {
    case 400:
      return "this is not an HTTP/1.1 request that is understood here";
    case 403:
      return "this certificate may not do that here";
    case 404:
      return "there is nothing at this path";
    case 405:
      return "this method is not served here; use POST";
    case 408:
      return "the request was not complete in time";
    case 413:
      return "the body is larger than what is taken here";
    case 417:
      return "the only expectation that is met is 100-continue";
    case 431:
      return "the header of the request is too large";
    case 503:
      return "too many large requests of yours are being received; send this one again later";
    default:
      return "internal failure";
  }
}

}  // namespace

// Reads until the header is complete. go_on, hang_up or the status to answer with.
asio::awaitable<unsigned> HttpServer::Impl::read_head(Connection& c) {
  c.reader.reset();
  enter(c, Phase::idle);
  if (c.in.empty()) {
    if (stopping) co_return hang_up;
    c.until(after(std::exchange(c.fresh, false) ? std::min(o.first_request_timeout, o.idle_timeout) : o.idle_timeout));
  } else {
    co_await c.yield();  // a peer that sends requests in a row must not keep the loop
  }
  bool running = false;  // the first octet has arrived
  for (;;) {
    if (!c.in.empty()) {
      if (!running) {
        running = true;
        enter(c, Phase::head);
        c.until(after(o.header_timeout));
      }
      auto rest = c.in.view();
      const Step step = c.reader.put(rest);
      c.in.used_to(rest);
      if (step == Step::head) co_return go_on;
      if (step == Step::head_too_large) co_return 431;
      if (step != Step::more) {
        note(c, "request", "broken request: " + c.reader.error());
        co_return 400;
      }
    }
    const std::size_t room = c.in.room(o.max_header + InBuffer::size);
    const Read r = co_await c.read_some(c.in.tail(), room, true);
    if (r.n > 0) {
      c.in.filled(r.n);
      continue;
    }
    if (!running) co_return hang_up;  // closed or idle for too long between requests: nothing to say
    if (r.end == End::expired) {
      note(c, "request", "header not complete in time");
      co_return 408;
    }
    note(c, "request", "header not complete: " + c.text());
    co_return hang_up;
  }
}

// What the header alone decides.
Admission HttpServer::Impl::verdict(Connection& c, Request& head) {
  const Message& m = c.reader.message();
  if (m.hosts > 1 || (m.hosts == 0 && m.http11)) {
    note(c, "request", "broken request: not exactly one Host");
    return 400;
  }
  if (!head.target.starts_with('/')) {
    if (auto u = parse_url(head.target); u.ok()) {  // absolute form (RFC 9112, 3.2.2)
      head.target = std::move(u->target);
      head.host = u->authority();
    } else if (head.target != "*") {
      note(c, "request", "broken request: target");
      return 400;
    }
  }
  if (m.bad_expect) return 417;
  if (o.admit) {
    if (auto a = o.admit(head); a.status != 0) return a;
  }
  return go_on;
}

asio::awaitable<unsigned> HttpServer::Impl::read_body(Connection& c) {
  enter(c, Phase::body);
  auto rest = c.in.view();
  Step step = c.reader.put(rest);
  c.in.used_to(rest);
  if (step == Step::done) co_return go_on;
  c.until(after(o.body_timeout));
  if (step == Step::more && c.reader.message().expect_continue && c.reader.message().http11) {
    static constexpr std::string_view interim = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!co_await c.write(interim)) co_return hang_up;
  }
  for (unsigned reads = 1;; ++reads) {
    if (reads % reads_a_turn == 0) co_await c.yield();
    if (step == Step::done) co_return go_on;
    if (step == Step::body_too_large) co_return 413;
    if (step != Step::more) {
      note(c, "request", "broken request: " + c.reader.error());
      co_return 400;
    }
    const std::size_t room = c.in.room(o.max_header + InBuffer::size);
    if (room == 0) {  // a chunk header or trailer without end
      note(c, "request", "broken request: chunk header or trailer too long");
      co_return 400;
    }
    const Read r = co_await c.read_some(c.in.tail(), room, false);
    if (r.n == 0) {
      note(c, "request", "body not complete: " + c.text());
      co_return r.end == End::expired ? 408 : hang_up;
    }
    c.in.filled(r.n);
    rest = c.in.view();
    step = c.reader.put(rest);
    c.in.used_to(rest);
    if (!places.hold(c, c.reader.message().body.size())) {
      note(c, "bodies", "request refused: too many large bodies of this party at once");
      co_return 503;
    }
  }
}

std::string_view HttpServer::Impl::date() {
  if (const std::int64_t now = std::time(nullptr); now != date_second) {
    date_second = now;
    date_text = imf_date(now);
  }
  return date_text;
}

// False: the connection is of no more use.
asio::awaitable<bool> HttpServer::Impl::answer(Connection& c, Response r, bool keep_alive) {
  enter(c, Phase::answer);
  places.hold(c, 0);
  c.until(after(o.body_timeout));
  const Message& m = c.reader.message();
  const AnswerForm form{m.http11, keep_alive, m.method == "HEAD", date()};
  c.out.clear();
  if (!append_response(c.out, r, form)) {
    note(c, "handler", "handler's answer cannot be sent: status " + std::to_string(r.status) + " or a header field");
    r = Response{};
    r.status = 500;
    c.out.clear();
    append_response(c.out, r, form);
  }
  auto body = plain_body(r, form);
  if (c.out.size() < record) {  // a small answer is one record and one system call; a large one copies 16 KiB at most
    const auto part = body.substr(0, record - c.out.size());
    c.out.append(part);
    body.remove_prefix(part.size());
  }
  bool sent = co_await c.write(c.out);
  if (sent && !body.empty()) sent = co_await c.write(body);
  if (!sent) {
    note(c, "answer", "answer not sent: " + c.text());
    co_return false;
  }
  if (c.out.capacity() > 4 * record) c.out = std::string();
  co_return true;
}

asio::awaitable<void> HttpServer::Impl::goodbye(Connection& c) {
  enter(c, Phase::linger);
  c.until(after(linger_time));
  co_await c.linger();
}

asio::awaitable<void> HttpServer::Impl::talk(Connection& c) {
  if (!o.plain && !co_await secure(c)) co_return;
  for (;;) {
    unsigned status = co_await read_head(c);
    if (status == hang_up) break;
    Message& m = c.reader.message();
    Request request;
    Response response;
    std::string reason;
    bool whole = false;  // understood, and nothing of it is left unread: the connection may go on
    if (status == go_on) {
      request.method = m.method;
      request.target = m.target;
      request.host = m.host;
      request.content_type = m.content_type;
      request.headers = std::move(m.headers);
      request.chunked = m.chunked;
      request.peer = c.peer;
      try {
        Admission a = verdict(c, request);
        status = a.status;
        reason = std::move(a.reason);
      } catch (const std::exception& e) {
        note(c, "handler", std::string("admission failed: ") + e.what());
        status = 500;
      }
      whole = !m.chunked && m.length.value_or(0) == 0 && status != 400 && status != 417;
    }
    if (status == go_on) {
      status = co_await read_body(c);
      if (status == hang_up) break;
      whole = status == go_on;
    }
    if (status == go_on) {
      request.body = std::move(m.body);
      enter(c, Phase::handler);
      c.set_deadline(Deadline::never);  // it may wait for a card for minutes
      try {
        response = co_await handler(std::move(request));
      } catch (const std::exception& e) {
        note(c, "handler", std::string("handler failed: ") + e.what());
        response = Response{};
        response.status = 500;
      } catch (...) {
        note(c, "handler", "handler failed");
        response = Response{};
        response.status = 500;
      }
    } else {
      response.status = status;
      response.content_type = "text/plain; charset=utf-8";
      response.body = (reason.empty() ? std::string(usual_reason(status)) : std::move(reason)) + "\n";
      if (status == 405) response.headers.emplace_back("Allow", "POST");
      if (status == 503) response.headers.emplace_back("Retry-After", "10");
    }
    const bool keep_alive = whole && m.keep_alive && !response.close && !stopping && !c.stranger;
    if (!co_await answer(c, std::move(response), keep_alive)) break;
    if (!keep_alive) {
      co_await goodbye(c);
      break;
    }
  }
  c.close();
}

}  // namespace kf::net
