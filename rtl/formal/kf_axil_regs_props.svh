// Properties of kf_axil_regs (included there). The counters are arbitrary numbers here. Proven: answers hold until taken and there is
// one for each request; a write without all strobes does nothing; the high word of a counter belongs to the low word that was read
// before it; a locked table is not written and stays locked; ring set-up stands while the core is not stopped; errors fall only when
// cleared.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  // The last low word that was read, and the high word that stood beside it.
  logic f_read = 1'b0;
  logic [31:0] f_high;
  always_ff @(posedge clk) begin
    if (ar_held_q && in_counters && !count_at[2]) begin
      f_read <= 1'b1;
      f_high <= count[63:32];
    end
    if (rst) f_read <= 1'b0;
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst && !$past(rst)) begin
      if ($past(s_axil_bvalid && !s_axil_bready)) begin
        a_b: assert (s_axil_bvalid);
        a_b_resp: assert (s_axil_bresp == $past(s_axil_bresp));
      end
      if ($past(s_axil_rvalid && !s_axil_rready)) begin
        a_r: assert (s_axil_rvalid);
        a_r_data: assert (s_axil_rdata == $past(s_axil_rdata));
      end
      if (!$past(s_axil_rvalid) && s_axil_rvalid) a_r_cause: assert ($past(ar_held_q));
      if (!$past(s_axil_bvalid) && s_axil_bvalid) a_b_cause: assert ($past(fire));
      if ($past(ar_held_q && in_counters && !count_at[2])) a_low: assert (s_axil_rdata == $past(count[31:0]));
      if ($past(ar_held_q && in_counters && count_at[2] && f_read)) a_high: assert (s_axil_rdata == $past(f_high));
      if ($past(aborting_i || abort_o || zeroise_o)) a_enable: assert (!enable_o);
      if (sq_clear_o || cq_clear_o) a_clear_stopped: assert (stopped_i);
      if (!$past(sq_clear_o)) a_sq_log2: assert (sq_log2_o == $past(sq_log2_o));
      if (!$past(cq_clear_o)) a_cq_log2: assert (cq_log2_o == $past(cq_log2_o));
      if ($past(table_locked_o)) a_locked: assert (table_locked_o);
      if (table_we_o) a_table: assert (!$past(table_locked_o));
      if (!$past(stopped_i)) begin
        a_sq_set: assert (sq_base_o == $past(sq_base_o) && sq_log2_o == $past(sq_log2_o));
        a_cq_set: assert (cq_base_o == $past(cq_base_o) && cq_log2_o == $past(cq_log2_o));
        a_clear: assert (!$past(sq_clear_o) && !$past(cq_clear_o));
      end
      if ($past(fire && w_strb_q != 4'hF)) begin
        a_partial: assert (enable_o == ($past(enable_o) && !$past(aborting_i)) && irq_enable_q == $past(irq_enable_q)
                           && coalesce_q == $past(coalesce_q) && batch_timeout_q == $past(batch_timeout_q)
                           && table_pos_q == $past(table_pos_q));
        a_refusal: assert (s_axil_bresp == SLVERR);
      end
      if (!$past(we)) a_sticky: assert ((error_q & $past(error_q)) == $past(error_q));
      a_noted: assert ((error_q & $past(error_now)) == $past(error_now));
      c_write: cover ($past(fire) && enable_o);
      c_table: cover (table_we_o && table_addr_o == 12'hFFF);
      c_refused: cover ($past(table_refused));
      c_high: cover ($past(ar_held_q && in_counters && count_at[2] && count_at[11:3] == 9'd12) && s_axil_rdata != '0);
    end
    if (f_past && !rst && $past(rst)) a_reset: assert (!enable_o);
    if (f_past && !rst && f_read) a_latch: assert (f_high == latch_q);
  end
