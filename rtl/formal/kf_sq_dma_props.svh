// Properties of kf_sq_dma (included there). KF_GIVEN is `assume` where the module stands alone and `assert` within kf_shell. Proven:
// head <= issue <= tail <= head + size whatever the host writes; no read without order; room for every beat that may come; each read
// becomes one job of 6 beats; AR and job streams hold until taken.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);
  always_comb f_held_o = held_q;

  // Memory sends 6 beats for each read it took, and nothing else.
  logic [LOG2_AHEAD+3:0] f_owed = '0;
  always_ff @(posedge clk) begin
    f_owed <= f_owed + ((m_axi_arvalid && m_axi_arready) ? (LOG2_AHEAD+4)'(6) : '0) - (LOG2_AHEAD+4)'(m_axi_rvalid);
    if (rst) f_owed <= '0;
  end
  always_comb assume (!m_axi_rvalid || f_owed != '0);

  // What the shell sees to: the ring's size changes, and its indices are cleared, only while nothing is in flight; nothing is fetched during a sweep.
  always_ff @(posedge clk) begin : f_given
    if (f_past && !rst) begin
      if (clear_i) g_clear: `KF_GIVEN (held_q == '0 && !fetch_i);
      if (wiping_o || blank_i) g_wipe: `KF_GIVEN (!fetch_i);
      if (!$past(rst) && !$past(clear_i)) g_size: `KF_GIVEN (log2_i == $past(log2_i));
    end
  end

  logic [IDX_W-1:0] f_coming, f_open, f_room;
  logic [LOG2_AHEAD+3:0] f_coming_beats;
  always_comb begin
    f_coming = issue_q - head_q;  // issued, not whole yet
    f_open = tail_q - issue_q;    // rung for, not issued
    f_room = tail_q - head_q;
    f_coming_beats = (LOG2_AHEAD+4)'(f_coming) * (LOG2_AHEAD+4)'(6);
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_order: assert (f_coming <= f_room && f_open <= f_room && f_coming + f_open == f_room);
      // A ring that is being set up anew (log2 changed in the cycle before) is empty.
      a_size: assert (f_room <= size || f_room == '0);
      a_held: assert (held_q <= AHEAD[LOG2_AHEAD:0] && whole_q <= held_q && f_coming == IDX_W'(held_q - whole_q));
      a_owed: assert (f_coming_beats == f_owed + (LOG2_AHEAD+4)'(beat_in_q) + (ar_valid_q ? (LOG2_AHEAD+4)'(6) : '0));
      a_owed_most: assert (f_owed <= (LOG2_AHEAD+4)'(6 * AHEAD));
      a_marks: assert (mark_in_q - mark_out_q == whole_q);
      a_beats: assert (beat_in_q <= LAST_BEAT && beat_out_q <= LAST_BEAT);
      a_level: assert (f_level == (LOG2_AHEAD+4)'(whole_q) * (LOG2_AHEAD+4)'(6) + (LOG2_AHEAD+4)'(beat_in_q) - (LOG2_AHEAD+4)'(beat_out_q));
      if (whole_q == '0) a_rest: assert (beat_out_q == 3'd0);
      if (m_axi_rvalid) a_taken: assert (take);
      if (take) a_room: assert (fifo_ready);
      if (m_job_valid) a_data: assert (fifo_valid);
      if (ev_issue_o) a_issue: assert (fetch_i && f_open != '0);
      if (m_job_valid) a_last: assert (m_job_last == (beat_out_q == LAST_BEAT));
      if (!$past(rst)) begin
        if ($past(m_axi_arvalid && !m_axi_arready)) begin
          a_ar: assert (m_axi_arvalid);
          a_ar_addr: assert (m_axi_araddr == $past(m_axi_araddr));
        end
        if ($past(m_job_valid && !m_job_ready)) begin
          a_job: assert (m_job_valid);
          if (!$past(wiping_o)) a_job_data: assert (m_job_data == $past(m_job_data));
          if (!$past(wiping_o) && blank_i == $past(blank_i)) a_job_check: assert (m_job_check == $past(m_job_check));
          a_job_last: assert (m_job_last == $past(m_job_last));
        end
        if ($past(doorbell_i && ev_refused_o && !clear_i)) a_refused: assert (tail_q == $past(tail_q));
        if ($past(head_q != tail_q && !clear_i)) a_forward: assert (head_q - $past(head_q) <= $past(f_room));
      end
`ifdef KF_TASK_SQ
      c_full: cover (f_room == (IDX_W'(1) << MAX_LOG2) && size == f_room && f_coming != '0);
      c_refused: cover (ev_refused_o && log2_i == '0 && f_room != '0);
      c_ahead: cover (held_q == AHEAD[LOG2_AHEAD:0] && whole_q == held_q && m_job_valid && !m_job_ready);
      c_bad: cover (ev_job_o && marks_q[mark_out_q[LOG2_AHEAD-1:0]]);
      c_lap: cover (ev_job_o && (head_q & size) != '0);
      c_clear: cover (clear_i && head_q != '0);
`endif
    end
  end
