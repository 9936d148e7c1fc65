// kf_prep: takes jobs one after another, forms batches of one operation and curve, and gets everything ready while the core computes.
//
// For each job: range checks, key slot, fresh random numbers (Z, masks, scalars, blinding), the blinded scalar as a row for the core,
// inputs into the core's buffer. About 80 to 900 cycles a job, in the background. The time depends on how many candidates for a scalar were
// thrown away (they are drawn until 1 <= k < n: FIPS 186-4 B.4.2), never on the one that was kept, nor on any stored scalar.
//
// Batch former: jobs join while operation and curve are the same and contexts are free. A batch is closed when it is full, when a job of
// another kind comes, or when the core waits and batch_timeout_i cycles have passed since the last job joined.
// After reset: key slots are erased; when the table is locked, known-answer batches (GENERATE and ECKA on both curves, with random
// blinding) run; jobs are taken only after they were right. If they were wrong, every job is answered with self_test.
// A job that cannot be computed still takes its place in a batch, with a status to begin with.
`default_nettype none
module kf_prep #(
  parameter int   II = 1,
  parameter logic TEST_IMPORT = 1'b0,  // 1: IMPORT and `given` scalars work. Test builds only: secrets then come from outside
  parameter logic SELF_TEST = 1'b1,    // 0: no known-answer jobs. For tiny curves, where blinded jobs meet infinity often
  parameter int   N = 64 / II,         // contexts, key slots: other numbers in proofs only
  parameter int   LOG2_SLOTS = 9
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,        // level: jobs held or taken are answered as aborted
  input  wire  logic         zeroise_i,      // one cycle: erase all key slots
  input  wire  logic         table_locked_i,
  input  wire  logic [31:0]  batch_timeout_i,

  input  wire  logic         s_job_valid,
  output       logic         s_job_ready,
  input  wire  logic [255:0] s_job_data,
  input  wire  logic         s_job_last,

  input  wire  logic         s_word_valid,   // entropy, tested
  output       logic         s_word_ready,
  input  wire  logic [31:0]  s_word_data,
  input  wire  logic         entropy_alarm_i,

  // core
  output       logic         batch_valid_o,
  output       logic [2:0]   batch_program_o,
  output       logic         batch_curve_o,
  output       logic         batch_kat_o,      // the batch that is formed is a known-answer batch
  input  wire  logic         core_taken_i,
  input  wire  logic         core_busy_i,
  input  wire  logic         core_wiped_i,
  output       logic         in_we_o,
  output       logic [5:0]   in_ctx_o,
  output       logic [2:0]   in_reg_o,
  output       logic [255:0] in_data_o,
  output       logic         row_valid_o,
  input  wire  logic         row_ready_i,
  output       logic         row_comb_o,
  output       logic [5:0]   row_ctx_o,
  output       logic [329:0] row_data_o,

  // results: what the batch that runs is
  output       logic         run_kat_o,
  output       logic [6:0]   run_count_o,
  output       logic [1:0]   run_set_o,
  output       logic         meta_we_o,
  output       logic [7:0]   meta_addr_o,
  output       logic [96:0]  meta_data_o,
  input  wire  logic         kat_done_i,
  input  wire  logic         kat_ok_i,
  input  wire  logic         erase_valid_i,
  output       logic         erase_ready_o,
  input  wire  logic [15:0]  erase_slot_i,

  output       logic         ready_o,      // known answers were right: jobs are computed
  output       logic         idle_o,       // no job is held here
  output       logic         wiped_o,      // no erasure of key slots is under way
  output       logic         active_o,     // something here can change in this cycle (kf_sleep)
  output       logic [1:0]   selftest_o    // 0 not begun, 1 running, 2 passed, 3 failed
`ifdef FORMAL
  , output     logic         f_accept_o    // one cycle: the first beat of a job is taken
  , output     logic         f_hand_o      // a job is in hand
  , output     logic [6:0]   f_count_o     // jobs in the batch that is formed or offered
  , output     logic [1:0]   f_set_o
  , output     logic [79:0]  f_job_o       // of the job in hand: slot, tag
`endif
);
  localparam logic [6:0] FULL = 7'(N);

  localparam logic [3:0] ST_OK = 4'd0;
  localparam logic [3:0] ST_ENTROPY = 4'd3;
  localparam logic [3:0] ST_FAULT = 4'd5;
  localparam logic [3:0] ST_RANGE = 4'd6;
  localparam logic [3:0] ST_KEY = 4'd7;
  localparam logic [3:0] ST_DESCRIPTOR = 4'd8;
  localparam logic [3:0] ST_ABORTED = 4'd9;
  localparam logic [3:0] ST_SELF_TEST = 4'd10;

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
    DO_KEY_ERASE, DO_LADDER, DO_COMB, DO_KAT_K, DO_KAT_X, DO_KAT_Y
  } do_e;
  localparam logic [2:0] NO = 3'd0;

  function automatic logic [7:0] plan(input logic [7:0] op, input logic kat, input logic [3:0] step);
    plan = {DO_END, NO};
    if (kat) begin
      if (op == JOB_GENERATE) begin
        case (step)
          4'd0: plan = {DO_KAT_K, NO};
          4'd1: plan = {DO_COMB, NO};
          4'd2: plan = {DO_DRAW, NO};
          4'd3: plan = {DO_PUT, kf_uc::IN_GENERATE_LAM};
          default: ;
        endcase
      end else begin
        case (step)
          4'd0: plan = {DO_KAT_K, NO};
          4'd1: plan = {DO_LADDER, NO};
          4'd2: plan = {DO_KAT_X, NO};
          4'd3: plan = {DO_PUT, kf_uc::IN_ECKA_XP};
          4'd4: plan = {DO_KAT_Y, NO};
          4'd5: plan = {DO_PUT, kf_uc::IN_ECKA_YP};
          4'd6: plan = {DO_DRAW, NO};
          4'd7: plan = {DO_PUT, kf_uc::IN_ECKA_LAM};
          default: ;
        endcase
      end
    end else begin
      case (op)
        JOB_GENERATE: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_FLUSH, NO};
          4'd2: plan = {DO_SCALAR, NO};
          4'd3: plan = {DO_KEY_NEW, NO};
          4'd4: plan = {DO_COMB, NO};
          4'd5: plan = {DO_DRAW, NO};
          4'd6: plan = {DO_PUT, kf_uc::IN_GENERATE_LAM};
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
          4'd7: plan = {DO_KEY_TAKE, NO};
          4'd8: plan = {DO_LADDER, NO};
          4'd9: plan = {DO_DRAW, NO};
          4'd10: plan = {DO_PUT, kf_uc::IN_ECKA_LAM};
          default: ;
        endcase
        JOB_SIGN: case (step)
          4'd0: plan = {DO_BEAT, NO};
          4'd1: plan = {DO_PUT, kf_uc::IN_SIGN_E};
          4'd2: plan = {DO_BEAT, NO};
          4'd3: plan = {DO_FLUSH, NO};
          4'd4: plan = {DO_SCALAR, NO};
          4'd5: plan = {DO_PUT, kf_uc::IN_SIGN_K};
          4'd6: plan = {DO_COMB, NO};
          4'd7: plan = {DO_KEY_READ, NO};
          4'd8: plan = {DO_PUT, kf_uc::IN_SIGN_D};
          4'd9: plan = {DO_DRAW, NO};
          4'd10: plan = {DO_PUT, kf_uc::IN_SIGN_LAM};
          4'd11: plan = {DO_DRAW, NO};
          4'd12: plan = {DO_PUT, kf_uc::IN_SIGN_MASK};
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
          4'd11: plan = {DO_ALIAS, NO};  // and the rest by VERIFY_REST
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
          4'd3: plan = {DO_KEY_NEW, NO};
          default: ;
        endcase
        default: if (step == 4'd0) plan = {DO_FLUSH, NO};
      endcase
    end
  endfunction
  // VERIFY has more steps than four bits count: what follows the alias of r.
  function automatic logic [7:0] plan_verify_rest(input logic [3:0] step);
    case (step)
      4'd0: plan_verify_rest = {DO_PUT, kf_uc::IN_VERIFY_RRIN};
      4'd1: plan_verify_rest = {DO_BEAT, NO};
      4'd2: plan_verify_rest = {DO_CHECK_N, NO};
      4'd3: plan_verify_rest = {DO_PUT, kf_uc::IN_VERIFY_SIN};
      4'd4: plan_verify_rest = {DO_FLUSH, NO};
      4'd5: plan_verify_rest = {DO_DRAW, NO};
      4'd6: plan_verify_rest = {DO_PUT, kf_uc::IN_VERIFY_LAM};
      default: plan_verify_rest = {DO_END, NO};
    endcase
  endfunction

  // ------------------------------------------------------------------ state
  typedef enum logic [2:0] {BOOT, KAT, KAT_WAIT, TAKE, JOIN, WORK} state_e;
  state_e       state_q;
  logic [1:0]   kat_q;         // which known-answer batch: {curve, ECKA}
  logic         kat_failed_q;
  logic         kat_passed_q;
  logic [3:0]   step_q;
  logic         rest_q;        // in the second part of VERIFY's plan
  logic [3:0]   sub_q;         // cycles inside a step
  logic [255:0] v_q;           // the value in hand
  logic         lt_q;          // comparison so far: v < limit
  logic         nz_q;          // v is not zero
  logic [3:0]   status_q;
  logic         last_seen_q;   // the last beat of the descriptor came
  logic [5:0]   tries_q;       // candidates thrown away

  logic [7:0]   op_q;
  logic         curve_q;
  logic [7:0]   curve_byte_q;
  logic [15:0]  slot_q;
  logic         for_sign_q;
  logic         given_q;
  logic [63:0]  tag_q;
  logic         owns_q;        // this GENERATE put its scalar into the slot

  // the batch that is being formed
  logic [6:0]   count_q;
  logic [2:0]   program_q;
  logic         bcurve_q;
  logic         kat_batch_q;
  logic         closed_q;
  logic [31:0]  wait_q;
  logic [1:0]   set_q;

  logic         kat_now;
  assign kat_now = state_q == KAT || (state_q == WORK && kat_batch_q);

  // ------------------------------------------------------------------ key slots
  logic         key_write_q;  // second access of a step: erase or store
  logic         key_store_q;
  logic         key_valid;
  logic         key_ready;
  logic         key_write;
  logic         key_held;
  logic         key_ack;
  logic [255:0] key_scalar;
  logic         key_was_held;
  logic         key_sign;
  logic         key_curve;
  logic         key_bad;
  logic         sweeping;
`ifdef FORMAL
  logic [15:0]  f_slot;
  logic         f_zero;
  logic         f_swept;
`endif
  kf_keyslots #(.LOG2_SLOTS(LOG2_SLOTS)) u_keys (
    .clk, .rst, .sweep_i(zeroise_i), .sweeping_o(sweeping), .req_valid_i(key_valid), .req_ready_o(key_ready), .req_write_i(key_write),
    .req_slot_i(slot_q), .req_scalar_i(key_held ? v_q : 256'd0), .req_held_i(key_held), .req_sign_i(key_held && for_sign_q),
    .req_curve_i(key_held && curve_q), .ack_o(key_ack), .ack_scalar_o(key_scalar), .ack_held_o(key_was_held), .ack_sign_o(key_sign),
    .ack_curve_o(key_curve), .ack_bad_o(key_bad), .erase_valid_i, .erase_ready_o, .erase_slot_i
`ifdef FORMAL
    , .f_slot_o(f_slot), .f_zero_o(f_zero), .f_swept_o(f_swept)
`endif
  );

  // ------------------------------------------------------------------ the step in hand
  logic [7:0] plan_now;
  logic [4:0] doing;
  logic [2:0] reg_now;
  logic       step_done;
  assign plan_now = rest_q ? plan_verify_rest(step_q) : plan(op_q, kat_now, step_q);
  assign doing = plan_now[7:3];
  assign reg_now = plan_now[2:0];

  // Comparisons and r + n, 64 bits a cycle: v_q turns. As functions, so that a simulation computes them only in the branches that need them.
  function automatic logic [63:0] part(input logic [255:0] v, input logic [1:0] i);
    case (i)
      2'd0: part = v[63:0];
      2'd1: part = v[127:64];
      2'd2: part = v[191:128];
      default: part = v[255:192];
    endcase
  endfunction
  function automatic logic below(input logic [63:0] v, input logic of_p, input logic curve, input logic [1:0] i, input logic borrow);
    logic [63:0] limit;
    limit = of_p ? part(kf_curve::p(curve), i) : part(kf_curve::n(curve), i);
    below = {1'b0, v} < {1'b0, limit} + {64'd0, i != 2'd0 && borrow};
  endfunction
  function automatic logic [64:0] plus_n(input logic [63:0] v, input logic curve, input logic [1:0] i, input logic carry);
    plus_n = {1'b0, v} + {1'b0, part(kf_curve::n(curve), i)} + {64'd0, i != 2'd0 && carry};
  endfunction
  logic carry_q;

  // ------------------------------------------------------------------ blinding: acc = T n + k in limbs of 66 bits, T n bit by bit
  logic [65:0]  t_q;         // the factor, top bit first
  logic [6:0]   bits_q;      // bits of t_q that are left; at 0: k is added
  logic [2:0]   limb_q;
  logic [1:0]   acc_carry_q;
  logic [329:0] acc_q;       // turns by one limb a cycle
  logic         blind_q;     // at work
  logic         drawn_q;     // t_q holds the random number
  logic         row_made_q;  // acc_q is the blinded scalar
  function automatic logic [65:0] limb(input logic [255:0] v, input logic [2:0] i);
    case (i)
      3'd0: limb = v[65:0];
      3'd1: limb = v[131:66];
      3'd2: limb = v[197:132];
      3'd3: limb = {8'd0, v[255:198]};
      default: limb = '0;
    endcase
  endfunction
  // 2 acc + (bit of T) n, or acc + k
  function automatic logic [67:0] next_limb(input logic [65:0] acc, input logic doubling, input logic t_bit, input logic [65:0] n_or_k, input logic [1:0] carry);
    next_limb = (doubling ? {1'b0, acc, 1'b0} : {2'd0, acc}) + {2'd0, t_bit || !doubling ? n_or_k : 66'd0} + {66'd0, carry};
  endfunction

  // ------------------------------------------------------------------ conversation with the outside in this cycle
  logic working;
  logic blinding;
  logic needs_word;
  logic is_first;
  assign working = state_q == WORK;
  assign blinding = working && (doing == DO_LADDER || doing == DO_COMB);
  assign is_first = state_q == TAKE;
  assign s_job_ready = is_first || (working && (doing == DO_BEAT || doing == DO_FLUSH) && !last_seen_q);
  assign needs_word = working && ((doing == DO_DRAW && sub_q != 4'd8) || (doing == DO_SCALAR && !given_q && sub_q < 4'd8) || (blinding && !drawn_q));
  assign s_word_ready = needs_word;
  assign key_valid = working && sub_q == 4'd0 && !sweeping
      && (doing == DO_KEY_READ || doing == DO_KEY_TAKE || doing == DO_KEY_NEW || doing == DO_KEY_ERASE) || key_write;
  assign key_write = key_write_q;
  assign key_held = key_store_q;

  assign batch_valid_o = closed_q && count_q != 7'd0;
  assign batch_program_o = abort_i && !kat_batch_q ? kf_uc::PROG_IDLE : program_q;
  assign batch_curve_o = bcurve_q;
  assign batch_kat_o = kat_batch_q;
  assign row_comb_o = doing == DO_COMB;
  assign row_ctx_o = count_q[5:0];

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

  // A control word that this build does not take: answered with status descriptor.
  logic control_bad;
  assign control_bad = s_job_data[7:0] == 8'd0 || s_job_data[7:0] > JOB_IMPORT || s_job_data[15:8] > 8'd1
      || s_job_data[63:35] != 29'd0 || s_job_data[255:128] != 128'd0
      || (!TEST_IMPORT && (s_job_data[7:0] == JOB_IMPORT || s_job_data[34]));

  always_ff @(posedge clk) begin
    in_we_o <= 1'b0;
    in_reg_o <= reg_now;
    in_ctx_o <= count_q[5:0];
    meta_we_o <= 1'b0;
    if (rst) begin
      state_q <= BOOT;
      kat_q <= '0;
      kat_failed_q <= 1'b0;
      kat_passed_q <= 1'b0;
      count_q <= '0;
      closed_q <= 1'b0;
      kat_batch_q <= 1'b0;
      set_q <= '0;
      run_kat_o <= 1'b0;
      run_count_o <= '0;
      run_set_o <= '0;
      step_q <= '0;
      sub_q <= '0;
      rest_q <= 1'b0;
      v_q <= '0;
      acc_q <= '0;
      t_q <= '0;
      blind_q <= 1'b0;
      drawn_q <= 1'b0;
      row_made_q <= 1'b0;
      key_write_q <= 1'b0;
      key_store_q <= 1'b0;
      row_valid_o <= 1'b0;
      status_q <= ST_OK;
      curve_q <= 1'b0;
      op_q <= '0;
      tries_q <= '0;
      bits_q <= '0;
      limb_q <= '0;
      wait_q <= '0;
    end else begin
      // ---- the batch goes to the core
      if (core_taken_i) begin
        count_q <= '0;
        closed_q <= 1'b0;
        kat_batch_q <= 1'b0;
        set_q <= set_q + 2'd1;
        run_kat_o <= kat_batch_q;
        run_count_o <= count_q;
        run_set_o <= set_q;
        wait_q <= '0;
      end
      case (state_q)
        BOOT: if (core_wiped_i && !sweeping && table_locked_i) begin
          state_q <= SELF_TEST ? KAT : TAKE;
          kat_passed_q <= !SELF_TEST;
        end
        KAT: if (!closed_q) begin  // one context after the other
          kat_batch_q <= 1'b1;
          curve_q <= kat_q[1];
          bcurve_q <= kat_q[1];
          op_q <= kat_q[0] ? JOB_ECKA : JOB_GENERATE;
          program_q <= kat_q[0] ? kf_uc::PROG_ECKA : kf_uc::PROG_GENERATE;
          status_q <= ST_OK;
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
          if (s_job_valid && s_job_ready) begin
            op_q <= control_bad ? 8'd0 : s_job_data[7:0];
            curve_q <= s_job_data[8] && !control_bad;
            curve_byte_q <= s_job_data[15:8];
            slot_q <= s_job_data[31:16];
            for_sign_q <= s_job_data[33];
            given_q <= s_job_data[34];
            tag_q <= s_job_data[127:64];
            last_seen_q <= s_job_last;
            owns_q <= 1'b0;
            status_q <= control_bad ? ST_DESCRIPTOR : kat_failed_q ? ST_SELF_TEST : ST_OK;
            state_q <= JOIN;
          end
        end
        JOIN: if (!closed_q) begin
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
              status_q <= ST_DESCRIPTOR;
              v_q <= '0;
            end else if (s_job_valid) begin
              v_q <= s_job_data;
              last_seen_q <= s_job_last;
            end
            DO_FLUSH: if (s_job_valid && !last_seen_q) last_seen_q <= s_job_last;
            DO_DRAW: begin
              if (entropy_alarm_i) begin
                v_q <= '0;
                if (status_q == ST_OK) status_q <= ST_ENTROPY;
              end else if (s_word_valid && s_word_ready) begin
                v_q <= {s_word_data, v_q[255:32]};
                sub_q <= sub_q + 4'd1;
              end
            end
            DO_SCALAR, DO_CHECK_P, DO_CHECK_N: begin
              // SCALAR: sub 0 to 7 draw, 8 to 11 compare, 12 decide; CHECK: 0 to 3 compare, 4 decide
              if (doing == DO_SCALAR && sub_q < 4'd8) begin
                if (given_q) sub_q <= 4'd8;
                else if (entropy_alarm_i) begin
                  v_q <= '0;
                  if (status_q == ST_OK) status_q <= ST_ENTROPY;
                end else if (s_word_valid) begin
                  v_q <= {s_word_data, v_q[255:32]};
                  sub_q <= sub_q + 4'd1;
                end
              end else if (sub_q[2]) begin  // decide
                if (!(lt_q && (nz_q || doing == DO_CHECK_P))) begin
                  if (doing == DO_SCALAR && !given_q) begin
                    sub_q <= '0;
                    tries_q <= tries_q + 6'd1;
                    if (&tries_q && status_q == ST_OK) status_q <= ST_ENTROPY;  // 64 candidates in a row: the source is broken
                  end else if (status_q == ST_OK) status_q <= ST_RANGE;
                end
              end else begin
                v_q <= {v_q[63:0], v_q[255:64]};
                lt_q <= below(v_q[63:0], doing == DO_CHECK_P, curve_q, sub_q[1:0], lt_q);
                nz_q <= (sub_q[1:0] != 2'd0 && nz_q) || v_q[63:0] != 64'd0;
                sub_q <= sub_q + 4'd1;
              end
            end
            DO_ALIAS: begin  // r + n where that is below p, else r. 0 to 3: v + n; 4 to 7: compare with p; 8: decide
              sub_q <= sub_q + 4'd1;
              if (!sub_q[3]) begin
                if (!sub_q[2]) begin
                  {carry_q, v_q} <= {plus_n(v_q[63:0], curve_q, sub_q[1:0], carry_q), v_q[255:64]};
                end else begin
                  v_q <= {v_q[63:0], v_q[255:64]};
                  lt_q <= below(v_q[63:0], 1'b1, curve_q, sub_q[1:0], lt_q);
                end
              end else begin
                if (carry_q || !lt_q) v_q <= in_data_o;  // r, which has just been put into its place
              end
            end
            DO_PUT: begin
              in_we_o <= 1'b1;
              in_data_o <= v_q;
            end
            DO_KEY_READ, DO_KEY_TAKE, DO_KEY_NEW, DO_KEY_ERASE: begin
              // sub 0: ask; 1: wait for the answer; 2: a second access (erase or store); 3: over
              case (sub_q)
                4'd0: if (key_ready && key_valid) sub_q <= 4'd1;
                4'd1: if (key_ack) begin
                  sub_q <= 4'd3;
                  if (key_bad) begin
                    if (status_q == ST_OK) status_q <= slot_q >> LOG2_SLOTS != 16'd0 ? ST_KEY : ST_FAULT;
                    if (slot_q >> LOG2_SLOTS == 16'd0) begin  // what is damaged is erased
                      key_write_q <= 1'b1;
                      sub_q <= 4'd2;
                    end
                  end else if (doing == DO_KEY_ERASE) begin
                    key_write_q <= 1'b1;
                    sub_q <= 4'd2;
                  end else if (doing == DO_KEY_NEW) begin
                    if (key_was_held) begin
                      if (status_q == ST_OK) status_q <= ST_KEY;  // somebody's key is in there
                    end else if (status_q == ST_OK && !abort_i) begin
                      key_write_q <= 1'b1;
                      key_store_q <= 1'b1;
                      owns_q <= op_q == JOB_GENERATE;
                      sub_q <= 4'd2;
                    end
                  end else if (!key_was_held || key_curve != curve_q || key_sign != (doing == DO_KEY_READ)) begin
                    if (status_q == ST_OK) status_q <= ST_KEY;
                    v_q <= '0;
                  end else begin
                    v_q <= key_scalar;
                    if (doing == DO_KEY_TAKE) begin  // used once, whatever becomes of this job
                      key_write_q <= 1'b1;
                      sub_q <= 4'd2;
                    end
                  end
                end
                4'd2: if (abort_i && key_store_q) begin
                  key_store_q <= 1'b0;  // erase instead
                  owns_q <= 1'b0;
                end else if (key_ready) begin
                  key_write_q <= 1'b0;
                  key_store_q <= 1'b0;
                  sub_q <= 4'd3;
                end
                default: ;
              endcase
            end
            DO_LADDER, DO_COMB: begin
              if (!drawn_q) begin  // 64 bits; comb: and one below them, such that k + r n is odd
                if (entropy_alarm_i) begin
                  drawn_q <= 1'b1;
                  if (status_q == ST_OK) status_q <= ST_ENTROPY;
                end else if (s_word_valid) begin
                  t_q <= {s_word_data, t_q[65:32]};
                  sub_q <= sub_q + 4'd1;
                  if (sub_q == 4'd1) drawn_q <= 1'b1;
                end
                bits_q <= 7'd66;
                limb_q <= '0;
                acc_carry_q <= '0;
                acc_q <= '0;
              end else if (!blind_q) begin
                blind_q <= 1'b1;
                if (doing == DO_COMB) t_q <= {1'b0, t_q[65:2], ~v_q[0]};
                else t_q <= {2'd0, t_q[65:2]} + kf_curve::ladder_m0(curve_q);
              end else if (row_made_q) begin
                row_made_q <= 1'b0;
                row_valid_o <= 1'b1;
              end else if (!row_valid_o) begin
                {acc_carry_q, acc_q} <= {next_limb(acc_q[65:0], bits_q != 7'd0, t_q[65], limb(bits_q != 7'd0 ? kf_curve::n(curve_q) : v_q, limb_q), acc_carry_q), acc_q[329:66]};
                if (limb_q == 3'd4) acc_carry_q <= '0;
                limb_q <= limb_q == 3'd4 ? 3'd0 : limb_q + 3'd1;
                if (limb_q == 3'd4) begin
                  if (bits_q == 7'd0) row_made_q <= 1'b1;
                  else begin
                    bits_q <= bits_q - 7'd1;
                    t_q <= {t_q[64:0], 1'b0};
                  end
                end
              end else if (row_ready_i) begin
                row_valid_o <= 1'b0;
                blind_q <= 1'b0;
                drawn_q <= 1'b0;
                acc_q <= '0;
                t_q <= '0;
              end
            end
            DO_KAT_K: v_q <= kf_curve::kat_k(curve_q);
            DO_KAT_X: v_q <= kf_curve::gx(curve_q);
            DO_KAT_Y: v_q <= kf_curve::gy(curve_q);
            default: begin  // DO_END
              in_we_o <= 1'b1;
              in_reg_o <= 3'd7;
              in_data_o <= {252'd0, abort_i && status_q == ST_OK && !kat_batch_q ? ST_ABORTED : status_q};
              meta_we_o <= !kat_batch_q;
              v_q <= '0;
              count_q <= count_q + 7'd1;
              wait_q <= '0;
              step_q <= '0;
              sub_q <= '0;
              rest_q <= 1'b0;
              tries_q <= '0;
              state_q <= kat_batch_q ? KAT : TAKE;
            end
          endcase
          if (step_done) begin
            sub_q <= '0;
            step_q <= step_q + 4'd1;
            if (doing == DO_ALIAS) begin
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
      DO_DRAW: step_done = sub_q == 4'd8 || entropy_alarm_i;
      DO_SCALAR: step_done = (sub_q == 4'd12 && ((lt_q && nz_q) || given_q || &tries_q)) || (sub_q < 4'd8 && !given_q && entropy_alarm_i);
      DO_CHECK_P, DO_CHECK_N: step_done = sub_q == 4'd4;
      DO_ALIAS: step_done = sub_q == 4'd8;
      DO_KEY_READ, DO_KEY_TAKE, DO_KEY_NEW, DO_KEY_ERASE: step_done = sub_q == 4'd3;
      DO_LADDER, DO_COMB: step_done = row_valid_o && row_ready_i;
      DO_END: step_done = 1'b0;
      default: step_done = 1'b1;
    endcase
    if (!working) step_done = 1'b0;
  end

  // The row: ladder, bit i says whether bits i and i + 1 of the scalar differ, bit 324 is its lowest bit; comb, the scalar without its lowest
  // bit (which is 1) and a 1 on top of the highest window.
  always_ff @(posedge clk) begin
    if (rst || (row_valid_o && row_ready_i)) row_data_o <= '0;
    else if (blinding && row_made_q) begin
      if (doing == DO_COMB) begin
        row_data_o <= {1'b0, acc_q[329:1]};
        for (int i = 0; i < 55; i++) if (kf_curve::comb_blind_windows(curve_q) == i[5:0] + 6'd1) row_data_o[6 * i + 5] <= 1'b1;
      end else begin
        row_data_o <= acc_q ^ {1'b0, acc_q[329:1]};
        row_data_o[324] <= acc_q[0];
      end
    end
  end

  logic [1:0] meta_set_q;
  logic [5:0] meta_ctx_q;
  assign meta_addr_o = {meta_set_q, meta_ctx_q};
  always_ff @(posedge clk) begin
    meta_set_q <= set_q;
    meta_ctx_q <= count_q[5:0];
    meta_data_o <= {owns_q, slot_q, curve_byte_q, op_q, tag_q};
  end

  assign ready_o = kat_passed_q && !entropy_alarm_i;
  assign idle_o = state_q == TAKE && count_q == 7'd0;
  assign wiped_o = !sweeping;
  // It sleeps while it waits: for a job, for the core to take a closed batch, for the results of known-answer jobs.
  always_comb begin
    case (state_q)
      KAT, JOIN: active_o = !closed_q;
      KAT_WAIT: active_o = kat_done_i;
      TAKE: active_o = s_job_valid || (count_q != 7'd0 && !closed_q);
      default: active_o = 1'b1;
    endcase
    if (zeroise_i || sweeping || core_taken_i || erase_valid_i) active_o = 1'b1;
  end
  assign selftest_o = kat_failed_q ? 2'd3 : kat_passed_q ? 2'd2 : (state_q == BOOT ? 2'd0 : 2'd1);
`ifdef FORMAL
`include "kf_prep_props.svh"
`endif
endmodule
`default_nettype wire
