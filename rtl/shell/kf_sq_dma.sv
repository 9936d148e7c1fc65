// Submission ring: fetches descriptors over AXI4 and hands them to the engine, each whole, in order, exactly once.
// A descriptor is one burst of 6 beats from a 256-byte aligned place, so no burst crosses 4 KiB. Up to 2^LOG2_AHEAD descriptors are between
// the read's issue and the engine; room for all their beats is set aside before a read is issued, so m_axi_rready is always 1.
// Corner behaviour: a descriptor waits until its last beat has come; one with the wrong phase, a reserved bit set or a read error is
// handed on with everything of its first beat zeroed but the tag (opcode 0: the engine answers with status descriptor). The same becomes of one whose
// first beat has changed in the buffer; with the others goes a check word that the engine compares.
// Counts are there three times. A flip must not give one descriptor's beats to another: what is held in single copies may lose or refuse jobs until a
// reset, but no operand goes to another's job with a right check word. One of an index or an address loses a descriptor or fetches
// something else in its place, which the host sees by the tags.
// A doorbell that moves the tail backwards or further than the ring is long changes nothing and is reported.
// Zeroisation: wipe_i begins a sweep over the buffer; first beats that wait are spared (the tag is for the answer), and while blank_i stands operands that
// come are taken as 0.
// Secret: operands may be (scalars of test builds). Public: indices, addresses, first beats.
`default_nettype none

module kf_sq_dma #(
    // width of the ring indices
    parameter integer IDX_W = 32,
    // largest log2 of the ring's entries; less than IDX_W
    parameter integer MAX_LOG2 = 16,
    // log2 of the descriptors held between memory and engine
    parameter integer LOG2_AHEAD = 2
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic             wipe_i,       // one cycle
    output logic                  wiping_o,
    input  wire logic             blank_i,

    // ring
    input  wire logic             fetch_i,      // new reads may be issued
    input  wire logic [63:0]      base_i,
    input  wire logic [4:0]       log2_i,
    input  wire logic             clear_i,      // indices to 0; only while nothing is in flight
    input  wire logic             doorbell_i,
    input  wire logic [IDX_W-1:0] doorbell_value_i,
    output logic [IDX_W-1:0]      tail_o,
    output logic [IDX_W-1:0]      head_o,

    output logic                  active_o,     // something here can change in this cycle (kf_sleep)

    // one-cycle events
    output logic                  ev_issue_o,   // a descriptor is being fetched from now on
    output logic                  ev_job_o,     // a descriptor was handed to the engine
    output logic                  ev_refused_o, // a doorbell was refused
    output logic                  ev_bad_o,     // wrong phase or reserved bit
    output logic                  ev_axi_o,     // read error

    // AXI4 read
    output logic                  m_axi_arvalid,
    input  wire logic             m_axi_arready,
    output logic [63:0]           m_axi_araddr,
    input  wire logic             m_axi_rvalid,
    output logic                  m_axi_rready,
    input  wire logic [255:0]     m_axi_rdata,
    input  wire logic [1:0]       m_axi_rresp,
    input  wire logic             m_axi_rlast,

    // jobs
    output logic                  m_job_valid,
    input  wire logic             m_job_ready,
    output logic [255:0]          m_job_data,
    output logic [31:0]           m_job_check,  // exclusive or of its words, taken when the beat came
    output logic                  m_job_last
`ifdef FORMAL
    , output logic [LOG2_AHEAD:0] f_held_o  // descriptors between their read's issue and the engine
`endif
);

  localparam integer AHEAD = 1 << LOG2_AHEAD;
  localparam logic [2:0] LAST_BEAT = 3'd5;
  localparam logic [IDX_W-1:0] ONE = 1;

  logic [IDX_W-1:0] tail_q;   // behind the last descriptor in memory
  logic [IDX_W-1:0] issue_q;  // behind the last one whose read was issued
  logic [IDX_W-1:0] head_q;   // behind the last one that has come
  logic [LOG2_AHEAD:0] held_q;   // issued and not yet handed on
  logic [LOG2_AHEAD:0] whole_q;  // come and not yet handed on
  logic ar_valid_q;
  logic [63:0] ar_addr_q;

  // The doorbell, judged against the ring as it stands.
  logic [IDX_W-1:0] size;
  logic [IDX_W-1:0] ahead_new;
  logic [IDX_W-1:0] ahead_old;
  logic accept;
  always_comb begin : doorbell
    size = (log2_i <= MAX_LOG2[4:0]) ? ONE << log2_i : '0;
    ahead_new = doorbell_value_i - head_q;
    ahead_old = tail_q - head_q;
    accept = doorbell_i && ahead_new <= size && ahead_new >= ahead_old;
    ev_refused_o = doorbell_i && !accept;
  end

  // Issue of reads.
  logic [63:0] slot_bytes;
  always_comb begin : issue
    slot_bytes = '0;
    slot_bytes[MAX_LOG2-1+8:8] = issue_q[MAX_LOG2-1:0] & (size[MAX_LOG2-1:0] - 1'b1);
    ev_issue_o = fetch_i && issue_q != tail_q && held_q != AHEAD[LOG2_AHEAD:0] && (!ar_valid_q || m_axi_arready);
    m_axi_arvalid = ar_valid_q;
    m_axi_araddr = ar_addr_q;
  end

  // One mark for each descriptor that stands whole in the buffer: it is refused.
  logic [AHEAD-1:0] marks_q;
  // One bit more than a mark's number: the check words of 2 AHEAD descriptors in turn differ, which is more than the buffer has places for.
  logic [LOG2_AHEAD:0] mark_in_q;
  logic [LOG2_AHEAD:0] mark_out_q;
  logic [2:0] beat_out_q;

  // Beats that come.
  logic [2:0] beat_in_q;
  logic bad_q;       // the descriptor that is coming has a fault in its first beat
  logic axi_bad_q;   // and one of its beats came with an error
  logic take, whole, phase_want, bad_now, axi_now;
  logic fifo_ready, fifo_valid;
  logic [255:0] fifo_in;
  logic [287:0] fifo_data;  // check word, beat
  // Bound to the beat and its descriptor, and never 0: a beat that was swept, never written or is another's has a wrong one. A wrong pointer of the buffer
  // gives beats from less than its 8 AHEAD places away, now or a lap before; these numbers come again after 12 AHEAD beats.
  localparam logic [31:0] CHECK_KEY = 32'hA53C5AC3;
  function automatic logic [31:0] check_of(input logic [255:0] beat);
    check_of = beat[31:0] ^ beat[63:32] ^ beat[95:64] ^ beat[127:96] ^ beat[159:128] ^ beat[191:160] ^ beat[223:192] ^ beat[255:224];
  endfunction
  function automatic logic [31:0] check_at(input logic [LOG2_AHEAD:0] descriptor, input logic [2:0] beat);
    check_at = CHECK_KEY ^ {{(28 - LOG2_AHEAD){1'b0}}, descriptor, beat};
  endfunction
  always_comb begin : arrival
    m_axi_rready = 1'b1;
    // Beats that were not asked for are not taken.
    take = m_axi_rvalid && head_q != issue_q;
    whole = take && beat_in_q == LAST_BEAT;
    phase_want = ~|(head_q & size);
    bad_now = bad_q;
    if (take && beat_in_q == 3'd0)
      bad_now = m_axi_rdata[kf_regs_pkg::DESCRIPTOR_PHASE_LSB] != phase_want || |(m_axi_rdata & kf_regs_pkg::DESCRIPTOR_RESERVED);
    axi_now = (beat_in_q != 3'd0 && axi_bad_q) || m_axi_rresp[1] || m_axi_rlast != (beat_in_q == LAST_BEAT);
    ev_axi_o = whole && axi_now;
    fifo_in = blank_i && beat_in_q != 3'd0 ? '0 : m_axi_rdata;
    // What an erroneous read brought says nothing about the descriptor.
    ev_bad_o = whole && bad_now && !axi_now;
  end

`ifdef FORMAL
  logic [LOG2_AHEAD+3:0] f_level;
`endif
  kf_fifo #(.W(288), .LOG2_DEPTH(LOG2_AHEAD + 3)) beats (
      .clk(clk), .rst(rst), .wipe_i(wipe_i), .wiping_o(wiping_o),
      .s_valid(take), .s_ready(fifo_ready), .s_data({check_of(fifo_in) ^ check_at(mark_in_q, beat_in_q), fifo_in}), .s_keep(beat_in_q == 3'd0),
      .m_valid(fifo_valid), .m_ready(m_job_valid && m_job_ready), .m_data(fifo_data)
`ifdef FORMAL
      , .f_level_o(f_level)
`endif
  );

  // Jobs that go.
  logic [31:0] check_out;
  always_comb begin : hand_on
    m_job_valid = whole_q != '0;
    m_job_last = beat_out_q == LAST_BEAT;
    m_job_data = fifo_data[255:0];
    check_out = fifo_data[287:256] ^ check_at(mark_out_q, beat_out_q);
    // Operands that an order to zeroise has overwritten are right as they are: their job ends as aborted.
    m_job_check = blank_i ? check_of(m_job_data) : check_out;
    if (beat_out_q == 3'd0 && (marks_q[mark_out_q[LOG2_AHEAD-1:0]] || check_out != check_of(m_job_data))) begin
      m_job_data = '0;
      m_job_data[kf_regs_pkg::DESCRIPTOR_TAG_LSB +: 64] = fifo_data[kf_regs_pkg::DESCRIPTOR_TAG_LSB +: 64];
    end
    ev_job_o = m_job_valid && m_job_ready && m_job_last;
    tail_o = tail_q;
    head_o = head_q;
    active_o = ev_issue_o || ar_valid_q || m_axi_rvalid || (m_job_valid && m_job_ready);
  end

  always_ff @(posedge clk) begin : indices
    if (accept) tail_q <= doorbell_value_i;
    if (ev_issue_o) issue_q <= issue_q + ONE;
    if (whole) head_q <= head_q + ONE;
    if (clear_i || rst) begin
      tail_q <= '0;
      issue_q <= '0;
      head_q <= '0;
    end
  end

  always_ff @(posedge clk) begin : read_address
    if (ev_issue_o) ar_addr_q <= base_i + slot_bytes;
  end

  logic ar_valid;
  logic [LOG2_AHEAD:0] held, whole_next;
  logic [LOG2_AHEAD:0] mark_in, mark_out;
  logic [2:0] beat_in, beat_out;
  always_comb begin : counts
    held = held_q + {{LOG2_AHEAD{1'b0}}, ev_issue_o} - {{LOG2_AHEAD{1'b0}}, ev_job_o};
    whole_next = whole_q + {{LOG2_AHEAD{1'b0}}, whole} - {{LOG2_AHEAD{1'b0}}, ev_job_o};
    beat_in = beat_in_q;
    beat_out = beat_out_q;
    mark_in = mark_in_q;
    mark_out = mark_out_q;
    ar_valid = ev_issue_o || (ar_valid_q && !m_axi_arready);
    if (take) beat_in = whole ? 3'd0 : beat_in_q + 3'd1;
    if (m_job_valid && m_job_ready) beat_out = m_job_last ? 3'd0 : beat_out_q + 3'd1;
    if (whole) mark_in = mark_in_q + 1'b1;
    if (ev_job_o) mark_out = mark_out_q + 1'b1;
    if (rst) begin
      held = '0;
      whole_next = '0;
      beat_in = '0;
      beat_out = '0;
      mark_in = '0;
      mark_out = '0;
      ar_valid = 1'b0;
    end
  end
  kf_voted #(.WIDTH(4 * LOG2_AHEAD + 11)) u_counts (
      .clk, .d_i({ar_valid, held, whole_next, beat_in, beat_out, mark_in, mark_out}),
      .q_o({ar_valid_q, held_q, whole_q, beat_in_q, beat_out_q, mark_in_q, mark_out_q})
  );

  always_ff @(posedge clk) begin : faults
    if (take) begin
      bad_q <= bad_now;
      axi_bad_q <= axi_now;
    end
    if (whole) marks_q[mark_in_q[LOG2_AHEAD-1:0]] <= bad_now || axi_now;
  end

`ifdef FORMAL
`include "kf_sq_dma_props.svh"
`endif

  // fifo_ready and fifo_valid follow from the counts; the proofs in rtl/formal say so.
  logic unused;
  always_comb unused = &{1'b0, fifo_ready, fifo_valid, m_axi_rresp[0]};

endmodule

`default_nettype wire
