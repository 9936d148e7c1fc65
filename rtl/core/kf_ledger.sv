// kf_ledger: the jobs that were taken and not answered yet, and the answers to those that a wipe has cut off.
//
// Each job gets exactly one completion, in the order of the jobs, whatever happens: so what a completion says about its job (tag, operation,
// curve, slot, generation of a key it made) is kept here from the first beat on, by the number of the job, and not by whoever works on it. kf_prep and kf_results only know places in batches.
//
// Modes:
//   OPEN    jobs go to kf_prep, completions come from kf_results; this module adds their last beat. A job that was done when it was prepared
//           (rider_i: it was never in a batch) is answered from here when its turn comes; kf_results waits meanwhile (next_o)
//   WIPE    one cycle, after zeroise_i or fail_i: everything that works on jobs is reset and overwrites its memories by itself (part_rst_o)
//   ANSWER  every job that is owed an answer gets it from here: aborted, or fault. What the host or the bus do in the meantime delays only these
//           answers, in which nothing is secret, and not the wiping. While abort_i stands, jobs that come are answered here as well
// abort_i while known-answer jobs run (closed_i), which may wait for entropy, leads to ANSWER too: nothing is held then that could be wiped.
//
// All registers are there three times (kf_voted), so that after any one flip the answers still fit the jobs. The memories have check words with
// the number of the job; a damaged word of the job that is answered next is a fault like fail_i.
`default_nettype none
module kf_ledger #(
  parameter logic TEST_IMPORT = 1'b0,
  parameter int   LOG2_JOBS = 8  // one job less than 2^LOG2_JOBS may be owed, of which 3 N + 1 are in batches; smaller in proofs only
) (
  input  wire  logic         clk,
  input  wire  logic         rst,
  input  wire  logic         fail_i,       // two copies of something differ: nothing that comes from it in this cycle is to be believed
  input  wire  logic         zeroise_i,    // one cycle
  input  wire  logic         abort_i,
  input  wire  logic         closed_i,     // kf_prep takes no jobs yet
  output       logic         part_rst_o,
  output       logic         forget_o,     // with it: because of a fault
  output       logic         owed_o,       // a job has not been answered
  output       logic         active_o,     // something here can change in this cycle (kf_sleep)

  // jobs, and on to kf_prep
  input  wire  logic         s_job_valid,
  output       logic         s_job_ready,
  input  wire  logic [255:0] s_job_data,
  input  wire  logic         s_job_last,
  output       logic         job_valid_o,
  input  wire  logic         job_ready_i,
  output       logic         job_refused_o,  // of a first beat: not a control word that this build takes
  input  wire  logic         place_i,        // the job taken last has its place in a batch,
  input  wire  logic         rider_i,        // or is done
  input  wire  logic [7:0]   status_i,       // with this status,
  input  wire  logic         owns_i,         // put its scalar into its slot,
  input  wire  logic [5:0]   gen_i,          // with this generation; 0: it put none there

  // completions from kf_results
  input  wire  logic         cpl_valid_i,
  output       logic         cpl_sent_o,     // a beat went out
  output       logic         cpl_end_o,      // the last one
  input  wire  logic [255:0] cpl_data_i,     // of beats 0 to 2
  input  wire  logic [31:0]  cpl_sum_i,      // their part of the check word
  input  wire  logic [7:0]   cpl_status_i,
  input  wire  logic [5:0]   cpl_ctx_i,
  input  wire  logic [31:0]  cpl_cycles_i,
  output       logic         next_o,         // the job that is answered next has its place in a batch, and here are its words:
  output       logic [15:0]  next_slot_o,
  output       logic         next_owns_o,
  output       logic [5:0]   next_gen_o,
  output       logic         next_bad_o,     // its words are damaged

  output       logic         m_cpl_valid,
  input  wire  logic         m_cpl_ready,
  output       logic [255:0] m_cpl_data,
  output       logic         m_cpl_last
`ifdef FORMAL
  , output     logic         f_open_o
  , output     logic         f_wipe_o
  , output     logic         f_packet_o
  , output     logic [1:0]   f_beat_o
  , output     logic [LOG2_JOBS-1:0] f_taken_o
  , output     logic [LOG2_JOBS-1:0] f_sent_o
  , input wire logic [LOG2_JOBS-1:0] f_addr_i
  , output     logic [95:0]  f_word_o
  , output     logic         f_look_o
  , output     logic [16:0]  f_owner_o
  , output     logic [17 * (1 << LOG2_JOBS) - 1:0] f_owners_o
  , output     logic [95:0]  f_next_o
`endif
);
  localparam logic [1:0] OPEN = 2'd0;
  localparam logic [1:0] WIPE = 2'd1;
  localparam logic [1:0] ANSWER = 2'd2;

  logic [1:0] mode;
  logic [1:0] mode_next;
  logic       fault;       // what is answered in ANSWER: fault, else aborted
  logic       fault_next;
  logic       in_packet;   // beats of a job are still to come
  logic       in_packet_next;
  logic [1:0] beat;        // of the completion that is sent
  logic [1:0] beat_next;
  logic [LOG2_JOBS-1:0] taken;  // numbers of jobs run on and wrap
  logic [LOG2_JOBS-1:0] taken_next;
  logic [LOG2_JOBS-1:0] sent;
  logic [LOG2_JOBS-1:0] sent_next;
  logic       look;        // a job is owed, and what has been read is about the one that is answered next
  logic       look_next;
  kf_voted #(.WIDTH(2 * LOG2_JOBS + 7)) u_state (
    .clk, .d_i({look_next, mode_next, fault_next, in_packet_next, beat_next, taken_next, sent_next}), .q_o({look, mode, fault, in_packet, beat, taken, sent})
  );

  logic take;
  logic first;
  logic send;
  logic full;
  logic fail;
  logic rider;   // the job that is answered next is done
  assign owed_o = taken != sent;
  assign full = &(taken - sent) && !in_packet;
  assign fail = fail_i || (look && mode == OPEN && next_bad_o);
  assign job_valid_o = s_job_valid && mode == OPEN && !full;
  assign s_job_ready = mode == OPEN ? job_ready_i && !full : mode == ANSWER && (in_packet || (abort_i && !owed_o));
  assign take = s_job_valid && s_job_ready;
  assign first = take && !in_packet;
  assign m_cpl_valid = mode == OPEN ? (rider || cpl_valid_i) && !fail : mode == ANSWER && owed_o && !in_packet;
  assign m_cpl_last = beat == 2'd3;
  assign send = m_cpl_valid && m_cpl_ready;
  assign cpl_sent_o = send && mode == OPEN && !rider;
  assign cpl_end_o = beat == 2'd3;
  assign part_rst_o = mode == WIPE;
  assign forget_o = fault;
  assign active_o = s_job_valid || zeroise_i || mode != OPEN || (owed_o && !next_o) || fail;
  always_comb begin
    mode_next = mode;
    fault_next = fault;
    in_packet_next = take ? !s_job_last : in_packet;
    beat_next = send ? beat + 2'd1 : beat;
    taken_next = taken + {{(LOG2_JOBS-1){1'b0}}, first};
    sent_next = sent + {{(LOG2_JOBS-1){1'b0}}, send && m_cpl_last};
    look_next = owed_o && !(send && m_cpl_last);
    case (mode)
      OPEN: if (closed_i && abort_i && !owed_o && !in_packet) begin
        mode_next = ANSWER;
        fault_next = 1'b0;
      end
      WIPE: mode_next = ANSWER;
      default: if (!owed_o && !in_packet) begin
        if (abort_i) fault_next = 1'b0;
        else mode_next = OPEN;
      end
    endcase
    if (zeroise_i || fail) begin
      mode_next = WIPE;
      fault_next = fail;
    end
    if (rst) begin
      mode_next = OPEN;
      fault_next = 1'b0;
      in_packet_next = 1'b0;
      beat_next = '0;
      taken_next = '0;
      sent_next = '0;
      look_next = 1'b0;
    end
  end

  // A control word that this build does not take: answered with status descriptor.
  assign job_refused_o = s_job_data[7:0] == 8'd0 || s_job_data[7:0] > 8'd7 || s_job_data[15:8] > 8'd1
      || s_job_data[63:41] != 23'd0 || s_job_data[255:128] != 128'd0
      || (!TEST_IMPORT && (s_job_data[7:0] == 8'd7 || s_job_data[34]));

  logic unused;  // the phase is the ring's, use and generation of a key are kf_prep's
  assign unused = &{1'b0, s_job_data[40:35], s_job_data[33:32]};

  // ------------------------------------------------------------------ what a job is: slot, curve, operation, tag; whether it is prepared, and how
  logic [127:0] job;
  logic [24:0]  owner;  // check bits; has its place, is done, made the key in its slot, with this generation, status
  logic [95:0]  word;
  logic [LOG2_JOBS-1:0] last;  // number of the job that was taken last
  function automatic logic [31:0] job_check(input logic [95:0] v, input logic [LOG2_JOBS-1:0] number);
    job_check = kf_uc::check_word({160'd0, v}, {3'b011, 8'(number)});
  endfunction
  assign last = taken - 1'b1;
  assign word = {s_job_data[31:16], s_job_data[15:8], job_refused_o ? 8'd0 : s_job_data[7:0], s_job_data[127:64]};
`ifdef FORMAL
  logic [127:0] f_word;
`endif
  kf_ram #(.WIDTH(128), .DEPTH(1 << LOG2_JOBS)) u_jobs (
    .clk, .we_i(first), .waddr_i(taken), .wdata_i({job_check(word, taken), word}), .raddr_i(sent), .rdata_o(job)
`ifdef FORMAL
    , .f_addr_i, .f_word_o(f_word)
`endif
  );
  // Eight check bits: a flip of any one bit shows, whether of the word or of its number.
  function automatic logic [7:0] owner_check(input logic [16:0] v, input logic [LOG2_JOBS-1:0] number);
    owner_check = v[7:0] ^ v[15:8] ^ {7'd0, v[16]} ^ 8'(number) ^ 8'h5A;
  endfunction
  // Written when a job is taken, so that nothing of an earlier one is left, and when it is prepared.
  logic [16:0] owner_word;
  logic [LOG2_JOBS-1:0] owner_at;
  logic owner_we;
  assign owner_we = first || place_i;
  assign owner_at = first ? taken : last;
  assign owner_word = first ? 17'd0 : {!rider_i, rider_i, owns_i, gen_i, rider_i ? status_i : 8'd0};
`ifdef FORMAL
  // As registers, so that the proof can speak of all of them.
  logic [25 * (1 << LOG2_JOBS) - 1:0] f_owners;
  always_ff @(posedge clk) begin
    owner <= f_owners[25 * sent +: 25];
    if (owner_we) f_owners[25 * owner_at +: 25] <= {owner_check(owner_word, owner_at), owner_word};
  end
  assign f_look_o = look;
  assign f_owner_o = owner[16:0];
  always_comb for (int i = 0; i < 1 << LOG2_JOBS; i++) f_owners_o[17 * i +: 17] = f_owners[25 * i +: 17];
`else
  kf_ram #(.WIDTH(25), .DEPTH(1 << LOG2_JOBS)) u_owners (
    .clk, .we_i(owner_we), .waddr_i(owner_at), .wdata_i({owner_check(owner_word, owner_at), owner_word}), .raddr_i(sent), .rdata_o(owner)
  );
`endif
  assign next_o = look && mode == OPEN && owner[16] && !next_bad_o;
  assign rider = look && mode == OPEN && owner[15];
  // The last beat's part of a completion's check word, and the key (rtl/regs/regs.json).
  function automatic logic [31:0] last_check(input logic [159:0] v);
    last_check = kf_uc::CHECK_KEY ^ v[31:0] ^ v[63:32] ^ {v[87:64], v[95:88]} ^ {v[111:96], v[127:112]} ^ {v[135:128], v[159:136]};
  endfunction
  assign next_slot_o = job[95:80];
  assign next_owns_o = owner[14];
  assign next_gen_o = owner[13:8];
  assign next_bad_o = job_check(job[95:0], sent) != job[127:96] || owner_check(owner[16:0], sent) != owner[24:17] || (owner[16] && owner[15]);

  always_comb begin
    m_cpl_data = mode == OPEN && !rider ? cpl_data_i : 256'd0;
    if (m_cpl_last) begin
      m_cpl_data = {128'd0, job[63:0], 40'd0, job[79:64], fault ? kf_uc::ST_FAULT : kf_uc::ST_ABORTED};
      if (mode == OPEN) begin
        m_cpl_data[7:0] = rider ? owner[7:0] : cpl_status_i;
        if (m_cpl_data[7:0] == kf_uc::ST_OK) m_cpl_data[40:35] = next_gen_o;
        m_cpl_data[31:24] = rider ? 8'd0 : {2'd0, cpl_ctx_i};
        m_cpl_data[159:128] = rider ? 32'd0 : cpl_cycles_i;
      end
      m_cpl_data[191:160] = last_check(m_cpl_data[159:0]) ^ (mode == OPEN && !rider ? cpl_sum_i : 32'd0);
    end
  end
`ifdef FORMAL
  assign f_open_o = mode == OPEN;
  assign f_wipe_o = mode == WIPE;
  assign f_packet_o = in_packet;
  assign f_beat_o = beat;
  assign f_taken_o = taken;
  assign f_sent_o = sent;
  assign f_word_o = f_word[95:0];
  assign f_next_o = job[95:0];
`endif
endmodule
`default_nettype wire
