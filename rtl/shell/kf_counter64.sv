// Free-running 64-bit event counter; counts one cycle after the event. Nothing here is secret.
`default_nettype none

module kf_counter64 (
    input  wire logic   clk,
    input  wire logic   rst,
    input  wire logic   event_i,
    output logic [63:0] count_o
);

  logic [63:0] count_q;
  always_ff @(posedge clk) begin : count
    if (event_i) count_q <= count_q + 64'd1;
    if (rst) count_q <= '0;
  end
  always_comb count_o = count_q;

endmodule

`default_nettype wire
