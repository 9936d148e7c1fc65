// ES3, the SM-DP's server side: callbacks of SM-SRs and their notifications, relayed to the owning Operator.
// docs/spec/interfaces.md 1.4, 2.2, 6.1. Loop thread only.
#pragma once

#include "host/server/download_service.hpp"

namespace kf::server {

class Es3Service {
 public:
  Es3Service(DownloadService::Parts& p, DownloadService& d) : p_(p), downloads_(d) {}
  net::Admission admit(const net::Request& head) const;
  asio::awaitable<net::Response> handle(net::Request r);

 private:
  net::Response callback(const Party& from, const es::Message& m);
  // False: it could not be stored, the sender may repeat it.
  asio::awaitable<bool> notification(const Party* from, es::Request r);
  asio::awaitable<bool> smsr_change(const Party* from, es::Request r);
  asio::awaitable<bool> pass_on(const Party& from, const Party& op,
                                es::Request n);  // stored, then sent to that Operator

  DownloadService::Parts& p_;
  DownloadService& downloads_;
};

}  // namespace kf::server
