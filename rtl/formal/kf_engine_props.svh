// Properties of kf_engine (included there), with kf_core_abstract for the core. Zeroisation comes at any time, and so does a difference between two copies
// (differ_o is cut: it stands in any cycle). Proven all the same: jobs accepted = completions sent + jobs owed; while no wipe is under way each of those
// is held by kf_prep, the core or kf_results, or done, exactly one of these, and after a wipe by none; completions are four beats long; the
// n-th completion, for any n, carries what was kept of the n-th job, and an erasure by it goes to that job's slot; from the cycle after a zeroisation
// or difference on nothing of what was computed leaves.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  localparam int F_W = F_JOBS;
  logic [F_W-1:0] f_accepted = '0;
  logic [F_W-1:0] f_done = '0;
  logic [1:0] f_beat = '0;
  logic [F_W-1:0] f_owed, f_core, f_riders, f_inside;
  logic [16:0] f_head;  // what was kept of the job that is answered next: has its place, is done, ...
  logic f_kept_well;    // of every job that is owed an answer
  logic f_first, f_send, f_end;
  always_comb begin
    f_owed = f_taken - f_sent;
    f_core = f_has && !run_kat ? run_count[F_W-1:0] : '0;
    f_riders = '0;
    f_kept_well = 1'b1;
    for (int i = 0; i < 1 << F_W; i++) begin
      if (F_W'(i) - f_sent < f_owed) begin
        f_riders = f_riders + {{(F_W-1){1'b0}}, f_owners[17 * i + 15]};
        if (f_hand && F_W'(i) == f_taken - F_W'(1)) f_kept_well = f_kept_well && f_owners[17 * i +: 17] == '0;
        else f_kept_well = f_kept_well && f_owners[17 * i + 16] != f_owners[17 * i + 15];
      end
    end
    f_head = f_owners[17 * f_sent +: 17];
    f_inside = f_core + f_results_left[F_W-1:0] + f_count[F_W-1:0] + {{(F_W-1){1'b0}}, f_hand};
    f_first = s_job_valid && s_job_ready && !f_packet;
    f_send = m_cpl_valid && m_cpl_ready;
    f_end = f_send && m_cpl_last;
  end

  // One arbitrary job.
  (* anyconst *) logic [F_W-1:0] f_n;
  logic f_live = 1'b0;
  logic [95:0] f_job;  // slot, curve, operation, tag
  logic f_current;
  always_comb begin
    f_current = f_live && f_n == f_sent;
    f_addr = f_n;
  end

  always_ff @(posedge clk) begin
    f_accepted <= f_accepted + {{(F_W-1){1'b0}}, f_first};
    f_done <= f_done + {{(F_W-1){1'b0}}, f_end};
    if (f_send) f_beat <= f_beat + 2'd1;
    if (f_first && f_accepted == f_n) begin
      f_live <= 1'b1;
      f_job <= {s_job_data[31:16], s_job_data[15:8], job_refused ? 8'd0 : s_job_data[7:0], s_job_data[127:64]};
    end
    if (f_end && f_current) f_live <= 1'b0;
    if (rst) begin
      f_accepted <= '0;
      f_done <= '0;
      f_beat <= '0;
      f_live <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_counts: assert (f_accepted == f_taken && f_done == f_sent);
      if (f_open) a_ledger: assert (f_owed == f_inside + f_riders);
      else if (!f_wipe) a_none: assert (f_inside == '0);
      if (f_open) begin
        a_inside: assert (f_inside <= F_W'(3 * F_N + 1) && f_inside <= f_owed);
        a_kept_well: assert (f_kept_well);
        if (f_look) a_read: assert (f_owed != '0 && (f_owner == f_head || f_owner == '0));
        if (f_mine) a_mine: assert (f_look && f_owner == f_head && f_head[16]);
        if (m_cpl_valid && f_owner[15]) a_rider: assert (m_cpl_last || m_cpl_data == '0);
      end
      a_most: assert (f_core <= F_W'(F_N) && f_results_left <= 7'(F_N) && f_count <= 7'(F_N));
      if (f_has && !run_kat) a_not_empty: assert (run_count != 7'd0);
      a_run: assert (run_count <= 7'(F_N));
      if (m_cpl_valid) a_due: assert (f_owed != '0);
      if (idle_o) a_idle: assert (f_accepted == f_done);
      a_next: assert (f_next == (f_answers ? {1'b0, res_ctx} : 7'd0));
      if (f_answers && f_open) a_room: assert (f_results_left == '0);
      // packets
      a_beat: assert (f_ledger_beat == f_beat);
      if (m_cpl_valid) a_last: assert (m_cpl_last == (f_beat == 2'd3));
      if (f_beat != 2'd0) a_frame: assert (f_owed != '0 && f_sent == $past(f_sent));
      // a wipe
      if (!$past(rst) && $past(zeroise_i || prep_differ || results_differ)) a_wipe: assert (f_wipe);
      if (f_wipe) a_silent: assert (!m_cpl_valid && !s_job_ready);
      if (prep_differ || results_differ) a_nothing: assert (!m_cpl_valid || !f_open);
      if (m_cpl_valid && !f_open) begin
        a_blank: assert (m_cpl_last || m_cpl_data == '0);
        if (m_cpl_last) a_status: assert ((m_cpl_data[7:0] == kf_uc::ST_ABORTED || m_cpl_data[7:0] == kf_uc::ST_FAULT) && {m_cpl_data[255:192], m_cpl_data[159:128]} == '0);
      end
      // the arbitrary job
      a_live: assert (f_live == (f_n - f_sent < f_owed));
      if (f_live) a_word: assert (f_word == f_job);
      if (f_current && $past(f_current) && !$past(rst)) a_kept: assert (f_next_word == f_job);
      if (f_current && m_cpl_valid && m_cpl_last) a_tag: assert (m_cpl_data[127:64] == f_job[63:0] && m_cpl_data[23:8] == f_job[79:64]);
      if (erase_valid && f_open) a_erase: assert (f_results_left != '0);
      if (erase_valid && f_open && f_current) a_erase_slot: assert (next_slot == f_job[95:80]);
      c_answer: cover (f_end && f_current && f_n == F_W'(1) && f_open);
      c_everywhere: cover (f_results_left != '0 && f_core != '0 && f_count != '0 && f_hand && f_open);
      c_rider: cover (f_end && f_open && f_owner[15] && f_core != '0);
      c_wiped: cover (f_end && !f_open && f_done == F_W'(2));
      c_after: cover (f_open && f_end && f_done == F_W'(2));
      c_drained: cover (idle_o && f_done == F_W'(3));
      c_erase: cover (erase_valid && f_current && f_open);
    end
  end
