// kf_keyslots: where scalars stay. A slot is empty, or holds a scalar, its curve and what it is for (one ECKA, or signing).
//
// A scalar is kept as two shares, d = d0 - d1 modulo n, each in a memory and with a check word of its own, and is read one share at a time: nothing
// here ever sees d, nor a function of both shares.
//
// One port: an access is taken when req_ready_o stands; its answer comes two cycles later with ack_o. Reading gives a share to
// kf_prep and to nobody else; nothing on the way leads out of the engine. Erasing overwrites both shares and the attributes. sweep_i erases all
// slots, one a cycle; accesses wait meanwhile. A word that does not match its check word reads as bad.
// Erasing by kf_results (erase_*) goes first and takes two cycles: it erases only what has the generation of the job that failed. It waits while lock_i
// stands, so that a key whose shares are being renewed is not written back after it was erased; kf_prep holds that for some thirty cycles.
//
// A slot's generation counts its keys, 1 to 63 and again, and outlives them: a sweep after reset sets it to 0, no other one touches it, so that a
// handle that somebody has kept stays a stranger to the slot's next key. Only a new key is written with a generation: an erasure leaves it, so that what
// was read wrong is not written back as right. A generation that is damaged in its memory stays so until a reset, and its slot answers bad.
//
// The check word holds the attributes and the number of the slot and comes from where the scalar came from (req_check_i: exclusive or of its words);
// it is compared where the answer is used, so that it covers the registers of the answer too. A word of zeros is an empty slot.
// ack_differ_o: the answer's mark has changed by itself. The sweep is there three times: nothing stops it.
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
  input  wire  logic         lock_i,
  input  wire  logic [1:0]   req_write_i,    // shares that are written; 0: read
  input  wire  logic         req_share_i,    // of a read
  input  wire  logic [15:0]  req_slot_i,
  input  wire  logic [255:0] req_share0_i,   // of a write; an erasure writes 0 to both with req_held_i = 0
  input  wire  logic [31:0]  req_check0_i,
  input  wire  logic [255:0] req_share1_i,
  input  wire  logic [31:0]  req_check1_i,
  input  wire  logic         req_held_i,
  input  wire  logic         req_sign_i,
  input  wire  logic         req_curve_i,
  input  wire  logic [5:0]   req_gen_i,      // of a write with req_held_i: the slot's generation from now on
  output       logic         ack_o,          // of a read
  output       logic         ack_differ_o,
  output       logic [255:0] ack_share_o,
  output       logic [31:0]  ack_check_o,    // exclusive or of its words
  output       logic         ack_held_o,
  output       logic         ack_sign_o,
  output       logic         ack_curve_o,
  output       logic         ack_bad_o,      // its memory is damaged; of a slot that does not exist the answer says nothing
  output       logic         ev_bad_o,       // an answer that is bad
  output       logic [5:0]   ack_gen_o,      // with ack_bad_o: anything

  input  wire  logic         erase_valid_i,
  output       logic         erase_ready_o,
  input  wire  logic [15:0]  erase_slot_i,
  input  wire  logic [5:0]   erase_gen_i
`ifdef FORMAL
  , output     logic [15:0]  f_slot_o  // any one slot
  , output     logic         f_zero_o  // it is zero
  , output     logic         f_swept_o // the sweep that is under way has passed it
`endif
);
  localparam int WIDTH = 256 + 3 + 32;
`ifdef FORMAL
  (* anyconst *) logic [LOG2_SLOTS-1:0] f_slot;
  logic [WIDTH-1:0]      f_word0;
  logic [WIDTH-1:0]      f_word1;
  logic [11:0]           f_gen_word;
`endif
  logic [LOG2_SLOTS-1:0] sweep_q;
  logic                  sweeping_q;
  logic [LOG2_SLOTS-1:0] sweep_next;
  logic                  sweeping_next;
  logic                  exists;
  logic                  erase_exists;
  logic                  erase_go;
  logic                  write;   // an access writes
  logic [1:0]            we;
  logic [LOG2_SLOTS-1:0] waddr;
  logic [WIDTH-1:0]      wdata0;
  logic [WIDTH-1:0]      wdata1;
  logic [WIDTH-1:0]      rdata0;
  logic [WIDTH-1:0]      rdata1;
  logic [1:0]            read1_q; // 2'b11: a reading is under way, else 0; a flip comes out in ack_q
  logic [1:0]            ack_q;   // 2'b11: an answer
  logic                  hard;        // the sweep is one after reset
  logic                  hard_next;
  logic                  erasing;     // second cycle of an erasure: the generation has been read
  logic                  erasing_next;
  logic                  erase_fits;
  logic                  gen_we;
  logic [LOG2_SLOTS-1:0] raddr;
  logic [11:0]           gen_wdata;   // check bits, generation
  logic [11:0]           gen_rdata;
  logic [11:0]           gen_q;
  logic [WIDTH-1:0]      word_q;  // which is this

  // What comes to the exclusive or of the share's words. The attributes are part of it, so that a slot cannot change its use unseen.
  function automatic logic [31:0] mark(input logic [2:0] attr, input logic [LOG2_SLOTS-1:0] slot, input logic share);
    mark = kf_uc::check_word(256'd0, {2'b01, 9'(slot)}) ^ {attr, share, 28'd0};
  endfunction
  function automatic logic [31:0] fold(input logic [255:0] v);
    fold = v[31:0] ^ v[63:32] ^ v[95:64] ^ v[127:96] ^ v[159:128] ^ v[191:160] ^ v[223:192] ^ v[255:224];
  endfunction

  // Of a generation: six check bits, so that a flip of any bit of word or slot number shows.
  function automatic logic [5:0] gen_check(input logic [5:0] gen, input logic [LOG2_SLOTS-1:0] slot);
    logic [8:0] s;
    s = 9'(slot);
    gen_check = gen ^ s[5:0] ^ {s[8:6], 3'd0} ^ 6'h2D;
  endfunction

  assign exists = (req_slot_i >> LOG2_SLOTS) == 16'd0;
  assign erase_exists = (erase_slot_i >> LOG2_SLOTS) == 16'd0;
  assign erase_ready_o = erasing && !sweeping_q;
  // A damaged generation does not keep a key of a failed job alive.
  assign erase_fits = gen_rdata[5:0] == erase_gen_i || gen_check(gen_rdata[5:0], raddr) != gen_rdata[11:6];
  assign erase_go = erase_valid_i && (!lock_i || erasing);
  assign req_ready_o = !sweeping_q && !erase_go;
  assign write = req_valid_i && req_ready_o && req_write_i != 2'd0 && exists;
  always_comb begin
    waddr = req_slot_i[LOG2_SLOTS-1:0];
    wdata0 = '0;
    wdata1 = '0;
    if (req_held_i) begin
      wdata0 = {req_check0_i ^ mark({1'b1, req_sign_i, req_curve_i}, req_slot_i[LOG2_SLOTS-1:0], 1'b0), 1'b1, req_sign_i, req_curve_i, req_share0_i};
      wdata1 = {req_check1_i ^ mark({1'b1, req_sign_i, req_curve_i}, req_slot_i[LOG2_SLOTS-1:0], 1'b1), 1'b1, req_sign_i, req_curve_i, req_share1_i};
    end
    raddr = erase_go ? erase_slot_i[LOG2_SLOTS-1:0] : req_slot_i[LOG2_SLOTS-1:0];
    we = write ? req_write_i : 2'd0;
    gen_we = (write && req_held_i) || (sweeping_q && hard);
    gen_wdata = {gen_check(req_gen_i, waddr), req_gen_i};
    if (sweeping_q) begin
      waddr = sweep_q;
      wdata0 = '0;
      wdata1 = '0;
      gen_wdata = {gen_check(6'd0, sweep_q), 6'd0};
      we = 2'b11;
    end else if (erase_go) begin
      waddr = erase_slot_i[LOG2_SLOTS-1:0];
      wdata0 = '0;
      wdata1 = '0;
      we = {2{erasing && erase_exists && erase_fits}};
    end
  end
  kf_ram #(.WIDTH(WIDTH), .DEPTH(1 << LOG2_SLOTS)) u_share0 (
    .clk, .we_i(we[0]), .waddr_i(waddr), .wdata_i(wdata0), .raddr_i(raddr), .rdata_o(rdata0)
`ifdef FORMAL
    , .f_addr_i(f_slot), .f_word_o(f_word0)
`endif
  );
  kf_ram #(.WIDTH(WIDTH), .DEPTH(1 << LOG2_SLOTS)) u_share1 (
    .clk, .we_i(we[1]), .waddr_i(waddr), .wdata_i(wdata1), .raddr_i(raddr), .rdata_o(rdata1)
`ifdef FORMAL
    , .f_addr_i(f_slot), .f_word_o(f_word1)
`endif
  );
  kf_ram #(.WIDTH(12), .DEPTH(1 << LOG2_SLOTS)) u_gens (
    .clk, .we_i(gen_we), .waddr_i(waddr), .wdata_i(gen_wdata), .raddr_i(raddr), .rdata_o(gen_rdata)
`ifdef FORMAL
    , .f_addr_i(f_slot), .f_word_o(f_gen_word)
`endif
  );

  // The slot and the share that are asked for stand until the answer has come.
  assign ack_o = ack_q == 2'b11;
  assign ack_differ_o = ack_q == 2'b01 || ack_q == 2'b10;
  assign ack_share_o = word_q[255:0];
  assign ack_held_o = word_q[258];
  assign ack_sign_o = word_q[257];
  assign ack_curve_o = word_q[256];
  assign ack_check_o = word_q[290:259] ^ mark(word_q[258:256], req_slot_i[LOG2_SLOTS-1:0], req_share_i);
  assign ack_bad_o = (word_q != '0 && fold(word_q[255:0]) != ack_check_o) || gen_check(gen_q[5:0], req_slot_i[LOG2_SLOTS-1:0]) != gen_q[11:6];
  assign ack_gen_o = gen_q[5:0];
  assign ev_bad_o = ack_o && ack_bad_o && exists;
  always_ff @(posedge clk) begin
    read1_q <= {2{!rst && req_valid_i && req_ready_o && req_write_i == 2'd0}};
    ack_q <= rst ? 2'b00 : read1_q;
    word_q <= read1_q != 2'b11 ? '0 : req_share_i ? rdata1 : rdata0;
    gen_q <= gen_rdata;
  end

  kf_voted #(.WIDTH(LOG2_SLOTS + 3)) u_sweep (
    .clk, .d_i({hard_next, erasing_next, sweeping_next, sweep_next}), .q_o({hard, erasing, sweeping_q, sweep_q})
  );
  always_comb begin
    hard_next = hard;
    erasing_next = erase_go && !erasing && !sweeping_q;
    sweeping_next = sweeping_q;
    sweep_next = sweep_q;
    if (rst) hard_next = 1'b1;
    if (rst || sweep_i) begin
      erasing_next = 1'b0;
      sweeping_next = 1'b1;
      sweep_next = '0;
    end else if (sweeping_q) begin
      sweep_next = sweep_q + 1'b1;
      if (&sweep_q) begin
        sweeping_next = 1'b0;
        hard_next = 1'b0;
      end
    end
  end
  assign sweeping_o = sweeping_q;
`ifdef FORMAL
`include "kf_keyslots_props.svh"
`endif
endmodule
`default_nettype wire
