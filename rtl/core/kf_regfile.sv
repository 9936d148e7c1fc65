// kf_regfile: the registers of all contexts: bank M (written by the multiplier) and bank A (written by the adder), 16 each.
//
// Four read ports (a, b of the multiplier, x, y of the adder). A port gets register and context in one cycle and, in the next one,
// which bank: that bit may hang on a secret (the ladder's exchange), the addresses never do. Both banks are always read.
// Every word carries a check word of its value and its place (bank, register, context); `bad_*` says that a word read does not match.
//
// A bank is two halves, so that all registers of all contexts are overwritten in 8 N cycles: `wipe` writes zero, check word
// included, to M0-M15 and A8-A15 and wipe_word to A0-A7, one register number and context a cycle. What was wiped reads as damaged.
//
// STYLE 0: one memory for each port and half (block RAM, one write and one read port). STYLE 1, for simulation: one array a bank,
// read one cycle later; the same values at the same ports in the same cycle.
// keep_hierarchy: the banks' choice arrives late, and a mapper that sees where it comes from doubles the four wide multiplexers for it
// (3 000 LUT, xcup).
// Secret: all data. Public: addresses, write enables.
`default_nettype none
(* keep_hierarchy = "yes" *)
module kf_regfile #(
  parameter int STYLE = 0,
  parameter int CTX_W = 6  // log2 of the contexts
) (
  input  wire  logic             clk,

  input  wire  logic             m_we_i,
  input  wire  logic [3:0]       m_idx_i,
  input  wire  logic [CTX_W-1:0] m_ctx_i,
  input  wire  logic [255:0]     m_data_i,
  input  wire  logic             a_we_i,
  input  wire  logic [3:0]       a_idx_i,
  input  wire  logic [CTX_W-1:0] a_ctx_i,
  input  wire  logic [255:0]     a_data_i,
  input  wire  logic             wipe_i,
  input  wire  logic [2:0]       wipe_idx_i,
  input  wire  logic [CTX_W-1:0] wipe_ctx_i,
  input  wire  logic [287:0]     wipe_word_i,  // with its check word

  input  wire  logic [CTX_W-1:0] ctx_i,
  input  wire  logic [3:0]       a_ridx_i,
  input  wire  logic [3:0]       b_ridx_i,
  input  wire  logic [3:0]       x_ridx_i,
  input  wire  logic [3:0]       y_ridx_i,
  // one cycle later
  input  wire  logic             a_bank_i,  // 1: bank A
  input  wire  logic             b_bank_i,
  input  wire  logic             x_bank_i,
  input  wire  logic             y_bank_i,
  output       logic [255:0]     a_o,
  output       logic [255:0]     b_o,
  output       logic [255:0]     x_o,
  output       logic [255:0]     y_o,
  output       logic [31:0]      x_check_o,  // the check word of x
  output       logic             a_bad_o,
  output       logic             b_bad_o,
  output       logic             x_bad_o,
  output       logic             y_bad_o
);
  localparam int WORD = 288;
  localparam int DEPTH = 8 << CTX_W;

  function automatic logic [31:0] check(input logic [255:0] v, input logic bank, input logic [3:0] idx, input logic [CTX_W-1:0] ctx);
    check = kf_uc::check_word(v, {bank, idx, 6'(ctx)});
  endfunction

  // The places that are read.
  logic [3:0]       a_idx_q;
  logic [3:0]       b_idx_q;
  logic [3:0]       x_idx_q;
  logic [3:0]       y_idx_q;
  logic [CTX_W-1:0] ctx_q;
  always_ff @(posedge clk) begin
    a_idx_q <= a_ridx_i;
    b_idx_q <= b_ridx_i;
    x_idx_q <= x_ridx_i;
    y_idx_q <= y_ridx_i;
    ctx_q <= ctx_i;
  end

  generate
    if (STYLE == 0) begin : g_ram
      logic [31:0] a_check;
      assign a_check = check(a_data_i, 1'b1, a_idx_i, a_ctx_i);
      logic [WORD-1:0] m_word;
      logic [WORD-1:0] a_lo_word;
      logic [WORD-1:0] a_hi_word;
      logic [CTX_W+2:0] m_waddr;
      logic [CTX_W+2:0] a_waddr;
      logic m_lo_we;
      logic m_hi_we;
      logic a_lo_we;
      logic a_hi_we;
      assign m_word = wipe_i ? '0 : {check(m_data_i, 1'b0, m_idx_i, m_ctx_i), m_data_i};
      assign a_lo_word = wipe_i ? wipe_word_i : {a_check, a_data_i};
      assign a_hi_word = wipe_i ? '0 : {a_check, a_data_i};
      assign m_waddr = wipe_i ? {wipe_idx_i, wipe_ctx_i} : {m_idx_i[2:0], m_ctx_i};
      assign a_waddr = wipe_i ? {wipe_idx_i, wipe_ctx_i} : {a_idx_i[2:0], a_ctx_i};
      assign m_lo_we = wipe_i || (m_we_i && !m_idx_i[3]);
      assign m_hi_we = wipe_i || (m_we_i && m_idx_i[3]);
      assign a_lo_we = wipe_i || (a_we_i && !a_idx_i[3]);
      assign a_hi_we = wipe_i || (a_we_i && a_idx_i[3]);

      logic [3:0] ridx[4];
      logic       bank[4];
      assign ridx[0] = a_ridx_i;
      assign ridx[1] = b_ridx_i;
      assign ridx[2] = x_ridx_i;
      assign ridx[3] = y_ridx_i;
      assign bank[0] = a_bank_i;
      assign bank[1] = b_bank_i;
      assign bank[2] = x_bank_i;
      assign bank[3] = y_bank_i;
      logic [WORD-1:0] word[4];

      for (genvar k = 0; k < 4; k++) begin : g_port
        logic [WORD-1:0] m_lo;
        logic [WORD-1:0] m_hi;
        logic [WORD-1:0] a_lo;
        logic [WORD-1:0] a_hi;
        logic            high_q;
        kf_ram #(.WIDTH(WORD), .DEPTH(DEPTH)) u_m_lo (.clk, .we_i(m_lo_we), .waddr_i(m_waddr), .wdata_i(m_word), .raddr_i({ridx[k][2:0], ctx_i}), .rdata_o(m_lo));
        kf_ram #(.WIDTH(WORD), .DEPTH(DEPTH)) u_m_hi (.clk, .we_i(m_hi_we), .waddr_i(m_waddr), .wdata_i(m_word), .raddr_i({ridx[k][2:0], ctx_i}), .rdata_o(m_hi));
        kf_ram #(.WIDTH(WORD), .DEPTH(DEPTH)) u_a_lo (.clk, .we_i(a_lo_we), .waddr_i(a_waddr), .wdata_i(a_lo_word), .raddr_i({ridx[k][2:0], ctx_i}), .rdata_o(a_lo));
        kf_ram #(.WIDTH(WORD), .DEPTH(DEPTH)) u_a_hi (.clk, .we_i(a_hi_we), .waddr_i(a_waddr), .wdata_i(a_hi_word), .raddr_i({ridx[k][2:0], ctx_i}), .rdata_o(a_hi));
        always_ff @(posedge clk) high_q <= ridx[k][3];
        assign word[k] = bank[k] ? (high_q ? a_hi : a_lo) : (high_q ? m_hi : m_lo);
      end
      assign x_check_o = word[2][287:256];
      assign a_o = word[0][255:0];
      assign b_o = word[1][255:0];
      assign x_o = word[2][255:0];
      assign y_o = word[3][255:0];
      assign a_bad_o = check(word[0][255:0], a_bank_i, a_idx_q, ctx_q) != word[0][287:256];
      assign b_bad_o = check(word[1][255:0], b_bank_i, b_idx_q, ctx_q) != word[1][287:256];
      assign x_bad_o = check(word[2][255:0], x_bank_i, x_idx_q, ctx_q) != word[2][287:256];
      assign y_bad_o = check(word[3][255:0], y_bank_i, y_idx_q, ctx_q) != word[3][287:256];
    end else begin : g_sim
      logic [WORD-1:0] m_mem[2 * DEPTH];
      logic [WORD-1:0] a_mem[2 * DEPTH];
      logic [CTX_W+3:0] a_ra_q;
      logic [CTX_W+3:0] b_ra_q;
      logic [CTX_W+3:0] x_ra_q;
      logic [CTX_W+3:0] y_ra_q;
      always_ff @(posedge clk) begin
        a_ra_q <= {a_ridx_i, ctx_i};
        b_ra_q <= {b_ridx_i, ctx_i};
        x_ra_q <= {x_ridx_i, ctx_i};
        y_ra_q <= {y_ridx_i, ctx_i};
        if (wipe_i) begin
          m_mem[{1'b0, wipe_idx_i, wipe_ctx_i}] <= '0;
          m_mem[{1'b1, wipe_idx_i, wipe_ctx_i}] <= '0;
          a_mem[{1'b0, wipe_idx_i, wipe_ctx_i}] <= wipe_word_i;
          a_mem[{1'b1, wipe_idx_i, wipe_ctx_i}] <= '0;
        end else begin
          if (m_we_i) m_mem[{m_idx_i, m_ctx_i}] <= {check(m_data_i, 1'b0, m_idx_i, m_ctx_i), m_data_i};
          if (a_we_i) a_mem[{a_idx_i, a_ctx_i}] <= {check(a_data_i, 1'b1, a_idx_i, a_ctx_i), a_data_i};
        end
      end
      logic [31:0] a_c;
      logic [31:0] b_c;
      logic [31:0] x_c;
      logic [31:0] y_c;
      assign x_check_o = x_c;
      always_comb begin
        if (a_bank_i) {a_c, a_o} = a_mem[a_ra_q];
        else {a_c, a_o} = m_mem[a_ra_q];
        if (b_bank_i) {b_c, b_o} = a_mem[b_ra_q];
        else {b_c, b_o} = m_mem[b_ra_q];
        if (x_bank_i) {x_c, x_o} = a_mem[x_ra_q];
        else {x_c, x_o} = m_mem[x_ra_q];
        if (y_bank_i) {y_c, y_o} = a_mem[y_ra_q];
        else {y_c, y_o} = m_mem[y_ra_q];
      end
      assign a_bad_o = check(a_o, a_bank_i, a_idx_q, ctx_q) != a_c;
      assign b_bad_o = check(b_o, b_bank_i, b_idx_q, ctx_q) != b_c;
      assign x_bad_o = check(x_o, x_bank_i, x_idx_q, ctx_q) != x_c;
      assign y_bad_o = check(y_o, y_bank_i, y_idx_q, ctx_q) != y_c;
    end
  endgenerate
endmodule
`default_nettype wire
