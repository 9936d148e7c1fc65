// Properties of kf_fifo (included there). Proven by induction at reduced width: a word that goes in comes out unchanged and in its turn, no
// word is lost, the buffer never overflows, the output holds until it is taken, wiping leaves zeros only.

  localparam integer F_DEPTH = 1 << LOG2_DEPTH;
  localparam logic [LOG2_DEPTH:0] F_FULL = F_DEPTH[LOG2_DEPTH:0];

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  logic [LOG2_DEPTH:0] f_level;
  always_comb begin
    f_level = write_q - read_q;
    f_level_o = f_level;
  end

  // One arbitrary turn: words go in and out in the order of the pointers, so following every single one follows all.
  (* anyconst *) logic [LOG2_DEPTH:0] f_turn;
  logic f_in = 1'b0;
  logic [W-1:0] f_word;
  always_ff @(posedge clk) begin
    if (push && write_q == f_turn) begin
      f_in <= 1'b1;
      f_word <= s_data;
    end
    if (pop && read_q == f_turn) f_in <= 1'b0;
    if (rst) f_in <= 1'b0;
  end

  // Wiping: the last f_run places behind the pointer are zero.
  (* anyconst *) logic [LOG2_DEPTH-1:0] f_place;
  logic [LOG2_DEPTH:0] f_run = '0;
  logic [LOG2_DEPTH-1:0] f_behind;
  always_comb f_behind = write_q[LOG2_DEPTH-1:0] - 1'b1 - f_place;
  always_ff @(posedge clk) begin
    if (wipe) f_run <= (f_run == F_FULL) ? F_FULL : f_run + 1'b1;
    else f_run <= '0;
    if (rst) f_run <= '0;
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_level: assert (f_level <= F_FULL);
      a_ready: assert (s_ready == (!wipe_i && f_level != F_FULL));
      a_valid: assert (m_valid == (f_level != '0));
      a_there: assert (f_in == ((f_turn - read_q) < f_level));
      if (f_in) a_kept: assert (memory[f_turn[LOG2_DEPTH-1:0]] == f_word);
      if (f_in && pop && read_q == f_turn) a_out: assert (m_data == f_word);
      if ({1'b0, f_behind} < f_run) a_zero: assert (memory[f_place] == '0);
      if (f_run == F_FULL) a_wiped: assert (memory[f_place] == '0);
      if (!$past(rst) && $past(m_valid && !m_ready)) begin
        a_holds: assert (m_valid);
        a_stable: assert (m_data == $past(m_data));
      end
      c_full: cover (f_level == F_FULL && s_valid);
      c_lap: cover (f_in && pop && read_q == f_turn && f_turn == F_FULL && $past(push && pop));
      c_wiped: cover (f_run == F_FULL);
    end
  end
