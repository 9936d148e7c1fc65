// kf_table: the comb table of both curves, as the host loads it, and whether it is the table that the core was made for.
//
// place: {curve, window, index}: (2 index + 1) 2^(7 window) G, x low, y high, Montgomery form. An entry is read one cycle after read_i; with it
// come the check words of x and y.
// The host writes every entry once, in the order of their places, from 0. A running sum over place and data, which the entry at place 0 begins
// anew, says at the end whether each entry stands where it belongs (kf_curve::TABLE_SUM): an entry at another's place is a valid point, which
// nothing else would notice. It finds any one changed bit and any lost, doubled or displaced write of a loading; it is no defence against a host
// that wants to be wrong.
// Public: everything but the place that is read (a blinded digit).
`default_nettype none
module kf_table (
  input  wire  logic         clk,
  input  wire  logic         we_i,
  input  wire  logic [12:0]  waddr_i,
  input  wire  logic [511:0] wdata_i,
  input  wire  logic         read_i,
  input  wire  logic [12:0]  place_i,
  output       logic [575:0] point_o,
  output       logic         right_o    // the last loading was whole and right
);
  logic [31:0]  check_x;
  logic [31:0]  check_y;
  logic [31:0]  sum_q;
  logic [31:0]  sum_so_far;
  logic [31:0]  sum_next;
  assign check_x = kf_uc::check_word(wdata_i[255:0], 11'd0);
  assign check_y = kf_uc::check_word(wdata_i[511:256], 11'd1);

  // 4.7 Mbit. "block" where there is no UltraRAM.
  (* ram_style = "ultra" *) logic [575:0] table_mem[8192];
  always_ff @(posedge clk) begin
    if (read_i) point_o <= table_mem[place_i];
    if (we_i) table_mem[waddr_i] <= {check_y, check_x, wdata_i};
  end

  // A feedback shift register of the polynomial of CRC-32. No reset: the table outlives it, too. Three times: a flip must not end all jobs.
  always_comb begin
    sum_so_far = waddr_i == 13'd0 ? 32'd0 : sum_q;
    sum_next = sum_q;
    if (we_i) sum_next = {sum_so_far[30:0], 1'b0} ^ (sum_so_far[31] ? 32'h04C11DB7 : 32'd0) ^ check_x ^ {check_y[0], check_y[31:1]} ^ {19'd0, waddr_i};
  end
  kf_voted #(.WIDTH(32)) u_sum (.clk, .d_i(sum_next), .q_o(sum_q));
  assign right_o = sum_q == kf_curve::TABLE_SUM;
endmodule
`default_nettype wire
