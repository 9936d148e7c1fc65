// kf_prep: takes jobs one after another, forms batches of one operation and curve, and gets everything ready while the core computes.
//
// For each job: range checks, key slot, fresh random numbers (Z, masks, scalars, blinding), the blinded scalar as a row for the core,
// inputs into the core's buffer. About 80 to 1 300 cycles a job, in the background. The time depends on how many candidates for a scalar were
// thrown away (they are drawn until 1 <= k < n: FIPS 186-4 B.4.2), never on the one that was kept, nor on any stored scalar.
//
// Batch former: jobs join while operation and curve are the same and contexts are free. A batch is closed when it is full, when a job of
// another kind comes that needs a batch, or when the core waits and batch_timeout_i cycles have passed since the last job joined.
// After reset: key slots are erased; when the table is locked, known-answer batches (GENERATE and ECKA on both curves, with random
// blinding) run; jobs are taken only after they were right. If they were wrong, every job is answered with self_test.
// A job that cannot be computed still takes its place in a batch, with a status to begin with; the others begin as not_finished. What needs no program
// (ERASE, IMPORT, a refused descriptor) is done here and goes past the batches: kf_ledger answers it when its turn comes.
//
// Scalars come in two shares, k = k0 - k1 modulo n, and are never put together but under the blinding factor: the blinded scalar is (T n + k0) - k1. A key
// that signs gets new shares each time, both less the same random number, before they go to the core.
//
// kf_prep_control decides, twice; here are the numbers. Each of them carries a check word from where it came in to where it leaves: the value in
// hand (v) and the one that is held, which is what goes to the core (w: in_data_o), an exclusive or of 32-bit words, the blinded scalar one of its limbs, followed through each step and compared in each
// cycle. differ_o: a register here has changed by itself; the engine then resets and overwrites everything (kf_ledger).
// ev_bad_o: a key slot is damaged (kf_keyslots); its job ends as fault.
`default_nettype none
module kf_prep #(
  parameter int   TWIN = 1,            // 0: one copy of the control only. Not for products
  parameter logic SELF_TEST = 1'b1,    // 0: no known-answer jobs. For tiny curves, where blinded jobs meet infinity often
  parameter int   N = 64,              // contexts
  parameter int   LOG2_SLOTS = 9       // key slots
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         wipe_i,         // as rst, key slots included; the self-test's result stays unless forget_i
  input  wire  logic         forget_i,
  input  wire  logic         abort_i,        // level: jobs held or taken are answered as aborted
  input  wire  logic         table_locked_i,
  input  wire  logic [31:0]  batch_timeout_i,

  input  wire  logic         s_job_valid,
  output       logic         s_job_ready,
  input  wire  logic [255:0] s_job_data,
  input  wire  logic [31:0]  s_job_check,    // exclusive or of the words of s_job_data, from where it came into the core
  input  wire  logic         s_job_last,
  input  wire  logic         refused_i,      // a first beat is not a control word that this build takes

  input  wire  logic         s_word_valid,   // random words
  output       logic         s_word_ready,
  input  wire  logic [31:0]  s_word_data,
  output       logic         mix_valid_o,    // level: the words to come are to depend on mix_data_o too
  input  wire  logic         mix_ready_i,
  output       logic [383:0] mix_data_o,
  input  wire  logic         entropy_alarm_i,

  // core; check words without key and place
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
  output       logic [31:0]  in_check_o,
  output       logic         row_valid_o,
  input  wire  logic         row_ready_i,
  output       logic         row_comb_o,
  output       logic [5:0]   row_ctx_o,
  output       logic [384:0] row_data_o,
  output       logic [34:0]  row_check_o,

  // results: what the batch that runs is
  output       logic         run_kat_o,
  output       logic [6:0]   run_count_o,
  input  wire  logic         kat_done_i,
  input  wire  logic         kat_ok_i,
  output       logic         place_o,        // the job taken last is prepared: it has its place in the batch,
  output       logic         rider_o,        // or needs none, as it is done:
  output       logic [7:0]   done_status_o,  // with this status
  output       logic         owns_o,         // it has put its scalar into its slot,
  output       logic [5:0]   gen_o,          // with this generation; 0: none
  input  wire  logic         erase_valid_i,
  output       logic         erase_ready_o,
  input  wire  logic [15:0]  erase_slot_i,
  input  wire  logic [5:0]   erase_gen_i,

  output       logic         open_o,       // jobs are taken
  output       logic         ready_o,      // known answers were right: jobs are computed
  output       logic         idle_o,       // no job is held here
  output       logic         wiped_o,      // no erasure of key slots is under way
  output       logic         active_o,     // something here can change in this cycle (kf_sleep)
  output       logic         differ_o,
  output       logic         ev_bad_o,
  output       logic [1:0]   selftest_o    // 0 not begun, 1 running, 2 passed, 3 failed
`ifdef FORMAL
  , output     logic         f_accept_o    // one cycle: the first beat of a job is taken
  , output     logic         f_hand_o      // a job is in hand
  , output     logic [6:0]   f_count_o     // jobs in the batch that is formed or offered
`endif
);
  localparam int STATE = 288;

  // ------------------------------------------------------------------ control, twice
  logic             key_valid;
  logic             key_ready;
  logic [1:0]       key_write;
  logic             key_share;
  logic             key_lock;
  logic             key_new;
  logic             key_held;
  logic [5:0]       key_gen;
  logic [5:0]       key_was_gen;
  logic [15:0]      slot;
  logic             for_sign;
  logic             curve;
  logic             key_ack;
  logic             key_ack_bad;
  logic             key_was_held;
  logic             key_sign;
  logic             key_curve;
  logic             key_bad;
  logic [255:0]     key_value;
  logic [31:0]      key_check;
  logic             sweeping;
  logic             v_zero;
  logic             v_beat;
  logic             v_draw;
  logic             v_turn;
  logic             v_sum;
  logic             v_back;
  logic             v_key;
  logic             v_kat_k;
  logic             v_kat_x;
  logic             v_kat_y;
  logic [1:0]       part_now;
  logic             of_p;
  logic             borrow;
  logic             sum_less;
  logic             sum_n;
  logic             carry;
  logic             below_now;
  logic             zero_now;
  logic [64:0]      sum;
  logic             put;
  logic             hold;
  logic             hold_part;
  logic             w_zero;
  logic             put_last;
  logic [11:0]      last;
  logic             acc_zero;
  logic             acc_step;
  logic [1:0]       acc_pass;
  logic [1:0]       acc_digit;
  logic [2:0]       limb_now;
  logic [2:0]       acc_carry;
  logic [80:0]      acc_next;
  logic             row_load;
  logic             row_clear;
  logic             ctl_active;
  logic [STATE-1:0] ctl_state;
  logic             ctl_differ;
`ifdef FORMAL
  logic [4:0]       f_doing;
`endif
  logic [255:0]     v_q;           // the value in hand
  logic [31:0]      v_check_q;
  kf_prep_control #(.SELF_TEST(SELF_TEST), .N(N), .LOG2_SLOTS(LOG2_SLOTS)) u_control (
    .clk, .rst, .wipe_i, .forget_i, .abort_i, .table_locked_i, .batch_timeout_i, .s_job_valid, .s_job_last, .word_i({s_job_data[40:33], s_job_data[31:16], s_job_data[8:0]}), .refused_i,
    .s_word_valid, .s_word_data, .mix_valid_o, .mix_ready_i, .entropy_alarm_i, .core_taken_i, .core_busy_i, .core_wiped_i, .row_ready_i, .kat_done_i, .kat_ok_i,
    .sweeping_i(sweeping), .key_ready_i(key_ready), .key_ack_i(key_ack), .key_bad_i(key_bad), .key_was_held_i(key_was_held), .key_sign_i(key_sign),
    .key_curve_i(key_curve), .key_was_gen_i(key_was_gen), .below_i(below_now), .zero_i(zero_now), .sum_carry_i(sum[64]), .w_top_i(in_data_o[255]), .acc_carry_i(acc_next[80:78]), .acc_odd_i(acc_next[0]),
    .s_job_ready, .s_word_ready, .batch_valid_o, .batch_program_o, .batch_curve_o, .batch_kat_o, .in_we_o, .in_ctx_o, .in_reg_o,
    .row_valid_o, .row_comb_o, .row_ctx_o, .run_kat_o, .run_count_o, .place_o, .rider_o, .done_status_o, .owns_o, .gen_o, .key_valid_o(key_valid), .key_write_o(key_write),
    .key_share_o(key_share), .key_lock_o(key_lock), .key_new_o(key_new), .key_held_o(key_held), .key_gen_o(key_gen), .slot_o(slot), .sign_o(for_sign), .curve_o(curve), .v_zero_o(v_zero), .v_beat_o(v_beat), .v_draw_o(v_draw),
    .v_turn_o(v_turn), .v_sum_o(v_sum), .v_back_o(v_back), .v_key_o(v_key), .v_kat_k_o(v_kat_k), .v_kat_x_o(v_kat_x), .v_kat_y_o(v_kat_y),
    .part_o(part_now), .of_p_o(of_p), .borrow_o(borrow), .sum_less_o(sum_less), .sum_n_o(sum_n), .carry_o(carry), .put_o(put), .hold_o(hold), .hold_part_o(hold_part), .w_zero_o(w_zero), .put_last_o(put_last), .last_o(last),
    .acc_zero_o(acc_zero), .acc_step_o(acc_step), .acc_pass_o(acc_pass), .acc_digit_o(acc_digit), .limb_o(limb_now), .acc_carry_o(acc_carry),
    .row_load_o(row_load), .row_clear_o(row_clear), .open_o, .ready_o, .idle_o, .active_o(ctl_active), .selftest_o, .state_o(ctl_state)
`ifdef FORMAL
    , .f_doing_o(f_doing)
`endif
  );
  generate
    if (TWIN != 0) begin : g_twin
      logic [STATE-1:0] state;
      // verilator lint_off PINCONNECTEMPTY
      kf_prep_control #(.SELF_TEST(SELF_TEST), .N(N), .LOG2_SLOTS(LOG2_SLOTS)) u_control (
        .clk, .rst, .wipe_i, .forget_i, .abort_i, .table_locked_i, .batch_timeout_i, .s_job_valid, .s_job_last, .word_i({s_job_data[40:33], s_job_data[31:16], s_job_data[8:0]}), .refused_i,
        .s_word_valid, .s_word_data, .mix_valid_o(), .mix_ready_i, .entropy_alarm_i, .core_taken_i, .core_busy_i, .core_wiped_i, .row_ready_i, .kat_done_i, .kat_ok_i,
        .sweeping_i(sweeping), .key_ready_i(key_ready), .key_ack_i(key_ack), .key_bad_i(key_bad), .key_was_held_i(key_was_held), .key_sign_i(key_sign),
        .key_curve_i(key_curve), .key_was_gen_i(key_was_gen), .below_i(below_now), .zero_i(zero_now), .sum_carry_i(sum[64]), .w_top_i(in_data_o[255]), .acc_carry_i(acc_next[80:78]), .acc_odd_i(acc_next[0]),
        .s_job_ready(), .s_word_ready(), .batch_valid_o(), .batch_program_o(), .batch_curve_o(), .batch_kat_o(), .in_we_o(), .in_ctx_o(), .in_reg_o(),
        .row_valid_o(), .row_comb_o(), .row_ctx_o(), .run_kat_o(), .run_count_o(), .place_o(), .rider_o(), .done_status_o(), .owns_o(), .gen_o(), .key_valid_o(), .key_write_o(),
        .key_share_o(), .key_lock_o(), .key_new_o(), .key_held_o(), .key_gen_o(), .slot_o(), .sign_o(), .curve_o(), .v_zero_o(), .v_beat_o(), .v_draw_o(),
        .v_turn_o(), .v_sum_o(), .v_back_o(), .v_key_o(), .v_kat_k_o(), .v_kat_x_o(), .v_kat_y_o(),
        .part_o(), .of_p_o(), .borrow_o(), .sum_less_o(), .sum_n_o(), .carry_o(), .put_o(), .hold_o(), .hold_part_o(), .w_zero_o(), .put_last_o(), .last_o(),
        .acc_zero_o(), .acc_step_o(), .acc_pass_o(), .acc_digit_o(), .limb_o(), .acc_carry_o(),
        .row_load_o(), .row_clear_o(), .open_o(), .ready_o(), .idle_o(), .active_o(), .selftest_o(), .state_o(state)
      );
      // verilator lint_on PINCONNECTEMPTY
      assign ctl_differ = state != ctl_state;
    end else begin : g_alone
      assign ctl_differ = 1'b0;
    end
  endgenerate

  // When it is asked for: a share of d, and e, which was put last. Else nothing: at other times these are the two shares of a number.
  assign mix_data_o = mix_valid_o ? {v_q ^ in_data_o, in_data_o[127:0]} : 384'd0;

  // ------------------------------------------------------------------ key slots
`ifdef FORMAL
  logic [15:0]  f_slot;
  logic         f_zero;
  logic         f_swept;
`endif
  kf_keyslots #(.LOG2_SLOTS(LOG2_SLOTS)) u_keys (
    .clk, .rst, .sweep_i(wipe_i), .sweeping_o(sweeping), .lock_i(key_lock), .req_valid_i(key_valid), .req_ready_o(key_ready), .req_write_i(key_write),
    .req_share_i(key_share), .req_slot_i(slot), .req_share0_i(key_new ? in_data_o : v_q), .req_check0_i(key_new ? in_check_o : v_check_q),
    .req_share1_i(v_q), .req_check1_i(v_check_q), .req_held_i(key_held), .req_sign_i(key_held && for_sign),
    .req_curve_i(key_held && curve), .req_gen_i(key_gen), .ack_o(key_ack), .ack_differ_o(key_ack_bad), .ack_share_o(key_value), .ack_check_o(key_check),
    .ack_held_o(key_was_held), .ack_sign_o(key_sign), .ack_curve_o(key_curve), .ack_bad_o(key_bad), .ev_bad_o, .ack_gen_o(key_was_gen),
    .erase_valid_i, .erase_ready_o, .erase_slot_i, .erase_gen_i
`ifdef FORMAL
    , .f_slot_o(f_slot), .f_zero_o(f_zero), .f_swept_o(f_swept)
`endif
  );

  // ------------------------------------------------------------------ the value in hand
  // Comparisons, r + n and v - w, 64 bits a cycle: v_q turns. As functions, so that a simulation computes them only in the branches that need them.
  function automatic logic [63:0] part(input logic [255:0] v, input logic [1:0] i);
    case (i)
      2'd0: part = v[63:0];
      2'd1: part = v[127:64];
      2'd2: part = v[191:128];
      default: part = v[255:192];
    endcase
  endfunction
  function automatic logic below(input logic [63:0] v, input logic p, input logic of_curve, input logic [1:0] i, input logic from);
    logic [63:0] limit;
    limit = p ? part(kf_curve::p(of_curve), i) : part(kf_curve::n(of_curve), i);
    below = {1'b0, v} < {1'b0, limit} + {64'd0, i != 2'd0 && from};
  endfunction
  // v + n, v + 0, or v - w (which is v + ~w + 1)
  function automatic logic [64:0] sum_of(input logic [63:0] v, input logic [63:0] w, input logic less, input logic n, input logic of_curve, input logic [1:0] i, input logic from);
    logic [63:0] other;
    other = less ? ~w : n ? part(kf_curve::n(of_curve), i) : 64'd0;
    sum_of = {1'b0, v} + {1'b0, other} + {64'd0, i == 2'd0 ? less : from};
  endfunction
  function automatic logic [31:0] fold(input logic [255:0] v);
    fold = v[31:0] ^ v[63:32] ^ v[95:64] ^ v[127:96] ^ v[159:128] ^ v[191:160] ^ v[223:192] ^ v[255:224];
  endfunction
  always_comb begin
    below_now = 1'b0;
    if (v_turn) below_now = below(v_q[63:0], of_p, curve, part_now, borrow);
    zero_now = v_q[63:0] == 64'd0;
    sum = '0;
    if (v_sum) sum = sum_of(v_q[63:0], in_data_o[63:0], sum_less, sum_n, curve, part_now, carry);
  end
  always_ff @(posedge clk) begin
    if (rst || wipe_i || v_zero) begin
      v_q <= '0;
      v_check_q <= '0;
    end else if (v_beat) begin
      v_q <= s_job_data;
      v_check_q <= s_job_check;
    end else if (v_draw) begin
      v_q <= {s_word_data, v_q[255:32]};
      v_check_q <= v_check_q ^ v_q[31:0] ^ s_word_data;
    end else if (v_turn) begin  // the words change places only
      v_q <= {v_q[63:0], v_q[255:64]};
    end else if (v_sum) begin
      v_q <= {sum[63:0], v_q[255:64]};
      v_check_q <= v_check_q ^ v_q[31:0] ^ v_q[63:32] ^ sum[31:0] ^ sum[63:32];
    end else if (v_back) begin
      v_q <= in_data_o;
      v_check_q <= in_check_o;
    end else if (v_key) begin
      v_q <= key_value;
      v_check_q <= key_check;
    end else if (v_kat_k) begin
      v_q <= kf_curve::kat_k(curve);
      v_check_q <= fold(kf_curve::kat_k(curve));
    end else if (v_kat_x) begin
      v_q <= kf_curve::gx(curve);
      v_check_q <= fold(kf_curve::gx(curve));
    end else if (v_kat_y) begin
      v_q <= kf_curve::gy(curve);
      v_check_q <= fold(kf_curve::gy(curve));
    end
  end
  logic [255:0] n_mask;
  logic [255:0] v_beyond;  // the highest bits of what new shares are made with: without them it is below n
  assign n_mask = kf_curve::refresh_mask(curve);
  assign v_beyond = hold && hold_part ? v_q & ~n_mask : 256'd0;
  always_ff @(posedge clk) begin
    if (rst || wipe_i) begin
      in_data_o <= '0;
      in_check_o <= '0;
    end else if (put || hold) begin
      in_data_o <= v_q ^ v_beyond;
      in_check_o <= v_check_q ^ fold(v_beyond);
    end else if (v_sum && sum_less) begin
      in_data_o <= {in_data_o[63:0], in_data_o[255:64]};
    end else if (w_zero) begin
      in_data_o <= '0;
      in_check_o <= '0;
    end else if (put_last) begin
      in_data_o <= {244'd0, last};
      in_check_o <= {20'd0, last};
    end
  end

  // ------------------------------------------------------------------ blinding: acc = T n + w - v, in limbs of 78 bits; T n by two bits of T a pass
  localparam logic [1:0] PASS_ADD = 2'd1;
  localparam logic [1:0] PASS_SUBTRACT = 2'd2;
  logic [389:0] acc_q;       // turns by one limb a cycle
  logic [77:0]  acc_check_q; // the limbs, exclusive or
  logic         acc_bad;
  function automatic logic [257:0] times_n(input logic [1:0] digit, input logic of_curve);
    case (digit)
      2'd0: times_n = '0;
      2'd1: times_n = {2'd0, kf_curve::n(of_curve)};
      2'd2: times_n = {1'b0, kf_curve::n(of_curve), 1'b0};
      default: times_n = kf_curve::n3(of_curve);
    endcase
  endfunction
  // 4 acc + digit n; acc + w; acc - v (which is acc + ~v + 1); acc + digit n
  function automatic logic [80:0] next_limb(input logic [77:0] acc, input logic [1:0] pass, input logic [77:0] other, input logic [2:0] from);
    next_limb = (pass == 2'd0 ? {1'b0, acc, 2'b00} : {3'd0, acc}) + {3'd0, other} + {78'd0, from};
  endfunction
  function automatic logic [77:0] fold_limbs(input logic [389:0] v);
    fold_limbs = v[77:0] ^ v[155:78] ^ v[233:156] ^ v[311:234] ^ v[389:312];
  endfunction
  logic [257:0] acc_term;
  logic [77:0]  acc_other;
  always_comb begin
    acc_term = '0;
    acc_other = '0;
    acc_next = '0;
    if (acc_step) begin
      case (acc_pass)
        PASS_ADD:      acc_term = {2'd0, in_data_o};
        PASS_SUBTRACT: acc_term = {2'd0, v_q};
        default:       acc_term = times_n(acc_digit, curve);
      endcase
      case (limb_now)
        3'd0: acc_other = acc_term[77:0];
        3'd1: acc_other = acc_term[155:78];
        3'd2: acc_other = acc_term[233:156];
        3'd3: acc_other = {54'd0, acc_term[257:234]};
        default: ;
      endcase
      if (acc_pass == PASS_SUBTRACT) acc_other = ~acc_other;
      acc_next = next_limb(acc_q[77:0], acc_pass, acc_other, acc_carry);
    end
  end
  assign acc_bad = fold_limbs(acc_q) != acc_check_q;
  always_ff @(posedge clk) begin
    if (rst || wipe_i || acc_zero) begin
      acc_q <= '0;
      acc_check_q <= '0;
    end else if (acc_step) begin
      acc_q <= {acc_next[77:0], acc_q[389:78]};
      acc_check_q <= acc_check_q ^ acc_q[77:0] ^ acc_next[77:0];
    end
  end

  // The row: ladder, bit i says whether bits i and i + 1 of the scalar differ, bit 378 is its lowest bit; comb, the scalar without its lowest
  // bit (which is 1) and a 1 on top of the highest window.
  function automatic logic [34:0] fold_row(input logic [384:0] v);
    fold_row = v[34:0] ^ v[69:35] ^ v[104:70] ^ v[139:105] ^ v[174:140] ^ v[209:175] ^ v[244:210] ^ v[279:245] ^ v[314:280] ^ v[349:315] ^ v[384:350];
  endfunction
  function automatic logic [384:0] row_of(input logic [384:0] acc, input logic comb, input logic of_curve);
    if (comb) begin
      row_of = {1'b0, acc[384:1]};
      for (int i = 0; i < 55; i++) if (kf_curve::comb_blind_windows(of_curve) == i[5:0] + 6'd1) row_of[7 * i + 6] = 1'b1;
    end else begin
      row_of = acc ^ {1'b0, acc[384:1]};
      row_of[378] = acc[0];
    end
  endfunction
  always_ff @(posedge clk) begin
    if (rst || wipe_i || row_clear) begin
      row_data_o <= '0;
      row_check_o <= '0;
    end else if (row_load) begin
      row_data_o <= row_of(acc_q[384:0], row_comb_o, curve);
      row_check_o <= fold_row(row_of(acc_q[384:0], row_comb_o, curve));
    end
  end

  assign differ_o = ctl_differ || fold(v_q) != v_check_q || fold(in_data_o) != in_check_o || acc_bad || key_ack_bad;
  assign wiped_o = !sweeping;
  assign active_o = ctl_active || wipe_i || sweeping || core_taken_i || erase_valid_i || differ_o;
`ifdef FORMAL
`include "kf_prep_props.svh"
`endif
endmodule
`default_nettype wire
