// Stands in for kf_fifo in the proofs of the modules around it: the same pointers and handshakes, and of the data only what the proof of
// kf_fifo itself shows and what is needed there: the output word holds until it is taken, but for a sweep, which lasts any time. Never synthesised.
`default_nettype none

module kf_fifo #(
    parameter integer W = 256,
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
    output logic [W-1:0]      m_data,
    output logic [LOG2_DEPTH:0] f_level_o
);

  logic [LOG2_DEPTH:0] level_q;
  (* anyseq *) logic [W-1:0] word;
  logic push, pop;
  logic wiping_q;
  (* anyseq *) logic any_end;
  always_comb begin
    m_valid = level_q != '0;
    s_ready = !level_q[LOG2_DEPTH];
    wiping_o = wiping_q;
    push = s_valid && s_ready;
    pop = m_valid && m_ready;
    m_data = word;
    f_level_o = level_q;
  end
  always_ff @(posedge clk) begin
    level_q <= level_q + {{LOG2_DEPTH{1'b0}}, push} - {{LOG2_DEPTH{1'b0}}, pop};
    if (rst) level_q <= '0;
    if (any_end) wiping_q <= 1'b0;
    if (wipe_i || rst) wiping_q <= 1'b1;
  end

  logic f_past = 1'b0;
  always_ff @(posedge clk) begin
    f_past <= 1'b1;
    if (f_past && !$past(rst) && $past(m_valid && !m_ready && !wiping_q)) assume (word == $past(word));
  end

endmodule

`default_nettype wire
