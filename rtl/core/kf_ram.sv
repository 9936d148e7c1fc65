// kf_ram: one write port, one read port with registered output (data one cycle after the address). A read of the address that is
// being written gives the old word. Contents are not reset: whoever holds secrets in it overwrites them.
`default_nettype none
module kf_ram #(
  parameter int WIDTH = 32,
  parameter int DEPTH = 512  // a power of two
) (
  input  wire  logic                     clk,
  input  wire  logic                     we_i,
  input  wire  logic [$clog2(DEPTH)-1:0] waddr_i,
  input  wire  logic [WIDTH-1:0]         wdata_i,
  input  wire  logic [$clog2(DEPTH)-1:0] raddr_i,
  output       logic [WIDTH-1:0]         rdata_o
`ifdef FORMAL
  , input wire logic [$clog2(DEPTH)-1:0] f_addr_i  // looks at one word
  , output     logic [WIDTH-1:0]         f_word_o
`endif
);
  logic [WIDTH-1:0] mem[DEPTH];
  always_ff @(posedge clk) begin
    rdata_o <= mem[raddr_i];
    if (we_i) mem[waddr_i] <= wdata_i;
  end
`ifdef FORMAL
  assign f_word_o = mem[f_addr_i];
`endif
endmodule
`default_nettype wire
