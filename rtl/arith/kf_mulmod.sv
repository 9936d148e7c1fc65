// Montgomery product r = a * b * 2^-256 mod m, fully reduced: one of two implementations with the same ports, results and cycles.
//
// Latency  kf_arith_pkg::mul_latency(II) for both styles: en_i sampled at clock edge t, r_o sampled at edge t + latency. In other cycles
//          r_o means nothing, and the styles differ.
// Interval en_i at most once in II cycles, always in the same phase (cycle number mod II). a_i and b_i are read only in the cycle of en_i.
// Ranges   a, b < 2^256, at least one of them < m; m odd, of any size up to 256 bits; mprime = -m^-1 mod 2^64. r < m.
//          m_i and mprime_i must not change while an operation is in flight.
// Secret   a_i, b_i, r_o. Public: en_i, m_i, mprime_i. The time is fixed and no secret reaches a control signal or an address.

`default_nettype none

module kf_mulmod #(
    // 0: pipelined, for synthesis. 1: the whole product in one cycle, for fast simulation.
    parameter int STYLE = 0,
    // Initiation interval: 1, 2 or 4 cycles (4, 2 or 1 digit units).
    parameter int II = 1,
    // Multiplier tile of the pipelined style: 26, 17, 2 for DSP48E2 (UltraScale+); 24, 17, 2 for DSP48E1 (7 series); 18, 17, 4 for ECP5.
    parameter int TA = 26,
    parameter int TB = 17,
    parameter int K = 2
) (
    input  wire logic         clk,
    input  wire logic         en_i,
    input  wire logic [255:0] a_i,
    input  wire logic [255:0] b_i,
    input  wire logic [255:0] m_i,
    input  wire logic [63:0]  mprime_i,
    output logic      [255:0] r_o
);
  generate
    if (II != 1 && II != 2 && II != 4) begin : gen_bad_ii
      kf_mulmod_needs_ii_1_2_or_4 bad ();
    end
    if (STYLE == 0) begin : gen_pipe
      kf_mulmod_pipe #(.II(II), .TA(TA), .TB(TB), .K(K)) mul (.clk, .en_i, .a_i, .b_i, .m_i, .mprime_i, .r_o);
    end else begin : gen_sim
      kf_mulmod_sim #(.II(II)) mul (.clk, .en_i, .a_i, .b_i, .m_i, .mprime_i, .r_o);
    end
  endgenerate
endmodule

`default_nettype wire
