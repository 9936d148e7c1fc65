#include <nlohmann/json.hpp>

#include "tests/sim/main/simulator.hpp"

namespace kf::sim {
namespace {

net::ServerOptions control_options(std::uint16_t port) {
  net::ServerOptions o;
  o.plain = true;
  o.port = port;
  o.admit = [](const net::Request& head) { return head.method == "GET" || head.method == "POST" ? 0u : 405u; };
  return o;
}

net::Response json_answer(unsigned status, std::string body) {
  net::Response r;
  r.status = status;
  r.content_type = "application/json";
  r.body = std::move(body) + "\n";
  return r;
}

net::Response complaint(unsigned status, const std::string& why) {
  return json_answer(status, nlohmann::json{{"error", why}}.dump());
}

}  // namespace

Control::Control(asio::io_context& io, Simulator& s, std::uint16_t port, std::function<void()> quit)
    : sim_(s),
      quit_(std::move(quit)),
      server_(io, control_options(port), [this](net::Request r) { return handle(std::move(r)); }) {}
Control::~Control() = default;
Status Control::start() { return server_.start(); }
void Control::stop() { server_.stop(); }
std::uint16_t Control::port() const { return server_.port(); }

asio::awaitable<net::Response> Control::handle(net::Request r) {
  const auto q = r.target.find('?');
  const std::string path = r.target.substr(0, q);
  const std::string query = q == std::string::npos ? "" : r.target.substr(q + 1);
  const bool get = r.method == "GET";
  if (get && path == "/summary") co_return json_answer(200, sim_.summary());
  if (get && path == "/report") {
    sim_.flush_audit();
    const auto at = query.find("eid=");
    const std::string eid = at == std::string::npos ? "" : query.substr(at + 4, 32);
    co_return json_answer(200, sim_.report(eid, query.find("touched=1") != std::string::npos));
  }
  if (get && path == "/faults") co_return json_answer(200, nlohmann::json(sim_.faults()).dump());
  if (!get && path == "/quit") {
    quit_();
    co_return json_answer(200, R"({"quit":true})");
  }
  if (get && path == "/hostile") {
    const auto at = query.find("eid=");
    co_return json_answer(200, nlohmann::json{{"story", sim_.smsr().hostility().story(
                                                            at == std::string::npos ? "" : query.substr(at + 4, 32))}}
                                   .dump());
  }
  if (!get && path == "/hostile") {
    if (const auto s = sim_.set_hostile(r.body); !s.ok()) co_return complaint(400, s.error().text());
    co_return json_answer(200, R"({"ok":true})");
  }
  if (!get && (path == "/fault" || path == "/config")) {
    const auto j = nlohmann::json::parse(r.body, nullptr, false);
    if (path == "/config") {
      if (!j.is_object() || !j.contains("smdp_url") || !j["smdp_url"].is_string())
        co_return complaint(400, R"(expected {"smdp_url":"https://..."})");
      const std::string url = j["smdp_url"];
      if (!net::parse_url(url).ok()) co_return complaint(400, "smdp_url is no http(s) URL: " + url);
      sim_.set_smdp_url(url);
      co_return json_answer(200, R"({"ok":true})");
    }
    // {"clear":true,"add":["NAME..."]}, or one fault as plain text.
    std::vector<std::string> add;
    if (j.is_object()) {
      if (j.contains("clear") && j["clear"].is_boolean() && j["clear"].get<bool>()) sim_.clear_faults();
      if (j.contains("add") && j["add"].is_array())
        for (const auto& f : j["add"])
          if (f.is_string()) add.push_back(f);
    } else if (!r.body.empty()) {
      std::string text = r.body;
      while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
      add.push_back(std::move(text));
    }
    for (const auto& f : add)
      if (const auto s = sim_.add_fault(f); !s.ok()) co_return complaint(400, s.error().text());
    co_return json_answer(200, nlohmann::json(sim_.faults()).dump());
  }
  co_return complaint(404,
                      "GET /summary, /report[?eid=EID][?touched=1], /faults; POST /fault, /hostile, /config, /quit");
}

}  // namespace kf::sim
