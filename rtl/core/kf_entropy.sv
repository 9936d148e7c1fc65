// kf_entropy: from raw samples of the noise source to the random words of the core.
//
// kf_health tests the samples, kf_drbg makes seeds of them and words from the seeds. Every random number of the core comes from here. An alarm
// stays until reset: from then on there are no words, and everything is overwritten. wipe_i (zeroisation) overwrites everything too; words come again
// when a new seed is there. mix_*: a request with additional input (kf_drbg); words taken after mix_ready_o are of it.
// Secret: samples, words, additional input. Public: valid, ready, alarm and its cause.
`default_nettype none
module kf_entropy #(
  parameter int STYLE = 0,          // see kf_aes
  parameter int RCT_CUTOFF = 21,    // see kf_health
  parameter int APT_CUTOFF = 201,
  parameter int LOG2_WINDOW = 12,
  parameter int START = 4096,
  parameter int LOG2_STARVE = 15,
  parameter int LOG2_RESEED = 16,   // requests of 512 bits from one seed
  parameter logic [127:0] KNOWN_ANSWER = 128'h1e5aeee63a8b8c1805cefc0a98091f59
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         wipe_i,
  input  wire  logic         s_raw_valid,
  output       logic         s_raw_ready,
  input  wire  logic [7:0]   s_raw_data,
  output       logic         m_word_valid,
  input  wire  logic         m_word_ready,
  output       logic [31:0]  m_word_data,
  input  wire  logic         mix_valid_i,
  output       logic         mix_ready_o,
  input  wire  logic [383:0] mix_data_i,
  output       logic         active_o,    // something here can change in this cycle (kf_sleep)
  output       logic         alarm_o,     // level, until reset
  output       logic [7:0]   state_o,     // seeded, the start-up tests have passed; causes of the alarm, in the order of the register ENTROPY
  output       logic         ev_alarm_o   // one cycle
);
  logic       want;
  logic       sample;
  logic       started;
  logic       seeded;
  logic       health_active;
  logic       drbg_active;
  logic [3:0] bad_raw;
  logic [2:0] bad_drbg;
  kf_health #(
    .RCT_CUTOFF(RCT_CUTOFF), .APT_CUTOFF(APT_CUTOFF), .LOG2_WINDOW(LOG2_WINDOW), .START(START), .LOG2_STARVE(LOG2_STARVE)
  ) u_health (
    .clk, .rst, .wipe_i, .stop_i(alarm_o), .s_raw_valid, .s_raw_ready, .s_raw_data, .want_i(want), .sample_o(sample), .started_o(started),
    .active_o(health_active), .bad_o(bad_raw)
  );
  kf_drbg #(.STYLE(STYLE), .LOG2_RESEED(LOG2_RESEED), .KNOWN_ANSWER(KNOWN_ANSWER)) u_drbg (
    .clk, .rst, .wipe_i, .stop_i(alarm_o), .want_o(want), .sample_valid_i(sample), .sample_i(s_raw_data), .m_word_valid, .m_word_ready, .m_word_data,
    .mix_valid_i, .mix_ready_o, .mix_data_i, .seeded_o(seeded), .active_o(drbg_active), .bad_o(bad_drbg)
  );

  logic [5:0] now;
  logic [5:0] cause_q;  // fault, known answer, starved, block, proportion, repetition
  logic       alarm_q;
  assign now = {bad_drbg[2], bad_drbg[1], bad_raw[3], bad_raw[2] || bad_drbg[0], bad_raw[1], bad_raw[0]};
  assign alarm_o = alarm_q || cause_q != 6'd0;  // twice: a flip must not call it off
  assign state_o = {seeded, started, cause_q};
  assign active_o = health_active || drbg_active || now != 6'd0 || ev_alarm_o;
  always_ff @(posedge clk) begin
    if (rst) begin
      cause_q <= '0;
      alarm_q <= 1'b0;
      ev_alarm_o <= 1'b0;
    end else begin
      ev_alarm_o <= now != 6'd0 && !alarm_o;
      if (!alarm_o) cause_q <= now;
      if (alarm_o || now != 6'd0) alarm_q <= 1'b1;
    end
  end
endmodule
`default_nettype wire
