// kf_sequencer: walks through a program, one word a round of 64 cycles, the same for every context.
//
// Nothing a job computes comes in here: program, curve, abort and the microcode ROM decide alone which word runs when. So the number
// of cycles of a batch is a constant of its program and curve; it is counted once more, and only a program that halts with the full count and
// without a damaged word is complete (full_o). The count also ends a program that goes astray.
//
// A round: t_o runs from 0 to 63, word_o is the word of the round. After the halt word one round without operations lets the results of the
// last words arrive; then done_o. stop_i ends the program at the end of the round; what was stopped is not complete.
`default_nettype none
module kf_sequencer (
  input  wire  logic                             clk,
  input  wire  logic                             rst,
  input  wire  logic                             start_i,    // one cycle; not while active_o
  input  wire  logic [2:0]                       program_i,  // held until done_o
  input  wire  logic                             curve_i,    // held until done_o
  input  wire  logic                             stop_i,     // held until done_o
  output       logic                             active_o,
  output       logic                             done_o,       // one cycle, the last one of active_o
  output       logic                             full_o,       // with done_o: all rounds, all words right
  output       logic                             first_o,      // the first round of a program
  output       logic [5:0]                       t_o,
  output       logic [kf_uc::UWIDTH-1:0]         word_o,
  output       logic [5:0]                       row_digit_o,  // which digit of the scalar rows this round looks at, from t = 1 on
  output       logic [2:0]                       row_bit_o,    // and which bit of it
  output       logic [3:0]                       expo_o,       // digit of the exponent in this round
  output       logic                             mod_n_o,      // modulus: n, else p
  output       logic [kf_uc::UWIDTH+68-1:0] state_o  // every register: two copies are compared
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

  logic [5:0]   expo_index;
  kf_expo_rom u_expo (.curve_i, .mod_n_i(mod_n_q), .index_i(expo_index), .digit_o(expo_o));

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
      kf_uc::COUNT_COMB_PUBLIC:   next_count = {3'd0, kf_curve::comb_public_windows(curve_i)} - 9'd2;  // the last one is added behind the loop
      default:             next_count = {2'd0, kf_curve::expo_digits(curve_i)} - 9'd1;
    endcase
  end

  logic last;
  logic halting;
  logic advance;  // the next cycle begins a word of the program
  assign last = t_q == 6'd63;
  assign halting = control == kf_uc::CTL_HALT || stop_i || bad_q || rounds_q == rounds_wanted;
  assign advance = start_i || (run_q && last && !halting);

  always_ff @(posedge clk) begin
    if (rst) begin
      run_q <= 1'b0;
      drain_q <= 1'b0;
      t_q <= '0;
      word_q <= '0;
      loop_q <= 1'b0;
      loop_pc_q <= '0;
      loop_left_q <= '0;
      loop_i_q <= '0;
      mod_n_q <= 1'b0;
      rounds_q <= '0;
      bad_q <= 1'b1;  // nothing has run
      pc_q <= '0;
    end else begin
      if (run_q || drain_q) t_q <= t_q + 6'd1;
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
          if (control != kf_uc::CTL_HALT) bad_q <= 1'b1;
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
      if (drain_q && last) drain_q <= 1'b0;
    end
  end
  assign t_o = t_q;
  assign word_o = word_q;
  assign active_o = run_q || drain_q;
  assign done_o = drain_q && last;
  assign full_o = !bad_q && rounds_q == rounds_wanted;
  assign first_o = rounds_q == 12'd1;

  // ---- what the steps look at
  // ladder: bit loop_left - 1, from the top; by seven without a divider (exact for nine bits). ladder_last: the place of the lowest bit and of the sign.
  // Of both sums only some bits are the answer.
  // verilator lint_off UNUSEDSIGNAL
  function automatic logic [5:0] seventh(input logic [8:0] v);
    logic [17:0] scaled;
    scaled = {9'd0, v} + {7'd0, v, 2'd0} + {4'd0, v, 5'd0} + {1'd0, v, 8'd0};  // 293 v, and 293 / 2048 is close to 1/7
    seventh = scaled[16:11];
  endfunction
  function automatic logic [2:0] rest_of_seven(input logic [8:0] v);
    logic [8:0] rest;
    rest = v - {seventh(v), 3'd0} + {3'd0, seventh(v)};
    rest_of_seven = rest[2:0];
  endfunction
  // verilator lint_on UNUSEDSIGNAL
  always_ff @(posedge clk) begin
    if (rst) begin
      row_bit_o <= '0;
      row_digit_o <= '0;
    end else if (t_q == 6'd0) begin
      row_bit_o <= '0;
      case (word_q[kf_uc::F_STEP +: kf_uc::F_STEP_W])
        kf_uc::STEP_LADDER: begin
          row_digit_o <= seventh(loop_left_q - 9'd1);
          row_bit_o <= rest_of_seven(loop_left_q - 9'd1);
        end
        kf_uc::STEP_LADDER_LAST: row_digit_o <= 6'd54;
        kf_uc::STEP_COMB: row_digit_o <= loop_i_q[5:0] + 6'd1;
        default: row_digit_o <= '0;
      endcase
    end
  end
  assign expo_index = loop_q ? loop_i_q[5:0] + 6'd1 : 6'd0;

  assign mod_n_o = mod_n_q;
  assign state_o = {pc_q, word_q, t_q, run_q, drain_q, loop_q, loop_pc_q, loop_left_q, loop_i_q, mod_n_q, rounds_q, bad_q, row_digit_o, row_bit_o};
endmodule
`default_nettype wire
