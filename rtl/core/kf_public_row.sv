// kf_public_row: a public scalar of VERIFY, captured as an operand in stage 5 of a round (kf_core), becomes a scalar row.
//
// v = a + m n, or (m + 1) n - a where the top bit of a is set (ladder), or a + (even ? n : 0) (comb), in three pieces of 86 bits; then the row, of a
// ladder with the sign in its highest bit (0: minus). The row stands in row_o five cycles after capture_i, when valid_i[4] would be set.
// There are two of these, which take the operand from two registers, and kf_core compares the rows: a bit that changes here would be another
// scalar, which no check of the program sees.
// Secret: nothing. capture_i stands for public scalars only, but a flip of it would keep an operand: so that is overwritten in the next cycle.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_public_row (
  input  wire  logic         clk,
  input  wire  logic         curve_i,
  input  wire  logic         capture_i,   // in each cycle of the round of the capture
  input  wire  logic         comb_i,      // with it: for the comb, else the ladder
  input  wire  logic [255:0] operand_i,
  input  wire  logic [3:0]   valid_i,     // an operand stands in stage 1, 2, 3, 4 of this
  input  wire  logic         comb3_i,     // with valid_i[3]
  output       logic [384:0] row_o
);
  logic         negative;
  logic         neg_q;
  logic         neg0_q;
  logic         neg1_q;
  logic         neg2_q;
  logic [255:0] a_q;
  logic [257:0] add_q;
  logic [86:0]  lo0_q;
  logic [171:0] a0_q;
  logic [171:0] c0_q;
  logic [85:0]  lo1_q;
  logic [86:0]  mid1_q;
  logic [85:0]  a1_q;
  logic [85:0]  c1_q;
  logic [171:0] sum2_q;
  logic [85:0]  hi2_q;
  logic [257:0] sum;
  assign sum = {hi2_q, sum2_q};
  assign negative = !comb_i && operand_i[255];
  // what is added: 0 or n (comb), m n or (m + 1) n (ladder)
  function automatic logic [257:0] addend(input logic comb, input logic odd, input logic minus, input logic curve);
    if (comb) addend = odd ? 258'd0 : {2'd0, kf_curve::n(curve)};
    else addend = minus ? kf_curve::ladder_public_next(curve) : kf_curve::ladder_public(curve);
  endfunction
  always_ff @(posedge clk) begin
    if (capture_i) begin
      a_q <= operand_i ^ {256{negative}};
      add_q <= addend(comb_i, operand_i[0], negative, curve_i);
      neg_q <= negative;
    end else begin
      a_q <= '0;
      add_q <= '0;
      neg_q <= 1'b0;
    end
    if (valid_i[0]) begin
      lo0_q <= {1'b0, a_q[85:0]} + {1'b0, add_q[85:0]} + {86'd0, neg_q};
      a0_q <= {{2{neg_q}}, a_q[255:86]};
      c0_q <= add_q[257:86];
      neg0_q <= neg_q;
    end
    if (valid_i[1]) begin
      lo1_q <= lo0_q[85:0];
      mid1_q <= {1'b0, a0_q[85:0]} + {1'b0, c0_q[85:0]} + {86'd0, lo0_q[86]};
      a1_q <= a0_q[171:86];
      c1_q <= c0_q[171:86];
      neg1_q <= neg0_q;
    end
    if (valid_i[2]) begin
      sum2_q <= {mid1_q[85:0], lo1_q};
      hi2_q <= a1_q + c1_q + {85'd0, mid1_q[86]};
      neg2_q <= neg1_q;
    end
    if (valid_i[3]) begin
      if (comb3_i) begin
        row_o <= {128'd0, sum[257:1]};
        for (int i = 0; i < 55; i++) if (kf_curve::comb_public_windows(curve_i) == i[5:0] + 6'd1) row_o[7 * i + 6] <= 1'b1;
      end else begin
        row_o <= {127'd0, sum ^ {1'b0, sum[257:1]}};
        row_o[378] <= sum[0];
        row_o[384] <= !neg2_q;
      end
    end
  end
endmodule
`default_nettype wire
