// Latencies and sizes of the arithmetic units, in one place for the units and for the core that counts on them.
//
// A latency L means: an operation whose en_i is sampled by clock edge t has its result on r_o when clock edge t + L samples it.

`default_nettype none

package kf_arith_pkg;
  // kf_addmod, both styles. (A design without an adder does not use it; that is no fault.)
  // verilator lint_off UNUSEDPARAM
  localparam int ADD_LATENCY = 5;
  // verilator lint_on UNUSEDPARAM

  // Cycles between two digit steps of one operation (T of one step to T of the next). Odd, so that with II = 2 and II = 4 an operation
  // that comes round again never meets a new one.
  function automatic int mul_step(input int ii);
    mul_step = (ii > 0) ? 11 : 0;
  endfunction

  // kf_mulmod, both styles: 4 cycles for the first low product, four digit steps, 6 for the limbs that come after the lowest one and for
  // the last subtraction.
  function automatic int mul_latency(input int ii);
    mul_latency = 4 + 4 * mul_step(ii) + 6;
  endfunction

  function automatic int ceil_div(input int a, input int b);
    ceil_div = (a + b - 1) / b;
  endfunction

  function automatic int min_int(input int a, input int b);
    min_int = (a < b) ? a : b;
  endfunction

  function automatic int max_int(input int a, input int b);
    max_int = (a > b) ? a : b;
  endfunction

  // Geometry of a digit unit (kf_mul_digit), for operands of w bits in digits of d bits, tiles of ta x tb bits, k limbs of ta bits a piece.
  // Tile (c, j) is limb c of one operand times limb j of the other; it starts at bit c * ta + j * tb.
  // (Every function stands alone: not all tools let a constant function call another.)

  // Pieces of T + a * b + q * m.
  function automatic int pieces(input int w, input int d, input int ta, input int k);
    pieces = (d + w + 1 + k * ta - 1) / (k * ta);
  endfunction

  // Room for so many bits on a bus: a multiple of 32, cheap to simulate.
  function automatic int slot(input int bits);
    slot = 32 * ((bits + 31) / 32);
  endfunction

  // Bits of the sum of all tiles that start below bit d: one more than the highest tile has. low_sum_fits says whether that is enough.
  function automatic int low_bits(input int w, input int d, input int ta, input int tb);
    int top;
    low_bits = 0;
    for (int c = 0; c * ta < w; c = c + 1) begin
      for (int j = 0; j * tb < d; j = j + 1) begin
        top = ((c + 1) * ta < w ? (c + 1) * ta : w) + ((j + 1) * tb < d ? (j + 1) * tb : d) + 1;
        if (c * ta + j * tb < d && top > low_bits) low_bits = top;
      end
    end
  endfunction

  function automatic int low_sum_fits(input int w, input int d, input int ta, input int tb, input int bits);
    int below, total;
    total = 0;
    for (int c = 0; c * ta < w; c = c + 1) begin
      for (int j = 0; j * tb < d; j = j + 1) begin
        below = bits - 1 - ((c + 1) * ta < w ? (c + 1) * ta : w) - ((j + 1) * tb < d ? (j + 1) * tb : d);
        if (c * ta + j * tb < d) total = total + ((below < 12) ? 4096 >> below : 1);
      end
    end
    low_sum_fits = (total <= 8192) ? 1 : 0;
  endfunction

  // The highest tile that starts at or below bit d - 4, as c * 256 + j. There the constant goes that rounds up what was left out.
  function automatic int round_tile(input int w, input int d, input int ta, input int tb);
    int best;
    best = -1;
    round_tile = 0;
    for (int c = 0; c * ta < w; c = c + 1) begin
      for (int j = 0; j * tb < d; j = j + 1) begin
        if (c * ta + j * tb <= d - 4 && c * ta + j * tb > best) begin
          best = c * ta + j * tb;
          round_tile = c * 256 + j;
        end
      end
    end
  endfunction

  // Tiles of q * m that end at or below bit d - 4: left out.
  function automatic int left_out(input int w, input int d, input int ta, input int tb);
    left_out = 0;
    for (int c = 0; c * ta < w; c = c + 1) begin
      for (int j = 0; j * tb < d; j = j + 1) begin
        if (((c + 1) * ta < w ? (c + 1) * ta : w) + ((j + 1) * tb < d ? (j + 1) * tb : d) <= d - 4) left_out = left_out + 1;
      end
    end
  endfunction
endpackage

`default_nettype wire
