// Montgomery product r = a * b * 2^-W mod m, pipelined: the multiplier for synthesis.
//
// Latency  kf_arith_pkg::mul_latency(II): en_i sampled at clock edge t, r_o sampled at edge t + latency.
// Interval en_i at most once in II cycles, always in the same phase; a_i and b_i are read only then.
// Ranges   a, b < 2^W, at least one of them < m; m odd; mprime = -m^-1 mod 2^D. r < m. m_i, mprime_i steady while anything is in flight.
// Secret   a_i, b_i, r_o. Public: en_i, m_i, mprime_i.
//
// W / D digit steps (kf_mul_digit), then one subtraction of m. With II = 1 every step has its unit; with II = 2 or 4 an operation
// passes each unit II times in a row. Operands travel beside it: limb by limb in the time the unit wants them, STEP cycles a step.

`default_nettype none

module kf_mulmod_pipe #(
    parameter int II = 1,
    // Less than 256 bits and other digits are for formal proofs only; W / D steps must be a multiple of II.
    parameter int W = 256,
    parameter int D = 64,
    // Tiles: 26 x 17 for DSP48E2, 24 x 17 for DSP48E1 (K = 2); 18 x 17 for ECP5 (K = 4).
    parameter int TA = 26,
    parameter int TB = 17,
    parameter int K = 2
) (
    input  wire logic         clk,
    input  wire logic         en_i,
    input  wire logic [W-1:0] a_i,
    input  wire logic [W-1:0] b_i,
    input  wire logic [W-1:0] m_i,
    input  wire logic [D-1:0] mprime_i,
    output logic      [W-1:0] r_o
);
  localparam int STEP = kf_arith_pkg::mul_step(II);
  localparam int STEPS = W / D;
  localparam int UNITS = STEPS / II;
  localparam int LIMBS = (W + TA - 1) / TA;
  localparam int A_SLOT = kf_arith_pkg::slot(TA);
  localparam int A_LOW = (W < TA * ((D + TA - 1) / TA)) ? W : TA * ((D + TA - 1) / TA);
  localparam int G = K * TA;
  localparam int PIECES = kf_arith_pkg::pieces(W, D, TA, K);
  localparam int FIRST = D / G;
  localparam int U_SLOT = kf_arith_pkg::slot(G);
  localparam int LATENCY = kf_arith_pkg::mul_latency(II) - (4 - STEPS) * STEP;
  // The last piece of the last sum stands in cycle 4 + STEPS * STEP - 2 + PIECES - 1, counted from en_i; then subtract, then choose.
  localparam int SPARE = LATENCY - (4 + (STEPS - 1) * STEP + 9 + PIECES - 1 + 2);
  // Longest wait of a limb for its place in the pipeline.
  localparam int EN_LAST = (STEPS - 1) * STEP + 8 + PIECES;

  genvar u, c, n;

  // en_q[k]: en_i of k cycles before. Tells which cycles bring a unit a new operation and which an operation that comes round.
  // verilator lint_off UNUSEDSIGNAL
  logic [EN_LAST:0] en_d;
  // verilator lint_on UNUSEDSIGNAL
  generate
    if (STEPS * D != W || UNITS * II != STEPS || SPARE < 0 || (II > 1 && STEP % 2 == 0)) begin : gen_bad_size
      kf_mulmod_pipe_cannot_have_this_size bad ();
    end
    if (II > 1) begin : gen_en
      logic [EN_LAST-1:0] en_q;
      always_ff @(posedge clk) en_q <= en_d[EN_LAST-1:0];
      assign en_d = {en_q, en_i};
    end else begin : gen_always
      logic unused_en;
      assign unused_en = en_i;
      assign en_d = '1;
    end
  endgenerate

  // ------------------------------------------------------------------------------------------------ operands
  // Per unit: what it works on (*_of), and what that was STEP cycles ago (*_late): handed to the next unit, or back to itself.
  // Limbs and pieces lie in slots of a multiple of 32 bits, not all of a slot and not the lines of the last unit are used.
  localparam int A_BITS = LIMBS * A_SLOT;
  localparam int U_BITS = PIECES * U_SLOT;
  // verilator lint_off UNUSEDSIGNAL
  logic [A_BITS-1:0] a_enter;
  logic [UNITS*A_BITS-1:0] a_of, a_late;
  logic [UNITS*A_LOW-1:0] low_of, low_late;
  logic [UNITS*W-1:0] b_of, b_late;
  logic [UNITS*U_BITS-1:0] u_of, u_out;
  // verilator lint_on UNUSEDSIGNAL

  generate
    // The first unit wants limb c of a 8 + c / K cycles after en_i.
    for (n = 0; n * K < LIMBS; n = n + 1) begin : gen_enter
      localparam int FROM = n * G;
      localparam int BITS = ((n + 1) * G < W ? (n + 1) * G : W) - FROM;
      // The last piece may have fewer limbs.
      // verilator lint_off UNUSEDSIGNAL
      logic [G-1:0] piece;
      // verilator lint_on UNUSEDSIGNAL
      if (BITS < G) begin : gen_short
        assign piece[G-1:BITS] = '0;
      end
      kf_delay #(.WIDTH(BITS), .DEPTH(8 + n)) line (.clk, .d_i(a_i[FROM +: BITS]), .d_o(piece[BITS-1:0]));
      for (c = n * K; c < n * K + K && c < LIMBS; c = c + 1) begin : gen_limb
        assign a_enter[c*A_SLOT +: A_SLOT] = {{(A_SLOT-TA){1'b0}}, piece[(c-n*K)*TA +: TA]};
      end
    end

    for (u = 0; u < UNITS; u = u + 1) begin : gen_unit
      // Cycle after en_i in which the first pass of this unit begins.
      localparam int AT = u * II * STEP;
      logic [A_BITS-1:0] a_new;
      logic [A_LOW-1:0] low_new;
      logic [W-1:0] b_new;
      logic [U_BITS-1:0] u_new;
      if (u == 0) begin : gen_first
        assign a_new = a_enter;
        assign low_new = a_i[A_LOW-1:0];
        assign b_new = b_i;
        assign u_new = '0;
      end else begin : gen_later
        assign a_new = a_late[(u-1)*A_BITS +: A_BITS];
        assign low_new = low_late[(u-1)*A_LOW +: A_LOW];
        assign b_new = {{D{1'b0}}, b_late[(u-1)*W+D +: W-D]};
        assign u_new = u_out[(u-1)*U_BITS +: U_BITS];
      end

      if (II == 1) begin : gen_straight
        assign a_of[u*A_BITS +: A_BITS] = a_new;
        assign low_of[u*A_LOW +: A_LOW] = low_new;
        assign b_of[u*W +: W] = b_new;
        assign u_of[u*U_BITS +: U_BITS] = u_new;
      end else begin : gen_ring
        for (n = 0; n * K < LIMBS; n = n + 1) begin : gen_a
          localparam int BITS = ((n + 1) * K < LIMBS ? K : LIMBS - n * K) * A_SLOT;
          assign a_of[u*A_BITS+n*K*A_SLOT +: BITS] = en_d[AT+8+n] ? a_new[n*K*A_SLOT +: BITS] : a_late[u*A_BITS+n*K*A_SLOT +: BITS];
        end
        assign low_of[u*A_LOW +: A_LOW] = en_d[AT] ? low_new : low_late[u*A_LOW +: A_LOW];
        assign b_of[u*W +: W] = en_d[AT] ? b_new : {{D{1'b0}}, b_late[u*W+D +: W-D]};
        for (n = 0; n < PIECES; n = n + 1) begin : gen_u
          assign u_of[u*U_BITS+n*U_SLOT +: U_SLOT] =
              en_d[AT+13-STEP+n] ? u_new[n*U_SLOT +: U_SLOT] : u_out[u*U_BITS+n*U_SLOT +: U_SLOT];
        end
      end

      if (II > 1 || u < UNITS - 1) begin : gen_line
        kf_delay #(.WIDTH(A_BITS), .DEPTH(STEP)) a_line (.clk, .d_i(a_of[u*A_BITS +: A_BITS]), .d_o(a_late[u*A_BITS +: A_BITS]));
        kf_delay #(.WIDTH(A_LOW), .DEPTH(STEP)) low_line (.clk, .d_i(low_of[u*A_LOW +: A_LOW]), .d_o(low_late[u*A_LOW +: A_LOW]));
        // Digits already used need not travel on.
        localparam int USED = (u * II + 1) * D;
        localparam int REST = (USED < W) ? W - USED : 1;
        assign b_late[u*W +: D] = '0;
        if (USED < W) begin : gen_rest
          kf_delay #(.WIDTH(REST), .DEPTH(STEP)) b_line (.clk, .d_i(b_of[u*W+D +: REST]), .d_o(b_late[u*W+D +: REST]));
          if (USED > D) begin : gen_gone
            assign b_late[(u+1)*W-1:u*W+D+REST] = '0;
          end
        end else begin : gen_no_rest
          assign b_late[(u+1)*W-1:u*W+D] = '0;
        end
      end else begin : gen_no_line
        assign a_late[u*A_BITS +: A_BITS] = '0;
        assign low_late[u*A_LOW +: A_LOW] = '0;
        assign b_late[u*W +: W] = '0;
      end

      kf_mul_digit #(.W(W), .D(D), .TA(TA), .TB(TB), .K(K), .STEP(STEP)) digit (
          .clk, .m_i, .mprime_i,
          .a_low_i(low_of[u*A_LOW +: A_LOW]),
          .b_i(b_of[u*W +: D]),
          .a_i(a_of[u*A_BITS +: A_BITS]),
          .u_i(u_of[u*U_BITS +: U_BITS]),
          .u_o(u_out[u*U_BITS +: U_BITS])
      );
    end
  endgenerate

  // ------------------------------------------------------------------------------------------------ t - m or t
  // t is u_out of the last step from bit D on, below 2m. Piece p is subtracted the cycle after it came; the last borrow chooses.
  logic [PIECES:FIRST] borrow;
  logic [W-1:0] t_wait, d_wait, r_q;

  assign borrow[FIRST] = 1'b0;
  generate
    for (n = FIRST; n < PIECES; n = n + 1) begin : gen_minus
      localparam int LO = (n * G < D) ? D : n * G;
      localparam int HI = ((n + 1) * G < D + W + 1) ? (n + 1) * G : D + W + 1;
      localparam int M_HI = (HI < D + W) ? HI : D + W;
      logic [HI-LO-1:0] t, m;
      logic [HI-LO:0] d_q;
      assign t = u_out[(UNITS-1)*U_BITS+n*U_SLOT+LO-n*G +: HI-LO];
      if (HI > M_HI) begin : gen_top
        assign m[HI-LO-1:M_HI-LO] = '0;
      end
      assign m[M_HI-LO-1:0] = m_i[M_HI-D-1:LO-D];
      always_ff @(posedge clk) d_q <= {1'b0, t} - {1'b0, m} - {{(HI-LO){1'b0}}, borrow[n]};
      assign borrow[n+1] = d_q[HI-LO];
      kf_delay #(.WIDTH(M_HI - LO), .DEPTH(PIECES - n)) t_line (.clk, .d_i(t[M_HI-LO-1:0]), .d_o(t_wait[M_HI-D-1:LO-D]));
      kf_delay #(.WIDTH(M_HI - LO), .DEPTH(PIECES - 1 - n)) d_line (.clk, .d_i(d_q[M_HI-LO-1:0]), .d_o(d_wait[M_HI-D-1:LO-D]));
    end
  endgenerate

  always_ff @(posedge clk) r_q <= borrow[PIECES] ? t_wait : d_wait;

  kf_delay #(.WIDTH(W), .DEPTH(SPARE)) r_line (.clk, .d_i(r_q), .d_o(r_o));
endmodule

`default_nettype wire
