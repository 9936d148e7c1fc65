#include "tests/sim/strict/strict.hpp"

#include <pugixml.hpp>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

namespace kf::sim {
namespace {

constexpr const char* kMessages = "http://namespaces.gsma.org/esim-messaging/3";
constexpr const char* kEnvelope = "http://www.w3.org/2003/05/soap-envelope";
constexpr const char* kAddressing = "http://www.w3.org/2005/08/addressing";

// A sequence of children, "Name", "Name?" or "Name*", in the order they must come.
struct Shape {
  const char* element;
  const char* action;  // without http://gsma.com/; "" where the descriptions have none: the ES2 answers to ReplyTo
  const char* children;
};

#define REQUEST "FunctionCallIdentifier ValidityPeriod? "
#define RESPONSE "ProcessingStart? ProcessingEnd? AcceptableValidityPeriod? FunctionExecutionStatus "
constexpr Shape kShapes[] = {
    {"ES2-DownloadProfileResponse", "", RESPONSE "Iccid?"},
    {"ES2-EnableProfileResponse", "", RESPONSE},
    {"ES2-DisableProfileResponse", "", RESPONSE},
    {"ES2-DeleteProfileResponse", "", RESPONSE},
    {"ES2-GetEISResponse", "ES2/DataPreparation/ES2-GetEISResponse", RESPONSE "Eis?"},
    {"ES2-UpdatePolicyRulesResponse", "ES2/ProfileManagement/ES2-UpdatePolicyRulesResponse", RESPONSE},
    {"ES2-UpdateSubscriptionAddressResponse", "ES2/ProfileManagement/ES2-UpdateSubscriptionAddressResponse", RESPONSE},
    {"ES2-HandleProfileEnabledNotification", "ES2/PlatformManagement/ES2-HandleProfileEnabledNotification",
     "Eid Iccid CompletionTimestamp"},
    {"ES2-HandleProfileDisabledNotification", "ES2/PlatformManagement/ES2-HandleProfileDisabledNotification",
     "Eid Iccid CompletionTimestamp"},
    {"ES2-HandleProfileDeletedNotification", "ES2/PlatformManagement/ES2-HandleProfileDeletedNotification",
     "Eid Iccid CompletionTimestamp"},
    {"ES2-HandleSMSRChangeNotification", "ES2/eUICCManagement/ES2-HandleSMSRChangeNotification",
     "Eis CompletionTimestamp"},
    {"ES3-GetEISRequest", "ES3/ProfileManagement/ES3-GetEISRequest", REQUEST "Eid"},
    {"ES3-AuditEISRequest", "ES3/ProfileManagement/ES3-AuditEIS", REQUEST "Eid"},
    {"ES3-CreateISDPRequest", "ES3/ProfileManagement/ES3-CreateISDP",
     REQUEST "Eid Iccid Mno-id RequiredMemory MoreToDo?"},
    {"ES3-SendDataRequest", "ES3/ProfileManagement/ES3-SendData", REQUEST "Eid Sd-aid Data MoreToDo?"},
    {"ES3-ProfileDownloadCompletedRequest", "ES3/ProfileManagement/ES3-ProfileDownloadedCompletedRequest",
     REQUEST "Eid Iccid ProfileType? SubscriptionAddress? pol2?"},
    {"ES3-UpdatePolicyRulesRequest", "ES3/ProfileManagement/ES3-UpdatePolicyRulesRequest", REQUEST "Eid Iccid pol2?"},
    {"ES3-UpdateSubscriptionAddressRequest", "ES3/ProfileManagement/ES3-UpdateSubscriptionAddressRequest",
     REQUEST "Eid Iccid newSubscriptionAddress"},
    {"ES3-EnableProfileRequest", "ES3/PlatformManagement/ES3-EnableProfile", REQUEST "Eid Iccid"},
    {"ES3-DisableProfileRequest", "ES3/PlatformManagement/ES3-DisableProfile", REQUEST "Eid Iccid"},
    {"ES3-DeleteISDPRequest", "ES3/PlatformManagement/ES3-DeleteISDP", REQUEST "Eid Iccid"},
    {"ES3-UpdateConnectivityParametersRequest", "ES3/PlatformManagement/ES3-UpdateConnectivityParameters",
     REQUEST "Eid Iccid ConnectivityParameters"},
};
constexpr Shape kParts[] = {
    {"FunctionExecutionStatus", "", "Status StatusCodeData?"},
    {"StatusCodeData", "", "Subject Reason SubjectIdentifier? Message?"},
    {"SubscriptionAddress", "", "Imsi? Msisdn?"},
    {"newSubscriptionAddress", "", "Imsi? Msisdn?"},
    {"pol2", "", "Rule*"},
    {"Rule", "", "Subject Action Qualification"},
    {"Eis", "",
     "EumSignedInfo EumSignature RemainingMemory AvailableMemoryForProfiles LastAuditDate? Smsr-id ProfileInfo* Isd-r "
     "AuditTrail? AdditionalProperties?"},
    {"ProfileInfo", "",
     "Iccid Isd-p-aid Mno-id FallbackAttribute SubscriptionAddress State Smdp-id? ProfileType? AllocatedMemory "
     "FreeMemory? pol2"},
};

std::string local(pugi::xml_node n) {
  const char* colon = std::strchr(n.name(), ':');
  return colon == nullptr ? n.name() : colon + 1;
}
std::string space_of(pugi::xml_node n) {  // the namespace of an element
  const char* colon = std::strchr(n.name(), ':');
  const std::string binding = colon == nullptr ? "xmlns" : "xmlns:" + std::string(n.name(), colon);
  for (; n; n = n.parent())
    if (const auto a = n.attribute(binding.c_str())) return a.value();
  return {};
}
pugi::xml_node child(pugi::xml_node n, const char* space, const std::string& name) {
  for (const auto c : n.children())
    if (c.type() == pugi::node_element && local(c) == name && space_of(c) == space) return c;
  return {};
}
std::vector<std::string> words(const char* s) {
  std::vector<std::string> out;
  for (const char* p = s; *p != 0;) {
    const std::size_t n = std::strcspn(p, " ");
    if (n > 0) out.emplace_back(p, n);
    p += n + (p[n] == ' ' ? 1 : 0);
  }
  return out;
}

std::optional<std::string> wrong_children(pugi::xml_node n, const char* expected) {
  const auto pattern = words(expected);
  auto at = n.first_child();
  const auto skip = [&] {
    while (at && at.type() != pugi::node_element) at = at.next_sibling();
  };
  for (const std::string& p : pattern) {
    const bool optional = p.back() == '?' || p.back() == '*';
    const std::string name = optional ? p.substr(0, p.size() - 1) : p;
    std::size_t found = 0;
    for (skip(); at && local(at) == name && (found == 0 || p.back() == '*'); skip()) {
      if (space_of(at) != kMessages) return name + " is in another namespace";
      for (const Shape& part : kParts)
        if (name == part.element)
          if (auto bad = wrong_children(at, part.children)) return bad;
      ++found;
      at = at.next_sibling();
    }
    if (found == 0 && !optional) return local(n) + ": " + name + " expected" + (at ? ", " + local(at) + " found" : "");
  }
  skip();
  if (at) return local(n) + ": " + local(at) + " is not expected there";
  return std::nullopt;
}

}  // namespace

std::optional<std::string> strict_complaint(std::string_view xml) {
  pugi::xml_document doc;
  if (!doc.load_buffer(xml.data(), xml.size())) return "not XML";
  const auto envelope = doc.document_element();
  if (space_of(envelope) != kEnvelope) return "no SOAP 1.2 envelope";
  const auto header = child(envelope, kEnvelope, "Header");
  const auto body = child(envelope, kEnvelope, "Body").first_child();
  const std::string name = local(body);
  if (name == "Fault" || name == "MakeConnection") return std::nullopt;
  const Shape* shape = nullptr;
  for (const Shape& s : kShapes)
    if (name == s.element) shape = &s;
  if (shape == nullptr || space_of(body) != kMessages) return "no operation has a message " + name;
  const bool answer = name.ends_with("Response");
  for (const char* required : {"From", "To", "MessageID", "Action", answer ? "RelatesTo" : "To"})
    if (!child(header, kAddressing, required)) return std::string("wsa:") + required + " is missing";
  const std::string action = child(header, kAddressing, "Action").child_value();
  if (*shape->action != 0 && action != std::string("http://gsma.com/") + shape->action)
    return "wsa:Action " + action + " belongs to no operation with " + name;
  return wrong_children(body, shape->children);
}

void Recorder::operator()(std::string_view xml) {
  if (folder_.empty() || xml.empty()) return;
  std::error_code ec;
  std::filesystem::create_directories(folder_, ec);
  std::ofstream(folder_ + "/" + who_ + "-" + std::to_string(++count_) + ".xml", std::ios::binary) << xml;
}

}  // namespace kf::sim
