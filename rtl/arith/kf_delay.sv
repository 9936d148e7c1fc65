// Delay line: d_o is d_i of DEPTH cycles before.
//
// Latency  DEPTH cycles (0: a wire), one word a cycle. No reset: the first DEPTH words are whatever the memory held.
// Secret   whatever passes; no word is kept longer than 2 * DEPTH + 2 cycles.
//
// Short lines are shift registers, which the tools turn into SRLs. Long ones are a ring written and read at running addresses: distributed
// RAM on a device, and in simulation two moves of a word instead of DEPTH.

`default_nettype none

module kf_delay #(
    parameter int WIDTH = 1,
    parameter int DEPTH = 1
) (
    input  wire logic             clk,
    input  wire logic [WIDTH-1:0] d_i,
    output logic      [WIDTH-1:0] d_o
);
  generate
    if (DEPTH == 0) begin : gen_wire
      logic unused_clk;
      assign unused_clk = clk;
      assign d_o = d_i;
    end else if (DEPTH < 6) begin : gen_shift
      logic [WIDTH*DEPTH-1:0] line_q;
      if (DEPTH == 1) begin : gen_one
        always_ff @(posedge clk) line_q <= d_i;
      end else begin : gen_more
        always_ff @(posedge clk) line_q <= {line_q[WIDTH*(DEPTH-1)-1:0], d_i};
      end
      assign d_o = line_q[WIDTH*DEPTH-1:WIDTH*(DEPTH-1)];
    end else begin : gen_ring
      localparam int BITS = $clog2(DEPTH);
      // The counter runs for ever, so any start value will do; it has one only so that a simulator with unknown values can run.
      localparam int BACK = DEPTH - 1;
      logic [WIDTH-1:0] ring [0:(1<<BITS)-1];
      logic [BITS-1:0] now_q = '0;
      logic [WIDTH-1:0] d_q;
      always_ff @(posedge clk) begin
        now_q <= now_q + {{(BITS-1){1'b0}}, 1'b1};
        ring[now_q] <= d_i;
        d_q <= ring[now_q - BACK[BITS-1:0]];
      end
      assign d_o = d_q;
    end
  endgenerate
endmodule

`default_nettype wire
