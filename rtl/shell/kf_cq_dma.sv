// Completion ring: takes 4-beat completions from the engine and writes each to memory as one AXI4 burst of 128 aligned bytes, in order.
// A completion is written once it stands whole in the buffer and its slot has been consumed by the host (issued - head < size); the tail
// moves when memory has answered. The phase bit is set here: 1 on the first lap. Several bursts may be under way (2^LOG2_UNDERWAY).
// Zeroisation: wipe_i begins a sweep over the buffer, of which last beats that wait are spared. blank_i turns completions whose last beat memory has
// not taken into status aborted, with 0 for every beat not taken yet: also of a burst under way, and of the beat that is offered, whose data so change
// once while it waits. AXI forbids that; a bus that stalls must not keep a secret at its doors. A blanked completion gets a new check word,
// for zeros: it does not fit an entry of which memory has x or y already.
// Counts, the address that is offered, and what goes with it are there three times: a flip must not write to another place of memory. One of an index
// loses a completion or writes one to another's place in the ring, which the host sees by phase, tag and check word.
// Corner behaviour: a consumer index
// that moves backwards or beyond what was sent to memory in full changes nothing and is reported (a host that sees an entry's phase bit may be
// earlier than memory's answer); a write error moves the tail all the same and is reported.
// Secret: x of an ECKA answer, check words. Public: indices, addresses, the rest of the last beat.
`default_nettype none

module kf_cq_dma #(
    // width of the ring indices
    parameter integer IDX_W = 32,
    // largest log2 of the ring's entries; less than IDX_W
    parameter integer MAX_LOG2 = 16,
    // log2 of the completions that the buffer holds
    parameter integer LOG2_HELD = 3,
    // log2 of the bursts under way
    parameter integer LOG2_UNDERWAY = 2
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic             wipe_i,       // one cycle
    output logic                  wiping_o,
    input  wire logic             blank_i,

    // ring
    input  wire logic [63:0]      base_i,
    input  wire logic [4:0]       log2_i,
    input  wire logic             clear_i,      // indices to 0; only while nothing is in flight
    input  wire logic             consume_i,
    input  wire logic [IDX_W-1:0] consume_value_i,
    output logic [IDX_W-1:0]      tail_o,
    output logic [IDX_W-1:0]      head_o,

    output logic                  active_o,        // something here can change in this cycle (kf_sleep)

    // one-cycle events
    output logic                  ev_done_o,       // memory has a completion
    output logic                  ev_refused_o,    // a consumer index was refused
    output logic                  ev_axi_o,        // write error
    output logic                  ev_frame_o,      // the stream's last mark stood in the wrong place
    output logic                  ev_descriptor_o, // a completion with status descriptor came from the engine
    output logic                  ev_exception_o,  // a completion with status exception

    // completions
    input  wire logic             s_cpl_valid,
    output logic                  s_cpl_ready,
    input  wire logic [255:0]     s_cpl_data,
    input  wire logic             s_cpl_last,

    // AXI4 write
    output logic                  m_axi_awvalid,
    input  wire logic             m_axi_awready,
    output logic [63:0]           m_axi_awaddr,
    output logic                  m_axi_wvalid,
    input  wire logic             m_axi_wready,
    output logic [255:0]          m_axi_wdata,
    output logic                  m_axi_wlast,
    input  wire logic             m_axi_bvalid,
    output logic                  m_axi_bready,
    input  wire logic [1:0]       m_axi_bresp
`ifdef FORMAL
    , output logic                f_whole_o    // one cycle: a completion has come whole
    , output logic [IDX_W-1:0]    f_held_o     // completions between that and memory's answer
    , output logic                f_partial_o  // a completion has come in part
`endif
);

  localparam integer UNDERWAY = 1 << LOG2_UNDERWAY;
  localparam logic [IDX_W-1:0] ONE = 1;
  localparam logic [1:0] LAST_BEAT = 2'd3;

  logic [IDX_W-1:0] head_q;   // behind the last entry the host has consumed
  logic [IDX_W-1:0] issue_q;  // behind the last one whose burst has begun
  logic [IDX_W-1:0] tail_q;   // behind the last one memory has answered
  logic [LOG2_HELD:0] whole_q;   // completions in the buffer whose burst has not begun

  // The consumer index, judged against the ring as it stands.
  logic w_valid_q;            // beats of the last burst are still to be sent
  logic [IDX_W-1:0] size;
  logic [IDX_W-1:0] sent;     // entries sent in full and not consumed
  logic accept;
  always_comb begin : consumer
    size = (log2_i <= MAX_LOG2[4:0]) ? ONE << log2_i : '0;
    sent = issue_q - head_q - {{(IDX_W-1){1'b0}}, w_valid_q};
    accept = consume_i && (consume_value_i - head_q) <= sent;
    ev_refused_o = consume_i && !accept;
  end

  // Beats that come from the engine.
  logic [1:0] beat_in_q;
  logic push, whole;
  logic fifo_valid, fifo_ready;
  logic [255:0] fifo_data;
  logic [255:0] in_data;
  logic [31:0] check;
  logic check_valid, check_ready;
  logic beats_wiping, checks_wiping;
  logic pop;
  always_comb wiping_o = beats_wiping || checks_wiping;
  always_comb begin : arrival
    s_cpl_ready = fifo_ready && !wiping_o;  // the sweep has the memory's write port to itself
    push = s_cpl_valid && s_cpl_ready;
    whole = push && beat_in_q == LAST_BEAT;
    ev_frame_o = push && s_cpl_last != (beat_in_q == LAST_BEAT);
    ev_descriptor_o = whole && s_cpl_data[kf_regs_pkg::COMPLETION_STATUS_LSB +: 8] == kf_regs_pkg::ST_DESCRIPTOR;
    ev_exception_o = whole && s_cpl_data[kf_regs_pkg::COMPLETION_STATUS_LSB +: 8] == kf_regs_pkg::ST_EXCEPTION;
    in_data = s_cpl_data;
    if (beat_in_q == LAST_BEAT) in_data[kf_regs_pkg::COMPLETION_CHECK_LSB +: 32] = '0;
  end

`ifdef FORMAL
  logic [LOG2_HELD+2:0] f_level;
  logic [LOG2_HELD:0] f_checks;
`endif
  // Check words tell something of x: they wait apart from the last beats, which a sweep spares.
  kf_fifo #(.W(32), .LOG2_DEPTH(LOG2_HELD)) checks (
      .clk(clk), .rst(rst), .wipe_i(wipe_i), .wiping_o(checks_wiping),
      .s_valid(whole), .s_ready(check_ready), .s_data(s_cpl_data[kf_regs_pkg::COMPLETION_CHECK_LSB +: 32]), .s_keep(1'b0),
      .m_valid(check_valid), .m_ready(pop && w_beat_q == LAST_BEAT), .m_data(check)
`ifdef FORMAL
      , .f_level_o(f_checks)
`endif
  );
  kf_fifo #(.W(256), .LOG2_DEPTH(LOG2_HELD + 2)) beats (
      .clk(clk), .rst(rst), .wipe_i(wipe_i), .wiping_o(beats_wiping),
      .s_valid(s_cpl_valid && !wiping_o), .s_ready(fifo_ready), .s_data(in_data), .s_keep(beat_in_q == LAST_BEAT),
      .m_valid(fifo_valid), .m_ready(pop), .m_data(fifo_data)
`ifdef FORMAL
      , .f_level_o(f_level)
`endif
  );

  // Bursts.
  logic aw_valid_q;
  logic [63:0] aw_addr_q;
  logic [1:0] w_beat_q;
  logic phase_q;  // of the burst under way
  logic blank_q;
  logic begin_burst, w_end, answered;
  logic [63:0] slot_bytes;
  logic [IDX_W-1:0] under_way;
  logic [IDX_W-1:0] unconsumed;
  always_comb begin : bursts
    slot_bytes = '0;
    slot_bytes[MAX_LOG2-1+7:7] = issue_q[MAX_LOG2-1:0] & (size[MAX_LOG2-1:0] - 1'b1);
    under_way = issue_q - tail_q;
    unconsumed = issue_q - head_q;
    w_end = w_valid_q && m_axi_wready && w_beat_q == LAST_BEAT;
    begin_burst = whole_q != '0 && (!aw_valid_q || m_axi_awready) && (!w_valid_q || w_end)
                  && unconsumed < size && under_way < UNDERWAY[IDX_W-1:0];
    pop = w_valid_q && m_axi_wready;
    m_axi_awvalid = aw_valid_q;
    m_axi_awaddr = aw_addr_q;
    m_axi_wvalid = w_valid_q;
    m_axi_wlast = w_beat_q == LAST_BEAT;
    m_axi_wdata = blank_q ? '0 : fifo_data;
    if (w_beat_q == LAST_BEAT) begin
      m_axi_wdata = fifo_data;
      m_axi_wdata[kf_regs_pkg::COMPLETION_PHASE_LSB] = 1'b0;
      if (blank_q) m_axi_wdata[kf_regs_pkg::COMPLETION_STATUS_LSB +: 8] = kf_regs_pkg::ST_ABORTED;
      m_axi_wdata[kf_regs_pkg::COMPLETION_CHECK_LSB +: 32] = blank_q ? kf_regs_pkg::completion_check(m_axi_wdata[159:0]) : check;
      m_axi_wdata[kf_regs_pkg::COMPLETION_PHASE_LSB] = phase_q;
    end
    m_axi_bready = 1'b1;
    // Answers that nothing was sent for are not counted.
    answered = m_axi_bvalid && issue_q != tail_q;
    ev_done_o = answered;
    ev_axi_o = answered && m_axi_bresp[1];
    tail_o = tail_q;
    head_o = head_q;
    active_o = s_cpl_valid || begin_burst || aw_valid_q || w_valid_q || m_axi_bvalid;
  end

  always_ff @(posedge clk) begin : indices
    if (accept) head_q <= consume_value_i;
    if (begin_burst) issue_q <= issue_q + ONE;
    if (answered) tail_q <= tail_q + ONE;
    if (clear_i || rst) begin
      head_q <= '0;
      issue_q <= '0;
      tail_q <= '0;
    end
  end

  logic [LOG2_HELD:0] whole_next;
  logic [1:0] beat_in, w_beat;
  logic aw_valid, w_valid;
  always_comb begin : counts
    whole_next = whole_q + {{LOG2_HELD{1'b0}}, whole} - {{LOG2_HELD{1'b0}}, begin_burst};
    beat_in = push ? beat_in_q + 2'd1 : beat_in_q;
    aw_valid = begin_burst || (aw_valid_q && !m_axi_awready);
    w_valid = begin_burst || (w_valid_q && !w_end);
    w_beat = pop ? w_beat_q + 2'd1 : w_beat_q;
    if (rst) begin
      whole_next = '0;
      beat_in = '0;
      aw_valid = 1'b0;
      w_valid = 1'b0;
      w_beat = '0;
    end
  end
  kf_voted #(.WIDTH(LOG2_HELD + 7)) u_counts (
      .clk, .d_i({whole_next, beat_in, aw_valid, w_valid, w_beat}), .q_o({whole_q, beat_in_q, aw_valid_q, w_valid_q, w_beat_q})
  );

  logic [63:0] aw_addr;
  logic phase, blank;
  always_comb begin : burst_data
    aw_addr = begin_burst ? base_i + slot_bytes : aw_addr_q;
    phase = begin_burst ? ~|(issue_q & size) : phase_q;
    blank = (begin_burst || blank_i) ? blank_i : blank_q;
  end
  kf_voted #(.WIDTH(66)) u_burst (.clk, .d_i({aw_addr, phase, blank}), .q_o({aw_addr_q, phase_q, blank_q}));

`ifdef FORMAL
`include "kf_cq_dma_props.svh"
`endif

  // That they are valid and have room follows from the counts; the proofs in rtl/formal say so.
  logic unused;
  always_comb unused = &{1'b0, fifo_valid, check_valid, check_ready, m_axi_bresp[0]};

endmodule

`default_nettype wire
