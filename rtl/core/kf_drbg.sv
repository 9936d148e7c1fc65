// kf_drbg: the random number generator of the core: CTR_DRBG of NIST SP 800-90A with AES-256, without derivation function, seeds from raw samples.
//
// Seed: 384 bits. Each third of it is the CBC-MAC (SP 800-90B 3.1.5.1, key 0) of 128 samples of the source, 256 bits of min-entropy by
// their claim, so that 128 bits of output are of full entropy. Two equal thirds are an alarm. The next seed is collected at once and
// waits until it is due. Request: 512 bits, taken as words; the Update function runs behind it, before anything else, so that the state does not tell what
// was given. Additional input: 384 bits (SP 800-90A 10.2.1.5.1). The counter has 64 bits (ctr_len), personalisation none.
// A half of a request that gives what one of the two halves before it gave, or two equal blocks, is an alarm (by 64 bits of fold; false alarm 2^-61 a request).
//
// A flipped bit: the sequence is there twice, and compared; key and counter have a check word, looked at whenever they are used; each block of
// output and of the Update function is encrypted twice, and compared. What is left are numbers on their way (samples, seed, input of the Update
// function, words): a flip there exchanges a random bit for its opposite, nobody knows more than before. Speed: 512 bits in 128 cycles, or 224 where
// the request before has just ended.
//
// Known answer, after reset: seed 1 from the samples 0, 0, 1, 1, .. 191, 191; a request with additional input zero; seed 2 from the samples
// 255, 255, 254, .. 64; a request; the last 128 bits of it. rtl/test/test_entropy.cpp computes the same with OpenSSL.
// Secret: everything but the sequence.
`default_nettype none
module kf_drbg #(
  parameter int           STYLE = 0,  // see kf_aes
  parameter int           LOG2_RESEED = 16,
  parameter logic [127:0] KNOWN_ANSWER = 128'h1e5aeee63a8b8c1805cefc0a98091f59
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         wipe_i,       // forget everything, collect a new seed
  input  wire  logic         stop_i,       // level: an alarm stands
  output       logic         want_o,
  input  wire  logic         sample_valid_i,
  input  wire  logic [7:0]   sample_i,
  output       logic         m_word_valid,
  input  wire  logic         m_word_ready,
  output       logic [31:0]  m_word_data,
  input  wire  logic         mix_valid_i,  // level, with its data until mix_ready_o
  output       logic         mix_ready_o,
  input  wire  logic [383:0] mix_data_i,
  output       logic         seeded_o,
  output       logic         active_o,
  output       logic [2:0]   bad_o         // one cycle: fault, known answer, repeated block
);
  localparam int STATE = LOG2_RESEED + 31;

  logic             test;
  logic             want;
  logic             take;
  logic             absorb;
  logic [7:0]       made_up;
  logic             clear;
  logic             cond;
  logic             load;
  logic [3:0]       step;
  logic             keep;
  logic             commit;
  logic             group;
  logic             more;
  logic             gen;
  logic             half;
  logic             answer;
  logic             update;
  logic             change;
  logic             start;
  logic             from_seed;
  logic             from_mix;
  logic             drop;
  logic [STATE-1:0] state;
  logic [STATE-1:0] state_twin;
  logic             words;
  logic             mixed_now;
  logic             differ;
  assign differ = state != state_twin;
  assign m_word_valid = words && !differ;
  assign mix_ready_o = mixed_now && !differ;
  assign take = m_word_valid && m_word_ready;
  assign want_o = want && !test;
  kf_drbg_seq #(.LOG2_RESEED(LOG2_RESEED)) u_seq (
    .clk, .rst, .wipe_i, .stop_i, .sample_i(sample_valid_i), .word_i(take), .mix_i(mix_valid_i), .mixed_o(mixed_now), .test_o(test), .seeded_o,
    .want_o(want), .words_o(words), .absorb_o(absorb), .made_up_o(made_up), .clear_o(clear), .cond_o(cond), .load_o(load), .step_o(step),
    .keep_o(keep), .commit_o(commit), .group_o(group), .shift_o(more), .generate_o(gen), .half_o(half), .answer_o(answer), .update_o(update),
    .change_o(change), .start_o(start), .from_seed_o(from_seed), .from_mix_o(from_mix), .drop_o(drop), .active_o, .state_o(state)
  );
  // verilator lint_off PINCONNECTEMPTY
  kf_drbg_seq #(.LOG2_RESEED(LOG2_RESEED)) u_twin (
    .clk, .rst, .wipe_i, .stop_i, .sample_i(sample_valid_i), .word_i(take), .mix_i(mix_valid_i), .mixed_o(), .test_o(), .seeded_o(), .want_o(), .words_o(),
    .absorb_o(), .made_up_o(), .clear_o(), .cond_o(), .load_o(), .step_o(), .keep_o(), .commit_o(), .group_o(), .shift_o(), .generate_o(),
    .half_o(), .answer_o(), .update_o(), .change_o(), .start_o(), .from_seed_o(), .from_mix_o(), .drop_o(), .active_o(), .state_o(state_twin)
  );
  // verilator lint_on PINCONNECTEMPTY

  logic [255:0] key_q;
  logic [127:0] v_q;
  logic [31:0]  check_q;
  logic [383:0] seed_q;   // thirds that are done, above the one that is collected
  logic [383:0] input_q;  // of the Update function; each third is taken off at the top and comes back below with its block
  logic [127:0] first_q;  // result of the first of two encryptions
  logic [511:0] out_q;    // the next word highest
  logic [63:0]  fold_q;   // of the last half of a request
  logic [63:0]  fold2_q;  // and of the one before it
  logic [127:0] cipher;
  logic [63:0]  v_next;
  assign v_next = v_q[63:0] + 64'd1;
  kf_aes #(.STYLE(STYLE)) u_aes (
    .clk, .clear_i(rst || clear || differ), .load_i(load), .step_i(step), .blank_i(cond), .key_i(key_q),
    .block_i(cond ? seed_q[127:0] : {v_q[127:64], v_q[63:0] + 64'd1}), .state_o(cipher)
  );
  assign m_word_data = out_q[511:480];

  // Of key and counter; neither of a wiped state nor of all ones is it zero.
  function automatic logic [31:0] check(input logic [255:0] key, input logic [127:0] v);
    check = 32'h5a3c_96e1 ^ v[127:96] ^ v[95:64] ^ v[63:32] ^ v[31:0];
    for (int i = 0; i < 8; i++) check = check ^ key[32 * i +: 32];
  endfunction
  function automatic logic [63:0] fold(input logic [127:0] a, input logic [127:0] b);
    fold = a[127:64] ^ a[63:0] ^ b[127:64] ^ b[63:0];
  endfunction

  logic [127:0] mixed;
  logic [7:0]   sample;
  logic [63:0]  fold_now;
  assign fold_now = fold(out_q[127:0], cipher);
  assign mixed = input_q[383:256] ^ cipher;
  assign sample = test ? made_up : sample_i;
  always_comb begin
    bad_o = '0;
    bad_o[2] = differ || (commit && !cond && cipher != first_q) || (load && !cond && check(key_q, v_q) != check_q);
    if (commit) begin
      bad_o[0] = (group && (cipher == seed_q[255:128] || cipher == seed_q[383:256]))
          || (half && (fold_now == 64'd0 || fold_now == fold_q || fold_now == fold2_q));  // zero: two equal blocks
      bad_o[1] = answer && cipher != KNOWN_ANSWER;
    end
  end

  always_ff @(posedge clk) begin
    if (rst || clear || differ) begin
      key_q <= '0;
      v_q <= '0;
      check_q <= check(256'd0, 128'd0);
      seed_q <= '0;
      input_q <= '0;
      first_q <= '0;
      out_q <= '0;
      fold_q <= '0;
      fold2_q <= '0;
    end else begin
      if (absorb) seed_q[127:0] <= {seed_q[119:0], seed_q[127:120] ^ sample};
      if (keep) first_q <= cipher;
      if (take) out_q <= {out_q[479:0], 32'd0};
      if (drop) out_q <= '0;
      if (commit) begin
        if (cond) begin
          seed_q[127:0] <= more ? 128'd0 : cipher;
          if (more) seed_q[383:128] <= {seed_q[255:128], cipher};
        end else if (change) begin
          key_q <= input_q[255:0];
          v_q <= mixed;
          check_q <= check(input_q[255:0], mixed);
        end else begin
          // The check word follows the counter; made anew, it would make a flip right.
          v_q[63:0] <= v_next;
          check_q <= check_q ^ v_q[63:32] ^ v_q[31:0] ^ v_next[63:32] ^ v_next[31:0];
        end
        if (update) input_q <= change ? 384'd0 : {input_q[255:0], mixed};
        if (gen) out_q <= {out_q[383:0], cipher};
        if (half) begin
          fold_q <= fold_now;
          fold2_q <= fold_q;
        end
      end
      if (start) begin
        if (from_seed) begin
          input_q <= seed_q;
          seed_q <= '0;
        end else if (from_mix) input_q <= test ? 384'd0 : mix_data_i;
        else input_q <= '0;
      end
    end
  end
endmodule
`default_nettype wire
