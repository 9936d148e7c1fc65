// What our programs make of their command line: CLI11 reads it, and whoever mistypes is told what was wrong with which
// word, in one line, with the help of the verb at hand. Exit status 2 for every mistake, in every program.
//
// A header only, so that nothing but a program needs CLI11. One thread, at the start of main().
#pragma once

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>

#include "host/base/text.hpp"

namespace kf {

// "keyferry profile import": the program and the verbs that were understood.
inline std::string verb_given(const CLI::App& app, const std::string& program) {
  std::string out = program;
  for (const CLI::App* a = &app; !a->get_subcommands().empty();) {
    a = a->get_subcommands().back();
    out += " " + a->get_name();
  }
  return out;
}

// The one line of a mistake, without the program's name.
inline std::string usage_mistake(const CLI::App& app, const CLI::ParseError& e, const std::string& program) {
  const std::string verb = verb_given(app, program);
  std::string what = e.what();
  // A word that nobody knows comes first: what CLI11 says is missing may be just that word, mistyped.
  if (const auto early = app.remaining(false);
      app.get_require_subcommand_min() != 0 && !early.empty() && early.front().starts_with("-")) {
    return early.front() + ": no option of " + program + " itself; those of a verb follow the verb (" + program +
           " --help)";
  } else if (const auto unknown = app.remaining(true); !unknown.empty()) {
    const auto option = std::ranges::find_if(unknown, [](const std::string& s) { return s.starts_with("-"); });
    const CLI::App* at = &app;
    while (!at->get_subcommands().empty()) at = at->get_subcommands().back();
    if (option != unknown.end() && (option == unknown.begin() || at->get_require_subcommand_min() == 0))
      what = option->substr(0, option->find('=')) + ": no such option of " + verb;
    else if (at->get_require_subcommand_min() != 0)
      what = unknown.front() + ": no such verb";
    else
      what = unknown.front() + ": one word too many";
  } else if (const std::string begin = "Could not convert: "; what.starts_with(begin)) {
    what = what.substr(begin.size());
    if (const auto equals = what.find(" = "); equals != std::string::npos)
      what.replace(equals, 3, ": not a value it takes: ");
  } else if (const auto at = what.find(": 1 required "); at != std::string::npos && what.ends_with(" missing")) {
    what = what.substr(0, at) + ": its value is missing";
  } else if (what == "A subcommand is required") {
    what = "a verb is missing";
  }
  std::ranges::replace(what, '\n', ' ');
  return what + " (" + verb + " --help)";
}

// Nothing: the command line was good. Else the program ends with this: 0 after --help or --version, 2 after a mistake.
inline std::optional<int> parse_command_line(CLI::App& app, const std::string& program, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::fprintf(stderr, "%s: %s\n", program.c_str(), one_line(usage_mistake(app, e, program)).c_str());
    return 2;
  }
  return std::nullopt;
}

// The status that a program ends with: what it printed may still be on its way, and the disk full.
inline int end_program(const std::string& program, int status) {
  errno = 0;
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.flush().good();
  if (written || status != 0) return status;
  std::fprintf(stderr, "%s: the output could not be written: %s\n", program.c_str(),
               errno != 0 ? std::strerror(errno) : "an earlier error");
  return 1;
}

}  // namespace kf
