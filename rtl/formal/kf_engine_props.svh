// Properties of kf_engine (included there), with kf_core_abstract for the core. Proven: jobs
// accepted = completions sent + jobs held by kf_prep, the core and kf_results, each at one of them; nothing is held when idle_o stands; the
// n-th completion, for any n, carries the tag of the n-th job, and an erasure by it goes to that job's slot.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  localparam int F_W = 6;  // counters may run over: there are never that many jobs inside
  logic [F_W-1:0] f_accepted = '0;
  logic [F_W-1:0] f_sent = '0;
  logic [F_W-1:0] f_core, f_left, f_batch, f_inside;
  logic f_send;
  always_comb begin
    f_core = f_has && !run_kat ? run_count[F_W-1:0] : '0;
    f_left = f_results_left[F_W-1:0];
    f_batch = f_count[F_W-1:0];
    f_inside = f_core + f_left + f_batch + {{(F_W-1){1'b0}}, f_hand};
    f_send = m_cpl_valid && m_cpl_ready && m_cpl_last;
  end

  // One arbitrary job. It is f_ahead jobs behind the one that is answered next: that says where it is.
  (* anyconst *) logic [F_W-1:0] f_n;
  logic f_live = 1'b0;
  logic [79:0] f_job;  // slot, tag
  logic [F_W-1:0] f_ahead, f_behind_left, f_behind_core;
  logic f_current, f_written;
  always_comb begin
    f_ahead = f_n - f_sent;
    f_behind_left = f_ahead - f_left;
    f_behind_core = f_behind_left - f_core;
    f_current = f_live && f_ahead == '0;
    f_written = f_live && f_ahead < f_left + f_core + f_batch;
    if (f_ahead < f_left) f_addr = f_at + {2'd0, f_ahead};
    else if (f_behind_left < f_core) f_addr = {run_set, f_behind_left};
    else f_addr = {f_set, f_behind_core};
  end
  logic [96:0] f_meta_now;  // written in this cycle, or before
  always_comb f_meta_now = meta_we && meta_addr == f_addr ? meta_data : f_meta_word;

  always_ff @(posedge clk) begin
    f_accepted <= f_accepted + {{(F_W-1){1'b0}}, f_accept};
    f_sent <= f_sent + {{(F_W-1){1'b0}}, f_send};
    if (f_accept && f_accepted == f_n) begin
      f_live <= 1'b1;
      f_job <= {s_job_data[31:16], s_job_data[127:64]};
    end
    if (f_send && f_current) f_live <= 1'b0;
    if (rst) begin
      f_accepted <= '0;
      f_sent <= '0;
      f_live <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_ledger: assert (f_accepted - f_sent == f_inside);
      a_most: assert (f_core <= F_W'(F_N) && f_results_left <= 7'(F_N) && f_count <= 7'(F_N));
      if (f_has && !run_kat) a_not_empty: assert (run_count != 7'd0);
      a_run: assert (run_count <= 7'(F_N));
      if (m_cpl_valid) a_owed: assert (f_left != '0);
      if (idle_o) a_idle: assert (f_accepted == f_sent);
      // sets
      if (f_has) a_set_core: assert (run_set + 2'd1 == f_set);
      if (f_left != '0) a_set_results: assert (f_at[7:6] + (f_has ? 2'd2 : 2'd1) == f_set);
      if (f_left != '0) a_ctx: assert ({1'b0, f_at[5:0]} + f_results_left <= 7'(F_N));
      a_next: assert (f_next == (f_answers ? {1'b0, res_ctx} : 7'd0));
      if (f_answers) a_room: assert (f_left == '0 && f_results_left == '0);
      // the arbitrary job
      a_live: assert (f_live == (f_ahead < f_inside));
      if (f_written) a_meta: assert ({f_meta_now[95:80], f_meta_now[63:0]} == f_job);
      if (f_live && !f_written) a_hand: assert (f_hand && f_in_hand == f_job);
      if (f_current && f_read) a_read: assert (f_meta == f_job);
      if (f_current && m_cpl_valid && m_cpl_last) a_tag: assert (m_cpl_data[127:64] == f_job[63:0]);
      if (erase_valid) a_erase: assert (f_left != '0);
      if (erase_valid && f_current) a_erase_slot: assert (erase_slot == f_job[79:64]);
      c_answer: cover (f_send && f_current && f_n == F_W'(1));
      c_everywhere: cover (f_left != '0 && f_core != '0 && f_batch != '0 && f_hand);
      c_third: cover (f_send && f_current && f_n == F_W'(2) && f_batch != '0);
      c_drained: cover (idle_o && f_sent == F_W'(3));
      c_erase: cover (erase_valid && f_current);
    end
  end
