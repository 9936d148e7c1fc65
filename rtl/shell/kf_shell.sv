// Shell of the ECC core: registers (AXI4-Lite), submission and completion rings in host memory (one AXI4 master), interrupt, counters, and
// the orders to the engine. Jobs go out as 6-beat packets, completions come in as 4-beat packets; every fetched descriptor gets exactly one
// completion, whatever happens (disable, abort, zeroisation, bus errors), as long as the engine answers each job once.
// Abort: fetching stops, abort_o stays high until every fetched descriptor has its completion in memory; the engine answers all jobs
// it holds or takes while abort_o is high with status aborted. Zeroisation: the same, with zeroise_o for one cycle, and the shell's
// buffers are overwritten at once, whatever waits in them: STATUS.WIPED waits for that and for the engine's wiped_i, for nobody else. What is
// left then (tags, control words) is overwritten when nothing is in flight any more; abort_o stays high until that is done and
// wiped_i stands; the engine lowers wiped_i at the latest 4 cycles after zeroise_o. The same overwriting runs after reset.
// Secret: x of ECKA completions, scalars in descriptors of test builds. Everything else is public.
`default_nettype none

module kf_shell #(
    // 0: for synthesis; 1: for simulation speed, the clock of most registers stands still while nothing happens (kf_sleep)
    parameter integer STYLE = 0,
    // jobs of one batch, for CAP0
    parameter integer CONTEXTS = 64,
    // cycles between two multiplications, for CAP0
    parameter integer II = 1,
    // log2 of the key slots, for CAP0
    parameter integer LOG2_KEY_SLOTS = 8,
    // bit c: curve c is there
    parameter logic [3:0] CURVES = 4'b0011,
    // bit o: opcode o is there; with TEST_IMPORT also bit 7
    parameter logic [7:0] OPERATIONS = 8'b0111_1110,
    // 1: the engine takes scalars and nonces from descriptors (test builds)
    parameter logic TEST_IMPORT = 1'b0,
    // first 32 bits of the hash of the sources
    parameter logic [31:0] BUILD = 32'h0,
    // largest log2 of a ring's entries
    parameter integer MAX_LOG2 = 16,
    // log2 of the descriptors held between memory and engine
    parameter integer LOG2_AHEAD = 2,
    // width of the ring indices: 32 by the register map; smaller in proofs only
    parameter integer IDX_W = 32
) (
    input  wire logic         clk,
    input  wire logic         rst,

    // registers
    input  wire logic         s_axil_awvalid,
    output logic              s_axil_awready,
    input  wire logic [11:0]  s_axil_awaddr,
    input  wire logic         s_axil_wvalid,
    output logic              s_axil_wready,
    input  wire logic [31:0]  s_axil_wdata,
    input  wire logic [3:0]   s_axil_wstrb,
    output logic              s_axil_bvalid,
    input  wire logic         s_axil_bready,
    output logic [1:0]        s_axil_bresp,
    input  wire logic         s_axil_arvalid,
    output logic              s_axil_arready,
    input  wire logic [11:0]  s_axil_araddr,
    output logic              s_axil_rvalid,
    input  wire logic         s_axil_rready,
    output logic [31:0]       s_axil_rdata,
    output logic [1:0]        s_axil_rresp,

    // memory; one identifier, answers in order
    output logic              m_axi_awvalid,
    input  wire logic         m_axi_awready,
    output logic [63:0]       m_axi_awaddr,
    output logic [7:0]        m_axi_awlen,
    output logic [2:0]        m_axi_awsize,
    output logic [1:0]        m_axi_awburst,
    output logic              m_axi_wvalid,
    input  wire logic         m_axi_wready,
    output logic [255:0]      m_axi_wdata,
    output logic [31:0]       m_axi_wstrb,
    output logic              m_axi_wlast,
    input  wire logic         m_axi_bvalid,
    output logic              m_axi_bready,
    input  wire logic [1:0]   m_axi_bresp,
    output logic              m_axi_arvalid,
    input  wire logic         m_axi_arready,
    output logic [63:0]       m_axi_araddr,
    output logic [7:0]        m_axi_arlen,
    output logic [2:0]        m_axi_arsize,
    output logic [1:0]        m_axi_arburst,
    input  wire logic         m_axi_rvalid,
    output logic              m_axi_rready,
    input  wire logic [255:0] m_axi_rdata,
    input  wire logic [1:0]   m_axi_rresp,
    input  wire logic         m_axi_rlast,

    output logic              irq_o,            // level

    // engine: jobs and completions
    output logic              m_job_valid,
    input  wire logic         m_job_ready,
    output logic [255:0]      m_job_data,
    output logic [31:0]       m_job_check,      // exclusive or of its words, taken when the beat came
    output logic              m_job_last,
    input  wire logic         s_cpl_valid,
    output logic              s_cpl_ready,
    input  wire logic [255:0] s_cpl_data,
    input  wire logic         s_cpl_last,

    // engine: orders and settings
    output logic              enable_o,         // level, CONTROL.ENABLE
    output logic              abort_o,          // level, see above
    output logic              zeroise_o,        // one cycle
    output logic              table_we_o,       // one cycle: write table_data_o to entry table_addr_o
    output logic [12:0]       table_addr_o,     // highest bit: curve
    output logic [511:0]      table_data_o,
    output logic              table_locked_o,
    output logic [31:0]       batch_timeout_o,

    // engine: state
    input  wire logic         ready_i,          // takes jobs
    input  wire logic         idle_i,           // holds no job
    input  wire logic         wiped_i,          // all memories overwritten since reset or zeroise_o
    input  wire logic [1:0]   selftest_i,       // 0 not begun, 1 running, 2 passed, 3 failed
    input  wire logic         entropy_alarm_i,  // level
    input  wire logic [7:0]   entropy_state_i,  // level: seeded, started, causes of the alarm
    input  wire logic         busy_i,           // level: a batch runs

    // engine: one-cycle events
    input  wire logic         ev_mul_issue_i,   // a multiplication was issued
    input  wire logic         ev_mul_slot_i,    // one could have been
    input  wire logic         ev_batch_i,       // a batch started
    input  wire logic         ev_parity_i,      // parity error
    input  wire logic         ev_cycle_gate_i,  // a batch took a wrong number of cycles
    input  wire logic         ev_entropy_i      // a job found no entropy, or a health test failed
);

  localparam logic [31:0] CAP0 = {OPERATIONS | {TEST_IMPORT, 7'd0}, 3'd0, TEST_IMPORT, CURVES, LOG2_KEY_SLOTS[4:0], II[2:0], CONTEXTS[7:0]};
  localparam logic [31:0] CAP1 = {8'd0, 8'd1 << LOG2_AHEAD, 3'd0, 5'd13, 3'd0, MAX_LOG2[4:0]};

  logic work_clk;
  logic active, regs_active, sq_active, cq_active;
  kf_sleep #(.STYLE(STYLE)) sleep (.clk(clk), .active_i(active), .clk_o(work_clk));

  logic enable, order_abort, order_zeroise;
  logic [63:0] sq_base, cq_base;
  logic [4:0] sq_log2, cq_log2;
  logic sq_clear, cq_clear, sq_doorbell, cq_consume;
  logic [31:0] value, sq_tail_word, sq_head_word, cq_tail_word, cq_head_word;
  logic [IDX_W-1:0] sq_tail, sq_head, cq_tail, cq_head;
  always_comb begin : index_words
    sq_tail_word = '0;
    sq_head_word = '0;
    cq_tail_word = '0;
    cq_head_word = '0;
    sq_tail_word[IDX_W-1:0] = sq_tail;
    sq_head_word[IDX_W-1:0] = sq_head;
    cq_tail_word[IDX_W-1:0] = cq_tail;
    cq_head_word[IDX_W-1:0] = cq_head;
  end
  logic sq_refused, cq_refused, sq_bad, sq_axi, cq_axi, cq_frame;
  logic ev_issue, ev_job, ev_done, ev_descriptor, ev_exception;

  // Descriptors whose read was issued and whose completion memory has not acknowledged.
  logic [15:0] in_flight_q;
  logic drained;
  always_ff @(posedge work_clk) begin : in_flight
    in_flight_q <= in_flight_q + {15'd0, ev_issue} - {15'd0, ev_done};
    if (rst) in_flight_q <= '0;
  end
  always_comb drained = in_flight_q == '0;

  // Abort, zeroisation and the overwriting of the buffers.
  // Three times each: a flip here must neither end an order before it is carried out nor begin one. (What a register write passes is there once.)
  logic aborting_q, zeroising_q;
  logic wiped_q;         // the buffers were overwritten since the order
  logic last_q;          // and once more since the last completion went out
  logic [2:0] settle_q;  // gives the engine time to lower wiped_i
  logic aborting, zeroising, wiped, last;
  logic [2:0] settle;
  logic wiping, sq_wiping, cq_wiping;
  logic wipe_last;
  always_comb begin : orders
    wiping = sq_wiping || cq_wiping;
    wipe_last = zeroising_q && drained && wiped_q && !wiping && !last_q;
    aborting = aborting_q;
    zeroising = zeroising_q;
    wiped = wiped_q || !wiping;
    last = last_q || wipe_last;
    settle = settle_q == '0 ? '0 : settle_q - 3'd1;
    if (aborting_q && drained && (!zeroising_q || (last_q && !wiping && wiped_i && settle_q == '0))) begin
      aborting = 1'b0;
      zeroising = 1'b0;
    end
    if (order_abort || order_zeroise) aborting = 1'b1;
    // A second order while one is under way begins anew, so that it also covers what came in between.
    if (order_zeroise) begin
      zeroising = 1'b1;
      settle = 3'd7;
      wiped = 1'b0;
      last = 1'b0;
    end
    if (rst) begin
      aborting = 1'b0;
      zeroising = 1'b0;
      settle = '0;
      wiped = 1'b0;
      last = 1'b0;
    end
  end
  kf_voted #(.WIDTH(7)) u_orders (.clk(work_clk), .d_i({aborting, zeroising, wiped, last, settle}), .q_o({aborting_q, zeroising_q, wiped_q, last_q, settle_q}));

  // A ring that cannot be: nothing is fetched.
  logic sq_wrong, cq_wrong, fetch, stopped;
  always_comb begin : gate
    sq_wrong = sq_log2 > MAX_LOG2[4:0] || sq_base[kf_regs_pkg::DESCRIPTOR_LOG2_BYTES-1:0] != '0;
    cq_wrong = cq_log2 > MAX_LOG2[4:0] || cq_base[kf_regs_pkg::COMPLETION_LOG2_BYTES-1:0] != '0;
    fetch = enable && !sq_wrong && !cq_wrong && !aborting_q && !wiping;
    stopped = !enable && !aborting_q && drained;
  end

  logic [kf_regs_pkg::ERRORS-1:0] errors;
  logic [kf_regs_pkg::COUNTERS-1:0] counts;
  logic [8:0] state;
  logic alarm_q;
  always_ff @(posedge work_clk) begin : alarm
    alarm_q <= entropy_alarm_i;
    if (rst) alarm_q <= 1'b0;
  end
  always_comb begin : collect
    errors = '0;
    errors[kf_regs_pkg::ERR_SQ_CONFIG] = enable && sq_wrong;
    errors[kf_regs_pkg::ERR_CQ_CONFIG] = enable && cq_wrong;
    errors[kf_regs_pkg::ERR_SQ_TAIL] = sq_refused;
    errors[kf_regs_pkg::ERR_CQ_HEAD] = cq_refused;
    errors[kf_regs_pkg::ERR_AXI_READ] = sq_axi;
    errors[kf_regs_pkg::ERR_AXI_WRITE] = cq_axi;
    errors[kf_regs_pkg::ERR_BAD_DESCRIPTOR] = sq_bad;
    errors[kf_regs_pkg::ERR_FRAME] = cq_frame;
    errors[kf_regs_pkg::ERR_FAULT] = ev_parity_i || ev_cycle_gate_i;

    counts = '0;
    counts[kf_regs_pkg::COUNT_CYCLES] = 1'b1;
    counts[kf_regs_pkg::COUNT_BUSY_CYCLES] = busy_i;
    counts[kf_regs_pkg::COUNT_MUL_ISSUED] = ev_mul_issue_i;
    counts[kf_regs_pkg::COUNT_MUL_SLOTS] = ev_mul_slot_i;
    counts[kf_regs_pkg::COUNT_JOBS] = ev_job;
    counts[kf_regs_pkg::COUNT_BATCHES] = ev_batch_i;
    counts[kf_regs_pkg::COUNT_COMPLETIONS] = ev_done;
    counts[kf_regs_pkg::COUNT_BAD_DESCRIPTORS] = ev_descriptor;
    counts[kf_regs_pkg::COUNT_AXI_ERRORS] = axi_count;
    counts[kf_regs_pkg::COUNT_PARITY_FAULTS] = ev_parity_i;
    counts[kf_regs_pkg::COUNT_CYCLE_GATE_FAULTS] = ev_cycle_gate_i;
    counts[kf_regs_pkg::COUNT_ENTROPY_FAILURES] = ev_entropy_i;
    counts[kf_regs_pkg::COUNT_EXCEPTIONS] = ev_exception;

    state = '0;
    state[kf_regs_pkg::STATUS_READY_LSB] = ready_i;
    state[kf_regs_pkg::STATUS_IDLE_LSB] = drained && idle_i;
    state[kf_regs_pkg::STATUS_SELFTEST_RUNNING_LSB] = selftest_i == 2'd1;
    state[kf_regs_pkg::STATUS_SELFTEST_PASSED_LSB] = selftest_i == 2'd2;
    state[kf_regs_pkg::STATUS_SELFTEST_FAILED_LSB] = selftest_i == 2'd3;
    state[kf_regs_pkg::STATUS_WIPED_LSB] = wiped_q && wiped_i && settle_q == '0;
    state[kf_regs_pkg::STATUS_TABLE_LOCKED_LSB] = table_locked_o;
    state[kf_regs_pkg::STATUS_ENTROPY_ALARM_LSB] = entropy_alarm_i;
    state[kf_regs_pkg::STATUS_ABORTING_LSB] = aborting_q;
  end

  // A read and a write error may come in one cycle; the second is counted in the next cycle without another (descriptors and completions
  // take several beats, so one place of memory is enough).
  logic axi_owed_q, axi_count;
  always_comb axi_count = sq_axi || cq_axi || axi_owed_q;
  always_ff @(posedge work_clk) begin : axi_errors
    axi_owed_q <= (sq_axi && cq_axi) || (axi_owed_q && (sq_axi || cq_axi));
    if (rst) axi_owed_q <= 1'b0;
  end

  always_comb active = rst || regs_active || sq_active || cq_active || aborting_q || wiping || settle_q != '0 || axi_owed_q
      || entropy_alarm_i != alarm_q;

  always_comb begin : to_engine
    enable_o = enable;
    abort_o = aborting_q;
    zeroise_o = order_zeroise;
  end

  kf_axil_regs #(.CAP0(CAP0), .CAP1(CAP1), .BUILD(BUILD)) registers (
      .clk(work_clk), .clk_count(clk), .rst(rst), .active_o(regs_active),
      .s_axil_awvalid(s_axil_awvalid), .s_axil_awready(s_axil_awready), .s_axil_awaddr(s_axil_awaddr),
      .s_axil_wvalid(s_axil_wvalid), .s_axil_wready(s_axil_wready), .s_axil_wdata(s_axil_wdata), .s_axil_wstrb(s_axil_wstrb),
      .s_axil_bvalid(s_axil_bvalid), .s_axil_bready(s_axil_bready), .s_axil_bresp(s_axil_bresp),
      .s_axil_arvalid(s_axil_arvalid), .s_axil_arready(s_axil_arready), .s_axil_araddr(s_axil_araddr),
      .s_axil_rvalid(s_axil_rvalid), .s_axil_rready(s_axil_rready), .s_axil_rdata(s_axil_rdata), .s_axil_rresp(s_axil_rresp),
      .enable_o(enable), .abort_o(order_abort), .zeroise_o(order_zeroise), .aborting_i(aborting_q), .stopped_i(stopped),
      .sq_base_o(sq_base), .sq_log2_o(sq_log2), .sq_clear_o(sq_clear), .sq_doorbell_o(sq_doorbell),
      .cq_base_o(cq_base), .cq_log2_o(cq_log2), .cq_clear_o(cq_clear), .cq_consume_o(cq_consume), .value_o(value),
      .sq_tail_i(sq_tail_word), .sq_head_i(sq_head_word), .cq_tail_i(cq_tail_word), .cq_head_i(cq_head_word),
      .batch_timeout_o(batch_timeout_o), .table_we_o(table_we_o), .table_addr_o(table_addr_o), .table_data_o(table_data_o),
      .table_locked_o(table_locked_o),
      .status_i(state), .entropy_i(entropy_state_i), .ev_error_i(errors), .selftest_failed_i(selftest_i == 2'd3),
      .ev_entropy_i(ev_entropy_i || (entropy_alarm_i && !alarm_q)), .ev_completion_i(ev_done), .irq_o(irq_o), .ev_count_i(counts));

`ifdef FORMAL
  logic [LOG2_AHEAD:0] f_sq_held;
  logic f_cq_whole, f_cq_partial;
  logic [IDX_W-1:0] f_cq_held;
`endif
  kf_sq_dma #(.IDX_W(IDX_W), .MAX_LOG2(MAX_LOG2), .LOG2_AHEAD(LOG2_AHEAD)) submissions (
      .clk(work_clk), .rst(rst), .wipe_i(order_zeroise || wipe_last), .wiping_o(sq_wiping), .blank_i(zeroising_q), .active_o(sq_active),
      .fetch_i(fetch), .base_i(sq_base), .log2_i(sq_log2), .clear_i(sq_clear),
      .doorbell_i(sq_doorbell), .doorbell_value_i(value[IDX_W-1:0]),
      .tail_o(sq_tail), .head_o(sq_head),
      .ev_issue_o(ev_issue), .ev_job_o(ev_job), .ev_refused_o(sq_refused), .ev_bad_o(sq_bad), .ev_axi_o(sq_axi),
      .m_axi_arvalid(m_axi_arvalid), .m_axi_arready(m_axi_arready), .m_axi_araddr(m_axi_araddr),
      .m_axi_rvalid(m_axi_rvalid), .m_axi_rready(m_axi_rready), .m_axi_rdata(m_axi_rdata), .m_axi_rresp(m_axi_rresp),
      .m_axi_rlast(m_axi_rlast),
      .m_job_valid(m_job_valid), .m_job_ready(m_job_ready), .m_job_data(m_job_data), .m_job_check(m_job_check), .m_job_last(m_job_last)
`ifdef FORMAL
      , .f_held_o(f_sq_held)
`endif
  );

  kf_cq_dma #(.IDX_W(IDX_W), .MAX_LOG2(MAX_LOG2)) completions (
      .clk(work_clk), .rst(rst), .wipe_i(order_zeroise || wipe_last), .wiping_o(cq_wiping), .blank_i(zeroising_q), .active_o(cq_active),
      .base_i(cq_base), .log2_i(cq_log2), .clear_i(cq_clear), .consume_i(cq_consume), .consume_value_i(value[IDX_W-1:0]),
      .tail_o(cq_tail), .head_o(cq_head),
      .ev_done_o(ev_done), .ev_refused_o(cq_refused), .ev_axi_o(cq_axi), .ev_frame_o(cq_frame),
      .ev_descriptor_o(ev_descriptor), .ev_exception_o(ev_exception),
      .s_cpl_valid(s_cpl_valid), .s_cpl_ready(s_cpl_ready), .s_cpl_data(s_cpl_data), .s_cpl_last(s_cpl_last),
      .m_axi_awvalid(m_axi_awvalid), .m_axi_awready(m_axi_awready), .m_axi_awaddr(m_axi_awaddr),
      .m_axi_wvalid(m_axi_wvalid), .m_axi_wready(m_axi_wready), .m_axi_wdata(m_axi_wdata), .m_axi_wlast(m_axi_wlast),
      .m_axi_bvalid(m_axi_bvalid), .m_axi_bready(m_axi_bready), .m_axi_bresp(m_axi_bresp)
`ifdef FORMAL
      , .f_whole_o(f_cq_whole), .f_held_o(f_cq_held), .f_partial_o(f_cq_partial)
`endif
  );

`ifdef FORMAL
`include "kf_shell_props.svh"
`endif

  // Fixed parts of the bursts: whole 256-bit beats at rising addresses.
  always_comb begin : burst_shape
    m_axi_arlen = kf_regs_pkg::DESCRIPTOR_BEATS[7:0] - 8'd1;
    m_axi_arsize = 3'd5;
    m_axi_arburst = 2'b01;
    m_axi_awlen = kf_regs_pkg::COMPLETION_BEATS[7:0] - 8'd1;
    m_axi_awsize = 3'd5;
    m_axi_awburst = 2'b01;
    m_axi_wstrb = 32'hFFFF_FFFF;
  end

endmodule

`default_nettype wire
