#include <algorithm>

#include "host/profile/der.hpp"
#include "host/profile/package.hpp"

namespace kf::profile {
namespace {
using der::Node;

Error bad(const char* detail) { return {"bad-format", detail}; }

Result<PeStatus> parse_status(ByteView in, const Node& n) {
  if (n.tag != 0x30) return bad("PEStatus expected");
  KF_TRY(const auto list, der::children(in, n));
  PeStatus s;
  if (list.empty() || list[0].tag != 0x80) return bad("PEStatus without status");
  KF_TRY(s.status, der::number(in, list[0]));
  if (s.status > 0xFFFF) return bad("status above 65535");
  if (const auto id = der::find(list, 0x81)) {
    KF_TRY(const std::uint32_t v, der::number(in, *id));
    if (v > 32767) return bad("identification above 32767");
    s.identification = v;
  }
  return s;
}

// For logs and callbacks: whatever the card sent must not carry control characters or broken UTF-8 further.
std::string clean(ByteView b) {
  std::string s(text(b.first(std::min<std::size_t>(b.size(), 256))));
  const bool utf8 = der::is_utf8(view(s));
  for (char& c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7F || (u >= 0x80 && !utf8)) c = '?';
  }
  return s;
}
}  // namespace

Result<EuiccResponse> parse_euicc_response(ByteView in) {
  std::size_t at = 0;
  KF_TRY(const Node top, der::read(in, at, in.size()));
  if (top.tag != 0x30) return bad("EUICCResponse does not begin with 30");
  if (at != in.size()) return bad("bytes behind the EUICCResponse");
  KF_TRY(const auto list, der::children(in, top));
  if (list.empty() || list[0].tag != 0xA0) return bad("peStatus missing");
  KF_TRY(const auto statuses, der::children(in, list[0]));
  EuiccResponse r;
  for (const Node& n : statuses) {
    KF_TRY(const PeStatus s, parse_status(in, n));
    r.statuses.push_back(s);
  }
  if (const auto aborted = der::find(list, 0x81)) {
    if (aborted->size() != 0) return bad("profileInstallationAborted is not NULL");
    r.aborted = true;
  }
  if (const auto message = der::find(list, 0x82)) r.message = clean(der::value(in, *message));
  return r;
}

}  // namespace kf::profile
