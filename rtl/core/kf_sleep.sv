// kf_sleep: in simulation style, a clock that stands still while a block has nothing to do; else the clock itself.
//
// A simulator evaluates every register in every cycle; shell and preparing wait most of the time. active_i must be high in each cycle in
// which a register of the block could change, its inputs included; it is looked at while the clock is low, and HOLD cycles more pass
// after it, so that what moves one stage a cycle comes to rest. Whether that is so is shown by running both styles side by side
// (tests/board) and by the benches, which run on both. In STYLE 0, which is synthesised, there is one clock and no gate.
`default_nettype none
module kf_sleep #(
  parameter int STYLE = 0,
  parameter int HOLD = 4
) (
  input  wire  logic clk,
  input  wire  logic active_i,
  output       logic clk_o
);
  generate
    if (STYLE == 0) begin : g_awake
      assign clk_o = clk;
      logic unused;
      assign unused = active_i;
    end else begin : g_sleep
      logic       run_q = 1'b1;
      logic [2:0] hold_q = 3'd0;
      always_ff @(negedge clk) begin
        run_q <= active_i || hold_q != 3'd0;
        if (active_i) hold_q <= 3'(HOLD);
        else if (hold_q != 3'd0) hold_q <= hold_q - 3'd1;
      end
      assign clk_o = clk & run_q;
    end
  endgenerate
endmodule
`default_nettype wire
