// kf_sbox: the S-box of FIPS 197 as arithmetic, for synthesis: 32 LUTs where a table among other logic takes 90.
//
// GF(2^8) as pairs (h, l) = h w + l over GF(16) = GF(2)[z] / (z^4 + z + 1), with w^2 = w + L, L = 8: the inverse of (h, l) is (h, h + l) / d with
// d = L h^2 + h l + l^2. Before it the change of basis, after it the change back with the affine map. Combinational. Secret: both ports.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_sbox (
  input  wire  logic [7:0] x_i,
  output       logic [7:0] y_o
);
  localparam logic [63:0] INVERSE = 64'h834a5c2f67bde910;  // of GF(16), entry a at bits 4 a; 0 for 0
  function automatic logic [3:0] times(input logic [3:0] a, input logic [3:0] b);
    logic [6:0] r;
    r = {3'd0, a & {4{b[0]}}} ^ {2'd0, a & {4{b[1]}}, 1'd0} ^ {1'd0, a & {4{b[2]}}, 2'd0} ^ {a & {4{b[3]}}, 3'd0};
    times = r[3:0] ^ {r[6], r[6] ^ r[5], r[5] ^ r[4], r[4]};
  endfunction
  logic [7:0] t;
  logic [3:0] h;
  logic [3:0] l;
  logic [3:0] d;
  logic [3:0] e;
  logic [7:0] p;
  assign t[0] = ^(x_i & 8'b10100001);
  assign t[1] = ^(x_i & 8'b00000100);
  assign t[2] = ^(x_i & 8'b11111100);
  assign t[3] = ^(x_i & 8'b00011000);
  assign t[4] = ^(x_i & 8'b01110000);
  assign t[5] = ^(x_i & 8'b11010010);
  assign t[6] = ^(x_i & 8'b10101100);
  assign t[7] = ^(x_i & 8'b10100000);
  assign h = t[7:4];
  assign l = t[3:0];
  assign d = ({4{h[0]}} & 4'd8) ^ ({4{h[1]}} & 4'd6) ^ ({4{h[2]}} & 4'd11) ^ ({4{h[3]}} & 4'd10)
      ^ ({4{l[0]}} & 4'd1) ^ ({4{l[1]}} & 4'd4) ^ ({4{l[2]}} & 4'd3) ^ ({4{l[3]}} & 4'd12) ^ times(h, l);
  assign e = INVERSE[{d, 2'd0} +: 4];
  assign p = {times(h, e), times(h ^ l, e)};
  assign y_o[0] = ^(p & 8'b01000101) ^ 1'b1;
  assign y_o[1] = ^(p & 8'b00111111) ^ 1'b1;
  assign y_o[2] = ^(p & 8'b01101001) ^ 1'b0;
  assign y_o[3] = ^(p & 8'b00100101) ^ 1'b0;
  assign y_o[4] = ^(p & 8'b00111011) ^ 1'b0;
  assign y_o[5] = ^(p & 8'b11101110) ^ 1'b1;
  assign y_o[6] = ^(p & 8'b11010000) ^ 1'b1;
  assign y_o[7] = ^(p & 8'b00000110) ^ 1'b0;
endmodule
`default_nettype wire
