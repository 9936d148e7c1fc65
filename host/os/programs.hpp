// Where the programs are that Keyferry starts itself: they are built, and installed, with the one that asks.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace kf::os {

// The folder that holds the running program; empty where /proc does not say.
std::filesystem::path own_folder();

// `name` as a program that can be run: in `folder`, in ../bin (where a build puts it, seen from a library or a test),
// or where an installation keeps what nobody starts by hand (cmake/product.cmake).
std::optional<std::string> find_program(const std::filesystem::path& folder, std::string_view name);

}  // namespace kf::os
