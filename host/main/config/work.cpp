// [store], [limits], [scp03t], [timeouts], [download] and [log]: how the work is done.
#include <algorithm>

#include "host/main/config/section.hpp"

namespace kf::server {
namespace {

std::vector<download::Platform> platforms(Section& s, std::string_view k) {
  std::vector<download::Platform> out;
  for (Section& p : s.tables(k)) {
    out.push_back({p.str("eum", ""), p.str("type", ""), p.str("version", "")});
    p.done();
  }
  return out;
}

void read_store(Section s, Config& c) {
  c.store_path = s.path("path");
  if (s.good("path") && c.store_path.empty()) s.bad("path", "required");
  c.keep_outcomes_days = static_cast<int>(s.integer("keep_outcomes_days", 7, 7, 3650));
  c.keep_downloads_days = static_cast<int>(s.integer("keep_downloads_days", 400, 7, 36'500));
  s.done();
}

void read_limits(Section l, Config& c) {
  c.downloads_in_flight = static_cast<std::size_t>(l.integer("downloads_in_flight", 256, 1, 100'000));
  c.downloads_enabling = static_cast<std::size_t>(l.integer("downloads_enabling", 16'384, 0, 1'000'000));
  c.orders_waiting = static_cast<std::size_t>(l.integer("orders_waiting", 100'000, 1, 10'000'000));
  c.max_body = static_cast<std::size_t>(l.integer("max_body_bytes", 1 << 20, 4096, 64 << 20));
  c.max_eis_body = static_cast<std::size_t>(l.integer("max_answer_bytes", 4 << 20, 4096, 64 << 20));
  c.max_connections = static_cast<std::size_t>(l.integer("max_connections", 4096, 1, 65536));
  const auto quarter = static_cast<std::int64_t>(std::max<std::size_t>(1, c.max_connections / 4));
  c.connections_per_address = static_cast<std::size_t>(l.integer("connections_per_address", quarter, 1, 65536));
  c.connections_per_party = static_cast<std::size_t>(l.integer("connections_per_party", quarter, 1, 65536));
  c.handshakes_per_second = static_cast<std::size_t>(l.integer("handshakes_per_second", 200, 0, 1'000'000));
  c.stored_calls = l.integer("stored_calls", c.stored_calls, 1, 1'000'000'000);
  c.stored_bytes = l.integer("stored_mib", c.stored_bytes >> 20, 1, 1 << 20) << 20;
  c.relays_per_operator = static_cast<std::size_t>(l.integer("relays_per_operator", 16'384, 1, 1'000'000));
  c.relays_per_smsr = static_cast<std::size_t>(l.integer("relays_per_smsr", 1000, 1, 1'000'000));
  c.drain_s = l.integer("drain_s", c.drain_s, 0, 86'400);
  c.crypto_threads = static_cast<unsigned>(l.integer("crypto_threads", 2, 1, 256));
  c.min_validity_s = static_cast<std::uint32_t>(l.integer("min_validity_s", 10, 1, 86'400));
  c.default_validity_s = static_cast<std::uint32_t>(l.integer("default_validity_s", 3600, 1, 31'536'000));
  c.follow_ups_per_smsr = static_cast<std::size_t>(l.integer("follow_ups_per_smsr", 1000, 0, 1'000'000));
  l.done();
}

void read_scp03t(Section s, Config& c) {
  c.sealing.engine = s.str("engine", "best");
  if (const auto engine = seal::make_sealer(c.sealing.engine); !engine) s.bad("engine", engine.error().detail);
  c.sealing.threads = static_cast<unsigned>(s.integer("threads", std::min(c.crypto_threads, 64U), 1, 64));
  c.sealing.bytes_in_flight = static_cast<std::size_t>(s.integer("memory_mib", 64, 1, 65'536)) << 20;
  c.sealing.batch = static_cast<std::size_t>(s.integer("batch", 64, 1, 4096));
  s.done();
}

void read_timeouts(Section s, Config& c) {
  const auto ms = [&s](std::string_view k, std::int64_t fallback) {
    return s.integer(k, fallback / 1000, 1, 604'800) * 1000;
  };
  c.timeouts.get_eis = ms("get_eis_s", c.timeouts.get_eis);
  c.timeouts.card = ms("card_s", c.timeouts.card);
  c.timeouts.completed = ms("completed_s", c.timeouts.completed);
  c.timeouts.enable = ms("enable_s", c.timeouts.enable);
  c.timeouts.backoff = s.integer("backoff_ms", c.timeouts.backoff, 1, 600'000);
  c.timeouts.get_eis_tries = static_cast<unsigned>(s.integer("get_eis_tries", 3, 1, 20));
  c.timeouts.completed_tries = static_cast<unsigned>(s.integer("completed_tries", 5, 1, 20));
  c.timeouts.delete_tries = static_cast<unsigned>(s.integer("delete_tries", 3, 1, 20));
  c.follow_up.backoff_ms = c.timeouts.backoff;
  c.follow_up.settle_ms =
      s.integer("eis_settle_ms", std::min<std::int64_t>(10 * c.timeouts.backoff, 600'000), 1, 600'000);
  c.follow_up.get_eis_ms = c.timeouts.get_eis;
  c.follow_up.card_ms = c.timeouts.card;
  c.follow_up.longest_pause_ms = ms("follow_up_pause_s", c.follow_up.longest_pause_ms);
  c.follow_up.give_up_ms = ms("follow_up_give_up_s", c.follow_up.give_up_ms);
  c.header_timeout_ms = ms("header_s", c.header_timeout_ms);
  c.first_byte_timeout_ms = ms("first_byte_s", c.first_byte_timeout_ms);
  c.first_request_timeout_ms = ms("first_request_s", c.first_request_timeout_ms);
  c.body_timeout_ms = ms("body_s", c.body_timeout_ms);
  c.delivery_timeout_ms = ms("delivery_s", c.delivery_timeout_ms);
  c.delivery_give_up_s = s.integer("delivery_give_up_s", c.delivery_give_up_s, 1, 31'536'000);
  s.done();
}

void read_plan(Section& d, Config& c) {
  auto& p = c.plan;
  p.key_length = static_cast<std::uint8_t>(d.integer("key_length", 16, 16, 32));
  if (p.key_length % 8 != 0) d.bad("key_length", "must be 16, 24 or 32");
  p.key_usage = d.one_of("key_set", "three-keys", {"three-keys", "base-key"}) == "base-key" ? 0x5C : 0x10;
  p.scenario_param = d.boolean("derivation_random", true) ? 0x0B : 0x09;
  p.kvn = static_cast<std::uint8_t>(
      d.integer("key_version", 0x30, 0x30, 0x3F, "from 0x30 to 0x3F, without quotes: key_version = 0x30"));
}

void read_download(Section d, Config& c) {
  read_plan(d, c);
  const std::string keep = d.str("key_set_after", "keep");
  if (keep != "keep" && keep != "forget")
    d.bad("key_set_after", "must be \"keep\" (sealed by the token) or \"forget\"");
  c.keep_key_set = keep == "keep";
  c.certified = platforms(d, "certified");
  for (Section& s : d.tables("profile_type")) {
    c.profile_types.push_back({s.str("name"), platforms(s, "compatible")});
    s.done();
  }
  d.done();
}

}  // namespace

void read_work(Section& root, Config& c) {
  read_store(root.table("store"), c);
  read_limits(root.table("limits"), c);
  read_scp03t(root.table("scp03t"), c);
  read_timeouts(root.table("timeouts"), c);
  read_download(root.table("download"), c);

  Section log = root.table("log");
  c.log_level = log.one_of("level", "info", {"debug", "info", "warning", "error"});
  c.log_file = log.path("file", "");
  log.done();
}

}  // namespace kf::server
