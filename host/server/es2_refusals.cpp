// Es2Service: what is put off, and what becomes of a request about which something failed on our side.
#include <spdlog/spdlog.h>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/server/es2_service.hpp"

namespace kf::server {

// A full disk, a store that is gone, or a record that cannot be read.
net::Response Es2Service::not_stored(const Party& from, const es::Message& m, const Error& why) const {
  if (why.reason != "store-job") return later(from, m, "temporary failure");
  ++p_.metrics.alarms;
  const auto& r = std::get<es::Request>(m.body);
  spdlog::error("ALARM {} {} of {} cannot be taken up: {}", es::function_name(r.function),
                printable(r.function_call_identifier), from.oid.str(), printable(why.detail));
  return now(
      from, m,
      make_failed(es::Interface::es2, r, es::ExecStatus::failed, "1.2", "4.2", "", "internal failure of the SM-DP"));
}

// Nothing was done and the same request may come again: 503 with a fault that says why.
net::Response Es2Service::later(const Party& from, const es::Message& m, const std::string& why) const {
  ++p_.metrics.put_off;
  if (p_.metrics.put_off_by[from.oid.str()]++ % 1000 == 0)
    spdlog::warn("requests of {} are put off: {}", from.oid.str(), why);
  es::Fault f;
  f.http_status = 503;
  f.code = "Receiver";
  f.reason = "Nothing was done, send again later: " + why;
  f.header = m.header;
  net::Response x = fault(f);
  x.headers.emplace_back("Retry-After", "30");
  return x;
}

bool Es2Service::over_quota(store::Tx& tx, const std::string& requester) const {
  const store::Usage u = tx.usage(requester);
  return u.calls >= p_.config.stored_calls || u.bytes >= p_.config.stored_bytes;
}

void Es2Service::relay_broke(const Party& from, const es::Request& r, const std::exception_ptr& e) {
  report(p_.metrics, "a relay of " + from.oid.str(), e);
  --relays_;
  answer_call(
      from.oid.str(), r.function_call_identifier,
      make_failed(es::Interface::es2, r, es::ExecStatus::failed, "1.2", "4.2", "", "internal failure of the SM-DP"));
}

// The call stays open in the store: where the database could not write, the next start answers it; what cannot be read
// would fail again and is set aside by name.
void Es2Service::answer_not_stored(const std::string& requester, const std::string& fcid, const Error& why) {
  spdlog::error("answer to {} of {} not stored: {}", printable(fcid), requester, printable(why.text()));
  if (why.reason != "store-job") return;
  note_set_aside(p_.metrics, "relay " + fcid + " of " + requester + ": " + why.detail);
  p_.storage.submit(
      [requester, fcid, detail = clip_text(why.detail, 1000)](store::Tx& tx) {
        tx.set_aside({"relay", requester + " " + fcid, "", detail, anchored_ms()});
        tx.set_call_response(requester, fcid, "set aside");
      },
      [](const Status&) {});
}

}  // namespace kf::server
