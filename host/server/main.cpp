// keyferry: the SM-DP and its tools.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "generated/version.hpp"
#include "host/server/app.hpp"
#include "host/server/commands.hpp"

int main(int argc, char** argv) {
  using namespace kf::server;
  CLI::App app(
      "Keyferry: an SM-DP for GSMA SGP.02 (M2M eSIM).\n"
      "First steps: keyferry init; keyferry profile sample --out sample.der; keyferry profile import ...; keyferry "
      "serve");
  app.require_subcommand(1);
  app.set_version_flag(
      "--version", std::string("keyferry ") + KEYFERRY_VERSION + " (" + KEYFERRY_COMMIT + ", " + KEYFERRY_BUILD + ")");
  int status = 0;
  std::string config = "var/smdp.toml";
  auto with_config = [&](CLI::App* s) {
    s->add_option("-c,--config", config, "configuration file")->capture_default_str();
  };

  InitCommand init;
  std::string custody = "strict";
  auto* s_init =
      app.add_subcommand("init", "make a token, keys, a test PKI, a store and a configuration below one directory");
  s_init->add_option("--dir", init.options.dir, "where everything goes")->capture_default_str();
  s_init->add_option("--bind", init.options.bind, "address of both listeners")->capture_default_str();
  s_init->add_option("--es2-port", init.options.es2_port, "port for Operators")->capture_default_str();
  s_init->add_option("--es3-port", init.options.es3_port, "port for SM-SRs' callbacks and notifications")
      ->capture_default_str();
  s_init->add_option("--smsr-url", init.options.smsr_url, "ES3 server of the SM-SR")->capture_default_str();
  s_init->add_option("--operator-url", init.options.operator_url, "where the Operator takes notifications")
      ->capture_default_str();
  s_init->add_option("--custody", custody, "where ephemeral keys live")
      ->check(CLI::IsMember({"strict", "hybrid"}))
      ->capture_default_str();
  s_init->add_option("--module", init.options.module,
                     "a PKCS#11 module other than SoftHSM (see docs/configuration.md)");
  s_init->add_flag("--force-config", init.force_config, "write smdp.toml even if there is one");
  s_init->callback([&] {
    init.options.custody = custody == "hybrid" ? CustodyPolicy::hybrid : CustodyPolicy::strict;
    status = run_init(init);
  });

  auto* s_serve = app.add_subcommand("serve", "run the SM-DP until SIGTERM or Ctrl-C");
  with_config(s_serve);
  s_serve->callback([&] {
    auto c = load_config(config);
    status = c ? serve(*c) : complain(2, c.error().detail);
  });

  bool json = false;
  auto* s_status = app.add_subcommand("status", "ask the running server how it is");
  with_config(s_status);
  s_status->add_flag("--json", json, "everything, as JSON");
  s_status->callback([&] { status = run_status(config, json); });

  auto* s_check = app.add_subcommand("check-config", "read the configuration and say what is wrong with it");
  with_config(s_check);
  s_check->callback([&] { status = run_check_config(config); });

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
                       "rows of iccid, imsi, ki, opc [, msisdn, pin1, puk1, adm1]; the first line names the columns");
  s_import->add_option("--pol2", import.pol2,
                       "policy rules, for example DELETE=Not-Allowed,DISABLE=Auto-Delete, or none");
  s_import->add_option("--required-memory", import.required_memory, "bytes asked of the eUICC (CreateISDP)")
      ->capture_default_str();
  s_import->add_option("packages", import.packages, "complete DER packages, one profile each");
  s_import->callback([&] {
    import.config = config;
    status = run_profile_import(import);
  });
  bool rows = false;
  auto* s_list = s_profile->add_subcommand("list", "what is free, reserved and installed");
  with_config(s_list);
  s_list->add_flag("--rows", rows, "every ICCID");
  s_list->callback([&] { status = run_profile_list(config, rows); });
  std::string out;
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

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForAllHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return complain(2, std::string(e.what()) + " (keyferry --help)");
  }
  return status;
}
