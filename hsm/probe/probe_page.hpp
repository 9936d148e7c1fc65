// The probe's page as a document: sections of facts, tables, bars and text, for the two renderers. Values only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "hsm/probe/probe_report.hpp"

namespace kf::hsm::page {

enum class Tone : std::uint8_t { plain, good, bad };
struct Cell {
  std::string text;
  Tone tone = Tone::plain;
  Cell(std::string t, Tone o = Tone::plain) : text(std::move(t)), tone(o) {}  // NOLINT(google-explicit-constructor)
  Cell(const char* t) : text(t) {}                                            // NOLINT(google-explicit-constructor)
};
struct Fact {
  std::string name;
  Cell value;
};
struct Table {
  std::vector<std::string> head;
  std::vector<std::vector<Cell>> rows;
};
struct Bar {
  std::string name;
  double value = 0;
  std::string label;
  bool mark = false;  // the knee
};
struct Section {
  std::string title;
  std::vector<std::string> paragraphs;  // after the title
  std::vector<Fact> facts;
  Table table;
  std::vector<Bar> bars;
  std::string code;
};
struct Page {
  std::string title, about;
  std::vector<Section> sections;
};

Page build(const ProbeReport& r, const ProbeHead& h);

}  // namespace kf::hsm::page
