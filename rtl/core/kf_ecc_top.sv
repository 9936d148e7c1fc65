// kf_ecc_top: the ECC core as a peripheral: AXI4-Lite registers, one AXI4 master for the rings, an interrupt, a stream of raw samples.
//
// STYLE, II: see kf_core; TA, TB, K: tiles of the multiplier for the target's DSP blocks, see kf_mulmod. TEST_IMPORT: scalars may come from outside; for test builds, a product leaves it at 0. BUILD goes into the
// build register (the first bits of a commit or a hash of the sources).
// The raw stream brings samples of a noise source as it gives them, not conditioned: bytes of at least 2 bits of min-entropy, one in 32 768 cycles or more often
// (docs/ecc-core.md, "Entropy"). Seeds of the core's generator are made of them.
`default_nettype none
module kf_ecc_top #(
  parameter int          STYLE = 0,
  parameter int          SLEEP = STYLE,  // kf_engine
  parameter int          II = 1,
  parameter int          TA = 26,
  parameter int          TB = 17,
  parameter int          K = 2,
  parameter logic        TEST_IMPORT = 1'b0,
  parameter logic [31:0] BUILD = 32'h0
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

  output logic              irq_o,  // level

  // noise source
  input  wire logic         s_raw_valid,
  output logic              s_raw_ready,
  input  wire logic [7:0]   s_raw_data
);

  logic         job_valid;
  logic         job_ready;
  logic [255:0] job_data;
  logic [31:0]  job_check;
  logic         job_last;
  logic         cpl_valid;
  logic         cpl_ready;
  logic [255:0] cpl_data;
  logic         cpl_last;
  logic         abort;
  logic         zeroise;
  logic         table_we;
  logic [12:0]  table_addr;
  logic [511:0] table_data;
  logic         table_locked;
  logic [31:0]  batch_timeout;
  logic         ready;
  logic         idle;
  logic         wiped;
  logic [1:0]   selftest;
  logic         entropy_alarm;
  logic [7:0]   entropy_state;
  logic         busy;
  logic         ev_mul_issue;
  logic         ev_mul_slot;
  logic         ev_batch;
  logic         ev_parity;
  logic         ev_cycle_gate;
  logic         ev_entropy;

  /* verilator lint_off PINCONNECTEMPTY */
  kf_shell #(.STYLE(STYLE), .CONTEXTS(64 / II), .II(II), .LOG2_KEY_SLOTS(9), .TEST_IMPORT(TEST_IMPORT), .BUILD(BUILD)) u_shell (
    .clk, .rst, .s_axil_awvalid, .s_axil_awready, .s_axil_awaddr, .s_axil_wvalid, .s_axil_wready, .s_axil_wdata, .s_axil_wstrb,
    .s_axil_bvalid, .s_axil_bready, .s_axil_bresp, .s_axil_arvalid, .s_axil_arready, .s_axil_araddr, .s_axil_rvalid, .s_axil_rready,
    .s_axil_rdata, .s_axil_rresp, .m_axi_awvalid, .m_axi_awready, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst,
    .m_axi_wvalid, .m_axi_wready, .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast, .m_axi_bvalid, .m_axi_bready, .m_axi_bresp, .m_axi_arvalid,
    .m_axi_arready, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_rvalid, .m_axi_rready, .m_axi_rdata, .m_axi_rresp,
    .m_axi_rlast, .irq_o,
    .m_job_valid(job_valid), .m_job_ready(job_ready), .m_job_data(job_data), .m_job_check(job_check), .m_job_last(job_last),
    .s_cpl_valid(cpl_valid), .s_cpl_ready(cpl_ready), .s_cpl_data(cpl_data), .s_cpl_last(cpl_last),
    .enable_o(), .abort_o(abort), .zeroise_o(zeroise), .table_we_o(table_we), .table_addr_o(table_addr), .table_data_o(table_data),
    .table_locked_o(table_locked), .batch_timeout_o(batch_timeout), .ready_i(ready), .idle_i(idle), .wiped_i(wiped), .selftest_i(selftest),
    .entropy_alarm_i(entropy_alarm), .entropy_state_i(entropy_state), .busy_i(busy), .ev_mul_issue_i(ev_mul_issue), .ev_mul_slot_i(ev_mul_slot), .ev_batch_i(ev_batch),
    .ev_parity_i(ev_parity), .ev_cycle_gate_i(ev_cycle_gate), .ev_entropy_i(ev_entropy)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  kf_engine #(.STYLE(STYLE), .SLEEP(SLEEP), .II(II), .TA(TA), .TB(TB), .K(K), .TEST_IMPORT(TEST_IMPORT)) u_engine (
    .clk, .rst, .abort_i(abort), .zeroise_i(zeroise), .table_locked_i(table_locked), .table_we_i(table_we), .table_addr_i(table_addr),
    .table_data_i(table_data), .batch_timeout_i(batch_timeout), .s_raw_valid, .s_raw_ready, .s_raw_data,
    .s_job_valid(job_valid), .s_job_ready(job_ready), .s_job_data(job_data), .s_job_check(job_check), .s_job_last(job_last),
    .m_cpl_valid(cpl_valid), .m_cpl_ready(cpl_ready), .m_cpl_data(cpl_data), .m_cpl_last(cpl_last),
    .ready_o(ready), .idle_o(idle), .wiped_o(wiped), .selftest_o(selftest), .entropy_alarm_o(entropy_alarm), .entropy_state_o(entropy_state), .busy_o(busy),
    .ev_mul_issue_o(ev_mul_issue), .ev_mul_slot_o(ev_mul_slot), .ev_batch_o(ev_batch), .ev_parity_o(ev_parity), .ev_cycle_gate_o(ev_cycle_gate),
    .ev_entropy_o(ev_entropy)
  );
endmodule
`default_nettype wire
