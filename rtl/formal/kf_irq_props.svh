// Properties of kf_irq (included there). Proven: an event is never lost to a clearing write; a bit falls only when cleared; a
// completion that should be reported at once is; nothing is reported without a completion.

  logic f_past = 1'b0;
  always_ff @(posedge clk) f_past <= 1'b1;
  always_comb assume (f_past || rst);

  // Completions since reset and since the last report, in the plainest way.
  logic [16:0] f_unreported = '0;
  always_ff @(posedge clk) begin
    if (report) f_unreported <= {16'd0, ev_completion_i};
    else if (ev_completion_i && f_unreported != 17'h1FFFF) f_unreported <= f_unreported + 17'd1;
    if (rst) f_unreported <= '0;
  end

  always_ff @(posedge clk) begin : f_checks
    if (f_past && !rst) begin
      a_count: assert (waiting_q == (f_unreported > 17'h0FFFF ? 16'hFFFF : f_unreported[15:0]));
      if (report) a_cause: assert (f_unreported != '0);
      if (waiting_q == '0) a_young: assert (age_q == '0);
      if (!$past(rst)) begin
        if ($past(ev_error_i)) a_error: assert (status_o[1]);
        if ($past(ev_entropy_i)) a_entropy: assert (status_o[2]);
        a_stays: assert ((status_o | $past(clear_i)) == (status_o | $past(clear_i) | $past(status_o)));
        if ($past(f_unreported != '0 && completions_i <= 16'd1)) a_at_once: assert (status_o[0] || $past(status_o[0]));
        if ($past(f_unreported >= 17'(completions_i) && f_unreported != '0 && !status_o[0])) a_number: assert (status_o[0]);
        a_level: assert (irq_o == $past(|(status_q & enable_i)));
      end
`ifdef KF_TASK_IRQ
      c_race: cover (!$past(rst) && status_o[1] && $past(clear_i[1] && ev_error_i && status_o[1]));
      c_number: cover (report && completions_i == 16'd3);
      c_again: cover (status_o[0] && waiting_q == 16'd2);
`endif
    end
  end
