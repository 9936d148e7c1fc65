// Register block of the ECC core: AXI4-Lite, 32-bit words, map in rtl/regs/regs.json (kf_regs_pkg is made from it).
// One write and one read at a time; a write acts in the cycle both its address and its data are held, a read is answered two cycles after
// its address was taken. What is not in the map reads as 0 and takes no write; a write without all four byte strobes changes nothing and is
// answered with SLVERR; everything else with OKAY.
// Nothing here is secret: key material never passes through registers (the table holds multiples of the base point).
`default_nettype none

module kf_axil_regs #(
    // capability words and build hash as they are read
    parameter logic [31:0] CAP0 = 32'h0,
    parameter logic [31:0] CAP1 = 32'h0,
    parameter logic [31:0] BUILD = 32'h0
) (
    input  wire logic         clk,          // may stand still while active_o is low (kf_sleep)
    input  wire logic         clk_count,    // the same clock, never standing still: counters and interrupt
    input  wire logic         rst,

    // AXI4-Lite
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

    output logic              active_o,     // an access is under way, or an error bit is about to be set

    // orders
    output logic              enable_o,
    output logic              abort_o,          // one cycle
    output logic              zeroise_o,        // one cycle
    input  wire logic         aborting_i,       // ENABLE stays 0
    input  wire logic         stopped_i,        // ring set-up may change

    // rings
    output logic [63:0]       sq_base_o,
    output logic [4:0]        sq_log2_o,
    output logic              sq_clear_o,       // one cycle: SQ_LOG2 was written
    output logic              sq_doorbell_o,    // one cycle: SQ_TAIL was written with value_o
    output logic [63:0]       cq_base_o,
    output logic [4:0]        cq_log2_o,
    output logic              cq_clear_o,
    output logic              cq_consume_o,     // one cycle: CQ_HEAD was written with value_o
    output logic [31:0]       value_o,
    input  wire logic [31:0]  sq_tail_i,
    input  wire logic [31:0]  sq_head_i,
    input  wire logic [31:0]  cq_tail_i,
    input  wire logic [31:0]  cq_head_i,

    // engine
    output logic [31:0]       batch_timeout_o,
    output logic              table_we_o,
    output logic [12:0]       table_addr_o,
    output logic [511:0]      table_data_o,
    output logic              table_locked_o,

    // STATUS bits 8..0, sticky error events in the order of the map (CONFIG_BUSY and TABLE_REFUSED arise here), interrupt
    input  wire logic [8:0]   status_i,
    input  wire logic [7:0]   entropy_i,        // of ENTROPY: seeded, started, causes
    input  wire logic [kf_regs_pkg::ERRORS-1:0] ev_error_i,
    input  wire logic         selftest_failed_i,
    input  wire logic         ev_entropy_i,
    input  wire logic         ev_completion_i,
    output logic              irq_o,

    // one event each cycle and counter
    input  wire logic [kf_regs_pkg::COUNTERS-1:0] ev_count_i
);

  localparam logic [1:0] OKAY = 2'b00;
  localparam logic [1:0] SLVERR = 2'b10;
  localparam integer ERRORS = kf_regs_pkg::ERRORS;
  localparam integer COUNTERS = kf_regs_pkg::COUNTERS;

  // Write channel.
  logic aw_held_q, w_held_q, b_valid_q, b_bad_q;
  logic [11:0] aw_addr_q;
  logic [31:0] w_data_q;
  logic [3:0] w_strb_q;
  logic fire, we;
  always_comb begin : write_channel
    s_axil_awready = !aw_held_q;
    s_axil_wready = !w_held_q;
    fire = aw_held_q && w_held_q && !b_valid_q;
    we = fire && (&w_strb_q);
    s_axil_bvalid = b_valid_q;
    s_axil_bresp = b_bad_q ? SLVERR : OKAY;
  end

  always_ff @(posedge clk) begin : write_state
    if (s_axil_awvalid && s_axil_awready) aw_held_q <= 1'b1;
    if (s_axil_wvalid && s_axil_wready) w_held_q <= 1'b1;
    if (b_valid_q && s_axil_bready) b_valid_q <= 1'b0;
    if (fire) begin
      aw_held_q <= 1'b0;
      w_held_q <= 1'b0;
      b_valid_q <= 1'b1;
      b_bad_q <= !(&w_strb_q);
    end
    if (rst) begin
      aw_held_q <= 1'b0;
      w_held_q <= 1'b0;
      b_valid_q <= 1'b0;
      b_bad_q <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin : write_data
    if (s_axil_awvalid && s_axil_awready) aw_addr_q <= s_axil_awaddr;
    if (s_axil_wvalid && s_axil_wready) begin
      w_data_q <= s_axil_wdata;
      w_strb_q <= s_axil_wstrb;
    end
  end

  // What a write asks for.
  logic we_control, we_table, we_ring, ring_busy, table_refused;
  always_comb begin : write_decode
    value_o = w_data_q;
    we_control = we && aw_addr_q == kf_regs_pkg::REG_CONTROL;
    abort_o = we_control && w_data_q[kf_regs_pkg::CONTROL_ABORT_LSB];
    zeroise_o = we_control && w_data_q[kf_regs_pkg::CONTROL_ZEROISE_LSB];
    we_ring = we && (aw_addr_q == kf_regs_pkg::REG_SQ_BASE_LO || aw_addr_q == kf_regs_pkg::REG_SQ_BASE_HI
                     || aw_addr_q == kf_regs_pkg::REG_SQ_LOG2 || aw_addr_q == kf_regs_pkg::REG_CQ_BASE_LO
                     || aw_addr_q == kf_regs_pkg::REG_CQ_BASE_HI || aw_addr_q == kf_regs_pkg::REG_CQ_LOG2);
    ring_busy = we_ring && !stopped_i;
    sq_clear_o = we_ring && stopped_i && aw_addr_q == kf_regs_pkg::REG_SQ_LOG2;
    cq_clear_o = we_ring && stopped_i && aw_addr_q == kf_regs_pkg::REG_CQ_LOG2;
    sq_doorbell_o = we && aw_addr_q == kf_regs_pkg::REG_SQ_TAIL;
    cq_consume_o = we && aw_addr_q == kf_regs_pkg::REG_CQ_HEAD;
    we_table = we && aw_addr_q == kf_regs_pkg::REG_TABLE_DATA && !table_locked_o;
    table_refused = we && aw_addr_q == kf_regs_pkg::REG_TABLE_DATA && table_locked_o;
  end

  // Plain registers.
  logic enable_q;
  logic lock_q;  // three times: a flip must not open the table again
  kf_voted #(.WIDTH(1)) u_lock (.clk, .d_i(!rst && (lock_q || (we_control && w_data_q[kf_regs_pkg::CONTROL_LOCK_TABLE_LSB]))), .q_o(lock_q));
  logic [63:0] sq_base_q, cq_base_q;
  logic [4:0] sq_log2_q, cq_log2_q;
  logic [31:0] batch_timeout_q;
  logic [31:0] coalesce_q;
  logic [2:0] irq_enable_q;
  always_ff @(posedge clk) begin : plain
    if (we_ring && stopped_i) begin
      if (aw_addr_q == kf_regs_pkg::REG_SQ_BASE_LO) sq_base_q[31:0] <= w_data_q;
      if (aw_addr_q == kf_regs_pkg::REG_SQ_BASE_HI) sq_base_q[63:32] <= w_data_q;
      if (aw_addr_q == kf_regs_pkg::REG_SQ_LOG2) sq_log2_q <= w_data_q[4:0];
    end
    if (we && aw_addr_q == kf_regs_pkg::REG_BATCH_TIMEOUT) batch_timeout_q <= w_data_q;
    if (we && aw_addr_q == kf_regs_pkg::REG_IRQ_COALESCE) coalesce_q <= w_data_q;
    if (we && aw_addr_q == kf_regs_pkg::REG_IRQ_ENABLE) irq_enable_q <= w_data_q[2:0];
    if (rst) begin
      sq_base_q <= '0;
      sq_log2_q <= kf_regs_pkg::RESET_SQ_LOG2[4:0];
      batch_timeout_q <= kf_regs_pkg::RESET_BATCH_TIMEOUT;
      coalesce_q <= kf_regs_pkg::RESET_IRQ_COALESCE;
      irq_enable_q <= kf_regs_pkg::RESET_IRQ_ENABLE[2:0];
    end
  end

  // Three times: a flip must not move the ring that is written to, nor fetch without order.
  logic [63:0] cq_base;
  logic [4:0] cq_log2;
  logic enable;
  always_comb begin : completion_ring
    enable = we_control ? w_data_q[kf_regs_pkg::CONTROL_ENABLE_LSB] : enable_q;
    cq_base = cq_base_q;
    cq_log2 = cq_log2_q;
    if (abort_o || zeroise_o || aborting_i) enable = 1'b0;
    if (we_ring && stopped_i) begin
      if (aw_addr_q == kf_regs_pkg::REG_CQ_BASE_LO) cq_base[31:0] = w_data_q;
      if (aw_addr_q == kf_regs_pkg::REG_CQ_BASE_HI) cq_base[63:32] = w_data_q;
      if (aw_addr_q == kf_regs_pkg::REG_CQ_LOG2) cq_log2 = w_data_q[4:0];
    end
    if (rst) begin
      enable = 1'b0;
      cq_base = '0;
      cq_log2 = kf_regs_pkg::RESET_CQ_LOG2[4:0];
    end
  end
  kf_voted #(.WIDTH(70)) u_ring (.clk, .d_i({enable, cq_base, cq_log2}), .q_o({enable_q, cq_base_q, cq_log2_q}));

  always_comb begin : settings
    enable_o = enable_q;
    sq_base_o = sq_base_q;
    sq_log2_o = sq_log2_q;
    cq_base_o = cq_base_q;
    cq_log2_o = cq_log2_q;
    batch_timeout_o = batch_timeout_q;
    table_locked_o = lock_q;
  end

  // Table window: words shift in from the top, so after 16 of them the first stands lowest.
  logic [16:0] table_pos_q;
  logic [511:0] table_word_q;
  logic [12:0] table_entry_q;
  logic table_we_q;
  always_ff @(posedge clk) begin : table_position
    if (we && aw_addr_q == kf_regs_pkg::REG_TABLE_ADDR) table_pos_q <= w_data_q[16:0];
    else if (we_table) table_pos_q <= table_pos_q + 17'd1;
    table_we_q <= we_table && table_pos_q[3:0] == 4'hF;
    if (rst) begin
      table_pos_q <= '0;
      table_we_q <= 1'b0;
    end
  end
  always_ff @(posedge clk) begin : table_word
    if (we_table) begin
      table_word_q <= {w_data_q, table_word_q[511:32]};
      table_entry_q <= table_pos_q[16:4];
    end
  end
  always_comb begin : table_out
    table_we_o = table_we_q;
    table_addr_o = table_entry_q;
    table_data_o = table_word_q;
  end

  // Sticky errors and the interrupt.
  logic [ERRORS-1:0] error_q, error_now;
  logic failed_q;
  logic [2:0] irq_status, irq_clear;
  always_comb begin : errors
    error_now = ev_error_i;
    error_now[kf_regs_pkg::ERR_CONFIG_BUSY] = ring_busy;
    error_now[kf_regs_pkg::ERR_TABLE_REFUSED] = table_refused;
    irq_clear = (we && aw_addr_q == kf_regs_pkg::REG_IRQ_STATUS) ? w_data_q[2:0] : 3'd0;
  end
  always_ff @(posedge clk) begin : sticky
    if (we && aw_addr_q == kf_regs_pkg::REG_STATUS) error_q <= (error_q & ~w_data_q[kf_regs_pkg::STATUS_ERROR_LSB +: ERRORS]) | error_now;
    else error_q <= error_q | error_now;
    failed_q <= selftest_failed_i;
    if (rst) begin
      error_q <= '0;
      failed_q <= 1'b0;
    end
  end

  // A lasting condition (an impossible ring) is an event each cycle; it interrupts once for each time its bit rises.
  kf_irq irq (
      .clk(clk_count), .rst(rst),
      .ev_completion_i(ev_completion_i),
      .ev_error_i(|(error_now & ~error_q) || (selftest_failed_i && !failed_q)),
      .ev_entropy_i(ev_entropy_i),
      .enable_i(irq_enable_q), .clear_i(irq_clear),
      .completions_i(coalesce_q[15:0]), .timeout_i(coalesce_q[31:16]),
      .status_o(irq_status), .irq_o(irq_o));

  // Counters.
  logic [63:0] counts [0:COUNTERS-1];
  generate
    genvar g;
    for (g = 0; g < COUNTERS; g = g + 1) begin : counter
      kf_counter64 one (.clk(clk_count), .rst(rst), .event_i(ev_count_i[g]), .count_o(counts[g]));
    end
  endgenerate

  // Read channel: address taken, word looked up, word offered.
  logic ar_held_q, r_valid_q;
  logic [11:0] ar_addr_q;
  logic [31:0] r_data_q, latch_q, word;
  logic [11:0] count_at;
  logic in_counters;
  logic [63:0] count;
  integer i;
  always_comb begin : read_mux
    count_at = ar_addr_q - kf_regs_pkg::COUNTER_BASE;
    in_counters = ar_addr_q >= kf_regs_pkg::COUNTER_BASE && count_at < COUNTERS[11:0] * 12'd8 && count_at[1:0] == 2'd0;
    count = '0;
    i = 0;
    word = '0;
    // Only while a read waits: the rest of the time a simulation need not look anything up.
    if (ar_held_q) begin
      for (i = 0; i < COUNTERS; i = i + 1) if (count_at[11:3] == i[8:0]) count = count | counts[i];
      case (ar_addr_q)
        kf_regs_pkg::REG_ID: word = kf_regs_pkg::RESET_ID;
        kf_regs_pkg::REG_VERSION: word = kf_regs_pkg::RESET_VERSION;
        kf_regs_pkg::REG_CAP0: word = CAP0;
        kf_regs_pkg::REG_CAP1: word = CAP1;
        kf_regs_pkg::REG_BUILD: word = BUILD;
        kf_regs_pkg::REG_CONTROL: begin
          word[kf_regs_pkg::CONTROL_ENABLE_LSB] = enable_q;
          word[kf_regs_pkg::CONTROL_LOCK_TABLE_LSB] = lock_q;
        end
        kf_regs_pkg::REG_STATUS: begin
          word[8:0] = status_i;
          word[kf_regs_pkg::STATUS_ERROR_LSB +: ERRORS] = error_q;
        end
        kf_regs_pkg::REG_ENTROPY: begin
          word[kf_regs_pkg::ENTROPY_STARTED_LSB] = entropy_i[6];
          word[kf_regs_pkg::ENTROPY_SEEDED_LSB] = entropy_i[7];
          word[kf_regs_pkg::ENTROPY_REPETITION_LSB +: 6] = entropy_i[5:0];
        end
        kf_regs_pkg::REG_IRQ_ENABLE: word[2:0] = irq_enable_q;
        kf_regs_pkg::REG_IRQ_STATUS: word[2:0] = irq_status;
        kf_regs_pkg::REG_IRQ_COALESCE: word = coalesce_q;
        kf_regs_pkg::REG_SQ_BASE_LO: word = sq_base_q[31:0];
        kf_regs_pkg::REG_SQ_BASE_HI: word = sq_base_q[63:32];
        kf_regs_pkg::REG_SQ_LOG2: word[4:0] = sq_log2_q;
        kf_regs_pkg::REG_SQ_TAIL: word = sq_tail_i;
        kf_regs_pkg::REG_SQ_HEAD: word = sq_head_i;
        kf_regs_pkg::REG_CQ_BASE_LO: word = cq_base_q[31:0];
        kf_regs_pkg::REG_CQ_BASE_HI: word = cq_base_q[63:32];
        kf_regs_pkg::REG_CQ_LOG2: word[4:0] = cq_log2_q;
        kf_regs_pkg::REG_CQ_HEAD: word = cq_head_i;
        kf_regs_pkg::REG_CQ_TAIL: word = cq_tail_i;
        kf_regs_pkg::REG_BATCH_TIMEOUT: word = batch_timeout_q;
        kf_regs_pkg::REG_TABLE_ADDR: word[16:0] = table_pos_q;
        default: if (in_counters) word = count_at[2] ? latch_q : count[31:0];
      endcase
    end
    s_axil_arready = !ar_held_q && !r_valid_q;
    s_axil_rvalid = r_valid_q;
    s_axil_rdata = r_data_q;
    s_axil_rresp = OKAY;
  end

  always_comb active_o = s_axil_awvalid || s_axil_wvalid || s_axil_arvalid || aw_held_q || w_held_q || b_valid_q || ar_held_q || r_valid_q
      || (|ev_error_i) || selftest_failed_i != failed_q;

  always_ff @(posedge clk) begin : read_state
    if (s_axil_arvalid && s_axil_arready) ar_held_q <= 1'b1;
    if (r_valid_q && s_axil_rready) r_valid_q <= 1'b0;
    if (ar_held_q) begin
      ar_held_q <= 1'b0;
      r_valid_q <= 1'b1;
    end
    if (rst) begin
      ar_held_q <= 1'b0;
      r_valid_q <= 1'b0;
    end
  end

  // The high word is latched with the low one, so a carry between the two reads does not show.
  always_ff @(posedge clk) begin : read_data
    if (s_axil_arvalid && s_axil_arready) ar_addr_q <= s_axil_araddr;
    if (ar_held_q) begin
      r_data_q <= word;
      if (in_counters && !count_at[2]) latch_q <= count[63:32];
    end
  end

`ifdef FORMAL
`include "kf_axil_regs_props.svh"
`endif

endmodule

`default_nettype wire
