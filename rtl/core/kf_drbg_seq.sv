// kf_drbg_seq: what kf_drbg does when: counts samples, blocks, rounds and requests; sees no data.
//
// kf_drbg holds it twice and compares state_o, which is every register in here. So a register that is added here has to be added there.
//
// REST chooses: 16 samples are there, so encrypt them (COND); a seed is there and due (POST with the seed); a request with additional input (PRE, GEN,
// POST), or without one because the last one's words are taken (GEN, POST). PRE and POST are the Update function, three blocks, GEN four. A block is
// encrypted twice (of samples: once), 16 cycles each: load, 14 rounds, compare or keep.
// After reset and wipe_i the known answer comes first (test_o): a seed of samples made up here, a request with additional input, a reseed, a request without;
// then everything is cleared, and the seed is collected from the source.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_drbg_seq #(
  parameter int LOG2_RESEED = 16  // after so many requests no more before a new seed
) (
  input  wire  logic        clk,
  input  wire  logic        rst,
  input  wire  logic        wipe_i,
  input  wire  logic        stop_i,       // level: an alarm stands
  input  wire  logic        sample_i,     // a sample of the source comes in this cycle
  input  wire  logic        word_i,       // a word is taken in this cycle
  input  wire  logic        mix_i,        // level: a request with additional input is wanted
  output       logic        mixed_o,      // one cycle: words are of this request from now on, the input is not needed any more
  output       logic        test_o,       // the known answer is not done
  output       logic        seeded_o,
  output       logic        want_o,       // samples are wanted
  output       logic        words_o,      // there are words
  output       logic        absorb_o,     // a sample is put to the others in this cycle
  output       logic [7:0]  made_up_o,    // the sample, during the known answer
  output       logic        clear_o,      // overwrite everything
  output       logic        cond_o,       // level: what is encrypted are samples
  output       logic        load_o,       // the cipher takes its block
  output       logic [3:0]  step_o,       // its round
  output       logic        keep_o,       // the first result is there
  output       logic        commit_o,     // the second: what follows from it happens
  output       logic        group_o,      // with commit_o: the samples' block of 128 is complete
  output       logic        shift_o,      // with commit_o: and another one follows
  output       logic        generate_o,   // with commit_o: a block of output
  output       logic        half_o,       // with commit_o: the last of a half of a request
  output       logic        answer_o,     // with commit_o: the known answer
  output       logic        update_o,     // with commit_o: a block of the Update function
  output       logic        change_o,     // with commit_o: its last one, key and counter change
  output       logic        start_o,      // the Update function's input is taken in this cycle:
  output       logic        from_seed_o,  // the seed; forget the samples
  output       logic        from_mix_o,   // the additional input; else zero
  output       logic        drop_o,       // words that are left are thrown away
  output       logic        active_o,
  output       logic [LOG2_RESEED+30:0] state_o
);
  typedef enum logic [2:0] {REST, COND, PRE, GEN, POST} op_e;
  op_e                  op_q;
  logic [1:0]           block_q;
  logic                 pass_q;
  logic [3:0]           round_q;
  logic [8:0]           samples_q;   // of this seed
  logic                 due_q;       // 16 of them wait to be encrypted
  logic                 seeded_q;
  logic                 seeding_q;   // the Update function works on the seed
  logic                 mixing_q;
  logic [1:0]           test_q;      // 0, 1: known answer, 2: done
  logic [4:0]           words_q;
  logic [LOG2_RESEED:0] requests_q;  // since the last seed

  localparam logic [8:0] SEED = 9'd384;
  logic full;
  logic spent;
  logic ends;     // the operation's last cycle
  logic rest;
  logic do_cond;
  logic do_seed;
  logic do_mix;
  logic do_gen;
  logic last;
  logic clear;
  assign test_o = test_q != 2'd2;
  assign seeded_o = seeded_q && !test_o;
  assign full = samples_q == SEED && !due_q;
  assign spent = requests_q[LOG2_RESEED];
  assign rest = op_q == REST && !stop_i && !wipe_i;
  assign do_cond = rest && due_q;
  assign do_seed = rest && full && (!seeded_q || spent);
  assign do_mix = rest && !due_q && seeded_q && !spent && (test_o ? test_q == 2'd0 : mix_i);
  assign do_gen = rest && !due_q && seeded_q && !spent && !do_mix && (test_o || words_q == 5'd0);

  assign want_o = samples_q != SEED && !due_q && !stop_i && !wipe_i;
  assign absorb_o = want_o && (test_o || sample_i);
  assign made_up_o = samples_q[8:1] ^ {8{seeding_q || seeded_q}};
  assign words_o = words_q != 5'd0 && !test_o && !stop_i;

  assign cond_o = op_q == COND;
  assign load_o = op_q != REST && round_q == 4'd0;
  assign step_o = op_q != REST && round_q != 4'd15 ? round_q : 4'd0;
  assign keep_o = op_q != REST && round_q == 4'd15 && !pass_q && !cond_o;
  assign commit_o = op_q != REST && round_q == 4'd15 && (pass_q || cond_o) && !stop_i;
  assign group_o = cond_o && samples_q[6:0] == 7'd0;
  assign shift_o = group_o && samples_q != SEED;
  assign generate_o = op_q == GEN;
  assign half_o = generate_o && block_q[0];
  assign answer_o = generate_o && block_q == 2'd3 && test_q == 2'd1;
  assign update_o = op_q == PRE || op_q == POST;
  assign last = cond_o || block_q == (op_q == GEN ? 2'd3 : 2'd2);
  assign ends = commit_o && last;
  assign change_o = update_o && block_q == 2'd2;
  assign from_seed_o = do_seed;
  assign from_mix_o = do_mix || (op_q == GEN && mixing_q);
  assign start_o = do_seed || do_mix || (ends && op_q == GEN);
  assign drop_o = do_mix || do_gen;
  assign mixed_o = ends && op_q == GEN && mixing_q && mix_i && !test_o;  // the last Update takes its input in this cycle
  assign clear = wipe_i || stop_i || (ends && op_q == POST && !seeding_q && test_q == 2'd1);
  assign clear_o = clear;
  assign active_o = op_q != REST || wipe_i || do_cond || do_seed || do_mix || do_gen || absorb_o || word_i;
  assign state_o = {op_q, block_q, pass_q, round_q, samples_q, due_q, seeded_q, seeding_q, mixing_q, test_q, words_q, requests_q};

  always_ff @(posedge clk) begin
    if (rst) begin
      op_q <= REST;
      block_q <= '0;
      pass_q <= 1'b0;
      round_q <= '0;
      samples_q <= '0;
      due_q <= 1'b0;
      seeded_q <= 1'b0;
      seeding_q <= 1'b0;
      mixing_q <= 1'b0;
      test_q <= '0;
      words_q <= '0;
      requests_q <= '0;
    end else begin
      if (absorb_o) begin
        samples_q <= samples_q + 9'd1;
        if (samples_q[3:0] == 4'd15) due_q <= 1'b1;
      end
      if (word_i) words_q <= words_q - 5'd1;
      if (mixing_q && !test_o && !mix_i) mixing_q <= 1'b0;  // it is not wanted any more
      if (op_q != REST) begin
        round_q <= round_q + 4'd1;
        if (keep_o) pass_q <= 1'b1;
        if (commit_o) begin
          pass_q <= 1'b0;
          block_q <= block_q + 2'd1;
        end
      end
      case (op_q)
        REST: begin
          if (do_cond) op_q <= COND;
          else if (do_seed) begin
            op_q <= POST;
            seeding_q <= 1'b1;
            samples_q <= '0;
          end else if (do_mix) begin
            op_q <= PRE;
            mixing_q <= 1'b1;
            words_q <= '0;
          end else if (do_gen) begin
            op_q <= GEN;
            words_q <= '0;
          end
        end
        COND: if (ends) begin
          op_q <= REST;
          due_q <= 1'b0;
        end
        PRE: if (ends) op_q <= GEN;
        GEN: if (ends) begin
          op_q <= POST;
          words_q <= 5'd16;
        end
        default: if (ends) begin  // POST
          op_q <= REST;
          mixing_q <= 1'b0;
          seeding_q <= 1'b0;
          if (seeding_q) begin
            seeded_q <= 1'b1;
            requests_q <= '0;
          end else begin
            requests_q <= requests_q + 1'b1;
            if (test_q == 2'd0) requests_q <= {1'b1, {LOG2_RESEED{1'b0}}};  // the known answer wants a reseed now
            if (test_o) test_q <= test_q + 2'd1;
          end
        end
      endcase
      if (ends) block_q <= '0;
      if (clear) begin
        op_q <= REST;
        block_q <= '0;
        pass_q <= 1'b0;
        round_q <= '0;
        samples_q <= '0;
        due_q <= 1'b0;
        seeded_q <= 1'b0;
        seeding_q <= 1'b0;
        mixing_q <= 1'b0;
        words_q <= '0;
        requests_q <= '0;
        if (test_o && wipe_i) test_q <= '0;
      end
    end
  end
endmodule
`default_nettype wire
