// kf_aes: AES-256 of one block (FIPS 197), encryption only, a round a cycle; the round keys are made on the way.
//
// load_i takes key and block; then step_i = 1 to 14, one a cycle, are the rounds; state_o is the result from the cycle after step 14 on.
// step_i = 0: everything stays. clear_i overwrites both registers. Bytes in the order of FIPS 197, the first one highest.
// STYLE 0: S-boxes as modules, for synthesis; 1: as a table that a simulation looks up only in the cycles of a round.
// Secret: everything but the step. No cycle depends on data.
`default_nettype none
module kf_aes #(
  parameter int STYLE = 0
) (
  input  wire  logic         clk,
  input  wire  logic         clear_i,
  input  wire  logic         load_i,
  input  wire  logic [3:0]   step_i,
  input  wire  logic         blank_i,  // with load_i: the key is 0
  input  wire  logic [255:0] key_i,
  input  wire  logic [127:0] block_i,
  output       logic [127:0] state_o
);
  // Entry x at bits 8 x.
  localparam logic [2047:0] SBOX = {
    256'h16bb54b00f2d99416842e6bf0d89a18cdf2855cee9871e9b948ed9691198f8e1,
    256'h9e1dc186b95735610ef6034866b53e708a8bbd4b1f74dde8c6b4a61c2e2578ba,
    256'h08ae7a65eaf4566ca94ed58d6d37c8e779e4959162acd3c25c2406490a3a32e0,
    256'hdb0b5ede14b8ee4688902a22dc4f816073195d643d7ea7c41744975fec130ccd,
    256'hd2f3ff1021dab6bcf5389d928f40a351a89f3c507f02f94585334d43fbaaefd0,
    256'hcf584c4a39becb6a5bb1fc20ed00d153842fe329b3d63b52a05a6e1b1a2c8309,
    256'h75b227ebe28012079a059618c323c7041531d871f1e5a534ccf73f362693fdb7,
    256'hc072a49cafa2d4adf04759fa7dc982ca76abd7fe2b670130c56f6bf27b777c63
  };
  function automatic logic [7:0] sub(input logic [7:0] x);
    sub = SBOX[{x, 3'd0} +: 8];
  endfunction
  function automatic logic [159:0] sub_all(input logic [159:0] all);
    for (int i = 0; i < 20; i++) sub_all[8 * i +: 8] = sub(all[8 * i +: 8]);
  endfunction

  // ShiftRows: byte r of column c comes from column c + r.
  function automatic logic [127:0] shift(input logic [127:0] s);
    for (int c = 0; c < 4; c++) begin
      for (int r = 0; r < 4; r++) shift[127 - 8 * (4 * c + r) -: 8] = s[127 - 8 * (4 * ((c + r) % 4) + r) -: 8];
    end
  endfunction
  function automatic logic [7:0] twice(input logic [7:0] x);
    twice = {x[6:0], 1'b0} ^ (x[7] ? 8'h1b : 8'h00);
  endfunction
  function automatic logic [31:0] mix_column(input logic [31:0] w);
    logic [7:0] all;
    all = w[31:24] ^ w[23:16] ^ w[15:8] ^ w[7:0];
    mix_column = {
      w[31:24] ^ all ^ twice(w[31:24] ^ w[23:16]), w[23:16] ^ all ^ twice(w[23:16] ^ w[15:8]),
      w[15:8] ^ all ^ twice(w[15:8] ^ w[7:0]), w[7:0] ^ all ^ twice(w[7:0] ^ w[31:24])
    };
  endfunction
  function automatic logic [127:0] mix(input logic [127:0] s);
    mix = {mix_column(s[127:96]), mix_column(s[95:64]), mix_column(s[63:32]), mix_column(s[31:0])};
  endfunction

  // keys_q: the key of the round before this one and that of this one. The key after them: a rotated word and a constant enter in every other one.
  logic [255:0] keys_q;
  function automatic logic [127:0] next_key(input logic [127:0] older, input logic [31:0] word, input logic [3:0] step);
    logic [31:0] a;
    logic [31:0] b;
    logic [31:0] c;
    logic [31:0] d;
    a = older[127:96] ^ word ^ {step[0] ? 8'd1 << step[3:1] : 8'd0, 24'd0};
    b = older[95:64] ^ a;
    c = older[63:32] ^ b;
    d = older[31:0] ^ c;
    next_key = {a, b, c, d};
  endfunction

  // Twenty S-boxes: of the state and of a word of the key.
  logic [159:0] plain;
  logic [159:0] boxed;
  assign plain = {state_o, step_i[0] ? {keys_q[23:0], keys_q[31:24]} : keys_q[31:0]};
  generate
    if (STYLE == 0) begin : g_boxes
      for (genvar i = 0; i < 20; i++) begin : g_box
        kf_sbox u_box (.x_i(plain[8 * i +: 8]), .y_o(boxed[8 * i +: 8]));
      end
    end else begin : g_table
      assign boxed = '0;
    end
  endgenerate
  function automatic logic [383:0] round(input logic [159:0] s, input logic [255:0] keys, input logic [3:0] step);
    logic [127:0] t;
    t = shift(s[159:32]);
    round = {(step == 4'd14 ? t : mix(t)) ^ keys[127:0], keys[127:0], next_key(keys[255:128], s[31:0], step)};
  endfunction

  always_ff @(posedge clk) begin
    if (clear_i) begin
      state_o <= '0;
      keys_q <= '0;
    end else if (load_i) begin
      state_o <= block_i ^ (blank_i ? 128'd0 : key_i[255:128]);
      keys_q <= blank_i ? 256'd0 : key_i;
    end else if (step_i != 4'd0) begin
      {state_o, keys_q} <= round(STYLE == 0 ? boxed : sub_all(plain), keys_q, step_i);
    end
  end
endmodule
`default_nettype wire
