// Properties of kf_cq_dma (included there). KF_GIVEN is `assume` where the module stands alone and `assert` within kf_shell.
// Proven: head <= sent <= issue <= head + size whatever the host writes, so no entry is written that was not consumed; the tail moves by
// memory's answers only; each completion becomes one burst of 4 beats and one answer; AW and W hold until taken.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  // Memory answers a burst after it took its address and its last beat.
  logic [IDX_W-1:0] f_aw = '0;
  logic [IDX_W-1:0] f_w = '0;
  always_ff @(posedge clk) begin
    f_aw <= f_aw + IDX_W'(m_axi_awvalid && m_axi_awready) - IDX_W'(m_axi_bvalid);
    f_w <= f_w + IDX_W'(m_axi_wvalid && m_axi_wready && m_axi_wlast) - IDX_W'(m_axi_bvalid);
    if (rst) begin
      f_aw <= '0;
      f_w <= '0;
    end
  end
  always_comb assume (!m_axi_bvalid || (f_aw != '0 && f_w != '0));

  always_comb begin
    f_whole_o = whole;
    f_held_o = IDX_W'(whole_q) + under_way;
    f_partial_o = beat_in_q != 2'd0;
  end

  always_ff @(posedge clk) begin : f_given
    if (f_past && !rst) begin
      if (clear_i) g_clear: `KF_GIVEN (f_held_o == '0 && !push && beat_in_q == 2'd0);
      // A sweep while something is held is one of zeroisation, which blanks from the next cycle on, to its end.
      if (wiping_o && f_held_o != '0) g_wipe: `KF_GIVEN (blank_i);
      if (!$past(rst) && !$past(clear_i)) g_size: `KF_GIVEN (log2_i == $past(log2_i));
    end
  end

  logic [LOG2_HELD+2:0] f_want;
  always_comb begin
    f_want = (LOG2_HELD+3)'(whole_q) * (LOG2_HELD+3)'(4) + (LOG2_HELD+3)'(beat_in_q)
             + (w_valid_q ? (LOG2_HELD+3)'(4) - (LOG2_HELD+3)'(w_beat_q) : '0);
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_order: assert (sent <= unconsumed && sent + IDX_W'(w_valid_q) == unconsumed);
      a_size: assert (unconsumed <= size || unconsumed == '0);
      a_under_way: assert (under_way <= UNDERWAY[IDX_W-1:0]);
      a_aw_count: assert (under_way == f_aw + IDX_W'(aw_valid_q));
      a_w_count: assert (under_way == f_w + IDX_W'(w_valid_q));
      a_counts: assert (f_aw <= UNDERWAY[IDX_W-1:0] && f_w <= UNDERWAY[IDX_W-1:0]);
      a_level: assert (f_level == f_want);
      a_whole: assert (whole_q <= (LOG2_HELD+1)'(1 << LOG2_HELD));
      if (!w_valid_q) a_beat: assert (w_beat_q == 2'd0);
      if (m_axi_wvalid) a_data: assert (fifo_valid && check_valid);
      a_checks: assert (f_checks == whole_q + (LOG2_HELD+1)'(w_valid_q));
      if (whole) a_check_room: assert (check_ready);
      if ($past(blank_i) && !$past(rst) && m_axi_wvalid && !m_axi_wlast && blank_i) a_blanked: assert (m_axi_wdata == '0);
      if (s_cpl_ready) a_sweep: assert (!wiping_o);
      if (begin_burst) begin
        a_free: assert (unconsumed < size);
        a_has: assert (whole_q != '0);
      end
      if (m_axi_bvalid) a_answer: assert (answered);
      if (!$past(rst)) begin
        if ($past(m_axi_awvalid && !m_axi_awready)) begin
          a_aw: assert (m_axi_awvalid);
          a_aw_addr: assert (m_axi_awaddr == $past(m_axi_awaddr));
        end
        if ($past(m_axi_wvalid && !m_axi_wready)) begin
          a_w: assert (m_axi_wvalid);
          // once, for a zeroisation: the beat that is offered is blanked
          if (!$past(blank_i)) a_w_data: assert (m_axi_wdata == $past(m_axi_wdata));
          else if ($past(blank_q)) a_w_blank: assert (m_axi_wdata == $past(m_axi_wdata) || (m_axi_wlast && $past(wiping_o)));
          a_w_last: assert (m_axi_wlast == $past(m_axi_wlast));
        end
        if (!$past(m_axi_bvalid) && !$past(clear_i)) a_tail: assert (tail_q == $past(tail_q));
        if ($past(consume_i && ev_refused_o && !clear_i)) a_refused: assert (head_q == $past(head_q));
        if (!$past(consume_i) && !$past(clear_i)) a_head: assert (head_q == $past(head_q));
      end
`ifdef KF_TASK_CQ
      c_full: cover (unconsumed == size && size == (IDX_W'(1) << MAX_LOG2) && whole_q != '0 && !w_valid_q && under_way == '0);
      c_under_way: cover (under_way == UNDERWAY[IDX_W-1:0] && whole_q != '0);
      c_lap: cover (answered && (tail_q & size) != '0);
      c_blank: cover (w_valid_q && blank_q);
      c_torn: cover (w_valid_q && w_beat_q == 2'd1 && $past(w_valid_q && !blank_q && m_axi_wdata != '0 && !m_axi_wready) && m_axi_wdata == '0 && blank_q);
      c_refused: cover (ev_refused_o && unconsumed != '0);
      c_together: cover (begin_burst && w_end && consume_i && accept);
`endif
    end
  end
