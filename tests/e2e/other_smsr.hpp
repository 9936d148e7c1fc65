// A second SM-SR beside the simulated one, in this process: it says of every call that it was carried out, and sends
// what a test tells it to. On the rig's context; its certificate is the one of the test PKI that nobody else uses.
#pragma once

#include "host/base/calendar.hpp"
#include "tests/e2e/rig.hpp"

namespace kf::e2e {

class OtherSmsr {
 public:
  static constexpr const char* kOid = "2.999.31";

  // The SM-DP is started again with this one among its parties.
  explicit OtherSmsr(Rig& rig) : rig_(rig) {
    net::ServerOptions o;
    o.tls = files("m2m");
    server_ = std::make_unique<net::HttpServer>(
        rig.io(), std::move(o),
        [this](net::Request r) -> asio::awaitable<net::Response> { return answer(std::move(r)); });
    Rig::must(server_->start());
    Rig::must(rig.world().stop_smdp());
    std::ofstream(rig.world().config_file(), std::ios::app)
        << "\n[[party]]\nrole = \"smsr\"\noid = \"" << kOid << "\"\nurl = \"" << url()
        << "\"\ncertificate = \"pki/tls-m2m.pem\"\nsynchronous = true\n";
    Rig::must(rig.world().start_smdp());
  }
  ~OtherSmsr() { server_->stop(); }
  OtherSmsr(const OtherSmsr&) = delete;
  OtherSmsr& operator=(const OtherSmsr&) = delete;

  // A notification to the SM-DP with this party's certificate ("m2m": ours, "smsr": the simulated one's).
  unsigned notify(const es::Request& n, const std::string& party = "m2m") {
    es::SendHeader h;
    h.from = "https://smsr/es3?EntityId=" + std::string(party == "m2m" ? kOid : World::kSmsrOid);
    h.to = "https://smdp/es3?EntityId=2.999.20";
    h.message_id = "//" + std::string(party == "m2m" ? kOid : World::kSmsrOid) + "/" + random_uuid();
    h.action = es::action_of(n);
    auto& client = clients_[party];
    const auto es3 = *net::parse_url(rig_.world().es3_url());
    if (!client) {
      net::ClientOptions c;
      c.host = es3.host;
      c.port = es3.port;
      c.tls = files(party);
      client = std::make_unique<net::HttpClient>(rig_.io(), c);
    }
    net::Request q;
    q.target = es3.target + "/callback";
    q.content_type = std::string(es::kSoapContentType);
    q.body = es::write_message(h, n);
    const auto r = rig_.run(client->call(std::move(q), std::chrono::seconds(20), false));
    return r ? r->status : 0;
  }
  unsigned calls = 0;

 private:
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(server_->port()) + "/es3"; }
  [[nodiscard]] net::TlsFiles files(const std::string& party) const {
    const auto t = rig_.world().tls(party);
    return {t.cert, t.key, t.ca};
  }
  asio::awaitable<net::Response> answer(net::Request r) {
    ++calls;
    net::Response out;
    auto parsed = es::parse_message(r.body, {});
    const auto* m = std::get_if<es::Message>(&parsed);
    const auto* q = m != nullptr ? std::get_if<es::Request>(&m->body) : nullptr;
    if (q == nullptr) {
      out.status = 400;
      co_return out;
    }
    es::SendHeader h;
    h.from = es::make_address(url(), kOid, "SM-SR");
    h.to = m->header.from;
    h.message_id = es::make_message_id(kOid, random_uuid(), m->header.transaction_id, iso_seconds(wall_now()));
    h.relates_to = m->header.message_id;
    es::Response a;
    a.interface = q->interface;
    a.function = q->function;
    a.processing_start = a.processing_end = iso_seconds(wall_now());
    a.status = es::ExecStatus::success;
    h.action = es::action_for(a.interface, a.function, es::Way::answer);
    out.content_type = es::kSoapContentType;
    out.body = es::write_message(h, a, m->ns);
    co_return out;
  }
  Rig& rig_;
  std::unique_ptr<net::HttpServer> server_;
  std::map<std::string, std::unique_ptr<net::HttpClient>> clients_;
};

}  // namespace kf::e2e
