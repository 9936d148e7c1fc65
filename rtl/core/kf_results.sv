// kf_results: takes the results of a batch from the core, erases the key slots of failed GENERATE jobs, sends one completion a job.
//
// A value waits with a check word; one that does not match turns the completion into status fault.
//
// A completion is four beats: x, y, 0, meta (layout: rtl/regs/regs.json). What has been sent is overwritten. res_free_o: the results of one
// whole batch have room. Results of the known-answer batches are compared by the core and only counted here.
`default_nettype none
module kf_results (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         abort_i,  // results that wait are answered as aborted

  // from the core
  output       logic         res_free_o,
  input  wire  logic         res_valid_i,
  input  wire  logic [5:0]   res_ctx_i,
  input  wire  logic [3:0]   res_status_i,
  input  wire  logic [255:0] res_x_i,
  input  wire  logic [255:0] res_y_i,
  input  wire  logic         res_last_i,
  input  wire  logic         res_kat_ok_i,
  input  wire  logic [31:0]  res_cycles_i,

  // what the batch was; stands while its results come
  input  wire  logic         batch_kat_i,
  input  wire  logic [6:0]   batch_count_i,
  input  wire  logic [1:0]   batch_set_i,

  // job data written while preparing: {the job made the key in its slot, slot, curve, opcode, tag}
  input  wire  logic         meta_we_i,
  input  wire  logic [7:0]   meta_addr_i,  // {set, context}
  input  wire  logic [96:0]  meta_data_i,

  output       logic         kat_done_o,  // one cycle
  output       logic         kat_ok_o,

  output       logic         erase_valid_o,
  input  wire  logic         erase_ready_i,
  output       logic [15:0]  erase_slot_o,

  output       logic         m_cpl_valid,
  input  wire  logic         m_cpl_ready,
  output       logic [255:0] m_cpl_data,
  output       logic         m_cpl_last,

  output       logic         active_o,  // something here can change in this cycle (kf_sleep)
  output       logic         busy_o
`ifdef FORMAL
  , input wire logic [7:0]   f_addr_i   // looks at one word of job data
  , output     logic [96:0]  f_word_o
  , output     logic [6:0]   f_left_o   // jobs that are still to be answered
  , output     logic [7:0]   f_at_o     // the job that is answered: {set, context}
  , output     logic         f_read_o   // its data have been read
  , output     logic [79:0]  f_meta_o
  , output     logic [6:0]   f_next_o   // the context whose result comes next
`endif
);
  localparam logic [3:0] ST_ABORTED = 4'd9;

  localparam logic [3:0] ST_OK = 4'd0;
  localparam logic [3:0] ST_FAULT = 4'd5;

  typedef enum logic [2:0] {EMPTY, READ, TAKE_X, TAKE_Y, ERASE, BEAT} state_e;
  state_e       state_q;
  logic         collecting_q;
  logic         kat_ok_q;
  logic [6:0]   count_q;
  logic [1:0]   set_q;
  logic [31:0]  cycles_q;
  logic [5:0]   ctx_q;
  logic [1:0]   beat_q;
  logic [287:0] rdata;
  logic [3:0]   rstatus;
  logic         second_q;   // y of a result is written one cycle after its x
  logic [5:0]   second_ctx_q;
  logic [255:0] second_y_q;
  logic         we;
  logic [6:0]   waddr;
  logic [287:0] wdata;
  logic         bad;
  logic [96:0]  meta;
  logic [255:0] x_q;
  logic [255:0] y_q;
  logic [3:0]   status_q;
  logic         wipe;
`ifdef FORMAL
  (* anyconst *) logic [5:0] f_ctx;  // any one context, and one of its two words
  (* anyconst *) logic f_second;
  logic [287:0] f_value_word;
  logic [3:0]   f_status_word;
`endif

  function automatic logic [31:0] fold(input logic [255:0] v);
    fold = v[31:0] ^ v[63:32] ^ v[95:64] ^ v[127:96] ^ v[159:128] ^ v[191:160] ^ v[223:192] ^ v[255:224];
  endfunction
  assign wipe = state_q == TAKE_X || state_q == TAKE_Y;  // what has been read
  always_comb begin
    we = res_valid_i || second_q || wipe;
    waddr = {ctx_q, state_q == TAKE_Y};
    wdata = '0;
    if (res_valid_i) begin
      waddr = {res_ctx_i, 1'b0};
      wdata = {fold(res_x_i), res_x_i};
    end else if (second_q) begin
      waddr = {second_ctx_q, 1'b1};
      wdata = {fold(second_y_q), second_y_q};
    end
  end
  kf_ram #(.WIDTH(288), .DEPTH(128)) u_results (
    .clk, .we_i(we), .waddr_i(waddr), .wdata_i(wdata), .raddr_i({ctx_q, state_q == TAKE_X}), .rdata_o(rdata)
`ifdef FORMAL
    , .f_addr_i({f_ctx, f_second}), .f_word_o(f_value_word)
`endif
  );
  kf_ram #(.WIDTH(4), .DEPTH(64)) u_status (
    .clk, .we_i(res_valid_i), .waddr_i(res_ctx_i), .wdata_i(res_status_i), .raddr_i(ctx_q), .rdata_o(rstatus)
`ifdef FORMAL
    , .f_addr_i(f_ctx), .f_word_o(f_status_word)
`endif
  );
  assign bad = fold(rdata[255:0]) != rdata[287:256];
  kf_ram #(.WIDTH(97), .DEPTH(256)) u_meta (
    .clk, .we_i(meta_we_i), .waddr_i(meta_addr_i), .wdata_i(meta_data_i), .raddr_i({set_q, ctx_q}), .rdata_o(meta)
`ifdef FORMAL
    , .f_addr_i(f_addr_i), .f_word_o(f_word_o)
`endif
  );

  assign res_free_o = state_q == EMPTY && !collecting_q;
  assign busy_o = state_q != EMPTY || collecting_q;
  assign active_o = state_q != EMPTY || res_valid_i || meta_we_i;
  assign erase_valid_o = state_q == ERASE;
  assign erase_slot_o = meta[95:80];
  assign m_cpl_valid = state_q == BEAT;
  assign m_cpl_last = beat_q == 2'd3;
  assign m_cpl_data = x_q;  // what is sent moves up: x, y, 0, meta

  always_ff @(posedge clk) begin
    kat_done_o <= 1'b0;
    if (rst) begin
      state_q <= EMPTY;
      collecting_q <= 1'b0;
      second_q <= 1'b0;
      kat_ok_q <= 1'b1;
      kat_ok_o <= 1'b0;
      ctx_q <= '0;
      beat_q <= '0;
      x_q <= '0;
      y_q <= '0;
    end else begin
      second_q <= res_valid_i;
      if (second_q) second_y_q <= '0;
      if (res_valid_i) begin
        second_ctx_q <= res_ctx_i;
        second_y_q <= res_y_i;
        collecting_q <= !res_last_i;
        kat_ok_q <= kat_ok_q && res_kat_ok_i;
        if (res_last_i) begin
          kat_ok_q <= 1'b1;
          if (batch_kat_i) begin
            kat_done_o <= 1'b1;
            kat_ok_o <= kat_ok_q && res_kat_ok_i;
          end else if (batch_count_i != 7'd0) begin
            state_q <= READ;
          end
          ctx_q <= '0;
          count_q <= batch_count_i;
          set_q <= batch_set_i;
          cycles_q <= res_cycles_i;
        end
      end
      case (state_q)
        READ: state_q <= TAKE_X;
        TAKE_X: begin
          x_q <= rdata[255:0];
          status_q <= rstatus;
          if (rstatus == ST_OK && (bad || abort_i)) status_q <= bad ? ST_FAULT : ST_ABORTED;
          state_q <= TAKE_Y;
        end
        TAKE_Y: begin
          y_q <= rdata[255:0];
          if (status_q != ST_OK || bad || abort_i) begin
            x_q <= '0;
            y_q <= '0;
          end
          if (status_q == ST_OK && (bad || abort_i)) status_q <= bad ? ST_FAULT : ST_ABORTED;
          beat_q <= '0;
          state_q <= (status_q != ST_OK || bad || abort_i) && meta[96] ? ERASE : BEAT;
        end
        ERASE: if (erase_ready_i) state_q <= BEAT;
        BEAT: if (m_cpl_ready) begin
          beat_q <= beat_q + 2'd1;
          x_q <= y_q;
          y_q <= '0;
          if (beat_q == 2'd2) x_q <= {96'd0, cycles_q, meta[63:0], 32'd0, {2'd0, ctx_q}, meta[79:72], meta[71:64], {4'd0, status_q}};
          if (m_cpl_last) begin
            ctx_q <= ctx_q + 6'd1;
            state_q <= {1'b0, ctx_q} + 7'd1 == count_q ? EMPTY : READ;
          end
        end
        default: ;
      endcase
    end
  end
`ifdef FORMAL
`include "kf_results_props.svh"
`endif
endmodule
`default_nettype wire
