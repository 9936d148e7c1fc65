#include "host/server/download_service.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>

#include <algorithm>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/download/answers.hpp"
#include "host/download/codes.hpp"
#include "host/server/peer_log.hpp"
#include "host/server/station.hpp"

namespace kf::server {
namespace {

es::Response outcome_of(const download::Download& d) {
  es::Response r;
  r.interface = es::Interface::es2;
  r.function = es::Function::download_profile;
  r.processing_start = iso_seconds(WallTime(std::chrono::milliseconds(d.order.received_ms)));
  r.processing_end = iso_seconds(wall_now());
  r.iccid = d.order.iccid_as_ordered.empty() ? d.order.iccid.str() : d.order.iccid_as_ordered;
  switch (d.state) {
    case download::State::done:
      r.status = es::ExecStatus::success;
      break;
    case download::State::done_with_warning:
      r.status = es::ExecStatus::with_warning;
      break;
    case download::State::expired:
      r.status = es::ExecStatus::expired;
      break;
    default:
      r.status = es::ExecStatus::failed;
      break;
  }
  if (d.cause && r.status != es::ExecStatus::success)
    r.code = es::StatusCode{d.cause->subject, d.cause->reason, d.cause->identifier, d.cause->message};
  return r;
}
}  // namespace

// Made once for each ProfileType at each SM-SR: neither changes while the process lives.
const download::Policy& DownloadService::policy(const download::Order& o) {
  std::pair key{o.smsr.str(), o.profile_type};
  if (const auto at = policies_.find(key); at != policies_.end()) return at->second;
  download::Policy x;
  const Settings& c = p_.config;
  x.smdp_oid = c.oid.str();
  auto cert = [&](Curve k) -> Bytes {
    auto it = p_.cert_dp.find(static_cast<std::uint8_t>(k));
    return it == p_.cert_dp.end() ? Bytes() : it->second;
  };
  x.cert_dp_p256 = cert(Curve::p256);
  x.cert_dp_brainpool = cert(Curve::brainpool_p256r1);
  x.plan = c.plan;
  x.timeouts = c.timeouts;
  x.settle_ms = c.follow_up.settle_ms;
  if (const Party* p = c.by_oid(o.smsr.str())) {
    x.scp03t_in_22 = p->scp03t_in_22;
    x.scp03t_online = p->scp03t_online;
  }
  x.rsp_majors = c.rsp_majors;
  x.certified = c.certified;
  for (const auto& t : c.profile_types)
    if (t.name == o.profile_type) x.compatible = t.compatible;
  x.keep_key_set = c.keep_key_set;
  return policies_.emplace(std::move(key), std::move(x)).first->second;
}

void DownloadService::post(const LivePtr& l, download::Event e) {
  if (stopped_) return;
  l->events.push_back(std::move(e));
  if (!l->queued) advance(l);
}

void DownloadService::post(const LivePtr& l, unsigned life, download::Event e) {
  if (l->broken == life) post(l, std::move(e));
}

void DownloadService::advance(const LivePtr& l) {
  careful(l, [&] { turn(l); });
}

void DownloadService::turn(const LivePtr& l) {
  while (!l->busy && !l->events.empty() && !download::ended(l->d.state)) {
    download::Event e = std::move(l->events.front());
    l->events.pop_front();
    download::Step s;
    {
      Stopwatch w(p_.metrics.machine_ns);
      s = download::step(std::move(l->d), std::move(e), *l->policy, {anchored_ms(), l->optional_elements});
    }
    l->d = std::move(s.download);
    if (l->left_card) know_only_its_own(*l);
    if (download::ended(l->d.state)) {
      l->busy = true;
      carry_out(l, s.effects);  // alarms, and a key-set record that goes
      finish(l);
      return;
    }
    if (l->d.state == download::State::enabling) {
      admission_.only_waits(l->ticket);
      if (!l->at_card && !l->left_card) keep_card_for(l, p_.config.timeouts.card);
      admit();
    }
    if (s.persist) {
      l->busy = true;
      commit(l, std::make_shared<std::vector<download::Effect>>(std::move(s.effects)), 0);
      return;
    }
    carry_out(l, s.effects);
  }
}

void DownloadService::commit(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects,
                             unsigned attempt) {
  auto record = std::make_shared<const std::string>(download::to_record(l->d));
  p_.orders.keep_record(l->order.id, record, [this, l, effects, record, attempt, life = l->broken](const Status& s) {
    if (stopped_ || l->broken != life) return;
    careful(l, [&] {
      if (!s) return commit_failed(l, effects, attempt, s.error());
      l->record = record;
      l->busy = false;
      carry_out(l, *effects);
      turn(l);
    });
  });
}

// What something throws about begins another life: the effects that are left are still of this one.
void DownloadService::carry_out(const LivePtr& l, std::vector<download::Effect>& effects) {
  const unsigned life = l->broken;
  for (download::Effect& e : effects) std::visit([&](auto& x) { carry_out(l, life, x); }, e);
}

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, download::CallEs3& c) { call(l, c); }

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, download::CheckCertificates& c) {
  station(l->order.id, "certificates");
  check_certificates(l, std::make_shared<const download::CheckCertificates>(std::move(c)), 0, std::nullopt);
}

void DownloadService::carry_out(const LivePtr& l, unsigned life, const download::MakeEphemeral& m) {
  station(l->order.id, "ephemeral key and ECKA");
  EccRequest r;
  r.op = EccOp::ephemeral_ecka;
  r.curve = m.curve;
  r.peer = m.peer;
  p_.crypto.request(r, [this, l, life](EccCompletion& c) { post(l, life, download::EccDone{std::move(c)}); });
}

void DownloadService::carry_out(const LivePtr& l, unsigned life, const download::Sign& s) {
  station(l->order.id, "signature");
  EccRequest r;
  r.op = EccOp::sign;
  r.curve = s.curve;
  r.hash = s.hash;
  p_.crypto.request(r, [this, l, life](EccCompletion& c) { post(l, life, download::EccDone{std::move(c)}); });
}

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, download::SealOffline& x) {
  pipeline::Order o;
  o.keys = std::move(x.keys);
  o.isd_p = x.isd_p;
  o.counter = {0, 0, 1};  // a new key set has been used by nobody
  random_fill(o.hc);
  seal(l, std::move(o));
}

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, download::SealOnline& x) {
  pipeline::Order o;
  o.keys = std::move(x.keys);
  o.isd_p = x.isd_p;
  o.hc = x.hc;
  o.online = x.answer;
  seal(l, std::move(o));
}

void DownloadService::carry_out(const LivePtr& l, unsigned life, const download::DrawChallenge& /*effect*/) {
  download::HostChallenge h;
  random_fill(h.hc);
  post(l, life, h);
}

void DownloadService::carry_out(const LivePtr& l, unsigned life, const download::StartTimer& t) {
  l->timer = std::make_unique<asio::steady_timer>(p_.io, std::chrono::milliseconds(t.ms));
  l->timer->async_wait([this, life, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
    if (auto x = w.lock(); x && !ec) post(x, life, download::TimerFired{});
  });
}

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, download::KeepKeySet& k) {
  station(l->order.id, "key set");
  keep_key_set(l, std::move(k));
}

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, const download::DropKeySet& /*effect*/) {
  // While the disk is full a newer one may come.
  p_.orders.drop_key_set(l->d.order.iccid.str(), l->order.id,
                         [latest = l->key_set, mine = ++*l->key_set] { return *latest == mine; });
}

void DownloadService::carry_out(const LivePtr& l, unsigned /*life*/, const download::Alarm& a) {
  ++p_.metrics.alarms;
  spdlog::error("ALARM download {}: {}", l->d.order.id, a.text);
}

void DownloadService::call(const LivePtr& l, download::CallEs3& c) {
  const Party* smsr = p_.config.by_oid(l->d.order.smsr.str());
  const unsigned n = c.call;
  if (smsr == nullptr || smsr->role != Role::smsr) {  // taken out of the configuration while the order waited
    const std::string why = "SM-SR is no longer configured";
    return post(l, download::CallFailed{n, download::CallFault::unreachable, why, why});
  }
  const std::int64_t now = anchored_ms();
  if (c.not_after_ms != 0 && now >= c.not_after_ms)  // it took that long to be stored
    return post(l, download::CallFailed{n, download::CallFault::unreachable, "not made in time", "not made in time"});
  std::int64_t left = std::max<std::int64_t>((l->d.order.deadline_ms - now) / 1000, 0);
  if (left == 0) left = c.timeout_ms / 1000;
  if (c.not_after_ms != 0) left = std::max<std::int64_t>((c.not_after_ms - now) / 1000, 1);
  const auto validity = static_cast<std::uint32_t>(std::min(left, download::kLongestCall / 1000));
  const std::string function(es::function_name(c.request.function));
  station(l->order.id, "ES3.", function);
  p_.es3.call(*smsr, l->d.order.id + "." + std::to_string(n), std::move(c.request), c.timeout_ms, validity,
              c.resend_safe, [this, l, n, smsr, function](CallResult r) {
                if (auto* ok = std::get_if<es::Response>(&r)) {
                  if (stopped_ || live_.contains(l->order.id)) return post(l, download::Answer{n, std::move(*ok)});
                  return late_callback(*smsr, l->order.id + "." + std::to_string(n), *ok);  // its order has ended
                }
                auto& f = std::get<CallFailure>(r);
                peer_line(spdlog::level::info, "es3 failure", smsr->oid.str(),
                          "download " + l->d.order.id + ": ES3." + function + " of SM-SR " + smsr->oid.str() +
                              " failed: " + f.detail);
                post(l, download::CallFailed{n, f.fault, std::move(f.detail), std::move(f.brief), f.answered});
              });
}

namespace {
download::CertificatesChecked not_good(Error e, bool of_eum) {
  using download::CertificateTrouble;
  const bool dates = e.is(CertificateFault::expired, CertificateFault::not_yet_valid);
  const CertificateTrouble t = of_eum ? (dates ? CertificateTrouble::eum_dates : CertificateTrouble::eum)
                                      : (dates ? CertificateTrouble::ecasd_dates : CertificateTrouble::ecasd);
  return {Status(std::move(e)), Curve::p256, {}, t};
}
}  // namespace

// CERT.ECASD.ECKA against EUM and CI (docs/spec/crypto.md 5.2): the certificates of the CA key sets one after the
// other, until one is good. The EUM link is cached a day; a leaf's signature goes to an engine.
void DownloadService::check_certificates(const LivePtr& l, std::shared_ptr<const download::CheckCertificates> c,
                                         std::size_t i, std::optional<download::CertificatesChecked> first) {
  const unsigned life = l->broken;
  // The first one's fault is what is told: others may belong to other key sets altogether.
  auto refuse = [&](Error e, bool of_eum = false) {
    if (!first) first = not_good(std::move(e), of_eum);
    if (i + 1 < c->cert_ecasd.size()) return check_certificates(l, c, i + 1, std::move(first));
    post(l, life, std::move(*first));
  };
  const Date today = today_utc();
  auto cert = parse_gp_certificate(c->cert_ecasd[i]);
  if (!cert) return refuse(std::move(cert).error());
  const X509Info* eum = nullptr;
  std::optional<X509Info> sent;
  if (c->eum_certificate) {  // KeyInfo of EumSignature; else the configured one with the SKI that C9 names
    auto x = parse_x509(*c->eum_certificate);
    if (!x) return refuse(std::move(x).error(), true);
    sent = std::move(*x);
    eum = &*sent;
  } else if (cert->aki) {
    for (const auto& e : p_.trust.eums)
      if (e.ski == *cert->aki) eum = &e;
  }
  if (eum == nullptr) return refuse({"unknown", "no EUM certificate in the EIS and none configured for C9"}, true);
  if (Status s = verify_eum_cached(p_.trust.eum_cache, *eum, p_.trust.roots, today); !s)
    return refuse(std::move(s).error(), true);
  const GpIssuer issuer = issuer_of(*eum);
  if (Status s = check_gp_certificate(*cert, GpRole::ecasd, issuer, today, l->d.order.eid); !s)
    return refuse(s.error());
  EccRequest r;
  r.op = EccOp::verify;
  r.curve = issuer.curve;
  r.peer = issuer.q;
  r.hash = sha256(cert->tbs);
  r.signature = cert->signature;
  p_.crypto.request(r, [this, l, life, c, i, first, curve = cert->curve, q = cert->q](EccCompletion& done) {
    if (l->broken != life) return;
    careful(l, [&] {
      if (done.status == EccStatus::ok) return post(l, download::CertificatesChecked{Status(), curve, q});
      Error e{CertificateFault::bad_signature, "signature of CERT.ECASD.ECKA"};
      if (done.status != EccStatus::bad_signature) e = {"engine", std::string(to_string(done.status))};
      const auto told = first ? *first : not_good(std::move(e), false);
      if (i + 1 < c->cert_ecasd.size()) return check_certificates(l, c, i + 1, told);
      post(l, told);
    });
  });
}

void DownloadService::seal(const LivePtr& l, pipeline::Order o) {
  station(l->order.id, "sealing");
  if (const Party* smsr = p_.config.by_oid(l->d.order.smsr.str())) {
    o.send_data_limit = smsr->send_data_limit;
    o.in_22 = smsr->scp03t_in_22;
  }
  o.about_bytes = p_.inventory.about_bytes(l->profile);
  // Values only: a thread of the pipeline must not look into a download that the loop goes on with.
  auto optional = std::make_shared<std::vector<std::uint32_t>>();
  o.package = [&inventory = p_.inventory, row = l->profile, optional]() -> Result<pipeline::Package> {
    KF_TRY(LoadedProfile p, inventory.load(row, es8::max_segment(es8::kMaxTlv)));
    *optional = std::move(p.optional_elements);
    return pipeline::Package{std::move(p.keep), std::move(p.own), std::move(p.segments), p.bytes};
  };
  p_.sealing.submit(std::move(o), [this, l, life = l->broken, optional](pipeline::Sealed s) {
    asio::post(p_.io, [this, l, life, optional, x = std::make_shared<pipeline::Sealed>(std::move(s))] {
      l->optional_elements = std::move(*optional);
      post(l, life, download::Sealed{std::move(x->status), std::move(x->session), std::move(x->parts)});
    });
  });
}

// The key set of the new ISD-P, sealed inside the token (docs/spec/crypto.md 8). Off the download's path: completion
// does not wait.
void DownloadService::keep_key_set(const LivePtr& l, download::KeepKeySet k) {
  // Values only: the pool must not look into a download that the loop goes on with.
  auto keys = std::make_shared<download::KeepKeySet>(std::move(k));
  auto row = std::make_shared<store::KeySetRow>(
      store::KeySetRow{l->d.order.iccid.str(), l->d.order.eid.str(), keys->isd_p.str(), keys->keys.kvn, {}});
  asio::post(p_.pool, [this, row, keys, id = l->order.id, latest = l->key_set, mine = ++*l->key_set] {
    try {
      if (!seal_key_set(*row, *keys)) return;
      // Sealing may have taken so long that the ISD-P is gone again, or the ICCID another order's. The loop counts
      // before it has a key set deleted, and the store keeps the order of its jobs.
      p_.orders.keep_key_set(std::move(*row), id, [latest, mine] { return *latest == mine; });
    } catch (...) {  // on a thread of the pool, where it would end the server
      spdlog::error("ALARM key set of ICCID {} is not kept: {}", row->iccid, text_of(std::current_exception()));
    }
  });
}

bool DownloadService::seal_key_set(store::KeySetRow& row, const download::KeepKeySet& keys) {
  Bytes plain;
  plain.reserve(128);
  append_tlv(plain, 0x81, keys.keys.enc.expose());
  append_tlv(plain, 0x82, keys.keys.mac.expose());
  append_tlv(plain, 0x83, keys.keys.dek.expose());
  const std::array<std::uint8_t, 3> counter{static_cast<std::uint8_t>(keys.sequence_counter >> 16),
                                            static_cast<std::uint8_t>(keys.sequence_counter >> 8),
                                            static_cast<std::uint8_t>(keys.sequence_counter)};
  append_tlv(plain, 0x84, counter);
  const std::string place = "keyset:" + row.iccid;
  auto sealed = p_.key_sets.seal_record(view(place), plain);
  wipe(plain);
  if (!sealed) {
    spdlog::error("key set of ICCID {} could not be sealed by the token and is not kept: {}", row.iccid,
                  sealed.error().text());
    return false;
  }
  row.sealed = std::move(*sealed);
  return true;
}

void DownloadService::finish(const LivePtr& l) {
  l->told_ledger = l->left_card && download::iccid_after(l->d, anchored_ms()) == download::IccidState::installed;
  auto e = std::make_shared<Ending>();
  e->response = outcome_of(l->d);
  e->answer = p_.replies.answer(l->order.requester.str(), l->order.function_call_identifier, e->response);
  finish_commit(l, e, 0);
}

void DownloadService::finish_commit(const LivePtr& l, const std::shared_ptr<Ending>& e, unsigned attempt) {
  OrderEnd end;
  end.order = l->d.order;
  end.record = download::to_record(l->d);
  end.iccid = download::iccid_after(l->d, anchored_ms());
  end.succeeded = l->d.state != download::State::failed && l->d.state != download::State::expired;
  // Told once: what an answer has closed in it since stays closed.
  if (!l->told_ledger)
    end.ledger = attempt == 0 ? p_.follow_ups.outcome(l->d) : p_.follow_ups.record_of(card_of(l->order));
  end.answer = e->answer;
  p_.orders.end_order(std::move(end), [this, l, e, attempt](Result<Answered> r) {
    if (stopped_) return;
    if (!r) return careful(l, [&] { finish_failed(l, e, attempt, r.error()); });
    if (r->rebound)  // the order was repeated meanwhile, or taken up after a restart
      return careful(l, [&] {
        p_.replies.rewrite(e->answer, std::move(*r->rebound), e->response);
        finish_commit(l, e, attempt + 1);
      });
    ended(l, *e, std::move(r->delivery));
  });
}

void DownloadService::ended(const LivePtr& l, const Ending& e, std::optional<store::DeliveryRow> delivery) {
  station(l->order.id, "outcome");
  if (!l->told_ledger) guarded(p_.metrics, "what an order left", [&] { p_.follow_ups.settled(l->d); });
  const auto late = std::exchange(l->events, {});
  release(l);
  // What came while the outcome was being stored.
  const Party* smsr = p_.config.by_oid(l->order.smsr.str());
  for (const auto& event : late)
    if (const auto* a = std::get_if<download::Answer>(&event); a != nullptr && smsr != nullptr)
      guarded(p_.metrics, "a late callback",
              [&] { late_callback(*smsr, l->order.id + "." + std::to_string(a->call), a->response); });
  guarded(p_.metrics, "telling an outcome", [&] {
    tell_outcome(*l);
    if (delivery) p_.delivery.add(std::move(*delivery));
    p_.replies.wake(l->order.requester.str(), l->order.function_call_identifier, e.response);
  });
}

// One line an outcome, and the counters.
void DownloadService::tell_outcome(const Live& l) {
  Metrics& m = p_.metrics;
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - l.since).count();
  m.download_ms.add(static_cast<std::uint64_t>(ms));
  const auto& d = l.d;
  switch (d.state) {
    case download::State::done:
      ++m.completed;
      break;
    case download::State::done_with_warning:
      ++m.completed, ++m.with_warning;
      break;
    case download::State::expired:
      ++m.expired;
      break;
    default:
      ++m.failed;
      break;
  }
  if (download::needs_follow_up(d, anchored_ms())) ++m.left_behind;
  if (d.cause) {
    if (const std::string code = clip_text(d.cause->subject + "/" + d.cause->reason, 32);
        m.failures.size() < 256 || m.failures.count(code) != 0)  // a peer that makes codes up does not fill memory
      ++m.failures[code];
    spdlog::warn("download {} EID {} ICCID {} ended {} in {} ms: {}/{} {}{}", l.order.id, l.order.eid.str(),
                 l.order.iccid.str(), download::state_name(d.state), ms, printable(d.cause->subject, 16),
                 printable(d.cause->reason, 16), printable(d.cause->message, 500),
                 d.cause->detail.empty() ? std::string() : " (" + printable(d.cause->detail, 500) + ")");
  } else {
    spdlog::info("download {} EID {} ICCID {} ended {} in {} ms", l.order.id, l.order.eid.str(), l.order.iccid.str(),
                 download::state_name(d.state), ms);
  }
}

}  // namespace kf::server
