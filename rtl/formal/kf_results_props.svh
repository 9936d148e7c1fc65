// Properties of kf_results (included there), for one arbitrary context and one of its two words. KF_GIVEN is `assume` where the module
// stands alone, which is how it is proven. Proven: each job of a delivered batch gets one completion, in the order of contexts, of four
// beats that hold until taken; x and y are those the core gave, or zero if the status is not ok; abort_i while a result is taken out makes it
// aborted; what was read is overwritten; tag, operation and curve are those of the job's own data; a job that failed and made the key in its
// slot has that slot erased before its completion begins, and no other job has.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  logic f_sending;
  always_comb begin
    f_sending = state_q != EMPTY;
    f_left_o = f_sending ? count_q - {1'b0, ctx_q} : 7'd0;
    f_at_o = {set_q, ctx_q};
    f_read_o = f_sending && state_q != READ;
    f_meta_o = {meta[95:80], meta[63:0]};
  end

  // Results come in the order of contexts, only while there is room, never in two cycles on end, and at least as many as the batch has jobs.
  // Job data are not written to the set that is being answered.
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
      a_state: assert (state_q <= BEAT);
      if (state_q == ERASE) a_first_beat: assert (beat_q == 2'd0);
      a_collecting: assert (collecting_q == (f_next != 7'd0));
      if (meta_we_i) g_meta: `KF_GIVEN (!f_sending || meta_addr_i[7:6] != set_q);
    end
  end

`ifdef KF_TASK_RESULTS
  // What the core gave for the context; f_have: and it has not been taken out again.
  logic f_have = 1'b0;
  logic [255:0] f_value;
  logic [3:0] f_status;
  logic f_here;
  always_comb f_here = f_sending && ctx_q == f_ctx;
  always_ff @(posedge clk) begin
    if (res_valid_i && f_next == 7'd0) f_have <= 1'b0;
    if (res_valid_i && res_ctx_i == f_ctx) begin
      f_have <= 1'b1;
      f_value <= f_second ? res_y_i : res_x_i;
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
    if (m_cpl_valid && m_cpl_ready) begin
      f_beat <= f_beat + 2'd1;
      f_nonzero <= f_beat != 2'd3 && (f_nonzero || m_cpl_data != '0);
      if (f_beat == 2'd3) begin
        f_sent <= f_sent + 8'd1;
        f_order <= f_order + 7'd1;
      end
    end
    if (state_q == TAKE_X) f_aborted <= abort_i;
    if (state_q == TAKE_Y && abort_i) f_aborted <= 1'b1;
    if (state_q == TAKE_X) f_erased <= 1'b0;
    if (erase_valid_o && erase_ready_i) f_erased <= erase_slot_o == f_word_o[95:80];
    if (rst) begin
      f_delivered <= '0;
      f_sent <= '0;
      f_order <= '0;
      f_beat <= '0;
      f_nonzero <= 1'b0;
    end
  end
  always_comb assume (f_addr_i == {set_q, ctx_q});
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
      a_beat: assert (m_cpl_valid ? beat_q == f_beat : f_beat == 2'd0);
      a_last: assert (!m_cpl_valid || m_cpl_last == (f_beat == 2'd3));
      if (!$past(rst) && $past(m_cpl_valid && !m_cpl_ready)) a_holds: assert (m_cpl_valid && m_cpl_data == $past(m_cpl_data) && m_cpl_last == $past(m_cpl_last));
      // zero unless ok
      if ((state_q == ERASE || (m_cpl_valid && f_beat == 2'd0)) && status_q != ST_OK) a_zero: assert (x_q == '0 && y_q == '0);
      if (m_cpl_valid && f_beat == 2'd1) a_zero_y: assert (y_q == '0 && (status_q == ST_OK || x_q == '0));
      if (m_cpl_valid && f_beat == 2'd2) a_zero_2: assert (x_q == '0 && y_q == '0);
      if (f_nonzero) a_nonzero: assert (status_q == ST_OK && m_cpl_valid);
      if (m_cpl_valid && m_cpl_last) begin
        a_meta: assert (m_cpl_data[7:0] == {4'd0, status_q} && m_cpl_data[31:24] == {2'd0, ctx_q} && m_cpl_data[255:160] == '0 && m_cpl_data[63:32] == '0);
        a_job: assert (m_cpl_data[127:64] == f_word_o[63:0] && m_cpl_data[15:8] == f_word_o[71:64] && m_cpl_data[23:16] == f_word_o[79:72]);
        if (m_cpl_data[7:0] != 8'd0) a_no_data: assert (!f_nonzero);
      end
      if ((state_q == ERASE || m_cpl_valid) && f_aborted) a_aborted: assert (status_q != ST_OK);
      if (state_q == TAKE_Y && f_aborted) a_aborting: assert (status_q != ST_OK);
      // the core's words
      if (f_have) begin
        a_value: assert (f_value_word == {fold(f_value), f_value} || (second_q && f_second && second_ctx_q == f_ctx && second_y_q == f_value));
        a_status: assert (f_status_word == f_status);
      end
      if (collecting_q) a_have: assert (f_have == ({1'b0, f_ctx} < f_next));
      if (second_q) a_second: assert (collecting_q || state_q == READ || (state_q == EMPTY && !f_sending));
      if (f_sending && {1'b0, f_ctx} < count_q && (ctx_q < f_ctx || (ctx_q == f_ctx && (state_q == READ || state_q == TAKE_X || (f_second && state_q == TAKE_Y)))))
        a_waits: assert (f_have);
      if (f_here && state_q == TAKE_X) a_rstatus: assert (rstatus == f_status);
      if (f_here && state_q == TAKE_X && !f_second) a_x_read: assert (rdata == {fold(f_value), f_value} && !bad);
      if (f_here && state_q == TAKE_Y && f_second) a_y_read: assert (rdata == {fold(f_value), f_value} && !bad);
      if (f_here && !f_second && status_q == ST_OK && (state_q == TAKE_Y || state_q == ERASE || (m_cpl_valid && f_beat == 2'd0))) a_x: assert (x_q == f_value);
      if (f_here && f_second && status_q == ST_OK && (state_q == ERASE || (m_cpl_valid && f_beat == 2'd0))) a_y: assert (y_q == f_value);
      if (f_here && f_second && status_q == ST_OK && m_cpl_valid && f_beat == 2'd1) a_y_sent: assert (x_q == f_value);
      if (f_here && (state_q == TAKE_Y || state_q == ERASE || m_cpl_valid) && f_status != ST_OK) a_failed: assert (status_q == f_status);
      // what has been taken out is overwritten
      if (f_sending && (f_ctx < ctx_q || (f_ctx == ctx_q && (state_q == ERASE || state_q == BEAT || (state_q == TAKE_Y && !f_second))))) a_wiped: assert (f_value_word == '0);
      // job data, key slots
      if (f_read_o) a_meta_read: assert (meta == f_word_o);
      if (state_q == ERASE) a_erase: assert (status_q != ST_OK && meta[96]);
      if (m_cpl_valid) a_erased: assert (f_erased == (status_q != ST_OK && meta[96]));
      if (state_q == TAKE_Y || state_q == ERASE) a_not_erased: assert (!f_erased);
      c_many: cover (m_cpl_valid && m_cpl_last && m_cpl_ready && ctx_q == 6'd2 && count_q == 7'd3 && status_q == ST_OK);
      c_data: cover (f_here && f_second && m_cpl_valid && f_beat == 2'd1 && m_cpl_data != '0);
      c_aborted: cover (m_cpl_valid && m_cpl_last && status_q == ST_ABORTED && f_value != '0 && f_here && f_status == ST_OK);
      c_erased: cover (m_cpl_valid && f_erased);
      c_next: cover (f_sent == 8'd1 && f_delivered == 8'd2 && m_cpl_valid);
      c_kat: cover (kat_done_o && kat_ok_o);
    end
  end
`endif
