// key-derivation, receipt, store-data, scp03t, scp03t-negative, segmentation, script.
#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"
#include "host/es8/scp03t.hpp"
#include "host/pki/gp_cert.hpp"
#include "tests/vectors/card.hpp"
#include "tests/vectors/runner.hpp"

namespace kf::vectors {
namespace {
using namespace kf::es8;

KeySetPlan plan_of(const Fields& in) {
  KeySetPlan p;
  p.scenario_param = in.octet("scenario_param");
  p.key_usage = in.octet("key_usage_qualifier");
  if (in.has("key_type") && in.octet("key_type") != 0x88) throw Skip("key type other than AES");
  p.key_length = static_cast<std::uint8_t>(in.number("key_length"));
  if (in.has("kid")) p.kid = in.octet("kid");
  if (in.has("kvn")) p.kvn = in.octet("kvn");
  p.host_id = in.maybe("host_id").value_or(Bytes{});
  p.sin = in.maybe("sin").value_or(Bytes{});
  p.sdin = in.maybe("sdin").value_or(Bytes{});
  return p;
}

std::vector<Bytes> key_list(const DerivedKeys& k, const KeySetPlan& p) {
  std::vector<Bytes> l{to_bytes(k.keys.enc.expose())};
  if (p.key_usage == 0x10) {
    l.push_back(to_bytes(k.keys.mac.expose()));
    l.push_back(to_bytes(k.keys.dek.expose()));
  } else {
    same("base key as Key-MAC", k.keys.mac.expose(), l[0]);
    same("base key as Key-DEK", k.keys.dek.expose(), l[0]);
  }
  return l;
}

std::string key_derivation(Case& c) {
  const KeySetPlan p = plan_of(c.in);
  if (auto s = check_plan(p); !s.ok()) return s.error().reason;
  const auto dr = c.in.maybe("dr");
  c.out.expect("shared_info", shared_info(p, dr));
  const DerivedKeys k = derive_keys(c.in.bytes("z"), p, dr);
  c.out.expect("receipt_key", k.receipt_key.expose());
  c.out.expect_list("keys", key_list(k, p));
  return "";
}

std::string receipt(Case& c) {
  const auto dr = c.in.maybe("dr");
  const Bytes crt = c.in.bytes("crt");
  DerivedKeys k;
  k.receipt_key = SecretBytes(c.in.bytes("receipt_key"));
  c.out.expect("mac_input", receipt_input(crt, dr));
  c.out.expect("receipt", aes_cmac(k.receipt_key.expose(), receipt_input(crt, dr)));
  return receipt_matches(k, crt, {dr, c.out.bytes("receipt")}) ? "" : "bad-receipt";
}

std::vector<CardAnswer> r_apdus(const std::vector<Bytes>& values) {
  std::vector<CardAnswer> out;
  for (const Bytes& v : values) out.push_back({0x23, v, make_tlv(0x23, v)});
  return out;
}

// Both ends of one key establishment. The card's side runs too (card.hpp) and must answer as the file says.
std::string store_data(Case& c) {
  const Fields& in = c.in;
  const Fields& out = c.out;
  const Curve curve = curve_of(in);
  need(c.engine, curve);
  const KeySetPlan plan = plan_of(in);
  if (auto s = check_plan(plan); !s.ok()) return s.error().reason;
  const Bytes cert = in.bytes("cert_dp");
  const Aid isd_p = value_of(Aid::parse(in.bytes("isdp_aid")), "isdp_aid");
  const Bytes rc = in.bytes("rc");

  const Point pk_ecasd = value_of(check_point(curve, in.bytes("pk_ecasd")), "pk_ecasd");
  same("public key of sk_ecasd", value_of(public_of(curve, in.bytes("sk_ecasd")), "sk_ecasd"), pk_ecasd);
  const auto parsed = parse_gp_certificate(cert);
  if (!parsed) return parsed.error().reason;
  const GpIssuer ci{curve, value_of(check_point(curve, in.bytes("pk_ci")), "pk_ci"), in.bytes("ci_ski")};
  if (auto s = verify_gp_certificate(*parsed, GpRole::dp, ci, parsed->expiry, std::nullopt); !s.ok())
    return s.error().reason;

  std::vector<Bytes> script1{install_for_personalization(isd_p)};
  for (Bytes& b : store_data_certificate(cert)) script1.push_back(std::move(b));
  out.expect("data_script1", wrap_c_apdus(script1));
  const auto first_block = static_cast<std::uint8_t>(script1.size() - 1);

  const Bytes esk = in.bytes("esk_dp");
  const Point epk = value_of(public_of(curve, esk), "esk_dp");
  out.expect("epk_dp", epk);
  const Bytes crt = control_reference_template(plan);
  out.expect("crt", crt);
  const Bytes to_sign = signing_input(crt, epk, rc);
  out.expect("signing_input", to_sign);
  Signature signature = value_of(c.engine.sign(curve, in.bytes("sk_dp"), parsed->q, sha256(to_sign)), "sign");
  if (!c.engine.deterministic()) {
    if (!ecdsa_verify(curve, parsed->q, sha256(to_sign), signature))
      throw Mismatch("the engine's signature does not verify");
    if (out.has("signature")) signature = fixed<64>(out.bytes("signature"));  // go on with the file's bytes
  }
  out.expect("signature", signature);
  const std::vector<Bytes> script2 = store_data_key(crt, epk, signature, first_block);
  out.expect("data_script2", wrap_c_apdus(script2));

  // What was sent, by the file or by us: a negative case may carry commands that the product would not send.
  CardEstablishment card({curve, in.bytes("sk_ecasd"), ci.q, ci.ski, isd_p, rc, in.maybe("dr"), plan.sin, plan.sdin});
  const bool ours = c.json.at("valid").get<bool>();
  if (ours) {
    out.expect_list("script1", script1);
    out.expect_list("script2", script2);
  }
  const auto commands1 = out.has("script1") ? out.list("script1") : script1;
  const auto commands2 = out.has("script2") ? out.list("script2") : script2;
  const auto from_card = [&](const std::vector<Bytes>& commands) {
    std::vector<Bytes> r;
    for (const Bytes& command : commands) {
      r.push_back(card.process(command));
      if (!(r.back().size() >= 2 && r.back()[r.back().size() - 2] == 0x90)) break;
    }
    return r;
  };
  const auto card1 = from_card(commands1);
  const auto answers1 = r_apdus(out.has("responses1") ? out.list("responses1") : card1);
  const auto got_rc = rc_of(answers1, commands1.size());
  if (!got_rc && got_rc.error().reason == "card-status") return "card-status " + got_rc.error().detail.substr(0, 4);
  if (!got_rc) return got_rc.error().reason;
  same("RC", *got_rc, rc);
  out.expect_list("responses1", card1);

  const auto card2 = from_card(commands2);
  const auto answers2 = r_apdus(out.has("responses2") ? out.list("responses2") : card2);
  const auto answer = key_answer_of(answers2, commands2.size(), plan);
  if (!answer && answer.error().reason == "card-status") {
    out.expect_list("responses2", card2);
    return "card-status " + answer.error().detail.substr(0, 4);
  }
  if (!answer) return answer.error().reason;
  const auto z = c.engine.ecka(curve, esk, epk, pk_ecasd);
  if (!z) return z.error().reason;
  out.expect("z", z->expose());
  out.expect("shared_info", shared_info(plan, answer->dr));
  const DerivedKeys k = derive_keys(z->expose(), plan, answer->dr);
  out.expect("receipt_key", k.receipt_key.expose());
  out.expect_list("keys", key_list(k, plan));
  if (!receipt_matches(k, crt, *answer)) return "bad-receipt";
  out.expect("receipt", answer->receipt);
  out.expect_list("responses2", card2);
  return "";
}

KeySet key_set_of(const Fields& in) {
  return {SecretBytes(in.bytes("key_enc")), SecretBytes(in.bytes("key_mac")),
          SecretBytes(in.maybe("key_dek").value_or(Bytes(in.bytes("key_enc").size()))), in.octet("kvn")};
}

SequenceCounter counter_after(std::size_t before) {
  const std::size_t n = before + 1;
  return {static_cast<std::uint8_t>(n >> 16), static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
}

CardScp03t card_of(const Fields& in, const Aid& aid) {
  return CardScp03t({in.bytes("key_enc"), in.bytes("key_mac"), in.octet("kvn"), aid, in.number("counter_before"),
                     in.maybe("key_diversification_data").value_or(Bytes(10))});
}

std::string scp03t(Case& c) {
  const Fields& in = c.in;
  const Fields& out = c.out;
  const KeySet keys = key_set_of(in);
  const Aid aid = value_of(Aid::parse(in.bytes("isdp_aid")), "isdp_aid");
  const Challenge hc = fixed<8>(in.bytes("host_challenge"));
  const SequenceCounter counter = counter_after(in.number("counter_before"));
  if (in.has("security_level") && in.octet("security_level") != 0x33) throw Skip("security level other than 33");

  std::vector<Bytes> plain;
  std::vector<Bytes> plain_answers;
  for (const Json& s : out.at("segments")) {
    const Fields f(s, "segment");
    plain.push_back(f.bytes("plaintext"));
    plain_answers.push_back(f.bytes("response_plaintext"));
  }
  const std::vector<ByteView> views(plain.begin(), plain.end());
  const SealedScript s = seal_segments_offline(keys, aid, hc, counter, views);
  out.expect("initialize_update", s.tlvs[0]);
  out.expect("card_challenge", s.cc);
  out.expect("context", concat(s.hc, s.cc));
  out.expect("s_enc", s.keys.s_enc.expose());
  out.expect("s_mac", s.keys.s_mac.expose());
  out.expect("s_rmac", s.keys.s_rmac.expose());
  out.expect("card_cryptogram", card_cryptogram(s.keys, s.hc, s.cc));
  out.expect("host_cryptogram", host_cryptogram(s.keys, s.hc, s.cc));
  out.expect("external_authenticate", s.tlvs[1]);
  out.expect("mcv_after_auth", s.mcv[0]);

  CardScp03t card = card_of(in, aid);
  std::vector<Bytes> responses{out.bytes("initialize_update_response"), out.bytes("external_authenticate_response")};
  same("card's answer to 84", card.process(s.tlvs[0]), responses[0]);
  same("card's answer to 85", card.process(s.tlvs[1]), responses[1]);
  std::size_t i = 0;
  Bytes all_plain;
  for (const Json& segment : out.at("segments")) {
    const Fields f(segment, "segment " + std::to_string(i + 1));
    Block16 icv{};
    icv[15] = static_cast<std::uint8_t>(f.number("counter"));
    f.expect("icv", aes_ecb_block(s.keys.s_enc.expose(), icv));
    f.expect("command", s.tlvs[2 + i]);
    f.expect("mcv", s.mcv[1 + i]);
    card.answer_with(plain_answers[i]);
    f.expect("response", card.process(s.tlvs[2 + i]));
    responses.push_back(f.bytes("response"));
    append(all_plain, plain_answers[i]);
    (void)f.has("plaintext"), (void)f.has("response_plaintext");
    f.all_looked_at();
    ++i;
  }
  Bytes decrypted;
  for (const Bytes& p : plain) append(decrypted, p);
  same("what the card decrypted", card.received(), decrypted);

  const auto answers =
      value_of(parse_euicc_response_data(concat(ByteView(responses[0]), ByteView(responses[1]))), "answers");
  const auto a84 = value_of(parse_initialize_update_answer(answers[0]), "answer to 84");
  const SealedScript online = value_of(seal_online(keys, aid, hc, a84, decrypted), "seal_online");
  same("85 in online mode", online.tlvs[0], s.tlvs[1]);
  Bytes data;
  for (const Bytes& r : responses) append(data, r);
  const OpenedAnswers opened =
      value_of(open_answers(s, 0, value_of(parse_euicc_response_data(data), "answers")), "open_answers");
  if (opened.accepted != s.tlvs.size() || opened.segments_accepted != plain.size())
    throw Mismatch("not every answer was accepted");
  same("response plaintext", opened.data, all_plain);
  return "";
}

// side card: our receiver must refuse as the file says. side host: the product must refuse the answers.
std::string scp03t_negative(Case& c) {
  const Fields& in = c.in;
  const Aid aid = value_of(Aid::parse(in.bytes("isdp_aid")), "isdp_aid");
  const std::vector<Bytes> commands = in.list("commands");
  if (in.text("side") == "card") {
    CardScp03t card = card_of(in, aid);
    std::vector<Bytes> responses;
    std::string reason;
    for (const Bytes& command : commands) {
      responses.push_back(card.process(command));
      if (responses.back()[0] == 0x9F && reason.empty()) reason = "card-error " + to_hex(responses.back());
    }
    c.out.expect_list("responses", responses);
    return reason;
  }
  if (in.text("side") != "host") throw Mismatch("unknown side " + in.text("side"));
  SealedScript s;  // the session as it stands after those commands
  const KeySet keys = key_set_of(in);
  s.tlvs = commands;
  s.hc = fixed<8>(Bytes(commands.at(0).begin() + 4, commands.at(0).end()));
  s.cc = card_challenge(keys, counter_after(in.number("counter_before")), aid);
  s.keys = session_keys(keys, s.hc, s.cc);
  Block16 mcv{};
  for (std::size_t i = 1; i < commands.size(); ++i) {
    mcv = aes_cmac(s.keys.s_mac.expose(), concat(mcv, ByteView(commands[i]).first(commands[i].size() - 8)));
    s.mcv.push_back(mcv);
  }
  Bytes data;
  for (const Bytes& r : in.has("responses") ? in.list("responses") : c.out.list("responses")) append(data, r);
  const auto answers = parse_euicc_response_data(data);
  if (!answers) return answers.error().reason;
  const auto opened = open_answers(s, 0, *answers);
  if (!opened) return opened.error().reason;
  return opened->error_tlv ? "card-error " + to_hex(*opened->error_tlv) : "";
}

std::string segmentation(Case& c) {
  const std::size_t max_tlv = c.in.number("max_tlv");
  c.out.expect_text("max_plaintext", std::to_string(max_segment(max_tlv)));
  Json lengths = Json::array();
  const Bytes profile(c.in.number("profile_length"));
  for (const ByteView v : cut_profile(profile, max_tlv)) lengths.push_back(v.size());
  c.out.expect_text("segment_lengths", lengths.dump());
  return "";
}

// The SM-SR's HTTP answer around a script: the body, taken out of its one chunk, is the script; the target is the AID.
void check_http(const Bytes& http, const Bytes& script, const Bytes& aid) {
  const std::string_view t = text(http);
  const std::size_t end = t.find("\r\n\r\n");
  if (end == std::string_view::npos) throw Mismatch("out.http has no end of header");
  const std::string id = to_hex(aid);
  if (t.substr(0, end).find("//aid/" + id.substr(0, 10) + "/" + id.substr(10)) == std::string_view::npos)
    throw Mismatch("out.http does not name the target");
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", script.size());
  same("out.http body", ByteView(http).subspan(end + 4), concat(view(size), script, view("\r\n0\r\n\r\n")));
}

std::string script(Case& c) {
  if (c.in.has("response")) {
    const auto answers = parse_euicc_response_data(c.in.bytes("response"));
    if (!answers) return answers.error().reason;
    Json items = Json::array();
    for (const CardAnswer& a : *answers)
      items.push_back({to_hex(ByteView(a.whole).first(a.tag > 0xFF ? 2 : 1)), to_hex(a.value)});
    // The product skips 80 (number of commands) and 83 (chaining result).
    Json want = Json::array();
    if (!c.out.has("items")) return "";
    for (const Json& i : c.out.at("items"))
      if (i[0] != "80" && i[0] != "83") want.push_back(i);
    if (items != want) throw Mismatch("items: got " + items.dump() + ", the file has " + want.dump());
    return "";
  }
  Bytes data;
  if (c.in.has("c_apdus")) {
    data = wrap_c_apdus(c.in.list("c_apdus"));
  } else {
    const auto runs = cut_between_tlvs(c.in.list("tlvs"), 0);
    if (runs.size() != 1) throw Mismatch("cut without a limit");
    data = runs[0];
  }
  c.out.expect("send_data", data);
  c.out.expect("indefinite", remote_script_indefinite(data));
  c.out.expect("definite", remote_script_definite(data));
  if (c.out.has("http")) check_http(c.out.bytes("http"), remote_script_indefinite(data), c.in.bytes("target_aid"));
  return "";
}
}  // namespace

void add_es8_groups(std::map<std::string, GroupFunction>& g) {
  g["key-derivation"] = key_derivation;
  g["receipt"] = receipt;
  g["store-data"] = store_data;
  g["scp03t"] = scp03t;
  g["scp03t-negative"] = scp03t_negative;
  g["segmentation"] = segmentation;
  g["script"] = script;
}
}  // namespace kf::vectors
