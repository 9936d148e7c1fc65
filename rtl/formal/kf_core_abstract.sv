// Stands in for kf_core in the proof of kf_engine: takes a batch that is offered at any time, holds it as long as it likes, and answers it
// once, all contexts in their order, as soon as the results have room; then it may take the next one. What it answers is arbitrary. The
// real core's phases (kf_core.sv, "phases") are one case of this. Never synthesised.
`default_nettype none

module kf_core #(
    parameter int STYLE = 0,
    parameter int TWIN = 1,
    parameter int II = 1,
    parameter int TA = 26,
    parameter int TB = 17,
    parameter int K = 2,
    parameter int N = 64 / II
) (
    input  wire  logic         clk,
    input  wire  logic         rst,
    input  wire  logic         abort_i,
    input  wire  logic         batch_valid_i,
    input  wire  logic [2:0]   batch_program_i,
    input  wire  logic         batch_curve_i,
    output       logic         taken_o,
    input  wire  logic         in_we_i,
    input  wire  logic [5:0]   in_ctx_i,
    input  wire  logic [2:0]   in_reg_i,
    input  wire  logic [255:0] in_data_i,
    input  wire  logic [31:0]  in_check_i,
    input  wire  logic         row_valid_i,
    output       logic         row_ready_o,
    input  wire  logic         row_comb_i,
    input  wire  logic [5:0]   row_ctx_i,
    input  wire  logic [384:0] row_data_i,
    input  wire  logic [34:0]  row_check_i,
    input  wire  logic         table_we_i,
    input  wire  logic [12:0]  table_addr_i,
    input  wire  logic [511:0] table_data_i,
    input  wire  logic         res_free_i,
    output       logic         res_valid_o,
    output       logic [5:0]   res_ctx_o,
    output       logic [7:0]   res_status_o,
    output       logic [287:0] res_x_o,
    output       logic [287:0] res_y_o,
    output       logic         res_last_o,
    output       logic [31:0]  res_cycles_o,
    output       logic         res_kat_ok_o,
    output       logic         busy_o,
    output       logic         wiped_o,
    output       logic         slot_o,
    output       logic         mul_o,
    output       logic         ev_parity_o,
    output       logic         ev_gate_o,
    output       logic         f_has_o,      // a batch is held that is not answered to the end
    output       logic         f_answers_o   // its answers have begun or may begin
);

  (* anyseq *) logic any_begin;
  (* anyseq *) logic any_result;
  (* anyseq *) logic any_end;
  (* anyseq *) logic any_ready;
  (* anyseq *) logic any_wiped;
  (* anyseq *) logic [7:0] any_status;
  (* anyseq *) logic [287:0] any_x;
  (* anyseq *) logic [287:0] any_y;
  (* anyseq *) logic [31:0] any_cycles;
  (* anyseq *) logic any_kat_ok;
  (* anyseq *) logic [3:0] any_events;

  typedef enum logic [1:0] {IDLE, RUN, EXCHANGE} phase_e;
  phase_e phase_q;
  logic result_q;      // this exchange lets results out
  logic load_q;        // it takes a batch
  logic [6:0] next_q;  // results that are out
  logic apart_q;       // no result went out in the cycle before
  logic over;
  always_comb begin
    res_valid_o = phase_q == EXCHANGE && result_q && next_q != 7'(N) && any_result && apart_q;
    res_last_o = next_q == 7'(N - 1);
    res_ctx_o = next_q[5:0];
    res_status_o = any_status;
    res_x_o = any_x;
    res_y_o = any_y;
    res_cycles_o = any_cycles;
    res_kat_ok_o = any_kat_ok;
    over = phase_q == EXCHANGE && (!result_q || next_q == 7'(N)) && any_end;
    taken_o = over && load_q;
    busy_o = phase_q != IDLE;
    row_ready_o = any_ready;
    {slot_o, mul_o, ev_parity_o, ev_gate_o} = any_events;
    f_answers_o = phase_q == EXCHANGE && result_q && next_q != 7'(N);
    f_has_o = phase_q == RUN || f_answers_o;
  end
  always_ff @(posedge clk) begin
    wiped_o <= wiped_o || any_wiped;
    apart_q <= !res_valid_o;
    case (phase_q)
      IDLE: if (batch_valid_i && any_begin) begin
        phase_q <= EXCHANGE;
        result_q <= 1'b0;
        load_q <= 1'b1;
      end
      RUN: if (res_free_i && any_begin) begin
        phase_q <= EXCHANGE;
        result_q <= 1'b1;
        load_q <= batch_valid_i;
        next_q <= '0;
      end
      default: begin
        if (res_valid_o) next_q <= next_q + 7'd1;
        if (over) phase_q <= load_q ? RUN : IDLE;
      end
    endcase
    if (rst) begin
      wiped_o <= 1'b0;
      phase_q <= IDLE;
      result_q <= 1'b0;
      load_q <= 1'b0;
      next_q <= '0;
    end
  end

  // Invariants of the above.
  always_ff @(posedge clk) begin
    if (!rst) begin
      a_core_phase: assert (phase_q <= EXCHANGE && next_q <= 7'(N));
      if (phase_q == EXCHANGE) a_core_why: assert (result_q || load_q);
      if (phase_q == EXCHANGE && load_q) a_core_load: assert (batch_valid_i);
      if (f_answers_o) a_core_room: assert (res_free_i || next_q != '0);
    end
  end

endmodule

`default_nettype wire
