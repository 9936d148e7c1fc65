// kf_voted: a register that is there three times; q_o is what two of three say.
//
// For the few things that must go on being right after a flip, since they say which jobs are still owed an answer: whoever uses it computes the next
// value from q_o, so a flipped copy is written over in the next cycle. Everything else in the engine is there twice and compared (kf_prep).
// kf_hold is a module of its own, kept by synthesis, so that equal copies are not made one.
`default_nettype none
module kf_voted #(
  parameter int WIDTH = 1
) (
  input  wire  logic             clk,
  input  wire  logic [WIDTH-1:0] d_i,
  output       logic [WIDTH-1:0] q_o
);
  logic [WIDTH-1:0] a;
  logic [WIDTH-1:0] b;
  logic [WIDTH-1:0] c;
  kf_hold #(.WIDTH(WIDTH)) u_a (.clk, .d_i, .q_o(a));
  kf_hold #(.WIDTH(WIDTH)) u_b (.clk, .d_i, .q_o(b));
  kf_hold #(.WIDTH(WIDTH)) u_c (.clk, .d_i, .q_o(c));
`ifdef FORMAL
  logic f_past = 1'b0;
  always_ff @(posedge clk) begin
    f_past <= 1'b1;
    if (f_past) a_equal: assert (a == b && b == c);
  end
`endif
  assign q_o = (a & b) | (a & c) | (b & c);
endmodule
`default_nettype wire
