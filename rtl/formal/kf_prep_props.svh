// Properties of kf_prep (included there). KF_GIVEN is `assume` where the module stands alone, which is how it is proven. Proven: each job
// taken is at exactly one place: in hand, in the batch that is formed or offered, handed over, or done without one (a rider); a batch holds jobs of one program and curve and at
// most N of them; it is offered only when closed, and from then until it is taken nothing of it changes and nothing is written; contexts are
// numbered from 0 without gaps; a job's beats are all taken before it gets its place; its slot is its own; a scalar is
// stored only in an empty slot, by a job without a failed check, and a GENERATE answers for the slot exactly if its scalar is there; a job that is aborted waits
// for no entropy. A wipe (wipe_i, at any time) is a reset: whoever gave jobs before it answers for them himself (kf_ledger).

  // The names of kf_prep_control, of which one copy is proven.
  localparam logic [2:0] BOOT = 3'd0, KAT = 3'd1, KAT_WAIT = 3'd2, TAKE = 3'd3, JOIN = 3'd4, WORK = 3'd5;
  localparam logic [4:0] DO_END = 5'd0, DO_DRAW = 5'd3, DO_SCALAR = 5'd4, DO_KEY_READ = 5'd9, DO_KEY_TAKE = 5'd10, DO_KEY_NEW = 5'd11, DO_KEY_ERASE = 5'd12,
      DO_LADDER = 5'd13, DO_COMB = 5'd14, DO_KEY_PUT = 5'd22;
  localparam logic [7:0] JOB_GENERATE = 8'd1, JOB_ECKA = 8'd2, JOB_SIGN = 8'd3, JOB_VERIFY = 8'd4, JOB_CHECK = 8'd5, JOB_IMPORT = 8'd7;
  localparam logic [6:0] FULL = 7'(N);
  logic [2:0] state_q;
  logic [1:0] kat_q;
  logic kat_failed_q, kat_passed_q, rest_q, lt_q, nz_q, carry_q, last_seen_q, curve_q, for_sign_q, given_q, owns_q, key_write_q, key_store_q;
  logic [3:0] step_q, sub_q;
  logic [7:0] status_q, op_q;
  logic [5:0] tries_q, f_in_ctx;
  logic [15:0] slot_q;
  logic [6:0] count_q, digits_q, f_run_count;
  logic [1:0] pass_q;
  logic odd_q;
  logic [2:0] program_q, limb_q, f_in_reg;
  logic bcurve_q, kat_batch_q, closed_q, blind_q, drawn_q, row_made_q, f_in_we, f_row_valid, f_run_kat;
  logic [31:0] wait_q;
  logic [127:0] t_q;
  logic [5:0] want_gen_q, gen_q;
  logic made_q;
  logic [2:0] acc_carry_q;
  logic [4:0] doing;
  logic working, blinding, f_rst;
  always_comb begin
    {state_q, kat_q, kat_failed_q, kat_passed_q, step_q, rest_q, sub_q, lt_q, nz_q, carry_q, status_q, last_seen_q, tries_q,
      op_q, curve_q, slot_q, for_sign_q, given_q, owns_q, key_write_q, key_store_q, want_gen_q, gen_q, made_q, count_q, program_q, bcurve_q, kat_batch_q, closed_q, wait_q,
      t_q, digits_q, pass_q, odd_q, limb_q, acc_carry_q, blind_q, drawn_q, row_made_q, f_in_we, f_in_ctx, f_in_reg, f_row_valid, f_run_kat, f_run_count} = ctl_state;
    doing = f_doing;
    working = state_q == WORK;
    blinding = working && (doing == DO_LADDER || doing == DO_COMB);
    f_rst = rst || wipe_i;
  end
  function automatic logic [2:0] program_of(input logic [7:0] op);
    case (op)
      JOB_GENERATE: program_of = kf_uc::PROG_GENERATE;
      JOB_ECKA:     program_of = kf_uc::PROG_ECKA;
      JOB_SIGN:     program_of = kf_uc::PROG_SIGN;
      JOB_VERIFY:   program_of = kf_uc::PROG_VERIFY;
      JOB_CHECK:    program_of = kf_uc::PROG_CHECK;
      default:      program_of = kf_uc::PROG_IDLE;
    endcase
  endfunction

`ifndef KF_TASK_KEYS
  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  // The core takes what is offered.
  always_comb if (core_taken_i) g_taken: `KF_GIVEN (rst || batch_valid_o);

  logic f_kat;    // the job in hand is a known-answer job
  logic f_first;  // a job is taken
  logic f_join;   // the job in hand gets its place
  logic f_rides;  // it needs none
  logic f_rode;   // and is done
  always_comb begin
    f_kat = working && kat_batch_q;
    f_first = s_job_valid && s_job_ready && state_q == TAKE;
    f_rides = !kat_batch_q && program_of(op_q) == kf_uc::PROG_IDLE;
    f_join = working && doing == DO_END && !f_rides;
    f_rode = working && doing == DO_END && f_rides;
    f_accept_o = f_first;
    f_hand_o = state_q == JOIN || (working && !kat_batch_q);
    f_count_o = kat_batch_q ? 7'd0 : count_q;
  end

  // The ledger.
  logic [7:0] f_taken = '0;
  logic [7:0] f_handed = '0;
  logic [7:0] f_joined = '0;  // contexts in the batch
  logic [2:0] f_program;      // of the batch's first job
  logic f_curve;
  always_ff @(posedge clk) begin
    f_taken <= f_taken + {7'd0, f_first};
    f_handed <= f_handed + (core_taken_i && !kat_batch_q ? {1'b0, count_q} : 8'd0) + {7'd0, f_rode};
    if (f_join) begin
      f_joined <= f_joined + 8'd1;
      if (f_joined == '0) begin
        f_program <= program_of(op_q);
        f_curve <= curve_q;
      end
    end
    if (core_taken_i) f_joined <= '0;
    if (f_rst) begin
      f_taken <= '0;
      f_handed <= '0;
      f_joined <= '0;
    end
  end

  // The job in hand, from its first beat; whether beats of it are still to come.
  logic [15:0] f_job_slot;
  logic f_in_packet = 1'b0;
  always_ff @(posedge clk) begin
    if (s_job_valid && s_job_ready) f_in_packet <= !s_job_last;
    if (f_first) begin
      f_job_slot <= s_job_data[31:16];
    end
    if (f_rst) f_in_packet <= 1'b0;
  end

  // The plan of each operation takes the rest of the descriptor in this step.
  logic f_flushed;
  always_comb begin
    case (op_q)
      JOB_GENERATE, JOB_IMPORT: f_flushed = step_q > 4'd1;
      JOB_ECKA, JOB_CHECK:      f_flushed = step_q > 4'd6;
      JOB_SIGN:                 f_flushed = rest_q && step_q > 4'd1;
      JOB_VERIFY:               f_flushed = rest_q && step_q > 4'd4;
      default:                  f_flushed = step_q > 4'd0;
    endcase
  end

  // Key slot: what this job read, and whether its scalar lies there.
  logic f_found_empty = 1'b0;
  logic f_found_held = 1'b0;
  logic f_stored = 1'b0;
  logic f_key_step;
  always_comb f_key_step = doing == DO_KEY_READ || doing == DO_KEY_TAKE || doing == DO_KEY_NEW || doing == DO_KEY_ERASE || doing == DO_KEY_PUT;
  always_ff @(posedge clk) begin
    if (working && f_key_step && sub_q == 4'd1 && key_ack) begin
      f_found_empty <= !key_was_held && !key_bad;
      f_found_held <= key_was_held && !key_bad;
    end
    if (key_valid && key_ready && key_write != 2'd0 && doing != DO_KEY_PUT) f_stored <= key_held;
    if (f_first || state_q == KAT) begin
      f_found_empty <= 1'b0;
      f_stored <= 1'b0;
    end
    if (f_rst) begin
      f_found_empty <= 1'b0;
      f_stored <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !f_rst) begin
      a_state: assert (state_q <= WORK);
      // the ledger
      a_ledger: assert (f_taken - f_handed == {1'b0, f_count_o} + {7'd0, f_hand_o});
      a_joined: assert (f_joined == {1'b0, count_q});
      a_most: assert (count_q <= FULL);
      if (working && !f_rides) a_room: assert (count_q < FULL && !closed_q);
      if (idle_o) a_idle: assert (f_taken == f_handed || kat_batch_q);
      // one kind
      if (count_q != 7'd0) a_kind: assert (program_q == f_program && bcurve_q == f_curve);
      if (count_q != 7'd0) a_program: assert (f_program != kf_uc::PROG_IDLE);
      if (working && !f_rides) a_work_kind: assert (program_q == program_of(op_q) && bcurve_q == curve_q);
      if (f_join && count_q != 7'd0) a_join_kind: assert (program_of(op_q) == f_program && curve_q == f_curve);
      if (batch_valid_o) a_offer_kind: assert (batch_curve_o == f_curve && (batch_program_o == f_program || (abort_i && batch_program_o == kf_uc::PROG_IDLE)));
      // closed, then offered, then taken
      if (closed_q) a_closed: assert (count_q != 7'd0 && batch_valid_o);
      if (batch_valid_o) a_offer: assert (closed_q && !in_we_o && !row_valid_o);
      if (!$past(f_rst)) begin
        if ($past(batch_valid_o && !core_taken_i)) begin
          a_holds: assert (batch_valid_o && count_q == $past(count_q) && bcurve_q == $past(bcurve_q) && program_q == $past(program_q));
          a_holds_kat: assert (batch_kat_o == $past(batch_kat_o));
        end
        if ($past(core_taken_i)) begin
          a_taken: assert (!closed_q && count_q == 7'd0);
          a_run: assert (run_count_o == $past(count_q) && run_kat_o == $past(kat_batch_q));
        end else a_run_stays: assert (run_count_o == $past(run_count_o) && run_kat_o == $past(run_kat_o));
        if ($past(closed_q) && !closed_q) a_leaves: assert ($past(core_taken_i));
        if (!$past(f_join || core_taken_i)) a_only_join: assert (count_q == $past(count_q));
        // contexts
        if (in_we_o) a_in_ctx: assert (in_ctx_o == $past(f_joined[5:0]) && $past(working && !f_rides));
        if ($past(f_join)) a_status: assert (in_we_o && in_reg_o == 3'd7);
        if ($past(working && abort_i && !kat_batch_q && state_q == WORK && (doing == DO_DRAW || (doing == DO_SCALAR && !given_q && sub_q < 4'd8))))
          a_abort_draws: assert (!working || step_q != $past(step_q) || rest_q != $past(rest_q));
        if ($past(blinding && abort_i && !kat_batch_q)) a_abort_blinds: assert (!blinding || drawn_q);
      end
      a_place: assert (place_o == ((f_join && !kat_batch_q) || f_rode));
      if (place_o) a_rider: assert (rider_o == f_rode);
      if (f_rode && done_status_o == kf_uc::ST_OK) a_done: assert (status_q == kf_uc::ST_NOT_FINISHED && !abort_i);
      if (place_o) a_owner: assert (owns_o == (f_stored && op_q == JOB_GENERATE));
      if (place_o) a_generation: assert (gen_o == (f_stored ? gen_q : 6'd0));
      if (working && !(f_key_step && sub_q == 4'd2) && (op_q == JOB_GENERATE || op_q == JOB_IMPORT)) a_made: assert (made_q == f_stored);
      if (working && op_q != JOB_GENERATE && op_q != JOB_IMPORT && !kat_batch_q) a_made_none: assert (!made_q && !f_stored);
      if (s_word_ready && !kat_batch_q) a_abort_dry: assert (!abort_i);
      if (row_valid_o) a_row_ctx: assert (blinding && row_ctx_o == f_joined[5:0]);
      if (row_valid_o || row_made_q) a_row: assert (blinding && drawn_q && blind_q && !(row_valid_o && row_made_q));
      if (drawn_q || blind_q) a_drawn: assert (blinding && (drawn_q || !blind_q));
      // beats
      if (!f_hand_o) a_between: assert (!f_in_packet);
      if (f_hand_o) a_packet: assert (f_in_packet == !last_seen_q);
      if (s_job_ready) a_ready: assert (f_in_packet == (state_q != TAKE));
      if (f_hand_o) a_job: assert (f_job_slot == slot_q);
      if (state_q == JOIN || state_q == KAT || state_q == KAT_WAIT || state_q == BOOT) a_first_step: assert (step_q == '0 && sub_q == '0 && !rest_q);
      if (rest_q && working) a_rest: assert ((op_q == JOB_VERIFY || op_q == JOB_SIGN) && !kat_batch_q);
      if (working && op_q == JOB_VERIFY && !rest_q) a_verify: assert (step_q <= 4'd11);
      if (working && op_q == JOB_SIGN && !rest_q) a_sign: assert (step_q <= 4'd14);
      if (working && !kat_batch_q && f_flushed) a_flushed: assert (last_seen_q);
      if ((f_join && !kat_batch_q) || f_rode) a_all_beats: assert (!f_in_packet && !s_job_ready);
      // known-answer batches hold nothing else
      if (state_q == BOOT) a_boot: assert (count_q == 7'd0 && !closed_q && !kat_batch_q);
      if (kat_batch_q && !closed_q) a_kat_states: assert (state_q == KAT || working);
      if ((state_q == KAT || state_q == KAT_WAIT) && !kat_batch_q) a_kat_none: assert (count_q == 7'd0 && !closed_q);
      if (kat_batch_q && !closed_q) a_kat_kind: assert (program_q == (kat_q[0] ? kf_uc::PROG_ECKA : kf_uc::PROG_GENERATE) && bcurve_q == kat_q[1]);
      if (f_kat) a_kat_job: assert (op_q == (kat_q[0] ? JOB_ECKA : JOB_GENERATE) && curve_q == kat_q[1]);
      // key slots
      if (f_kat) a_kat_key: assert (!f_key_step && !key_valid);
      if (key_write_q) a_key_write: assert (working && f_key_step && sub_q == 4'd2);
      if (key_store_q) a_key_store: assert (key_write_q && ((doing == DO_KEY_NEW && f_found_empty) || doing == DO_KEY_PUT) && status_q == kf_uc::ST_NOT_FINISHED);
      if (working && f_key_step) a_key_sub: assert (sub_q <= 4'd3);
      if (key_valid && key_write != 2'd0 && key_held && doing != DO_KEY_PUT)
        a_store: assert ((op_q == JOB_GENERATE || op_q == JOB_IMPORT) && f_found_empty && status_q == kf_uc::ST_NOT_FINISHED && key_write == 2'b11);
      // new shares: only of a key that was read in the same job, and no erasure by others since
      if (working && doing == DO_KEY_PUT) a_put: assert (op_q == JOB_SIGN && !rest_q && key_lock);
      if (key_valid && key_write != 2'd0 && doing == DO_KEY_PUT) a_renew: assert (key_held && f_found_held && status_q == kf_uc::ST_NOT_FINISHED);
      if (key_lock) a_lock: assert (op_q == JOB_SIGN && !kat_batch_q);
      if (state_q == JOIN) a_not_yet: assert (!owns_q && !f_stored);
      if (working && !(f_key_step && sub_q == 4'd2) && op_q == JOB_GENERATE) a_owns: assert (owns_q == f_stored);
      if (working && op_q == JOB_GENERATE && (step_q < 4'd7 || (step_q == 4'd7 && sub_q < 4'd2))) a_stored_none: assert (!owns_q && !f_stored);
      if (working && f_key_step && sub_q == 4'd2) a_writing: assert (key_write_q);
      if (f_key_step && key_store_q && op_q == JOB_GENERATE) a_owns_soon: assert (owns_q);
      if (working && f_key_step && key_write_q && !key_store_q && op_q == JOB_GENERATE) a_not_owns: assert (!owns_q);
      if (op_q != JOB_GENERATE && working) a_never_owns: assert (!owns_q);
`ifdef KF_TASK_PREP
      c_full: cover (core_taken_i && count_q == FULL);
      c_two: cover (core_taken_i && f_handed != '0 && count_q == 7'd1 && batch_curve_o);
      c_other_kind: cover (state_q == JOIN && closed_q && count_q == 7'd1 && program_q != program_of(op_q));
      c_timeout: cover (state_q == TAKE && closed_q && $past(!closed_q && wait_q == 32'd1 && count_q == 7'd1));
      c_abort: cover (place_o && !rider_o && last[7:0] == kf_uc::ST_ABORTED);
      c_rider: cover (f_rode && done_status_o == kf_uc::ST_OK && closed_q && !core_taken_i);
      c_rider_taken: cover (working && f_rides && core_taken_i);
      c_generate: cover (place_o && owns_o);
      c_cancelled: cover (f_stored && key_write_q && !key_store_q && op_q == JOB_GENERATE);
      c_short: cover (f_join && status_q == kf_uc::ST_DESCRIPTOR && op_q == JOB_CHECK);
`endif
`ifdef KF_TASK_BOOT
      c_second: cover (f_kat && count_q == 7'd1);
`endif
    end
  end
`else
  // Key slots under kf_prep: zeroisation and use. Only this is asked here; everything else above.
  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  // The core takes what is offered.
  always_comb if (core_taken_i) g_taken: `KF_GIVEN (rst || batch_valid_o);

  // After reset or a wipe, until something is stored; whether anything was stored ever.
  logic f_fresh = 1'b0;
  logic f_ever = 1'b0;
  logic f_take = 1'b0;  // an ECKA has its scalar from the slot
  logic f_key_step;
  logic f_pending;      // an erasure of the slot waits to be done
  always_comb begin
    f_key_step = doing == DO_KEY_READ || doing == DO_KEY_TAKE || doing == DO_KEY_NEW || doing == DO_KEY_ERASE || doing == DO_KEY_PUT;
    f_pending = key_write_q && !key_store_q && slot_q == f_slot;
  end
  always_ff @(posedge clk) begin
    if (key_valid && key_ready && key_write != 2'd0 && key_held) begin
      f_fresh <= 1'b0;
      f_ever <= 1'b1;
    end
    if (working && doing == DO_KEY_TAKE && step_q == 4'd9 && sub_q == 4'd1 && key_ack && !key_bad && key_was_held && key_curve == curve_q && !key_sign) f_take <= 1'b1;
    if (state_q == JOIN || state_q == KAT) f_take <= 1'b0;
    if (f_rst) begin
      f_fresh <= 1'b1;
      if (rst) f_ever <= 1'b0;
      f_take <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !f_rst) begin
      // zeroisation and reset
      if (f_fresh && wiped_o) a_reset: assert (f_zero);
      if (f_fresh && f_swept) a_passed: assert (f_zero);
      // used once
      if (working && f_take && !(doing == DO_KEY_TAKE && sub_q == 4'd2) && slot_q == f_slot) a_used: assert (f_zero || !wiped_o);
      if (working && f_take && doing == DO_KEY_TAKE && sub_q == 4'd2) a_using: assert (key_write_q && !key_store_q);
      if (working && f_take) a_take: assert (op_q == JOB_ECKA && !kat_batch_q && !rest_q && step_q >= 4'd9 && (step_q != 4'd9 || sub_q >= 4'd2));
      // how it comes to that
      if (key_write_q) a_key_write: assert (working && f_key_step && sub_q == 4'd2);
      if (key_store_q) a_key_store: assert (key_write_q && (doing == DO_KEY_NEW || doing == DO_KEY_PUT));
      if (working && f_key_step) a_key_sub: assert (sub_q <= 4'd3);
      if (state_q == JOIN || state_q == KAT || state_q == KAT_WAIT || state_q == BOOT) a_first_step: assert (step_q == '0 && sub_q == '0 && !rest_q);
      if (state_q == TAKE || state_q == KAT_WAIT) a_rests: assert (!key_write_q);
      if (working && (kat_batch_q || program_of(op_q) != kf_uc::PROG_IDLE)) a_open: assert (!closed_q);
      if (kat_batch_q && !closed_q) a_kat_states: assert (state_q == KAT || working);
      if (rest_q && working) a_rest: assert ((op_q == JOB_VERIFY || op_q == JOB_SIGN) && !kat_batch_q);
      if (working && op_q == JOB_VERIFY && !rest_q) a_verify: assert (step_q <= 4'd11);
      if (working && op_q == JOB_SIGN && !rest_q) a_sign: assert (step_q <= 4'd14);
      a_state: assert (state_q <= WORK);
      if (working && kat_batch_q) a_kat_job: assert (op_q == JOB_ECKA || op_q == JOB_GENERATE);
      c_stored: cover (working && op_q == JOB_GENERATE && step_q == 4'd8 && slot_q == f_slot && !f_zero);
      c_used: cover (working && f_take && step_q == 4'd10 && slot_q == f_slot && f_zero);
      c_cancelled: cover (abort_i && f_pending && doing == DO_KEY_NEW);
      c_zeroised: cover (idle_o && wiped_o && f_fresh && f_ever);
    end
  end
  always_comb begin
    f_accept_o = 1'b0;
    f_hand_o = 1'b0;
    f_count_o = '0;
  end
`endif
