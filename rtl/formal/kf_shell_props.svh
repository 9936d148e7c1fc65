// Properties of kf_shell (included there); the rings' own properties hold along with these, their assumptions are checked here.
// Proven: descriptors fetched = completions acknowledged + those in flight, each of which is at exactly one place; nothing is fetched while
// disabled, aborting or wiping; abort lasts until nothing is in flight, zeroisation until everything is overwritten, once at once and once at the end; STATUS.WIPED
// waits for the sweep and the engine only; set-up changes happen only while nothing is in flight.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  // The engine: answers each job once, holds at most 200, frames its packets rightly.
  logic [15:0] f_engine = '0;
  always_ff @(posedge clk) begin
    f_engine <= f_engine + 16'(ev_job) - 16'(f_cq_whole);
    if (rst) f_engine <= '0;
  end
  always_comb assume (!s_cpl_valid || f_engine != '0);
  always_comb assume (!m_job_ready || f_engine < 16'd200);

  // The ledger.
  logic [15:0] f_fetched = '0;
  logic [15:0] f_done = '0;
  always_ff @(posedge clk) begin
    f_fetched <= f_fetched + 16'(ev_issue);
    f_done <= f_done + 16'(ev_done);
    if (rst) begin
      f_fetched <= '0;
      f_done <= '0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_ledger: assert (in_flight_q == f_fetched - f_done);
      a_places: assert (in_flight_q == 16'(f_sq_held) + f_engine + 16'(f_cq_held));
      a_engine: assert (f_engine <= 16'd200);
      if (f_cq_partial) a_partial: assert (f_engine != '0);
      if (ev_issue) a_fetch: assert (enable && !aborting_q && !wiping);
      if (wiping) a_wipe: assert (!enable_may_fetch && (zeroising_q || drained));
      if (last_q && zeroising_q) a_last: assert (drained);
      if (last_q) a_once: assert (wiped_q);
      if (wiped_q && wiping) a_again: assert (last_q);
      if (!wiping && settle_q == '0 && wiped_i && !$past(wiping)) a_says: assert (state[kf_regs_pkg::STATUS_WIPED_LSB]);
      if (sq_clear || cq_clear) a_clear: assert (drained && !enable);
      if (zeroising_q) a_zeroising: assert (aborting_q);
      if (aborting_q && !$past(order_abort || order_zeroise)) a_disabled: assert (!enable);
      if (!$past(rst)) begin
        if ($past(aborting_q) && !aborting_q) begin
          a_drained: assert ($past(drained));
          if ($past(zeroising_q)) a_all_wiped: assert ($past(wiped_q && last_q && !wiping && wiped_i));
        end
        if ($past(order_abort)) a_abort: assert (abort_o);
        if ($past(zeroise_o)) a_zeroise: assert (abort_o && zeroising_q && !wiped_q && sq_wiping && cq_wiping && !state[kf_regs_pkg::STATUS_WIPED_LSB]);
      end
      c_abort_reading: cover (aborting_q && f_sq_held != '0 && f_engine == '0);
      c_abort_engine: cover (aborting_q && f_engine != '0);
      c_wiped_held: cover (state[kf_regs_pkg::STATUS_WIPED_LSB] && !drained && zeroising_q);
      c_zeroised: cover ($past(zeroising_q) && !zeroising_q);
      c_answer: cover (m_axi_wvalid && aborting_q);
    end
  end
  logic enable_may_fetch;
  always_comb enable_may_fetch = fetch;
