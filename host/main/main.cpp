// keyferry: the SM-DP and its tools.
#include "generated/version.hpp"
#include "host/base/command_line.hpp"
#include "host/main/commands.hpp"
#include "host/main/serve.hpp"

namespace kf::server {
namespace {

// Where the values of the options go: one method a command.
class CommandLine {
 public:
  CommandLine();
  int run(int argc, char** argv) {
    if (const auto ended = parse_command_line(app_, "keyferry", argc, argv)) return *ended;
    return end_program("keyferry", status_);
  }

 private:
  void with_config(CLI::App* s) { s->add_option("-c,--config", config_, "configuration file")->capture_default_str(); }
  void with_server(CLI::App* s) {
    with_config(s);
    s->add_option("--socket", socket_, "admin socket of the server, instead of the one that the configuration names");
  }
  void add_init();
  void add_serve();
  void add_probe();
  void add_status();
  void add_token();
  void add_check_config();
  void add_profile();
  void add_profile_import(CLI::App* s_profile);
  void add_profile_list(CLI::App* s_profile);
  void add_profile_release(CLI::App* s_profile);
  void add_profile_files(CLI::App* s_profile);
  void add_identity();

  CLI::App app_{
      "Keyferry: an SM-DP for GSMA SGP.02 (M2M eSIM).\n"
      "First steps: keyferry init; keyferry profile sample --out sample.der; keyferry profile import ...; keyferry "
      "serve"};
  int status_ = 0;
  std::string config_ = "var/smdp.toml", socket_;
  InitCommand init_;
  std::string custody_ = "strict";
  ProbeCommand probe_;
  std::string pin_;
  bool json_ = false, with_token_ = false, rows_ = false, release_yes_ = false;
  std::string token_, release_iccid_, out_, file_, certificate_, curve_ = "P-256";
  ImportCommand import_;
};

CommandLine::CommandLine() {
  app_.require_subcommand(1);
  app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // scripts put theirs behind defaults
  app_.set_version_flag(
      "--version", std::string("keyferry ") + KEYFERRY_VERSION + " (" + KEYFERRY_COMMIT + ", " + KEYFERRY_BUILD + ")");
  add_init();
  add_serve();
  add_probe();
  add_status();
  add_token();
  add_check_config();
  add_profile();
  add_identity();
}

void CommandLine::add_init() {
  auto* s_init = app_.add_subcommand(
      "init",
      "make a token (SoftHSM), keys, a test PKI, a store and a configuration below one directory; run again, it makes\n"
      "what can be made again and replaces nothing. For an HSM of your own see docs/configuration.md");
  s_init->add_option("--dir", init_.options.dir, "where everything goes")->capture_default_str();
  s_init->add_option("--bind", init_.options.bind, "IP address of both listeners, e.g. 127.0.0.1, ::1, 0.0.0.0")
      ->capture_default_str();
  s_init->add_option("--host", init_.options.host,
                     "name or address by which others reach this machine, for the URLs; default: that of --bind");
  s_init->add_option("--es2-port", init_.options.es2_port, "port for Operators")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  s_init->add_option("--es3-port", init_.options.es3_port, "port for SM-SRs' callbacks and notifications")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  s_init->add_option("--smsr-url", init_.options.smsr_url, "ES3 server of the SM-SR")->capture_default_str();
  s_init->add_option("--operator-url", init_.options.operator_url, "where the Operator takes notifications")
      ->capture_default_str();
  s_init->add_option("--custody", custody_, "where ephemeral keys live")
      ->check(CLI::IsMember({"strict", "hybrid", "core"}))
      ->capture_default_str();
  s_init->add_flag("--force-config", init_.force_config, "write smdp.toml even if there is one");
  s_init->add_flag("--new-store", init_.new_store,
                   "make an empty store in place of one that is lost: only when no backup of it is left");
  s_init->callback([this, s_init] {
    for (const CLI::Option* o : s_init->get_options())
      if (o->count() != 0) init_.given.push_back(o->get_name());
    init_.options.custody = custody_ == "hybrid" ? CustodyPolicy::hybrid
                            : custody_ == "core" ? CustodyPolicy::core
                                                 : CustodyPolicy::strict;
    status_ = run_init(init_);
  });
}

void CommandLine::add_serve() {
  auto* s_serve = app_.add_subcommand("serve", "run the SM-DP until SIGTERM or Ctrl-C");
  with_config(s_serve);
  s_serve->callback([this] {
    auto c = load_config(config_);
    status_ = c ? serve(*c) : complain(2, c.error().detail);
  });
}

void CommandLine::add_probe() {
  auto* s_probe = app_.add_subcommand(
      "probe",
      "learn what a PKCS#11 module can do, by trying it, and print one page: what it has, what is missing for which\n"
      "custody, how fast it is, and the [token] block for your configuration. Nothing is left in the token.\n"
      "  keyferry probe --module /usr/lib/softhsm/libsofthsm2.so\n"
      "  keyferry probe --module M --token pkcs11:token=NAME --pin-file pin --identity 'SK.DP.ECDSA P-256'");
  s_probe->add_option("--module", probe_.module, "the vendor's PKCS#11 library (.so)");
  s_probe->add_option("--token", probe_.token, "RFC 7512 URI; default: the only initialised token");
  s_probe->add_option("--pin-file", probe_.pin_file,
                      "file whose first line is the user PIN; without a PIN: survey only");
  s_probe->add_option("--pin-env", probe_.pin_env, "environment variable that holds the user PIN");
  s_probe->add_option("--identity", probe_.identity, "label or URI of an identity key; once for each")
      ->allow_extra_args(false);
  s_probe->add_option("--seconds", probe_.seconds, "for each measurement; 0: measure nothing")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  s_probe->add_option("--max-threads", probe_.max_threads, "1 to 64")->check(CLI::Range(1, 64))->capture_default_str();
  s_probe->add_option("--max-processes", probe_.max_processes, "1 to 64; default: twice the processors")
      ->check(CLI::Range(1, 64));
  s_probe->add_option("--report-json", probe_.report_json, "everything, as JSON");
  s_probe->add_option("--report-html", probe_.report_html, "the page with plots");
  s_probe->add_option("--env", probe_.environment, "NAME=VALUE for the module, for example SOFTHSM2_CONF=...; repeat")
      ->allow_extra_args(false);
  auto* o_pin = s_probe->add_option("--pin", pin_)->group("");
  s_probe->callback([this, o_pin] {
    status_ = o_pin->count() != 0 ? complain(2,
                                             "--pin: a PIN never goes on the command line, where every user sees it; "
                                             "use --pin-file or --pin-env")
                                  : run_probe(probe_);
  });
}

void CommandLine::add_status() {
  auto* s_status = app_.add_subcommand(
      "status",
      "ask the running server how it is; exit status 0 all is well, 1 nobody answers, 3 something needs a person");
  with_server(s_status);
  s_status->add_flag("--json", json_, "everything, as JSON");
  s_status->callback([this] { status_ = run_status(config_, socket_, json_); });
}

void CommandLine::add_token() {
  auto* s_token = app_.add_subcommand("token", "maintenance of one token of the running server");
  s_token->require_subcommand(1);
  for (const auto& [verb, text] : {std::pair{"drain", "give it no new jobs; with several tokens the others carry on"},
                                   std::pair{"resume", "give it jobs again"}}) {
    auto* s = s_token->add_subcommand(verb, text);
    with_server(s);
    s->add_option("token", token_, "its name, see `keyferry status`")->required();
    s->callback([this, verb = std::string(verb)] { status_ = run_token(config_, socket_, verb, token_); });
  }
}

void CommandLine::add_check_config() {
  auto* s_check = app_.add_subcommand(
      "check-config",
      "say everything that is wrong with a configuration: all that `serve` checks, short of listening.\n"
      "Changes nothing and may run beside the server. Exit status 2 when something is wrong.");
  with_config(s_check);
  s_check->add_flag("--token", with_token_,
                    "log in, too: the PIN, the keys, and whether the store opens with them (a wrong PIN costs a try)");
  s_check->callback([this] { status_ = run_check_config(config_, with_token_); });
}

void CommandLine::add_profile() {
  auto* s_profile = app_.add_subcommand("profile", "the profile inventory");
  s_profile->require_subcommand(1);
  add_profile_import(s_profile);
  add_profile_list(s_profile);
  add_profile_release(s_profile);
  add_profile_files(s_profile);
}

void CommandLine::add_profile_import(CLI::App* s_profile) {
  auto* s_import =
      s_profile->add_subcommand("import", "take complete DER packages, or a template with a CSV of subscriptions");
  with_config(s_import);
  s_import->add_option("--owner", import_.owner, "OID of the Operator that owns the profiles")->required();
  s_import->add_option("--type", import_.type, "ProfileType; default: the profileType of the package");
  s_import->add_option("--template", import_.template_file, "DER package to personalise");
  s_import->add_option("--csv", import_.csv_file,
                       "the first line names the columns. For a template: iccid, imsi, ki, opc [, msisdn, pin1, puk1,\n"
                       "adm1]; for complete packages: iccid, imsi, msisdn, what the SM-SR is told of the subscription");
  s_import->add_flag("--skip-unknown-columns", import_.skip_unknown_columns, "leave out columns of other names");
  s_import->add_option("--imsi", import_.imsi, "of one complete package, for the SM-SR (SubscriptionAddress)");
  s_import->add_option("--msisdn", import_.msisdn, "likewise");
  s_import->add_option("--pol2", import_.pol2,
                       "policy rules, for example DELETE=Not-Allowed,DISABLE=Auto-Delete, or none");
  s_import
      ->add_option("--required-memory", import_.required_memory,
                   "octets asked of the eUICC (CreateISDP); default: a quarter more than the package, 65536 at least")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32));
  s_import->add_option("packages", import_.packages, "complete DER packages, one profile each");
  s_import->callback([this] {
    import_.config = config_;
    status_ = run_profile_import(import_);
  });
}

void CommandLine::add_profile_list(CLI::App* s_profile) {
  auto* s_list = s_profile->add_subcommand("list", "what is free, reserved, installed and uncertain");
  with_config(s_list);
  s_list->add_flag("--rows", rows_, "every ICCID");
  s_list->callback([this] { status_ = run_profile_list(config_, rows_); });
}

void CommandLine::add_profile_release(CLI::App* s_profile) {
  auto* s_release = s_profile->add_subcommand(
      "release", "free an ICCID that is `uncertain`: only when it is sure that no eUICC holds it");
  with_config(s_release);
  s_release->add_option("--iccid", release_iccid_, "the ICCID")->required();
  s_release->add_flag("--yes", release_yes_, "do it; without this it only says what it means");
  s_release->callback([this] { status_ = run_profile_release(config_, release_iccid_, release_yes_); });
}

void CommandLine::add_profile_files(CLI::App* s_profile) {
  auto* s_sample = s_profile->add_subcommand("sample", "write the project's own sample template");
  s_sample->add_option("--out", out_, "file")->required();
  s_sample->callback([this] { status_ = run_profile_sample(out_); });
  auto* s_inspect =
      s_profile->add_subcommand("inspect", "show the elements of a package and the places that are personalised");
  s_inspect->add_option("file", file_, "DER package")->required();
  s_inspect->callback([this] { status_ = run_profile_inspect(file_); });
}

void CommandLine::add_identity() {
  auto* s_identity = app_.add_subcommand("identity", "SK.DP.ECDSA and CERT.DP.ECDSA");
  s_identity->require_subcommand(1);
  auto* s_show = s_identity->add_subcommand("show", "keys in the token, certificates, and whether they fit");
  with_config(s_show);
  s_show->callback([this] { status_ = run_identity_show(config_); });
  auto* s_export = s_identity->add_subcommand("export-key", "the public key in PEM, for a request to a real CI");
  with_config(s_export);
  s_export->add_option("--curve", curve_, "P-256 or brainpoolP256r1")->capture_default_str();
  s_export->add_option("--out", out_, "file; default: standard output");
  s_export->callback([this] { status_ = run_identity_export(config_, curve_, out_); });
  auto* s_cert =
      s_identity->add_subcommand("import-certificate", "check the CERT.DP.ECDSA that a CI issued and put it in place");
  with_config(s_cert);
  s_cert->add_option("--curve", curve_, "P-256 or brainpoolP256r1")->capture_default_str();
  s_cert->add_option("file", certificate_, "7F21 certificate, binary or hex")->required();
  s_cert->callback([this] { status_ = run_identity_import(config_, curve_, certificate_); });
}

}  // namespace
}  // namespace kf::server

int main(int argc, char** argv) { return kf::server::CommandLine().run(argc, argv); }
