// A document as one HTML file: style sheet, cards, tiles, tables, drawings. No script, nothing fetched.
#include <fmt/format.h>

#include <iterator>

#include "host/base/text.hpp"
#include "host/report/document.hpp"
#include "host/report/svg.hpp"

namespace kf::report {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--bg:#fcfcfb;--card:#fff;--text:#1c1c1a;--dim:#62625d;--line:#e3e2de;--c1:#2a6fb0;--c2:#c2611f;--c3:#8b8b84;--ok:#1f7a45;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--bg:#161615;--card:#1f1f1d;--text:#ecece8;--dim:#a3a39b;--line:#34342f;--c1:#5c9ddb;--c2:#e08a4b;--c3:#7d7d76;--ok:#5cbf86;--bad:#f28b82}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,"DejaVu Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:22px;margin:0;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 4px;overflow-wrap:anywhere}
p{margin:4px 0;overflow-wrap:anywhere}.dim{color:var(--dim)}.small,figcaption,caption,summary{font-size:13px}
.card,.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px}
.card{margin-top:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin-top:18px}
.tile{padding:12px 16px}
.tile b{display:block;font-size:30px;line-height:1.2;font-weight:600;font-variant-numeric:tabular-nums}
.tile b.long{font-size:20px;line-height:1.3;min-height:36px;padding-top:5px}
.tile span{display:block;line-height:1.35;color:var(--dim);font-size:13px}
.ok{color:var(--ok)}.bad{color:var(--bad)}
figure{margin:10px 0 0;min-width:0}figcaption,caption{font-weight:600;text-align:left}
summary{color:var(--dim);cursor:pointer}
svg{width:100%;height:auto;display:block;margin-top:8px}
svg text{font:12px system-ui,"DejaVu Sans",sans-serif;fill:var(--text)}
svg .tick{fill:var(--dim)}svg .row,svg .value{font-size:13px}svg .label{font-size:12px}
svg .grid{stroke:var(--line);stroke-width:1}svg .mark{stroke:var(--text);stroke-width:1;stroke-dasharray:3 3}
svg .c1{fill:var(--c1)}svg .c2{fill:var(--c2)}svg .c3{fill:var(--c3)}
svg .c2.fill{fill:var(--c2);fill-opacity:.18}
svg .c1.line{fill:none;stroke:var(--c1);stroke-width:1.5}svg .c2.line{fill:none;stroke:var(--c2);stroke-width:1.5}svg .c3.line{fill:none;stroke:var(--c3);stroke-width:1.5}
svg .hover{fill:transparent}svg .whisker{fill:none;stroke:var(--text);stroke-width:1.2}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;margin-top:8px;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:4px 14px 4px 0;border-top:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:500}td.n,th.n{text-align:right}tbody th{white-space:pre-wrap}td.n,.brief{white-space:nowrap}
.facts td{overflow-wrap:anywhere}
pre{background:var(--bg);border:1px solid var(--line);border-radius:6px;padding:12px;overflow-x:auto;font-size:13px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:0 30px}
svg.narrow{display:none}svg.half{max-width:560px}
@media (max-width:700px){main{padding:16px 10px 40px}.card{padding:12px}svg.wide{display:none}svg.narrow{display:block}
.tiles{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}.tile{padding:10px 12px}.tile b{font-size:24px}.tile b.long{font-size:18px}td,th{padding-right:10px}}
)";

constexpr std::string_view css_of(Tone t) { return t == Tone::good ? "ok" : t == Tone::bad ? "bad" : ""; }

class Html {
 public:
  std::string out;

  template <class... A>
  void add(fmt::format_string<A...> f, A&&... a) {
    fmt::format_to(std::back_inserter(out), f, std::forward<A>(a)...);
  }
  void paragraph(const Cell& c, std::string_view css) {
    add("<p class=\"{} {}\">{}</p>\n", css, css_of(c.tone), svg::escape(c.text));
  }
  void cell(std::string_view tag, std::string_view scope, std::string_view css, std::string_view text) {
    const std::string_view is = text.empty() ? "td" : tag;  // a header that says nothing heads nothing
    add("<{}{}{}>{}</{}>", is, is == "th" ? fmt::format(" scope=\"{}\"", scope) : std::string(),
        css.empty() ? std::string() : fmt::format(" class=\"{}\"", css), svg::escape(text), is);
  }

  void operator()(const Prose& p) { paragraph(p.text, "small"); }
  void operator()(const Code& c) { add("<pre tabindex=\"0\">{}</pre>\n", svg::escape(c.text)); }
  void operator()(const Facts& f) {
    if (f.rows.empty()) return;
    out += "<div class=\"scroll\"><table class=\"facts\"><tbody>\n";
    for (const Fact& x : f.rows) {
      out += "<tr>";
      cell("th", "row", "", x.name);
      cell("td", "", css_of(x.value.tone), x.value.text);
      out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
  }
  void operator()(const Table& t) {
    if (t.rows.empty()) return;
    // A reader with a keyboard scrolls what has the focus.
    add("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\"><table>",
        t.title.empty() ? "table" : svg::escape(t.title));
    if (!t.title.empty()) add("<caption>{}</caption>", svg::escape(t.title));
    out += "<thead><tr>";
    for (std::size_t i = 0; i < t.head.size(); ++i) cell("th", "col", i < t.words ? "" : "n", t.head[i]);
    out += "</tr></thead><tbody>\n";
    for (const auto& row : t.rows) {
      out += "<tr>";
      for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string_view tone = css_of(row[i].tone);
        // A curve or a percentage is not broken in two.
        const std::string_view kind = i >= t.words ? "n" : row[i].text.size() <= 12 ? "brief" : "";
        const std::string css = fmt::format("{}{}{}", kind, kind.empty() || tone.empty() ? "" : " ", tone);
        cell(i == 0 && t.words > 0 ? "th" : "td", "row", css, row[i].text);
      }
      out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
  }
  void operator()(const Chart& c) {
    const Table numbers = twin(c);
    if (numbers.rows.empty()) return;
    out += "<figure>";
    if (!c.title.empty()) add("<figcaption>{}</figcaption>", svg::escape(c.title));
    out += svg::drawn(c);
    out += "<details><summary>The numbers as a table</summary>\n";
    (*this)(numbers);
    out += "</details></figure>\n";
  }
};

bool is_half(const Block& b) {
  const Chart* c = std::get_if<Chart>(&b);
  return c != nullptr && c->half;
}

void put(Html& h, const Section& s) {
  h.add("<section class=\"card\"><h2>{}</h2>\n", svg::escape(s.title));
  if (!s.about.empty()) h.paragraph(s.about, "dim small");
  bool beside = false;
  for (const Block& b : s.blocks) {
    if (is_half(b) != beside) h.out += beside ? "</div>\n" : "<div class=\"two\">\n";
    beside = is_half(b);
    std::visit(h, b);
  }
  if (beside) h.out += "</div>\n";
  h.out += "</section>\n";
}

}  // namespace

std::string to_html(const Document& d) {
  Html h;
  h.add(
      "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<title>{}</title><style>{}</style></head><body><main>\n"
      "<h1>{}</h1>\n",
      svg::escape(d.title), kStyle, svg::escape(d.title));
  if (!d.lead.empty()) h.paragraph(d.lead, "dim");
  if (!d.alert.empty()) h.paragraph({d.alert, Tone::bad}, "");
  if (!d.tiles.empty()) {
    h.out += "<div class=\"tiles\">\n";
    for (const Tile& t : d.tiles)
      h.add("<div class=\"tile\"><b class=\"{}{}\">{}</b><span>{}</span></div>\n", t.value.size() > 9 ? "long " : "",
            css_of(t.tone), svg::escape(t.value), svg::escape(t.what));
    h.out += "</div>\n";
  }
  for (const Cell& c : d.summary) h.paragraph(c, "small");
  for (const Section& s : d.sections) put(h, s);
  h.out += "</main></body></html>\n";
  return std::move(h.out);
}

}  // namespace kf::report
