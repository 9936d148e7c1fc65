#!/usr/bin/env python3
"""Proves the modular adder and the digit step of the multiplier at small widths.   run_arith.py --build FOLDER [--only NAME]

  adder   r = x +- y mod m for all x, y < m of 12 bits: yosys, yosys-smtbmc, z3.
  digit   T' = (T + a b + q m) / 2^D exactly and T' < a + m (hence < 2m when a < m), for all a, b, T < a + m and odd m, with 13-bit
          operands and 4-bit digits: yosys, then abc with decision diagrams (SAT solvers do not finish on adders summed in another order).
          At this size nothing of q m is left out, so the rounding constant is proven harmless, not sufficient: that is an argument
          (kf_mul_digit.sv), its conditions checked when the design is built, and simulation at full width.

Registers are replaced by wires first: what is proven is the arithmetic, for any operands; that every value arrives in its cycle is what
the simulation shows, where operands change in every cycle. Each proof is also run on a copy with one thing broken and must then fail, which
shows that the assumptions leave something to prove. Exit status 0 only if all of that comes out; a time limit reached is a failure.
"""

import argparse
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import record  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARITH = ROOT / "rtl" / "arith"
FORMAL = ROOT / "rtl" / "formal"
LIMIT = 900  # seconds a tool run

# A register passes its input on at once; so does a delay line.
WIRES = r"""
module \$dff (CLK, D, Q);
  parameter CLK_POLARITY = 1;
  parameter WIDTH = 1;
  input CLK;
  input [WIDTH-1:0] D;
  output [WIDTH-1:0] Q;
  assign Q = D;
endmodule
"""
DELAY = """
module kf_delay #(parameter int WIDTH = 1, parameter int DEPTH = 1) (
    input wire logic clk, input wire logic [WIDTH-1:0] d_i, output logic [WIDTH-1:0] d_o
);
  assign d_o = d_i;
endmodule
"""

W, D, TA, TB, K = 13, 4, 4, 1, 2


def digit_top():
    """The digit harness, its inputs bit by bit in the order that keeps the diagrams small: digit first, then all operands from bit 0 up."""
    def vector(name, bits):
        return "{" + ", ".join(f"{name}{i}" for i in reversed(range(bits))) + "}"
    order = [f"b{i}" for i in range(D)] + [f"p{i}" for i in range(D)]
    for i in range(W):
        order += [f"m{i}", f"a{i}", f"t{i}"]
    order.append(f"t{W}")
    ports = ", ".join(f"input wire logic {name}" for name in order)
    return (f"module proof_top ({ports});\n"
            f"  kf_mul_digit_fv #(.W({W}), .D({D}), .TA({TA}), .TB({TB}), .K({K})) fv (.clk(1'b0),\n"
            f"      .a({vector('a', W)}), .b({vector('b', D)}),\n"
            f"      .m({vector('m', W)}), .mprime({vector('p', D)}), .t({vector('t', W + 1)}));\n"
            "endmodule\n")


ADDER_TOP = """
module proof_top (input wire logic sub, input wire logic [11:0] x, input wire logic [11:0] y, input wire logic [11:0] m);
  kf_addmod_fv #(.W(12), .PIECE(5)) fv (.clk(1'b0), .sub, .x, .y, .m);
endmodule
"""

# name: harness, design files, top, how, (file, text, broken text)
TASKS = {
    "adder": ("kf_addmod_fv", ["kf_addmod"], ADDER_TOP, "smt", ("kf_addmod", "(c2_d2_q | d2_q[TOP])", "d2_q[TOP]")),
    "digit": ("kf_mul_digit_fv", ["kf_mul_digit", "kf_mul_low"], digit_top(), "bdd",
              ("kf_mul_digit", "assign carry = pairs[(j*PIECES+n-1)*R_SLOT+G];", "assign carry = 1'b0;")),
}


def run(command, log):
    try:
        p = subprocess.run(["nice", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False)
        text, code = p.stdout, p.returncode
    except subprocess.TimeoutExpired as e:
        text, code = (e.stdout or b"").decode(errors="replace") + f"\ntime limit of {LIMIT} s reached\n", 1
    log.write_text(text)
    return code, text


def prove(name, folder, broken):
    """'proven', 'refuted' or what went wrong."""
    harness, designs, top, how, (victim, right, wrong) = TASKS[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wires.v").write_text(WIRES)
    (folder / "delay.sv").write_text(DELAY)
    (folder / "top.sv").write_text(top)
    files = [ARITH / "kf_arith_pkg.sv"]
    for design in designs:
        text = (ARITH / f"{design}.sv").read_text()
        if broken and design == victim:
            if text.count(right) != 1:
                return f"{design}.sv has not exactly one {right!r}"
            text = text.replace(right, wrong)
        (folder / f"{design}.sv").write_text(text)
        files.append(folder / f"{design}.sv")
    files += [folder / "delay.sv", FORMAL / f"{harness}.sv", folder / "top.sv"]
    script = [f"read_verilog -sv -formal {' '.join(map(str, files))}", "hierarchy -check -top proof_top", "proc", "flatten",
              f"techmap -map {folder / 'wires.v'}", "opt -full", "check -assert", "select -assert-none t:$dff t:$mem* t:$memrd*"]
    if how == "smt":
        script.append(f"write_smt2 -wires {folder / 'proof.smt2'}")
    else:
        script += ["techmap", "opt -full", "aigmap", "opt_clean", f"write_aiger {folder / 'proof.aig'}"]
    (folder / "proof.ys").write_text("\n".join(script) + "\n")
    code, text = run(["yosys", "-q", str(folder / "proof.ys")], folder / "yosys.log")
    if code:
        return text[-2000:]
    if how == "smt":
        code, text = run(["yosys-smtbmc", "-s", "z3", "--noprogress", "-t", "1", str(folder / "proof.smt2")], folder / "solver.log")
        if code == 0 and "Status: PASSED" in text:
            return "proven"
        return "refuted" if code == 1 and "Status: FAILED" in text and "Assert failed" in text else text[-2000:]
    # A refutation needs no diagram: the solver finds it at once.
    collapse = "" if broken else "collapse -r -B 100000000; strash; "
    code, text = run(["yosys-abc", "-c", f"read {folder / 'proof.aig'}; fold; orpos; {collapse}print_stats; sat"], folder / "solver.log")
    if "UNSATISFIABLE" in text:
        return "proven"
    return "refuted" if "SATISFIABLE" in text else text[-2000:]


def digest(name):
    return record.digest([*(ARITH / f"{d}.sv" for d in ["kf_arith_pkg", *TASKS[name][1]]), FORMAL / f"{TASKS[name][0]}.sv"], __file__)


def task(name, build):
    """The design, which must be proven, and its broken copy, which must be refuted; the lines to print and how many failed."""
    lines, failed = [], 0
    for broken, wanted in ((False, "proven"), (True, "refuted")):
        begin = time.monotonic()
        got = prove(name, build / (name + ("-broken" if broken else "")), broken)
        failed += got != wanted
        what = f"{name}{' (broken copy)' if broken else ''}"
        lines.append(f"{'ok    ' if got == wanted else 'FAILED'} {what}: {got}, {time.monotonic() - begin:.1f} s")
    return lines, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=sorted(TASKS))
    record.add_options(parser)
    args = parser.parse_args()
    names = [n for n in TASKS if not args.only or n == args.only]
    run_now, failed = record.prove_all(names, args, digest, lambda n: task(n, args.build.resolve()))
    print(f"{run_now} run, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
