// Proof harness: one digit step of kf_mul_digit at a small width, with the pipeline registers taken out (run_arith.py does that), against
// the definition of the step.
//
// Ranges   any a, b, odd m, and any T < a + m; mprime = -m^-1 mod 2^D.

`default_nettype none

module kf_mul_digit_fv #(
    parameter int W = 23,
    parameter int D = 12,
    parameter int TA = 4,
    parameter int TB = 3,
    parameter int K = 2
) (
    input wire logic         clk,
    input wire logic [W-1:0] a,
    input wire logic [D-1:0] b,
    input wire logic [W-1:0] m,
    input wire logic [D-1:0] mprime,
    input wire logic [W:0]   t
);
  localparam int LIMBS = (W + TA - 1) / TA;
  localparam int A_SLOT = kf_arith_pkg::slot(TA);
  localparam int A_LOW = (W < TA * ((D + TA - 1) / TA)) ? W : TA * ((D + TA - 1) / TA);
  localparam int G = K * TA;
  localparam int PIECES = kf_arith_pkg::pieces(W, D, TA, K);
  localparam int U_SLOT = kf_arith_pkg::slot(G);
  localparam int SUM = D + W + 1;

  logic [LIMBS*TA-1:0] a_wide;
  logic [PIECES*G-1:0] u_wide, result;
  logic [LIMBS*A_SLOT-1:0] a_limbs;
  logic [PIECES*U_SLOT-1:0] u_pieces, out_pieces;

  assign a_wide = {{(LIMBS*TA-W){1'b0}}, a};
  assign u_wide = {{(PIECES*G-SUM){1'b0}}, t, {D{1'b0}}};

  genvar i;
  generate
    for (i = 0; i < LIMBS; i = i + 1) begin : gen_limb
      assign a_limbs[i*A_SLOT +: A_SLOT] = {{(A_SLOT-TA){1'b0}}, a_wide[i*TA +: TA]};
    end
    for (i = 0; i < PIECES; i = i + 1) begin : gen_piece
      assign u_pieces[i*U_SLOT +: U_SLOT] = {{(U_SLOT-G){1'b0}}, u_wide[i*G +: G]};
      assign result[i*G +: G] = out_pieces[i*U_SLOT +: G];
    end
  endgenerate

  kf_mul_digit #(.W(W), .D(D), .TA(TA), .TB(TB), .K(K), .STEP(kf_arith_pkg::mul_step(1))) digit (
      .clk, .m_i(m), .mprime_i(mprime), .a_low_i(a[A_LOW-1:0]), .b_i(b), .a_i(a_limbs), .u_i(u_pieces), .u_o(out_pieces)
  );

  // The definition.
  logic [D-1:0] unit, s, q;
  logic [SUM:0] ab, qm, sum;
  assign unit = m[D-1:0] * mprime;
  assign ab = {{(SUM+1-W){1'b0}}, a} * {{(SUM+1-D){1'b0}}, b};
  assign s = t[D-1:0] + ab[D-1:0];
  assign q = s * mprime;
  assign qm = {{(SUM+1-W){1'b0}}, m} * {{(SUM+1-D){1'b0}}, q};
  assign sum = ab + qm + {{(SUM-W){1'b0}}, t};

  always_comb begin
    assume (unit == {D{1'b1}});
    assume ({1'b0, t} < {2'b0, a} + {2'b0, m});
    // Exact division, the result, and its bound: with a < m this is T < 2m gives T' < 2m.
    assert (sum[D-1:0] == '0);
    assert (result[SUM-1:D] == sum[SUM-1:D]);
    assert ({1'b0, result[SUM-1:D]} < {2'b0, a} + {2'b0, m});
  end
endmodule

`default_nettype wire
