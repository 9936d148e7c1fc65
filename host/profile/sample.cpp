// The project's own template: the profile of an electricity meter, composed member by member. Tags follow from the
// automatic tagging of the SAIP 2.3 module: the n-th member of a PE is context tag n, a File is a constructed one.
#include <algorithm>
#include <array>
#include <initializer_list>

#include "host/profile/package.hpp"

namespace kf::profile {
namespace {

constexpr std::uint32_t context(unsigned n) {  // constructed
  return n < 31 ? 0xA0U + n : 0xBF00U + n;
}
Bytes ascii(std::string_view s) { return to_bytes(view(s)); }
Bytes join(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& p : parts) append(out, p);
  return out;
}
Bytes be16(unsigned v) {
  return v < 0x100 ? Bytes{static_cast<std::uint8_t>(v)}
                   : Bytes{static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)};
}
Bytes integer(std::uint32_t tag, unsigned v) {  // minimal and not negative
  Bytes b = be16(v);
  if ((b[0] & 0x80) != 0) b.insert(b.begin(), 0);
  return make_tlv(tag, b);
}
Bytes pe_header(unsigned id, bool mandated = true) {
  return make_tlv(0xA0, join({mandated ? make_tlv(0x80, {}) : Bytes{}, integer(0x81, id)}));
}
// 2.23.143.1.2.n: the file-system templates of SAIP.
Bytes template_oid(unsigned n) { return oid_octets(Oid::trusted("2.23.143.1.2." + std::to_string(n))); }

// ---- files ----------------------------------------------------------------------------------------------------------
struct Ef {
  unsigned fid = 0;
  std::string rule;     // hex of securityAttributesReferenced: EF.ARR and record
  unsigned record = 0;  // 0: transparent, else the record length of a linear fixed file
  unsigned size = 0;    // 0: as the template says
  int sfi = -1;         // -1: as the template says, 0: none
  std::string info;     // hex of the members of proprietaryEFInfo
};
// Fcp, its members in the order of the type: 82 83 84 8B 80 C6 88 A5.
Bytes fcp(const Ef& f) {
  Bytes descriptor{0x41, 0x21};
  if (f.record != 0)
    descriptor = {0x42, 0x21, static_cast<std::uint8_t>(f.record >> 8), static_cast<std::uint8_t>(f.record)};
  Bytes out = join({make_tlv(0x82, descriptor),
                    make_tlv(0x83, Bytes{static_cast<std::uint8_t>(f.fid >> 8), static_cast<std::uint8_t>(f.fid)}),
                    make_tlv(0x8B, hex(f.rule))});
  if (f.size != 0) append_tlv(out, 0x80, be16(f.size));
  if (f.sfi == 0) append_tlv(out, 0x88, {});
  if (f.sfi > 0) append_tlv(out, 0x88, Bytes{static_cast<std::uint8_t>(f.sfi << 3)});
  append_tlv(out, 0xA5, hex(f.info));
  return out;
}
// specialFileInformation of TS 102 222: readable while deactivated; high update activity; both.
constexpr const char* kReadable = "C00140";
constexpr const char* kBusy = "C00180";
constexpr const char* kBoth = "C001C0";

Bytes content(const Bytes& b) { return make_tlv(0x83, b); }
Bytes skip(unsigned n) { return integer(0x82, n); }
Bytes file(unsigned member, const Ef& f, const Bytes& fill = {}) {
  return make_tlv(context(member), join({make_tlv(0xA1, fcp(f)), fill}));
}
// The MF, or an ADF with its temporary file ID and AID.
Bytes df(unsigned member, unsigned fid, const Bytes& aid, const char* rule, const char* pin_status) {
  Bytes f;
  if (fid != 0) append_tlv(f, 0x83, Bytes{static_cast<std::uint8_t>(fid >> 8), static_cast<std::uint8_t>(fid)});
  if (!aid.empty()) append_tlv(f, 0x84, aid);
  append_tlv(f, 0x8B, hex(rule));
  append_tlv(f, 0xC6, hex(pin_status));
  return make_tlv(context(member), make_tlv(0xA1, f));
}

// ---- access rules (ISO 7816-4 expanded format) ----------------------------------------------------------------------
constexpr std::uint8_t kRead = 0x01, kUpdate = 0x02, kReadUpdate = 0x03, kActivate = 0x18, kRest = 0x5A;
Bytes when(std::uint8_t operations, std::uint8_t key) {  // key 0: always
  const Bytes condition =
      key == 0 ? make_tlv(0x90, {}) : make_tlv(0xA4, join({make_tlv(0x83, Bytes{key}), hex("950108")}));
  return join({make_tlv(0x80, Bytes{operations}), condition});
}
constexpr std::uint8_t kAlways = 0x00, kPin = 0x01, kAdm = 0x0A;
// EF.ARR as the fill of a linear fixed file: records of `length` bytes, what is behind a rule stays FF.
Bytes rules(std::initializer_list<Bytes> records, unsigned length) {
  Bytes out;
  unsigned gap = 0;
  for (const Bytes& r : records) {
    if (gap != 0) append(out, skip(gap));
    append(out, content(r));
    gap = length - static_cast<unsigned>(r.size());
  }
  return out;
}

// ---- the values a subscription replaces -----------------------------------------------------------------------------
constexpr std::string_view kImsi = "999700000000001";  // MCC 999 is for networks without a number of their own
Iccid sample_iccid() { return Iccid::trusted(iccid_with_luhn("8999970000000000001")); }
Bytes swapped(Bytes b) {
  for (std::uint8_t& x : b) x = static_cast<std::uint8_t>(x << 4 | x >> 4);
  return b;
}
constexpr std::string_view kUsimAid = "A0000000871002FF49FF0589";

Bytes header() {
  const Bytes services = join({make_tlv(0x81, {}), make_tlv(0x84, {})});  // usim, milenage
  Bytes templates;
  for (const unsigned n : {1U, 4U, 5U}) append_tlv(templates, 0x06, template_oid(n));  // MF, USIM, OPT-USIM
  return make_tlv(
      0xA0, join({integer(0x80, 2), integer(0x81, 3), make_tlv(0x82, view("Keyferry sample profile")),
                  make_tlv(0x83, iccid_octets(sample_iccid())), make_tlv(0xA5, services), make_tlv(0xA6, templates)}));
}

Bytes mf(unsigned id) {
  constexpr unsigned kRecord = 0x2A;
  const Bytes application = make_tlv(0x61, join({make_tlv(0x4F, hex(kUsimAid)), make_tlv(0x50, view("USIM"))}));
  const Bytes arr = rules({join({when(kRest, kAdm)}),                        // 1: directories
                           join({when(kRead, kAlways), when(kRest, kAdm)}),  // 2: identity and rules
                           join({when(kRead, kAlways), when(kUpdate, kPin), when(kActivate, kAdm)}),  // 3: languages
                           join({when(kRead, kPin), when(kRest, kAdm)}),             // 4: metering, read
                           join({when(kReadUpdate, kPin), when(kActivate, kAdm)})},  // 5: metering, written
                          kRecord);
  return make_tlv(0xB0,
                  join({pe_header(id), make_tlv(0x81, template_oid(1)), df(2, 0, {}, "2F0601", "010A0B"),
                        file(3, {0x2F05, "2F0603", 0, 4, -1, kReadable}, content(ascii("en"))),
                        file(4, {0x2FE2, "2F0602", 0, 0, 2, kReadable}, content(swapped(iccid_octets(sample_iccid())))),
                        file(5, {0x2F00, "2F0602", 0x26, 0x4C, -1, kReadable}, content(application)),
                        file(6, {0x2F06, "2F0602", kRecord, 5 * kRecord, 6, kReadable}, arr)}));
}

// PUKConfiguration and PINConfiguration; the retry counters 170 (PUK) and 51 (PIN) are defaults and therefore left out.
Bytes puk_codes(unsigned id) {
  const auto puk = [](unsigned ref, std::string_view digits) {
    return make_tlv(0x30, join({integer(0x80, ref), make_tlv(0x81, view(digits))}));
  };
  return make_tlv(0xA3, join({pe_header(id), make_tlv(0xA1, join({puk(1, "00000001"), puk(0x81, "00000002")}))}));
}
Bytes pin(unsigned ref, std::string_view digits, unsigned puk, unsigned attributes, unsigned tries) {
  Bytes value = ascii(digits);
  value.resize(8, 0xFF);
  Bytes out = join({integer(0x80, ref), make_tlv(0x81, value)});
  if (puk != 0) append(out, integer(0x82, puk));
  append(out, integer(0x83, attributes));
  if (tries != 51) append(out, integer(0x84, tries));
  return make_tlv(0x30, out);
}
Bytes pin_codes(unsigned id, const Bytes& pins) {
  return make_tlv(0xA2, join({pe_header(id), make_tlv(0xA1, make_tlv(0xA0, pins))}));
}

// EF.UST: service n is bit (n - 1) mod 8 of byte (n - 1) / 8.
Bytes service_table(std::initializer_list<unsigned> services) {
  Bytes out(17, 0);
  for (const unsigned n : services) out[(n - 1) / 8] = static_cast<std::uint8_t>(out[(n - 1) / 8] | 1U << (n - 1) % 8);
  return out;
}

Bytes usim(unsigned id) {
  constexpr unsigned kRecord = 0x36;
  const Bytes arr = rules({join({when(kReadUpdate, kPin), when(kActivate, kAdm)}),  // 1: user data
                           join({when(kRead, kPin), when(kRest, kAdm)}),            // 2: operator data
                           join({when(kRead, kAlways), when(kRest, kAdm)}),         // 3: rules, emergency
                           join({when(kReadUpdate, kPin), when(kActivate, kPin)})},
                          kRecord);  // 4: network state
  const Bytes ust = service_table({10, 12, 17, 19, 20, 21, 28, 33, 42, 43, 45, 71, 85});
  Bytes name(17, 0xFF);  // display condition and the name itself
  const Bytes shown = ascii("Keyferry");
  name[0] = 0x01;
  std::copy(shown.begin(), shown.end(), name.begin() + 1);
  return make_tlv(0xB3,
                  join({pe_header(id),
                        make_tlv(0x81, template_oid(4)),
                        df(2, 0x7FF1, hex(kUsimAid), "2F0601", "81010A0B"),
                        file(3, {0x6F07, "6F0602", 0, 0, -1, ""}, content(imsi_octets(kImsi))),
                        file(4, {0x6F06, "6F0603", kRecord, 4 * kRecord, -1, ""}, arr),
                        file(5, {0x6F08, "6F0601", 0, 0, -1, "C00180C10207FF"}),
                        file(6, {0x6F09, "6F0601", 0, 0, -1, "C00180C10207FF"}),
                        file(7, {0x6F31, "6F0602", 0, 0, -1, ""}, content({0x0A})),
                        file(8, {0x6F38, "6F0602", 0, 17, -1, ""}, content(ust)),
                        file(10, {0x6F3C, "6F0601", 0xB0, 10 * 0xB0, -1, "C10200FF"}),
                        file(11, {0x6F42, "6F0601", 0x2A, 0x2A, -1, ""},
                             join({skip(14), content(hex("FDFFFFFFFFFFFFFFFFFFFFFFFF0791997900000000"))})),
                        file(12, {0x6F43, "6F0601", 0, 0, -1, ""}),
                        file(13, {0x6F46, "6F0602", 0, 0, -1, ""}, content(name)),
                        file(14, {0x6F56, "6F0601", 0, 0, -1, ""}, content({0x00})),
                        file(15, {0x6F5B, "6F0601", 0, 0, -1, kBusy}, content(hex("F00000F00000"))),
                        file(16, {0x6F5C, "6F0602", 0, 0, -1, "C201FF"}),
                        file(17, {0x6F73, "6F0604", 0, 0, -1, kBusy}, content(hex("FFFFFFFFFFFFFF99F907FFFEFF01"))),
                        file(18, {0x6F78, "6F0602", 0, 0, -1, ""}, content({0x00, 0x02})),
                        file(19, {0x6F7B, "6F0601", 0, 12, -1, ""}),
                        file(20, {0x6F7E, "6F0604", 0, 0, -1, kBusy}, content(hex("FFFFFFFF99F907FFFEFF01"))),
                        file(21, {0x6FAD, "6F0603", 0, 0, -1, ""}, content(hex("00000002"))),
                        file(22, {0x6FB7, "6F0603", 0x0E, 0x0E, -1, ""}, content(hex("11F2FF456D657267656E6379FF00"))),
                        file(24, {0x6FE3, "6F0604", 0, 0, -1, kBoth}, join({skip(12), content(hex("99F907FFFE01"))})),
                        file(25, {0x6FE4, "6F0601", 0x36, 0x36, -1, kBoth})}));
}

Bytes opt_usim(unsigned id) {
  Bytes preferred;  // PLMN and access technologies: E-UTRAN with NB-IoT and Cat-M1, then GSM
  for (const char* plmn : {"99F907", "99F917", "99F927", "99F937", "99F947", "99F957"})
    append(preferred, join({hex(plmn), hex("7000"), hex(plmn), hex("0080")}));
  Bytes network_name{0x43, 0x11, 0x90};  // full name, UCS2
  for (const std::uint8_t c : ascii("Keyferry")) append(network_name, {0x00, c});
  const Bytes home = hex("99F907700099F9070080");
  return make_tlv(
      0xB4,
      join({pe_header(id), make_tlv(0x81, template_oid(5)),
            file(2, {0x6F05, "6F0603", 0, 4, -1, ""}, content(ascii("ende"))),
            file(5, {0x6F3E, "6F0602", 0, 4, -1, ""}, content(ascii("EL01"))),
            file(7, {0x6F40, "6F0601", 0x18, 0x18, -1, ""}),
            file(15, {0x6F60, "6F0601", 0, 40, -1, ""}, content(Bytes(preferred.begin(), preferred.begin() + 40))),
            file(16, {0x6F61, "6F0602", 0, 60, -1, ""}, content(preferred)),
            file(17, {0x6F62, "6F0602", 0, 10, -1, ""}, content(home)),
            file(38, {0x6FC5, "6F0602", 0x14, 0x14, -1, ""}, content(network_name)),
            file(58, {0x6FD9, "6F0602", 0, 6, -1, ""}, content(hex("99F90799F917")))}));
}

Bytes aka(unsigned id) {
  const Bytes algorithm = join({integer(0x80, 1), make_tlv(0x81, hex("01")),  // Milenage, RES of 64 bits
                                make_tlv(0x82, view("Keyferry:sampleK")), make_tlv(0x83, view("Keyferry:sampleO"))});
  return make_tlv(0xA4, join({pe_header(id), make_tlv(0xA1, make_tlv(0xA1, algorithm))}));  // SQN: all defaults
}

// ---- the meter's own files ------------------------------------------------------------------------------------------
// FileManagement ::= SEQUENCE OF CHOICE { filePath [0], createFCP [APPLICATION 2], fillFileOffset, fillFileContent [1]
// }.
Bytes at_path(const char* path) { return make_tlv(0x80, hex(path)); }
Bytes create(const Ef& f) { return make_tlv(0x62, fcp(f)); }
Bytes create_df(unsigned fid, const char* rule) {
  return make_tlv(
      0x62,
      join({hex("82027821"), make_tlv(0x83, Bytes{static_cast<std::uint8_t>(fid >> 8), static_cast<std::uint8_t>(fid)}),
            make_tlv(0x8B, hex(rule)), make_tlv(0xC6, hex("010A0B"))}));
}
Bytes fill(const Bytes& b) { return make_tlv(0x81, b); }
Bytes generic_files(unsigned id, bool mandated, const Bytes& commands) {
  return make_tlv(0xA1, join({pe_header(id, mandated), make_tlv(0xA1, make_tlv(0x30, commands))}));
}

Bytes meter_files(unsigned id) {
  Bytes commands = join({at_path(""), create_df(0x7F4D, "2F0601"), at_path("7F4D")});
  // What the meter reads at start-up: where to deliver, and when.
  const std::string settings =
      "apn=meter.keyferry.example\nhead-end=[2001:db8:4d::1]:4059\nhead-end-2=[2001:db8:4d::2]:4059\n"
      "protocol=dlms-wrapper\npush=00:05,06:05,12:05,18:05\njitter-s=900\nretry-s=60,300,1800,7200\n"
      "psm-tau-s=43200\nedrx=off\nrat=nb-iot,cat-m1,gsm\n";
  append(commands, create({0x4F01, "2F0605", 0, 0x200, 1, kReadable}));
  append(commands, fill(ascii(settings)));
  // The registers it pushes: OBIS code, scaler, unit, name; records of 48 bytes.
  struct Register {
    const char* obis;
    std::uint8_t scaler, unit;
    const char* name;
  };
  constexpr std::array registers{Register{"0100010800FF", 0x00, 0x1E, "active energy import"},
                                 Register{"0100010801FF", 0x00, 0x1E, "active energy import T1"},
                                 Register{"0100010802FF", 0x00, 0x1E, "active energy import T2"},
                                 Register{"0100020800FF", 0x00, 0x1E, "active energy export"},
                                 Register{"0100030800FF", 0x00, 0x20, "reactive energy import"},
                                 Register{"0100040800FF", 0x00, 0x20, "reactive energy export"},
                                 Register{"0100010700FF", 0x00, 0x1B, "active power import"},
                                 Register{"0100020700FF", 0x00, 0x1B, "active power export"},
                                 Register{"0100200700FF", 0xFF, 0x23, "voltage L1"},
                                 Register{"0100340700FF", 0xFF, 0x23, "voltage L2"},
                                 Register{"0100480700FF", 0xFF, 0x23, "voltage L3"},
                                 Register{"01001F0700FF", 0xFE, 0x21, "current L1"},
                                 Register{"0100330700FF", 0xFE, 0x21, "current L2"},
                                 Register{"0100470700FF", 0xFE, 0x21, "current L3"},
                                 Register{"01000E0700FF", 0xFE, 0x2C, "frequency"},
                                 Register{"0000600700FF", 0x00, 0xFF, "power failures"},
                                 Register{"0000616100FF", 0x00, 0xFF, "error register"},
                                 Register{"0000600600FF", 0x00, 0x06, "battery use"}};
  append(commands, create({0x4F02, "2F0604", 48, 48 * registers.size(), 2, kReadable}));
  for (const Register& r : registers) {
    Bytes record = join({hex(r.obis), Bytes{r.scaler, r.unit}, ascii(r.name)});
    record.resize(48, 0xFF);
    append(commands, fill(record));
  }
  // The events it reports at once, by code; records of 40 bytes.
  struct Event {
    std::uint8_t code;
    const char* name;
  };
  constexpr std::array events{Event{1, "power down"},
                              Event{2, "power up"},
                              Event{3, "daylight saving changed"},
                              Event{4, "clock set, old time"},
                              Event{5, "clock set, new time"},
                              Event{6, "clock invalid"},
                              Event{7, "replace battery"},
                              Event{8, "battery voltage low"},
                              Event{9, "tariff schedule activated"},
                              Event{10, "error register cleared"},
                              Event{11, "alarm register cleared"},
                              Event{12, "program memory error"},
                              Event{13, "RAM error"},
                              Event{14, "NV memory error"},
                              Event{15, "watchdog error"},
                              Event{16, "measurement error"},
                              Event{17, "firmware ready to activate"},
                              Event{18, "firmware activated"},
                              Event{40, "terminal cover removed"},
                              Event{41, "terminal cover closed"},
                              Event{42, "strong DC field detected"},
                              Event{43, "strong DC field gone"},
                              Event{44, "meter cover removed"},
                              Event{45, "meter cover closed"},
                              Event{46, "association failure, N times"},
                              Event{47, "configuration changed"},
                              Event{76, "phase voltage L1 missing"},
                              Event{77, "phase voltage L2 missing"},
                              Event{78, "phase voltage L3 missing"},
                              Event{79, "phase sequence reversed"}};
  append(commands, create({0x4F05, "2F0604", 40, 40 * events.size(), 3, kReadable}));
  for (const Event& e : events) {
    Bytes record = join({Bytes{e.code}, ascii(e.name)});
    record.resize(40, 0xFF);
    append(commands, fill(record));
  }
  // Load profile and event log: written by the meter, created empty.
  append(commands, create({0x4F03, "2F0605", 0x20, 0x0C00, 0, kBusy}));
  append(commands, create({0x4F04, "2F0605", 0x18, 0x0600, 0, kBusy}));
  return generic_files(id, true, commands);
}

// Optional: a card without room for it may skip this PE with a warning.
Bytes tariff_files(unsigned id) {
  Bytes commands = join({at_path("7F4D"), create({0x4F10, "2F0605", 0x20, 0x20 * 14, 0, kReadable})});
  for (unsigned day = 0; day < 14;
       ++day) {  // day type, then switching times in quarter hours with the tariff after them
    Bytes record{static_cast<std::uint8_t>(day)};
    for (unsigned step = 0; step < 10; ++step) {
      const unsigned quarter = step * 9 + (day % 7 >= 5 ? 4 : 0);
      append(record, {static_cast<std::uint8_t>(quarter), static_cast<std::uint8_t>(1 + (step + day) % 4), 0x00});
    }
    record.resize(0x20, 0xFF);
    append(commands, fill(record));
  }
  return generic_files(id, false, commands);
}

Bytes security_domain(unsigned id) {
  const Bytes instance = join({hex("4F07A0000001515350"), hex("4F08A000000151535041"), hex("4F08A000000151000000"),
                               hex("820382DC00"), hex("83010F"), hex("C907810280008201F0"),
                               make_tlv(0xEA, make_tlv(0x80, hex("010000000002010206B2010000000000")))});
  Bytes keys;
  struct Key {
    const char* usage;
    std::uint8_t number;
    std::string_view value;
  };
  for (const Key& k :
       {Key{"18", 1, "Keyferry:sampKIC"}, Key{"14", 2, "Keyferry:sampKID"}, Key{"48", 3, "Keyferry:sampKIK"}}) {
    const Bytes component = make_tlv(0x30, join({hex("800188"), make_tlv(0x86, view(k.value))}));  // AES
    append_tlv(keys, 0x30,
               join({make_tlv(0x95, hex(k.usage)), make_tlv(0x82, Bytes{k.number}), hex("830101"),
                     make_tlv(0x30, component)}));
  }
  return make_tlv(0xA6, join({pe_header(id), make_tlv(0xA1, instance), make_tlv(0xA2, keys)}));
}

Bytes rfm(unsigned id) {
  const Bytes adf = make_tlv(0x30, join({make_tlv(0x80, hex(kUsimAid)), hex("810100"), hex("820100")}));
  return make_tlv(0xA7, join({pe_header(id), hex("4F09A00000055910100002"), make_tlv(0xA0, hex("0403B00140")),
                              hex("810112"), hex("040100"), hex("040100"), adf}));
}
}  // namespace

Bytes sample_package() {
  return join({header(), mf(1), puk_codes(2),
               pin_codes(3, join({pin(0x01, "0000", 1, 6, 51), pin(0x0A, "00000003", 0, 3, 170)})), meter_files(4),
               usim(5), opt_usim(6), pin_codes(7, pin(0x81, "0000", 0x81, 3, 51)), aka(8), tariff_files(9),
               security_domain(10), rfm(11), make_tlv(0xAA, pe_header(12))});
}

}  // namespace kf::profile
