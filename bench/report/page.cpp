#include "bench/report/page.hpp"

#include "bench/report/svg.hpp"

namespace kf::bench {
namespace {

using svg::escape;

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--bg:#fcfcfb;--card:#fff;--text:#1c1c1a;--dim:#62625d;--line:#e3e2de;--c1:#2a6fb0;--c2:#c2611f;--c3:#8b8b84;--ok:#1f7a45;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--bg:#161615;--card:#1f1f1d;--text:#ecece8;--dim:#a3a39b;--line:#34342f;--c1:#5c9ddb;--c2:#e08a4b;--c3:#7d7d76;--ok:#5cbf86;--bad:#f28b82}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,"DejaVu Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:0 0 4px}
p{margin:4px 0}.dim{color:var(--dim)}.small{font-size:13px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin-top:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin-top:18px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.tile b{display:block;font-size:30px;line-height:1.2;font-weight:600;font-variant-numeric:tabular-nums}
.tile b.long{font-size:20px;line-height:1.3;min-height:36px;padding-top:5px}
.tile span{display:block;line-height:1.35;color:var(--dim);font-size:13px}
.ok{color:var(--ok)}.bad{color:var(--bad)}
svg{width:100%;height:auto;display:block;margin-top:8px}
svg text{font:12px system-ui,"DejaVu Sans",sans-serif;fill:var(--text)}
svg .tick{fill:var(--dim)}svg .row,svg .value{font-size:13px}svg .label{font-size:12px}
svg .grid{stroke:var(--line);stroke-width:1}svg .mark{stroke:var(--text);stroke-width:1;stroke-dasharray:3 3}
svg .c1{fill:var(--c1)}svg .c2{fill:var(--c2)}svg .c3{fill:var(--c3)}
svg .c2.fill{fill:var(--c2);fill-opacity:.18}
svg .c1.line{fill:none;stroke:var(--c1);stroke-width:1.5}svg .c2.line{fill:none;stroke:var(--c2);stroke-width:1.5}svg .c3.line{fill:none;stroke:var(--c3);stroke-width:1.5}
svg .hover{fill:transparent}svg .whisker{fill:none;stroke:var(--text);stroke-width:1.2}
table{border-collapse:collapse;width:100%;margin-top:8px;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:4px 14px 4px 0;border-top:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:500}td.n,th.n{text-align:right}td.n{white-space:nowrap}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:0 30px}
.card{overflow-x:auto}
svg.narrow{display:none}svg.half{max-width:560px}
@media (max-width:700px){main{padding:16px 10px 40px}.card{padding:12px}svg.wide{display:none}svg.narrow{display:block}.two>div{min-width:0}
.tiles{grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}.tile{padding:10px 12px}.tile b{font-size:24px}.tile b.long{font-size:18px}td,th{padding-right:10px}td:last-child:not(.n){overflow-wrap:anywhere}}
)";

}  // namespace

Page::Page(std::string_view title) {
  add("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">");
  add("<title>{}</title><style>{}</style></head><body><main>", escape(title), kStyle);
}

void Page::open(std::string_view title, std::string_view about) {
  add("<section class=\"card\"><h2>{}</h2>", title);
  if (!about.empty()) add("<p class=\"dim small\">{}</p>", about);
}

void Page::close() { add("</section>"); }

void Page::tile(std::string_view value, std::string_view what, std::string_view css) {
  add("<div class=\"tile\"><b class=\"{}\">{}</b><span>{}</span></div>", css, escape(value), escape(what));
}

void Page::fact(std::string_view name, std::string_view value) {
  add("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
}

void Page::cells(const std::vector<std::string>& texts, std::string_view tag) {
  s_ += "<tr>";
  for (std::size_t i = 0; i < texts.size(); ++i)
    fmt::format_to(std::back_inserter(s_), "<{}{}>{}</{}>", tag, i < words_ ? "" : " class=\"n\"", escape(texts[i]),
                   tag);
  s_ += "</tr>\n";
}

void Page::table(std::size_t words, const std::vector<std::string>& heads) {
  words_ = words;
  s_ += "<table>";
  cells(heads, "th");
}

void Page::row(const std::vector<std::string>& texts) { cells(texts, "td"); }

void Page::end_table() { add("</table>"); }

void Page::facts(const Machine& m) {
  fact("machine", fmt::format("{} × {}, {:.1f} GiB", m.cores, m.cpu,
                              static_cast<double>(m.memory_bytes) / (1024.0 * 1024.0 * 1024.0)));
  fact("system", m.os + ", " + m.kernel);
}

std::string Page::take() {
  add("</main></body></html>");
  return std::move(s_);
}

}  // namespace kf::bench
