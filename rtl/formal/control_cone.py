#!/usr/bin/env python3
"""Proves on the netlist that no control signal of kf_core hangs on data: the input cone of each one, through all registers, is computed
by yosys and must contain neither a memory of the datapath, nor an arithmetic unit, nor a data input.

Control: phases, program counter, loops, cycle counts, write enables, register and context addresses, the handshakes and events.
Left out, since they do hang on data and are meant to: the ladder's choice of bank (swap), the sign and the table index of a blinded
digit, statuses and results; and the reset that follows when the two copies of control or digits differ, which only a fault can make. As a counter-check the same cone of those must reach the data.

    control_cone.py [--ii 1|2|4] [--yosys yosys]        exit status 0 when proved
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

RTL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
FILES = ["arith/kf_arith_pkg.sv", "core/kf_uc.sv", "core/kf_curve.sv", "core/kf_ucode_rom.sv", "core/kf_const_rom.sv", "core/kf_expo_rom.sv", "core/kf_digit.sv", "core/kf_control.sv", "core/kf_ram.sv", "core/kf_regfile.sv", "core/kf_sequencer.sv", "core/kf_hold.sv", "core/kf_voted.sv", "core/kf_public_row.sv", "core/kf_table.sv", "core/kf_core.sv"]
UNITS = """
(* blackbox *) module kf_mulmod #(parameter int STYLE = 0, parameter int II = 1) (input clk, input en_i, input [255:0] a_i, input [255:0] b_i,
  input [255:0] m_i, input [63:0] mprime_i, output [255:0] r_o);
endmodule
(* blackbox *) module kf_addmod #(parameter int STYLE = 0) (input clk, input en_i, input sub_i, input [255:0] x_i, input [255:0] y_i, input [255:0] m_i, output [255:0] r_o);
endmodule
"""
CONTROL = [
    *(f"u_control.{s}" for s in (
        "phase_q", "ex_q", "ex_w_o", "set_o", "program_o", "curve_o", "cycles_o", "aborted_o", "whole_o", "cap_v_o", "cap_ctx_o", "state_o",
        "u_seq.pc_q", "u_seq.t_q", "u_seq.word_q", "u_seq.loop_left_q", "u_seq.loop_i_q", "u_seq.run_q", "u_seq.drain_q", "u_seq.mod_n_q", "u_seq.rounds_q",
    )),
    "m_we", "a_we", "mul_dst_w", "add_dst_w", "tm", "ta", "rf_ctx", "index_a3", "index_b3", "index_x3", "index_y3", "row_raddr",
    "row_we_q", "row_waddr_q", "in_we_q", "in_waddr_q", "cond_z", "mul_en5", "add_en5",
    "taken_o", "row_ready_o", "res_valid_o", "res_ctx_o", "res_last_o", "res_cycles_o", "busy_o", "wiped_o", "slot_o", "mul_o", "ev_gate_o",
]
DATA_SIGNALS = ["u_digit.swap_q", "point_place", "res_x_o", "res_status_o"]  # the counter-check
DATA_SOURCES = ["in_data_i", "row_data_i", "table_data_i"]


def reached(names):
    found = set()
    for n in names:
        if n in DATA_SOURCES:
            found.add(n)
        m = re.match(r"(u_regs\..*|u_in\..*|row_mem.*|u_table\.table_mem.*|u_mul|u_add)$", n)
        # A memory's name as a cell, or its data output; its addresses and enables are no data.
        if m and (n in ("u_mul", "u_add", "row_mem", "u_table.table_mem") or re.search(r"\.mem$|\.mul_r|\.add_r", n)):
            found.add(n)
    return sorted(found)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--ii", type=int, default=1, choices=(1, 2, 4))
    ap.add_argument("--yosys", default="yosys")
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as d:
        units = os.path.join(d, "units.sv")
        open(units, "w", encoding="ascii").write(UNITS)
        files = " ".join(os.path.join(RTL, f) for f in FILES)
        script = [f"read_verilog -sv {files} {units}", f"chparam -set II {a.ii} kf_core", "hierarchy -top kf_core", "setattr -mod -unset keep_hierarchy A:keep_hierarchy", "proc", "flatten", "cutpoint w:differ", "memory_collect", "opt_clean"]
        script += [f"tee -q -o {d}/{s}.cone select -list w:{s} %ci*" for s in CONTROL + DATA_SIGNALS]
        run = subprocess.run([a.yosys, "-q", "-p", "; ".join(script)], capture_output=True, text=True)
        if run.returncode:
            print(run.stderr, file=sys.stderr)
            return 1

        def cone(signal):
            return [x.split("/", 1)[1] for x in open(f"{d}/{signal}.cone", encoding="ascii").read().split() if "/" in x]

        bad = 0
        for s in CONTROL:
            names = cone(s)
            if not names:
                print(f"{s}: no such signal")
                bad += 1
            hits = reached(names)
            if hits:
                print(f"{s}: hangs on {', '.join(hits[:6])}")
                bad += 1
        for s in DATA_SIGNALS:
            if not reached(cone(s)):
                print(f"{s}: reaches no data: this check has gone blind")
                bad += 1
        print(f"II={a.ii}: {len(CONTROL)} control signals, {bad} findings")
        return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as e:  # a file or a program that is not there
        sys.exit(f"{e.filename}: {e.strerror}")
