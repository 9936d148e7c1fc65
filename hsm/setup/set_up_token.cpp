#include "hsm/setup/set_up_token.hpp"

#include "hsm/engine/worker_process.hpp"

namespace kf::hsm {
namespace {
constexpr std::chrono::minutes kProvisioningLimit{2};  // real tokens take their time over C_InitToken
}

Result<TokenSetupReport> set_up_token(const TokenSetup& s) {
  KF_TRY(auto worker, WorkerProcess::spawn(s.config, s.config.tokens.front(), wire::Configuration::Mode::provision));
  KF_CHECK(worker.wait_ready(s.config.start_limit));
  wire::Writer args;
  args.field(s.so_pin_file);
  args.field(s.token_label);
  KF_TRY(const SecretBytes payload, worker.call(wire::AdminOp::provision, args, kProvisioningLimit));
  wire::Reader r(payload.expose());
  TokenSetupReport report;
  report.token_created = r.u32() != 0;
  for (std::uint32_t n = r.u32(); n != 0 && r.ok(); --n) report.keys_created.push_back(r.string());
  if (!r.at_end()) return Error{"hsm-worker", "malformed answer"};
  // Waited for: the keys are on disk and the token is closed when this returns.
  worker.hang_up();
  if (const auto status = worker.reap(std::chrono::seconds(10)); !status || *status != 0) {
    return Error{"hsm-worker", "the set-up worker did not end well" +
                                   (status ? " (" + wait_status_text(*status) + ")" : std::string())};
  }
  return report;
}

}  // namespace kf::hsm
