// First-in first-out buffer with a first-word-fall-through output.
// Latency 1 cycle, one word a cycle in and out. Full: s_ready = 0 and nothing is written, also when a word leaves in that cycle;
// empty: m_valid = 0.
// May hold secrets. wipe_i overwrites: while it is high and the buffer is empty, one place a cycle is set to 0, so 2^LOG2_DEPTH cycles
// clear the memory. s_ready is 0 while wipe_i is high.
`default_nettype none

module kf_fifo #(
    // width of a word
    parameter integer W = 256,
    // log2 of the number of words
    parameter integer LOG2_DEPTH = 5
) (
    input  wire logic         clk,
    input  wire logic         rst,
    input  wire logic         wipe_i,
    input  wire logic         s_valid,
    output logic              s_ready,
    input  wire logic [W-1:0] s_data,
    output logic              m_valid,
    input  wire logic         m_ready,
    output logic [W-1:0]      m_data
`ifdef FORMAL
    , output logic [LOG2_DEPTH:0] f_level_o  // words held
`endif
);

  // One bit more than an address: equal pointers mean empty, pointers a whole lap apart mean full.
  logic [LOG2_DEPTH:0] write_q;
  logic [LOG2_DEPTH:0] read_q;
  logic [W-1:0] memory [0:(1<<LOG2_DEPTH)-1];

  logic push, pop, wipe;

  always_comb begin
    m_valid = (write_q != read_q);
    s_ready = !wipe_i && (write_q != {~read_q[LOG2_DEPTH], read_q[LOG2_DEPTH-1:0]});
    push = s_valid && s_ready;
    pop = m_valid && m_ready;
    wipe = wipe_i && !m_valid;
    m_data = memory[read_q[LOG2_DEPTH-1:0]];
  end

  always_ff @(posedge clk) begin : store
    if (push || wipe) memory[write_q[LOG2_DEPTH-1:0]] <= wipe ? '0 : s_data;
  end

  // Wiping moves both pointers, so the buffer stays empty while the place to overwrite goes round.
  always_ff @(posedge clk) begin : pointers
    if (push || wipe) write_q <= write_q + 1'b1;
    if (pop || wipe) read_q <= read_q + 1'b1;
    if (rst) begin
      write_q <= '0;
      read_q <= '0;
    end
  end

`ifdef FORMAL
`include "kf_fifo_props.svh"
`endif

endmodule

`default_nettype wire
