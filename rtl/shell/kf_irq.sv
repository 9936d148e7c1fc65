// Interrupt status, enable and coalescing of completions. Irq is a level, one register behind the status.
// Corner behaviour: an event in the cycle of its clearing wins. While the completion bit is set, further completions are counted for the
// next time; the time runs from the first completion not reported. Nothing here is secret.
`default_nettype none

module kf_irq (
    input  wire logic        clk,
    input  wire logic        rst,
    input  wire logic        ev_completion_i,
    input  wire logic        ev_error_i,
    input  wire logic        ev_entropy_i,
    input  wire logic [2:0]  enable_i,
    input  wire logic [2:0]  clear_i,
    input  wire logic [15:0] completions_i,  // report after so many (0 as 1)
    input  wire logic [15:0] timeout_i,      // or after so many times 256 cycles; 0: never by time
    output logic [2:0]       status_o,
    output logic             irq_o
);

  logic [2:0] status_q;
  logic irq_q;
  logic [15:0] waiting_q;  // completions not reported, saturating
  logic [23:0] age_q;      // cycles since the first of them, saturating
  logic report;

  always_comb begin
    report = waiting_q != '0 && !status_q[kf_regs_pkg::IRQ_STATUS_COMPLETION_LSB]
             && (waiting_q >= completions_i || (timeout_i != '0 && age_q[23:8] >= timeout_i));
    status_o = status_q;
    irq_o = irq_q;
  end

  always_ff @(posedge clk) begin : coalesce
    if (report) begin
      waiting_q <= {15'd0, ev_completion_i};
      age_q <= '0;
    end else begin
      if (ev_completion_i && waiting_q != 16'hFFFF) waiting_q <= waiting_q + 16'd1;
      if (waiting_q != '0 && age_q != 24'hFFFFFF) age_q <= age_q + 24'd1;
    end
    if (rst) begin
      waiting_q <= '0;
      age_q <= '0;
    end
  end

  always_ff @(posedge clk) begin : pending
    status_q <= (status_q & ~clear_i) | {ev_entropy_i, ev_error_i, report};
    irq_q <= |(status_q & enable_i);
    if (rst) begin
      status_q <= '0;
      irq_q <= 1'b0;
    end
  end

`ifdef FORMAL
`include "kf_irq_props.svh"
`endif

endmodule

`default_nettype wire
