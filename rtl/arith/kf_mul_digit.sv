// One digit of a Montgomery product: T' = (T + a * b + q * m) / 2^D with q = -(T + a * b) / m mod 2^D, for one D-bit digit b.
//
// Latency  T to T' in STEP cycles, one step a cycle. Everything is cut into pieces of K limbs; piece n is worked on n cycles after piece 0.
//          Times are counted from the cycle in which the low D bits of T are used:
//            a_low_i, b_i            cycle -4
//            u_i, piece p            cycle p + 9 - STEP   (the u_o of the unit before, STEP cycles on)
//            a_i, limbs of piece n   cycle 4 + n
//            u_o, piece p            cycle 9 + p
// Ranges   a < 2^W, b < 2^D, m odd, m < 2^W, m * mprime = -1 mod 2^D. u is T * 2^D: its bits below D are not looked at. T < a + m gives
//          T' < a + m; when b (all digits) or a is below m, the last T' is below 2m.
// Secret   a, b, T. Public: m, mprime.
//
// What happens when:
//   -4  the tiles of a * b that start below bit D, summed by 0 (kf_mul_low)
//    0  their sum plus the low part of T gives s = T + a * b mod 2^D, all of it known by 2
//    1  q = s * mprime mod 2^D by 5 (kf_mul_low)
//    4  the other tiles of a * b, plus the limb of T that starts where they start; 5: plus the tile of q * m at the same place: one
//       multiply-add each, as in one DSP block
//    6  rows: the tiles for one limb of b and q; 7: two pairs of rows; 8: all. A carry enters the next piece a cycle later.
//
// The low D bits of the sum are zero, so they are not computed; only their carry is needed. Everything below bit LOW of every term, and the
// tiles of q * m that end at bit D - 4 or below, are left out: together less than 15 * 2^(D-4). Adding the constant 15 * 2^(D-4) therefore
// gives the right carry, whatever was left out. (The conditions for that are checked below.)

`default_nettype none

module kf_mul_digit #(
    parameter int W = 256,
    parameter int D = 64,
    // Tile: limbs of a and m have TA bits, those of b and q TB bits. Four limbs of TB bits make a digit.
    parameter int TA = 26,
    parameter int TB = 17,
    // Limbs in a piece, even: K * TA bits are the longest addition of the rows.
    parameter int K = 2,
    parameter int STEP = 11,
    localparam int LIMBS = kf_arith_pkg::ceil_div(W, TA),
    localparam int A_SLOT = kf_arith_pkg::slot(TA),
    localparam int A_LOW = (W < TA * ((D + TA - 1) / TA)) ? W : TA * ((D + TA - 1) / TA),
    localparam int G = K * TA,
    localparam int PIECES = kf_arith_pkg::pieces(W, D, TA, K),
    localparam int U_SLOT = kf_arith_pkg::slot(G)
) (
    input  wire logic                     clk,
    input  wire logic [W-1:0]             m_i,
    input  wire logic [D-1:0]             mprime_i,
    input  wire logic [A_LOW-1:0]         a_low_i,
    input  wire logic [D-1:0]             b_i,
    // Limbs and pieces lie in slots of a multiple of 32 bits; the rest of a slot is not used.
    // verilator lint_off UNUSEDSIGNAL
    input  wire logic [LIMBS*A_SLOT-1:0]  a_i,
    input  wire logic [PIECES*U_SLOT-1:0] u_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic      [PIECES*U_SLOT-1:0] u_o
);
  localparam int FIRST = D / G;
  localparam int LOW = FIRST * G;
  // Time of piece 0 of u_i.
  localparam int U_TIME = 9 - STEP;
  // Limbs (of the sum) that the low sum covers.
  localparam int LOW_SUM = kf_arith_pkg::low_bits(W, D, TA, TB);
  localparam int LOW_LIMBS = (LOW_SUM + TA - 1) / TA;
  localparam int LOW_BITS = LOW_LIMBS * TA;
  localparam int A_PIECES = kf_arith_pkg::ceil_div(LIMBS, K);
  localparam int TILE = TA + TB + 1;
  localparam int T_SLOT = 2 * TA;
  localparam int ROUND = kf_arith_pkg::round_tile(W, D, TA, TB);
  // Pieces of a row and of a pair of rows, from their own lowest bit.
  localparam int ROW_PIECES = kf_arith_pkg::ceil_div(LIMBS * TA + TB + 1, G);
  localparam int PAIR_PIECES = kf_arith_pkg::ceil_div(LIMBS * TA + 2 * TB + 2, G);

  genvar c, j, n;
  generate
    if (4 * TB < D || 3 * TB >= D || TB >= TA || K % 2 != 0 || 2 * TB >= G || FIRST > 1 || LOW_LIMBS >= LIMBS ||
        W + 1 > A_PIECES * G || W + 1 > TA * (LIMBS + 1) || D - ROUND / 256 * TA - ROUND % 256 * TB >= TA + TB) begin : gen_bad_size
      kf_mul_digit_cannot_have_this_size bad ();
    end
    if (kf_arith_pkg::low_sum_fits(W, D, TA, TB, LOW_SUM) == 0) begin : gen_bad_low
      kf_mul_digit_low_sum_too_wide bad ();
    end
    // What is left out: at most 11 tiles below 2^(D-4) each, and four terms below 2^LOW each.
    if (kf_arith_pkg::left_out(W, D, TA, TB) > 11 || LOW > D - 4) begin : gen_bad_rounding
      kf_mul_digit_leaves_out_too_much bad ();
    end
    if (U_TIME + (2 * D - 1) / G > 0 || U_TIME + (D + LOW_BITS - 1) / G > 1 || 4 + FIRST < 2) begin : gen_bad_time
      kf_mul_digit_step_too_short bad ();
    end
  endgenerate

  // ------------------------------------------------------------------------------------------------ low part and q
  // The pieces of u that hold the low LOW_BITS of T, copies up to two cycles old.
  // verilator lint_off UNUSEDSIGNAL
  logic [LOW_BITS-1:0] low_sum;
  // verilator lint_on UNUSEDSIGNAL
  logic [D-1:0] t_low;
  logic [LOW_BITS-D-1:0] t_high, sum_high_q;
  logic [D:0] s_low_q;
  logic [LOW_BITS-D:0] s_high_q;
  logic [D-1:0] q;

  generate
    // Field of u from bit LO on, BITS long, needed at cycle AT: each piece of it waits until then.
    for (n = 0; n < PIECES; n = n + 1) begin : gen_low
      localparam int FROM = kf_arith_pkg::max_int(n * G, D);
      localparam int TO = kf_arith_pkg::min_int((n + 1) * G, 2 * D);
      if (TO > FROM) begin : gen_use
        kf_delay #(.WIDTH(TO - FROM), .DEPTH(-U_TIME - n)) line (
            .clk, .d_i(u_i[n*U_SLOT+FROM-n*G +: TO-FROM]), .d_o(t_low[FROM-D +: TO-FROM])
        );
      end
    end
    for (n = 0; n < PIECES; n = n + 1) begin : gen_high
      localparam int FROM = kf_arith_pkg::max_int(n * G, 2 * D);
      localparam int TO = kf_arith_pkg::min_int((n + 1) * G, D + LOW_BITS);
      if (TO > FROM) begin : gen_use
        kf_delay #(.WIDTH(TO - FROM), .DEPTH(1 - U_TIME - n)) line (
            .clk, .d_i(u_i[n*U_SLOT+FROM-n*G +: TO-FROM]), .d_o(t_high[FROM-2*D +: TO-FROM])
        );
      end
    end
  endgenerate

  kf_mul_low #(.D(D), .XW(A_LOW), .PW(LOW_BITS), .TA(TA), .TB(TB)) low_ab (.clk, .x_i(a_low_i), .y_i(b_i), .p_o(low_sum));

  always_ff @(posedge clk) begin
    s_low_q <= {1'b0, t_low} + {1'b0, low_sum[D-1:0]};
    sum_high_q <= low_sum[LOW_BITS-1:D];
    s_high_q <= {1'b0, t_high} + {1'b0, sum_high_q} + {{(LOW_BITS-D){1'b0}}, s_low_q[D]};
  end

  kf_mul_low #(.D(D), .XW(D), .PW(D), .TA(TA), .TB(TB)) low_q (.clk, .x_i(s_low_q[D-1:0]), .y_i(mprime_i), .p_o(q));

  // ------------------------------------------------------------------------------------------------ what the pieces need, in their time
  logic [D-1:0] b_late;
  logic [A_PIECES*D-1:0] b_at, q_at;  // b at 4 + n, q at 5 + n
  // T, from limb 0 on, at 4 + n; of the limbs of the low sum only what they got from there.
  // verilator lint_off UNUSEDSIGNAL
  logic [A_PIECES*G-1:0] t_at;
  // verilator lint_on UNUSEDSIGNAL
  logic carry_late;

  kf_delay #(.WIDTH(D), .DEPTH(8)) b_line (.clk, .d_i(b_i), .d_o(b_late));
  assign b_at[D-1:0] = b_late;
  assign q_at[D-1:0] = q;
  generate
    for (n = 1; n < A_PIECES; n = n + 1) begin : gen_digit_at
      logic [D-1:0] b_q, q_q;
      always_ff @(posedge clk) begin
        b_q <= b_at[(n-1)*D +: D];
        q_q <= q_at[(n-1)*D +: D];
      end
      assign b_at[n*D +: D] = b_q;
      assign q_at[n*D +: D] = q_q;
    end

    for (n = 0; n < A_PIECES; n = n + 1) begin : gen_t_at
      // From the low sum: bits LOW_FROM to LOW_TO of T, of the digit itself from bit LOW on.
      localparam int LOW_FROM = kf_arith_pkg::max_int(n * G, LOW);
      localparam int LOW_TO = kf_arith_pkg::min_int((n + 1) * G, LOW_BITS);
      localparam int MID = kf_arith_pkg::max_int(LOW_FROM, D);
      localparam int FROM = kf_arith_pkg::max_int(n * G, LOW_BITS);
      localparam int TO = kf_arith_pkg::min_int((n + 1) * G, W + 1);
      if (n * G < LOW) begin : gen_nothing
        assign t_at[n*G +: kf_arith_pkg::min_int(G, LOW - n * G)] = '0;
      end
      if (LOW_TO > LOW_FROM && LOW_FROM < D) begin : gen_digit
        kf_delay #(.WIDTH(kf_arith_pkg::min_int(LOW_TO, D) - LOW_FROM), .DEPTH(3 + n)) line (
            .clk, .d_i(s_low_q[kf_arith_pkg::min_int(LOW_TO, D)-1:LOW_FROM]), .d_o(t_at[kf_arith_pkg::min_int(LOW_TO, D)-1:LOW_FROM])
        );
      end
      if (LOW_TO > MID) begin : gen_high
        kf_delay #(.WIDTH(LOW_TO - MID), .DEPTH(2 + n)) line (
            .clk, .d_i(s_high_q[LOW_TO-D-1:MID-D]), .d_o(t_at[LOW_TO-1:MID])
        );
      end
      if (TO > FROM) begin : gen_top
        // Bits FROM to TO of T come from one or two pieces of u; the later one sets the time from which they wait together.
        localparam int P_LOW = (D + FROM) / G;
        localparam int P_HIGH = (D + TO - 1) / G;
        localparam int CUT = P_HIGH * G - D;
        logic [TO-FROM-1:0] field;
        if (P_HIGH == P_LOW) begin : gen_one
          assign field = u_i[P_LOW*U_SLOT+D+FROM-P_LOW*G +: TO-FROM];
        end else begin : gen_two
          assign field[TO-FROM-1:CUT-FROM] = u_i[P_HIGH*U_SLOT +: TO-CUT];
          kf_delay #(.WIDTH(CUT - FROM), .DEPTH(1)) line (
              .clk, .d_i(u_i[P_LOW*U_SLOT+D+FROM-P_LOW*G +: CUT-FROM]), .d_o(field[CUT-FROM-1:0])
          );
        end
        kf_delay #(.WIDTH(TO - FROM), .DEPTH(4 + n - U_TIME - P_HIGH)) line (.clk, .d_i(field), .d_o(t_at[TO-1:FROM]));
      end
      if ((n + 1) * G > W + 1) begin : gen_end
        assign t_at[(n+1)*G-1:kf_arith_pkg::max_int(W + 1, n * G)] = '0;
      end
    end
  endgenerate
  kf_delay #(.WIDTH(1), .DEPTH(2 + LOW_LIMBS / K)) carry_line (.clk, .d_i(s_high_q[LOW_BITS-D]), .d_o(carry_late));

  // ------------------------------------------------------------------------------------------------ tiles
  // Tile (c, j) of a * b + q * m, with T, at 6 + its piece: slot j * LIMBS + c.
  logic [4*LIMBS*T_SLOT-1:0] tiles;

  generate
    for (c = 0; c < LIMBS; c = c + 1) begin : gen_limb
      for (j = 0; j < 4; j = j + 1) begin : gen_tile
        localparam int AT = c * TA + j * TB;
        localparam int WA = kf_arith_pkg::min_int(TA, W - c * TA);
        localparam int WB = kf_arith_pkg::min_int(TB, D - j * TB);
        localparam int TT = (c == LIMBS - 1) ? W + 1 - c * TA : TA;
        localparam bit HAS_AB = AT >= D;
        localparam bit HAS_QM = AT + WA + WB > D - 4;
        localparam bit HAS_T = j == 0 && AT >= LOW;
        localparam bit HAS_ROUND = c == ROUND / 256 && j == ROUND % 256;
        logic [TILE-1:0] first, second, constant;
        if (HAS_ROUND) begin : gen_round
          assign constant = {{(TILE-4){1'b0}}, 4'hf} << (D - 4 - AT);
        end else begin : gen_no_round
          assign constant = '0;
        end
        if (HAS_AB || HAS_T) begin : gen_first
          logic [TILE-1:0] term_a, term_b, term_t, first_q;
          logic carry;
          if (HAS_AB) begin : gen_product
            assign term_a = {{(TILE-WA){1'b0}}, a_i[c*A_SLOT +: WA]};
            assign term_b = {{(TILE-WB){1'b0}}, b_at[(c/K)*D+j*TB +: WB]};
          end else begin : gen_no_product
            assign term_a = '0;
            assign term_b = '0;
          end
          if (HAS_T) begin : gen_t
            assign term_t = {{(TILE-TT){1'b0}}, t_at[c*TA +: TT]};
          end else begin : gen_no_t
            assign term_t = '0;
          end
          assign carry = (j == 0 && c == LOW_LIMBS) ? carry_late : 1'b0;
          always_ff @(posedge clk) first_q <= term_a * term_b + term_t + {{(TILE-1){1'b0}}, carry};
          assign first = first_q;
        end else begin : gen_no_first
          assign first = '0;
        end
        if (HAS_QM) begin : gen_second
          logic [TILE-1:0] term_m, term_q, second_q;
          assign term_m = {{(TILE-WA){1'b0}}, m_i[c*TA +: WA]};
          assign term_q = {{(TILE-WB){1'b0}}, q_at[(c/K)*D+j*TB +: WB]};
          always_ff @(posedge clk) second_q <= term_m * term_q + first + constant;
          assign second = second_q;
        end else begin : gen_no_second
          assign second = '0;
          logic unused_terms;
          assign unused_terms = ^{first, constant};
        end
        assign tiles[(j*LIMBS+c)*T_SLOT +: TILE] = second;
        if (T_SLOT > TILE) begin : gen_gap
          assign tiles[(j*LIMBS+c)*T_SLOT+TILE +: T_SLOT-TILE] = '0;
        end
      end
    end
  endgenerate

  // ------------------------------------------------------------------------------------------------ rows
  localparam int R_SLOT = kf_arith_pkg::slot(G + 1);
  // Slots hold G + 1 bits: a piece and its carry. Some top bits of one piece go into the next one, a cycle later: *_over.
  // Not all slots and not all of a slot is used.
  // verilator lint_off UNUSEDSIGNAL
  logic [4*ROW_PIECES*R_SLOT-1:0] rows;
  logic [2*PIECES*R_SLOT-1:0] pairs;
  logic [4*(ROW_PIECES+1)*A_SLOT-1:0] odd_over;
  logic [2*(PIECES+1)*A_SLOT-1:0] row_over;
  logic [(PIECES+1)*U_SLOT-1:0] pair_over;
  logic [PIECES:FIRST] carries;
  // verilator lint_on UNUSEDSIGNAL

  generate
    for (j = 0; j < 4; j = j + 1) begin : gen_row
      assign odd_over[j*(ROW_PIECES+1)*A_SLOT +: A_SLOT] = '0;
      for (n = 0; n < ROW_PIECES; n = n + 1) begin : gen_piece
        logic [G-1:0] even, odd;
        logic [TA-1:0] over_q;
        logic [G:0] sum_q;
        logic carry;
        for (c = 0; c < K; c = c + 1) begin : gen_limb
          logic [T_SLOT-1:0] tile;
          if (n * K + c < LIMBS) begin : gen_tile
            assign tile = tiles[(j*LIMBS+n*K+c)*T_SLOT +: T_SLOT];
          end else begin : gen_none
            assign tile = '0;
          end
          if (c % 2 == 0) begin : gen_even
            assign even[c*TA +: T_SLOT] = tile;
          end else if (c < K - 1) begin : gen_odd
            assign odd[c*TA +: T_SLOT] = tile;
          end else begin : gen_last
            assign odd[c*TA +: TA] = tile[TA-1:0];
            always_ff @(posedge clk) over_q <= tile[T_SLOT-1:TA];
          end
        end
        assign odd[TA-1:0] = odd_over[(j*(ROW_PIECES+1)+n)*A_SLOT +: TA];
        assign odd_over[(j*(ROW_PIECES+1)+n+1)*A_SLOT +: A_SLOT] = {{(A_SLOT-TA){1'b0}}, over_q};
        if (n == 0) begin : gen_first
          assign carry = 1'b0;
        end else begin : gen_later
          assign carry = rows[(j*ROW_PIECES+n-1)*R_SLOT+G];
        end
        always_ff @(posedge clk) sum_q <= {1'b0, even} + {1'b0, odd} + {{G{1'b0}}, carry};
        assign rows[(j*ROW_PIECES+n)*R_SLOT +: R_SLOT] = {{(R_SLOT-G-1){1'b0}}, sum_q};
      end
    end

    for (j = 0; j < 2; j = j + 1) begin : gen_pair
      assign row_over[j*(PIECES+1)*A_SLOT +: A_SLOT] = '0;
      for (n = 0; n < PIECES; n = n + 1) begin : gen_piece
        // The lower pair is not needed below bit LOW.
        if (n < PAIR_PIECES && (j == 1 || n >= FIRST)) begin : gen_used
          logic [G-1:0] low, high;
          logic [G:0] sum_q;
          logic carry;
          if (n < ROW_PIECES) begin : gen_row
            assign low = rows[(2*j*ROW_PIECES+n)*R_SLOT +: G];
            assign high[G-1:TB] = rows[((2*j+1)*ROW_PIECES+n)*R_SLOT +: G-TB];
          end else begin : gen_end
            assign low = '0;
            assign high[G-1:TB] = '0;
          end
          assign high[TB-1:0] = row_over[(j*(PIECES+1)+n)*A_SLOT +: TB];
          if (n == 0 || (j == 0 && n == FIRST)) begin : gen_first
            assign carry = 1'b0;
          end else begin : gen_later
            assign carry = pairs[(j*PIECES+n-1)*R_SLOT+G];
          end
          always_ff @(posedge clk) sum_q <= {1'b0, low} + {1'b0, high} + {{G{1'b0}}, carry};
          assign pairs[(j*PIECES+n)*R_SLOT +: R_SLOT] = {{(R_SLOT-G-1){1'b0}}, sum_q};
        end else begin : gen_unused
          assign pairs[(j*PIECES+n)*R_SLOT +: R_SLOT] = '0;
        end
        if (n < ROW_PIECES) begin : gen_over
          logic [TB-1:0] over_q;
          always_ff @(posedge clk) over_q <= rows[((2*j+1)*ROW_PIECES+n)*R_SLOT+G-TB +: TB];
          assign row_over[(j*(PIECES+1)+n+1)*A_SLOT +: A_SLOT] = {{(A_SLOT-TB){1'b0}}, over_q};
        end else begin : gen_no_over
          assign row_over[(j*(PIECES+1)+n+1)*A_SLOT +: A_SLOT] = '0;
        end
      end
    end

    assign pair_over[U_SLOT-1:0] = '0;
    assign carries[FIRST] = 1'b0;
    for (n = 0; n < PIECES; n = n + 1) begin : gen_sum
      logic [2*TB-1:0] over_q;
      always_ff @(posedge clk) over_q <= pairs[(PIECES+n)*R_SLOT+G-2*TB +: 2*TB];
      assign pair_over[(n+1)*U_SLOT +: U_SLOT] = {{(U_SLOT-2*TB){1'b0}}, over_q};
      if (n < FIRST) begin : gen_left_out
        assign u_o[n*U_SLOT +: U_SLOT] = '0;
      end else begin : gen_piece
        logic [G-1:0] low, high;
        logic [G:0] sum_q;
        assign low = pairs[n*R_SLOT +: G];
        assign high = {pairs[(PIECES+n)*R_SLOT +: G-2*TB], pair_over[n*U_SLOT +: 2*TB]};
        always_ff @(posedge clk) sum_q <= {1'b0, low} + {1'b0, high} + {{G{1'b0}}, carries[n]};
        assign u_o[n*U_SLOT +: U_SLOT] = {{(U_SLOT-G){1'b0}}, sum_q[G-1:0]};
        assign carries[n+1] = sum_q[G];
      end
    end
  endgenerate
endmodule

`default_nettype wire
