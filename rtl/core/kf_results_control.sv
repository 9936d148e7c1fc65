// kf_results_control: everything of kf_results that decides: what it does, whose result is taken out, its status.
//
// kf_results holds it twice and compares state_o, which is every register in here, in each cycle. So a register that is added here has to be added there.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_results_control (
  input  wire  logic        clk,
  input  wire  logic        rst,
  input  wire  logic        abort_i,
  input  wire  logic        res_valid_i,
  input  wire  logic [5:0]  res_ctx_i,
  input  wire  logic        res_last_i,
  input  wire  logic        res_kat_ok_i,
  input  wire  logic [31:0] res_cycles_i,
  input  wire  logic        batch_kat_i,
  input  wire  logic [6:0]  batch_count_i,
  input  wire  logic [7:0]  rstatus_i,    // status that was read
  input  wire  logic        bad_i,        // the value that was read is damaged
  input  wire  logic        next_i,       // the job that is answered next is one of a batch, and its words are there
  input  wire  logic        owns_i,       // the job made the key in its slot
  input  wire  logic        erase_ready_i,
  input  wire  logic        sent_i,       // a beat of its completion went out
  input  wire  logic        end_i,        // it is the last one
  output       logic        sweep_o,      // after reset: all values are overwritten
  output       logic [6:0]  sweep_at_o,
  output       logic        free_o,
  output       logic        busy_o,
  output       logic        second_o,     // y of a result is written one cycle after its x
  output       logic [5:0]  second_ctx_o,
  output       logic [5:0]  ctx_o,
  output       logic        take_x_o,     // x, then y is read and overwritten
  output       logic        take_y_o,
  output       logic        good_o,       // and may be sent as far as is known
  output       logic        erase_o,
  output       logic        valid_o,
  output       logic [7:0]  status_o,
  output       logic [31:0] cycles_o,
  output       logic        kat_done_o,
  output       logic        kat_ok_o,
  output       logic [66:0] state_o
);
  typedef enum logic [2:0] {EMPTY, READ, TAKE_X, TAKE_Y, ERASE, BEAT, SWEEP} state_e;
  state_e      state_q;
  logic        collecting_q;
  logic        kat_ok_q;
  logic [6:0]  count_q;  // in SWEEP: the place that is overwritten
  logic [31:0] cycles_q;
  logic [5:0]  ctx_q;
  logic [7:0]  status_q;
  logic [7:0]  status_now;
  assign sweep_o = state_q == SWEEP;
  assign sweep_at_o = count_q;
  assign free_o = state_q == EMPTY;
  assign busy_o = (state_q != EMPTY && state_q != SWEEP) || collecting_q;
  assign ctx_o = ctx_q;
  assign take_x_o = state_q == TAKE_X;
  assign take_y_o = state_q == TAKE_Y;
  assign erase_o = state_q == ERASE;
  assign valid_o = state_q == BEAT;
  assign status_o = status_q;
  assign cycles_o = cycles_q;
  // Of the result whose x or y is read now.
  always_comb begin
    status_now = state_q == TAKE_X ? rstatus_i : status_q;
    if (!kf_uc::known_status(status_now)) status_now = kf_uc::ST_FAULT;
    if (status_now == kf_uc::ST_OK && (bad_i || abort_i)) status_now = bad_i ? kf_uc::ST_FAULT : kf_uc::ST_ABORTED;
  end
  assign good_o = status_now == kf_uc::ST_OK;

  always_ff @(posedge clk) begin
    kat_done_o <= 1'b0;
    if (rst) begin
      state_q <= SWEEP;
      collecting_q <= 1'b0;
      second_o <= 1'b0;
      second_ctx_o <= '0;
      kat_ok_q <= 1'b1;
      kat_ok_o <= 1'b0;
      count_q <= '0;
      cycles_q <= '0;
      ctx_q <= '0;
      status_q <= kf_uc::ST_FAULT;
    end else begin
      second_o <= res_valid_i;
      if (res_valid_i) begin
        second_ctx_o <= res_ctx_i;
        collecting_q <= !res_last_i;
        kat_ok_q <= kat_ok_q && res_kat_ok_i;
        if (res_last_i) begin
          kat_ok_q <= 1'b1;
          if (batch_kat_i) begin
            kat_done_o <= 1'b1;
            kat_ok_o <= kat_ok_q && res_kat_ok_i;
          end else if (batch_count_i != 7'd0) begin
            state_q <= READ;
          end
          ctx_q <= '0;
          count_q <= batch_count_i;
          cycles_q <= res_cycles_i;
        end
      end
      case (state_q)
        SWEEP: begin
          count_q <= count_q + 7'd1;
          if (&count_q) state_q <= EMPTY;
        end
        READ: if (next_i) state_q <= TAKE_X;
        TAKE_X: begin
          status_q <= status_now;
          state_q <= TAKE_Y;
        end
        TAKE_Y: begin
          status_q <= status_now;
          state_q <= !good_o && owns_i ? ERASE : BEAT;
        end
        ERASE: if (erase_ready_i) state_q <= BEAT;
        BEAT: if (sent_i && end_i) begin
          ctx_q <= ctx_q + 6'd1;
          state_q <= {1'b0, ctx_q} + 7'd1 == count_q ? EMPTY : READ;
        end
        default: ;
      endcase
    end
  end
  assign state_o = {state_q, collecting_q, kat_ok_q, count_q, cycles_q, ctx_q, status_q, second_o, second_ctx_o, kat_done_o, kat_ok_o};
endmodule
`default_nettype wire
