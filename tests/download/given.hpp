// What a step of the machine may know besides the download, owned by a test.
#pragma once

#include <vector>

#include "host/download/machine.hpp"

namespace kf::download {

struct Given : Policy {
  std::int64_t now_ms = 0;
  std::vector<std::uint32_t> optional_elements;
  [[nodiscard]] Moment moment() const { return {now_ms, optional_elements}; }
};

}  // namespace kf::download
