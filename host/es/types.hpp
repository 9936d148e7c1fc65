// ES2, ES3 and ES4 messages as values: what the SOAP codec reads and writes and what a download reasons about.
// docs/spec/interfaces.md 2. No XML here.
//
// hexBinary values held as strings (AIDs, TARs, SIN, SDIN) are upper case once parsed. Plain values: copy them freely,
// share them between threads when nobody writes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/bytes.hpp"
#include "host/base/ids.hpp"

namespace kf::es {

inline constexpr std::size_t kMaxProfileType = 400;  // bytes of a ProfileType: the schema's 100 characters

enum class Interface { es2, es3, es4 };

// How a message is written; what is received may be of either. `wsdl3`: element names, their order and wsa:Action as in
// the interface descriptions that were published with SGP.02 v3, which is what foreign stacks are generated from.
// `reference`: Smsr-id always after Eid, Actions of the CallBack groups for notifications, EuiccResponseData and
// HandleProfileDownloaded towards Operators, as Keyferry wrote before it knew those files.
enum class Dialect : std::uint8_t { wsdl3, reference };

enum class Function {
  get_eis,
  download_profile,
  create_isdp,
  send_data,
  profile_download_completed,
  update_policy_rules,
  update_subscription_address,
  enable_profile,
  disable_profile,
  delete_profile,
  delete_isdp,
  audit_eis,
  update_connectivity_parameters,
  handle_profile_enabled,
  handle_profile_disabled,
  handle_profile_deleted,
  handle_profile_downloaded,
  handle_smsr_change,
  other,  // a function of SGP.02 that is known by name and not implemented (SetPLMA ...)
};
std::string_view function_name(Function f);    // "GetEIS", "DeleteISDP", "HandleProfileEnabledNotification"
std::string_view interface_name(Interface i);  // "ES2"
bool is_notification(Function f);              // Function::other: see the overload for Request below

enum class ExecStatus { success, with_warning, failed, expired };

struct StatusCode {
  std::string subject, reason;     // dotted numbers; those with names: status_codes.hpp
  std::string subject_identifier;  // may be empty
  std::string message;             // may be empty
  bool operator==(const StatusCode&) const = default;
};

struct SubscriptionAddress {
  std::string imsi, msisdn;  // may be empty
  bool operator==(const SubscriptionAddress&) const = default;
};

struct PolicyRule {
  std::string subject = "PROFILE", action, qualification;
  bool operator==(const PolicyRule&) const = default;
};
using Pol2 = std::vector<PolicyRule>;  // present and empty: explicitly no rules

enum class EntryState : std::uint8_t { created, disabled, enabled, deleted, other };
struct ProfileInfo {
  std::string iccid;  // as received, of any form: compare with same_iccid()
  std::string isd_p_aid, mno_id;
  bool fallback = false;
  SubscriptionAddress subscription;
  std::string state;                  // as received, see entry_state()
  std::string smdp_id, profile_type;  // may be empty
  std::uint64_t allocated_memory = 0;
  std::optional<std::uint64_t> free_memory;
  std::optional<Pol2> pol2;
  bool operator==(const ProfileInfo&) const = default;
};
EntryState entry_state(const ProfileInfo& p);

struct SecurityDomain {
  std::string aid, sin, sdin, role;
  std::vector<std::string> tars;
  struct Keyset {
    std::string version, type, cntr;
    std::vector<Bytes> certificates;  // Value of each Certificate
    struct Cert {
      std::string index, ca_id;  // ca_id as received: hexadecimal or a dotted OID
      Bytes value;
      bool operator==(const Cert&) const = default;
    };
    std::vector<Cert> certs;  // the same certificates with Index and CaId; written from here when not empty
    bool operator==(const Keyset&) const = default;
  };
  std::vector<Keyset> keysets;
  bool operator==(const SecurityDomain&) const = default;
};
enum class KeysetType : std::uint8_t { unnamed, ca, other };
KeysetType keyset_type(const SecurityDomain::Keyset& k);

struct Eis {
  std::string eid, eum_id, production_date, platform_type, platform_version, isdp_loadfile_aid, isdp_module_aid;
  SecurityDomain ecasd;
  bool cattp_support = false, http_support = false;
  std::string cattp_version, http_version, secure_packet_version, remote_provisioning_version;
  std::string eum_signature_xml;  // the ds:Signature content as received, for relaying: octet for octet, with the
                                  // namespace declarations it inherited written into its outermost elements
  std::optional<Bytes> eum_certificate;  // X509Certificate of KeyInfo; present and empty: it was not base64
  std::uint64_t remaining_memory = 0, available_memory = 0;
  std::string last_audit_date, smsr_id;
  std::vector<ProfileInfo> profiles;
  SecurityDomain isd_r;
  bool operator==(const Eis&) const = default;
};

// One request of any function; each function uses the members its table row names (docs/spec/interfaces.md 2).
struct Request {
  Interface interface = Interface::es2;
  Function function = Function::get_eis;
  std::string other_name;                        // Function::other: its name as in function_name(), "SetPLMA"
  std::string function_call_identifier;          // empty in notifications
  std::optional<std::uint32_t> validity_period;  // seconds
  std::string eid;                               // as received; 32 digits guaranteed by the codec
  std::string smsr_id;
  std::optional<std::string> iccid;  // as received: 6 to 20 digits, F may pad them
  std::optional<std::string> profile_type;
  bool enable_profile = false;
  std::string mno_id;
  std::uint64_t required_memory = 0;
  std::optional<bool> more_to_do;
  Bytes sd_aid;
  Bytes data;                                   // SendData
  std::shared_ptr<const std::string> data_hex;  // instead, when writing: hexBinary that was made elsewhere
  std::optional<SubscriptionAddress> subscription;
  std::optional<Pol2> pol2;
  Bytes connectivity_parameters;
  std::string completion_timestamp;  // notifications
  std::optional<Eis> eis;            // HandleSMSRChangeNotification
  bool operator==(const Request&) const = default;
};

// One-way messages, those of Function::other included: they get 202 and no response.
bool is_notification(const Request& r);

struct Response {
  Interface interface = Interface::es2;
  Function function = Function::get_eis;
  std::string other_name;
  std::string processing_start, processing_end;
  std::optional<std::uint32_t> acceptable_validity_period;
  ExecStatus status = ExecStatus::success;
  bool unknown_status =
      false;  // what stood there is none of the four: taken as failed, anything may have been executed
  std::optional<StatusCode> code;
  std::optional<std::string> iccid;
  Bytes isd_p_aid;
  std::optional<Bytes> euicc_response_data;
  bool bad_euicc_response_data = false;  // present, but not hex: the call counts as failed, 8.4/4.2
  std::optional<Eis> eis;
  bool operator==(const Response&) const = default;
};

}  // namespace kf::es
