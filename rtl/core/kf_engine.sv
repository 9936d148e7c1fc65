// kf_engine: jobs in, completions out, entropy in. Everything secret of the core is inside.
//
// Jobs: packets of 6 beats, completions: packets of 4 beats, one for every job, in the order of the jobs (layouts: rtl/regs/regs.json).
// abort_i: level; every job that is held or comes while it stands is answered as aborted. zeroise_i: one cycle; all key slots are erased
// (wiped_o falls and rises again); raise abort_i with it and hold it until idle_o to get rid of the jobs as well.
`default_nettype none
module kf_engine #(
  parameter int   STYLE = 0,  // 0: for synthesis, 1: for simulation speed
  parameter int   II = 1,
  parameter int   TA = 26,  // tiles of the multiplier: see kf_mulmod
  parameter int   TB = 17,
  parameter int   K = 2,
  parameter logic TEST_IMPORT = 1'b0,
  parameter logic SELF_TEST = 1'b1  // 0 only for builds with tiny curves
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,
  input  wire  logic         zeroise_i,
  input  wire  logic         table_locked_i,
  input  wire  logic         table_we_i,
  input  wire  logic [11:0]  table_addr_i,
  input  wire  logic [511:0] table_data_i,
  input  wire  logic [31:0]  batch_timeout_i,

  input  wire  logic         s_raw_valid,
  output       logic         s_raw_ready,
  input  wire  logic [31:0]  s_raw_data,

  input  wire  logic         s_job_valid,
  output       logic         s_job_ready,
  input  wire  logic [255:0] s_job_data,
  input  wire  logic         s_job_last,
  output       logic         m_cpl_valid,
  input  wire  logic         m_cpl_ready,
  output       logic [255:0] m_cpl_data,
  output       logic         m_cpl_last,

  output       logic         ready_o,
  output       logic         idle_o,
  output       logic         wiped_o,
  output       logic [1:0]   selftest_o,
  output       logic         entropy_alarm_o,
  output       logic         busy_o,
  output       logic         ev_mul_issue_o,
  output       logic         ev_mul_slot_o,
  output       logic         ev_batch_o,
  output       logic         ev_parity_o,
  output       logic         ev_cycle_gate_o,
  output       logic         ev_entropy_o
);
  // Everything but the core sleeps, in simulation style, while it has nothing to do.
  logic         front_clk;
  logic         prep_active;
  logic         results_active;
  logic         entropy_active;
  kf_sleep #(.STYLE(STYLE)) u_sleep (
    .clk, .active_i(rst || abort_i || prep_active || results_active || entropy_active), .clk_o(front_clk)
  );

  logic         word_valid;
  logic         word_ready;
  logic [31:0]  word_data;
  kf_entropy u_entropy (
    .clk(front_clk), .rst, .s_raw_valid, .s_raw_ready, .s_raw_data, .m_word_valid(word_valid), .m_word_ready(word_ready), .m_word_data(word_data),
    .active_o(entropy_active), .alarm_o(entropy_alarm_o), .ev_alarm_o(ev_entropy_o)
  );

  logic         batch_valid;
  logic [2:0]   batch_program;
  logic         batch_curve;
  logic         batch_kat;
  logic         core_taken;
  logic         core_busy;
  logic         core_wiped;
  logic         in_we;
  logic [5:0]   in_ctx;
  logic [2:0]   in_reg;
  logic [255:0] in_data;
  logic         row_valid;
  logic         row_ready;
  logic         row_comb;
  logic [5:0]   row_ctx;
  logic [329:0] row_data;
  logic         run_kat;
  logic [6:0]   run_count;
  logic [1:0]   run_set;
  logic         meta_we;
  logic [7:0]   meta_addr;
  logic [96:0]  meta_data;
  logic         kat_done;
  logic         kat_ok;
  logic         erase_valid;
  logic         erase_ready;
  logic [15:0]  erase_slot;
  logic         prep_idle;
  logic         prep_wiped;
`ifdef FORMAL
  // Of the proofs in rtl/formal: two contexts, and what kf_engine_props.svh wants to see.
  localparam int F_N = 2;
  logic         f_accept;
  logic         f_hand;
  logic [6:0]   f_count;
  logic [1:0]   f_set;
  logic [79:0]  f_in_hand;
  logic         f_has;
  logic         f_answers;
  logic [7:0]   f_addr;
  logic [96:0]  f_meta_word;
  logic [6:0]   f_results_left;
  logic [7:0]   f_at;
  logic         f_read;
  logic [79:0]  f_meta;
  logic [6:0]   f_next;
`endif
  kf_prep #(
    .II(II), .TEST_IMPORT(TEST_IMPORT), .SELF_TEST(SELF_TEST)
`ifdef FORMAL
    , .N(F_N), .LOG2_SLOTS(2)
`endif
  ) u_prep (
    .clk(front_clk), .rst, .abort_i, .zeroise_i, .table_locked_i, .batch_timeout_i,
    .s_job_valid, .s_job_ready, .s_job_data, .s_job_last,
    .s_word_valid(word_valid), .s_word_ready(word_ready), .s_word_data(word_data), .entropy_alarm_i(entropy_alarm_o),
    .batch_valid_o(batch_valid), .batch_program_o(batch_program), .batch_curve_o(batch_curve), .batch_kat_o(batch_kat),
    .core_taken_i(core_taken), .core_busy_i(core_busy), .core_wiped_i(core_wiped),
    .in_we_o(in_we), .in_ctx_o(in_ctx), .in_reg_o(in_reg), .in_data_o(in_data),
    .row_valid_o(row_valid), .row_ready_i(row_ready), .row_comb_o(row_comb), .row_ctx_o(row_ctx), .row_data_o(row_data),
    .run_kat_o(run_kat), .run_count_o(run_count), .run_set_o(run_set), .meta_we_o(meta_we), .meta_addr_o(meta_addr), .meta_data_o(meta_data),
    .kat_done_i(kat_done), .kat_ok_i(kat_ok), .erase_valid_i(erase_valid), .erase_ready_o(erase_ready), .erase_slot_i(erase_slot),
    .active_o(prep_active), .ready_o, .idle_o(prep_idle), .wiped_o(prep_wiped), .selftest_o
`ifdef FORMAL
    , .f_accept_o(f_accept), .f_hand_o(f_hand), .f_count_o(f_count), .f_set_o(f_set), .f_job_o(f_in_hand)
`endif
  );

  logic         res_free;
  logic         res_valid;
  logic [5:0]   res_ctx;
  logic [3:0]   res_status;
  logic [255:0] res_x;
  logic [255:0] res_y;
  logic         res_last;
  logic         res_kat_ok;
  logic [31:0]  res_cycles;
  kf_core #(
    .STYLE(STYLE), .II(II), .TA(TA), .TB(TB), .K(K)
`ifdef FORMAL
    , .N(F_N)
`endif
  ) u_core (
    .clk, .rst, .abort_i(abort_i && !run_kat && !batch_kat),
    .batch_valid_i(batch_valid), .batch_program_i(batch_program), .batch_curve_i(batch_curve), .taken_o(core_taken),
    .in_we_i(in_we), .in_ctx_i(in_ctx), .in_reg_i(in_reg), .in_data_i(in_data),
    .row_valid_i(row_valid), .row_ready_o(row_ready), .row_comb_i(row_comb), .row_ctx_i(row_ctx), .row_data_i(row_data),
    .table_we_i(table_we_i && !table_locked_i), .table_addr_i, .table_data_i,
    .res_free_i(res_free), .res_valid_o(res_valid), .res_ctx_o(res_ctx), .res_status_o(res_status), .res_x_o(res_x), .res_y_o(res_y),
    .res_last_o(res_last), .res_cycles_o(res_cycles), .res_kat_ok_o(res_kat_ok),
    .busy_o(core_busy), .wiped_o(core_wiped), .slot_o(ev_mul_slot_o), .mul_o(ev_mul_issue_o), .ev_parity_o, .ev_gate_o(ev_cycle_gate_o)
`ifdef FORMAL
    , .f_has_o(f_has), .f_answers_o(f_answers)
`endif
  );

  logic results_busy;
  kf_results u_results (
    .clk(front_clk), .rst, .abort_i, .res_free_o(res_free), .res_valid_i(res_valid), .res_ctx_i(res_ctx), .res_status_i(res_status), .res_x_i(res_x),
    .res_y_i(res_y), .res_last_i(res_last), .res_kat_ok_i(res_kat_ok), .res_cycles_i(res_cycles),
    .batch_kat_i(run_kat), .batch_count_i(run_count), .batch_set_i(run_set), .meta_we_i(meta_we), .meta_addr_i(meta_addr), .meta_data_i(meta_data),
    .kat_done_o(kat_done), .kat_ok_o(kat_ok), .erase_valid_o(erase_valid), .erase_ready_i(erase_ready), .erase_slot_o(erase_slot),
    .m_cpl_valid, .m_cpl_ready, .m_cpl_data, .m_cpl_last, .active_o(results_active), .busy_o(results_busy)
`ifdef FORMAL
    , .f_addr_i(f_addr), .f_word_o(f_meta_word), .f_left_o(f_results_left), .f_at_o(f_at), .f_read_o(f_read), .f_meta_o(f_meta), .f_next_o(f_next)
`endif
  );

  assign busy_o = core_busy;
  assign idle_o = prep_idle && !core_busy && !results_busy;
  assign wiped_o = core_wiped && prep_wiped && (idle_o || !abort_i);
  assign ev_batch_o = core_taken && !batch_kat;
`ifdef FORMAL
`include "kf_engine_props.svh"
`endif
endmodule
`default_nettype wire
