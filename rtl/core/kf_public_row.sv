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
  // What is added, known from these four bits: 0 or n (comb), m n or (m + 1) n (ladder). negative: what is added to it is -a.
  typedef struct packed {
    logic comb;
    logic odd;
    logic negative;
    logic curve;
  } kind_t;
  function automatic logic [257:0] addend(input kind_t of);
    if (of.comb) addend = of.odd ? 258'd0 : {2'd0, kf_curve::n(of.curve)};
    else addend = of.negative ? kf_curve::ladder_public_next(of.curve) : kf_curve::ladder_public(of.curve);
  endfunction
  kind_t        kind_q;
  kind_t        kind0_q;
  kind_t        kind1_q;
  logic         negative2_q;
  logic [255:0] a_q;
  logic [86:0]  lo0_q;
  logic [169:0] a0_q;
  logic [85:0]  lo1_q;
  logic [86:0]  mid1_q;
  logic [83:0]  a1_q;
  logic [171:0] sum2_q;
  logic [85:0]  hi2_q;
  logic [85:0]  low;   // of what is added
  logic [85:0]  mid;
  logic [85:0]  high;
  logic [257:0] sum;
  assign low = 86'(addend(kind_q));
  assign mid = 86'(addend(kind0_q) >> 86);
  assign high = 86'(addend(kind1_q) >> 172);
  assign sum = {hi2_q, sum2_q};
  always_ff @(posedge clk) begin
    if (capture_i) begin
      a_q <= operand_i;
      kind_q <= {comb_i, operand_i[0], !comb_i && operand_i[255], curve_i};
    end else begin
      a_q <= '0;
      kind_q <= '0;
    end
    if (valid_i[0]) begin
      lo0_q <= {1'b0, a_q[85:0] ^ {86{kind_q.negative}}} + {1'b0, low} + {86'd0, kind_q.negative};
      a0_q <= a_q[255:86];
      kind0_q <= kind_q;
    end
    if (valid_i[1]) begin
      lo1_q <= lo0_q[85:0];
      mid1_q <= {1'b0, a0_q[85:0] ^ {86{kind0_q.negative}}} + {1'b0, mid} + {86'd0, lo0_q[86]};
      a1_q <= a0_q[169:86];
      kind1_q <= kind0_q;
    end
    if (valid_i[2]) begin
      sum2_q <= {mid1_q[85:0], lo1_q};
      hi2_q <= ({2'd0, a1_q} ^ {86{kind1_q.negative}}) + high + {85'd0, mid1_q[86]};
      negative2_q <= kind1_q.negative;
    end
    if (valid_i[3]) begin
      if (comb3_i) begin
        row_o <= {128'd0, sum[257:1]};
        for (int i = 0; i < 55; i++) if (kf_curve::comb_public_windows(curve_i) == i[5:0] + 6'd1) row_o[7 * i + 6] <= 1'b1;
      end else begin
        row_o <= {127'd0, sum ^ {1'b0, sum[257:1]}};
        row_o[378] <= sum[0];
        row_o[384] <= !negative2_q;
      end
    end
  end
endmodule
`default_nettype wire
