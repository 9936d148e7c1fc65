// Proof harness: kf_addmod at a small width, with the pipeline registers taken out (run_arith.py does that), against the definition.
//
// Ranges   any m, any x and y below m.

`default_nettype none

module kf_addmod_fv #(
    parameter int W = 12,
    parameter int PIECE = 5
) (
    input wire logic         clk,
    input wire logic         sub,
    input wire logic [W-1:0] x,
    input wire logic [W-1:0] y,
    input wire logic [W-1:0] m
);
  logic [W-1:0] r;
  logic [W:0] sum, difference;

  kf_addmod #(.STYLE(0), .W(W), .PIECE(PIECE)) dut (.clk, .en_i(1'b1), .sub_i(sub), .x_i(x), .y_i(y), .m_i(m), .r_o(r));

  assign sum = {1'b0, x} + {1'b0, y};
  assign difference = (x < y) ? {1'b0, x} + {1'b0, m} - {1'b0, y} : {1'b0, x} - {1'b0, y};

  always_comb begin
    assume (x < m);
    assume (y < m);
    assert (r < m);
    assert ({1'b0, r} == (sub ? difference : (sum >= {1'b0, m}) ? sum - {1'b0, m} : sum));
  end
endmodule

`default_nettype wire
