// Stands in for kf_axil_regs in the proof of kf_shell: whatever the host writes, in any order and at any time. What is assumed is what the
// proof of kf_axil_regs shows. Never synthesised.
`default_nettype none

module kf_axil_regs #(
    // capability words and build hash as they are read
    parameter logic [31:0] CAP0 = 32'h0,
    parameter logic [31:0] CAP1 = 32'h0,
    parameter logic [31:0] BUILD = 32'h0
) (
    input  wire logic         clk,
    input  wire logic         clk_count,        // of parts that are not here
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

    output logic              active_o,         // used by the simulation style only

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

  (* anyseq *) logic any_s_axil_awready;
  (* anyseq *) logic any_s_axil_wready;
  (* anyseq *) logic any_s_axil_bvalid;
  (* anyseq *) logic [1:0] any_s_axil_bresp;
  (* anyseq *) logic any_s_axil_arready;
  (* anyseq *) logic any_s_axil_rvalid;
  (* anyseq *) logic [31:0] any_s_axil_rdata;
  (* anyseq *) logic [1:0] any_s_axil_rresp;
  (* anyseq *) logic any_enable_o;
  (* anyseq *) logic any_abort_o;
  (* anyseq *) logic any_zeroise_o;
  (* anyseq *) logic [63:0] any_sq_base_o;
  (* anyseq *) logic [4:0] any_sq_log2_o;
  (* anyseq *) logic any_sq_clear_o;
  (* anyseq *) logic any_sq_doorbell_o;
  (* anyseq *) logic [63:0] any_cq_base_o;
  (* anyseq *) logic [4:0] any_cq_log2_o;
  (* anyseq *) logic any_cq_clear_o;
  (* anyseq *) logic any_cq_consume_o;
  (* anyseq *) logic [31:0] any_value_o;
  (* anyseq *) logic [31:0] any_batch_timeout_o;
  (* anyseq *) logic any_table_we_o;
  (* anyseq *) logic [12:0] any_table_addr_o;
  (* anyseq *) logic [511:0] any_table_data_o;
  (* anyseq *) logic any_table_locked_o;
  (* anyseq *) logic any_irq_o;
  always_comb begin
    s_axil_awready = any_s_axil_awready;
    s_axil_wready = any_s_axil_wready;
    s_axil_bvalid = any_s_axil_bvalid;
    s_axil_bresp = any_s_axil_bresp;
    s_axil_arready = any_s_axil_arready;
    s_axil_rvalid = any_s_axil_rvalid;
    s_axil_rdata = any_s_axil_rdata;
    s_axil_rresp = any_s_axil_rresp;
    enable_o = any_enable_o;
    abort_o = any_abort_o;
    zeroise_o = any_zeroise_o;
    sq_base_o = any_sq_base_o;
    sq_log2_o = any_sq_log2_o;
    sq_clear_o = any_sq_clear_o;
    sq_doorbell_o = any_sq_doorbell_o;
    cq_base_o = any_cq_base_o;
    cq_log2_o = any_cq_log2_o;
    cq_clear_o = any_cq_clear_o;
    cq_consume_o = any_cq_consume_o;
    value_o = any_value_o;
    batch_timeout_o = any_batch_timeout_o;
    table_we_o = any_table_we_o;
    table_addr_o = any_table_addr_o;
    table_data_o = any_table_data_o;
    table_locked_o = any_table_locked_o;
    irq_o = any_irq_o;
  end

  always_comb begin
    if (sq_clear_o || cq_clear_o) assume (stopped_i);
  end

  logic f_past = 1'b0;
  always_ff @(posedge clk) begin
    f_past <= 1'b1;
    if (f_past) begin
      if ($past(rst || abort_o || zeroise_o || aborting_i)) assume (!enable_o);
      if (!$past(rst)) begin
        if (!$past(sq_clear_o)) assume (sq_log2_o == $past(sq_log2_o));
        if (!$past(cq_clear_o)) assume (cq_log2_o == $past(cq_log2_o));
      end
    end
  end

  always_comb active_o = 1'b1;

  logic unused_clock;
  always_comb unused_clock = clk_count;

endmodule

`default_nettype wire
