// Modular addition and subtraction: r = x + y mod m (sub_i = 0) or x - y mod m (sub_i = 1), fully reduced.
//
// Latency  kf_arith_pkg::ADD_LATENCY, both styles: en_i sampled at clock edge t, r_o sampled at edge t + that; one a cycle.
// Ranges   x, y < m < 2^W in; r < m out. m_i must not change from the cycle of en_i until the result has been taken.
// Secret   x_i, y_i, r_o. Public: en_i, sub_i, m_i. No path from a secret to a control signal or to an address; the time is fixed.
//
// First x + y (or x - y), then the same with m taken off (or put on); the carries of both choose. Carries cross one piece of PIECE bits a
// cycle, so a later piece works a cycle later and no carry chain is longer than PIECE + 1 bits.
//
// r_o is meaningful only ADD_LATENCY cycles after en_i; in between it differs between the styles.

`default_nettype none

module kf_addmod #(
    // 0: pipelined, for synthesis. 1: everything in the cycle of en_i, for fast simulation. Same results in the same cycles.
    parameter int STYLE = 0,
    // Width of the operands. Less than 256 is for formal proofs only.
    parameter int W = 256,
    // Bits a carry passes in one cycle; W must need exactly three pieces, since ADD_LATENCY counts on it.
    parameter int PIECE = 86
) (
    input  wire logic         clk,
    input  wire logic         en_i,
    input  wire logic         sub_i,
    input  wire logic [W-1:0] x_i,
    input  wire logic [W-1:0] y_i,
    input  wire logic [W-1:0] m_i,
    output logic      [W-1:0] r_o
);
  localparam int LATENCY = kf_arith_pkg::ADD_LATENCY;
  localparam int TOP = W - 2 * PIECE;

  generate
    if (TOP < 1 || TOP > PIECE) begin : gen_bad_piece
      kf_addmod_needs_three_pieces bad ();
    end
    if (STYLE == 0) begin : gen_pipe
      // Stage n works on piece n; the digit in a name is the piece, _dN a copy N cycles later.
      logic [PIECE-1:0] x0, y0, x1_q, y1_q;
      logic [TOP-1:0] x2_q, y2_q, x2_d2_q, y2_d2_q;
      logic [PIECE:0] s0_q, s1_q, d0_q, d1_q;
      logic [TOP:0] s2_q, d2_q;
      logic [PIECE-1:0] s0_d2_q, s0_d3_q, s0_d4_q, s1_d2_q, s1_d3_q, d0_d2_q, d0_d3_q, d1_d2_q;
      logic [TOP-1:0] s2_d2_q;
      logic c2_d2_q;
      logic sub_d1_q, sub_d2_q, sub_d3_q, sub_d4_q;
      logic take_d;
      logic [W-1:0] r_q;

      assign x0 = x_i[PIECE-1:0];
      assign y0 = y_i[PIECE-1:0] ^ {PIECE{sub_i}};

      // A subtraction is the addition of the complement: carry out 1 = nothing borrowed.
      always_ff @(posedge clk) begin
        sub_d1_q <= sub_i;
        sub_d2_q <= sub_d1_q;
        sub_d3_q <= sub_d2_q;
        sub_d4_q <= sub_d3_q;

        x1_q <= x_i[2*PIECE-1:PIECE];
        y1_q <= y_i[2*PIECE-1:PIECE] ^ {PIECE{sub_i}};
        x2_q <= x_i[W-1:2*PIECE];
        y2_q <= y_i[W-1:2*PIECE] ^ {TOP{sub_i}};
        x2_d2_q <= x2_q;
        y2_d2_q <= y2_q;

        s0_q <= {1'b0, x0} + {1'b0, y0} + {{PIECE{1'b0}}, sub_i};
        s1_q <= {1'b0, x1_q} + {1'b0, y1_q} + {{PIECE{1'b0}}, s0_q[PIECE]};
        s2_q <= {1'b0, x2_d2_q} + {1'b0, y2_d2_q} + {{TOP{1'b0}}, s1_q[PIECE]};

        d0_q <= {1'b0, s0_q[PIECE-1:0]} + {1'b0, m_i[PIECE-1:0] ^ {PIECE{~sub_d1_q}}} + {{PIECE{1'b0}}, ~sub_d1_q};
        d1_q <= {1'b0, s1_q[PIECE-1:0]} + {1'b0, m_i[2*PIECE-1:PIECE] ^ {PIECE{~sub_d2_q}}} + {{PIECE{1'b0}}, d0_q[PIECE]};
        d2_q <= {1'b0, s2_q[TOP-1:0]} + {1'b0, m_i[W-1:2*PIECE] ^ {TOP{~sub_d3_q}}} + {{TOP{1'b0}}, d1_q[PIECE]};

        s0_d2_q <= s0_q[PIECE-1:0];
        s0_d3_q <= s0_d2_q;
        s0_d4_q <= s0_d3_q;
        s1_d2_q <= s1_q[PIECE-1:0];
        s1_d3_q <= s1_d2_q;
        s2_d2_q <= s2_q[TOP-1:0];
        c2_d2_q <= s2_q[TOP];
        d0_d2_q <= d0_q[PIECE-1:0];
        d0_d3_q <= d0_d2_q;
        d1_d2_q <= d1_q[PIECE-1:0];

        r_q <= take_d ? {d2_q[TOP-1:0], d1_d2_q, d0_d3_q} : {s2_d2_q, s1_d3_q, s0_d4_q};
      end

      // Addition: take s - m when s passed 2^W or s - m did not borrow. Subtraction: take s + m when x - y borrowed.
      assign take_d = sub_d4_q ? ~c2_d2_q : (c2_d2_q | d2_q[TOP]);
      assign r_o = r_q;

      logic unused_en;
      assign unused_en = en_i;
    end else begin : gen_sim
      localparam int BACK = LATENCY - 1;
      // A ring of eight results: written in the cycle of en_i, read ADD_LATENCY later.
      logic [W-1:0] ring [0:7];
      logic [2:0] now_q = 3'd0;
      logic [7:0] en_q = '0;
      logic [W-1:0] r_q;

      function automatic logic [W-1:0] reduced_sum(input logic sub, input logic [W-1:0] x, input logic [W-1:0] y, input logic [W-1:0] m);
        logic [W:0] s, d;
        s = sub ? {1'b0, x} - {1'b0, y} : {1'b0, x} + {1'b0, y};
        d = sub ? s + {1'b0, m} : s - {1'b0, m};
        reduced_sum = (sub ? s[W] : ~d[W]) ? d[W-1:0] : s[W-1:0];
      endfunction

      always_ff @(posedge clk) begin
        now_q <= now_q + 3'd1;
        en_q <= {en_q[6:0], en_i};
        // Where no sum begins the place is cleared, until all eight are: no old result stays behind.
        if (en_i) ring[now_q] <= reduced_sum(sub_i, x_i, y_i, m_i);
        else if (en_q != '0) ring[now_q] <= '0;
        if (en_q[LATENCY-2]) r_q <= ring[now_q - BACK[2:0]];
        else if (en_q[LATENCY-1]) r_q <= '0;
      end

      assign r_o = r_q;
    end
  endgenerate
endmodule

`default_nettype wire
