// The page as one HTML file: no script, nothing fetched, light and dark by the reader's system.
#include <algorithm>
#include <cstdio>

#include "hsm/probe/probe_page.hpp"

namespace kf::hsm {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--bg:#fcfcfb;--card:#fff;--text:#1c1c1a;--dim:#62625d;--line:#e3e2de;--bar:#2a6fb0;--knee:#c2611f;--ok:#1f7a45;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--bg:#161615;--card:#1f1f1d;--text:#ecece8;--dim:#a3a39b;--line:#34342f;--bar:#5c9ddb;--knee:#e08a4b;--ok:#5cbf86;--bad:#f28b82}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,"DejaVu Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:20px;margin:0;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 4px}
p{margin:4px 0}.dim{color:var(--dim)}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 18px;margin-top:16px;overflow-x:auto}
table{border-collapse:collapse;width:100%;margin-top:6px;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:4px 14px 4px 0;border-top:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}
th{color:var(--dim);font-weight:500}td:first-child{white-space:pre;color:var(--dim)}
.ok{color:var(--ok)}.bad{color:var(--bad)}
pre{background:var(--bg);border:1px solid var(--line);border-radius:6px;padding:12px;overflow-x:auto;font-size:13px}
svg{width:100%;height:auto;display:block;margin-top:8px}
svg text{font:13px system-ui,"DejaVu Sans",sans-serif;fill:var(--text)}
svg .b{fill:var(--bar)}svg .k{fill:var(--knee)}
)";

std::string escape(std::string_view s) {
  std::string out;
  for (const char c : s) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string td(const page::Cell& c) {
  const char* css = c.tone == page::Tone::good ? " class=\"ok\"" : c.tone == page::Tone::bad ? " class=\"bad\"" : "";
  return "<td" + std::string(css) + ">" + escape(c.text) + "</td>";
}

std::string svg(const std::vector<page::Bar>& bars) {
  constexpr int kRow = 26;
  constexpr int kLeft = 40;
  constexpr double kLength = 560;
  double most = 0;
  for (const page::Bar& b : bars) most = std::max(most, b.value);
  std::string out =
      "<svg viewBox=\"0 0 920 " + std::to_string(kRow * static_cast<int>(bars.size())) + "\" role=\"img\">";
  int y = 0;
  for (const page::Bar& b : bars) {
    const double w = most > 0 ? kLength * b.value / most : 0;
    char buffer[256];
    std::snprintf(
        buffer, sizeof buffer,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" "
        "height=\"18\" rx=\"2\"/>",
        kLeft - 10, y + 16, escape(b.name).c_str(), b.mark ? "k" : "b", kLeft, y + 3, w);
    out += buffer;
    std::snprintf(buffer, sizeof buffer, "<text x=\"%.1f\" y=\"%d\">", kLeft + w + 8, y + 16);
    out += buffer + escape(b.label + (b.mark ? "  knee" : "")) + "</text>";
    y += kRow;
  }
  return out + "</svg>\n";
}

}  // namespace

std::string probe_html(const ProbeReport& r, const ProbeHead& h) {
  const page::Page p = page::build(r, h);
  std::string out =
      "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>" +
      escape(p.title) + "</title><style>" + kStyle + "</style></head><body><main>\n<h1>" + escape(p.title) +
      "</h1><p class=\"dim\">" + escape(p.about) + "</p>\n";
  for (const page::Section& s : p.sections) {
    out += "<section><h2>" + escape(s.title) + "</h2>\n";
    for (const std::string& t : s.paragraphs) out += "<p class=\"dim\">" + escape(t) + "</p>\n";
    if (!s.facts.empty()) {
      out += "<table>\n";
      for (const page::Fact& f : s.facts) out += "<tr><td>" + escape(f.name) + "</td>" + td(f.value) + "</tr>\n";
      out += "</table>\n";
    }
    if (!s.table.head.empty()) {
      out += "<table><tr>";
      for (const std::string& t : s.table.head) out += "<th>" + escape(t) + "</th>";
      out += "</tr>\n";
      for (const auto& row : s.table.rows) {
        out += "<tr>";
        for (const page::Cell& c : row) out += td(c);
        out += "</tr>\n";
      }
      out += "</table>\n";
    }
    if (!s.bars.empty()) out += svg(s.bars);
    if (!s.code.empty()) out += "<pre>" + escape(s.code) + "</pre>\n";
    out += "</section>\n";
  }
  return out + "</main></body></html>\n";
}

}  // namespace kf::hsm
