// Properties of kf_control (included there) with the real sequencer and microcode: nothing is abstracted, only the number of contexts is small. Inputs
// are free: abort, batches and room for results at any time. Proven: a program runs in phase RUN and in no other, so that no exchange begins while
// one does (B2 of docs/decisions/0005-core-fails-closed.md); what leaves as whole and not aborted belongs to a batch that was taken, whose program ran its full count of
// rounds to the halt word, and since then nobody has asked for an abort (B1); each batch that was taken is answered once, all contexts in order. And how long it takes:
// after reset everything is overwritten within 2 (8 N + 2) cycles, a program ends within 64 (rounds + 1), an exchange within 8 N + 2, and
// what waits for a batch or for room goes on in the cycle after it is there.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  logic [kf_uc::PC_W-1:0]   f_pc, f_loop_pc;
  logic [kf_uc::UWIDTH-1:0] f_word;
  logic [5:0]  f_t, f_row_digit;
  logic        f_run, f_drain, f_loop, f_mod_n, f_bad;
  logic [8:0]  f_loop_left, f_loop_i;
  logic [11:0] f_rounds;
  logic [2:0]  f_row_bit;
  always_comb {f_pc, f_word, f_t, f_run, f_drain, f_loop, f_loop_pc, f_loop_left, f_loop_i, f_mod_n, f_rounds, f_bad, f_row_digit, f_row_bit} = seq_state;

  function automatic logic [11:0] f_wanted(input logic [2:0] program_number, input logic of_curve);
    case (program_number)
      kf_uc::PROG_GENERATE: f_wanted = kf_curve::rounds_generate(of_curve);
      kf_uc::PROG_ECKA:     f_wanted = kf_curve::rounds_ecka(of_curve);
      kf_uc::PROG_SIGN:     f_wanted = kf_curve::rounds_sign(of_curve);
      kf_uc::PROG_VERIFY:   f_wanted = kf_curve::rounds_verify(of_curve);
      kf_uc::PROG_CHECK:    f_wanted = kf_curve::rounds_check(of_curve);
      default:              f_wanted = kf_curve::rounds_idle(of_curve);
    endcase
  endfunction

  // What has happened, noted apart from the registers that decide.
  logic [11:0] f_count = '0;   // rounds that ran to their end
  logic        f_halted = '0;  // the last of them was the halt word
  logic        f_stop = '0;    // an abort since the batch was taken
  logic        f_owed = '0;    // a batch was taken and not answered
  logic [6:0]  f_out = '0;     // contexts that were answered in this exchange
  logic [9:0]  f_since = '0;   // cycles since reset, up to a limit
  localparam logic [9:0] WIPED_AFTER = 10'(2 * (8 * N + 2));
  always_ff @(posedge clk) begin
    if (f_run && f_t == 6'd63) begin
      f_count <= f_count + 12'd1;
      f_halted <= f_word[kf_uc::F_CONTROL +: kf_uc::F_CONTROL_W] == kf_uc::CTL_HALT;
    end
    if (abort_i && (phase_q == RUN || phase_q == HOLD)) f_stop <= 1'b1;
    if (ex_end_o) f_stop <= abort_i && taken_o;
    if (res_valid_o) f_out <= f_out + 7'd1;
    if (res_valid_o && res_last_o) f_owed <= 1'b0;
    if (!ex_run_o) f_out <= '0;
    if (taken_o) begin
      f_count <= '0;
      f_halted <= 1'b0;
      f_owed <= 1'b1;
    end
    if (f_since != WIPED_AFTER) f_since <= f_since + 10'd1;
    if (rst) begin
      f_count <= '0;
      f_halted <= 1'b0;
      f_stop <= 1'b0;
      f_owed <= 1'b0;
      f_out <= '0;
      f_since <= '0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_legal: assert (!illegal_o && !unknown);
      a_one: assert (!(f_run && f_drain));
      if (ex_run_o) a_apart: assert (!f_run && !f_drain && !seq_active_o);
      // the count
      if (f_run) a_running: assert (f_rounds == f_count + 12'd1 && f_count < f_wanted(program_o, curve_o));
      if (f_drain) a_draining: assert (f_rounds == f_count && f_count <= f_wanted(program_o, curve_o) && (f_bad || f_halted));
      if (phase_q == HOLD && whole_o) a_whole: assert (f_count == f_wanted(program_o, curve_o) && f_halted && f_owed);
      if (phase_q == RUN || phase_q == IDLE || phase_q == WIPE) a_not_whole: assert (!whole_o);
      if (phase_q == EXCHANGE && whole_o) a_whole_out: assert (f_count == f_wanted(done_program_o, done_curve_o) && f_halted && ex_result_q);
      if (phase_q == RUN || phase_q == HOLD || (phase_q == EXCHANGE && whole_o)) a_stop: assert (aborted_o == f_stop);
      // what leaves
      if (res_valid_o && whole_o && !aborted_o) a_ok: assert (f_owed && f_count == f_wanted(done_program_o, done_curve_o) && f_halted && !f_stop);
      if (res_valid_o) a_order: assert (phase_q == EXCHANGE && {1'b0, res_ctx_o} == f_out && res_last_o == (f_out == 7'(N - 1)));
      if (taken_o) a_once: assert (!f_owed);
      if (phase_q == RUN || phase_q == HOLD) a_owed: assert (f_owed);
      if (phase_q == IDLE || phase_q == WIPE) a_nothing: assert (!f_owed);
      if (phase_q == EXCHANGE && whole_o && ex_q <= EX_COUNT - 10'd4) a_still_owed: assert (f_owed);
      if (phase_q == EXCHANGE && f_owed) a_owing: assert (ex_result_q && ex_q <= EX_COUNT - 10'd4);
      if (phase_q == EXCHANGE) begin
        a_exchange: assert (ex_q <= EX_LAST);
        if (ex_q >= 10'd1) a_address: assert (ex_we_o == (ex_q <= EX_COUNT) && ex_w_o == 9'(ex_q - 10'd1));
        if (ex_q >= 10'd2) a_result: assert (res_valid_o == (ex_result_q && ex_q <= EX_LAST && (ex_q & 10'd7) == 10'd4 && ex_q < EX_COUNT));
        if (ex_q < 10'd2) a_no_result: assert (!res_valid_o);
        if (ex_result_q) a_out: assert (f_out == (ex_q <= 10'd4 ? 7'd0 : 7'((ex_q + 10'd3) >> 3)));
        a_why: assert (ex_result_q || ex_load_o);
      end else if (phase_q != WIPE) a_silent: assert (!res_valid_o);
      if (phase_q == WIPE) a_wiping: assert (!res_valid_o && !ex_result_q && !ex_load_o && ex_q <= EX_LAST);
      if (phase_q == HOLD || phase_q == RUN || phase_q == IDLE) a_rest: assert (!ex_run_o);
      // how long
      if (phase_q == WIPE) a_wipe: assert (f_since == ex_q + (wipe_twice_q ? EX_LAST + 10'd1 : 10'd0));
      a_wiped: assert (wiped_o == (phase_q != WIPE));
      if (f_since == WIPED_AFTER) a_wiped_soon: assert (wiped_o);
      if (phase_q == RUN) a_run_time: assert (cycles_o == {14'd0, f_count, f_t});
      if (!$past(rst)) begin
        if ($past(phase_q == HOLD && res_free_i)) a_hold_ends: assert (phase_q == EXCHANGE);
        if ($past(phase_q == IDLE && batch_valid_i && !answer_i)) a_idle_ends: assert (phase_q == EXCHANGE && ex_load_o);
      end
      c_ok: cover (res_valid_o && res_last_o && whole_o && !aborted_o);
      c_aborted: cover (res_valid_o && aborted_o);
      c_answer: cover (res_valid_o && !f_owed);
    end
  end
