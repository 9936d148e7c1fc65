// kf_keyslots: where scalars stay. A slot is empty, or holds a scalar, its curve and what it is for (one ECKA, or signing).
//
// One port: an access is taken when req_ready_o stands; its answer comes two cycles later with ack_o. Reading gives the scalar to
// kf_prep and to nobody else; nothing on the way leads out of the engine. Erasing overwrites scalar and attributes. sweep_i erases all
// slots, one a cycle; accesses wait meanwhile. A word that does not match its check word reads as bad.
// Erasing by kf_results (erase_*) goes first.
`default_nettype none
module kf_keyslots #(
  parameter int LOG2_SLOTS = 9
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         sweep_i,     // one cycle: erase everything
  output       logic         sweeping_o,  // also after reset

  input  wire  logic         req_valid_i,
  output       logic         req_ready_o,
  input  wire  logic         req_write_i,    // else read
  input  wire  logic [15:0]  req_slot_i,
  input  wire  logic [255:0] req_scalar_i,   // of a write; an erasure writes 0 with req_held_i = 0
  input  wire  logic         req_held_i,
  input  wire  logic         req_sign_i,
  input  wire  logic         req_curve_i,
  output       logic         ack_o,          // of a read
  output       logic [255:0] ack_scalar_o,
  output       logic         ack_held_o,
  output       logic         ack_sign_o,
  output       logic         ack_curve_o,
  output       logic         ack_bad_o,      // no such slot, or its memory is damaged

  input  wire  logic         erase_valid_i,
  output       logic         erase_ready_o,
  input  wire  logic [15:0]  erase_slot_i
`ifdef FORMAL
  , output     logic [15:0]  f_slot_o  // any one slot
  , output     logic         f_zero_o  // it is zero
  , output     logic         f_swept_o // the sweep that is under way has passed it
`endif
);
  localparam int WIDTH = 256 + 3 + 32;
`ifdef FORMAL
  (* anyconst *) logic [LOG2_SLOTS-1:0] f_slot;
  logic [WIDTH-1:0]      f_word;
`endif
  logic [LOG2_SLOTS-1:0] sweep_q;
  logic                  sweeping_q;
  logic                  exists;
  logic                  erase_exists;
  logic                  we;
  logic [LOG2_SLOTS-1:0] waddr;
  logic [WIDTH-1:0]      wdata;
  logic [WIDTH-1:0]      rdata;
  logic                  read1_q;
  logic                  exists1_q;

  // The attributes are part of the check, so that a slot cannot change its use unseen.
  function automatic logic [31:0] check(input logic [255:0] v, input logic [2:0] attr);
    check = v[31:0] ^ v[63:32] ^ v[95:64] ^ v[127:96] ^ v[159:128] ^ v[191:160] ^ v[223:192] ^ v[255:224] ^ {29'd0, attr};
  endfunction

  assign exists = (req_slot_i >> LOG2_SLOTS) == 16'd0;
  assign erase_exists = (erase_slot_i >> LOG2_SLOTS) == 16'd0;
  assign erase_ready_o = !sweeping_q;
  assign req_ready_o = !sweeping_q && !erase_valid_i;
  always_comb begin
    waddr = req_slot_i[LOG2_SLOTS-1:0];
    wdata = {check(req_scalar_i, {req_held_i, req_sign_i, req_curve_i}), req_held_i, req_sign_i, req_curve_i, req_scalar_i};
    we = req_valid_i && req_ready_o && req_write_i && exists;
    if (sweeping_q) begin
      waddr = sweep_q;
      wdata = '0;
      we = 1'b1;
    end else if (erase_valid_i) begin
      waddr = erase_slot_i[LOG2_SLOTS-1:0];
      wdata = '0;
      we = erase_exists;
    end
  end
  kf_ram #(.WIDTH(WIDTH), .DEPTH(1 << LOG2_SLOTS)) u_mem (
    .clk, .we_i(we), .waddr_i(waddr), .wdata_i(wdata), .raddr_i(req_slot_i[LOG2_SLOTS-1:0]), .rdata_o(rdata)
`ifdef FORMAL
    , .f_addr_i(f_slot), .f_word_o(f_word)
`endif
  );

  always_ff @(posedge clk) begin
    read1_q <= req_valid_i && req_ready_o && !req_write_i;
    exists1_q <= exists;
    ack_o <= read1_q;
    ack_scalar_o <= '0;
    ack_held_o <= 1'b0;
    ack_sign_o <= rdata[257];
    ack_curve_o <= rdata[256];
    ack_bad_o <= 1'b0;
    if (read1_q) begin
      ack_scalar_o <= rdata[255:0];
      ack_held_o <= rdata[258];
      ack_bad_o <= !exists1_q || check(rdata[255:0], rdata[258:256]) != rdata[290:259];
    end
    if (rst) begin
      sweeping_q <= 1'b1;
      sweep_q <= '0;
      read1_q <= 1'b0;
      ack_o <= 1'b0;
    end else if (sweep_i) begin
      sweeping_q <= 1'b1;
      sweep_q <= '0;
    end else if (sweeping_q) begin
      sweep_q <= sweep_q + 1'b1;
      if (&sweep_q) sweeping_q <= 1'b0;
    end
  end
  assign sweeping_o = sweeping_q;
`ifdef FORMAL
`include "kf_keyslots_props.svh"
`endif
endmodule
`default_nettype wire
