#include "host/server/download_service.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>

#include <algorithm>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/download/codes.hpp"

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

download::Context DownloadService::context(const Live& l) const {
  const Config& c = p_.config;
  download::Context x;
  x.now_ms = anchored_ms();
  x.smdp_oid = c.oid.str();
  auto cert = [&](Curve k) -> Bytes {
    auto it = p_.cert_dp.find(static_cast<std::uint8_t>(k));
    return it == p_.cert_dp.end() ? Bytes() : it->second;
  };
  x.cert_dp_p256 = cert(Curve::p256);
  x.cert_dp_brainpool = cert(Curve::brainpool_p256r1);
  x.plan = c.plan;
  x.timeouts = c.timeouts;
  if (const Party* p = c.by_oid(l.d.order.smsr.str())) {
    x.scp03t_in_22 = p->scp03t_in_22;
    x.scp03t_online = p->scp03t_online;
  }
  x.rsp_majors = c.rsp_majors;
  x.certified = c.certified;
  for (const auto& t : c.profile_types)
    if (t.name == l.d.order.profile_type) x.compatible = t.compatible;
  x.keep_key_set = c.keep_key_set;
  x.optional_elements = l.optional_elements;
  return x;
}

void DownloadService::post(const LivePtr& l, download::Event e) {
  if (stopped_) return;
  l->events.push_back(std::move(e));
  if (!l->queued) advance(l);
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
      s = download::step(std::move(l->d), std::move(e), context(*l));
    }
    l->d = std::move(s.download);
    if (download::ended(l->d.state)) {
      l->busy = true;
      carry_out(l, s.effects);  // alarms, and a key-set record that goes
      finish(l);
      return;
    }
    if (l->d.state == download::State::enabling) {
      admission_.only_waits(l->ticket);
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
  p_.storage.submit([id = l->order.id, record](store::Tx& tx) { tx.put_download(id, *record, false, anchored_ms()); },
                    [this, l, effects, record, attempt](const Status& s) {
                      if (stopped_) return;
                      careful(l, [&] {
                        if (!s) return commit_failed(l, effects, attempt, s.error());
                        l->record = record;
                        l->busy = false;
                        carry_out(l, *effects);
                        turn(l);
                      });
                    });
}

void DownloadService::carry_out(const LivePtr& l, std::vector<download::Effect>& effects) {
  for (download::Effect& e : effects) {
    if (auto* c = std::get_if<download::CallEs3>(&e)) {
      call(l, *c);
    } else if (auto* cc = std::get_if<download::CheckCertificates>(&e)) {
      check_certificates(l, std::make_shared<const download::CheckCertificates>(std::move(*cc)), 0, std::nullopt);
    } else if (auto* m = std::get_if<download::MakeEphemeral>(&e)) {
      EccRequest r;
      r.op = EccOp::ephemeral_ecka;
      r.curve = m->curve;
      r.peer = m->peer;
      p_.crypto.request(r, [this, l](EccCompletion& c2) { post(l, download::EccDone{std::move(c2)}); });
    } else if (auto* s = std::get_if<download::Sign>(&e)) {
      EccRequest r;
      r.op = EccOp::sign;
      r.curve = s->curve;
      r.hash = s->hash;
      p_.crypto.request(r, [this, l](EccCompletion& c2) { post(l, download::EccDone{std::move(c2)}); });
    } else if (std::holds_alternative<download::SealOffline>(e) || std::holds_alternative<download::SealOnline>(e)) {
      seal(l, std::move(e));
    } else if (std::holds_alternative<download::DrawChallenge>(e)) {
      download::HostChallenge h;
      random_fill(h.hc);
      post(l, h);
    } else if (auto* t = std::get_if<download::StartTimer>(&e)) {
      l->timer = std::make_unique<asio::steady_timer>(p_.io, std::chrono::milliseconds(t->ms));
      l->timer->async_wait([this, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
        if (auto x = w.lock(); x && !ec) post(x, download::TimerFired{});
      });
    } else if (auto* k = std::get_if<download::KeepKeySet>(&e)) {
      keep_key_set(l, std::move(*k));
    } else if (std::holds_alternative<download::DropKeySet>(e)) {
      p_.storage.submit([iccid = l->d.order.iccid.str()](store::Tx& tx) { tx.delete_key_set(iccid); },
                        [](const Status&) {});
    } else if (auto* a = std::get_if<download::Alarm>(&e)) {
      ++p_.metrics.alarms;
      spdlog::error("ALARM download {}: {}", l->d.order.id, a->text);
    }
  }
}

void DownloadService::call(const LivePtr& l, download::CallEs3& c) {
  const Party* smsr = p_.config.by_oid(l->d.order.smsr.str());
  const unsigned n = c.call;
  if (smsr == nullptr || smsr->role != Role::smsr) {  // taken out of the configuration while the order waited
    const std::string why = "SM-SR is no longer configured";
    return post(l, download::CallFailed{n, download::CallFault::unreachable, why, why});
  }
  const std::int64_t left = std::max<std::int64_t>((l->d.order.deadline_ms - anchored_ms()) / 1000, 0);
  const auto validity =
      static_cast<std::uint32_t>(left > 0 ? std::min<std::int64_t>(left, 86'400 * 30) : c.timeout_ms / 1000);
  const std::string function(es::function_name(c.request.function));
  p_.es3.call(*smsr, l->d.order.id + "." + std::to_string(n), std::move(c.request), c.timeout_ms, validity,
              c.resend_safe, [this, l, n, smsr, function, asked = std::chrono::steady_clock::now()](CallResult r) {
                if (auto* ok = std::get_if<es::Response>(&r)) {
                  if (ok->eis) p_.follow_ups.seen(*smsr, *ok->eis, asked);
                  return post(l, download::Answer{n, std::move(*ok)});
                }
                auto& f = std::get<CallFailure>(r);
                spdlog::info("download {}: ES3.{} of SM-SR {} failed: {}", l->d.order.id, function, smsr->oid.str(),
                             printable(f.detail, 500));
                post(l, download::CallFailed{n, f.fault, std::move(f.detail), std::move(f.brief), f.answered});
              });
}

// CERT.ECASD.ECKA against EUM and CI (crypto 5.2): the certificates of the CA key sets one after the other, until one
// is good. The EUM link is cached a day; a leaf's signature goes to an engine.
void DownloadService::check_certificates(const LivePtr& l, std::shared_ptr<const download::CheckCertificates> c,
                                         std::size_t i, std::optional<Error> first) {
  // The first one's fault is what is told: others may belong to other key sets altogether.
  auto refuse = [&](Error e) {
    if (!first) first = std::move(e);
    if (i + 1 < c->cert_ecasd.size()) return check_certificates(l, c, i + 1, std::move(first));
    post(l, download::CertificatesChecked{Status(std::move(*first)), Curve::p256, {}});
  };
  const Date today = today_utc();
  auto cert = parse_gp_certificate(c->cert_ecasd[i]);
  if (!cert) return refuse(std::move(cert).error());
  const X509Info* eum = nullptr;
  std::optional<X509Info> sent;
  if (c->eum_certificate) {  // KeyInfo of EumSignature; else the configured one with the SKI that C9 names
    auto x = parse_x509(*c->eum_certificate);
    if (!x) return refuse({"eum:" + x.error().reason, x.error().detail});
    sent = std::move(*x);
    eum = &*sent;
  } else if (cert->aki) {
    for (const auto& e : p_.trust.eums)
      if (e.ski == *cert->aki) eum = &e;
  }
  if (eum == nullptr) return refuse({"eum:unknown", "no EUM certificate in the EIS and none configured for C9"});
  if (Status s = verify_eum_cached(p_.trust.eum_cache, *eum, p_.trust.roots, today); !s)
    return refuse({"eum:" + s.error().reason, s.error().detail});
  const GpIssuer issuer = issuer_of(*eum);
  if (Status s = check_gp_certificate(*cert, GpRole::ecasd, issuer, today, l->d.order.eid); !s)
    return refuse(s.error());
  EccRequest r;
  r.op = EccOp::verify;
  r.curve = issuer.curve;
  r.peer = issuer.q;
  r.hash = sha256(cert->tbs);
  r.signature = cert->signature;
  p_.crypto.request(r, [this, l, c, i, first, curve = cert->curve, q = cert->q](EccCompletion& done) {
    if (done.status == EccStatus::ok) return post(l, download::CertificatesChecked{Status(), curve, q});
    Error e{"bad-signature", "signature of CERT.ECASD.ECKA"};
    if (done.status != EccStatus::bad_signature) e = {"engine", std::string(to_string(done.status))};
    if (i + 1 < c->cert_ecasd.size()) return check_certificates(l, c, i + 1, first ? first : std::move(e));
    post(l, download::CertificatesChecked{Status(first ? *first : std::move(e)), curve, q});
  });
}

void DownloadService::seal(const LivePtr& l, download::Effect effect) {
  pipeline::Order o;
  if (auto* off = std::get_if<download::SealOffline>(&effect)) {
    o.keys = std::move(off->keys);
    o.isd_p = off->isd_p;
    o.counter = {0, 0, 1};  // a new key set has been used by nobody
    random_fill(o.hc);
  } else {
    auto& on = std::get<download::SealOnline>(effect);
    o.keys = std::move(on.keys);
    o.isd_p = on.isd_p;
    o.hc = on.hc;
    o.online = on.answer;
  }
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
  p_.sealing.submit(std::move(o), [this, l, optional](pipeline::Sealed s) {
    asio::post(p_.io, [this, l, optional, x = std::make_shared<pipeline::Sealed>(std::move(s))] {
      l->optional_elements = std::move(*optional);
      post(l, download::Sealed{std::move(x->status), std::move(x->session), std::move(x->parts)});
    });
  });
}

// The key set of the new ISD-P, sealed inside the token (crypto 8). Off the download's path: completion does not wait.
void DownloadService::keep_key_set(const LivePtr& l, download::KeepKeySet k) {
  // Values only: the pool must not look into a download that the loop goes on with.
  auto keys = std::make_shared<download::KeepKeySet>(std::move(k));
  auto row = std::make_shared<store::KeySetRow>(
      store::KeySetRow{l->d.order.iccid.str(), l->d.order.eid.str(), keys->isd_p.str(), keys->keys.kvn, {}});
  asio::post(p_.pool, [this, row, keys] {
    try {
      seal_key_set(row, *keys);
    } catch (...) {  // on a thread of the pool, where it would end the server
      spdlog::error("ALARM key set of ICCID {} is not kept: {}", row->iccid, text_of(std::current_exception()));
    }
  });
}

void DownloadService::seal_key_set(const std::shared_ptr<store::KeySetRow>& row, const download::KeepKeySet& keys) {
  Bytes plain;
  plain.reserve(128);
  append_tlv(plain, 0x81, keys.keys.enc.expose());
  append_tlv(plain, 0x82, keys.keys.mac.expose());
  append_tlv(plain, 0x83, keys.keys.dek.expose());
  const std::array<std::uint8_t, 3> counter{static_cast<std::uint8_t>(keys.sequence_counter >> 16),
                                            static_cast<std::uint8_t>(keys.sequence_counter >> 8),
                                            static_cast<std::uint8_t>(keys.sequence_counter)};
  append_tlv(plain, 0x84, counter);
  const std::string place = "keyset:" + row->iccid;
  auto sealed = p_.hsm.seal_record(view(place), plain);
  wipe(plain);
  if (!sealed) {
    spdlog::error("key set of ICCID {} could not be sealed by the token and is not kept: {}", row->iccid,
                  sealed.error().text());
    return;
  }
  row->sealed = std::move(*sealed);
  p_.storage.submit([row](store::Tx& tx) { tx.put_key_set(*row); },
                    [](const Status& s) {
                      if (!s) spdlog::error("key-set record not stored: {}", s.error().text());
                    });
}

void DownloadService::finish(const LivePtr& l) {
  finish_commit(l, std::make_shared<es::Response>(outcome_of(l->d)), 0);
}

namespace {
// Every way out of `reserved`: what the machine says may be on the card decides.
void put_profile(store::Tx& tx, const download::Order& o, download::IccidState s, bool succeeded) {
  if (s == download::IccidState::free) return tx.set_profile(o.iccid.str(), store::ProfileState::free, "", "", "");
  const bool installed = s == download::IccidState::installed;
  // An order for what was installed, by way of a wrong SM-SR, must not make the right one a stranger.
  const std::string& smsr = succeeded || o.smsr_was.empty() ? o.smsr.str() : o.smsr_was;
  tx.set_profile(o.iccid.str(), installed ? store::ProfileState::installed : store::ProfileState::uncertain,
                 o.eid.str(), smsr, o.id);
}
}  // namespace

void DownloadService::finish_commit(const LivePtr& l, std::shared_ptr<es::Response> r, unsigned attempt) {
  auto delivery = std::make_shared<std::optional<store::DeliveryRow>>();
  auto follow_up = p_.follow_ups.plan(l->d);
  p_.storage.submit(
      [this, o = l->d.order, record = download::to_record(l->d), iccid = download::iccid_after(l->d),
       succeeded = l->d.state != download::State::failed && l->d.state != download::State::expired, r, delivery,
       look_after = follow_up ? download::to_record(*follow_up) : std::string()](store::Tx& tx) {
        tx.put_download(o.id, record, true, anchored_ms());
        put_profile(tx, o, iccid, succeeded);
        if (!look_after.empty()) tx.put_follow_up(o.eid.str(), look_after);
        *delivery = p_.replies.store_answer(tx, o.requester.str(), o.function_call_identifier, *r);
      },
      [this, l, r, delivery, follow_up, attempt](const Status& s) {
        if (stopped_) return;
        if (!s) return careful(l, [&] { finish_failed(l, r, attempt, s.error()); });
        guarded(p_.metrics, "what an order left", [&] { p_.follow_ups.settled(l->d, follow_up); });
        release(l);
        guarded(p_.metrics, "telling an outcome", [&] {
          tell_outcome(*l);
          if (*delivery) p_.delivery.add(std::move(**delivery));
          p_.replies.wake(l->order.requester.str(), l->order.function_call_identifier, *r);
        });
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
  if (d.leftover) ++m.left_behind;
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

void DownloadService::late_callback(const Party& from, const std::string& transaction, const es::Response& r) {
  const std::size_t dot = transaction.rfind('.');
  auto it = dot == std::string::npos ? live_.end() : live_.find(transaction.substr(0, dot));
  if (it != live_.end() && it->second->order.smsr == from.oid) {
    unsigned n = 0;
    for (char ch : transaction.substr(dot + 1))
      n = ch >= '0' && ch <= '9' ? n * 10 + static_cast<unsigned>(ch - '0') : 0;
    return post(it->second, download::Answer{n, r});  // the machine decides whether it still matters
  }
  if (p_.follow_ups.late_callback(from, transaction, r)) return;
  if (r.function == es::Function::create_isdp && r.status == es::ExecStatus::success)
    spdlog::warn("late CreateISDP success of SM-SR {} for no order that waits for it: ISD-P {}", from.oid.str(),
                 to_hex(r.isd_p_aid));
}

}  // namespace kf::server
