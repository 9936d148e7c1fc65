// kf_prep_control: everything of kf_prep that decides: state, steps of a job, batch former, what is read from and written to which key slot,
// status, blinding factor. What it decides over (the value in hand, the value that is held, the blinded scalar) is in kf_prep and has check words.
//
// kf_prep holds it twice and compares state_o, which is every register in here, in each cycle. So a register that is added here has to be added there.
//
// Data come in as answers to questions only: is the value below the limit, is it zero, did the sum carry, is it odd.
// abort_i: a job that waits for entropy goes on without (status aborted, the scalar in hand is dropped), so that an abort needs no source.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_prep_control #(
  parameter logic SELF_TEST = 1'b1,
  parameter int   N = 64,
  parameter int   LOG2_SLOTS = 9
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         wipe_i,         // as rst; the self-test's result stays unless forget_i
  input  wire  logic         forget_i,
  input  wire  logic         abort_i,
  input  wire  logic         table_locked_i,
  input  wire  logic [31:0]  batch_timeout_i,

  input  wire  logic         s_job_valid,
  output       logic         s_job_ready,
  input  wire  logic         s_job_last,
  input  wire  logic [32:0]  word_i,         // of a first beat: generation, given, for signing, slot, curve, operation
  input  wire  logic         refused_i,      // it is none

  input  wire  logic         s_word_valid,
  output       logic         s_word_ready,
  input  wire  logic [31:0]  s_word_data,
  output       logic         mix_valid_o,
  input  wire  logic         mix_ready_i,
  input  wire  logic         entropy_alarm_i,

  // core
  output       logic         batch_valid_o,
  output       logic [2:0]   batch_program_o,
  output       logic         batch_curve_o,
  output       logic         batch_kat_o,
  input  wire  logic         core_taken_i,
  input  wire  logic         core_busy_i,
  input  wire  logic         core_wiped_i,
  output       logic         in_we_o,
  output       logic [5:0]   in_ctx_o,
  output       logic [2:0]   in_reg_o,
  output       logic         row_valid_o,
  input  wire  logic         row_ready_i,
  output       logic         row_comb_o,
  output       logic [5:0]   row_ctx_o,

  // results
  output       logic         run_kat_o,
  output       logic [6:0]   run_count_o,
  input  wire  logic         kat_done_i,
  input  wire  logic         kat_ok_i,
  output       logic         place_o,        // a job of the host is prepared: it has its place in the batch,
  output       logic         rider_o,        // or needs none, as it is done:
  output       logic [7:0]   done_status_o,  // with this status
  output       logic         owns_o,         // it has put its scalar into its slot,
  output       logic [5:0]   gen_o,          // with this generation; 0: none

  // key slots
  input  wire  logic         sweeping_i,
  output       logic         key_valid_o,
  input  wire  logic         key_ready_i,
  output       logic [1:0]   key_write_o,    // shares that are written; 0: read
  output       logic         key_share_o,    // the share that is read
  output       logic         key_lock_o,     // the shares of a key are being renewed
  output       logic         key_held_o,     // of a write: the value in hand, and as share 0 of a new key the one that is held; else nothing
  output       logic         key_new_o,
  output       logic [5:0]   key_gen_o,      // generation of the slot after it
  output       logic [15:0]  slot_o,
  output       logic         sign_o,
  output       logic         curve_o,
  input  wire  logic         key_ack_i,
  input  wire  logic         key_bad_i,
  input  wire  logic         key_was_held_i,
  input  wire  logic         key_sign_i,
  input  wire  logic         key_curve_i,
  input  wire  logic [5:0]   key_was_gen_i,

  // the value in hand, v: at most one of these, else it stays
  output       logic         v_zero_o,
  output       logic         v_beat_o,
  output       logic         v_draw_o,       // a word of entropy comes in at the top
  output       logic         v_turn_o,       // 64 bits from the bottom to the top
  output       logic         v_sum_o,        // the same, with n added, or w subtracted
  output       logic         v_back_o,       // what was put last
  output       logic         v_key_o,
  output       logic         v_kat_k_o,
  output       logic         v_kat_x_o,
  output       logic         v_kat_y_o,
  output       logic [1:0]   part_o,         // which 64 bits of a number
  output       logic         of_p_o,         // compared with p, else n
  output       logic         borrow_o,
  output       logic         sum_less_o,     // of a sum: w is subtracted; it turns as v does
  output       logic         sum_n_o,        // n is added, else nothing
  output       logic         carry_o,
  input  wire  logic         below_i,
  input  wire  logic         zero_i,
  input  wire  logic         sum_carry_i,
  // the value that is held, w: what was put into the input buffer last, or
  output       logic         put_o,          // the value in hand, for the input buffer
  output       logic         hold_o,         // the value in hand, for here only; v is zero afterwards
  output       logic         hold_part_o,    // without what would make it n or more
  output       logic         w_zero_o,
  input  wire  logic         w_top_i,        // its highest bit
  output       logic         put_last_o,     // what the job is, for the input buffer
  output       logic [11:0]  last_o,         // which is this
  // the blinded scalar
  output       logic         acc_zero_o,
  output       logic         acc_step_o,
  output       logic [1:0]   acc_pass_o,     // PASS_*
  output       logic [1:0]   acc_digit_o,
  output       logic [2:0]   limb_o,
  output       logic [2:0]   acc_carry_o,
  input  wire  logic [2:0]   acc_carry_i,
  input  wire  logic         acc_odd_i,      // the limb that comes out is odd
  output       logic         row_load_o,
  output       logic         row_clear_o,

  output       logic         open_o,         // jobs are taken: known answers are over
  output       logic         ready_o,
  output       logic         idle_o,
  output       logic         active_o,
  output       logic [1:0]   selftest_o,
  output       logic [287:0] state_o
`ifdef FORMAL
  , output     logic [4:0]   f_doing_o
`endif
);
  localparam logic [6:0] FULL = 7'(N);

  localparam logic [7:0] JOB_GENERATE = 8'd1;
  localparam logic [7:0] JOB_ECKA = 8'd2;
  localparam logic [7:0] JOB_SIGN = 8'd3;
  localparam logic [7:0] JOB_VERIFY = 8'd4;
  localparam logic [7:0] JOB_CHECK = 8'd5;
  localparam logic [7:0] JOB_ERASE = 8'd6;
  localparam logic [7:0] JOB_IMPORT = 8'd7;

  // ------------------------------------------------------------------ what is done for a job, step by step
  typedef enum logic [4:0] {
    DO_END, DO_BEAT, DO_FLUSH, DO_DRAW, DO_SCALAR, DO_CHECK_P, DO_CHECK_N, DO_PUT, DO_ALIAS, DO_KEY_READ, DO_KEY_TAKE, DO_KEY_NEW,
    DO_KEY_ERASE, DO_LADDER, DO_COMB, DO_KAT_K, DO_KAT_X, DO_KAT_Y, DO_MIX, DO_HOLD, DO_SUB, DO_NEGATE, DO_KEY_PUT
  } do_e;
  localparam logic [2:0] NO = 3'd0;
  localparam logic [2:0] SHARE0 = 3'd0;  // DO_SCALAR, DO_KEY_READ, DO_KEY_TAKE (share 1 erases), DO_KEY_PUT
  localparam logic [2:0] SHARE1 = 3'd1;

  function automatic logic [7:0] plan(input logic [7:0] op, input logic kat, input logic [3:0] step);
    plan = {DO_END, NO};
    if (kat) begin
      if (op == JOB_GENERATE) begin
        case (step)
          4'd0: plan = {DO_KAT_K, NO};
          4'd1: plan = {DO_HOLD, NO};
          4'd2: plan = {DO_COMB, NO};
          4'd3: plan = {DO_DRAW, NO};
          4'd4: plan = {DO_PUT, kf_uc::IN_GENERATE_LAM};
          default: ;
        endcase
      end else begin
        case (step)
          4'd0: plan = {DO_KAT_K, NO};
          4'd1: plan = {DO_HOLD, NO};
          4'd2: plan = {DO_LADDER, NO};
          4'd3: plan = {DO_KAT_X, NO};
          4'd4: plan = {DO_PUT, kf_uc::IN_ECKA_XP};
          4'd5: plan = {DO_KAT_Y, NO};
          4'd6: plan = {DO_PUT, kf_uc::IN_ECKA_YP};
          4'd7: plan = {DO_DRAW, NO};
          4'd8: plan = {DO_PUT, kf_uc::IN_ECKA_LAM};
          default: ;
        endcase
      end
    end else begin
      case (op)
        JOB_GENERATE: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_FLUSH, NO};
          4'd2: plan = {DO_SCALAR, SHARE0};
          4'd3: plan = {DO_HOLD, NO};
          4'd4: plan = {DO_SCALAR, SHARE1};
          4'd5: plan = {DO_COMB, NO};
          4'd6: plan = {DO_NEGATE, NO};
          4'd7: plan = {DO_KEY_NEW, NO};
          4'd8: plan = {DO_DRAW, NO};
          4'd9: plan = {DO_PUT, kf_uc::IN_GENERATE_LAM};
          default: ;
        endcase
        JOB_ECKA: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_CHECK_P, NO};
          4'd2: plan = {DO_PUT, kf_uc::IN_ECKA_XP};
          4'd3: plan = {DO_BEAT, NO};
          4'd4: plan = {DO_CHECK_P, NO};
          4'd5: plan = {DO_PUT, kf_uc::IN_ECKA_YP};
          4'd6: plan = {DO_FLUSH, NO};
          4'd7: plan = {DO_KEY_TAKE, SHARE0};
          4'd8: plan = {DO_HOLD, NO};
          4'd9: plan = {DO_KEY_TAKE, SHARE1};
          4'd10: plan = {DO_LADDER, NO};
          4'd11: plan = {DO_DRAW, NO};
          4'd12: plan = {DO_PUT, kf_uc::IN_ECKA_LAM};
          default: ;
        endcase
        JOB_SIGN: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_PUT, kf_uc::IN_SIGN_E};
          4'd2: plan = {DO_KEY_READ, SHARE0};
          4'd3: plan = {DO_MIX, NO};  // a share of d, and e, go into the generator before k is drawn
          4'd4: plan = {DO_DRAW, NO};
          4'd5: plan = {DO_HOLD, NO};
          4'd6: plan = {DO_KEY_READ, SHARE0};  // both shares less the same random number: these stay in the slot, and go to the core
          4'd7: plan = {DO_SUB, NO};
          4'd8: plan = {DO_KEY_PUT, SHARE0};
          4'd9: plan = {DO_KEY_READ, SHARE1};
          4'd10: plan = {DO_SUB, NO};
          4'd11: plan = {DO_KEY_PUT, SHARE1};
          4'd12: plan = {DO_PUT, kf_uc::IN_SIGN_D1};
          4'd13: plan = {DO_KEY_READ, SHARE0};
          4'd14: plan = {DO_PUT, kf_uc::IN_SIGN_D0};  // and the rest by rest_of_plan
          default: ;
        endcase
        JOB_VERIFY: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_CHECK_P, NO};
          4'd2: plan = {DO_PUT, kf_uc::IN_VERIFY_XQ};
          4'd3: plan = {DO_BEAT, NO};
          4'd4: plan = {DO_CHECK_P, NO};
          4'd5: plan = {DO_PUT, kf_uc::IN_VERIFY_YQ};
          4'd6: plan = {DO_BEAT, NO};
          4'd7: plan = {DO_PUT, kf_uc::IN_VERIFY_EIN};
          4'd8: plan = {DO_BEAT, NO};
          4'd9: plan = {DO_CHECK_N, NO};
          4'd10: plan = {DO_PUT, kf_uc::IN_VERIFY_RIN};
          4'd11: plan = {DO_ALIAS, NO};  // and the rest by rest_of_plan
          default: ;
        endcase
        JOB_CHECK: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_CHECK_P, NO};
          4'd2: plan = {DO_PUT, kf_uc::IN_CHECK_X};
          4'd3: plan = {DO_BEAT, NO};
          4'd4: plan = {DO_CHECK_P, NO};
          4'd5: plan = {DO_PUT, kf_uc::IN_CHECK_Y};
          4'd6: plan = {DO_FLUSH, NO};
          default: ;
        endcase
        JOB_ERASE: case (step)
          4'd0: plan = {DO_FLUSH, NO};
          4'd1: plan = {DO_KEY_ERASE, NO};
          default: ;
        endcase
        JOB_IMPORT: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_FLUSH, NO};
          4'd2: plan = {DO_CHECK_N, NO};
          4'd3: plan = {DO_HOLD, NO};
          4'd4: plan = {DO_NEGATE, NO};
          4'd5: plan = {DO_KEY_NEW, NO};
          default: ;
        endcase
        default: if (step == 4'd0) plan = {DO_FLUSH, NO};
      endcase
    end
  endfunction
  // VERIFY and SIGN have more steps than four bits count: what follows the alias of r, or the shares of the key.
  function automatic logic [7:0] rest_of_plan(input logic [7:0] op, input logic [3:0] step);
    rest_of_plan = {DO_END, NO};
    if (op == JOB_VERIFY) begin
      case (step)
        4'd0: rest_of_plan = {DO_PUT, kf_uc::IN_VERIFY_RRIN};
        4'd1: rest_of_plan = {DO_BEAT, NO};
        4'd2: rest_of_plan = {DO_CHECK_N, NO};
        4'd3: rest_of_plan = {DO_PUT, kf_uc::IN_VERIFY_SIN};
        4'd4: rest_of_plan = {DO_FLUSH, NO};
        4'd5: rest_of_plan = {DO_DRAW, NO};
        4'd6: rest_of_plan = {DO_PUT, kf_uc::IN_VERIFY_LAM};
        default: ;
      endcase
    end else begin
      case (step)
        4'd0: rest_of_plan = {DO_BEAT, NO};
        4'd1: rest_of_plan = {DO_FLUSH, NO};
        4'd2: rest_of_plan = {DO_SCALAR, SHARE0};
        4'd3: rest_of_plan = {DO_PUT, kf_uc::IN_SIGN_K0};
        4'd4: rest_of_plan = {DO_SCALAR, SHARE1};
        4'd5: rest_of_plan = {DO_COMB, NO};
        4'd6: rest_of_plan = {DO_PUT, kf_uc::IN_SIGN_K1};
        4'd7: rest_of_plan = {DO_DRAW, NO};
        4'd8: rest_of_plan = {DO_PUT, kf_uc::IN_SIGN_LAM};
        4'd9: rest_of_plan = {DO_DRAW, NO};
        4'd10: rest_of_plan = {DO_PUT, kf_uc::IN_SIGN_MASK};
        default: ;
      endcase
    end
  endfunction

  // ------------------------------------------------------------------ state
  typedef enum logic [2:0] {BOOT, KAT, KAT_WAIT, TAKE, JOIN, WORK} state_e;
  state_e       state_q;
  logic [1:0]   kat_q;         // which known-answer batch: {curve, ECKA}
  logic         kat_failed_q;
  logic         kat_passed_q;
  logic [3:0]   step_q;
  logic         rest_q;        // in the second part of a plan
  logic [3:0]   sub_q;         // cycles inside a step
  logic         lt_q;          // comparison so far: v < limit
  logic         nz_q;          // v is not zero
  logic         carry_q;
  logic [7:0]   status_q;
  logic         last_seen_q;   // the last beat of the descriptor came
  logic [5:0]   tries_q;       // candidates thrown away

  logic [7:0]   op_q;
  logic         curve_q;
  logic [15:0]  slot_q;
  logic         for_sign_q;
  logic         given_q;
  logic         owns_q;        // this GENERATE put its scalar into the slot
  logic         key_write_q;   // second access of a step: erase or store
  logic         key_store_q;
  logic [5:0]   want_gen_q;    // the key's generation as the job has it; 0: any
  logic [5:0]   gen_q;         // of the slot after the second access
  logic         made_q;        // a key was put into the slot

  // the batch that is being formed
  logic [6:0]   count_q;
  logic [2:0]   program_q;
  logic         bcurve_q;
  logic         kat_batch_q;
  logic         closed_q;
  logic [31:0]  wait_q;

  // blinding: acc = T n + w - v in limbs of 78 bits, T n by two bits of T a pass; of a comb, n or 2 n more
  localparam logic [1:0] PASS_MULTIPLY = 2'd0;  // 4 acc + digit n
  localparam logic [1:0] PASS_ADD = 2'd1;       // + w
  localparam logic [1:0] PASS_SUBTRACT = 2'd2;  // - v
  localparam logic [1:0] PASS_ODD = 2'd3;       // + digit n
  logic [127:0] t_q;         // the factor, highest bits first
  logic [6:0]   digits_q;    // digits of t_q that are left
  logic [1:0]   pass_q;
  logic         odd_q;       // the sum is odd
  logic [2:0]   limb_q;
  logic [2:0]   acc_carry_q;
  logic         blind_q;     // at work
  logic         drawn_q;     // t_q holds the random number
  logic         row_made_q;  // the blinded scalar is complete

  logic [7:0] plan_now;
  logic [4:0] doing;
  logic [2:0] reg_now;
  logic       step_done;
  logic       kat_now;
  logic       working;
  logic       blinding;
  logic       dry;        // no entropy is waited for
  logic [7:0] dry_status;
  logic       fresh;      // no check has failed
  logic       no_slot;    // there is no slot of that number
  logic       given;      // the scalar comes from the host (test builds)
  logic       ladder;
  logic [65:0] m0;        // least factor of n in a ladder's scalar
  logic       rider;      // the job in hand is done when it is prepared: no batch is closed or waited for
  assign kat_now = state_q == KAT || (state_q == WORK && kat_batch_q);
  assign plan_now = rest_q ? rest_of_plan(op_q, step_q) : plan(op_q, kat_now, step_q);
  assign doing = plan_now[7:3];
  assign reg_now = plan_now[2:0];
  assign working = state_q == WORK;
  assign blinding = working && (doing == DO_LADDER || doing == DO_COMB);
  assign dry = entropy_alarm_i || (abort_i && !kat_batch_q);
  assign dry_status = entropy_alarm_i ? kf_uc::ST_ENTROPY : kf_uc::ST_ABORTED;
  assign fresh = status_q == kf_uc::ST_NOT_FINISHED;
  assign m0 = kf_curve::ladder_m0(curve_q);
  assign no_slot = slot_q >> LOG2_SLOTS != 16'd0;
  assign given = given_q || op_q == JOB_IMPORT;
  assign ladder = doing == DO_LADDER;
  assign s_job_ready = state_q == TAKE || (working && (doing == DO_BEAT || doing == DO_FLUSH) && !last_seen_q);
  assign s_word_ready = working && !dry
      && ((doing == DO_DRAW && sub_q != 4'd8) || (doing == DO_SCALAR && !given_q && sub_q < 4'd8) || (blinding && !drawn_q));

  // ------------------------------------------------------------------ what the outside is told in this cycle
  logic key_step;   // it reads a slot
  logic share1;
  logic skip;       // a step that is for others
  assign share1 = reg_now == SHARE1;
  assign skip = (doing == DO_NEGATE && !given) || (doing == DO_SCALAR && share1 && given_q) || (doing == DO_KEY_PUT && sub_q == 4'd0 && !fresh);
  assign mix_valid_o = working && doing == DO_MIX && !dry;
  assign key_step = doing == DO_KEY_READ || doing == DO_KEY_TAKE || doing == DO_KEY_NEW || doing == DO_KEY_ERASE;
  assign key_valid_o = (working && sub_q == 4'd0 && !sweeping_i && key_step) || key_write_q;
  assign key_write_o = !key_write_q ? 2'b00 : doing != DO_KEY_PUT ? 2'b11 : share1 ? 2'b10 : 2'b01;
  assign key_share_o = key_step && doing != DO_KEY_NEW && doing != DO_KEY_ERASE && share1;
  assign key_lock_o = working && op_q == JOB_SIGN && !rest_q && step_q >= 4'd6 && step_q <= 4'd11;
  assign key_held_o = key_store_q;
  assign key_new_o = doing == DO_KEY_NEW;
  assign key_gen_o = gen_q;
  assign slot_o = slot_q;
  assign sign_o = for_sign_q || op_q == JOB_SIGN;
  assign curve_o = curve_q;
  assign batch_valid_o = closed_q && count_q != 7'd0;
  assign batch_program_o = abort_i && !kat_batch_q ? kf_uc::PROG_IDLE : program_q;
  assign batch_curve_o = bcurve_q;
  assign batch_kat_o = kat_batch_q;
  assign row_comb_o = doing == DO_COMB;
  assign row_ctx_o = count_q[5:0];
  assign place_o = working && doing == DO_END && !kat_batch_q;
  assign rider = program_of(op_q) == kf_uc::PROG_IDLE && !kat_batch_q;
  assign rider_o = rider;
  assign done_status_o = !fresh ? status_q : abort_i ? kf_uc::ST_ABORTED : kf_uc::ST_OK;
  assign owns_o = owns_q;
  assign gen_o = made_q ? gen_q : 6'd0;

  function automatic logic [2:0] program_of(input logic [7:0] op);
    case (op)
      JOB_GENERATE: program_of = kf_uc::PROG_GENERATE;
      JOB_ECKA:     program_of = kf_uc::PROG_ECKA;
      JOB_SIGN:     program_of = kf_uc::PROG_SIGN;
      JOB_VERIFY:   program_of = kf_uc::PROG_VERIFY;
      JOB_CHECK:    program_of = kf_uc::PROG_CHECK;
      default:     program_of = kf_uc::PROG_IDLE;
    endcase
  endfunction


  // ------------------------------------------------------------------ data
  logic comparing;  // SCALAR: sub 0 to 7 draw, 8 to 11 compare, 12 decide; CHECK: 0 to 3 compare, 4 decide
  logic key_answer;
  logic key_fits;
  logic key_stale;  // the slot has another owner by now
  logic drawn_now;
  logic negating;
  logic subtracting;  // DO_SUB, DO_NEGATE: sub 0 to 3 subtract, 4 to 7 add n back, or nothing; DO_NEGATE: 8 decide
  assign comparing = working && !sub_q[2] && (doing == DO_CHECK_P || doing == DO_CHECK_N || (doing == DO_SCALAR && sub_q[3]));
  assign key_answer = working && key_step && sub_q == 4'd1 && key_ack_i;
  assign key_stale = want_gen_q != 6'd0 && key_was_gen_i != want_gen_q;
  assign key_fits = key_was_held_i && !key_stale && key_curve_i == curve_q && key_sign_i == (doing == DO_KEY_READ);
  assign drawn_now = s_word_valid && s_word_ready;
  assign negating = working && doing == DO_NEGATE && !skip;
  assign subtracting = (working && doing == DO_SUB) || (negating && !sub_q[3]);
  assign part_o = sub_q[1:0];
  assign of_p_o = doing == DO_CHECK_P || doing == DO_ALIAS;
  assign borrow_o = lt_q;
  assign carry_o = carry_q;
  assign put_o = working && doing == DO_PUT && sub_q[0];
  assign hold_o = working && (doing == DO_HOLD || (negating && sub_q[3] && w_top_i && !for_sign_q));
  assign hold_part_o = op_q == JOB_SIGN;
  assign w_zero_o = working && ((doing == DO_END && rider) || (doing == DO_PUT && !sub_q[0]));
  assign sum_less_o = subtracting && !sub_q[2];
  assign sum_n_o = doing == DO_ALIAS || (subtracting && lt_q);
  assign put_last_o = working && doing == DO_END && !rider;
  assign last_o = {curve_q, program_of(op_q), abort_i && fresh && !kat_batch_q ? kf_uc::ST_ABORTED : status_q};
  assign acc_zero_o = blinding && (!drawn_q || (row_valid_o && row_ready_i));
  assign acc_step_o = blinding && drawn_q && blind_q && !row_made_q && !row_valid_o;
  assign acc_pass_o = pass_q;
  assign acc_digit_o = pass_q == PASS_MULTIPLY ? t_q[127:126] : {odd_q, !odd_q};
  assign limb_o = limb_q;
  assign acc_carry_o = acc_carry_q;
  assign row_load_o = blinding && row_made_q;
  assign row_clear_o = row_valid_o && row_ready_i;
  always_comb begin
    v_zero_o = 1'b0;
    v_beat_o = 1'b0;
    v_draw_o = 1'b0;
    v_turn_o = 1'b0;
    v_sum_o = 1'b0;
    v_back_o = 1'b0;
    v_key_o = 1'b0;
    v_kat_k_o = 1'b0;
    v_kat_x_o = 1'b0;
    v_kat_y_o = 1'b0;
    if (working) begin
      case (doing)
        DO_BEAT: begin
          v_zero_o = last_seen_q;
          v_beat_o = !last_seen_q && s_job_valid;
        end
        DO_DRAW: begin
          v_zero_o = dry;
          v_draw_o = drawn_now;
        end
        DO_SCALAR, DO_CHECK_P, DO_CHECK_N: begin
          v_zero_o = doing == DO_SCALAR && ((sub_q < 4'd8 && !given_q && dry) || skip);
          v_draw_o = doing == DO_SCALAR && drawn_now;
          v_turn_o = comparing;
        end
        DO_HOLD: v_zero_o = 1'b1;
        DO_PUT: v_zero_o = sub_q[0] && op_q != JOB_VERIFY;  // of VERIFY, r is needed once more
        DO_SUB: v_sum_o = 1'b1;
        DO_NEGATE: begin
          v_sum_o = negating && !sub_q[3];
          v_zero_o = negating && sub_q[3];
        end
        DO_ALIAS: begin
          v_sum_o = !sub_q[3] && !sub_q[2];
          v_turn_o = !sub_q[3] && sub_q[2];
          v_back_o = sub_q[3] && (carry_q || !lt_q);
        end
        DO_KEY_READ, DO_KEY_TAKE: begin
          v_zero_o = sub_q == 4'd0 || (key_answer && !key_bad_i && !no_slot && !key_fits);  // one share never follows the other
          v_key_o = key_answer && !key_bad_i && !no_slot && key_fits;
        end
        DO_LADDER, DO_COMB: v_zero_o = !drawn_q && dry;  // what would not be blinded is not used
        DO_KAT_K: v_kat_k_o = 1'b1;
        DO_KAT_X: v_kat_x_o = 1'b1;
        DO_KAT_Y: v_kat_y_o = 1'b1;
        DO_END: v_zero_o = 1'b1;
        default: ;
      endcase
    end
  end

  always_ff @(posedge clk) begin
    in_we_o <= 1'b0;
    in_reg_o <= reg_now;
    in_ctx_o <= count_q[5:0];
    if (rst || wipe_i) begin
      state_q <= BOOT;
      kat_q <= '0;
      if (rst || forget_i) begin
        kat_failed_q <= 1'b0;
        kat_passed_q <= 1'b0;
      end
      in_reg_o <= '0;
      in_ctx_o <= '0;
      count_q <= '0;
      closed_q <= 1'b0;
      kat_batch_q <= 1'b0;
      program_q <= kf_uc::PROG_IDLE;
      bcurve_q <= 1'b0;
      run_kat_o <= 1'b0;
      run_count_o <= '0;
      step_q <= '0;
      sub_q <= '0;
      rest_q <= 1'b0;
      lt_q <= 1'b0;
      nz_q <= 1'b0;
      carry_q <= 1'b0;
      t_q <= '0;
      blind_q <= 1'b0;
      drawn_q <= 1'b0;
      row_made_q <= 1'b0;
      key_write_q <= 1'b0;
      key_store_q <= 1'b0;
      want_gen_q <= '0;
      gen_q <= '0;
      made_q <= 1'b0;
      row_valid_o <= 1'b0;
      status_q <= kf_uc::ST_NOT_FINISHED;
      last_seen_q <= 1'b0;
      curve_q <= 1'b0;
      op_q <= '0;
      slot_q <= '0;
      for_sign_q <= 1'b0;
      given_q <= 1'b0;
      owns_q <= 1'b0;
      tries_q <= '0;
      digits_q <= '0;
      pass_q <= PASS_MULTIPLY;
      odd_q <= 1'b0;
      limb_q <= '0;
      acc_carry_q <= '0;
      wait_q <= '0;
    end else begin
      // ---- the batch goes to the core
      if (core_taken_i) begin
        count_q <= '0;
        closed_q <= 1'b0;
        kat_batch_q <= 1'b0;
        run_kat_o <= kat_batch_q;
        run_count_o <= count_q;
        wait_q <= '0;
      end
      case (state_q)
        BOOT: if (core_wiped_i && !sweeping_i && table_locked_i) begin
          state_q <= SELF_TEST && !kat_passed_q && !kat_failed_q ? KAT : TAKE;
          if (!SELF_TEST) kat_passed_q <= 1'b1;
        end
        KAT: if (!closed_q) begin  // one context after the other
          kat_batch_q <= 1'b1;
          curve_q <= kat_q[1];
          bcurve_q <= kat_q[1];
          op_q <= kat_q[0] ? JOB_ECKA : JOB_GENERATE;
          program_q <= kat_q[0] ? kf_uc::PROG_ECKA : kf_uc::PROG_GENERATE;
          status_q <= kf_uc::ST_NOT_FINISHED;
          last_seen_q <= 1'b1;
          given_q <= 1'b0;
          owns_q <= 1'b0;
          state_q <= count_q == FULL ? KAT_WAIT : WORK;
          if (count_q == FULL) closed_q <= 1'b1;
        end
        KAT_WAIT: if (kat_done_i) begin
          kat_q <= kat_q + 2'd1;
          state_q <= KAT;
          if (!kat_ok_i) begin
            kat_failed_q <= 1'b1;
            state_q <= TAKE;
          end else if (kat_q == 2'd3) begin
            kat_passed_q <= 1'b1;
            state_q <= TAKE;
          end
        end
        TAKE: begin
          step_q <= '0;
          sub_q <= '0;
          rest_q <= 1'b0;
          // close what waits long enough while the core has nothing else to do
          if (count_q != 7'd0 && !closed_q) begin
            if (!(&wait_q)) wait_q <= wait_q + 32'd1;
            if (count_q == FULL || (!s_job_valid && !core_busy_i && wait_q >= batch_timeout_i) || abort_i) closed_q <= 1'b1;
          end
          if (s_job_valid) begin
            op_q <= refused_i ? 8'd0 : word_i[7:0];
            curve_q <= word_i[8] && !refused_i;
            slot_q <= word_i[24:9];
            for_sign_q <= word_i[25];
            given_q <= word_i[26];
            want_gen_q <= word_i[32:27];
            gen_q <= '0;
            made_q <= 1'b0;
            last_seen_q <= s_job_last;
            owns_q <= 1'b0;
            status_q <= refused_i ? kf_uc::ST_DESCRIPTOR : kat_failed_q ? kf_uc::ST_SELF_TEST : kf_uc::ST_NOT_FINISHED;
            state_q <= JOIN;
          end
        end
        JOIN: if (rider) begin
          state_q <= WORK;
        end else if (!closed_q) begin
          if (count_q != 7'd0 && (count_q == FULL || program_q != program_of(op_q) || bcurve_q != curve_q)) begin
            closed_q <= 1'b1;
          end else begin
            program_q <= program_of(op_q);
            bcurve_q <= curve_q;
            state_q <= WORK;
          end
        end
        default: begin  // WORK
          case (doing)
            DO_BEAT: if (last_seen_q) begin  // a descriptor that is too short
              status_q <= kf_uc::ST_DESCRIPTOR;
            end else if (s_job_valid) begin
              last_seen_q <= s_job_last;
            end
            DO_FLUSH: if (s_job_valid && !last_seen_q) last_seen_q <= s_job_last;
            DO_DRAW: begin
              if (dry) begin
                if (fresh) status_q <= dry_status;
              end else if (drawn_now) sub_q <= sub_q + 4'd1;
            end
            DO_SCALAR, DO_CHECK_P, DO_CHECK_N: begin
              if (doing == DO_SCALAR && sub_q < 4'd8) begin
                if (given_q) sub_q <= 4'd8;
                else if (dry) begin
                  if (fresh) status_q <= dry_status;
                end else if (drawn_now) sub_q <= sub_q + 4'd1;
              end else if (sub_q[2]) begin  // decide
                if (!(lt_q && (nz_q || doing == DO_CHECK_P))) begin
                  if (doing == DO_SCALAR && !given_q) begin
                    sub_q <= '0;
                    tries_q <= tries_q + 6'd1;
                    if (&tries_q && fresh) status_q <= kf_uc::ST_ENTROPY;  // 64 candidates in a row: the source is broken
                  end else if (fresh) status_q <= kf_uc::ST_RANGE;
                end
              end else begin
                lt_q <= below_i;
                nz_q <= (sub_q[1:0] != 2'd0 && nz_q) || !zero_i;
                sub_q <= sub_q + 4'd1;
              end
            end
            DO_ALIAS: begin  // r + n where that is below p, else r. 0 to 3: v + n; 4 to 7: compare with p; 8: decide
              sub_q <= sub_q + 4'd1;
              if (!sub_q[3]) begin
                if (!sub_q[2]) carry_q <= sum_carry_i;
                else lt_q <= below_i;
              end
            end
            DO_SUB, DO_NEGATE: if (!skip) begin
              sub_q <= sub_q + 4'd1;
              carry_q <= sum_carry_i;
              if (sub_q == 4'd3) lt_q <= !sum_carry_i;  // v was below w
            end
            DO_KEY_PUT: begin  // sub 0: if all went well; 2: store; 3: over
              if (sub_q == 4'd0 && fresh) begin
                key_write_q <= 1'b1;
                key_store_q <= 1'b1;
                sub_q <= 4'd2;
              end else if (sub_q == 4'd2 && key_ready_i) begin
                key_write_q <= 1'b0;
                key_store_q <= 1'b0;
                sub_q <= 4'd3;
              end
            end
            DO_KEY_READ, DO_KEY_TAKE, DO_KEY_NEW, DO_KEY_ERASE: begin
              // sub 0: ask; 1: wait for the answer; 2: a second access (erase or store); 3: over
              case (sub_q)
                4'd0: if (key_ready_i && key_valid_o) sub_q <= 4'd1;
                4'd1: if (key_ack_i) begin
                  sub_q <= 4'd3;
                  gen_q <= key_was_gen_i;
                  if (no_slot) begin
                    if (fresh) status_q <= kf_uc::ST_KEY;
                  end else if (key_bad_i) begin  // what is damaged is erased
                    if (fresh) status_q <= kf_uc::ST_FAULT;
                    key_write_q <= 1'b1;
                    sub_q <= 4'd2;
                  end else if (doing == DO_KEY_ERASE) begin
                    if (key_stale) begin
                      if (fresh) status_q <= kf_uc::ST_KEY;
                    end else begin
                      key_write_q <= 1'b1;
                      sub_q <= 4'd2;
                    end
                  end else if (doing == DO_KEY_NEW) begin
                    if (key_was_held_i) begin
                      if (fresh) status_q <= kf_uc::ST_KEY;  // somebody's key is in there
                    end else if (fresh && !abort_i) begin
                      key_write_q <= 1'b1;
                      key_store_q <= 1'b1;
                      owns_q <= op_q == JOB_GENERATE;
                      made_q <= 1'b1;
                      gen_q <= &key_was_gen_i ? 6'd1 : key_was_gen_i + 6'd1;
                      sub_q <= 4'd2;
                    end
                  end else if (!key_fits) begin
                    if (fresh) status_q <= kf_uc::ST_KEY;
                  end else if (doing == DO_KEY_TAKE && share1) begin  // used once, whatever becomes of this job
                    key_write_q <= 1'b1;
                    sub_q <= 4'd2;
                  end
                end
                4'd2: if (abort_i && key_store_q) begin  // of DO_KEY_NEW
                  key_store_q <= 1'b0;  // erase instead
                  owns_q <= 1'b0;
                  made_q <= 1'b0;
                end else if (key_ready_i) begin
                  key_write_q <= 1'b0;
                  key_store_q <= 1'b0;
                  sub_q <= 4'd3;
                end
                default: ;
              endcase
            end
            DO_LADDER, DO_COMB: begin
              if (!drawn_q) begin  // 64 bits, comb: 128
                if (dry) begin
                  drawn_q <= 1'b1;
                  if (fresh) status_q <= dry_status;
                end else if (drawn_now) begin
                  t_q <= {s_word_data, t_q[127:32]};
                  sub_q <= sub_q + 4'd1;
                  if (sub_q == (ladder ? 4'd1 : 4'd3)) drawn_q <= 1'b1;
                end
                digits_q <= ladder ? 7'd33 : 7'd64;
                pass_q <= PASS_MULTIPLY;
                limb_q <= '0;
                acc_carry_q <= '0;
              end else if (!blind_q) begin
                blind_q <= 1'b1;
                if (ladder) t_q <= {{2'd0, t_q[127:65], ~m0[0]} + m0, 62'd0};  // odd: a ladder then meets infinity for no k below 2^255 that is given
              end else if (row_made_q) begin
                row_made_q <= 1'b0;
                row_valid_o <= 1'b1;
              end else if (!row_valid_o) begin
                acc_carry_q <= limb_q == 3'd4 ? {2'd0, pass_q == PASS_ADD} : acc_carry_i;
                limb_q <= limb_q == 3'd4 ? 3'd0 : limb_q + 3'd1;
                if (limb_q == 3'd0 && pass_q == PASS_SUBTRACT) odd_q <= acc_odd_i;
                if (limb_q == 3'd4) begin
                  if (pass_q == PASS_ODD || (pass_q == PASS_SUBTRACT && ladder)) row_made_q <= 1'b1;
                  else if (pass_q != PASS_MULTIPLY || digits_q == 7'd1) pass_q <= pass_q + 2'd1;
                  if (pass_q == PASS_MULTIPLY) begin
                    digits_q <= digits_q - 7'd1;
                    t_q <= {t_q[125:0], 2'd0};
                  end
                end
              end else if (row_ready_i) begin
                row_valid_o <= 1'b0;
                blind_q <= 1'b0;
                drawn_q <= 1'b0;
                t_q <= '0;
              end
            end
            DO_PUT: begin  // sub 0: w is zero; 1: the value. Else one share would follow the other
              sub_q <= 4'd1;
              in_we_o <= sub_q[0];
            end
            DO_END: begin
              if (!rider) begin
                in_we_o <= 1'b1;
                in_reg_o <= 3'd7;
                count_q <= count_q + 7'd1;
                wait_q <= '0;
              end
              step_q <= '0;
              sub_q <= '0;
              rest_q <= 1'b0;
              tries_q <= '0;
              state_q <= kat_batch_q ? KAT : TAKE;
            end
            default: ;  // DO_KAT_*, DO_MIX
          endcase
          if (step_done) begin
            sub_q <= '0;
            step_q <= step_q + 4'd1;
            if (doing == DO_ALIAS || (op_q == JOB_SIGN && step_q == 4'd14)) begin
              rest_q <= 1'b1;
              step_q <= '0;
            end
          end
        end
      endcase
    end
  end

  always_comb begin
    case (doing)
      DO_BEAT: step_done = last_seen_q || s_job_valid;
      DO_FLUSH: step_done = last_seen_q || (s_job_valid && s_job_last);
      DO_DRAW: step_done = sub_q == 4'd8 || dry;
      DO_SCALAR: step_done = skip || (sub_q == 4'd12 && ((lt_q && nz_q) || given_q || &tries_q)) || (sub_q < 4'd8 && !given_q && dry);
      DO_MIX: step_done = mix_ready_i || dry;
      DO_PUT: step_done = sub_q[0];
      DO_CHECK_P, DO_CHECK_N: step_done = sub_q == 4'd4;
      DO_ALIAS: step_done = sub_q == 4'd8;
      DO_SUB: step_done = sub_q == 4'd7;
      DO_NEGATE: step_done = skip || sub_q == 4'd8;
      DO_KEY_PUT: step_done = skip || sub_q == 4'd3;
      DO_KEY_READ, DO_KEY_TAKE, DO_KEY_NEW, DO_KEY_ERASE: step_done = sub_q == 4'd3;
      DO_LADDER, DO_COMB: step_done = row_valid_o && row_ready_i;
      DO_END: step_done = 1'b0;
      default: step_done = 1'b1;
    endcase
    if (!working) step_done = 1'b0;
  end

  assign open_o = state_q == TAKE || state_q == JOIN || (working && !kat_batch_q);
  assign ready_o = kat_passed_q && open_o && !entropy_alarm_i;
  assign idle_o = state_q == TAKE && count_q == 7'd0;
  // It sleeps while it waits: for a job, for the core to take a closed batch, for the results of known-answer jobs.
  always_comb begin
    case (state_q)
      KAT: active_o = !closed_q;
      JOIN: active_o = !closed_q || rider;
      KAT_WAIT: active_o = kat_done_i;
      TAKE: active_o = s_job_valid || (count_q != 7'd0 && !closed_q);
      default: active_o = 1'b1;
    endcase
  end
  assign selftest_o = kat_failed_q ? 2'd3 : kat_passed_q ? 2'd2 : (state_q == BOOT ? 2'd0 : 2'd1);
`ifdef FORMAL
  assign f_doing_o = doing;
`endif
  assign state_o = {state_q, kat_q, kat_failed_q, kat_passed_q, step_q, rest_q, sub_q, lt_q, nz_q, carry_q, status_q, last_seen_q, tries_q,
    op_q, curve_q, slot_q, for_sign_q, given_q, owns_q, key_write_q, key_store_q, want_gen_q, gen_q, made_q, count_q, program_q, bcurve_q, kat_batch_q, closed_q, wait_q,
    t_q, digits_q, pass_q, odd_q, limb_q, acc_carry_q, blind_q, drawn_q, row_made_q, in_we_o, in_ctx_o, in_reg_o, row_valid_o, run_kat_o, run_count_o};
endmodule
`default_nettype wire
