// The part of x * y that D-bit Montgomery digits need: the sum of all tiles x_c * y_j that start below bit D, c * TA + j * TB < D.
//
// Latency  4 cycles, one pair a cycle.
// Ranges   x < 2^XW, y < 2^D; p is that sum modulo 2^PW. Its low D bits are those of x * y.
// Secret   x_i, y_i and p_o may be.
//
// x is cut into limbs of TA bits and y into four of TB bits, the size of one DSP multiplier. One cycle for the products, one to add the
// tiles of each limb of y, two to add the four rows.

`default_nettype none

module kf_mul_low #(
    parameter int D = 64,
    parameter int XW = 64,
    parameter int PW = 64,
    parameter int TA = 26,
    parameter int TB = 17
) (
    input  wire logic          clk,
    input  wire logic [XW-1:0] x_i,
    input  wire logic [D-1:0]  y_i,
    output logic      [PW-1:0] p_o
);
  // Row j holds the sum for limb j of y, from bit j * TB of p. Slots are of one width, but not all are full.
  // verilator lint_off UNUSEDSIGNAL
  logic [4*PW-1:0] rows;
  logic [2*PW-1:0] pairs;
  // verilator lint_on UNUSEDSIGNAL
  logic [PW-1:0] p_q;

  genvar j, c;
  generate
    for (j = 0; j < 4; j = j + 1) begin : gen_row
      localparam int WB = kf_arith_pkg::min_int(TB, D - j * TB);
      localparam int RW = PW - j * TB;
      localparam int LIMBS = kf_arith_pkg::ceil_div(D - j * TB, TA);
      // Slots of both rows, so many that the two rows are filled to their end.
      localparam int SLOTS = 2 * ((RW + 2 * TA - 1) / (2 * TA));
      logic [RW-1:0] even, odd, sum_q;
      logic [WB-1:0] limb_y;
      assign limb_y = y_i[j*TB +: WB];
      // Tiles of even limbs never overlap one another, nor do those of odd limbs: TB <= TA.
      for (c = 0; c < SLOTS; c = c + 1) begin : gen_tile
        localparam int LO = c * TA;
        localparam int WA = kf_arith_pkg::min_int(TA, XW - LO);
        localparam int SLOT = kf_arith_pkg::min_int(2 * TA, RW - LO);
        localparam int USED = kf_arith_pkg::min_int(TA + TB, SLOT);
        if (SLOT > 0) begin : gen_slot
          logic [SLOT-1:0] tile;
          if (c < LIMBS) begin : gen_product
            localparam int UA = kf_arith_pkg::min_int(WA, USED);
            localparam int UB = kf_arith_pkg::min_int(WB, USED);
            logic [USED-1:0] wide_x, wide_y, product_q;
            if (USED > UA) begin : gen_wide_x
              assign wide_x[USED-1:UA] = '0;
            end
            if (USED > UB) begin : gen_wide_y
              assign wide_y[USED-1:UB] = '0;
            end
            assign wide_x[UA-1:0] = x_i[LO +: UA];
            assign wide_y[UB-1:0] = limb_y[UB-1:0];
            always_ff @(posedge clk) product_q <= wide_x * wide_y;
            if (USED == SLOT) begin : gen_fits
              assign tile = product_q;
            end else begin : gen_wider
              assign tile = {{(SLOT-USED){1'b0}}, product_q};
            end
          end else begin : gen_none
            assign tile = '0;
          end
          if (c % 2 == 0) begin : gen_even
            assign even[LO +: SLOT] = tile;
          end else begin : gen_odd
            assign odd[LO +: SLOT] = tile;
          end
        end
      end
      assign odd[kf_arith_pkg::min_int(TA, RW)-1:0] = '0;
      always_ff @(posedge clk) sum_q <= even + odd;
      assign rows[j*PW +: RW] = sum_q;
      if (RW < PW) begin : gen_top
        assign rows[j*PW+RW +: PW-RW] = '0;
      end
    end

    for (j = 0; j < 2; j = j + 1) begin : gen_pair
      localparam int RW = PW - 2 * j * TB;
      logic [RW-1:0] sum_q;
      always_ff @(posedge clk) sum_q <= rows[2*j*PW +: RW] + {rows[(2*j+1)*PW +: RW-TB], {TB{1'b0}}};
      assign pairs[j*PW +: RW] = sum_q;
      if (RW < PW) begin : gen_top
        assign pairs[j*PW+RW +: PW-RW] = '0;
      end
    end
  endgenerate

  always_ff @(posedge clk) p_q <= pairs[PW-1:0] + {pairs[PW +: PW-2*TB], {(2*TB){1'b0}}};
  assign p_o = p_q;
endmodule

`default_nettype wire
