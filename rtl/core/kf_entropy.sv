// kf_entropy: takes raw words from the entropy source, tests them, hands them on.
//
// Expected: 32-bit words of full entropy (a conditioned source). Tests after NIST SP 800-90B 4.4, on bytes, with a chance of a false alarm of
// 2^-40 a sample: repetition count (RCT_CUTOFF equal bytes in a row) and adaptive proportion (APT_CUTOFF times the first byte of a window of
// 512). The first START words after reset are tested and thrown away. An alarm stays until reset; from then on nothing is handed on.
// One byte a cycle: a word every four cycles at most.
// Secret: the words. Public: valid, ready, alarm.
`default_nettype none
module kf_entropy #(
  parameter int RCT_CUTOFF = 6,
  parameter int APT_CUTOFF = 19,
  parameter int START = 256
) (
  input  wire  logic        clk,
  input  wire  logic        rst,
  input  wire  logic        s_raw_valid,
  output       logic        s_raw_ready,
  input  wire  logic [31:0] s_raw_data,
  output       logic        m_word_valid,
  input  wire  logic        m_word_ready,
  output       logic [31:0] m_word_data,
  output       logic        active_o,   // something here can change in this cycle (kf_sleep)
  output       logic        alarm_o,    // level, until reset
  output       logic        ev_alarm_o  // one cycle
);
  localparam logic [8:0] START_LAST = 9'(START - 1);
  localparam logic [3:0] RCT_LAST = 4'(RCT_CUTOFF - 1);
  localparam logic [9:0] APT_LAST = 10'(APT_CUTOFF - 1);

  logic [31:0] word_q;
  logic [2:0]  left_q;    // bytes of word_q that are still to be tested
  logic        full_q;    // word_q is tested and waits to be taken
  logic [31:0] rest_q;    // the bytes to test, lowest first
  logic [7:0]  last_q;
  logic [3:0]  repeat_q;  // how often last_q came before
  logic        any_q;     // there was a byte before
  logic [7:0]  first_q;
  logic [8:0]  window_q;  // samples of this window so far
  logic [9:0]  count_q;
  logic [8:0]  start_q;
  logic        started_q;

  logic [7:0] sample;
  logic       test;
  logic       rct_bad;
  logic       apt_bad;
  assign sample = rest_q[7:0];
  assign test = left_q != 3'd0;
  assign rct_bad = any_q && sample == last_q && repeat_q == RCT_LAST - 4'd1;
  assign apt_bad = window_q != 9'd0 && sample == first_q && count_q == APT_LAST;
  assign s_raw_ready = !test && !full_q && !alarm_o;
  assign m_word_valid = full_q && !alarm_o;
  assign m_word_data = word_q;
  assign active_o = test || (s_raw_valid && s_raw_ready) || (m_word_valid && m_word_ready);

  always_ff @(posedge clk) begin
    if (rst) begin
      left_q <= '0;
      full_q <= 1'b0;
      any_q <= 1'b0;
      repeat_q <= '0;
      window_q <= '0;
      count_q <= '0;
      start_q <= '0;
      started_q <= 1'b0;
      alarm_o <= 1'b0;
      ev_alarm_o <= 1'b0;
      word_q <= '0;
      rest_q <= '0;
    end else begin
      ev_alarm_o <= 1'b0;
      if (s_raw_valid && s_raw_ready) begin
        word_q <= s_raw_data;
        rest_q <= s_raw_data;
        left_q <= 3'd4;
      end
      if (test) begin
        rest_q <= {8'd0, rest_q[31:8]};
        left_q <= left_q - 3'd1;
        any_q <= 1'b1;
        last_q <= sample;
        repeat_q <= any_q && sample == last_q ? repeat_q + 4'd1 : 4'd0;
        window_q <= window_q + 9'd1;
        if (window_q == 9'd0) begin
          first_q <= sample;
          count_q <= 10'd1;
        end else if (sample == first_q) begin
          count_q <= count_q + 10'd1;
        end
        if (rct_bad || apt_bad) begin
          alarm_o <= 1'b1;
          ev_alarm_o <= !alarm_o;
        end
        if (left_q == 3'd1) begin
          if (started_q) full_q <= 1'b1;
          else begin
            start_q <= start_q + 9'd1;
            if (start_q == START_LAST) started_q <= 1'b1;
          end
        end
      end
      if (m_word_valid && m_word_ready) begin
        full_q <= 1'b0;
        word_q <= '0;
      end
      if (alarm_o) begin
        word_q <= '0;
        rest_q <= '0;
      end
    end
  end
endmodule
`default_nettype wire
