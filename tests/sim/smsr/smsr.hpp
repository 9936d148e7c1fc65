// The SM-SR simulator: an ES3 server (and ES4 notifier) in front of an EIS store and the administration sessions of
// es5.hpp.
//
// GetEIS, AuditEIS, CreateISDP, SendData, ProfileDownloadCompleted, UpdatePolicyRules, UpdateSubscriptionAddress,
// UpdateConnectivityParameters, EnableProfile, DisableProfile, DeleteISDP. Written against the messages, not against
// the SM-DP. docs/spec/interfaces.md 1, 2.2 to 2.6, 3, 4.6, 6, 10. One io_context, one thread.
#pragma once

#include <fstream>
#include <map>

#include "host/es/soap.hpp"
#include "tests/sim/fleet/eum.hpp"
#include "tests/sim/smsr/es5.hpp"
#include "tests/sim/smsr/hostile.hpp"
#include "tests/sim/strict/strict.hpp"

namespace kf::sim {

struct Party {
  enum class Role { smdp, mno, m2m };
  Role role = Role::smdp;
  std::string oid, name;
  std::string fingerprint;               // SHA-256 of its TLS certificate, upper-case hex
  std::string url;                       // where notifications go (smdp: ES3, m2m: ES4); empty: none are sent
  std::vector<std::string> reply_hosts;  // hosts allowed in ReplyTo, besides the one in `url`
};

struct SmsrOptions {
  std::string oid = "2.999.30", name = "SM-SR-Sim";
  es::Dialect dialect = es::Dialect::wsdl3;  // of what it sends
  net::TlsFiles tls;
  std::string listen_address = "127.0.0.1";
  std::uint16_t es3_port = 0;
  Es5Options es5;
  std::vector<Party> parties;
  std::chrono::seconds default_validity{3600};
  std::chrono::seconds enable_timeout{120};  // for the card's notification
  std::size_t remembered_calls = 200'000;    // for idempotence; the oldest go first
  std::uint16_t first_isdp = 0x10;           // the first ISD-P AID of every card is A0000005591010FFFFFFFF8900 nnnn 00
  bool strict = false;                       // refuses what the published v3 descriptions do not have; see strict.hpp
  std::string record;                        // folder for every envelope received and sent; empty: none
  std::string audit_file;                    // JSON lines of everything relayed; empty: none
  std::string hostile;                       // see hostile.hpp; empty: well-behaved
};

struct SmsrCounters {
  std::uint64_t requests = 0, faults = 0, refused = 0, repeats = 0, callbacks = 0, callback_failures = 0;
  std::uint64_t synchronous = 0, notifications = 0, notification_failures = 0, relayed_bytes = 0;
  std::map<std::string, std::uint64_t> functions;  // by name
  std::map<std::string, std::uint64_t> failed;     // "CreateISDP 8.1/4.8" -> times
};

struct EisEntry {
  es::ProfileInfo info;            // state "Created", "Disabled", "Enabled"
  bool in_creation = false;        // CreateISDP runs: GetEIS does not show it
  Clock::time_point lies_until{};  // until then GetEIS shows what was before (hostile.hpp)
  std::string old_state;           // empty: not there
  Bytes connectivity_parameters;
};

class Smsr {
 public:
  // `eum` signs again where a fault changes what the EIS says; it must outlive this object, and so must `faults`.
  Smsr(asio::io_context& io, SmsrOptions o, FaultPlan& faults, const Eum& eum, MtSms sms);
  ~Smsr();
  Smsr(const Smsr&) = delete;
  Smsr& operator=(const Smsr&) = delete;

  void register_euicc(EuiccRecord record);
  // A Created entry that was there before (eis-stale); the ISD-P must be on the card. Returns its AID for the card.
  Result<std::string> add_stale_entry(const std::string& eid, const std::string& smdp_oid, std::uint32_t memory);
  void set_party_url(const std::string& oid, const std::string& url);

  Status start();
  void stop();
  void flush_audit();
  [[nodiscard]] std::uint16_t es3_port() const;
  [[nodiscard]] std::uint16_t es5_port() const { return es5_.port(); }
  [[nodiscard]] const SmsrCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Es5Counters& es5_counters() const noexcept { return es5_.counters(); }
  [[nodiscard]] const std::vector<EisEntry>* entries(const std::string& eid) const;
  [[nodiscard]] std::uint64_t remaining_memory(const std::string& eid) const;
  [[nodiscard]] Hostility& hostility() noexcept { return hostility_; }

 private:
  struct Euicc;  // one EID in the EIS store
  struct Call;   // one function call, for idempotence and for the answers it still owes
  struct Reply;  // where and how one request is answered
  using Answer = es::Response;

  asio::awaitable<net::Response> handle(net::Request r);
  unsigned admit(const net::Request& head) const;
  asio::awaitable<void> run_call(std::shared_ptr<Call> call, const Party* party);
  net::Response turn_away(std::shared_ptr<Call> call, const Party* party);
  asio::awaitable<Answer> execute_hostile(std::shared_ptr<Call> call, const Party* party, Clock::time_point deadline);
  asio::awaitable<Answer> execute_late(std::shared_ptr<const es::Request> q, const Party* party,
                                       std::chrono::milliseconds wait, Clock::time_point deadline);
  asio::awaitable<void> deliver(std::shared_ptr<Call> call, Reply reply);
  asio::awaitable<Answer> execute(const Party* party, std::shared_ptr<const es::Request> q, Clock::time_point deadline);

  Answer get_eis(const Party& p, const es::Request& q);
  asio::awaitable<Answer> create_isdp(const Party* p, std::shared_ptr<const es::Request> q, Clock::time_point deadline);
  asio::awaitable<Answer> send_data(const Party* p, std::shared_ptr<const es::Request> q, Clock::time_point deadline);
  Answer completed(const Party& p, const es::Request& q);
  Answer update_entry(const Party& p, const es::Request& q);
  asio::awaitable<Answer> switch_profile(const Party* p, std::shared_ptr<const es::Request> q,
                                         Clock::time_point deadline);
  asio::awaitable<Answer> delete_isdp(const Party* p, std::shared_ptr<const es::Request> q, Clock::time_point deadline);

  es::Eis eis_of(const Euicc& e, const Party& p);
  void list_profiles(es::Eis& eis, const Euicc& e, const Party& p) const;
  void change(EisEntry& entry, std::string state);                   // the EIS may show it later
  void remove(Euicc& e, const std::string& aid, bool shown = true);  // shown: the EIS had it
  void spoil(Answer& a, const Euicc& e, bool scp03t);                // faults that change what a SendData answers
  void notify(es::Function f, const std::string& eid, const es::ProfileInfo& about);
  asio::awaitable<void> post_notification(es::Interface i, es::Request n, const Party* to);
  asio::awaitable<Result<net::Response>> post(const std::string& url, std::shared_ptr<const std::string> body,
                                              int tries);
  net::Response answer_200(const Answer& a, const Reply& reply) const;
  void audit(std::string_view eid, std::string_view function, std::string_view direction, ByteView data);
  std::string new_message_id(std::string_view transaction_id) const;
  std::string address() const;
  const Party* party_of(const std::string& fingerprint) const;
  bool reply_allowed(const Party& p, const std::string& reply_to) const;
  Euicc* find(const std::string& eid);

  asio::io_context& io_;
  SmsrOptions options_;
  FaultPlan& faults_;
  const Eum& eum_;
  Es5 es5_;
  std::unique_ptr<net::HttpServer> server_;
  std::unordered_map<std::string, std::unique_ptr<Euicc>> euiccs_;
  std::unordered_map<std::string, std::shared_ptr<Call>> calls_;
  std::deque<std::string> call_order_;
  std::unordered_map<std::string, std::unique_ptr<net::HttpClient>> clients_;  // by authority
  std::ofstream audit_;
  mutable Recorder record_;
  Hostility hostility_;
  Bytes old_rc_;  // the last RC that passed by, for old-rc-replay
  SmsrCounters counters_;
};

}  // namespace kf::sim
