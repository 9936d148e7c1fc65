// Which status code each failure gets (docs/spec/interfaces.md 4.2, 7.4).
#pragma once

#include "host/download/machine.hpp"

namespace kf::download {

Cause certificate_cause(const Error& e, CertificateTrouble t, const Eid& eid);
Cause pe_cause(const profile::EuiccResponse& r, const Order& o);  // docs/spec/interfaces.md 7.4
// The SM-SR's codes, or ours when it gave none. Its text is cut to lengths that records and messages can hold.
Cause passed_on(const es::Response& r, const Cause& when_missing);
Cause expired_cause();  // 1.6/5.3

}  // namespace kf::download
