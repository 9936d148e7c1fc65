// kf_control: everything of kf_core that decides what happens when, and that no data can reach: phases, exchange, sequencer, the fields of
// the word at each stage, addresses of contexts, when results leave.
//
// kf_core holds it twice and compares state_o, which is every register in here: a flip of any one is seen in the same cycle, before anything
// has followed from it. So a register that is added here has to be added there. The stages of a round: kf_core.sv.
//
// Phases, one-hot; any other pattern is illegal_o, and so is a program that runs outside of RUN:
//   WIPE      after reset: two exchanges that take nothing, one for each set of scalar rows
//   IDLE      waits for a batch, or for the order to answer the batch that was lost (answer_i)
//   RUN       the program; whether it was complete (whole_o) is known at its end
//   HOLD      waits until the results have room
//   EXCHANGE  8 N cycles: results out, everything overwritten, the next inputs in
// Abort is judged here alone: it stops the program at the end of a round, and such a batch is not whole.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_control #(
  parameter int II = 1,
  parameter int N = 64 / II  // contexts; fewer in proofs only
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,
  input  wire  logic         batch_valid_i,
  input  wire  logic [2:0]   batch_program_i,
  input  wire  logic         batch_curve_i,
  input  wire  logic         res_free_i,
  input  wire  logic         answer_i,       // level: a batch was lost to a fault, its results are to leave nevertheless (as faults)
  output       logic         taken_o,
  output       logic         busy_o,
  output       logic         wiped_o,
  output       logic [31:0]  cycles_o,       // of the batch
  output       logic         aborted_o,      // the batch was stopped
  output       logic         whole_o,        // its program ran to its end, with the right count of rounds
  output       logic         ev_gate_o,      // it was not, though nobody stopped it
  output       logic         illegal_o,

  // exchange: ex_* addresses, one cycle later ex_w_* what is written
  output       logic         wiping_o,
  output       logic         ex_run_o,
  output       logic         ex_end_o,
  output       logic [8:0]   ex_o,
  output       logic         ex_load_o,      // it takes a batch
  output       logic         ex_we_o,
  output       logic [8:0]   ex_w_o,
  output       logic [2:0]   program_o,      // of the batch that runs, or is taken
  output       logic [2:0]   done_program_o, // of the batch whose results leave
  output       logic         done_curve_o,
  output       logic         res_valid_o,
  output       logic [5:0]   res_ctx_o,
  output       logic         res_last_o,

  // the round
  output       logic         set_o,          // which set of scalar rows runs
  output       logic         curve_o,
  output       logic         seq_active_o,
  output       logic         first_o,
  output       logic [5:0]   t_o,
  output       logic         mod_n_o,
  output       logic [3:0]   c_a_index_o,    // constants of this round
  output       logic [3:0]   c_b_index_o,
  output       logic [3:0]   c_x_index_o,
  output       logic [3:0]   c_y_index_o,
  output       logic         row_step_o,     // stage 0
  output       logic         row_comb_o,
  output       logic [2:0]   step1_o,        // stage 1
  output       logic [5:0]   row_digit_o,
  output       logic [2:0]   step2_o,        // stage 2
  output       logic [2:0]   row_bit2_o,
  output       logic [5:0]   row_digit2_o,
  output       logic         point_step3_o,  // stage 3
  output       logic [3:0]   index_a3_o,
  output       logic [3:0]   index_b3_o,
  output       logic [3:0]   index_x3_o,
  output       logic [3:0]   index_y3_o,
  output       logic         point_step4_o,  // stage 4
  output       logic [1:0]   bank_a4_o,
  output       logic [1:0]   bank_b4_o,
  output       logic [1:0]   bank_x4_o,
  output       logic [1:0]   bank_y4_o,
  output       logic [3:0]   swap4_o,
  output       logic [1:0]   add_op4_o,
  output       logic         used_mul4_o,
  output       logic         used_add4_o,
  output       logic         mul_en5_o,      // stage 5
  output       logic         add_en5_o,
  output       logic         capture5_o,
  output       logic         capture_comb5_o,
  output       logic         mul_en_w_o,     // results
  output       logic [3:0]   mul_dst_w_o,
  output       logic         mul_cond_w_o,
  output       logic         add_en_w_o,
  output       logic [3:0]   add_dst_w_o,
  output       logic         add_cond_w_o,
  output       logic [2:0]   cond_z_o,
  output       logic [2:0]   cond_status_z_o,
  output       logic [4:0]   cap_v_o,        // public scalars on their way to their rows
  output       logic [4:3]   cap_comb_o,
  output       logic [5:0]   cap_ctx_o,
  output       logic [kf_uc::UWIDTH+262:0] state_o // every register of this module and of the sequencer
);
  localparam int LOG_II = (II == 1) ? 0 : (II == 2) ? 1 : 2;
  localparam int MUL = kf_arith_pkg::mul_latency(II);
  localparam int ADD = kf_arith_pkg::ADD_LATENCY;
  localparam logic [9:0] EX_COUNT = 10'(8 * N);
  localparam logic [9:0] EX_LAST = 10'(8 * N + 1);
  localparam logic [5:0] LAST_CTX = 6'(N - 1);
  localparam logic [5:0] II_MASK = 6'(II - 1);
  localparam logic [5:0] AT_MUL = 6'(5 + MUL);  // cycle of the round at which the first product is written
  localparam logic [5:0] AT_ADD = 6'(5 + ADD);
  localparam int SEQ = kf_uc::UWIDTH + 68;

  // ------------------------------------------------------------------ phases
  typedef enum logic [4:0] {WIPE = 5'b00001, IDLE = 5'b00010, RUN = 5'b00100, HOLD = 5'b01000, EXCHANGE = 5'b10000} phase_e;
  phase_e       phase_q;
  logic [9:0]   ex_q;         // counts an exchange
  logic         ex_result_q;  // it lets results out
  logic         wipe_twice_q;

  logic         seq_start;
  logic         seq_done;
  logic         seq_full;
  logic         unknown;
  assign ex_run_o = phase_q == EXCHANGE || phase_q == WIPE;
  assign ex_end_o = ex_run_o && ex_q == EX_LAST;
  assign seq_start = phase_q == EXCHANGE && ex_end_o && ex_load_o;
  assign taken_o = seq_start;
  assign busy_o = phase_q == RUN || phase_q == HOLD || phase_q == EXCHANGE;
  assign wiping_o = phase_q == WIPE;
  assign ex_o = ex_q[8:0];
  always_comb begin
    case (phase_q)
      WIPE, IDLE, RUN, HOLD, EXCHANGE: unknown = 1'b0;
      default: unknown = 1'b1;
    endcase
  end
  assign illegal_o = unknown || seq_active_o != (phase_q == RUN);

  always_ff @(posedge clk) begin
    if (rst) begin
      phase_q <= WIPE;
      ex_q <= '0;
      ex_result_q <= 1'b0;
      ex_load_o <= 1'b0;
      wipe_twice_q <= 1'b0;
      set_o <= 1'b0;
      wiped_o <= 1'b0;
      program_o <= kf_uc::PROG_IDLE;
      curve_o <= 1'b0;
      done_program_o <= kf_uc::PROG_IDLE;
      done_curve_o <= 1'b0;
      cycles_o <= '0;
      whole_o <= 1'b0;
      aborted_o <= 1'b0;
    end else begin
      if (abort_i && (phase_q == RUN || phase_q == HOLD || seq_start)) aborted_o <= 1'b1;
      if (seq_start) cycles_o <= '0;
      else if (seq_active_o) cycles_o <= cycles_o + 32'd1;
      case (phase_q)
        WIPE: begin
          ex_q <= ex_q + 10'd1;
          if (ex_end_o) begin  // twice: for both sets of scalar rows
            ex_q <= '0;
            set_o <= ~set_o;
            wipe_twice_q <= 1'b1;
            if (wipe_twice_q) begin
              phase_q <= IDLE;
              wiped_o <= 1'b1;
            end
          end
        end
        IDLE: begin
          whole_o <= 1'b0;
          aborted_o <= 1'b0;
          ex_q <= '0;
          ex_result_q <= answer_i;
          ex_load_o <= batch_valid_i && !answer_i;
          if (answer_i) begin
            if (res_free_i) phase_q <= EXCHANGE;
          end else if (batch_valid_i) begin
            phase_q <= EXCHANGE;
            program_o <= batch_program_i;
            curve_o <= batch_curve_i;
          end
        end
        RUN: if (seq_done) begin
          phase_q <= HOLD;
          whole_o <= seq_full;
        end
        HOLD: begin
          ex_q <= '0;
          ex_result_q <= 1'b1;
          ex_load_o <= batch_valid_i;
          if (res_free_i) begin
            phase_q <= EXCHANGE;
            done_program_o <= program_o;
            done_curve_o <= curve_o;
            if (batch_valid_i) begin
              program_o <= batch_program_i;
              curve_o <= batch_curve_i;
            end
          end
        end
        default: begin  // EXCHANGE
          ex_q <= ex_q + 10'd1;
          if (ex_end_o) begin
            ex_result_q <= 1'b0;
            ex_load_o <= 1'b0;
            phase_q <= ex_load_o ? RUN : IDLE;
            whole_o <= 1'b0;
            aborted_o <= abort_i && ex_load_o;
            if (ex_load_o) set_o <= ~set_o;
          end
        end
      endcase
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      ex_we_o <= 1'b0;
      ex_w_o <= '0;
      res_valid_o <= 1'b0;
      res_ctx_o <= '0;
      res_last_o <= 1'b0;
    end else begin
      ex_we_o <= ex_run_o && ex_q < EX_COUNT;
      ex_w_o <= ex_q[8:0];
      res_valid_o <= ex_we_o && ex_w_o[2:0] == 3'd2 && ex_result_q;
      res_ctx_o <= ex_w_o[8:3];
      res_last_o <= ex_we_o && ex_w_o[2:0] == 3'd2 && ex_result_q && ex_w_o[8:3] == LAST_CTX;
    end
  end

  // ------------------------------------------------------------------ sequencer and the word at each stage
  logic [kf_uc::UWIDTH-1:0] word;
  logic [2:0]     row_bit;
  logic [3:0]     expo;
  logic [SEQ-1:0] seq_state;
  kf_sequencer u_seq (
    .clk, .rst, .start_i(seq_start), .program_i(program_o), .curve_i(curve_o), .stop_i(aborted_o),
    .active_o(seq_active_o), .done_o(seq_done), .full_o(seq_full), .first_o, .t_o, .word_o(word),
    .row_digit_o, .row_bit_o(row_bit), .expo_o(expo), .mod_n_o, .state_o(seq_state)
  );
  assign ev_gate_o = seq_done && !seq_full && !aborted_o;

  // An exponent digit is register M[digit], or one in Montgomery form where the digit is 0: the same for all contexts.
  logic       expo_a;
  logic       expo_b;
  logic [3:0] one_index;
  logic [2:0] step;
  logic [2:0] control;
  logic [2:0] cond;
  assign one_index = mod_n_o ? kf_uc::C_ONE_N : kf_uc::C_ONE_P;
  assign expo_a = word[kf_uc::F_MUL_A_BANK +: 2] == kf_uc::BANK_S && word[kf_uc::F_MUL_A_INDEX +: 4] == kf_uc::SPECIAL_EXP;
  assign expo_b = word[kf_uc::F_MUL_B_BANK +: 2] == kf_uc::BANK_S && word[kf_uc::F_MUL_B_INDEX +: 4] == kf_uc::SPECIAL_EXP;
  assign c_a_index_o = expo_a ? one_index : word[kf_uc::F_MUL_A_INDEX +: 4];
  assign c_b_index_o = expo_b ? one_index : word[kf_uc::F_MUL_B_INDEX +: 4];
  assign c_x_index_o = word[kf_uc::F_ADD_X_INDEX +: 4];
  assign c_y_index_o = word[kf_uc::F_ADD_Y_INDEX +: 4];
  assign step = word[kf_uc::F_STEP +: kf_uc::F_STEP_W];
  assign control = word[kf_uc::F_CONTROL +: kf_uc::F_CONTROL_W];
  assign cond = word[kf_uc::F_COND +: kf_uc::F_COND_W];
  assign row_step_o = step != kf_uc::STEP_NONE && step != kf_uc::STEP_EXPO;
  assign row_comb_o = step == kf_uc::STEP_COMB || step == kf_uc::STEP_COMB_FIRST;

  // Fields of the word, each taken over when the first context of the round comes to the stage that uses it.
  logic [1:0] bank_a3_q;
  logic [1:0] bank_b3_q;
  always_ff @(posedge clk) begin
    if (rst || !seq_active_o) begin
      step1_o <= kf_uc::STEP_NONE;
      step2_o <= kf_uc::STEP_NONE;
      row_bit2_o <= '0;
      row_digit2_o <= '0;
      bank_a3_q <= '0;
      bank_b3_q <= '0;
      index_a3_o <= '0;
      index_b3_o <= '0;
      index_x3_o <= '0;
      index_y3_o <= '0;
      bank_a4_o <= '0;
      bank_b4_o <= '0;
      bank_y4_o <= '0;
      add_op4_o <= '0;
      mul_en5_o <= 1'b0;
      add_en5_o <= 1'b0;
      capture5_o <= 1'b0;
      capture_comb5_o <= 1'b0;
      mul_en_w_o <= 1'b0;
      mul_dst_w_o <= '0;
      add_en_w_o <= 1'b0;
      add_dst_w_o <= '0;
      mul_cond_w_o <= 1'b0;
      add_cond_w_o <= 1'b0;
      cond_z_o <= kf_uc::COND_NONE;
      cond_status_z_o <= '0;
      used_mul4_o <= 1'b0;
      used_add4_o <= 1'b0;
      // for the exchange: port x reads A1 and A2
      bank_x4_o <= kf_uc::BANK_A;
      swap4_o <= '0;
    end else begin
      if (t_o == 6'd0) step1_o <= step;
      if (t_o == 6'd1) begin
        step2_o <= step1_o;
        row_bit2_o <= row_bit;
        row_digit2_o <= row_digit_o;
      end
      if (t_o == 6'd2) begin
        bank_a3_q <= expo_a ? (expo == 4'd0 ? kf_uc::BANK_C : kf_uc::BANK_M) : word[kf_uc::F_MUL_A_BANK +: 2];
        bank_b3_q <= expo_b ? (expo == 4'd0 ? kf_uc::BANK_C : kf_uc::BANK_M) : word[kf_uc::F_MUL_B_BANK +: 2];
        index_a3_o <= expo_a ? expo : word[kf_uc::F_MUL_A_INDEX +: 4];
        index_b3_o <= expo_b ? expo : word[kf_uc::F_MUL_B_INDEX +: 4];
        index_x3_o <= word[kf_uc::F_ADD_X_INDEX +: 4];
        index_y3_o <= word[kf_uc::F_ADD_Y_INDEX +: 4];
      end
      if (t_o == 6'd3) begin
        bank_a4_o <= bank_a3_q;
        bank_b4_o <= bank_b3_q;
        bank_x4_o <= word[kf_uc::F_ADD_X_BANK +: 2];
        bank_y4_o <= word[kf_uc::F_ADD_Y_BANK +: 2];
        swap4_o <= {word[kf_uc::F_ADD_Y_SWAP], word[kf_uc::F_ADD_X_SWAP], word[kf_uc::F_MUL_B_SWAP], word[kf_uc::F_MUL_A_SWAP]};
        add_op4_o <= word[kf_uc::F_ADD_OP +: 2];
        used_mul4_o <= word[kf_uc::F_MUL_EN];
        used_add4_o <= word[kf_uc::F_ADD_EN];
      end
      if (t_o == 6'd4) begin
        mul_en5_o <= word[kf_uc::F_MUL_EN];
        add_en5_o <= word[kf_uc::F_ADD_EN];
        capture5_o <= control == kf_uc::CTL_SCALAR_LADDER || control == kf_uc::CTL_SCALAR_COMB;
        capture_comb5_o <= control == kf_uc::CTL_SCALAR_COMB;
      end
      if (t_o == AT_MUL - 6'd1) begin
        mul_en_w_o <= word[kf_uc::F_MUL_EN] && control != kf_uc::CTL_SCALAR_LADDER && control != kf_uc::CTL_SCALAR_COMB;
        mul_dst_w_o <= word[kf_uc::F_MUL_DST +: 4];
        mul_cond_w_o <= cond == kf_uc::COND_MUL_ZERO || cond == kf_uc::COND_MUL_NONZERO;
      end
      if (t_o == AT_ADD - 6'd1) begin
        add_en_w_o <= word[kf_uc::F_ADD_EN];
        add_dst_w_o <= word[kf_uc::F_ADD_DST +: 4];
        add_cond_w_o <= cond == kf_uc::COND_ADD_ZERO || cond == kf_uc::COND_ADD_NONZERO;
      end
      if (t_o == AT_MUL) begin
        cond_z_o <= cond;
        cond_status_z_o <= word[kf_uc::F_COND_STATUS +: 3];
      end
    end
  end

  logic       point_step3_d;
  logic [5:0] t5;
  logic [4:0] cap_comb_q;
  logic [5:0] cap_ctx0_q;
  logic [5:0] cap_ctx1_q;
  logic [5:0] cap_ctx2_q;
  logic [5:0] cap_ctx3_q;
  assign point_step3_d = step2_o == kf_uc::STEP_COMB || step2_o == kf_uc::STEP_COMB_FIRST;
  assign t5 = t_o - 6'd5;
  always_ff @(posedge clk) begin
    if (rst) begin
      point_step3_o <= 1'b0;
      point_step4_o <= 1'b0;
      cap_v_o <= '0;
      cap_comb_q <= '0;
      cap_ctx0_q <= '0;
      cap_ctx1_q <= '0;
      cap_ctx2_q <= '0;
      cap_ctx3_q <= '0;
      cap_ctx_o <= '0;
    end else begin
      point_step3_o <= point_step3_d;
      point_step4_o <= point_step3_o;
      cap_v_o <= {cap_v_o[3:0], capture5_o && (t5 & II_MASK) == 6'd0};
      cap_comb_q <= {cap_comb_q[3:0], capture_comb5_o};
      cap_ctx0_q <= t5 >> LOG_II;
      cap_ctx1_q <= cap_ctx0_q;
      cap_ctx2_q <= cap_ctx1_q;
      cap_ctx3_q <= cap_ctx2_q;
      cap_ctx_o <= cap_ctx3_q;
    end
  end

  assign cap_comb_o = cap_comb_q[4:3];

  assign state_o = {seq_state,
    phase_q, ex_q, ex_result_q, ex_load_o, wipe_twice_q, set_o, wiped_o, program_o, curve_o, done_program_o, done_curve_o, cycles_o, whole_o, aborted_o,
    ex_we_o, ex_w_o, res_valid_o, res_ctx_o, res_last_o,
    step1_o, step2_o, row_bit2_o, row_digit2_o, bank_a3_q, bank_b3_q, index_a3_o, index_b3_o, index_x3_o, index_y3_o,
    bank_a4_o, bank_b4_o, bank_x4_o, bank_y4_o, swap4_o, add_op4_o, used_mul4_o, used_add4_o,
    mul_en5_o, add_en5_o, capture5_o, capture_comb5_o, mul_en_w_o, mul_dst_w_o, mul_cond_w_o, add_en_w_o, add_dst_w_o, add_cond_w_o,
    cond_z_o, cond_status_z_o, point_step3_o, point_step4_o, cap_v_o, cap_comb_q, cap_ctx0_q, cap_ctx1_q, cap_ctx2_q, cap_ctx3_q, cap_ctx_o};
`ifdef FORMAL
`include "kf_control_props.svh"
`endif
endmodule
`default_nettype wire
