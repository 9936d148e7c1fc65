// kf_health: the tests of the raw samples of the noise source (NIST SP 800-90B 4.4), before anything is made of them.
//
// A sample is a byte as the source gives it, and is expected to hold at least 2 bits of min-entropy. Tests, a false alarm of 2^-40 or less:
//   repetition count     RCT_CUTOFF equal samples in a row
//   adaptive proportion  APT_CUTOFF times the first sample of a window of 512
//   repeated block       the last 32 samples (256 bits) are the first 32 of this window of 2^LOG2_WINDOW samples, or of the one before: any source that
//                        goes in a circle of up to 2^LOG2_WINDOW samples. The two tests above do not see a circle of different samples
//   starved              no sample for 2^LOG2_STARVE cycles while one is wanted
// The arithmetic of the cut-offs: docs/ecc-core.md. The first START samples after reset are tested and thrown away.
// A sample a cycle at most; taken while the start lasts or want_i stands. Secret: samples. Public: the rest.
`default_nettype none
module kf_health #(
  parameter int RCT_CUTOFF = 21,
  parameter int APT_CUTOFF = 201,
  parameter int LOG2_WINDOW = 12,  // at least 6, at most 12
  parameter int START = 4096,      // at most 4096
  parameter int LOG2_STARVE = 15
) (
  input  wire  logic       clk,
  input  wire  logic       rst,
  input  wire  logic       wipe_i,     // forget samples
  input  wire  logic       stop_i,     // level: take nothing any more
  input  wire  logic       s_raw_valid,
  output       logic       s_raw_ready,
  input  wire  logic [7:0] s_raw_data,
  input  wire  logic       want_i,
  output       logic       sample_o,   // s_raw_data is to be used
  output       logic       started_o,
  output       logic       active_o,   // something here can change in this cycle (kf_sleep)
  output       logic [3:0] bad_o       // one cycle: starved, block, proportion, repetition
);
  localparam logic [5:0] RCT_LAST = 6'(RCT_CUTOFF - 2);
  localparam logic [9:0] APT_LAST = 10'(APT_CUTOFF - 1);
  localparam logic [12:0] START_LAST = 13'(START - 1);
  localparam logic [LOG2_WINDOW-1:0] REFERENCE = LOG2_WINDOW'(31);

  logic [247:0]             last_q;       // the newest lowest
  logic                     any_q;        // there was a sample before
  logic [5:0]               repeat_q;     // how often the newest one came before
  logic [7:0]               first_q;
  logic [8:0]               window_q;     // samples of this window so far
  logic [9:0]               count_q;
  logic [255:0]             reference_q;
  logic                     compare_q;    // reference_q holds samples
  logic [LOG2_WINDOW-1:0]   block_q;      // samples of this window of the block test so far
  logic [12:0]              start_q;
  logic [LOG2_STARVE-1:0]   starve_q;

  logic         take;
  logic         waits;
  logic         same;
  logic [255:0] now;
  assign s_raw_ready = (want_i || !started_o) && !stop_i && !wipe_i;
  assign take = s_raw_valid && s_raw_ready;
  assign waits = !s_raw_valid && s_raw_ready;
  assign sample_o = take && started_o;
  assign now = {last_q, s_raw_data};
  assign same = any_q && s_raw_data == last_q[7:0];
  assign active_o = s_raw_ready || wipe_i;

  always_comb begin
    bad_o = '0;
    bad_o[3] = waits && (&starve_q);
    if (take) begin
      bad_o[0] = same && repeat_q == RCT_LAST;
      bad_o[1] = window_q != 9'd0 && s_raw_data == first_q && count_q == APT_LAST;
      bad_o[2] = compare_q && now == reference_q;
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      start_q <= '0;
      started_o <= 1'b0;
      starve_q <= '0;
    end else begin
      starve_q <= waits ? starve_q + 1'b1 : '0;
      if (take && !started_o) begin
        start_q <= start_q + 13'd1;
        if (start_q == START_LAST) started_o <= 1'b1;
      end
    end
    if (rst || wipe_i) begin
      last_q <= '0;
      any_q <= 1'b0;
      repeat_q <= '0;
      first_q <= '0;
      window_q <= '0;
      count_q <= '0;
      reference_q <= '0;
      compare_q <= 1'b0;
      block_q <= '0;
    end else if (take) begin
      last_q <= now[247:0];
      any_q <= 1'b1;
      repeat_q <= same ? repeat_q + 6'd1 : 6'd0;
      window_q <= window_q + 9'd1;
      if (window_q == 9'd0) begin
        first_q <= s_raw_data;
        count_q <= 10'd1;
      end else if (s_raw_data == first_q) begin
        count_q <= count_q + 10'd1;
      end
      block_q <= block_q + 1'b1;
      if (block_q == REFERENCE) begin
        reference_q <= now;
        compare_q <= 1'b1;
      end
    end
  end
endmodule
`default_nettype wire
