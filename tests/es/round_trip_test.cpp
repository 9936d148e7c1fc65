// What is written is read again with the same values: every function, every optional element present and absent, and
// whatever a mutated message still means.
#include <cctype>
#include <random>

#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

constexpr Function kFunctions[] = {Function::get_eis,
                                   Function::download_profile,
                                   Function::create_isdp,
                                   Function::send_data,
                                   Function::profile_download_completed,
                                   Function::update_policy_rules,
                                   Function::update_subscription_address,
                                   Function::enable_profile,
                                   Function::disable_profile,
                                   Function::delete_profile,
                                   Function::delete_isdp,
                                   Function::audit_eis,
                                   Function::update_connectivity_parameters,
                                   Function::handle_profile_enabled,
                                   Function::handle_profile_disabled,
                                   Function::handle_profile_deleted,
                                   Function::handle_profile_downloaded,
                                   Function::handle_smsr_change,
                                   Function::other};

bool exists(Interface i, Function f) {  // docs/spec/interfaces.md 2.1 to 2.3, 10.1
  switch (f) {
    case Function::download_profile:
      return i == Interface::es2;
    case Function::create_isdp:
    case Function::send_data:
    case Function::profile_download_completed:
    case Function::delete_isdp:
      return i == Interface::es3;
    case Function::delete_profile:
      return i != Interface::es3;
    case Function::update_connectivity_parameters:
      return i != Interface::es4;
    default:
      return true;
  }
}

SendHeader header(Interface i, Function f, bool callback, Dialect d = Dialect::wsdl3) {
  SendHeader h;
  h.from = "https://a.test/?EntityId=1.2.3&EntityName=A";
  h.to = "https://b.test/cb?x=<1>&EntityId=1.2.4";
  h.reply_to = callback ? "" : std::string(kWsaAnonymous);
  h.message_id = make_message_id("1.2.3", "u", "t", "2026-01-01T00:00:00Z");
  h.relates_to = callback ? "//b/1?x=\"y\"" : "";
  Request named;
  named.interface = i;
  named.function = f;
  named.other_name = "GetONC";
  Response answer;
  answer.interface = i;
  answer.function = f;
  answer.other_name = "GetONC";
  h.action = callback ? action_of(answer, Way::callback, d) : action_of(named, d);
  return h;
}

Request full(Interface i, Function f) {
  Request r;
  r.interface = i;
  r.function = f;
  if (f == Function::other) r.other_name = "GetONC";
  r.eid = kEid;
  r.iccid = std::string(kIccid);
  if (is_notification(f)) {
    r.completion_timestamp = "2026-01-01T00:00:00Z";
    if (f == Function::handle_smsr_change) {
      r.eid.clear();
      r.iccid.reset();
      r.eis = *body<Response>(own("eis.xml")).eis;
      if (i == Interface::es3) r.mno_id = "1.2.6";
    }
    return r;
  }
  r.function_call_identifier = "c <&> 1";
  r.validity_period = 77;
  if (i == Interface::es2) r.smsr_id = "1.2.5";
  switch (f) {
    case Function::get_eis:
    case Function::audit_eis:
      r.iccid.reset();
      break;
    case Function::update_connectivity_parameters:
      r.connectivity_parameters = hex("A10301");
      break;
    case Function::download_profile:
      r.profile_type = "T & U";
      r.enable_profile = true;
      break;
    case Function::create_isdp:
      r.mno_id = "1.2.6";
      r.required_memory = 65536;
      r.more_to_do = true;
      break;
    case Function::send_data:
      r.iccid.reset();
      r.sd_aid = hex("A0000005591010FFFFFFFF8900001300");
      for (int k = 0; k < 12600; ++k) r.data.push_back(static_cast<std::uint8_t>(k * 31));
      r.more_to_do = false;
      break;
    case Function::profile_download_completed:
      r.profile_type = "T";
      r.subscription = SubscriptionAddress{"00101", ""};
      r.pol2 = Pol2{{"PROFILE", "DELETE", "Not-Allowed"}, {"PROFILE", "ENABLE", "Auto-Delete"}};
      break;
    case Function::update_policy_rules:
      r.pol2 = Pol2{};
      break;
    case Function::update_subscription_address:
      r.subscription = SubscriptionAddress{"", "4670"};
      break;
    default:
      break;
  }
  return r;
}

TEST(RoundTrip, EveryRequest) {
  for (const Interface i : {Interface::es2, Interface::es3, Interface::es4}) {
    for (const Function f : kFunctions) {
      for (const Dialect d : {Dialect::wsdl3, Dialect::reference}) {
        const Request r = full(i, f);
        const SendHeader h = header(i, f, false, d);
        const std::string xml = write_message(h, r, kNs3, d);
        if (!exists(i, f)) {
          EXPECT_EQ(fault(xml).subcode, "wsa:ActionNotSupported") << function_name(f);
          continue;
        }
        const Message m = message(xml);
        EXPECT_TRUE(std::get<Request>(m.body) == r) << xml.substr(0, 3000);
        EXPECT_EQ(send_header(m.header).reply_to, h.reply_to);
        EXPECT_EQ(m.header.to, h.to);
        expect_round_trip(m);
      }
    }
  }
}

TEST(RoundTrip, OptionalElementsAbsent) {
  Request r = full(Interface::es2, Function::download_profile);
  r.validity_period.reset();
  r.iccid.reset();
  r.profile_type.reset();
  r.enable_profile = false;
  EXPECT_TRUE(body<Request>(write_message(header(r.interface, r.function, false), r)) == r);
  r = full(Interface::es3, Function::profile_download_completed);
  r.profile_type.reset();
  r.subscription = SubscriptionAddress{};
  r.pol2 = Pol2{};
  EXPECT_TRUE(body<Request>(write_message(header(r.interface, r.function, false), r)) == r);
  r.subscription.reset();
  r.pol2.reset();
  EXPECT_TRUE(body<Request>(write_message(header(r.interface, r.function, false), r)) == r);
}

TEST(RoundTrip, EveryResponse) {
  const Eis eis = *body<Response>(own("eis.xml")).eis;
  for (const Interface i : {Interface::es2, Interface::es3, Interface::es4}) {
    for (const Function f : kFunctions) {
      if (!exists(i, f) || is_notification(f)) continue;
      for (const ExecStatus status :
           {ExecStatus::success, ExecStatus::with_warning, ExecStatus::failed, ExecStatus::expired}) {
        Response r;
        r.interface = i;
        r.function = f;
        if (f == Function::other) r.other_name = "GetONC";
        r.processing_start = "2026-01-01T00:00:00Z";
        r.processing_end = "2026-01-01T00:00:01Z";
        r.status = status;
        if (status != ExecStatus::success)
          r.code = StatusCode{"8.2.1", "3.3", std::string(kIccid), "in use \xE2\x80\x94 <again>"};
        if (status == ExecStatus::expired) r.acceptable_validity_period = 9;
        if (f == Function::get_eis || f == Function::audit_eis) r.eis = eis;
        if (f == Function::download_profile) r.iccid = std::string(kIccid);
        if (f == Function::create_isdp) r.isd_p_aid = hex("A0000005591010FFFFFFFF8900001300");
        const bool card = f == Function::create_isdp || f == Function::send_data || f == Function::enable_profile ||
                          f == Function::update_connectivity_parameters || f == Function::disable_profile ||
                          f == Function::delete_profile || f == Function::delete_isdp ||
                          f == Function::download_profile;
        if (card) r.euicc_response_data = hex("2303009000");
        SendHeader h = header(i, f, true);
        h.message_pending = status == ExecStatus::failed;
        const std::string xml = write_message(h, r, kNs3, Dialect::reference);
        const Message m = message(xml);
        EXPECT_TRUE(std::get<Response>(m.body) == r) << xml;
        // The published descriptions give an Operator no octets of the card.
        if (i == Interface::es2) r.euicc_response_data.reset();
        EXPECT_TRUE(std::get<Response>(message(write_message(h, r)).body) == r);
        EXPECT_EQ(m.header.message_pending, h.message_pending);
        EXPECT_EQ(m.header.relates_to, h.relates_to);
        expect_round_trip(m);
      }
    }
  }
}

TEST(RoundTrip, SuccessCarriesNoStatusCode) {
  Response r;
  r.function = Function::enable_profile;
  r.code = StatusCode{"1", "2", "", ""};
  const std::string xml = write_message(header(Interface::es2, r.function, true), r);
  EXPECT_EQ(xml.find("StatusCodeData"), std::string::npos);
  EXPECT_FALSE(body<Response>(xml).code);
}

TEST(RoundTrip, CertificatesWithoutIndex) {
  Eis e = *body<Response>(own("eis.xml")).eis;
  e.ecasd.keysets[0].certs.clear();
  Response r;
  r.interface = Interface::es3;
  r.eis = e;
  const Eis again = *body<Response>(write_message(header(r.interface, r.function, true), r)).eis;
  EXPECT_EQ(again.ecasd.keysets[0].certificates, e.ecasd.keysets[0].certificates);
  EXPECT_EQ(again.ecasd.keysets[0].certs[1].index, "2");
}

// Ten thousand damaged messages: no crash, and whatever is still accepted means the same when written again.
TEST(RoundTrip, DamagedMessages) {
  std::mt19937 rng(20260501);
  std::vector<std::string> seeds;
  for (const char* f : {"order-by-iccid.xml", "order-by-type.xml", "policy-none.xml", "eis.xml",
                        "send-data-refused.xml", "notification-new-schema.xml", "poll.xml", "fault-nested.xml"}) {
    seeds.push_back(own(f));
  }
  std::size_t accepted = 0;
  std::size_t refused = 0;
  for (int n = 0; n < 10000; ++n) {
    std::string s = seeds[rng() % seeds.size()];
    for (unsigned k = 1 + rng() % 2; k > 0; --k) {
      const std::size_t at = rng() % s.size();
      switch (rng() % 7) {
        case 5:
        case 6:  // gentler: one letter or digit becomes another
          if (std::isalnum(static_cast<unsigned char>(s[at])) != 0) s[at] = "0123456789abcXYZ"[rng() % 16];
          break;
        case 0:
          s[at] = static_cast<char>(rng());
          break;
        case 1:
          s.erase(at, 1 + rng() % 20);
          break;
        case 2:
          s.insert(at, s.substr(rng() % s.size(), rng() % 40));
          break;
        case 3:
          s[at] = "<>/&;'\"=: \n0aA-"[rng() % 15];
          break;
        default: {  // an element out, from '<' to a later '>'
          const std::size_t from = s.find('<', at);
          const std::size_t to = s.find('>', from == std::string::npos ? at : from + rng() % 60);
          if (from != std::string::npos && to != std::string::npos) s.erase(from, to - from + 1);
        }
      }
      if (s.empty()) s = "<";
    }
    const auto r = parse_message(s, {});
    if (const auto* m = std::get_if<Message>(&r)) {
      ++accepted;
      expect_round_trip(*m);
    } else {
      ++refused;
      const auto& f = std::get<Fault>(r);
      const auto back = read_fault(write_fault(f));
      ASSERT_TRUE(back.ok()) << back.error().text() << "\n" << write_fault(f);
      EXPECT_EQ(back->code, f.code);
      EXPECT_EQ(back->subcode, f.subcode);
      EXPECT_EQ(back->http_status, f.http_status);
      EXPECT_FALSE(f.reason.empty());
    }
    if (HasFailure()) {
      FAIL() << s;
    }
  }
  EXPECT_GT(accepted, 500U);
  EXPECT_GT(refused, 500U);
}

}  // namespace
}  // namespace kf::es::test
