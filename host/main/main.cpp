// keyferry: the SM-DP and its tools.
#include "generated/version.hpp"
#include "host/base/command_line.hpp"
#include "host/main/commands.hpp"
#include "host/main/serve.hpp"

int main(int argc, char** argv) {
  using namespace kf::server;
  CLI::App app(
      "Keyferry: an SM-DP for GSMA SGP.02 (M2M eSIM).\n"
      "First steps: keyferry init; keyferry profile sample --out sample.der; keyferry profile import ...; keyferry "
      "serve");
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // scripts put theirs behind defaults
  app.set_version_flag(
      "--version", std::string("keyferry ") + KEYFERRY_VERSION + " (" + KEYFERRY_COMMIT + ", " + KEYFERRY_BUILD + ")");
  int status = 0;
  std::string config = "var/smdp.toml";
  auto with_config = [&](CLI::App* s) {
    s->add_option("-c,--config", config, "configuration file")->capture_default_str();
  };
  std::string socket;
  auto with_server = [&](CLI::App* s) {
    with_config(s);
    s->add_option("--socket", socket, "admin socket of the server, instead of the one that the configuration names");
  };

  InitCommand init;
  std::string custody = "strict";
  auto* s_init = app.add_subcommand(
      "init",
      "make a token (SoftHSM), keys, a test PKI, a store and a configuration below one directory; run again, it makes\n"
      "what can be made again and replaces nothing. For an HSM of your own see docs/configuration.md");
  s_init->add_option("--dir", init.options.dir, "where everything goes")->capture_default_str();
  s_init->add_option("--bind", init.options.bind, "IP address of both listeners, e.g. 127.0.0.1, ::1, 0.0.0.0")
      ->capture_default_str();
  s_init->add_option("--host", init.options.host,
                     "name or address by which others reach this machine, for the URLs; default: that of --bind");
  s_init->add_option("--es2-port", init.options.es2_port, "port for Operators")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  s_init->add_option("--es3-port", init.options.es3_port, "port for SM-SRs' callbacks and notifications")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  s_init->add_option("--smsr-url", init.options.smsr_url, "ES3 server of the SM-SR")->capture_default_str();
  s_init->add_option("--operator-url", init.options.operator_url, "where the Operator takes notifications")
      ->capture_default_str();
  s_init->add_option("--custody", custody, "where ephemeral keys live")
      ->check(CLI::IsMember({"strict", "hybrid", "core"}))
      ->capture_default_str();
  s_init->add_flag("--force-config", init.force_config, "write smdp.toml even if there is one");
  s_init->add_flag("--new-store", init.new_store,
                   "make an empty store in place of one that is lost: only when no backup of it is left");
  s_init->callback([&] {
    for (const CLI::Option* o : s_init->get_options())
      if (o->count() != 0) init.given.push_back(o->get_name());
    init.options.custody = custody == "hybrid" ? CustodyPolicy::hybrid
                           : custody == "core" ? CustodyPolicy::core
                                               : CustodyPolicy::strict;
    status = run_init(init);
  });

  auto* s_serve = app.add_subcommand("serve", "run the SM-DP until SIGTERM or Ctrl-C");
  with_config(s_serve);
  s_serve->callback([&] {
    auto c = load_config(config);
    status = c ? serve(*c) : complain(2, c.error().detail);
  });

  ProbeCommand probe;
  auto* s_probe = app.add_subcommand(
      "probe",
      "learn what a PKCS#11 module can do, by trying it, and print one page: what it has, what is missing for which\n"
      "custody, how fast it is, and the [token] block for your configuration. Nothing is left in the token.\n"
      "  keyferry probe --module /usr/lib/softhsm/libsofthsm2.so\n"
      "  keyferry probe --module M --token pkcs11:token=NAME --pin-file pin --identity 'SK.DP.ECDSA P-256'");
  s_probe->add_option("--module", probe.module, "the vendor's PKCS#11 library (.so)");
  s_probe->add_option("--token", probe.token, "RFC 7512 URI; default: the only initialised token");
  s_probe->add_option("--pin-file", probe.pin_file,
                      "file whose first line is the user PIN; without a PIN: survey only");
  s_probe->add_option("--pin-env", probe.pin_env, "environment variable that holds the user PIN");
  s_probe->add_option("--identity", probe.identity, "label or URI of an identity key; once for each")
      ->allow_extra_args(false);
  s_probe->add_option("--seconds", probe.seconds, "for each measurement; 0: measure nothing")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  s_probe->add_option("--max-threads", probe.max_threads, "1 to 64")->check(CLI::Range(1, 64))->capture_default_str();
  s_probe->add_option("--max-processes", probe.max_processes, "1 to 64; default: twice the processors")
      ->check(CLI::Range(1, 64));
  s_probe->add_option("--report-json", probe.report_json, "everything, as JSON");
  s_probe->add_option("--report-html", probe.report_html, "the page with plots");
  s_probe->add_option("--env", probe.environment, "NAME=VALUE for the module, for example SOFTHSM2_CONF=...; repeat")
      ->allow_extra_args(false);
  std::string pin;
  auto* o_pin = s_probe->add_option("--pin", pin)->group("");
  s_probe->callback([&] {
    status = o_pin->count() != 0 ? complain(2,
                                            "--pin: a PIN never goes on the command line, where every user sees it; "
                                            "use --pin-file or --pin-env")
                                 : run_probe(probe);
  });

  bool json = false;
  auto* s_status = app.add_subcommand(
      "status",
      "ask the running server how it is; exit status 0 all is well, 1 nobody answers, 3 something needs a person");
  with_server(s_status);
  s_status->add_flag("--json", json, "everything, as JSON");
  s_status->callback([&] { status = run_status(config, socket, json); });

  std::string token;
  auto* s_token = app.add_subcommand("token", "maintenance of one token of the running server");
  s_token->require_subcommand(1);
  for (const auto& [verb, text] : {std::pair{"drain", "give it no new jobs; with several tokens the others carry on"},
                                   std::pair{"resume", "give it jobs again"}}) {
    auto* s = s_token->add_subcommand(verb, text);
    with_server(s);
    s->add_option("token", token, "its name, see `keyferry status`")->required();
    s->callback([&, verb = std::string(verb)] { status = run_token(config, socket, verb, token); });
  }

  auto* s_check = app.add_subcommand(
      "check-config",
      "say everything that is wrong with a configuration: all that `serve` checks, short of listening.\n"
      "Changes nothing and may run beside the server. Exit status 2 when something is wrong.");
  with_config(s_check);
  bool with_token = false;
  s_check->add_flag("--token", with_token,
                    "log in, too: the PIN, the keys, and whether the store opens with them (a wrong PIN costs a try)");
  s_check->callback([&] { status = run_check_config(config, with_token); });

  auto* s_profile = app.add_subcommand("profile", "the profile inventory");
  s_profile->require_subcommand(1);
  ImportCommand import;
  auto* s_import =
      s_profile->add_subcommand("import", "take complete DER packages, or a template with a CSV of subscriptions");
  with_config(s_import);
  s_import->add_option("--owner", import.owner, "OID of the Operator that owns the profiles")->required();
  s_import->add_option("--type", import.type, "ProfileType; default: the profileType of the package");
  s_import->add_option("--template", import.template_file, "DER package to personalise");
  s_import->add_option("--csv", import.csv_file,
                       "the first line names the columns. For a template: iccid, imsi, ki, opc [, msisdn, pin1, puk1,\n"
                       "adm1]; for complete packages: iccid, imsi, msisdn, what the SM-SR is told of the subscription");
  s_import->add_flag("--skip-unknown-columns", import.skip_unknown_columns, "leave out columns of other names");
  s_import->add_option("--imsi", import.imsi, "of one complete package, for the SM-SR (SubscriptionAddress)");
  s_import->add_option("--msisdn", import.msisdn, "likewise");
  s_import->add_option("--pol2", import.pol2,
                       "policy rules, for example DELETE=Not-Allowed,DISABLE=Auto-Delete, or none");
  s_import
      ->add_option("--required-memory", import.required_memory,
                   "octets asked of the eUICC (CreateISDP); default: a quarter more than the package, 65536 at least")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32));
  s_import->add_option("packages", import.packages, "complete DER packages, one profile each");
  s_import->callback([&] {
    import.config = config;
    status = run_profile_import(import);
  });
  bool rows = false;
  auto* s_list = s_profile->add_subcommand("list", "what is free, reserved, installed and uncertain");
  with_config(s_list);
  s_list->add_flag("--rows", rows, "every ICCID");
  s_list->callback([&] { status = run_profile_list(config, rows); });
  std::string out;
  std::string release_iccid;
  bool release_yes = false;
  auto* s_release = s_profile->add_subcommand(
      "release", "free an ICCID that is `uncertain`: only when it is sure that no eUICC holds it");
  with_config(s_release);
  s_release->add_option("--iccid", release_iccid, "the ICCID")->required();
  s_release->add_flag("--yes", release_yes, "do it; without this it only says what it means");
  s_release->callback([&] { status = run_profile_release(config, release_iccid, release_yes); });

  auto* s_sample = s_profile->add_subcommand("sample", "write the project's own sample template");
  s_sample->add_option("--out", out, "file")->required();
  s_sample->callback([&] { status = run_profile_sample(out); });
  std::string file;
  auto* s_inspect =
      s_profile->add_subcommand("inspect", "show the elements of a package and the places that are personalised");
  s_inspect->add_option("file", file, "DER package")->required();
  s_inspect->callback([&] { status = run_profile_inspect(file); });

  auto* s_identity = app.add_subcommand("identity", "SK.DP.ECDSA and CERT.DP.ECDSA");
  s_identity->require_subcommand(1);
  auto* s_show = s_identity->add_subcommand("show", "keys in the token, certificates, and whether they fit");
  with_config(s_show);
  s_show->callback([&] { status = run_identity_show(config); });
  std::string curve = "P-256";
  std::string key_out;
  auto* s_export = s_identity->add_subcommand("export-key", "the public key in PEM, for a request to a real CI");
  with_config(s_export);
  s_export->add_option("--curve", curve, "P-256 or brainpoolP256r1")->capture_default_str();
  s_export->add_option("--out", key_out, "file; default: standard output");
  s_export->callback([&] { status = run_identity_export(config, curve, key_out); });
  std::string certificate;
  auto* s_cert =
      s_identity->add_subcommand("import-certificate", "check the CERT.DP.ECDSA that a CI issued and put it in place");
  with_config(s_cert);
  s_cert->add_option("--curve", curve, "P-256 or brainpoolP256r1")->capture_default_str();
  s_cert->add_option("file", certificate, "7F21 certificate, binary or hex")->required();
  s_cert->callback([&] { status = run_identity_import(config, curve, certificate); });

  if (const auto ended = kf::parse_command_line(app, "keyferry", argc, argv)) return *ended;
  return kf::end_program("keyferry", status);
}
