// Montgomery product r = a * b * 2^-256 mod m for fast simulation: same ports, results and cycles as kf_mulmod_pipe.
//
// Latency  kf_arith_pkg::mul_latency(II). The product is computed in the cycle of en_i and waits in a ring of 64 words.
// Ranges   a, b < 2^256, at least one of them < m, m odd; r < m.
// Secret   a_i, b_i, r_o. Not for synthesis.
//
// Written for Verilator: every partial product is 32 x 32 bits in a 64-bit variable, and slices start at multiples of 32, so that the
// C++ compiler sees native 64-bit arithmetic. Eight rounds of interleaved Montgomery with 32-bit digits; the result does not depend on
// the size of the digit.

`default_nettype none

module kf_mulmod_sim #(
    parameter int II = 1
) (
    input  wire logic         clk,
    input  wire logic         en_i,
    input  wire logic [255:0] a_i,
    input  wire logic [255:0] b_i,
    input  wire logic [255:0] m_i,
    input  wire logic [63:0]  mprime_i,
    output logic      [255:0] r_o
);
  localparam int LATENCY = kf_arith_pkg::mul_latency(II);
  localparam int BACK = LATENCY - 1;

  logic [255:0] ring [0:63];
  logic [5:0] now_q = 6'd0;
  logic [63:0] en_q = 64'd0;
  logic [255:0] r_q;

  // verilator lint_off BLKSEQ
  function automatic logic [255:0] montgomery_product(
      input logic [255:0] a, input logic [255:0] b, input logic [255:0] m, input logic [31:0] mp
  );
    logic [63:0] t0, t1, t2, t3, t4, t5, t6, t7, t8, x, y, d0, d1, d2, d3, d4, d5, d6, d7, bd, q, low;
    {t0, t1, t2, t3, t4, t5, t6, t7, t8} = 576'd0;
    for (int i = 0; i < 8; i++) begin
      bd = {32'd0, b[32*i +: 32]};
      // x carries a * b_i, y carries q * m; t stays below 2m, so the ninth limb is one bit.
      x = t0 + {32'd0, a[31:0]} * bd;
      low = {32'd0, x[31:0]};
      q = low * {32'd0, mp};
      q = {32'd0, q[31:0]};
      y = low + q * {32'd0, m[31:0]};
`define KF_LIMB(J, TJ, TL) \
      x = TJ + {32'd0, a[32*J +: 32]} * bd + {32'd0, x[63:32]}; \
      y = {32'd0, x[31:0]} + q * {32'd0, m[32*J +: 32]} + {32'd0, y[63:32]}; \
      TL = {32'd0, y[31:0]};
      `KF_LIMB(1, t1, t0)
      `KF_LIMB(2, t2, t1)
      `KF_LIMB(3, t3, t2)
      `KF_LIMB(4, t4, t3)
      `KF_LIMB(5, t5, t4)
      `KF_LIMB(6, t6, t5)
      `KF_LIMB(7, t7, t6)
`undef KF_LIMB
      y = t8 + {32'd0, x[63:32]} + {32'd0, y[63:32]};
      t7 = {32'd0, y[31:0]};
      t8 = {32'd0, y[63:32]};
    end
    d0 = t0 - {32'd0, m[31:0]};
    d1 = t1 - {32'd0, m[63:32]} - (d0 >> 63);
    d2 = t2 - {32'd0, m[95:64]} - (d1 >> 63);
    d3 = t3 - {32'd0, m[127:96]} - (d2 >> 63);
    d4 = t4 - {32'd0, m[159:128]} - (d3 >> 63);
    d5 = t5 - {32'd0, m[191:160]} - (d4 >> 63);
    d6 = t6 - {32'd0, m[223:192]} - (d5 >> 63);
    d7 = t7 - {32'd0, m[255:224]} - (d6 >> 63);
    // Not reduced only when the subtraction borrows from the ninth limb.
    montgomery_product = ((d7 >> 63) > t8) ? {t7[31:0], t6[31:0], t5[31:0], t4[31:0], t3[31:0], t2[31:0], t1[31:0], t0[31:0]}
                                   : {d7[31:0], d6[31:0], d5[31:0], d4[31:0], d3[31:0], d2[31:0], d1[31:0], d0[31:0]};
  endfunction
  // verilator lint_on BLKSEQ

  always_ff @(posedge clk) begin
    now_q <= now_q + 6'd1;
    en_q <= {en_q[62:0], en_i};
    // Where no product begins the place is cleared, until all are: no old result stays behind.
    if (en_i) ring[now_q] <= montgomery_product(a_i, b_i, m_i, mprime_i[31:0]);
    else if (en_q != '0) ring[now_q] <= '0;
    if (en_q[LATENCY-2]) r_q <= ring[now_q - BACK[5:0]];
    else if (en_q[LATENCY-1]) r_q <= '0;
  end

  assign r_o = r_q;

  // Any 32-bit digit order gives the same product, so the upper half of the constant is not needed.
  logic unused_mprime;
  assign unused_mprime = ^mprime_i[63:32];
endmodule

`default_nettype wire
