// kf_digit: the digit and the bit of a scalar row, and what comes of them: the ladder's choice of bank, the sign of an addition (of a comb's digit, or at a ladder's end of its scalar), the
// place of a table point. Stages 1 to 4 of a round (kf_core.sv).
//
// A flip here would be another scalar, and its result a point of the curve like any other: so there are two of these, of which all
// registers are compared. Secret: everything (digits of a blinded scalar). Public: what is named control.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_digit (
  input  wire  logic         clk,
  input  wire  logic [384:0] row_i,         // the row at stage 1
  input  wire  logic         curve_i,
  input  wire  logic [2:0]   step1_i,       // control, of stage 1
  input  wire  logic [2:0]   step2_i,       // of stage 2
  input  wire  logic [5:0]   row_digit_i,
  input  wire  logic [2:0]   row_bit2_i,
  input  wire  logic [5:0]   row_digit2_i,
  input  wire  logic [1:0]   add_op4_i,
  output       logic [12:0]  point_o,       // at stage 3
  output       logic         swap4_o,       // at stage 4
  output       logic         sub_o,         // at stage 5
  output       logic [24:0]  state_o        // every register
);
  logic [6:0] digit_q;
  logic       swap_q;
  logic       neg_q;
  logic       neg4_q;
  always_ff @(posedge clk) begin
    if (step1_i != kf_uc::STEP_NONE && step1_i != kf_uc::STEP_EXPO) digit_q <= row_i[7 * row_digit_i +: 7];
    else digit_q <= '0;
    swap_q <= (step2_i == kf_uc::STEP_LADDER || step2_i == kf_uc::STEP_LADDER_LAST) && digit_q[row_bit2_i];
    neg_q <= ~digit_q[6];
    point_o <= {curve_i, row_digit2_i, digit_q[6] ? digit_q[5:0] : ~digit_q[5:0]};
    swap4_o <= swap_q;
    neg4_q <= neg_q;
    sub_o <= add_op4_i == kf_uc::OP_SUB || (add_op4_i == kf_uc::OP_SIGN && neg4_q);
  end
  assign state_o = {digit_q, swap_q, neg_q, point_o, swap4_o, neg4_q, sub_o};
endmodule
`default_nettype wire
