// kf_sequencer: walks through a program, one word a round of 64 cycles, the same for every context.
//
// Nothing a job computes comes in here: program, curve, abort and the microcode ROM decide alone which word runs when. So the number
// of cycles of a batch is a constant of its program and curve; it is counted once more and compared at the end (gate_fault_o).
//
// A round: t_o runs from 0 to 63, word_o is the word of the round. After the halt word one round without operations lets the results of the
// last words arrive; then done_o. Abort ends the program at the end of the round.
`default_nettype none
module kf_sequencer (
  input  wire  logic                             clk,
  input  wire  logic                             rst,
  input  wire  logic                             start_i,    // one cycle; not while active_o
  input  wire  logic [2:0]                       program_i,  // held until done_o
  input  wire  logic                             curve_i,    // held until done_o
  input  wire  logic                             abort_i,
  output       logic                             active_o,
  output       logic                             done_o,        // one cycle, the last one of active_o
  output       logic                             gate_fault_o,  // with done_o: the count of rounds or a word of the microcode was wrong
  output       logic [5:0]                       t_o,
  output       logic [kf_uc::UWIDTH-1:0]  word_o,
  output       logic [5:0]                       row_digit_o,  // which digit of the scalar rows this round looks at, from t = 1 on
  output       logic [2:0]                       row_bit_o,    // and which bit of it
  output       logic [3:0]                       expo_o,       // digit of the exponent in this round
  output       logic                             mod_n_o,      // modulus: n, else p
  output       logic [255:0]                     mod_o,
  output       logic [63:0]                      mprime_o,
  input  wire  logic                             c_load_i,
  input  wire  logic [3:0]                       c0_index_i,
  input  wire  logic [3:0]                       c1_index_i,
  input  wire  logic [3:0]                       c2_index_i,
  input  wire  logic [3:0]                       c3_index_i,
  output       logic [255:0]                     c0_o,
  output       logic [255:0]                     c1_o,
  output       logic [255:0]                     c2_o,
  output       logic [255:0]                     c3_o  // each from the cycle after c_load_i on
);

  logic [kf_uc::PC_W-1:0]   pc_q;
  logic [kf_uc::PC_W-1:0]   next_pc;
  logic [kf_uc::UWIDTH-1:0] next_word;
  logic [kf_uc::UWIDTH-1:0] word_q;
  logic              next_bad;
  logic [5:0]        t_q;
  logic              run_q;    // inside the program
  logic              drain_q;  // the round after it
  logic              loop_q;
  logic [kf_uc::PC_W-1:0]   loop_pc_q;
  logic [8:0]        loop_left_q;
  logic [8:0]        loop_i_q;
  logic              mod_n_q;
  logic [11:0]       rounds_q;
  logic              bad_q;
  logic              abort_q;

  logic [5:0]   expo_index;
  kf_const_rom u_const (
    .clk, .curve_i, .load_i(c_load_i), .c0_index_i, .c0_o, .c1_index_i, .c1_o, .c2_index_i, .c2_o, .c3_index_i, .c3_o,
    .expo_n_i(mod_n_q), .expo_index_i(expo_index), .expo_o
  );

  logic [kf_uc::PC_W-1:0] entry;
  logic [11:0]     rounds_wanted;
  always_comb begin
    case (program_i)
      kf_uc::PROG_GENERATE: begin entry = kf_uc::ENTRY_GENERATE; rounds_wanted = kf_curve::rounds_generate(curve_i); end
      kf_uc::PROG_ECKA:     begin entry = kf_uc::ENTRY_ECKA;     rounds_wanted = kf_curve::rounds_ecka(curve_i);     end
      kf_uc::PROG_SIGN:     begin entry = kf_uc::ENTRY_SIGN;     rounds_wanted = kf_curve::rounds_sign(curve_i);     end
      kf_uc::PROG_VERIFY:   begin entry = kf_uc::ENTRY_VERIFY;   rounds_wanted = kf_curve::rounds_verify(curve_i);   end
      kf_uc::PROG_CHECK:    begin entry = kf_uc::ENTRY_CHECK;    rounds_wanted = kf_curve::rounds_check(curve_i);    end
      default:       begin entry = kf_uc::ENTRY_IDLE;     rounds_wanted = kf_curve::rounds_idle(curve_i);     end
    endcase
  end

  // ---- the next word
  logic [2:0] control;
  assign control = word_q[kf_uc::F_CONTROL +: kf_uc::F_CONTROL_W];
  always_comb begin
    if (!run_q) next_pc = entry;
    else if (control == kf_uc::CTL_ENDLOOP && loop_left_q != 9'd1) next_pc = loop_pc_q;
    else next_pc = pc_q + 1'b1;
  end
  kf_ucode_rom u_rom (.clk, .addr_i(next_pc), .word_o(next_word), .bad_o(next_bad));

  logic [2:0] next_control;
  logic [8:0] next_count;
  assign next_control = next_word[kf_uc::F_CONTROL +: kf_uc::F_CONTROL_W];
  always_comb begin
    case (next_word[kf_uc::F_COUNT +: kf_uc::F_COUNT_W])
      kf_uc::COUNT_LADDER_BLIND:  next_count = kf_curve::ladder_blind_bits(curve_i);
      kf_uc::COUNT_LADDER_PUBLIC: next_count = kf_curve::ladder_public_bits(curve_i);
      kf_uc::COUNT_COMB_BLIND:    next_count = {3'd0, kf_curve::comb_blind_windows(curve_i)} - 9'd1;
      kf_uc::COUNT_COMB_PUBLIC:   next_count = {3'd0, kf_curve::comb_public_windows(curve_i)} - 9'd1;
      default:             next_count = {2'd0, kf_curve::expo_digits(curve_i)} - 9'd1;
    endcase
  end

  logic last;
  logic halting;
  logic advance;  // the next cycle begins a word of the program
  assign last = t_q == 6'd63;
  assign halting = control == kf_uc::CTL_HALT || abort_q || abort_i || bad_q;
  assign advance = start_i || (run_q && last && !halting);

  always_ff @(posedge clk) begin
    if (rst) begin
      run_q <= 1'b0;
      drain_q <= 1'b0;
      t_q <= '0;
      word_q <= '0;
      abort_q <= 1'b0;
      loop_q <= 1'b0;
    end else begin
      if (run_q || drain_q) t_q <= t_q + 6'd1;
      if (run_q && abort_i) abort_q <= 1'b1;
      if (start_i) begin
        run_q <= 1'b1;
        t_q <= '0;
        loop_q <= 1'b0;
        loop_left_q <= '0;
        loop_i_q <= '0;
        mod_n_q <= 1'b0;
        rounds_q <= 12'd1;
        bad_q <= 1'b0;
      end
      if (run_q && last) begin
        if (halting) begin
          run_q <= 1'b0;
          drain_q <= 1'b1;
          word_q <= '0;
        end else begin
          rounds_q <= rounds_q + 12'd1;
        end
        if (control == kf_uc::CTL_MOD_P) mod_n_q <= 1'b0;
        if (control == kf_uc::CTL_MOD_N) mod_n_q <= 1'b1;
        if (control == kf_uc::CTL_ENDLOOP) begin
          loop_left_q <= loop_left_q - 9'd1;
          loop_i_q <= loop_i_q + 9'd1;
          if (loop_left_q == 9'd1) loop_q <= 1'b0;
        end
      end
      if (advance) begin
        word_q <= next_word;
        pc_q <= next_pc;
        if (next_bad) bad_q <= 1'b1;
        if (next_control == kf_uc::CTL_LOOP && !(loop_q && !start_i && loop_pc_q == next_pc)) begin
          loop_q <= 1'b1;
          loop_pc_q <= next_pc;
          loop_left_q <= next_count;
          loop_i_q <= '0;
        end
      end
      if (drain_q && last) begin
        drain_q <= 1'b0;
        abort_q <= 1'b0;
      end
    end
  end
  assign t_o = t_q;
  assign word_o = word_q;
  assign active_o = run_q || drain_q;
  assign done_o = drain_q && last;
  assign gate_fault_o = bad_q || (rounds_q != rounds_wanted && !abort_q);

  // ---- what the steps look at
  // ladder: bit loop_left - 1, from the top; by six without a divider (exact below 400). ladder_last: the place of the lowest bit.
  // Of both sums only some bits are the answer.
  // verilator lint_off UNUSEDSIGNAL
  function automatic logic [5:0] sixth(input logic [8:0] v);
    logic [16:0] scaled;
    scaled = {8'd0, v} + {7'd0, v, 1'd0} + {5'd0, v, 3'd0} + {3'd0, v, 5'd0} + {1'd0, v, 7'd0};  // 171 v, and 171 / 1024 is close to 1/6
    sixth = scaled[15:10];
  endfunction
  function automatic logic [2:0] rest_of_six(input logic [8:0] v);
    logic [8:0] rest;
    rest = v - {1'd0, sixth(v), 2'd0} - {2'd0, sixth(v), 1'd0};
    rest_of_six = rest[2:0];
  endfunction
  // verilator lint_on UNUSEDSIGNAL
  always_ff @(posedge clk) begin
    if (t_q == 6'd0) begin
      row_bit_o <= '0;
      case (word_q[kf_uc::F_STEP +: kf_uc::F_STEP_W])
        kf_uc::STEP_LADDER: begin
          row_digit_o <= sixth(loop_left_q - 9'd1);
          row_bit_o <= rest_of_six(loop_left_q - 9'd1);
        end
        kf_uc::STEP_LADDER_LAST: row_digit_o <= 6'd54;
        kf_uc::STEP_COMB: row_digit_o <= loop_i_q[5:0] + 6'd1;
        default: row_digit_o <= '0;
      endcase
    end
  end
  assign expo_index = loop_q ? loop_i_q[5:0] + 6'd1 : 6'd0;

  assign mod_n_o = mod_n_q;
  always_ff @(posedge clk) begin
    if (t_q == 6'd0) begin  // the last round before a change has no operation, and the first operands come at 5
      mod_o <= mod_n_q ? kf_curve::n(curve_i) : kf_curve::p(curve_i);
      mprime_o <= mod_n_q ? kf_curve::mprime_n(curve_i) : kf_curve::mprime_p(curve_i);
    end
  end
endmodule
`default_nettype wire
