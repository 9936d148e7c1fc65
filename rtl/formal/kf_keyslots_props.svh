// Properties of kf_keyslots (included there), for any one share of any one slot. Proven: it is overwritten before the sweep ends, after reset and
// after sweep_i, and nothing is read from it before; a reading gives what was written last, and nothing but an answer carries a share; an
// erasure leaves zero, of both shares; none begins while lock_i stands; a slot that does not exist is not written; a sweep takes one cycle a slot, whatever is asked
// for meanwhile.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  (* anyconst *) logic f_which;
  logic [WIDTH-1:0] f_word;
  logic [255:0] f_new;
  logic [WIDTH-1:0] f_rdata;
  logic [15:0] f_number;
  always_comb begin
    f_number = {{(16-LOG2_SLOTS){1'b0}}, f_slot};
    f_slot_o = f_number;
    f_word = f_which ? f_word1 : f_word0;
    f_rdata = f_which ? rdata1 : rdata0;
    f_new = f_which ? req_share1_i : req_share0_i;
    f_zero_o = f_word == '0;
    f_swept_o = sweeping_q && f_slot < sweep_q;
  end

  // What the slot should hold, in the plainest way. Until it has been overwritten for the first time: anything.
  logic f_known = 1'b0;
  logic f_clean = 1'b0;  // overwritten by a sweep or an erasure, and not written since
  logic f_held, f_sign, f_curve;
  logic [5:0] f_gen;
  logic f_gen_known = 1'b0;
  logic [255:0] f_scalar;
  logic f_erase, f_store;
  always_comb begin
    f_erase = (sweeping_q && sweep_q == f_slot) || (erase_valid_i && erase_ready_o && erase_slot_i == f_number && erase_gen_i == f_gen);
    f_store = req_valid_i && req_ready_o && req_write_i[f_which] && req_slot_i == f_number;
  end
  always_ff @(posedge clk) begin
    if (f_erase) begin
      {f_held, f_sign, f_curve} <= 3'd0;
      f_scalar <= '0;
      f_known <= 1'b1;
      f_clean <= 1'b1;
    end else if (f_store) begin
      {f_held, f_sign, f_curve} <= req_held_i ? {req_held_i, req_sign_i, req_curve_i} : 3'd0;
      f_scalar <= req_held_i ? f_new : '0;
      f_known <= 1'b1;
      f_clean <= !req_held_i;
    end
    if (req_valid_i && req_ready_o && req_write_i != 2'd0 && req_held_i && req_slot_i == f_number) f_gen <= req_gen_i;
    if (sweeping_q && hard && sweep_q == f_slot) begin
      f_gen <= '0;
      f_gen_known <= 1'b1;
    end
    if (rst) f_gen_known <= 1'b0;
    if (rst) begin
      f_known <= 1'b0;
      f_clean <= 1'b0;
    end
  end

  // Cycles since a sweep began.
  logic [LOG2_SLOTS:0] f_since = '0;
  always_ff @(posedge clk) begin
    if (rst || sweep_i) f_since <= '0;
    else if (!f_since[LOG2_SLOTS]) f_since <= f_since + 1'b1;
  end
  // An erasure that is asked for stands until it is done.
  logic f_erase_waits = 1'b0;
  logic [21:0] f_erase_what;
  always_ff @(posedge clk) begin
    f_erase_waits <= !rst && erase_valid_i && !erase_ready_o;
    f_erase_what <= {erase_slot_i, erase_gen_i};
  end
  always_comb assume (!f_erase_waits || rst || (erase_valid_i && {erase_slot_i, erase_gen_i} == f_erase_what));
  // The check word that comes with a share is its own.
  always_comb assume (!req_held_i || ((!req_write_i[0] || req_check0_i == fold(req_share0_i)) && (!req_write_i[1] || req_check1_i == fold(req_share1_i))));

  // A reading on its way: of the slot, and what the slot held then.
  logic f_read1 = 1'b0;
  logic f_read2 = 1'b0;
  logic f_hit1, f_hit2, f_held1, f_held2, f_sign1, f_sign2, f_curve1, f_curve2, f_clean1, f_clean2;
  logic f_share2;
  logic [255:0] f_scalar1, f_scalar2;
  always_ff @(posedge clk) begin
    f_read1 <= !rst && req_valid_i && req_ready_o && req_write_i == 2'd0;
    f_read2 <= !rst && f_read1;
    f_hit1 <= req_slot_i == f_number;
    {f_clean1, f_held1, f_sign1, f_curve1} <= {f_clean, f_held, f_sign, f_curve};
    f_scalar1 <= f_scalar;
    f_share2 <= req_share_i;
    {f_hit2, f_clean2, f_held2, f_sign2, f_curve2} <= {f_hit1, f_clean1, f_held1, f_sign1, f_curve1};
    f_scalar2 <= f_scalar1;
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      if (f_known) a_kept: assert (f_word == (f_held ? {fold(f_scalar) ^ mark({1'b1, f_sign, f_curve}, f_slot, f_which), 1'b1, f_sign, f_curve, f_scalar} : '0));
      if (f_gen_known) a_gen: assert (f_gen_word == {gen_check(f_gen, f_slot), f_gen});
      if (!(sweeping_q && hard)) a_gen_known: assert (f_gen_known);
      else if (sweep_q > f_slot) a_gen_swept: assert (f_gen_known);
      if (hard) a_hard: assert (sweeping_q);
      if (erasing) a_erasing: assert (!sweeping_q || $past(sweep_i));
      // a late erasure does not touch the slot's next key
      if (!$past(rst) && $past(f_held && erase_valid_i && erase_slot_i == f_number && erase_gen_i != f_gen && !sweeping_q)) a_stranger: assert (f_word != '0 || !f_held);
      if (erase_valid_i && erasing && erase_slot_i == f_number && f_gen_known && $past(erase_valid_i && erase_slot_i == f_number)) a_read_gen: assert (gen_rdata == f_gen_word);
      if (sweeping_q) a_progress: assert (f_since == {1'b0, sweep_q});
      if (f_since[LOG2_SLOTS]) a_bound: assert (!sweeping_q);
      if (f_clean) a_clean: assert (f_known && f_word == '0);
      if (f_swept_o) a_swept: assert (f_clean);
      if (!sweeping_q) a_known: assert (f_known);
      if ($past(sweeping_q) && !sweeping_q) a_swept_all: assert (f_word == '0);
      if (lock_i && $past(lock_i)) a_locked: assert (!erasing);
      if (sweeping_q) a_waits: assert (!req_ready_o && !erase_ready_o);
      if (!$past(rst)) begin
        if ($past(sweep_i)) a_begins: assert (sweeping_q && sweep_q == '0);
        if ($past(f_erase)) a_erased: assert (f_word == '0);
      end
      if ($past(rst)) a_after_reset: assert (sweeping_q && sweep_q == '0);
      a_read: assert (read1_q == {2{f_read1}});
      a_ack: assert (ack_o == f_read2);
      if (f_read1 && f_hit1) begin
        a_rdata: assert (f_rdata == (f_held1 ? {fold(f_scalar1) ^ mark({1'b1, f_sign1, f_curve1}, f_slot, f_which), 1'b1, f_sign1, f_curve1, f_scalar1} : '0));
        if (f_clean1) a_rdata_clean: assert (f_rdata == '0);
      end
      if (f_read2 && f_hit2 && f_share2 == f_which) begin
        a_answer: assert (ack_held_o == f_held2 && (!f_held2 || (ack_share_o == f_scalar2 && ack_sign_o == f_sign2 && ack_curve_o == f_curve2)));
        if (req_slot_i == f_number && req_share_i == f_which) a_answer_good: assert (!ack_bad_o && (!f_held2 || ack_check_o == fold(f_scalar2)));
        if (f_clean2) a_empty: assert (!ack_held_o && ack_share_o == '0);
      end
      a_mark: assert (!ack_differ_o);
      if (!ack_o && !$past(rst)) a_silent: assert (ack_share_o == '0 && !ack_held_o);
`ifdef KF_TASK_SLOTS
      c_found: cover (ack_o && f_hit2 && f_share2 == f_which && ack_held_o && ack_share_o != '0);
      c_erased: cover (ack_o && f_hit2 && f_share2 == f_which && !ack_held_o && $past(f_held, 4) && !sweeping_q);
      c_again: cover ($past(sweep_i && sweeping_q && f_clean) && f_slot != '0);
      c_zeroised: cover ($past(sweeping_q) && !sweeping_q && $past(f_held, (1 << LOG2_SLOTS) + 1));
      c_damaged: cover (ack_o && ack_bad_o);
`endif
    end
  end
