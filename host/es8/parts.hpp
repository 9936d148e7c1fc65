// The Data of each ES3.SendData of a script, as hexBinary: what stands between the tags of the SOAP body.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/base/bytes.hpp"

namespace kf::es8 {

struct SendPart {
  std::shared_ptr<const std::string> hex;  // shared: a call may be made again
  std::size_t commands = 0;                // whole commands in it
};

// Commands one behind the other, ends[i] the offset behind command i. As few parts as `limit` octets of Data each allow
// (0: no limit), cut between commands only; a command longer than that goes alone. `in_22`: each command inside a 22,
// for SM-SRs that want it (docs/spec/interfaces.md 2.4).
std::vector<SendPart> send_parts(ByteView octets, std::span<const std::uint32_t> ends, std::size_t limit, bool in_22);

}  // namespace kf::es8
