// Properties of kf_results (included there), for one arbitrary context and one of its two words. KF_GIVEN is `assume` where the module
// stands alone, which is how it is proven. Proven: each job of a delivered batch gets one completion, in the order of contexts, of as many
// beats as kf_ledger wants, that hold until taken; x and y are those the core gave, or zero if the status is not ok, and a status that is none is a fault; abort_i while a
// result is taken out makes it aborted; what was read is overwritten, and after reset every value; a job that failed and made the key in its
// slot has that slot erased before its completion begins, and no other job has.

  // The names of kf_results_control, of which one copy is proven.
  localparam logic [2:0] EMPTY = 3'd0, READ = 3'd1, TAKE_X = 3'd2, TAKE_Y = 3'd3, ERASE = 3'd4, BEAT = 3'd5, SWEEP = 3'd6;
  logic [2:0] state_q;
  logic collecting_q, kat_ok_q, second_q, f_kat_done, f_kat_ok;
  logic [6:0] count_q;
  logic [31:0] cycles_q;
  logic [5:0] ctx_q, second_ctx_q;
  logic [7:0] status_q;
  always_comb {state_q, collecting_q, kat_ok_q, count_q, cycles_q, ctx_q, status_q, second_q, second_ctx_q, f_kat_done, f_kat_ok} = ctl_state;

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  logic f_sending;
  always_comb begin
    f_sending = state_q != EMPTY && state_q != SWEEP;
    f_mine_o = f_sending && state_q != READ;
    f_left_o = f_sending ? count_q - {1'b0, ctx_q} : 7'd0;
  end

  // Results come in the order of contexts, only while there is room, never in two cycles on end, and at least as many as the batch has jobs.
  logic [6:0] f_next = '0;
  always_comb f_next_o = f_next;
  always_ff @(posedge clk) begin
    if (res_valid_i) f_next <= res_last_i ? 7'd0 : f_next + 7'd1;
    if (rst) f_next <= '0;
  end
  always_ff @(posedge clk) begin : f_given
    if (f_past && !rst) begin
      if (res_valid_i) begin
        g_room: `KF_GIVEN (state_q == EMPTY);
        if (!$past(rst)) g_apart: `KF_GIVEN (!$past(res_valid_i));
        g_order: `KF_GIVEN ({1'b0, res_ctx_i} == f_next && f_next < 7'd64);
        if (res_last_i && !batch_kat_i) g_all: `KF_GIVEN (batch_count_i <= f_next + 7'd1 && batch_count_i != 7'd0);
      end
      if (f_sending) a_within: assert ({1'b0, ctx_q} < count_q && count_q <= 7'd64 && !collecting_q && f_next == 7'd0);
      a_state: assert (state_q <= SWEEP);
      if (sent_i) g_sent: `KF_GIVEN (valid_o);
      a_collecting: assert (collecting_q == (f_next != 7'd0));
    end
  end

`ifdef KF_TASK_RESULTS
  // What the core gave for the context; f_have: and it has not been taken out again.
  logic f_have = 1'b0;
  logic [255:0] f_value;
  logic [7:0] f_status;
  logic [287:0] f_word;  // with its check word
  always_comb f_word = {kf_uc::check_word(f_value, {1'b1, f_second ? 4'd2 : 4'd1, f_ctx}), f_value};
  logic f_here;
  always_comb f_here = f_sending && ctx_q == f_ctx;
  always_ff @(posedge clk) begin
    if (res_valid_i && f_next == 7'd0) f_have <= 1'b0;
    if (res_valid_i && res_ctx_i == f_ctx) begin
      f_have <= 1'b1;
      f_value <= f_second ? res_y_i[255:0] : res_x_i[255:0];
      f_status <= res_status_i;
    end
    if (f_here && state_q == (f_second ? TAKE_Y : TAKE_X)) f_have <= 1'b0;
    if ((state_q == EMPTY && !collecting_q && !res_valid_i) || rst) f_have <= 1'b0;
  end

  // The ledger, the packet that is being sent, its abort, its erasure.
  logic [7:0] f_delivered = '0;
  logic [7:0] f_sent = '0;
  logic [6:0] f_order = '0;
  logic [1:0] f_beat = '0;
  logic f_nonzero = 1'b0;
  logic f_aborted = 1'b0;
  logic f_erased = 1'b0;
  always_ff @(posedge clk) begin
    if (res_valid_i && res_last_i && !batch_kat_i) f_delivered <= f_delivered + {1'b0, batch_count_i};
    if (res_valid_i && res_last_i) f_order <= '0;
    if (sent_i) begin
      f_beat <= f_beat + 2'd1;
      f_nonzero <= f_beat != 2'd3 && (f_nonzero || data_o != '0);
      if (f_beat == 2'd3) begin
        f_sent <= f_sent + 8'd1;
        f_order <= f_order + 7'd1;
      end
    end
    if (state_q == TAKE_X) f_aborted <= abort_i;
    if (state_q == TAKE_Y && abort_i) f_aborted <= 1'b1;
    if (state_q == TAKE_X) f_erased <= 1'b0;
    if (erase_valid_o && erase_ready_i) f_erased <= 1'b1;
    if (rst) begin
      f_delivered <= '0;
      f_sent <= '0;
      f_order <= '0;
      f_beat <= '0;
      f_nonzero <= 1'b0;
    end
  end
  always_comb assume (end_i == (f_beat == 2'd3));
  // What is known of a job stands from when it is looked at to the end of its answer.
  logic f_owns;
  always_ff @(posedge clk) if (state_q == TAKE_Y) f_owns <= owns_i;
  // The core's words have the check words of their places. (One that has not gives status fault.)
  always_comb assume (!res_valid_i || (res_x_i[287:256] == kf_uc::check_word(res_x_i[255:0], {1'b1, 4'd1, res_ctx_i})
      && res_y_i[287:256] == kf_uc::check_word(res_y_i[255:0], {1'b1, 4'd2, res_ctx_i})));
`ifdef KF_FEW
  // Small numbers are enough to reach a state, and found sooner.
  always_comb assume (res_x_i[255:4] == '0 && res_y_i[255:4] == '0);
`endif

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      // one completion a job
      a_ledger: assert (f_delivered - f_sent == {1'b0, f_left_o});
      if (f_sending) a_order: assert (f_order == {1'b0, ctx_q});
      // packets
      if (!valid_o) a_beat: assert (f_beat == 2'd0);
      if (!$past(rst) && $past(valid_o && !sent_i)) a_holds: assert (valid_o && data_o == $past(data_o) && status_o == $past(status_o));
      // zero unless ok
      if ((state_q == ERASE || (valid_o && f_beat == 2'd0)) && status_q != kf_uc::ST_OK) a_zero: assert (x_q == '0 && y_q == '0);
      if (valid_o && f_beat == 2'd1) a_zero_y: assert (y_q == '0 && (status_q == kf_uc::ST_OK || x_q == '0));
      if (valid_o && f_beat == 2'd2) a_zero_2: assert (x_q == '0 && y_q == '0);
      if (f_nonzero) a_nonzero: assert (status_q == kf_uc::ST_OK && valid_o);
      if (valid_o && f_beat == 2'd3) begin
        if (status_o != kf_uc::ST_OK) a_no_data: assert (!f_nonzero);
        a_ctx: assert (ctx_o == ctx_q);
      end
      a_sound: assert (fold(x_q) == x_check_q && fold(y_q) == y_check_q);
      if (state_q == EMPTY || state_q == READ || state_q == SWEEP) a_no_sum: assert (sum_q == '0);
      if (valid_o && status_q != kf_uc::ST_OK) a_sum: assert (sum_q == '0);
      if (!job_bad_i) a_no_alarm: assert (!differ_o);
      if (state_q == SWEEP && {f_ctx, f_second} < count_q) a_swept: assert (f_value_word == '0);
      if (state_q == SWEEP) a_sweep: assert (!collecting_q && !second_q && !f_have);
      if (!$past(rst) && $past(state_q) == SWEEP && state_q != SWEEP) a_swept_all: assert (f_value_word == '0);
      if ((state_q == ERASE || valid_o) && f_aborted) a_aborted: assert (status_q != kf_uc::ST_OK);
      if (state_q == TAKE_Y && f_aborted) a_aborting: assert (status_q != kf_uc::ST_OK);
      // the core's words
      if (f_have) begin
        a_value: assert (f_value_word == f_word || (second_q && f_second && second_ctx_q == f_ctx && second_y_q == f_word));
        a_status: assert (f_status_word == f_status);
      end
      if (collecting_q) a_have: assert (f_have == ({1'b0, f_ctx} < f_next));
      if (second_q) a_second: assert (collecting_q || state_q == READ || (state_q == EMPTY && !f_sending));
      if (f_sending && {1'b0, f_ctx} < count_q && (ctx_q < f_ctx || (ctx_q == f_ctx && (state_q == READ || state_q == TAKE_X || (f_second && state_q == TAKE_Y)))))
        a_waits: assert (f_have);
      if (f_here && state_q == TAKE_X) a_rstatus: assert (rstatus == f_status);
      if (f_here && state_q == TAKE_X && !f_second) a_x_read: assert (rdata == f_word && !bad);
      if (f_here && state_q == TAKE_Y && f_second) a_y_read: assert (rdata == f_word && !bad);
      if (f_here && !f_second && status_q == kf_uc::ST_OK && (state_q == TAKE_Y || state_q == ERASE || (valid_o && f_beat == 2'd0))) a_x: assert (x_q == f_value);
      if (f_here && f_second && status_q == kf_uc::ST_OK && (state_q == ERASE || (valid_o && f_beat == 2'd0))) a_y: assert (y_q == f_value);
      if (f_here && f_second && status_q == kf_uc::ST_OK && valid_o && f_beat == 2'd1) a_y_sent: assert (x_q == f_value);
      if (f_here && (state_q == TAKE_Y || state_q == ERASE || valid_o) && f_status != kf_uc::ST_OK) a_failed: assert (status_q == (kf_uc::known_status(f_status) ? f_status : kf_uc::ST_FAULT));
      // what has been taken out is overwritten
      if (f_sending && (f_ctx < ctx_q || (f_ctx == ctx_q && (state_q == ERASE || state_q == BEAT || (state_q == TAKE_Y && !f_second))))) a_wiped: assert (f_value_word == '0);
      // job data, key slots
      if (state_q == ERASE) a_erase: assert (status_q != kf_uc::ST_OK && f_owns);
      if (valid_o) a_erased: assert (f_erased == (status_q != kf_uc::ST_OK && f_owns));
      if (state_q == TAKE_Y || state_q == ERASE) a_not_erased: assert (!f_erased);
      c_many: cover (sent_i && end_i && ctx_q == 6'd2 && count_q == 7'd3 && status_q == kf_uc::ST_OK);
      c_data: cover (f_here && f_second && valid_o && f_beat == 2'd1 && data_o != '0);
      c_aborted: cover (valid_o && end_i && status_q == kf_uc::ST_ABORTED && f_value != '0 && f_here && f_status == kf_uc::ST_OK);
      c_erased: cover (valid_o && f_erased);
      c_next: cover (f_sent == 8'd1 && f_delivered == 8'd2 && valid_o);
      c_kat: cover (kat_done_o && kat_ok_o);
    end
  end
`endif
