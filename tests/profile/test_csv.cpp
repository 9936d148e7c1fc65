// The operator's CSV of subscriptions: good files in every dress, bad ones with an error for each bad line.
#include "host/profile/csv.hpp"

#include "tests/profile/support.hpp"

namespace kf::profile {
namespace {

const std::vector<Slot>& sample_slots() {
  static const std::vector<Slot> s = find_slots(sample_package()).value();
  return s;
}
CsvResult read(std::string_view text) { return parse_csv(text, sample_slots()); }

std::string iccid_no(unsigned n) {
  std::string d = std::to_string(n);
  return iccid_with_luhn("8900000000" + std::string(9 - d.size(), '0') + d);
}
const std::string kIccid1 = iccid_no(1);
const std::string kIccid2 = iccid_no(2);
const std::string kKi = "00112233445566778899aabbccddeeff";
const std::string kOpc = "FFEEDDCCBBAA99887766554433221100";

// "line: message" for each error, for one comparison with a readable difference.
std::vector<std::string> errors(const CsvResult& r) {
  EXPECT_TRUE(r.errors.empty() || r.rows.empty()) << "rows beside errors";
  std::vector<std::string> out;
  for (const RowError& e : r.errors) out.push_back(std::to_string(e.line) + ": " + e.message);
  return out;
}
using Errors = std::vector<std::string>;

TEST(Csv, ReadsAFullRow) {
  const auto r = read("iccid,imsi,ki,opc,msisdn,pin1,puk1,adm1\n" + kIccid1 + ",001010123456789," + kKi + "," + kOpc +
                      ",+99970000001,1234,12345678,87654321\n");
  ASSERT_EQ(errors(r), Errors{});
  ASSERT_EQ(r.rows.size(), 1U);
  const Row& row = r.rows[0];
  EXPECT_EQ(row.line, 2U);
  EXPECT_EQ(row.personal.iccid.str(), kIccid1);
  EXPECT_EQ(row.personal.imsi, "001010123456789");
  EXPECT_EQ(to_hex(row.personal.ki.expose()), "00112233445566778899AABBCCDDEEFF");
  EXPECT_EQ(to_hex(row.personal.opc.expose()), kOpc);
  EXPECT_EQ(row.msisdn, "+99970000001");
  EXPECT_EQ(row.personal.pin1.expose(), "1234");
  EXPECT_EQ(row.personal.puk1.expose(), "12345678");
  EXPECT_EQ(row.personal.adm1.expose(), "87654321");
  EXPECT_TRUE(personalise(sample_package(), sample_slots(), row.personal).ok());
}

TEST(Csv, ReadsEveryDress) {
  for (const std::string& text : {
           "iccid,ki\n" + kIccid1 + "," + kKi,                            // no line end at the end
           "\xEF\xBB\xBFiccid,ki\r\n" + kIccid1 + "," + kKi + "\r\n",     // as a spreadsheet writes it
           "KI;ICCID\n" + kKi + ";" + kIccid1 + "\n",                     // order, case, separator
           "\"Iccid\" , \"Ki\"\n \"" + kIccid1 + "\"\t, " + kKi + " \n",  // quotes and blanks
           "\n\niccid,ki\n\n" + kIccid1 + "," + kKi + "\n  \n\n",         // empty lines
           "iccid;ki;msisdn\n" + kIccid1 + ";" + kKi + ";\n",             // an empty optional cell
           "iccid,ki\n" + kIccid1 + "," + kKi + "\n,\n,\n ; \n",          // rows that a spreadsheet has emptied
           "iccid,ki,,\n" + kIccid1 + "," + kKi + ",,\n",                 // and columns
           "iccid,ki\n" + kIccid1 + "," + kKi + ",,,\n",                  // only in the rows
           "sep=;\r\niccid;ki\r\n" + kIccid1 + ";" + kKi + "\r\n",        // told what stands between columns
           "\xEF\xBB\xBFSEP=,\niccid,ki\n" + kIccid1 + "," + kKi + "\n",
       }) {
    const auto r = read(text);
    EXPECT_EQ(errors(r), Errors{}) << text;
    ASSERT_EQ(r.rows.size(), 1U) << text;
    EXPECT_EQ(r.rows[0].personal.iccid.str(), kIccid1);
    EXPECT_EQ(r.rows[0].personal.ki.size(), 16U);
  }
}

TEST(Csv, CountsLinesAsAnEditorDoes) {
  const auto r = read("iccid\r\n\r\n" + kIccid1 + "\r\n\r\n" + kIccid2 + "\r\n");
  ASSERT_EQ(errors(r), Errors{});
  ASSERT_EQ(r.rows.size(), 2U);
  EXPECT_EQ(r.rows[0].line, 3U);
  EXPECT_EQ(r.rows[1].line, 5U);
}

TEST(Csv, RefusesBadFirstLines) {
  EXPECT_EQ(errors(read("")), Errors{"1: file is empty: the first line must name the columns"});
  EXPECT_EQ(errors(read("\n \r\n")), Errors{"1: file is empty: the first line must name the columns"});
  EXPECT_EQ(errors(read("imsi,ki\n1,2\n")), Errors{"1: column iccid is missing"});
  EXPECT_EQ(errors(read("iccid,imsi,IMSI\n")), Errors{"1: column imsi is named twice"});
  EXPECT_EQ(errors(read("iccid\n")), Errors{"1: no rows behind the column names"});
  EXPECT_EQ(errors(read("iccid,\"ki\n")), Errors{"1: column 2: quote is not closed"});
  EXPECT_EQ(errors(read("iccid," + std::string(64, ',') + "\n")), Errors{"1: more than 64 columns"});
}

TEST(Csv, NamesWhatIsNoCsv) {
  const std::string utf16(
      "\xFF\xFE"
      "i\0c\0c\0i\0d\0\n\0",
      14);
  EXPECT_EQ(errors(read(utf16)), Errors{"1: the file is UTF-16: save it as CSV in UTF-8"});
  EXPECT_EQ(errors(read(utf16.substr(2))), Errors{"1: the file is UTF-16: save it as CSV in UTF-8"})
      << "without a mark";
  EXPECT_EQ(errors(read(std::string("\xFE\xFF\0i\0c", 6))), Errors{"1: the file is UTF-16: save it as CSV in UTF-8"});
  const std::string tab =
      "1: the columns must be separated by , or ; (not by TAB or anything else): save the file as CSV";
  EXPECT_EQ(errors(read("iccid\tki\n" + kIccid1 + "\t" + kKi + "\n")), Errors{tab});
  EXPECT_EQ(errors(read("sep=\t\niccid\tki\n")), Errors{tab});
  EXPECT_EQ(errors(read("sep=|\niccid|ki\n")), Errors{"2" + tab.substr(1)});
}

TEST(Csv, ColumnsOfOtherNamesAreNamedWithTheWayOut) {
  const std::string text = "iccid,tariff,ki\n" + kIccid1 + ",gold," + kKi + "\n";
  EXPECT_EQ(errors(read(text)),
            Errors{"1: column 2 has an unknown name (known: iccid imsi ki opc msisdn pin1 puk1 adm1); "
                   "remove it, or have it skipped by --skip-unknown-columns"});
  const auto r = parse_csv(text, sample_slots(), true);
  ASSERT_EQ(errors(r), Errors{});
  EXPECT_EQ(to_hex(r.rows.at(0).personal.ki.expose()), "00112233445566778899AABBCCDDEEFF");
}

TEST(Csv, AddressesOfCompletePackages) {
  const auto r = parse_addresses_csv("msisdn;iccid;imsi\n+99970000001;" + kIccid1 + ";001010123456789\n;" + kIccid2 +
                                     ";001010123456780\n");
  ASSERT_EQ(errors(r), Errors{});
  ASSERT_EQ(r.rows.size(), 2U);
  EXPECT_EQ(r.rows[0].msisdn, "+99970000001");
  EXPECT_EQ(r.rows[0].personal.imsi, "001010123456789");
  EXPECT_EQ(r.rows[1].msisdn, "");
  EXPECT_EQ(errors(parse_addresses_csv("iccid,imsi,ki\n" + kIccid1 + ",1," + kKi + "\n")),
            Errors{"1: column ki is for templates: complete packages hold their keys (allowed: iccid imsi msisdn)"});
  EXPECT_EQ(errors(parse_addresses_csv("iccid,imsi,msisdn\n" + kIccid1 + ",,\n")),
            Errors{"2: neither imsi nor msisdn"});
  EXPECT_EQ(errors(parse_addresses_csv("iccid,imsi,tariff\n")),
            Errors{"1: column 3 has an unknown name (known: iccid imsi msisdn); remove it, or have it skipped by "
                   "--skip-unknown-columns"});
}

TEST(Csv, NeverRepeatsAFirstLineThatIsAKey) {
  const auto r = read(kIccid1 + ";" + kKi + "\n");
  ASSERT_EQ(r.errors.size(), 3U);
  for (const RowError& e : r.errors) {
    EXPECT_EQ(e.line, 1U);
    EXPECT_EQ(e.message.find(kKi), std::string::npos);
    EXPECT_EQ(e.message.find(kIccid1), std::string::npos);
  }
}

TEST(Csv, NamesLineAndColumnOfEachBadCell) {
  const std::string good = "," + kKi + "," + kOpc + ",,,,\n";
  const std::string text = "iccid,imsi,ki,opc,msisdn,pin1,puk1,adm1\n" +                                    //
                           kIccid1 + ",001010000000001" + good +                                            // 2: good
                           "12345,001010000000002" + good +                                                 // 3
                           iccid_no(3).substr(0, 19) + "x,001010000000003" + good +                         // 4
                           ",001010000000004" + good +                                                      // 5
                           iccid_no(5) + ",12345" + good +                                                  // 6
                           iccid_no(6) + ",001010000000006,0011," + kOpc + ",,,,\n" +                       // 7
                           iccid_no(7) + ",001010000000007," + kKi + ",GG" + kOpc.substr(2) + ",,,,\n" +    // 8
                           iccid_no(8) + ",001010000000008," + kKi + "," + kOpc + ",12a,123,1234,abcd\n" +  // 9
                           iccid_no(9) + ",001010000000009," + kKi + "\n" +                                 // 10
                           iccid_no(10) + ",001010000000010,," + kOpc + ",,,,\n";                           // 11
  EXPECT_EQ(errors(read(text)), (Errors{
                                    "3: iccid: an ICCID has 18 to 20 digits",
                                    "4: iccid: an ICCID has 18 to 20 digits",
                                    "5: iccid: value missing",
                                    "6: imsi: 15 digits expected (14 at least), 5 found: spreadsheets drop zeros at "
                                    "the beginning; format the column as text in the spreadsheet, enter the values "
                                    "again and save",
                                    "7: ki: 32 hex digits expected",
                                    "8: opc: 32 hex digits expected",
                                    "9: pin1: 4 to 8 digits expected",
                                    "9: puk1: 8 digits expected",
                                    "9: adm1: 4 to 8 digits expected",
                                    "9: msisdn: 5 to 15 digits expected, + before them allowed",
                                    "10: 8 columns expected, 3 found",
                                    "11: ki: value missing",
                                }));
}

TEST(Csv, NumbersThatASpreadsheetHasChanged) {
  const std::string text = ": format the column as text in the spreadsheet, enter the values again and save";
  const std::string rounded = ": a spreadsheet has rounded the number" + (";" + text.substr(1));
  const auto r = read("iccid,imsi,ki,opc\n8.9E+19,001010000000001," + kKi + "," + kOpc + "\n" +  //
                      iccid_no(2) + ",1.01E+12," + kKi + "," + kOpc + "\n" +                     //
                      iccid_no(3) + ",1010000000001,1.1E+30," + kOpc + "\n" + iccid_no(4) + ",34070123456789," + kKi +
                      "," + kOpc + "\n");
  EXPECT_EQ(errors(r),
            (Errors{
                "2: iccid: an ICCID has 18 to 20 digits" + rounded,
                "3: imsi: 15 digits expected (14 at least)" + rounded,
                "4: imsi: 15 digits expected (14 at least), 13 found: spreadsheets drop zeros at the beginning;" +
                    text.substr(1),
                "4: ki: 32 hex digits expected" + rounded,
            }));
  EXPECT_EQ(errors(parse_addresses_csv("iccid,msisdn\n" + kIccid1 + ",9.997E+10\n")),
            Errors{"2: msisdn: 5 to 15 digits expected, + before them allowed" + rounded});
}

// The key of the store is the value: padding with F, as EF.ICCID has it, is another spelling of it.
TEST(Csv, IccidsOf18To20DigitsPaddedOrNot) {
  const std::string i18 = "893301000000000001", i19 = iccid_with_luhn("893301000000000001");
  const auto r = read("iccid\n" + i18 + "\n" + i19 + "F\n" + kIccid1 + "\n");
  ASSERT_EQ(errors(r), Errors{});
  ASSERT_EQ(r.rows.size(), 3U);
  EXPECT_EQ(r.rows[0].personal.iccid.str(), i18);
  EXPECT_EQ(r.rows[1].personal.iccid.str(), i19);
  EXPECT_EQ(errors(read("iccid\n" + i18 + "\n" + i18 + "ff\n")), Errors{"3: iccid: already in line 2"});
}

TEST(Csv, WantsAsManyCellsAsNames) {
  const std::string row = kIccid1 + ",001010123456789," + kKi;
  EXPECT_EQ(errors(read("iccid,imsi,ki\n" + row + "\n")), Errors{});
  EXPECT_EQ(errors(read("iccid,imsi,ki\n" + row + ",x\n")), Errors{"2: 3 columns expected, 4 found"});
  EXPECT_EQ(errors(read("iccid,imsi,ki,pin1\n" + row + "\n")), Errors{"2: 4 columns expected, 3 found"});
}

TEST(Csv, RefusesAWrongCheckDigit) {
  std::string wrong = kIccid1;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  EXPECT_EQ(errors(read("iccid\n" + wrong + "\n")), Errors{"2: iccid: Luhn digit of the ICCID is wrong"});
}

TEST(Csv, FindsDoubles) {
  EXPECT_EQ(errors(read("iccid,imsi\n" + kIccid1 + ",001010000000001\n" + kIccid2 + ",001010000000002\n" + kIccid1 +
                        ",001010000000001\n")),
            (Errors{"4: iccid: already in line 2", "4: imsi: already in line 2"}));
}

TEST(Csv, RefusesBrokenQuotes) {
  EXPECT_EQ(errors(read("iccid,imsi\n\"" + kIccid1 + ",001010000000001\n")),
            Errors{"2: column 1: quote is not closed"});
  EXPECT_EQ(errors(read("iccid,imsi\n\"" + kIccid1 + "\"x,001010000000001\n")),
            Errors{"2: column 1: text behind the closing quote"});
  EXPECT_EQ(errors(read("iccid,imsi\n" + kIccid1 + ",\"00101\"\"0000000001\"\n")),
            Errors{"2: column 2: text behind the closing quote"});
}

TEST(Csv, WantsAPlaceForEachValue) {
  auto slots = sample_slots();
  std::erase_if(slots, [](const Slot& s) { return s.field == Field::opc || s.field == Field::adm1; });
  const std::string head = "iccid,ki,opc,adm1\n" + kIccid1 + "," + kKi;
  EXPECT_EQ(errors(parse_csv(head + "," + kOpc + ",\n", slots)), Errors{"2: opc: the template has no place for it"});
  EXPECT_EQ(errors(parse_csv(head + ",,1234\n", slots)), Errors{"2: adm1: the template has no place for it"});
  EXPECT_EQ(errors(parse_csv(head + ",,\n", slots)), Errors{});  // an empty cell asks for nothing
}

TEST(Csv, TakesTheKeyLengthFromTheTemplate) {
  const std::vector<Slot> slots{{Field::iccid_header, 0, 10}, {Field::ki, 20, 32}};
  EXPECT_EQ(errors(parse_csv("iccid,ki\n" + kIccid1 + "," + kKi + "\n", slots)),
            Errors{"2: ki: 64 hex digits expected"});
  EXPECT_EQ(errors(parse_csv("iccid,ki\n" + kIccid1 + "," + kKi + kKi + "\n", slots)), Errors{});
}

TEST(Csv, RefusesTs48WithAnOpc) {
  KF_SHARED_PROFILE(der, test::kTs48[0]);
  const auto slots = find_slots(der).value();
  EXPECT_EQ(errors(parse_csv("iccid,ki,opc\n" + kIccid1 + "," + kKi + "," + kOpc + "\n", slots)),
            Errors{"2: opc: the template has no place for it"});
}

TEST(Csv, LimitsLines) {
  const std::string room(4096 - kIccid1.size(), ' ');
  EXPECT_EQ(errors(read("iccid\n" + kIccid1 + room + "\n")), Errors{});
  EXPECT_EQ(errors(read("iccid\n" + kIccid1 + room + " \n" + kIccid2 + "\n12\n")),
            (Errors{"2: line of more than 4096 bytes", "4: iccid: an ICCID has 18 to 20 digits"}));
  EXPECT_EQ(errors(read(std::string(5000, 'x'))), Errors{"1: line of more than 4096 bytes"});
}

TEST(Csv, LimitsTheListOfErrors) {
  std::string text = "iccid\n";
  for (int i = 0; i < 5000; ++i) text += "x\n";
  const auto r = read(text);
  ASSERT_EQ(r.errors.size(), 1000U);
  EXPECT_EQ(r.errors[998].line, 1000U);
  EXPECT_EQ(r.errors[999].message, "more errors follow; only the first 999 are listed");
}

TEST(Csv, LimitsRows) {  // the millionth row, line 1000001, is still taken
  std::string text = "iccid\n";
  text.reserve(22'000'000);
  for (unsigned i = 0; i <= 1'000'000; ++i) text.append(iccid_no(i)).append("\n");
  EXPECT_EQ(errors(read(text)), Errors{"1000002: more than 1000000 rows"});
}

TEST(Csv, SurvivesBinaryRubbish) {
  const Bytes der = sample_package();
  EXPECT_FALSE(read(text(der)).errors.empty());
  EXPECT_FALSE(read(std::string("iccid\n") + std::string(text(der))).errors.empty());
  EXPECT_EQ(errors(read(std::string("iccid\n") + kIccid1 + std::string(1, '\0') + "\n")),
            Errors{"2: iccid: an ICCID has 18 to 20 digits"});
}

}  // namespace
}  // namespace kf::profile
