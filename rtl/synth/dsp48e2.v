// The multiplier of a DSP48E2 (27 x 18 bits, signed) in the shape of a DSP48E1, without any of its registers.
//
// The adder and the registers behind the multiplier are the same in both blocks, but yosys 0.23 takes them in for a DSP48E1 only and leaves the adders
// of a DSP48E2 to LUTs. run.py has them taken in under this name and calls the cells DSP48E2 afterwards: for counting, not for a bitstream.
module \$__MUL27X18 (
  input  [26:0] A,
  input  [17:0] B,
  output [44:0] Y
);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 0;
  parameter B_WIDTH = 0;
  parameter Y_WIDTH = 0;
  wire [47:0] p;
  DSP48E1 #(
    .USE_MULT("MULTIPLY"), .USE_SIMD("ONE48"), .USE_DPORT("FALSE"), .A_INPUT("DIRECT"), .B_INPUT("DIRECT"), .AREG(0), .ACASCREG(0), .BREG(0),
    .BCASCREG(0), .CREG(0), .DREG(0), .ADREG(0), .MREG(0), .PREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0), .INMODEREG(0), .OPMODEREG(0)
  ) _TECHMAP_REPLACE_ (
    .A({{3{A[26]}}, A}), .B(B), .C(48'd0), .D(25'd0), .P(p), .ACIN(30'd0), .BCIN(18'd0), .PCIN(48'd0), .CARRYIN(1'b0), .INMODE(5'd0), .ALUMODE(4'd0),
    .OPMODE(7'b000_0101), .CARRYINSEL(3'd0)
  );
  assign Y = p[44:0];
endmodule
