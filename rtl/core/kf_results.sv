// kf_results: takes the results of a batch from the core, erases the key slots of failed GENERATE jobs, gives one completion a job to kf_ledger.
//
// A value waits with the check word that it had as a register of its context (A1, A2); one that does not match, or a status that is none,
// turns the completion into status fault. On its way out it keeps its check word, which is compared in each cycle and becomes part of the completion's own
// (sum_o: a flip of that one the driver sees); kf_results_control decides, twice.
// differ_o: a register here has changed by itself, and what is offered in this cycle is not to be believed.
//
// A completion is four beats: x, y, 0, and one that kf_ledger makes (layout: rtl/regs/regs.json). What has been sent is overwritten, and after
// reset every value is. res_free_o: the results of one whole batch have room. Results of the known-answer batches are compared by the core and only counted here.
`default_nettype none
module kf_results #(
  parameter int TWIN = 1  // 0: one copy of the control only. Not for products
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,  // results that wait are answered as aborted

  // from the core
  output       logic         res_free_o,
  input  wire  logic         res_valid_i,
  input  wire  logic [5:0]   res_ctx_i,
  input  wire  logic [7:0]   res_status_i,
  input  wire  logic [287:0] res_x_i,      // check word, value
  input  wire  logic [287:0] res_y_i,
  input  wire  logic         res_last_i,
  input  wire  logic         res_kat_ok_i,
  input  wire  logic [31:0]  res_cycles_i,

  // what the batch was; stands while its results come
  input  wire  logic         batch_kat_i,
  input  wire  logic [6:0]   batch_count_i,

  output       logic         kat_done_o,  // one cycle
  output       logic         kat_ok_o,

  // the job that is answered next: whether it is one of a batch and its words are there; they stay until it is answered
  input  wire  logic         next_i,
  input  wire  logic         owns_i,
  input  wire  logic         job_bad_i,
  output       logic         erase_valid_o,
  input  wire  logic         erase_ready_i,

  output       logic         valid_o,
  input  wire  logic         sent_i,      // a beat went out
  input  wire  logic         end_i,       // it is the last one
  output       logic [255:0] data_o,
  output       logic [31:0]  sum_o,       // with the last beat: what x and y come to in the completion's check word
  output       logic [7:0]   status_o,
  output       logic [5:0]   ctx_o,
  output       logic [31:0]  cycles_o,

  output       logic         active_o,    // something here can change in this cycle (kf_sleep)
  output       logic         busy_o,
  output       logic         wiped_o,
  output       logic         differ_o
`ifdef FORMAL
  , output     logic [6:0]   f_left_o   // jobs that are still to be answered
  , output     logic [6:0]   f_next_o   // the context whose result comes next
  , output     logic         f_mine_o   // what is in hand belongs to the job that is answered next
`endif
);
  localparam int STATE = 67;
  logic [STATE-1:0] ctl_state;
  logic         ctl_differ;
  logic         sweep;
  logic [6:0]   sweep_at;
  logic         second;
  logic [5:0]   second_ctx;
  logic [5:0]   ctx;
  logic         take_x;
  logic         take_y;
  logic         good;
  logic [287:0] rdata;
  logic [7:0]   rstatus;
  logic [287:0] second_y_q;
  logic         we;
  logic [6:0]   waddr;
  logic [287:0] wdata;
  logic         bad;
  logic [255:0] x_q;
  logic [255:0] y_q;
  logic [31:0]  x_check_q;
  logic [31:0]  y_check_q;
  logic [31:0]  sum_q;
  kf_results_control u_control (
    .clk, .rst, .abort_i, .res_valid_i, .res_ctx_i, .res_last_i, .res_kat_ok_i, .res_cycles_i, .batch_kat_i, .batch_count_i, .rstatus_i(rstatus),
    .bad_i(bad), .next_i, .owns_i, .erase_ready_i, .sent_i, .end_i,
    .sweep_o(sweep), .sweep_at_o(sweep_at), .free_o(res_free_o), .busy_o, .second_o(second), .second_ctx_o(second_ctx), .ctx_o(ctx),
    .take_x_o(take_x), .take_y_o(take_y), .good_o(good), .erase_o(erase_valid_o), .valid_o, .status_o, .cycles_o, .kat_done_o, .kat_ok_o,
    .state_o(ctl_state)
  );
  generate
    if (TWIN != 0) begin : g_twin
      logic [STATE-1:0] state;
      // verilator lint_off PINCONNECTEMPTY
      kf_results_control u_control (
        .clk, .rst, .abort_i, .res_valid_i, .res_ctx_i, .res_last_i, .res_kat_ok_i, .res_cycles_i, .batch_kat_i, .batch_count_i, .rstatus_i(rstatus),
        .bad_i(bad), .next_i, .owns_i, .erase_ready_i, .sent_i, .end_i,
        .sweep_o(), .sweep_at_o(), .free_o(), .busy_o(), .second_o(), .second_ctx_o(), .ctx_o(),
        .take_x_o(), .take_y_o(), .good_o(), .erase_o(), .valid_o(), .status_o(), .cycles_o(), .kat_done_o(), .kat_ok_o(),
        .state_o(state)
      );
      // verilator lint_on PINCONNECTEMPTY
      assign ctl_differ = state != ctl_state;
    end else begin : g_alone
      assign ctl_differ = 1'b0;
    end
  endgenerate
`ifdef FORMAL
  (* anyconst *) logic [5:0] f_ctx;  // any one context, and one of its two words
  (* anyconst *) logic f_second;
  logic [287:0] f_value_word;
  logic [7:0]   f_status_word;
`endif

  always_comb begin
    we = res_valid_i || second || take_x || take_y || sweep;
    waddr = {ctx, take_y};  // what has been read
    wdata = '0;
    if (res_valid_i) begin
      waddr = {res_ctx_i, 1'b0};
      wdata = res_x_i;
    end else if (second) begin
      waddr = {second_ctx, 1'b1};
      wdata = second_y_q;
    end else if (sweep) waddr = sweep_at;
  end
  kf_ram #(.WIDTH(288), .DEPTH(128)) u_results (
    .clk, .we_i(we), .waddr_i(waddr), .wdata_i(wdata), .raddr_i({ctx, take_x}), .rdata_o(rdata)
`ifdef FORMAL
    , .f_addr_i({f_ctx, f_second}), .f_word_o(f_value_word)
`endif
  );
  kf_ram #(.WIDTH(8), .DEPTH(64)) u_status (
    .clk, .we_i(res_valid_i), .waddr_i(res_ctx_i), .wdata_i(res_status_i), .raddr_i(ctx), .rdata_o(rstatus)
`ifdef FORMAL
    , .f_addr_i(f_ctx), .f_word_o(f_status_word)
`endif
  );
  function automatic logic [31:0] fold(input logic [255:0] v);
    fold = v[31:0] ^ v[63:32] ^ v[95:64] ^ v[127:96] ^ v[159:128] ^ v[191:160] ^ v[223:192] ^ v[255:224];
  endfunction
  logic [31:0] rcheck;  // exclusive or of the value's words, as it was kept
  assign rcheck = rdata[287:256] ^ kf_uc::check_word(256'd0, {1'b1, take_y ? 4'd2 : 4'd1, ctx});
  assign bad = fold(rdata[255:0]) != rcheck;

  // What is sent moves up: x, y, 0.
  always_ff @(posedge clk) begin
    if (rst || second) second_y_q <= '0;
    if (!rst && res_valid_i) second_y_q <= res_y_i;
    if (rst || (take_y && !good)) begin
      x_q <= '0;
      x_check_q <= '0;
      y_q <= '0;
      y_check_q <= '0;
      sum_q <= '0;
    end else if (take_x) begin
      x_q <= good ? rdata[255:0] : 256'd0;
      x_check_q <= good ? rcheck : 32'd0;
      sum_q <= good ? rcheck : 32'd0;
    end else if (take_y) begin
      y_q <= rdata[255:0];
      y_check_q <= rcheck;
      sum_q <= sum_q ^ {rcheck[23:0], rcheck[31:24]};
    end else if (sent_i) begin
      x_q <= y_q;
      x_check_q <= y_check_q;
      y_q <= '0;
      y_check_q <= '0;
      if (end_i) sum_q <= '0;
    end
  end
  assign data_o = x_q;
  assign sum_o = sum_q;
  assign ctx_o = ctx;
  assign differ_o = ctl_differ || fold(x_q) != x_check_q || fold(y_q) != y_check_q || (job_bad_i && (take_y || erase_valid_o || valid_o));
  assign wiped_o = !sweep;
  assign active_o = !res_free_o || res_valid_i || second || differ_o;
`ifdef FORMAL
`include "kf_results_props.svh"
`endif
endmodule
`default_nettype wire
