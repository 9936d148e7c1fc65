// The gate in front of pugixml: what XML 1.0 forbids, and what it allows.
#include <gtest/gtest.h>

#include <cctype>

#include "host/es/xml.hpp"

namespace kf::es {
namespace {

TEST(Gate, Accepts) {
  for (const char* s : {"<a/>", " \n<a/>\n", "<?xml version='1.0'?><a/>",
                        "<?xml version=\"1.0\" encoding='utf-8' standalone='no' ?>\n<a></a >",
                        "<?xml-stylesheet href='x'?><a/>", "<!-- c --><a/><!-- d - e --><?p?>",
                        "<a b='1' c=\"2\"\n d = 'x>y'/>", "<a>t<b/>&amp;&lt;&gt;&quot;&apos;&#65;&#x1F600;</a>",
                        "<a><![CDATA[<&]]>]]</a>", "<x:a xmlns:x='u' x:b=''><x:c/></x:a>",
                        "<a>\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80</a>", "<\xC3\xA4-1.2/>", "<a>'\" > ]</a>"}) {
    const auto r = check_document(s);
    EXPECT_TRUE(r.ok()) << s << "\n" << (r ? "" : r.error().text());
    EXPECT_TRUE(Document().load(s).ok()) << s;
  }
}

TEST(Gate, Refuses) {
  for (const char* s : {"",
                        " ",
                        "x",
                        "<",
                        "<a",
                        "<a>",
                        "<a/",
                        "</a>",
                        "<a></b>",
                        "<a><b></a></b>",
                        "<a/>x",
                        "x<a/>",
                        "<a/><a/>",
                        "<a/></a>",
                        "<1a/>",
                        "<a:/>",
                        "<:a/>",
                        "<a:b:c/>",
                        "<a b/>",
                        "<a b=c/>",
                        "<a b='c/>",
                        "<a b='<'/>",
                        "<a b='1' b='2'/>",
                        "<a b='1'c='2'/>",
                        "<a b='&'/>",
                        "<a>&</a>",
                        "<a>& b;</a>",
                        "<a>&amp</a>",
                        "<a>&b;</a>",
                        "<a>&#0;</a>",
                        "<a>&#x;</a>",
                        "<a>&#;</a>",
                        "<a>&#xD800;</a>",
                        "<a>&#x110000;</a>",
                        "<a>&#99999999999999;</a>",
                        "<a>&#1;</a>",
                        "<a>&#X41;</a>",
                        "<a>]]></a>",
                        "<a><![CDATA[x]]</a>",
                        "<![CDATA[x]]>",
                        "<a><!-- x -- y --></a>",
                        "<a><!-- x</a>",
                        "<a><!--></a>",
                        "<!DOCTYPE a><a/>",
                        "<a><!ELEMENT b></a>",
                        "<a><?xml version='1.0'?></a>",
                        " <?xml version='1.0'?><a/>",
                        "<?xml?><a/>",
                        "<?xml version='1.1'?><a/>",
                        "<?xml encoding='UTF-8'?><a/>",
                        "<?xml version='1.0' encoding='latin1'?><a/>",
                        "<?xml version='1.0' x='y'?><a/>",
                        "<?xml version='1.0' standalone='maybe'?><a/>",
                        "<?xml version='1.0'<a/>",
                        "<a><?p</a>",
                        "<a>\x01</a>",
                        "<a>\x7F\x80</a>",
                        "<a>\xC3</a>",
                        "<a>\xED\xA0\x80</a>",
                        "<a>\xF4\x90\x80\x80</a>",
                        "<a>\xEF\xBF\xBF</a>",
                        "<a>\xC0\x80</a>",
                        "<a>\xE0\x80\x80</a>",
                        "<a >< /a>",
                        "<a>abcdefghijklmnop\x02qrstuvwxyz</a>"}) {
    EXPECT_EQ(check_document(s).ok(), false) << s;
  }
}

TEST(Gate, Attributes) {
  const auto with = [](std::size_t n) {
    std::string s = "<a";
    for (std::size_t i = 0; i < n; ++i) s += " a" + std::to_string(i) + "=''";
    return s + "/>";
  };
  EXPECT_TRUE(check_document(with(kMaxAttributes)).ok());
  EXPECT_FALSE(check_document(with(kMaxAttributes + 1)).ok());
}

TEST(Gate, EveryControlCharacterInEveryPlace) {  // the eight-octet stride must not skip one
  for (int c = 0; c < 0x20; ++c) {
    const bool allowed = c == 9 || c == 10 || c == 13;
    for (std::size_t at = 3; at < 23; ++at) {
      std::string s = "<a>" + std::string(20, 'x') + "</a>";
      s[at] = static_cast<char>(c);
      EXPECT_EQ(check_document(s).ok(), allowed) << c << " at " << at;
    }
  }
}

TEST(Namespaces, Resolve) {
  Document d;
  ASSERT_TRUE(d.load("<a xmlns='u1' xmlns:p='u2'><b xmlns='' xmlns:q='u3'><p:c xmlns:p='u4'/><q:d "
                     "xmlns:q=''/></b><xml:e/><z:f/></a>")
                  .ok());
  const Scope out;
  const Scope a(out, d.root());
  EXPECT_EQ(a.name_of(d.root())->ns, "u1");
  const pugi::xml_node nb = d.root().child("b");
  const Scope b(a, nb);
  EXPECT_EQ(b.name_of(nb)->ns, "");
  EXPECT_EQ(b.uri("p"), "u2");
  EXPECT_EQ(b.uri("q"), "u3");
  EXPECT_EQ(b.uri("p"), "u2") << "the memory of one entry";
  const pugi::xml_node nc = nb.child("p:c");
  const Scope c(b, nc);
  EXPECT_EQ(c.name_of(nc)->ns, "u4");
  EXPECT_EQ(c.name_of(nc)->local, "c");
  const pugi::xml_node nd = nb.child("q:d");
  EXPECT_FALSE(Scope(b, nd).name_of(nd).ok()) << "a prefix cannot be unbound to nothing";
  const pugi::xml_node ne = d.root().child("xml:e");
  EXPECT_EQ(Scope(a, ne).name_of(ne)->ns, "http://www.w3.org/XML/1998/namespace");
  const pugi::xml_node nf = d.root().child("z:f");
  EXPECT_FALSE(Scope(a, nf).name_of(nf).ok());
}

TEST(RawContent, CutsExactly) {
  const auto raw = [](std::string_view xml) {
    Document d;
    EXPECT_TRUE(d.load(xml).ok()) << xml;
    return std::string(d.raw_content(d.root()));
  };
  EXPECT_EQ(raw("<a/>"), "");
  EXPECT_EQ(raw("<a  b='/' />"), "");
  EXPECT_EQ(raw("<a></a>"), "");
  EXPECT_EQ(raw("\xEF\xBB\xBF<a b='>'> x &amp; <c/> </a >"), " x &amp; <c/> ");
  EXPECT_EQ(raw("<!--<a>--><a><a d=\"/>\"><a/></a><!-- </a> --><![CDATA[</a>]]><?p </a>?></a><!---->"),
            "<a d=\"/>\"><a/></a><!-- </a> --><![CDATA[</a>]]><?p </a>?>");
}

TEST(Hex, EveryCharacter) {
  for (int c = 0; c < 256; ++c) {
    const char text[2] = {static_cast<char>(c), '1'};
    const bool digit = std::isxdigit(c) != 0;
    const auto r = decode_hex(std::string_view(text, 2));
    EXPECT_EQ(r.ok(), digit) << c;
    if (digit) {
      EXPECT_EQ((*r)[0], std::stoi(std::string(text, 2), nullptr, 16));
    }
  }
  EXPECT_FALSE(decode_hex("1").ok());
}

}  // namespace
}  // namespace kf::es
