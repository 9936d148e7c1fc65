// First-in first-out buffer with a first-word-fall-through output.
// Latency 1 cycle, one word a cycle in and out. Full: s_ready = 0 and nothing is written, also when a word leaves in that cycle;
// empty: m_valid = 0.
// May hold secrets. wipe_i (one cycle; reset as well) begins a sweep over all places, one a cycle, whoever holds words there and whether they
// are taken or not: each becomes 0, but for those that wait and went in with s_keep (public). A word that comes in has the memory's one
// write port, and the sweep goes on in the next cycle: 2^LOG2_DEPTH cycles and those in which a word comes in, then wiping_o falls. A word that
// comes in meanwhile may be behind the sweep: whoever begins one sees to it that only public words come.
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
    output logic              wiping_o,
    input  wire logic         s_valid,
    output logic              s_ready,
    input  wire logic [W-1:0] s_data,
    input  wire logic         s_keep,
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

  logic push, pop;

  logic wiping_q;
  logic [LOG2_DEPTH-1:0] sweep_q;           // the place that is overwritten next
  logic [(1<<LOG2_DEPTH)-1:0] keep_q;       // the word of this place went in with s_keep
  logic [LOG2_DEPTH:0] level;
  logic [LOG2_DEPTH-1:0] ahead;             // of the sweep: how far behind the output it is
  logic sweep, spare;

  always_comb begin
    level = write_q - read_q;
    m_valid = (write_q != read_q);
    s_ready = write_q != {~read_q[LOG2_DEPTH], read_q[LOG2_DEPTH-1:0]};
    push = s_valid && s_ready;
    pop = m_valid && m_ready;
    m_data = memory[read_q[LOG2_DEPTH-1:0]];
    wiping_o = wiping_q;
    ahead = sweep_q - read_q[LOG2_DEPTH-1:0];
    spare = keep_q[sweep_q] && {1'b0, ahead} < level;
    sweep = wiping_q && !push;
  end

  always_ff @(posedge clk) begin : store
    if (push) memory[write_q[LOG2_DEPTH-1:0]] <= s_data;
    else if (wiping_q && !spare) memory[sweep_q] <= '0;
  end

  always_ff @(posedge clk) begin : sweeping
    if (push) keep_q[write_q[LOG2_DEPTH-1:0]] <= s_keep;
    if (sweep) begin
      sweep_q <= sweep_q + 1'b1;
      if (&sweep_q) wiping_q <= 1'b0;
    end
    if (wipe_i || rst) begin
      wiping_q <= 1'b1;
      sweep_q <= '0;
    end
    if (rst) keep_q <= '0;
  end

  always_ff @(posedge clk) begin : pointers
    if (push) write_q <= write_q + 1'b1;
    if (pop) read_q <= read_q + 1'b1;
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
