// kf_hold: a register, as a module, so that synthesis cannot make one of several equal ones (kf_voted).
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_hold #(
  parameter int WIDTH = 1
) (
  input  wire  logic             clk,
  input  wire  logic [WIDTH-1:0] d_i,
  output       logic [WIDTH-1:0] q_o
);
  always_ff @(posedge clk) q_o <= d_i;
endmodule
`default_nettype wire
