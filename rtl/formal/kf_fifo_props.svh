// Properties of kf_fifo (included there). Proven by induction at reduced width: a word that goes in comes out in its turn, unchanged or, if a sweep
// has passed it and it was not to be kept, as 0; no word is lost, the buffer never overflows, the output holds until it is taken; a sweep leaves nothing
// but zeros, words to be kept that wait, and what came in during it; it takes as many cycles as there are places, and those in which a word comes in.

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
  logic f_keep;
  logic f_passed;  // by a sweep
  always_ff @(posedge clk) begin
    if (push && write_q == f_turn) begin
      f_in <= 1'b1;
      f_word <= s_data;
      f_keep <= s_keep;
      f_passed <= 1'b0;
    end else if (sweep && sweep_q == f_turn[LOG2_DEPTH-1:0]) f_passed <= 1'b1;
    if (pop && read_q == f_turn) f_in <= 1'b0;
    if (rst) f_in <= 1'b0;
  end

  // One arbitrary place: what the sweep has done to it. f_steps: cycles of this sweep without a word that comes in.
  (* anyconst *) logic [LOG2_DEPTH-1:0] f_place;
  logic f_swept = 1'b0;   // overwritten by the sweep that is under way or was the last one
  logic f_spared = 1'b0;  // passed because its word waited and was to be kept
  logic f_came = 1'b0;    // written since
  logic [LOG2_DEPTH:0] f_steps = '0;
  always_ff @(posedge clk) begin
    if (sweep && sweep_q == f_place) begin
      f_swept <= !spare;
      f_spared <= spare;
      f_came <= 1'b0;
    end
    if (push && write_q[LOG2_DEPTH-1:0] == f_place) f_came <= 1'b1;
    if (sweep) f_steps <= f_steps + 1'b1;
    if (wipe_i || rst) begin
      f_swept <= 1'b0;
      f_spared <= 1'b0;
      f_came <= 1'b0;
      f_steps <= '0;
    end
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_level: assert (f_level <= F_FULL);
      a_ready: assert (s_ready == (f_level != F_FULL));
      a_valid: assert (m_valid == (f_level != '0));
      a_there: assert (f_in == ((f_turn - read_q) < f_level));
      if (f_in) a_kept: assert (memory[f_turn[LOG2_DEPTH-1:0]] == (f_passed && !f_keep ? '0 : f_word));
      if (f_in) a_keep: assert (keep_q[f_turn[LOG2_DEPTH-1:0]] == f_keep);
      if (f_in && pop && read_q == f_turn) a_out: assert (m_data == (f_passed && !f_keep ? '0 : f_word));
      if (f_swept && !f_came) a_zero: assert (memory[f_place] == '0);
      if (wiping_q) a_way: assert (f_steps == {1'b0, sweep_q});
      if (f_place < sweep_q || !wiping_q) a_all: assert (f_swept || f_spared);
      if (f_steps == F_FULL) a_end: assert (!wiping_q);
      a_spared: assert (!(f_swept && f_spared));
      if (!$past(rst) && $past(m_valid && !m_ready)) begin
        a_holds: assert (m_valid);
        if (!$past(wiping_q)) a_stable: assert (m_data == $past(m_data));
      end
      c_full: cover (f_level == F_FULL && s_valid);
      c_lap: cover (f_in && pop && read_q == f_turn && f_turn == F_FULL && $past(push && pop));
      c_wiped: cover (f_steps == F_FULL && f_swept && !f_came && f_level != '0);
      c_spared: cover (f_in && f_passed && f_keep && f_word != '0);
      c_gone: cover (f_in && f_passed && !f_keep && f_word != '0);
    end
  end
