#include "host/os/programs.hpp"

#include <unistd.h>

#include <array>

namespace kf::os {
namespace fs = std::filesystem;

fs::path own_folder() {
  std::error_code ec;
  return fs::read_symlink("/proc/self/exe", ec).parent_path();
}

std::optional<std::string> find_program(const fs::path& folder, std::string_view name) {
  if (folder.empty()) return std::nullopt;  // not whatever lies in the working directory
  const std::array places{folder, folder.parent_path() / "bin", folder / KF_LIBEXEC_FROM_BIN,
                          folder / KF_LIBEXEC_FROM_LIB};
  for (const fs::path& place : places) {
    const fs::path p = (place / name).lexically_normal();
    std::error_code ec;
    if (fs::is_regular_file(p, ec) && ::access(p.c_str(), X_OK) == 0) return p.string();
  }
  return std::nullopt;
}

}  // namespace kf::os
