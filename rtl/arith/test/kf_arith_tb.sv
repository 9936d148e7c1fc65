// Test top: two multipliers and two modular adders of chosen styles side by side on the same inputs, for bench_arith.cpp.
//
// Latency, interval and ranges: those of kf_mulmod and kf_addmod. Nothing here is secret.

`default_nettype none

module kf_arith_tb #(
    parameter int II = 1,
    parameter int STYLE_A = 0,
    parameter int STYLE_B = 1,
    parameter int TA = 26,
    parameter int TB = 17,
    parameter int K = 2
) (
    input  wire logic         clk,
    input  wire logic         mul_en,
    input  wire logic [255:0] mul_a,
    input  wire logic [255:0] mul_b,
    input  wire logic [255:0] mul_m,
    input  wire logic [63:0]  mul_mprime,
    output logic      [255:0] mul_r_a,
    output logic      [255:0] mul_r_b,
    input  wire logic         add_en,
    input  wire logic         add_sub,
    input  wire logic [255:0] add_x,
    input  wire logic [255:0] add_y,
    input  wire logic [255:0] add_m,
    output logic      [255:0] add_r_a,
    output logic      [255:0] add_r_b,
    output logic      [7:0]   mul_latency,
    output logic      [7:0]   add_latency,
    output logic      [7:0]   interval
);
  localparam int MUL_LATENCY = kf_arith_pkg::mul_latency(II);

  assign mul_latency = MUL_LATENCY[7:0];
  assign add_latency = kf_arith_pkg::ADD_LATENCY[7:0];
  assign interval = II[7:0];

  kf_mulmod #(.STYLE(STYLE_A), .II(II), .TA(TA), .TB(TB), .K(K)) mul_left (
      .clk, .en_i(mul_en), .a_i(mul_a), .b_i(mul_b), .m_i(mul_m), .mprime_i(mul_mprime), .r_o(mul_r_a)
  );
  kf_mulmod #(.STYLE(STYLE_B), .II(II), .TA(TA), .TB(TB), .K(K)) mul_right (
      .clk, .en_i(mul_en), .a_i(mul_a), .b_i(mul_b), .m_i(mul_m), .mprime_i(mul_mprime), .r_o(mul_r_b)
  );
  kf_addmod #(.STYLE(STYLE_A)) add_left (
      .clk, .en_i(add_en), .sub_i(add_sub), .x_i(add_x), .y_i(add_y), .m_i(add_m), .r_o(add_r_a)
  );
  kf_addmod #(.STYLE(STYLE_B)) add_right (
      .clk, .en_i(add_en), .sub_i(add_sub), .x_i(add_x), .y_i(add_y), .m_i(add_m), .r_o(add_r_b)
  );
endmodule

`default_nettype wire
