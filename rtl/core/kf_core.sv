// kf_core: N = 64 / II contexts in lockstep: registers, one Montgomery multiplier, one modular adder, scalar rows, comb table, statuses.
//
// A batch goes through three phases (kf_control):
//   exchange  8 N cycles: the results of the finished batch leave, every register of every context is overwritten (nothing, or the inputs
//             of the next batch), the scalar rows of the finished batch are overwritten with zero;
//   run       the program, 64 cycles a word (kf_sequencer), and 64 cycles, so that the last results arrive;
//   hold      until the results have room.
// While a batch runs, the next one is written into the input buffer (in_*) and the other set of scalar rows (row_*).
//
// Inside a round a context passes these stages (cycle = 64 round + II context + stage; the word of the round follows it):
//   0 address of the scalar row | 1 choice of the digit | 2 choice of the bit, sign, table index | 3 addresses of registers and table
//   4 choice of bank and operand, check words | 5 multiplier and adder begin | 5 + MUL, 5 + ADD results, written in that cycle
//   6 + MUL  zero tests and statuses
// A result is read one round later at the earliest: 5 + MUL < 64 + 4, so there are no hazards, and nothing waits for data.
//
// A result leaves as ok only if its context went from not_finished to ok by the last word of the program, no word that was read missed its
// check word, the batch is whole, and the comb table is the right one; whatever else is replaced by zero with a status. A context that failed
// keeps computing.
//
// Control is there twice (TWIN), and so are the digits of the scalars and what makes rows of VERIFY's scalars. Where the copies differ
// everything is reset and overwritten, and the batch that was held is answered with fault for each job. Every word in memory has a check word made from its value, its place and a key
// (kf_uc::check_word), so that a word that was wiped, never written, or meant for another place is damaged.
// Secret: registers, scalar rows, inputs, results. Public: programs, counts, statuses, addresses (the table's address is a blinded digit).
`default_nettype none
module kf_core #(
  parameter int STYLE = 0,  // 0: for synthesis, 1: for simulation speed
  parameter int TWIN = 1,   // 0: one copy of the control only. Not for products
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
  input  wire  logic [2:0]   in_reg_i,   // 0 to 6: A0 to A6; 7: {curve, program, status to begin with}
  input  wire  logic [255:0] in_data_i,
  input  wire  logic [31:0]  in_check_i, // exclusive or of its words
  input  wire  logic         row_valid_i,
  output       logic         row_ready_o,
  input  wire  logic         row_comb_i,  // comb digits, else the exchange bits of the ladder
  input  wire  logic [5:0]   row_ctx_i,
  input  wire  logic [384:0] row_data_i,
  input  wire  logic [34:0]  row_check_i, // exclusive or of its pieces of 35 bits

  // The comb table (kf_table): every entry, in the order of the addresses. Without it, whole and right, no job ends as ok.
  input  wire  logic         table_we_i,
  input  wire  logic [12:0]  table_addr_i,
  input  wire  logic [511:0] table_data_i,

  // Results, in the order of contexts, during an exchange. It begins only when res_free_i says that all of them have room.
  input  wire  logic         res_free_i,
  output       logic         res_valid_o,
  output       logic [5:0]   res_ctx_o,
  output       logic [7:0]   res_status_o,
  output       logic [287:0] res_x_o,      // check word, value
  output       logic [287:0] res_y_o,
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
  localparam logic [5:0] II_MASK = 6'(II - 1);
  localparam logic [5:0] AT_MUL = 6'(5 + MUL);  // cycle of the round at which the first product is written
  localparam logic [5:0] AT_ADD = 6'(5 + ADD);

  // ------------------------------------------------------------------ control, twice
  localparam int STATE = kf_uc::UWIDTH + 263;
  logic             fail;       // the copies differ, or did in the cycle before
  logic             differ;
  logic [1:0]       fail_q;     // 2'b01: no
  logic             owed_q;     // a batch was taken and not answered to its end; three times, like the next: else a flip would keep the core busy for ever
  logic             lost_q;     // and it was lost
  logic             owed_next;
  logic             lost_next;
  logic             answer;
  logic             ctl_rst;
  logic             ctl_taken;
  logic             ctl_busy;
  logic             ctl_wiped;
  logic             ctl_gate;
  logic             illegal;
  logic             aborted;
  logic             whole;
  logic             wiping;
  logic             ex_run;
  logic             ex_end;
  logic [8:0]       ex;
  logic             ex_load;
  logic             ex_we;
  logic [8:0]       ex_w;  // address of the exchange, one cycle later
  logic [2:0]       program_now;
  logic [2:0]       done_program;
  logic             done_curve;
  logic             ctl_res_valid;
  logic             set_now;
  logic             curve;
  logic             seq_active;
  logic             first;
  logic [5:0]       t;
  logic             mod_n;
  logic [3:0]       c_a_index;
  logic [3:0]       c_b_index;
  logic [3:0]       c_x_index;
  logic [3:0]       c_y_index;
  logic             row_step;
  logic             row_comb;
  logic [2:0]       step1;
  logic [5:0]       row_digit;
  logic [2:0]       step2;
  logic [2:0]       row_bit2;
  logic [5:0]       row_digit2;
  logic             point_step3;
  logic [3:0]       index_a3;
  logic [3:0]       index_b3;
  logic [3:0]       index_x3;
  logic [3:0]       index_y3;
  logic             point_step4;
  logic [1:0]       bank_a4;
  logic [1:0]       bank_b4;
  logic [1:0]       bank_x4;
  logic [1:0]       bank_y4;
  logic [3:0]       swap4;
  logic [1:0]       add_op4;
  logic             used_mul4;
  logic             used_add4;
  logic             mul_en5;
  logic             add_en5;
  logic             capture5;
  logic             capture_comb5;
  logic             mul_en_w;
  logic [3:0]       mul_dst_w /* verilator public_flat_rd */;
  logic             mul_cond_w;
  logic             add_en_w;
  logic [3:0]       add_dst_w /* verilator public_flat_rd */;
  logic             add_cond_w;
  logic [2:0]       cond_z;
  logic [2:0]       cond_status_z;
  logic [4:0]       cap_v;
  logic [4:3]       cap_comb;
  logic [5:0]       cap_ctx;
  logic [STATE-1:0] ctl_state;
  kf_control #(.II(II)) u_control (
    .clk, .rst(ctl_rst), .abort_i, .batch_valid_i, .batch_program_i, .batch_curve_i, .res_free_i, .answer_i(answer),
    .taken_o(ctl_taken), .busy_o(ctl_busy), .wiped_o(ctl_wiped), .cycles_o(res_cycles_o), .aborted_o(aborted), .whole_o(whole), .ev_gate_o(ctl_gate),
    .illegal_o(illegal), .wiping_o(wiping), .ex_run_o(ex_run), .ex_end_o(ex_end), .ex_o(ex), .ex_load_o(ex_load), .ex_we_o(ex_we), .ex_w_o(ex_w),
    .program_o(program_now), .done_program_o(done_program), .done_curve_o(done_curve), .res_valid_o(ctl_res_valid), .res_ctx_o, .res_last_o,
    .set_o(set_now), .curve_o(curve), .seq_active_o(seq_active), .first_o(first), .t_o(t), .mod_n_o(mod_n),
    .c_a_index_o(c_a_index), .c_b_index_o(c_b_index), .c_x_index_o(c_x_index), .c_y_index_o(c_y_index),
    .row_step_o(row_step), .row_comb_o(row_comb), .step1_o(step1), .row_digit_o(row_digit), .step2_o(step2), .row_bit2_o(row_bit2),
    .row_digit2_o(row_digit2), .point_step3_o(point_step3), .index_a3_o(index_a3), .index_b3_o(index_b3), .index_x3_o(index_x3),
    .index_y3_o(index_y3), .point_step4_o(point_step4), .bank_a4_o(bank_a4), .bank_b4_o(bank_b4), .bank_x4_o(bank_x4), .bank_y4_o(bank_y4),
    .swap4_o(swap4), .add_op4_o(add_op4), .used_mul4_o(used_mul4), .used_add4_o(used_add4), .mul_en5_o(mul_en5), .add_en5_o(add_en5),
    .capture5_o(capture5), .capture_comb5_o(capture_comb5), .mul_en_w_o(mul_en_w), .mul_dst_w_o(mul_dst_w), .mul_cond_w_o(mul_cond_w),
    .add_en_w_o(add_en_w), .add_dst_w_o(add_dst_w), .add_cond_w_o(add_cond_w), .cond_z_o(cond_z), .cond_status_z_o(cond_status_z),
    .cap_v_o(cap_v), .cap_comb_o(cap_comb), .cap_ctx_o(cap_ctx), .state_o(ctl_state)
  );
  logic ctl_differ;
  generate
    if (TWIN != 0) begin : g_twin
      logic [STATE-1:0] state;
      // verilator lint_off PINCONNECTEMPTY
      kf_control #(.II(II)) u_control (
        .clk, .rst(ctl_rst), .abort_i, .batch_valid_i, .batch_program_i, .batch_curve_i, .res_free_i, .answer_i(answer),
        .taken_o(), .busy_o(), .wiped_o(), .cycles_o(), .aborted_o(), .whole_o(), .ev_gate_o(), .illegal_o(), .wiping_o(), .ex_run_o(), .ex_end_o(),
        .ex_o(), .ex_load_o(), .ex_we_o(), .ex_w_o(), .program_o(), .done_program_o(), .done_curve_o(), .res_valid_o(), .res_ctx_o(), .res_last_o(), .set_o(), .curve_o(),
        .seq_active_o(), .first_o(), .t_o(), .mod_n_o(), .c_a_index_o(), .c_b_index_o(), .c_x_index_o(), .c_y_index_o(), .row_step_o(), .row_comb_o(),
        .step1_o(), .row_digit_o(), .step2_o(), .row_bit2_o(), .row_digit2_o(), .point_step3_o(), .index_a3_o(), .index_b3_o(), .index_x3_o(),
        .index_y3_o(), .point_step4_o(), .bank_a4_o(), .bank_b4_o(), .bank_x4_o(), .bank_y4_o(), .swap4_o(), .add_op4_o(), .used_mul4_o(),
        .used_add4_o(), .mul_en5_o(), .add_en5_o(), .capture5_o(), .capture_comb5_o(), .mul_en_w_o(), .mul_dst_w_o(), .mul_cond_w_o(), .add_en_w_o(),
        .add_dst_w_o(), .add_cond_w_o(), .cond_z_o(), .cond_status_z_o(), .cap_v_o(), .cap_comb_o(), .cap_ctx_o(), .state_o(state)
      );
      // verilator lint_on PINCONNECTEMPTY
      assign ctl_differ = state != ctl_state;
    end else begin : g_alone
      assign ctl_differ = 1'b0;
    end
  endgenerate

  // A difference resets both copies for this cycle and the next one: they overwrite everything, and answer what was lost.
  logic digit_differ;
  logic public_row_differ;
  assign differ = ctl_differ || digit_differ || public_row_differ || illegal;
  assign fail = differ || fail_q != 2'b01;
  assign ctl_rst = rst || fail;
  assign answer = owed_q && lost_q;
  assign taken_o = ctl_taken && !fail;
  assign res_valid_o = ctl_res_valid && !fail;
  assign busy_o = ctl_busy || owed_q;
  assign wiped_o = ctl_wiped;
  assign ev_gate_o = ctl_gate;
  always_ff @(posedge clk) fail_q <= !rst && differ ? 2'b10 : 2'b01;
  always_comb begin
    owed_next = owed_q;
    lost_next = lost_q;
    if (taken_o) owed_next = 1'b1;
    else if (res_valid_o && res_last_o) owed_next = 1'b0;
    if (fail) lost_next = owed_q;
    else if (res_valid_o && res_last_o) lost_next = 1'b0;
    if (rst) {owed_next, lost_next} = 2'b00;
  end
  kf_voted #(.WIDTH(2)) u_owed (.clk, .d_i({owed_next, lost_next}), .q_o({owed_q, lost_q}));

  // ------------------------------------------------------------------ constants of the round, each checked at its end
  logic         c_load;
  logic [287:0] c_a4;
  logic [287:0] c_b4;
  logic [287:0] c_x4;
  logic [287:0] c_y4;
  logic [255:0] modulus;
  logic [63:0]  mprime;
  logic         const_bad;
  assign c_load = seq_active && t == 6'd3;
  kf_const_rom u_const (
    .clk, .curve_i(curve), .load_i(c_load), .c0_index_i(c_a_index), .c0_o(c_a4), .c1_index_i(c_b_index), .c1_o(c_b4),
    .c2_index_i(c_x_index), .c2_o(c_x4), .c3_index_i(c_y_index), .c3_o(c_y4)
  );
  always_ff @(posedge clk) begin
    if (t == 6'd0) begin  // the last round before a change has no operation, and the first operands come at 5
      modulus <= mod_n ? kf_curve::n(curve) : kf_curve::p(curve);
      mprime <= mod_n ? kf_curve::mprime_n(curve) : kf_curve::mprime_p(curve);
    end
  end
  function automatic logic constant_bad(input logic [287:0] c);
    constant_bad = kf_uc::check_word(c[255:0], 11'd0) != c[287:256];
  endfunction
  always_comb begin
    const_bad = 1'b0;
    if (c_load && !first) const_bad = constant_bad(c_a4) || constant_bad(c_b4) || constant_bad(c_x4) || constant_bad(c_y4);
    if (seq_active && t == 6'd63) const_bad = modulus != (mod_n ? kf_curve::n(curve) : kf_curve::p(curve))
        || mprime != (mod_n ? kf_curve::mprime_n(curve) : kf_curve::mprime_p(curve));
  end

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

  assign slot_o = seq_active && slot_of(t5);
  assign mul_o = mul_en5 && slot_of(t5);

  // ------------------------------------------------------------------ scalar rows: 55 digits of 7 bits, 35 check bits
  logic         row_we_q;     // three times, like the next: a row that a wipe misses would stay
  logic [7:0]   row_waddr_q;
  logic         row_we;
  logic [7:0]   row_waddr;
  logic [419:0] row_wdata_q;
  logic [7:0]   row_raddr;
  logic [419:0] row;
  function automatic logic [34:0] row_check(input logic [384:0] v, input logic [7:0] place);
    row_check = v[34:0] ^ v[69:35] ^ v[104:70] ^ v[139:105] ^ v[174:140] ^ v[209:175] ^ v[244:210] ^ v[279:245] ^ v[314:280] ^ v[349:315] ^ v[384:350]
        ^ {3'b101, kf_uc::CHECK_KEY} ^ {27'd0, place};
  endfunction
  assign row_raddr = {set_now, row_comb, t >> LOG_II};
  logic [419:0] row_mem[256];
  always_ff @(posedge clk) begin
    if (row_step || ex_run) row <= row_mem[row_raddr];  // in an exchange: so that no row stays in this register
    if (row_we_q) row_mem[row_waddr_q] <= row_wdata_q;
  end

  // stage 1: digit; stage 2: bit, sign, index
  logic        row_bad_q;
  logic        step1_comb;
  logic [12:0] point_place;
  logic        swap4_now;
  logic        sub_now;
  logic [24:0] digit_state;
  assign step1_comb = step1 == kf_uc::STEP_COMB || step1 == kf_uc::STEP_COMB_FIRST;
  always_ff @(posedge clk) begin
    row_bad_q <= step1 != kf_uc::STEP_NONE && step1 != kf_uc::STEP_EXPO && slot_of(t1)
        && row_check(row[384:0], {set_now, step1_comb, t1 >> LOG_II}) != row[419:385];
  end
  kf_digit u_digit (
    .clk, .row_i(row[384:0]), .curve_i(curve), .step1_i(step1), .step2_i(step2), .row_digit_i(row_digit), .row_bit2_i(row_bit2),
    .row_digit2_i(row_digit2), .add_op4_i(add_op4), .point_o(point_place), .swap4_o(swap4_now), .sub_o(sub_now), .state_o(digit_state)
  );
  generate
    if (TWIN != 0) begin : g_twin_digit
      logic [24:0] state;
      // verilator lint_off PINCONNECTEMPTY
      kf_digit u_digit (
        .clk, .row_i(row[384:0]), .curve_i(curve), .step1_i(step1), .step2_i(step2), .row_digit_i(row_digit), .row_bit2_i(row_bit2),
        .row_digit2_i(row_digit2), .add_op4_i(add_op4), .point_o(), .swap4_o(), .sub_o(), .state_o(state)
      );
      // verilator lint_on PINCONNECTEMPTY
      assign digit_differ = state != digit_state;
    end else begin : g_alone_digit
      assign digit_differ = 1'b0;
    end
  endgenerate

  // ------------------------------------------------------------------ table
  logic [575:0] point;
  logic         table_right;
  kf_table u_table (
    .clk, .we_i(table_we_i), .waddr_i(table_addr_i), .wdata_i(table_data_i), .read_i(point_step3), .place_i(point_place), .point_o(point), .right_o(table_right)
  );

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
  logic [31:0]  rx_check;
  logic [287:0] in_q;
  logic [CTX_W-1:0] rf_ctx;
  logic [3:0]   x_index;
  assign m_we = mul_en_w && slot_of(tm);
  assign a_we = add_en_w && slot_of(ta);
  assign rf_ctx = ex_run ? ex[CTX_W+2:3] : t3[5:LOG_II];
  assign x_index = ex_run ? (ex[0] ? 4'd2 : 4'd1) : index_x3;  // during an exchange: A1, A2
  kf_regfile #(.STYLE(STYLE), .CTX_W(CTX_W)) u_regs (
    .clk, .m_we_i(m_we), .m_idx_i(mul_dst_w), .m_ctx_i(tm[5:LOG_II]), .m_data_i(mul_r),
    .a_we_i(a_we), .a_idx_i(add_dst_w), .a_ctx_i(ta[5:LOG_II]), .a_data_i(add_r),
    .wipe_i(ex_we), .wipe_idx_i(ex_w[2:0]), .wipe_ctx_i(ex_w[CTX_W+2:3]),
    .wipe_word_i(ex_w[2:0] == 3'd7 || !ex_load ? 288'd0 : in_q),
    .ctx_i(rf_ctx), .a_ridx_i(index_a3), .b_ridx_i(index_b3), .x_ridx_i(x_index), .y_ridx_i(index_y3),
    .a_bank_i(bank_a4[0] ^ (swap4[0] & swap4_now)), .b_bank_i(bank_b4[0] ^ (swap4[1] & swap4_now)),
    .x_bank_i(bank_x4[0] ^ (swap4[2] & swap4_now)), .y_bank_i(bank_y4[0] ^ (swap4[3] & swap4_now)),
    .a_o(ra), .b_o(rb), .x_o(rx), .y_o(ry), .x_check_o(rx_check), .a_bad_o(bad[0]), .b_bad_o(bad[1]), .x_bad_o(bad[2]), .y_bad_o(bad[3])
  );

  // stage 4: operands
  logic [255:0] a_q;
  logic [255:0] b_q;
  logic [255:0] x_q;
  logic [255:0] y_q;
  logic [31:0]  x_check_q;
  logic         operand_bad_q;
  always_ff @(posedge clk) begin
    case (bank_a4)
      kf_uc::BANK_C: a_q <= c_a4[255:0];
      kf_uc::BANK_S: a_q <= point[255:0];
      default: a_q <= ra;
    endcase
    b_q <= bank_b4[1] ? c_b4[255:0] : rb;
    x_q <= bank_x4[1] ? c_x4[255:0] : rx;
    x_check_q <= rx_check;
    case (bank_y4)
      kf_uc::BANK_C: y_q <= c_y4[255:0];
      kf_uc::BANK_S: y_q <= point[511:256];
      default: y_q <= ry;
    endcase
    operand_bad_q <= (used_mul4 && ((!bank_a4[1] && bad[0]) || (!bank_b4[1] && bad[1])))
        || (used_add4 && ((!bank_x4[1] && bad[2]) || (!bank_y4[1] && bad[3])))
        || (point_step4 && (kf_uc::check_word(point[255:0], 11'd0) != point[543:512] || kf_uc::check_word(point[511:256], 11'd1) != point[575:544]));
  end

  kf_mulmod #(.STYLE(STYLE), .II(II), .TA(TA), .TB(TB), .K(K)) u_mul (
    .clk, .en_i(mul_en5 && slot_of(t5)), .a_i(a_q), .b_i(b_q), .m_i(modulus), .mprime_i(mprime), .r_o(mul_r)
  );
  kf_addmod #(.STYLE(STYLE)) u_add (
    .clk, .en_i(add_en5 && slot_of(t5)), .sub_i(sub_now), .x_i(x_q), .y_i(y_q), .m_i(modulus), .r_o(add_r)
  );

  // ------------------------------------------------------------------ public scalars of VERIFY become rows of the set that runs
  logic [384:0] public_row;
  kf_public_row u_public_row (
    .clk, .curve_i(curve), .capture_i(capture5), .comb_i(capture_comb5), .operand_i(a_q), .valid_i(cap_v[3:0]), .comb3_i(cap_comb[3]), .row_o(public_row)
  );
  generate
    if (TWIN != 0) begin : g_twin_public_row
      logic [384:0] row_twin;
      kf_public_row u_public_row (
        .clk, .curve_i(curve), .capture_i(capture5), .comb_i(capture_comb5), .operand_i(x_q), .valid_i(cap_v[3:0]), .comb3_i(cap_comb[3]), .row_o(row_twin)
      );
      assign public_row_differ = cap_v[4] && row_twin != public_row;
    end else begin : g_alone_public_row
      assign public_row_differ = 1'b0;
    end
  endgenerate

  logic row_cap;
  logic row_wipe;
  assign row_cap = cap_v[4];
  assign row_wipe = ex_we && (ex_w[2:0] == 3'd5 || ex_w[2:0] == 3'd6);
  assign row_ready_o = !row_cap && !ex_run && !ex_we && !fail;
  assign row_we = row_cap || row_wipe || (row_valid_i && row_ready_o);
  always_comb begin
    row_waddr = row_waddr_q;
    if (row_wipe) row_waddr = {set_now, ex_w[2:0] == 3'd6, ex_ctx};
    else if (row_cap) row_waddr = {set_now, cap_comb[4], cap_ctx};
    else if (row_valid_i && row_ready_o) row_waddr = {~set_now, row_comb_i, row_ctx_i};
  end
  kf_voted #(.WIDTH(9)) u_row_write (.clk, .d_i({row_we, row_waddr}), .q_o({row_we_q, row_waddr_q}));
  always_ff @(posedge clk) begin
    if (row_wipe) begin
      row_wdata_q <= '0;
    end else if (row_cap) begin
      row_wdata_q <= {row_check(public_row, {set_now, cap_comb[4], cap_ctx}), public_row};
    end else if (row_valid_i && row_ready_o) begin
      row_wdata_q <= {row_check_i ^ row_check(385'd0, {~set_now, row_comb_i, row_ctx_i}), row_data_i};
    end
  end

  // ------------------------------------------------------------------ input buffer, exchange, results
  logic         in_clear;  // the inputs have been taken (after reset: or are unknown)
  logic         in_we_q;
  logic [8:0]   in_waddr_q;
  logic [287:0] in_wdata_q;
  logic [5:0]   ex_ctx;
  logic [8:0]   ex_in_addr;
  assign ex_ctx = ex_w[8:3];
  assign ex_in_addr = ex;
  assign in_clear = ex_we && (ex_load || wiping);
  always_ff @(posedge clk) begin
    in_we_q <= in_clear || in_we_i;
    if (in_clear) begin
      in_waddr_q <= {ex_ctx, ex_w[2:0]};
      in_wdata_q <= '0;
    end else if (in_we_i) begin
      in_waddr_q <= {in_ctx_i, in_reg_i};
      in_wdata_q <= {in_check_i ^ kf_uc::check_word(256'd0, {1'b1, 1'b0, in_reg_i, in_ctx_i}), in_data_i};
    end else begin
      in_wdata_q <= '0;  // one share never follows the other
    end
  end
  kf_ram #(.WIDTH(288), .DEPTH(512)) u_in (
    .clk, .we_i(in_we_q), .waddr_i(in_waddr_q), .wdata_i(in_wdata_q), .raddr_i(ex_in_addr), .rdata_o(in_q)
  );

  logic [7:0]   status_q[N];
  logic [N-1:0] parity_q;
  logic         spoilt_q;  // a constant was damaged in this batch
  logic [287:0] out_x_q;
  logic         out_x_bad_q;
  logic         x_bad_q;
  logic         mz_q;
  logic         az_q;
  logic [63:0]  az_line_q;
  logic         cond_hit;
  logic         z;
  logic [CTX_W-1:0] z_ctx;
  logic [CTX_W-1:0] ex_c;
  logic [1:0]   outputs;
  logic [7:0]   met_status;
  logic [7:0]   final_status;
  logic         in_good;
  logic         in_use;     // an input buffer's last word: there is a job in this context
  assign z = (cond_z == kf_uc::COND_MUL_ZERO || cond_z == kf_uc::COND_MUL_NONZERO) ? mz_q : az_line_q[MUL - ADD - 1];
  assign cond_hit = slot_of(tz) && cond_z != kf_uc::COND_NONE
      && (cond_z == kf_uc::COND_FINISH || z == (cond_z == kf_uc::COND_MUL_ZERO || cond_z == kf_uc::COND_ADD_ZERO));
  assign z_ctx = tz[5:LOG_II];
  assign ex_c = ex_w[CTX_W+2:3];
  assign in_good = kf_uc::check_word(in_q[255:0], {1'b1, 1'b0, ex_w[2:0], ex_ctx}) == in_q[287:256];
  assign in_use = in_q != 288'd0;
  always_comb begin
    case (done_program)
      kf_uc::PROG_GENERATE: outputs = kf_uc::OUTPUTS_GENERATE;
      kf_uc::PROG_ECKA:     outputs = kf_uc::OUTPUTS_ECKA;
      kf_uc::PROG_SIGN:     outputs = kf_uc::OUTPUTS_SIGN;
      default:       outputs = 2'd0;
    endcase
  end
  // In an exchange cycle with ex_w = {context, 2}: x of the context stands in out_x_q, y in x_q. Ok has to be earned; abort only chooses
  // between two ways of not being ok.
  assign met_status = status_q[ex_c];
  always_comb begin
    final_status = kf_uc::ST_FAULT;
    if (parity_q[ex_c] || spoilt_q || lost_q || !table_right) final_status = kf_uc::ST_FAULT;
    else if (met_status == kf_uc::ST_OK || met_status == kf_uc::ST_NOT_FINISHED) begin
      if (aborted) final_status = kf_uc::ST_ABORTED;  // its outputs need not have been written
      else if (met_status == kf_uc::ST_OK && whole && !(outputs[0] && out_x_bad_q) && !(outputs[1] && x_bad_q)) final_status = kf_uc::ST_OK;
    end else if (kf_uc::known_status(met_status)) final_status = met_status;
  end
  assign ev_parity_o = (operand_bad_q && slot_of(t5) && seq_active && status_q[t5[5:LOG_II]] != 8'd0)
      || (row_bad_q && status_q[row_bad_t[5:LOG_II]] != 8'd0) || const_bad || (differ && !rst);

  logic [5:0] row_bad_t;
  assign row_bad_t = t - 6'd2;
  always_ff @(posedge clk) begin
    if (mul_cond_w) mz_q <= mul_r == 256'd0;
    if (add_cond_w) az_q <= add_r == 256'd0;
    az_line_q <= {az_line_q[62:0], az_q};

    if (cond_hit && status_q[z_ctx] == kf_uc::ST_NOT_FINISHED) status_q[z_ctx] <= kf_uc::word_status(cond_status_z);
    if (operand_bad_q && slot_of(t5)) parity_q[t5[5:LOG_II]] <= 1'b1;
    if (row_bad_q) parity_q[row_bad_t[5:LOG_II]] <= 1'b1;
    if (const_bad) spoilt_q <= 1'b1;

    x_bad_q <= bad[2];
    if (ex_we) begin
      if (ex_w[2:0] == 3'd1) begin
        out_x_q <= {x_check_q, x_q};
        out_x_bad_q <= x_bad_q;
      end
      if (ex_w[2:0] == 3'd2) begin
        res_status_o <= final_status;
        res_x_o <= final_status == kf_uc::ST_OK && outputs[0] ? out_x_q : {kf_uc::check_word(256'd0, {1'b1, 4'd1, ex_ctx}), 256'd0};
        res_y_o <= final_status == kf_uc::ST_OK && outputs[1] ? {x_check_q, x_q} : {kf_uc::check_word(256'd0, {1'b1, 4'd2, ex_ctx}), 256'd0};
        res_kat_ok_o <= final_status == kf_uc::ST_OK && out_x_q[255:0] == kf_curve::kat_x(done_curve) && (!outputs[1] || x_q == kf_curve::kat_y(done_curve));
      end
      if (ex_w[2:0] == 3'd7) begin
        parity_q[ex_c] <= 1'b0;
        // An unused context has none. A job begins as not_finished, or with what preparing has found wrong; it is never done by another program
        // than its own, be it that an abort has put IDLE in its place.
        if (!ex_load || !in_use) status_q[ex_c] <= 8'd0;
        else if (!in_good || in_q[11] != curve) status_q[ex_c] <= kf_uc::ST_FAULT;
        else if (in_q[10:8] != program_now && in_q[7:0] == kf_uc::ST_NOT_FINISHED)
          status_q[ex_c] <= program_now == kf_uc::PROG_IDLE ? kf_uc::ST_ABORTED : kf_uc::ST_FAULT;
        else status_q[ex_c] <= in_q[7:0];
      end
    end
    if (ex_end || fail) begin  // no copy of a result stays behind
      spoilt_q <= 1'b0;
      out_x_q <= '0;
      out_x_bad_q <= 1'b0;
      res_status_o <= '0;
      res_x_o <= '0;
      res_y_o <= '0;
    end
  end
endmodule
`default_nettype wire
