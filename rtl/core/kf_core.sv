// kf_core: N = 64 / II contexts in lockstep: registers, one Montgomery multiplier, one modular adder, scalar rows, comb table, statuses.
//
// A batch goes through three phases:
//   exchange  8 N cycles: the results of the finished batch leave, every register of every context is overwritten (zero, or the inputs
//             of the next batch), the scalar rows of the finished batch are overwritten with zero;
//   run       the program, 64 cycles a word (kf_sequencer);
//   drain     64 cycles, so that the last results arrive.
// While a batch runs, the next one is written into the input buffer (in_*) and the other set of scalar rows (row_*).
//
// Inside a round a context passes these stages (cycle = 64 round + II context + stage; the word of the round follows it):
//   0 address of the scalar row | 1 choice of the digit | 2 choice of the bit, sign, table index | 3 addresses of registers and table
//   4 choice of bank and operand, check words | 5 multiplier and adder begin | 5 + MUL, 5 + ADD results, written in that cycle
//   6 + MUL  zero tests and statuses
// A result is read one round later at the earliest: 5 + MUL < 64 + 4, so there are no hazards, and nothing waits for data.
//
// A context whose job failed a check keeps computing; its result is replaced by zero when it leaves. Failed are: a status from the
// microcode or from preparing, a memory word that does not match its check word, a wrong count of rounds, an abort.
// Secret: registers, scalar rows, inputs, results. Public: programs, counts, statuses, addresses (the table's address is a blinded digit).
`default_nettype none
module kf_core #(
  parameter int STYLE = 0,  // 0: for synthesis, 1: for simulation speed
  parameter int II = 1,     // cycles from one operation to the next: 1, 2, 4
  parameter int TA = 26,    // tiles of the multiplier: see kf_mulmod
  parameter int TB = 17,
  parameter int K = 2
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,  // one cycle or longer: what is running ends with status aborted

  // The next batch. While batch_valid_i stands, the buffers are complete and not written; taken_o: they are free again.
  input  wire  logic         batch_valid_i,
  input  wire  logic [2:0]   batch_program_i,
  input  wire  logic         batch_curve_i,
  output       logic         taken_o,    // one cycle, at the end of an exchange that took a batch
  input  wire  logic         in_we_i,
  input  wire  logic [5:0]   in_ctx_i,
  input  wire  logic [2:0]   in_reg_i,   // 0 to 6: A0 to A6; 7: the status to begin with
  input  wire  logic [255:0] in_data_i,
  input  wire  logic         row_valid_i,
  output       logic         row_ready_o,
  input  wire  logic         row_comb_i,  // comb digits, else the exchange bits of the ladder
  input  wire  logic [5:0]   row_ctx_i,
  input  wire  logic [329:0] row_data_i,

  // The comb table, {curve, window, index}: (2 index + 1) 2^(6 window) G, x low, y high, Montgomery form.
  input  wire  logic         table_we_i,
  input  wire  logic [11:0]  table_addr_i,
  input  wire  logic [511:0] table_data_i,

  // Results, in the order of contexts, during an exchange. It begins only when res_free_i says that all of them have room.
  input  wire  logic         res_free_i,
  output       logic         res_valid_o,
  output       logic [5:0]   res_ctx_o,
  output       logic [3:0]   res_status_o,
  output       logic [255:0] res_x_o,
  output       logic [255:0] res_y_o,
  output       logic         res_last_o,   // with the last context
  output       logic [31:0]  res_cycles_o, // of the batch: from its first word to its last result
  output       logic         res_kat_ok_o, // x and y (where the program has one) are those of the known-answer job

  output       logic         busy_o,        // a batch runs or is exchanged
  output       logic         wiped_o,       // after reset: everything has been overwritten
  output       logic         slot_o,        // a cycle in which the multiplier could begin an operation
  output       logic         mul_o,         // and one in which it does
  output       logic         ev_parity_o,
  output       logic         ev_gate_o
);

  localparam int LOG_II = (II == 1) ? 0 : (II == 2) ? 1 : 2;
  localparam int CTX_W = 6 - LOG_II;
  localparam int N = 1 << CTX_W;
  localparam int MUL = kf_arith_pkg::mul_latency(II);
  localparam int ADD = kf_arith_pkg::ADD_LATENCY;
  localparam logic [9:0] EX_COUNT = 10'(8 * N);
  localparam logic [9:0] EX_LAST = 10'(8 * N + 1);
  localparam logic [5:0] LAST_CTX = 6'(N - 1);
  localparam logic [5:0] II_MASK = 6'(II - 1);
  localparam logic [5:0] AT_MUL = 6'(5 + MUL);  // cycle of the round at which the first product is written
  localparam logic [5:0] AT_ADD = 6'(5 + ADD);
  localparam logic [3:0] ST_OK = 4'd0;
  localparam logic [3:0] ST_FAULT = 4'd5;
  localparam logic [3:0] ST_ABORTED = 4'd9;

  // ------------------------------------------------------------------ phases
  typedef enum logic [1:0] {WIPE, IDLE, RUN, EXCHANGE} phase_e;
  phase_e           phase_q;
  logic [31:0]      cycles_q;     // of the batch
  logic [9:0]       ex_q;         // counts an exchange
  logic             ex_result_q;  // it lets results out
  logic             ex_load_q;    // it takes a batch
  logic             wipe_twice_q;
  logic             hold_q;       // the program is over, the results wait for room
  logic             set_q;        // which set of scalar rows runs
  logic [2:0]       program_q;
  logic             curve_q;
  logic [2:0]       done_program_q;  // of the batch whose results leave
  logic             done_curve_q;
  logic             batch_fault_q;
  logic             batch_abort_q;

  logic             seq_start;
  logic             seq_active;
  logic             seq_done;
  logic             seq_gate_fault;
  logic [5:0]       t;
  logic [kf_uc::UWIDTH-1:0] word;
  logic             ex_run;
  logic             ex_end;
  assign ex_run = phase_q == EXCHANGE || phase_q == WIPE;
  assign ex_end = ex_run && ex_q == EX_LAST;
  assign seq_start = phase_q == EXCHANGE && ex_end && ex_load_q;
  assign taken_o = seq_start;
  assign busy_o = phase_q == RUN || phase_q == EXCHANGE;

  always_ff @(posedge clk) begin
    if (rst) begin
      phase_q <= WIPE;
      ex_q <= '0;
      ex_result_q <= 1'b0;
      ex_load_q <= 1'b0;
      wipe_twice_q <= 1'b0;
      hold_q <= 1'b0;
      set_q <= 1'b0;
      wiped_o <= 1'b0;
      program_q <= kf_uc::PROG_IDLE;
      done_program_q <= kf_uc::PROG_IDLE;
      done_curve_q <= 1'b0;
      curve_q <= 1'b0;
    end else begin
      if (abort_i && (phase_q == RUN || seq_start)) batch_abort_q <= 1'b1;
      if (seq_start) cycles_q <= '0;
      else if (seq_active) cycles_q <= cycles_q + 32'd1;
      case (phase_q)
        WIPE: begin
          ex_q <= ex_q + 10'd1;
          if (ex_end) begin  // twice: for both sets of scalar rows
            ex_q <= '0;
            set_q <= ~set_q;
            wipe_twice_q <= 1'b1;
            if (wipe_twice_q) begin
              phase_q <= IDLE;
              wiped_o <= 1'b1;
            end
          end
        end
        IDLE: begin
          batch_fault_q <= 1'b0;
          batch_abort_q <= 1'b0;
          if (batch_valid_i) begin
            phase_q <= EXCHANGE;
            ex_q <= '0;
            ex_result_q <= 1'b0;
            ex_load_q <= 1'b1;
            program_q <= batch_program_i;
            curve_q <= batch_curve_i;
          end
        end
        RUN: begin
          if (seq_done) begin
            hold_q <= 1'b1;
            if (seq_gate_fault) batch_fault_q <= 1'b1;
          end
          if (hold_q && res_free_i) begin
            hold_q <= 1'b0;
            phase_q <= EXCHANGE;
            ex_q <= '0;
            ex_result_q <= 1'b1;
            ex_load_q <= batch_valid_i;
            done_program_q <= program_q;
            done_curve_q <= curve_q;
            if (batch_valid_i) begin
              program_q <= batch_program_i;
              curve_q <= batch_curve_i;
            end
          end
        end
        default: begin  // EXCHANGE
          ex_q <= ex_q + 10'd1;
          if (ex_end) begin
            ex_result_q <= 1'b0;
            ex_load_q <= 1'b0;
            phase_q <= ex_load_q ? RUN : IDLE;
            batch_fault_q <= 1'b0;
            batch_abort_q <= abort_i && ex_load_q;
            if (ex_load_q) set_q <= ~set_q;
          end
        end
      endcase
    end
  end

  // ------------------------------------------------------------------ sequencer and the word at each stage
  logic [5:0]   row_digit;
  logic [2:0]   row_bit;
  logic [3:0]   expo;
  logic         mod_n;
  logic [255:0] modulus;
  logic [63:0]  mprime;
  logic [3:0]   c_a_index;
  logic [3:0]   c_b_index;
  logic [255:0] c_a4;
  logic [255:0] c_b4;
  logic [255:0] c_x4;
  logic [255:0] c_y4;
  kf_sequencer u_seq (
    .clk, .rst, .start_i(seq_start), .program_i(program_q), .curve_i(curve_q), .abort_i(abort_i || batch_abort_q),
    .active_o(seq_active), .done_o(seq_done), .gate_fault_o(seq_gate_fault), .t_o(t), .word_o(word),
    .row_digit_o(row_digit), .row_bit_o(row_bit), .expo_o(expo), .mod_n_o(mod_n), .mod_o(modulus), .mprime_o(mprime),
    .c_load_i(seq_active && t == 6'd3), .c0_index_i(c_a_index), .c0_o(c_a4), .c1_index_i(c_b_index), .c1_o(c_b4),
    .c2_index_i(word[kf_uc::F_ADD_X_INDEX +: 4]), .c2_o(c_x4), .c3_index_i(word[kf_uc::F_ADD_Y_INDEX +: 4]), .c3_o(c_y4)
  );
  assign ev_gate_o = seq_done && seq_gate_fault;

  // An exponent digit is register M[digit], or one in Montgomery form where the digit is 0: the same for all contexts.
  logic       expo_a;
  logic       expo_b;
  logic [1:0] bank_a;
  logic [1:0] bank_b;
  logic [3:0] index_a;
  logic [3:0] index_b;
  logic [3:0] one_index;
  assign one_index = mod_n ? kf_uc::C_ONE_N : kf_uc::C_ONE_P;
  assign expo_a = word[kf_uc::F_MUL_A_BANK +: 2] == kf_uc::BANK_S && word[kf_uc::F_MUL_A_INDEX +: 4] == kf_uc::SPECIAL_EXP;
  assign expo_b = word[kf_uc::F_MUL_B_BANK +: 2] == kf_uc::BANK_S && word[kf_uc::F_MUL_B_INDEX +: 4] == kf_uc::SPECIAL_EXP;
  assign bank_a = expo_a ? (expo == 4'd0 ? kf_uc::BANK_C : kf_uc::BANK_M) : word[kf_uc::F_MUL_A_BANK +: 2];
  assign bank_b = expo_b ? (expo == 4'd0 ? kf_uc::BANK_C : kf_uc::BANK_M) : word[kf_uc::F_MUL_B_BANK +: 2];
  assign index_a = expo_a ? expo : word[kf_uc::F_MUL_A_INDEX +: 4];
  assign index_b = expo_b ? expo : word[kf_uc::F_MUL_B_INDEX +: 4];
  assign c_a_index = expo_a ? one_index : word[kf_uc::F_MUL_A_INDEX +: 4];
  assign c_b_index = expo_b ? one_index : word[kf_uc::F_MUL_B_INDEX +: 4];

  // Contexts at the stages, and whether an operation is there (every II-th cycle).
  function automatic logic slot_of(input logic [5:0] cycle);
    slot_of = (cycle & II_MASK) == 6'd0;
  endfunction
  logic [5:0] t1;
  logic [5:0] t3;
  logic [5:0] t5;
  logic [5:0] tm /* verilator public_flat_rd */;
  logic [5:0] ta /* verilator public_flat_rd */;
  logic [5:0] tz;
  assign t1 = t - 6'd1;
  assign t3 = t - 6'd3;
  assign t5 = t - 6'd5;
  assign tm = t - AT_MUL;
  assign ta = t - AT_ADD;
  assign tz = t - AT_MUL - 6'd1;

  // Fields of the word, each taken over when the first context of the round comes to the stage that uses it.
  logic [2:0] step1_q;
  logic [2:0] step2_q;
  logic [2:0] row_bit2_q;
  logic [5:0] row_digit2_q;
  logic [1:0] bank_a3_q;
  logic [1:0] bank_b3_q;
  logic [3:0] index_a3_q;
  logic [3:0] index_b3_q;
  logic [3:0] index_x3_q;
  logic [3:0] index_y3_q;
  logic [1:0] bank_a4_q;
  logic [1:0] bank_b4_q;
  logic [1:0] bank_x4_q;
  logic [1:0] bank_y4_q;
  logic [3:0] swap4_q;
  logic [1:0] add_op4_q;
  logic       used_mul4_q;
  logic       used_add4_q;
  logic       mul_en5_q;
  logic       add_en5_q;
  logic       capture5_q;
  logic       capture_comb5_q;
  logic       mul_en_w_q;
  logic [3:0] mul_dst_w_q /* verilator public_flat_rd */;
  logic       mul_cond_w_q;
  logic       add_en_w_q;
  logic [3:0] add_dst_w_q /* verilator public_flat_rd */;
  logic       add_cond_w_q;
  logic [2:0] cond_z_q;
  logic [3:0] cond_status_z_q;

  logic [2:0] control;
  logic [2:0] cond;
  assign control = word[kf_uc::F_CONTROL +: kf_uc::F_CONTROL_W];
  assign cond = word[kf_uc::F_COND +: kf_uc::F_COND_W];

  logic seq_quiet;  // nothing of a program is on its way any more
  assign seq_quiet = !seq_active;
  always_ff @(posedge clk) begin
    if (seq_quiet) begin
      step1_q <= kf_uc::STEP_NONE;
      step2_q <= kf_uc::STEP_NONE;
      mul_en5_q <= 1'b0;
      add_en5_q <= 1'b0;
      capture5_q <= 1'b0;
      capture_comb5_q <= 1'b0;
      mul_en_w_q <= 1'b0;
      add_en_w_q <= 1'b0;
      mul_cond_w_q <= 1'b0;
      add_cond_w_q <= 1'b0;
      cond_z_q <= kf_uc::COND_NONE;
      used_mul4_q <= 1'b0;
      used_add4_q <= 1'b0;
      // for the exchange: port x reads A1 and A2
      bank_x4_q <= kf_uc::BANK_A;
      swap4_q <= '0;
    end else begin
      if (t == 6'd0) step1_q <= word[kf_uc::F_STEP +: kf_uc::F_STEP_W];
      if (t == 6'd1) begin
        step2_q <= step1_q;
        row_bit2_q <= row_bit;
        row_digit2_q <= row_digit;
      end
      if (t == 6'd2) begin
        bank_a3_q <= bank_a;
        bank_b3_q <= bank_b;
        index_a3_q <= index_a;
        index_b3_q <= index_b;
        index_x3_q <= word[kf_uc::F_ADD_X_INDEX +: 4];
        index_y3_q <= word[kf_uc::F_ADD_Y_INDEX +: 4];
      end
      if (t == 6'd3) begin
        bank_a4_q <= bank_a3_q;
        bank_b4_q <= bank_b3_q;
        bank_x4_q <= word[kf_uc::F_ADD_X_BANK +: 2];
        bank_y4_q <= word[kf_uc::F_ADD_Y_BANK +: 2];
        swap4_q <= {word[kf_uc::F_ADD_Y_SWAP], word[kf_uc::F_ADD_X_SWAP], word[kf_uc::F_MUL_B_SWAP], word[kf_uc::F_MUL_A_SWAP]};
        add_op4_q <= word[kf_uc::F_ADD_OP +: 2];
        used_mul4_q <= word[kf_uc::F_MUL_EN];
        used_add4_q <= word[kf_uc::F_ADD_EN];
      end
      if (t == 6'd4) begin
        mul_en5_q <= word[kf_uc::F_MUL_EN];
        add_en5_q <= word[kf_uc::F_ADD_EN];
        capture5_q <= control == kf_uc::CTL_SCALAR_LADDER || control == kf_uc::CTL_SCALAR_COMB;
        capture_comb5_q <= control == kf_uc::CTL_SCALAR_COMB;
      end
      if (t == AT_MUL - 6'd1) begin
        mul_en_w_q <= word[kf_uc::F_MUL_EN] && control != kf_uc::CTL_SCALAR_LADDER && control != kf_uc::CTL_SCALAR_COMB;
        mul_dst_w_q <= word[kf_uc::F_MUL_DST +: 4];
        mul_cond_w_q <= cond == kf_uc::COND_MUL_ZERO || cond == kf_uc::COND_MUL_NONZERO;
      end
      if (t == AT_ADD - 6'd1) begin
        add_en_w_q <= word[kf_uc::F_ADD_EN];
        add_dst_w_q <= word[kf_uc::F_ADD_DST +: 4];
        add_cond_w_q <= cond == kf_uc::COND_ADD_ZERO || cond == kf_uc::COND_ADD_NONZERO;
      end
      if (t == AT_MUL) begin
        cond_z_q <= cond;
        cond_status_z_q <= {1'b0, word[kf_uc::F_COND_STATUS +: 3]};
      end
    end
  end
  assign slot_o = seq_active && slot_of(t5);
  assign mul_o = mul_en5_q && slot_of(t5);

  // ------------------------------------------------------------------ scalar rows: 55 digits of 6 bits, 30 check bits
  logic         row_we_q;
  logic [7:0]   row_waddr_q;
  logic [359:0] row_wdata_q;
  logic [7:0]   row_raddr;
  logic [359:0] row;
  logic         row_step;
  function automatic logic [29:0] fold30(input logic [329:0] v);
    fold30 = v[29:0] ^ v[59:30] ^ v[89:60] ^ v[119:90] ^ v[149:120] ^ v[179:150] ^ v[209:180] ^ v[239:210] ^ v[269:240] ^ v[299:270] ^ v[329:300];
  endfunction
  assign row_step = word[kf_uc::F_STEP +: kf_uc::F_STEP_W] != kf_uc::STEP_NONE && word[kf_uc::F_STEP +: kf_uc::F_STEP_W] != kf_uc::STEP_EXPO;
  assign row_raddr = {set_q, word[kf_uc::F_STEP +: kf_uc::F_STEP_W] == kf_uc::STEP_COMB || word[kf_uc::F_STEP +: kf_uc::F_STEP_W] == kf_uc::STEP_COMB_FIRST, t >> LOG_II};
  logic [359:0] row_mem[256];
  always_ff @(posedge clk) begin
    if (row_step || ex_run) row <= row_mem[row_raddr];  // in an exchange: so that no row stays in this register
    if (row_we_q) row_mem[row_waddr_q] <= row_wdata_q;
  end

  // stage 1: digit; stage 2: bit, sign, index
  logic [5:0] digit_q;
  logic       row_bad_q;
  logic       swap_q;
  logic       neg_q;
  logic [11:0] point_q;
  always_ff @(posedge clk) begin
    row_bad_q <= 1'b0;
    if (step1_q != kf_uc::STEP_NONE && step1_q != kf_uc::STEP_EXPO) begin
      digit_q <= row[6 * row_digit +: 6];
      row_bad_q <= slot_of(t1) && fold30(row[329:0]) != row[359:330];
    end else digit_q <= '0;
    swap_q <= (step2_q == kf_uc::STEP_LADDER || step2_q == kf_uc::STEP_LADDER_LAST) && digit_q[row_bit2_q];
    neg_q <= ~digit_q[5];
    point_q <= {curve_q, row_digit2_q, digit_q[5] ? digit_q[4:0] : ~digit_q[4:0]};
  end

  // ------------------------------------------------------------------ table
  logic [575:0] point;
  logic         point_step_q;
  function automatic logic [31:0] fold(input logic [255:0] v);
    fold = v[31:0] ^ v[63:32] ^ v[95:64] ^ v[127:96] ^ v[159:128] ^ v[191:160] ^ v[223:192] ^ v[255:224];
  endfunction
  // 2.4 Mbit. "block" where there is no UltraRAM.
  (* ram_style = "ultra" *) logic [575:0] table_mem[4096];
  logic point_step3_q;
  always_ff @(posedge clk) begin
    point_step3_q <= step2_q == kf_uc::STEP_COMB || step2_q == kf_uc::STEP_COMB_FIRST;
    point_step_q <= point_step3_q;
    if (point_step3_q) point <= table_mem[point_q];
    if (table_we_i) table_mem[table_addr_i] <= {fold(table_data_i[511:256]), fold(table_data_i[255:0]), table_data_i};
  end

  // ------------------------------------------------------------------ registers
  // public_flat_rd: read by the test that compares the write-backs of the two styles
  logic         m_we /* verilator public_flat_rd */;
  logic         a_we /* verilator public_flat_rd */;
  logic [255:0] mul_r /* verilator public_flat_rd */;
  logic [255:0] add_r /* verilator public_flat_rd */;
  logic [255:0] ra;
  logic [255:0] rb;
  logic [255:0] rx;
  logic [255:0] ry;
  logic [3:0]   bad;
  logic         swap4_now_q;
  logic         neg4_q;
  logic [8:0]   ex_w_q;  // address of the exchange, one cycle later
  logic         ex_we_q;
  logic [287:0] in_q;
  logic [CTX_W-1:0] rf_ctx;
  logic [3:0]   x_index;
  assign m_we = mul_en_w_q && slot_of(tm);
  assign a_we = add_en_w_q && slot_of(ta);
  assign rf_ctx = ex_run ? ex_q[CTX_W+2:3] : t3[5:LOG_II];
  assign x_index = ex_run ? (ex_q[0] ? 4'd2 : 4'd1) : index_x3_q;  // during an exchange: A1, A2
  kf_regfile #(.STYLE(STYLE), .CTX_W(CTX_W)) u_regs (
    .clk, .m_we_i(m_we), .m_idx_i(mul_dst_w_q), .m_ctx_i(tm[5:LOG_II]), .m_data_i(mul_r),
    .a_we_i(a_we), .a_idx_i(add_dst_w_q), .a_ctx_i(ta[5:LOG_II]), .a_data_i(add_r),
    .wipe_i(ex_we_q), .wipe_idx_i(ex_w_q[2:0]), .wipe_ctx_i(ex_w_q[CTX_W+2:3]),
    .wipe_data_i(ex_w_q[2:0] == 3'd7 || !ex_load_q ? 256'd0 : in_q[255:0]),
    .ctx_i(rf_ctx), .a_ridx_i(index_a3_q), .b_ridx_i(index_b3_q), .x_ridx_i(x_index), .y_ridx_i(index_y3_q),
    .a_bank_i(bank_a4_q[0] ^ (swap4_q[0] & swap4_now_q)), .b_bank_i(bank_b4_q[0] ^ (swap4_q[1] & swap4_now_q)),
    .x_bank_i(bank_x4_q[0] ^ (swap4_q[2] & swap4_now_q)), .y_bank_i(bank_y4_q[0] ^ (swap4_q[3] & swap4_now_q)),
    .a_o(ra), .b_o(rb), .x_o(rx), .y_o(ry), .a_bad_o(bad[0]), .b_bad_o(bad[1]), .x_bad_o(bad[2]), .y_bad_o(bad[3])
  );

  // stage 4: operands
  logic [255:0] a_q;
  logic [255:0] b_q;
  logic [255:0] x_q;
  logic [255:0] y_q;
  logic         sub_q;
  logic         operand_bad_q;
  logic         x_bad_q;
  always_ff @(posedge clk) begin
    swap4_now_q <= swap_q;
    neg4_q <= neg_q;
    case (bank_a4_q)
      kf_uc::BANK_C: a_q <= c_a4;
      kf_uc::BANK_S: a_q <= point[255:0];
      default: a_q <= ra;
    endcase
    b_q <= bank_b4_q[1] ? c_b4 : rb;
    x_q <= bank_x4_q[1] ? c_x4 : rx;
    case (bank_y4_q)
      kf_uc::BANK_C: y_q <= c_y4;
      kf_uc::BANK_S: y_q <= point[511:256];
      default: y_q <= ry;
    endcase
    sub_q <= add_op4_q == kf_uc::OP_SUB || (add_op4_q == kf_uc::OP_SIGN && neg4_q);
    operand_bad_q <= (used_mul4_q && ((!bank_a4_q[1] && bad[0]) || (!bank_b4_q[1] && bad[1])))
        || (used_add4_q && ((!bank_x4_q[1] && bad[2]) || (!bank_y4_q[1] && bad[3])))
        || (point_step_q && (fold(point[255:0]) != point[543:512] || fold(point[511:256]) != point[575:544]));
    x_bad_q <= bad[2];
  end

  kf_mulmod #(.STYLE(STYLE), .II(II), .TA(TA), .TB(TB), .K(K)) u_mul (
    .clk, .en_i(mul_en5_q && slot_of(t5)), .a_i(a_q), .b_i(b_q), .m_i(modulus), .mprime_i(mprime), .r_o(mul_r)
  );
  kf_addmod #(.STYLE(STYLE)) u_add (
    .clk, .en_i(add_en5_q && slot_of(t5)), .sub_i(sub_q), .x_i(x_q), .y_i(y_q), .m_i(modulus), .r_o(add_r)
  );

  // ------------------------------------------------------------------ public scalars of VERIFY become rows
  // v = a + m n (ladder) or a + (even ? n : 0) (comb), in three pieces of 86 bits; then the row of the set that runs.
  logic [4:0]   cap_v_q;
  logic [4:0]   cap_comb_q;
  logic [5:0]   cap_ctx0_q;
  logic [5:0]   cap_ctx1_q;
  logic [5:0]   cap_ctx2_q;
  logic [5:0]   cap_ctx3_q;
  logic [5:0]   cap_ctx4_q;
  logic [255:0] cap_a_q;
  logic [257:0] cap_add_q;
  logic [86:0]  cap_lo0_q;
  logic [171:0] cap_a0_q;
  logic [171:0] cap_c0_q;
  logic [85:0]  cap_lo1_q;
  logic [86:0]  cap_mid1_q;
  logic [85:0]  cap_a1_q;
  logic [85:0]  cap_c1_q;
  logic [171:0] cap_sum2_q;
  logic [85:0]  cap_hi2_q;
  logic [329:0] cap_row_q;
  logic [257:0] cap_v;
  assign cap_v = {cap_hi2_q, cap_sum2_q};
  // what is added: 0 or n (comb), m n (ladder)
  function automatic logic [257:0] addend(input logic comb, input logic odd, input logic curve);
    addend = !comb ? kf_curve::ladder_public(curve) : odd ? 258'd0 : {2'd0, kf_curve::n(curve)};
  endfunction
  always_ff @(posedge clk) begin
    cap_v_q <= {cap_v_q[3:0], capture5_q && slot_of(t5)};
    cap_comb_q <= {cap_comb_q[3:0], capture_comb5_q};
    if (capture5_q) begin
      cap_ctx0_q <= t5 >> LOG_II;
      cap_a_q <= a_q;
      cap_add_q <= addend(capture_comb5_q, a_q[0], curve_q);
    end
    if (cap_v_q[0]) begin
      cap_ctx1_q <= cap_ctx0_q;
      cap_lo0_q <= {1'b0, cap_a_q[85:0]} + {1'b0, cap_add_q[85:0]};
      cap_a0_q <= {2'd0, cap_a_q[255:86]};
      cap_c0_q <= cap_add_q[257:86];
    end
    if (cap_v_q[1]) begin
      cap_ctx2_q <= cap_ctx1_q;
      cap_lo1_q <= cap_lo0_q[85:0];
      cap_mid1_q <= {1'b0, cap_a0_q[85:0]} + {1'b0, cap_c0_q[85:0]} + {86'd0, cap_lo0_q[86]};
      cap_a1_q <= cap_a0_q[171:86];
      cap_c1_q <= cap_c0_q[171:86];
    end
    if (cap_v_q[2]) begin
      cap_ctx3_q <= cap_ctx2_q;
      cap_sum2_q <= {cap_mid1_q[85:0], cap_lo1_q};
      cap_hi2_q <= cap_a1_q + cap_c1_q + {85'd0, cap_mid1_q[86]};
    end
    if (cap_v_q[3]) begin
      cap_ctx4_q <= cap_ctx3_q;
      if (cap_comb_q[3]) begin
        cap_row_q <= {73'd0, cap_v[257:1]};
        for (int i = 0; i < 55; i++) if (kf_curve::comb_public_windows(curve_q) == i[5:0] + 6'd1) cap_row_q[6 * i + 5] <= 1'b1;
      end else begin
        cap_row_q <= {72'd0, cap_v ^ {1'b0, cap_v[257:1]}};
        cap_row_q[324] <= cap_v[0];
      end
    end
  end

  logic row_cap;
  logic row_wipe;
  assign row_cap = cap_v_q[4];
  assign row_wipe = ex_we_q && (ex_w_q[2:0] == 3'd5 || ex_w_q[2:0] == 3'd6);
  assign row_ready_o = !row_cap && !ex_run && !ex_we_q;
  always_ff @(posedge clk) begin
    row_we_q <= row_cap || row_wipe || (row_valid_i && row_ready_o);
    if (row_wipe) begin
      row_waddr_q <= {set_q, ex_w_q[2:0] == 3'd6, ex_ctx};
      row_wdata_q <= '0;
    end else if (row_cap) begin
      row_waddr_q <= {set_q, cap_comb_q[4], cap_ctx4_q};
      row_wdata_q <= {fold30(cap_row_q), cap_row_q};
    end else if (row_valid_i && row_ready_o) begin
      row_waddr_q <= {~set_q, row_comb_i, row_ctx_i};
      row_wdata_q <= {fold30(row_data_i), row_data_i};
    end
  end

  // ------------------------------------------------------------------ input buffer, exchange, results
  logic         in_clear;  // the inputs have been taken (after reset: or are unknown)
  logic         in_we_q;
  logic [8:0]   in_waddr_q;
  logic [287:0] in_wdata_q;
  logic [5:0]   ex_ctx;
  logic [8:0]   ex_in_addr;
  assign ex_ctx = ex_w_q[8:3];
  assign ex_in_addr = {ex_q[8:3], ex_q[2:0]};
  assign in_clear = ex_we_q && (ex_load_q || phase_q == WIPE);
  always_ff @(posedge clk) begin
    in_we_q <= in_clear || in_we_i;
    if (in_clear) begin
      in_waddr_q <= {ex_ctx, ex_w_q[2:0]};
      in_wdata_q <= '0;
    end else if (in_we_i) begin
      in_waddr_q <= {in_ctx_i, in_reg_i};
      in_wdata_q <= {fold(in_data_i), in_data_i};
    end
  end
  kf_ram #(.WIDTH(288), .DEPTH(512)) u_in (
    .clk, .we_i(in_we_q), .waddr_i(in_waddr_q), .wdata_i(in_wdata_q), .raddr_i(ex_in_addr), .rdata_o(in_q)
  );

  logic [3:0]   status_q[N];
  logic [N-1:0] parity_q;
  logic [255:0] out_x_q;
  logic         out_x_bad_q;
  logic         out_y_bad;
  logic         mz_q;
  logic         az_q;
  logic [63:0]  az_line_q;
  logic         cond_hit;
  logic         z;
  logic [CTX_W-1:0] z_ctx;
  logic [1:0]   outputs;
  logic [3:0]   final_status;
  logic         in_bad;
  logic         in_bad_q;  // so far in this context
  assign z = (cond_z_q == kf_uc::COND_MUL_ZERO || cond_z_q == kf_uc::COND_MUL_NONZERO) ? mz_q : az_line_q[MUL - ADD - 1];
  assign cond_hit = slot_of(tz) && cond_z_q != kf_uc::COND_NONE && (z == (cond_z_q == kf_uc::COND_MUL_ZERO || cond_z_q == kf_uc::COND_ADD_ZERO));
  assign z_ctx = tz[5:LOG_II];
  assign in_bad = ex_we_q && ex_load_q && fold(in_q[255:0]) != in_q[287:256];
  always_comb begin
    case (done_program_q)
      kf_uc::PROG_GENERATE: outputs = kf_uc::OUTPUTS_GENERATE;
      kf_uc::PROG_ECKA:     outputs = kf_uc::OUTPUTS_ECKA;
      kf_uc::PROG_SIGN:     outputs = kf_uc::OUTPUTS_SIGN;
      default:       outputs = 2'd0;
    endcase
  end
  // In an exchange cycle with ex_w = {context, 2}: x of the context stands in out_x_q, y in x_q.
  assign out_y_bad = x_bad_q;
  always_comb begin
    final_status = status_q[ex_w_q[CTX_W+2:3]];
    if (batch_fault_q || parity_q[ex_w_q[CTX_W+2:3]] || (outputs[0] && out_x_bad_q) || (outputs[1] && out_y_bad)) final_status = ST_FAULT;
    else if (batch_abort_q && final_status == ST_OK) final_status = ST_ABORTED;
  end
  assign ev_parity_o = (operand_bad_q && slot_of(t5) && seq_active) || row_bad_q || in_bad;

  logic [5:0] row_bad_t;
  assign row_bad_t = t - 6'd2;
  always_ff @(posedge clk) begin
    ex_we_q <= ex_run && ex_q < EX_COUNT;
    ex_w_q <= ex_q[8:0];
    if (mul_cond_w_q) mz_q <= mul_r == 256'd0;
    if (add_cond_w_q) az_q <= add_r == 256'd0;
    az_line_q <= {az_line_q[62:0], az_q};

    if (cond_hit && status_q[z_ctx] == ST_OK) status_q[z_ctx] <= cond_status_z_q;
    if (operand_bad_q && slot_of(t5)) parity_q[t5[5:LOG_II]] <= 1'b1;
    if (row_bad_q) parity_q[row_bad_t[5:LOG_II]] <= 1'b1;

    res_valid_o <= 1'b0;
    res_last_o <= 1'b0;
    if (ex_we_q) begin
      if (ex_w_q[2:0] == 3'd1) begin
        out_x_q <= x_q;
        out_x_bad_q <= x_bad_q;
      end
      if (ex_w_q[2:0] == 3'd2 && ex_result_q) begin
        res_valid_o <= 1'b1;
        res_ctx_o <= ex_ctx;
        res_status_o <= final_status;
        res_x_o <= final_status == ST_OK && outputs[0] ? out_x_q : 256'd0;
        res_y_o <= final_status == ST_OK && outputs[1] ? x_q : 256'd0;
        res_cycles_o <= cycles_q;
        res_last_o <= ex_ctx == LAST_CTX;
        res_kat_ok_o <= final_status == ST_OK && out_x_q == kf_curve::kat_x(done_curve_q) && (!outputs[1] || x_q == kf_curve::kat_y(done_curve_q));
      end
      in_bad_q <= ex_w_q[2:0] == 3'd0 ? in_bad : in_bad_q || in_bad;
      if (ex_w_q[2:0] == 3'd7) begin
        parity_q[ex_w_q[CTX_W+2:3]] <= in_bad_q || in_bad;
        status_q[ex_w_q[CTX_W+2:3]] <= ex_load_q ? in_q[3:0] : ST_OK;
      end
    end
    if (ex_end) begin  // no copy of a result stays behind
      out_x_q <= '0;
      res_x_o <= '0;
      res_y_o <= '0;
    end
  end
endmodule
`default_nettype wire
