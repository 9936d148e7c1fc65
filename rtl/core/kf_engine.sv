// kf_engine: jobs in, completions out, raw samples of a noise source in. Everything secret of the core is inside.
//
// Jobs: packets of 6 beats, completions: packets of 4 beats, one for every job, in the order of the jobs (layouts: rtl/regs/regs.json).
// abort_i: level; every job that is held or comes while it stands is answered as aborted. zeroise_i: one cycle; everything that works on jobs is
// reset and every memory overwritten, key slots included: wiped_o falls in the next cycle and stands again at most WIPE_CYCLES after that, whatever
// host, bus and entropy source do; the jobs that were held are answered as aborted. Raise abort_i with it for what is on its way here.
// The same wipe follows where two copies of a register differ in kf_prep or kf_results; the jobs that were held are then answered with fault.
`default_nettype none
module kf_engine #(
  parameter int   STYLE = 0,  // 0: for synthesis, 1: for simulation speed
  parameter int   SLEEP = STYLE,  // 1: idle parts sleep (kf_sleep)
  parameter int   TWIN = 1,  // 0: one copy of the control only. Not for products
  parameter int   II = 1,
  parameter int   TA = 26,  // tiles of the multiplier: see kf_mulmod
  parameter int   TB = 17,
  parameter int   K = 2,
  parameter logic TEST_IMPORT = 1'b0,
  parameter logic SELF_TEST = 1'b1,  // 0 only for builds with tiny curves
  parameter int   LOG2_RESEED = 16,  // see kf_entropy
  parameter int   LOG2_STARVE = 15
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,
  input  wire  logic         zeroise_i,
  input  wire  logic         table_locked_i,
  input  wire  logic         table_we_i,
  input  wire  logic [12:0]  table_addr_i,
  input  wire  logic [511:0] table_data_i,
  input  wire  logic [31:0]  batch_timeout_i,

  input  wire  logic         s_raw_valid,
  output       logic         s_raw_ready,
  input  wire  logic [7:0]   s_raw_data,

  input  wire  logic         s_job_valid,
  output       logic         s_job_ready,
  input  wire  logic [255:0] s_job_data,
  input  wire  logic [31:0]  s_job_check,  // exclusive or of the words of s_job_data: an operand that differs ends as a fault of the engine
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
  output       logic [7:0]   entropy_state_o,  // the register ENTROPY
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
  logic         ledger_active;
  logic         prep_active;
  logic         results_active;
  logic         entropy_active;
  kf_sleep #(.STYLE(SLEEP)) u_sleep (
    .clk, .active_i(rst || abort_i || ledger_active || prep_active || results_active || entropy_active), .clk_o(front_clk)
  );

  logic         word_valid;
  logic         word_ready;
  logic [31:0]  word_data;
  logic         mix_valid;
  logic         mix_ready;
  logic [383:0] mix_data;
  kf_entropy #(.STYLE(STYLE), .LOG2_RESEED(LOG2_RESEED), .LOG2_STARVE(LOG2_STARVE)) u_entropy (
    .clk(front_clk), .rst, .wipe_i(zeroise_i), .s_raw_valid, .s_raw_ready, .s_raw_data, .m_word_valid(word_valid), .m_word_ready(word_ready),
    .m_word_data(word_data), .mix_valid_i(mix_valid), .mix_ready_o(mix_ready), .mix_data_i(mix_data),
    .active_o(entropy_active), .alarm_o(entropy_alarm_o), .state_o(entropy_state_o), .ev_alarm_o(ev_entropy_o)
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
  logic [31:0]  in_check;
  logic         row_valid;
  logic         row_ready;
  logic         row_comb;
  logic [5:0]   row_ctx;
  logic [384:0] row_data;
  logic [34:0]  row_check;
  logic         run_kat;
  logic [6:0]   run_count;
  logic         kat_done;
  logic         kat_ok;
  logic         erase_valid;
  logic         erase_ready;
  logic         prep_differ;
  logic         results_differ;
  logic         results_wiped;
  logic         core_parity;
  logic         slot_bad;
  logic         prep_idle;
  logic         prep_wiped;
`ifdef FORMAL
  // Of the proofs in rtl/formal: two contexts, and what kf_engine_props.svh wants to see.
  localparam int F_N = 2;
  localparam int F_JOBS = 4;
  logic         f_accept;
  logic         f_hand;
  logic [6:0]   f_count;
  logic         f_has;
  logic         f_answers;
  logic [6:0]   f_results_left;
  logic [6:0]   f_next;
  logic         f_mine;
  logic         f_look;
  logic [16:0]  f_owner;
  logic [17 * (1 << F_JOBS) - 1:0] f_owners;
  logic         f_open;
  logic         f_wipe;
  logic         f_packet;
  logic [1:0]   f_ledger_beat;
  logic [F_JOBS-1:0] f_taken;
  logic [F_JOBS-1:0] f_sent;
  logic [F_JOBS-1:0] f_addr;
  logic [95:0]  f_word;
  logic [95:0]  f_next_word;
`endif

  // ------------------------------------------------------------------ the ledger of jobs; what is reset when
  logic         part_rst;
  logic         forget;
  logic         owed;
  logic         prep_open;
  logic         job_valid;
  logic         job_ready;
  logic         job_refused;
  logic         place;
  logic         rider;
  logic [7:0]   done_status;
  logic         owns;
  logic [5:0]   gen;
  logic         cpl_valid;
  logic         cpl_sent;
  logic         cpl_end;
  logic [255:0] cpl_data;
  logic [31:0]  cpl_sum;
  logic [7:0]   cpl_status;
  logic [5:0]   cpl_ctx;
  logic [31:0]  cpl_cycles;
  logic [15:0]  next_slot;
  logic         next_mine;
  logic         next_owns;
  logic [5:0]   next_gen;
  logic         next_bad;
  kf_ledger #(
    .TEST_IMPORT(TEST_IMPORT)
`ifdef FORMAL
    , .LOG2_JOBS(F_JOBS)
`endif
  ) u_ledger (
    .clk(front_clk), .rst, .fail_i(prep_differ || results_differ), .zeroise_i, .abort_i, .closed_i(!prep_open),
    .part_rst_o(part_rst), .forget_o(forget), .owed_o(owed), .active_o(ledger_active),
    .s_job_valid, .s_job_ready, .s_job_data, .s_job_last, .job_valid_o(job_valid), .job_ready_i(job_ready), .job_refused_o(job_refused),
    .place_i(place), .rider_i(rider), .status_i(done_status), .owns_i(owns), .gen_i(gen), .cpl_valid_i(cpl_valid), .cpl_sent_o(cpl_sent), .cpl_end_o(cpl_end), .cpl_data_i(cpl_data), .cpl_sum_i(cpl_sum),
    .cpl_status_i(cpl_status), .cpl_ctx_i(cpl_ctx), .cpl_cycles_i(cpl_cycles),
    .next_o(next_mine), .next_slot_o(next_slot), .next_owns_o(next_owns), .next_gen_o(next_gen), .next_bad_o(next_bad), .m_cpl_valid, .m_cpl_ready, .m_cpl_data, .m_cpl_last
`ifdef FORMAL
    , .f_open_o(f_open), .f_wipe_o(f_wipe), .f_packet_o(f_packet), .f_beat_o(f_ledger_beat), .f_taken_o(f_taken), .f_sent_o(f_sent), .f_addr_i(f_addr), .f_word_o(f_word),
    .f_next_o(f_next_word), .f_look_o(f_look), .f_owner_o(f_owner), .f_owners_o(f_owners)
`endif
  );

  kf_prep #(
    .TWIN(TWIN), .SELF_TEST(SELF_TEST),
`ifdef FORMAL
    .N(F_N), .LOG2_SLOTS(2)
`else
    .N(64 / II)
`endif
  ) u_prep (
    .clk(front_clk), .rst, .wipe_i(part_rst), .forget_i(forget), .abort_i, .table_locked_i, .batch_timeout_i,
    .s_job_valid(job_valid), .s_job_ready(job_ready), .s_job_data, .s_job_check, .s_job_last, .refused_i(job_refused),
    .s_word_valid(word_valid), .s_word_ready(word_ready), .s_word_data(word_data), .mix_valid_o(mix_valid),
    .mix_ready_i(mix_ready), .mix_data_o(mix_data), .entropy_alarm_i(entropy_alarm_o),
    .batch_valid_o(batch_valid), .batch_program_o(batch_program), .batch_curve_o(batch_curve), .batch_kat_o(batch_kat),
    .core_taken_i(core_taken), .core_busy_i(core_busy), .core_wiped_i(core_wiped && results_wiped),
    .in_we_o(in_we), .in_ctx_o(in_ctx), .in_reg_o(in_reg), .in_data_o(in_data), .in_check_o(in_check),
    .row_valid_o(row_valid), .row_ready_i(row_ready), .row_comb_o(row_comb), .row_ctx_o(row_ctx), .row_data_o(row_data), .row_check_o(row_check),
    .run_kat_o(run_kat), .run_count_o(run_count), .kat_done_i(kat_done), .kat_ok_i(kat_ok), .place_o(place), .rider_o(rider), .done_status_o(done_status), .owns_o(owns), .gen_o(gen),
    .erase_valid_i(erase_valid), .erase_ready_o(erase_ready), .erase_slot_i(next_slot), .erase_gen_i(next_gen),
    .open_o(prep_open), .ready_o, .idle_o(prep_idle), .wiped_o(prep_wiped), .active_o(prep_active), .differ_o(prep_differ), .ev_bad_o(slot_bad), .selftest_o
`ifdef FORMAL
    , .f_accept_o(f_accept), .f_hand_o(f_hand), .f_count_o(f_count)
`endif
  );

  logic         res_free;
  logic         res_valid;
  logic [5:0]   res_ctx;
  logic [7:0]   res_status;
  logic [287:0] res_x;
  logic [287:0] res_y;
  logic         res_last;
  logic         res_kat_ok;
  logic [31:0]  res_cycles;
  kf_core #(
    .STYLE(STYLE), .TWIN(TWIN), .II(II), .TA(TA), .TB(TB), .K(K)
`ifdef FORMAL
    , .N(F_N)
`endif
  ) u_core (
    .clk, .rst(rst || part_rst), .abort_i(abort_i && !run_kat && !batch_kat),
    .batch_valid_i(batch_valid), .batch_program_i(batch_program), .batch_curve_i(batch_curve), .taken_o(core_taken),
    .in_we_i(in_we), .in_ctx_i(in_ctx), .in_reg_i(in_reg), .in_data_i(in_data), .in_check_i(in_check),
    .row_valid_i(row_valid), .row_ready_o(row_ready), .row_comb_i(row_comb), .row_ctx_i(row_ctx), .row_data_i(row_data), .row_check_i(row_check),
    .table_we_i(table_we_i && !table_locked_i), .table_addr_i, .table_data_i,
    .res_free_i(res_free), .res_valid_o(res_valid), .res_ctx_o(res_ctx), .res_status_o(res_status), .res_x_o(res_x), .res_y_o(res_y),
    .res_last_o(res_last), .res_cycles_o(res_cycles), .res_kat_ok_o(res_kat_ok),
    .busy_o(core_busy), .wiped_o(core_wiped), .slot_o(ev_mul_slot_o), .mul_o(ev_mul_issue_o), .ev_parity_o(core_parity), .ev_gate_o(ev_cycle_gate_o)
`ifdef FORMAL
    , .f_has_o(f_has), .f_answers_o(f_answers)
`endif
  );

  logic results_busy;
  kf_results #(.TWIN(TWIN)) u_results (
    .clk(front_clk), .rst(rst || part_rst), .abort_i, .res_free_o(res_free), .res_valid_i(res_valid), .res_ctx_i(res_ctx), .res_status_i(res_status),
    .res_x_i(res_x), .res_y_i(res_y), .res_last_i(res_last), .res_kat_ok_i(res_kat_ok), .res_cycles_i(res_cycles),
    .batch_kat_i(run_kat), .batch_count_i(run_count), .kat_done_o(kat_done), .kat_ok_o(kat_ok),
    .next_i(next_mine), .owns_i(next_owns), .job_bad_i(next_bad), .erase_valid_o(erase_valid), .erase_ready_i(erase_ready),
    .valid_o(cpl_valid), .sent_i(cpl_sent), .end_i(cpl_end), .data_o(cpl_data), .sum_o(cpl_sum), .status_o(cpl_status), .ctx_o(cpl_ctx), .cycles_o(cpl_cycles),
    .active_o(results_active), .busy_o(results_busy), .wiped_o(results_wiped), .differ_o(results_differ)
`ifdef FORMAL
    , .f_left_o(f_results_left), .f_next_o(f_next), .f_mine_o(f_mine)
`endif
  );

  assign busy_o = core_busy;
  assign ev_parity_o = core_parity || prep_differ || results_differ || slot_bad;
  assign idle_o = prep_idle && !core_busy && !results_busy && !owed;
  assign wiped_o = core_wiped && prep_wiped && results_wiped && !part_rst;
  assign ev_batch_o = core_taken && !batch_kat;
`ifdef FORMAL
`include "kf_engine_props.svh"
`endif
endmodule
`default_nettype wire
