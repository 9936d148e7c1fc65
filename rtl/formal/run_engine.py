#!/usr/bin/env python3
"""Proves the control of the engine with yosys, yosys-smtbmc (z3) and abc.   run_engine.py --build FOLDER [--only NAME]

  control  kf_control with sequencer and microcode, nothing abstracted, 2 contexts: `whole` only after the full count of rounds up to the halt word, no
           exchange while a program runs, each batch answered once; bounds for wipe, program and exchange
  slots    kf_keyslots, 4 slots, any one of them: overwritten before a sweep ends; a reading gives what was written last
  prep     kf_prep, batches of at most 2: batch former and ledger of jobs; what is written to key slots and why
  boot     the same with known-answer batches first
  keys     kf_prep with its key slots, 4 of them: after reset and zeroise_i no slot holds anything when wiped_o and idle_o stand; an ECKA's
           slot is empty from the moment it has its scalar (a wipe is zeroise_i's, or a fault's)
  results  kf_results: one completion a job, four beats, zeros unless the status is ok, abort, erasure of slots
  engine   kf_engine with kf_core_abstract for the core, wipes at any time: jobs accepted = completions + jobs held; the n-th completion has the
           n-th job's tag; after a wipe nothing that was computed leaves

All without a bound on time: by k-induction (z3), or by an invariant that abc finds and verifies (pdr). Cover statements show that the
states the properties speak about can be reached, and a copy with one thing broken must fail. Data that the properties do not speak about is
cut: it takes any value in any cycle, so more is proven than the modules do. What a block is assumed to get from its neighbours (g_* in
kf_*_props.svh) is assumed for each block by itself and proven in `engine`, of the abstract core too. Exit status 0 only if all of that comes out; a time limit reached is a failure.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import record  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORE = ROOT / "rtl" / "core"
FORMAL = ROOT / "rtl" / "formal"
LIMIT = 900  # seconds a solver run

BROKEN = "-broken"  # of file names: a copy with one thing broken
STEPS = 3  # of k-induction
PACKAGES = ["kf_uc", "kf_curve"]
PREP = [*PACKAGES, "kf_ram", "kf_hold", "kf_voted", "kf_keyslots", "kf_prep_control", "kf_prep"]
# Of kf_prep: numbers, their comparisons, the blinded scalar and how long it takes to make.
NUMBERS = ["v_q", "v_check_q", "acc_q", "acc_check_q", "row_data_o", "row_check_o", "in_data_o", "in_check_o",
           *(f"u_control.{n}" for n in ("lt_q", "nz_q", "carry_q", "acc_carry_q", "t_q", "digits_q", "pass_q", "odd_q", "limb_q"))]

# name: top, sources, parameters, (input, its width: shows that the parameters took hold), cells to cut, registers to cut,
#       given, cycles to reach every cover statement within, cycles to refute the broken copy within, how (below), (file, text, broken text, property that must fail)
TASKS = {
    "control": ("kf_control", [*PACKAGES, "../arith/kf_arith_pkg", "kf_expo_rom", "kf_ucode_rom", "kf_sequencer", "kf_control"], {"II": 4, "N": 2}, ("batch_program_i", 3),
                [], [], "assume", 260, 260, "induction",
                # B1: what was stopped counts as complete; B2: the results leave before the program has ended
                [("kf_sequencer", "assign full_o = !bad_q && rounds_q == rounds_wanted;", "assign full_o = (!bad_q && rounds_q == rounds_wanted) || stop_i;", "a_whole"),
                 ("kf_control", "RUN: if (seq_done) begin", "RUN: if (seq_done || (res_free_i && abort_i)) begin", "a_legal"),
                 ("kf_control", "if (abort_i && (phase_q == RUN || phase_q == HOLD || seq_start)) aborted_o <= 1'b1;",
                  "if (abort_i && (phase_q == RUN || seq_start)) aborted_o <= 1'b1;", "a_ok")]),
    "slots": ("kf_keyslots", ["kf_uc", "kf_ram", "kf_hold", "kf_voted", "kf_keyslots"], {"LOG2_SLOTS": 2}, ("erase_slot_i", 16), [], [], "assume", 20, 10, "induction",
              ("kf_keyslots", "if (&sweep_q) begin", "if (&sweep_q[1:1]) begin", "a_swept_all")),
    "prep": ("kf_prep", PREP, {"TWIN": 0, "N": 2, "LOG2_SLOTS": 2, "SELF_TEST": 0}, ("s_job_data", 256),
             ["u_keys"], NUMBERS, "assume", 45, 50, "pdr",
             ("kf_prep_control", "count_q == FULL || program_q != program_of(op_q) || bcurve_q != curve_q", "count_q == FULL || program_q != program_of(op_q)", "a_join_kind")),
    "boot": ("kf_prep", PREP, {"TWIN": 0, "N": 2, "LOG2_SLOTS": 2, "SELF_TEST": 1}, ("s_job_data", 256),
             ["u_keys"], NUMBERS, "assume", 45, 25, "pdr",
             ("kf_prep_control", "assign place_o = working && doing == DO_END && !kat_batch_q;", "assign place_o = working && doing == DO_END;", "a_place")),
    "keys": ("kf_prep", PREP, {"TWIN": 0, "N": 2, "LOG2_SLOTS": 2, "SELF_TEST": 0}, ("s_job_data", 256),
             [], NUMBERS, "assume", 60, 30, "induction",
             ("kf_prep", ".sweep_i(wipe_i)", ".sweep_i(1'b0)", "a_reset")),
    "results": ("kf_results", [*PACKAGES, "kf_ram", "kf_results_control", "kf_results"], {"TWIN": 0}, ("res_x_i", 288), [], [], "assume", 35, 14, "induction",
                ("kf_results", "if (rst || (take_y && !good)) begin", "if (rst) begin", "a_zero")),
    "engine": ("kf_engine", [*PREP, "kf_sleep", "kf_sbox", "kf_aes", "kf_drbg_seq", "kf_drbg", "kf_health", "kf_entropy", "kf_ledger", "kf_results_control", "kf_results", "../formal/kf_core_abstract",
                             "kf_engine"], {"TWIN": 0, "SELF_TEST": 0}, ("s_job_data", 256), ["u_keys", "u_entropy"],
               [f"u_prep.{n}" for n in NUMBERS] + ["u_results.rdata", "u_results.second_y_q", "prep_differ", "results_differ"],
               "assert", 60, 40, "induction",
               ("kf_ledger", "send && m_cpl_last};", "send && m_cpl_last && mode == OPEN};", "a_counts")),
}


def run(command, log):
    begin = time.monotonic()
    try:
        p = subprocess.run(["nice", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False)
        text, code = p.stdout, p.returncode
    except subprocess.TimeoutExpired as e:
        text, code = (e.stdout or b"").decode(errors="replace") + f"\ntime limit of {LIMIT} s reached\n", 1
    log.write_text(text)
    return code, text, time.monotonic() - begin


# A cover statement as an assertion that its state is never reached: the checker then finds the way there.
REACH = r"""
module \$cover (A, EN);
  input A, EN;
  \$assert _TECHMAP_REPLACE_ (.A(~A), .EN(EN));
endmodule
"""


def broken_copies(copies):
    return copies if isinstance(copies, list) else [copies]


def prepare(name, out, kind):
    """Writes the task's circuit for the checker; returns (what went wrong, number of properties, number of cover statements)."""
    top, sources, params, (port, width), cells, registers, given, _, _, _, copies = TASKS[name]
    broken = kind.startswith(BROKEN)
    victim, right, wrong, refuted = broken_copies(copies)[int(kind[len(BROKEN):] or 0) if broken else 0]
    label = f"{name}{kind}"
    files = []
    for source in sources:
        file = CORE / f"{source}.sv"
        if broken and source == victim:
            text = file.read_text()
            if text.count(right) != 1:
                return f"{file.name} has not exactly one {right!r}", 0, 0
            file = out / f"{label}.sv"
            file.write_text(text.replace(right, wrong))
        files.append(str(file))
    (out / "reach.v").write_text(REACH)
    script = [f"read_verilog -sv -formal -DKF_GIVEN={given} -DKF_TASK_{name.upper()}{' -DKF_FEW' if kind else ''} -I{FORMAL} {' '.join(files)}"]
    if params:  # all at once: one by one the module would be built with a mixture of old and new
        script.append("chparam " + " ".join(f"-set {k} {v}" for k, v in params.items()) + f" {top}")
    # -norom: a table in a memory would hold anything in an induction.
    script += [f"hierarchy -check -top {top}", "setattr -mod -unset keep_hierarchy A:keep_hierarchy", "proc -norom", "check -assert"]
    script += [line for cell in cells for line in (f"select -assert-count 1 */c:{cell}", f"cutpoint */c:{cell}")]
    script += ["flatten"]
    script += [line for register in registers for line in (f"select -assert-count 1 w:{register}", f"cutpoint w:{register}")]
    script += [f"select -assert-count 1 w:{port} s:{width} %i", "setundef -undriven -anyseq", "opt_clean", "memory -nordff -nomap", "opt -fast",
               "async2sync", "dffunmap", f"tee -o {out / label}.count select -count t:$assert",
               f"tee -a {out / label}.count select -count t:$cover"]
    bits = ["delete -output o:*", "memory_map", "opt -full", "techmap", "opt -full", "clean -purge", "dffunmap", "setundef -zero", "aigmap",
            "opt_clean"]
    if not broken:
        script += [f"write_smt2 -wires {out / label}.smt2"] if TASKS[name][9] == "induction" else []
        script += ["design -save all", "chformal -assert -remove", f"techmap -map {out / 'reach.v'} t:$cover", *bits,
                   f"write_aiger -zinit {out / label}-cover.aig", "design -load all"]
    if broken:
        script += [f"delete t:$assert c:*{refuted} %d", "select -assert-count 1 t:$assert"]
    if broken or TASKS[name][9] == "pdr":
        script += ["chformal -cover -remove", *bits, f"write_aiger -zinit {out / label}.aig"]
    (out / f"{label}.ys").write_text("\n".join(script) + "\n")
    code, text, _ = run(["yosys", "-q", str(out / f"{label}.ys")], out / f"{label}.yosys.log")
    if code:
        return text[-2000:], 0, 0
    asserts, covers = re.findall(r"(\d+) objects", (out / f"{label}.count").read_text())
    return "", int(asserts), int(covers)


def abc(out, label, commands):
    return run(["yosys-abc", "-c", f"read {out / label}.aig; fold; {commands}"], out / f"{label}.log")


def smt(out, label, options):
    command = ["yosys-smtbmc", "-s", "z3", "--unroll", "--noprogress", *options, str(out / f"{label}.smt2")]
    code, text, spent = run(command, out / f"{label}{options[0]}.log")
    return code == 0 and "Status: PASSED" in text, text, spent


def prove(name, out):
    """All of one task; returns the lines to print and how many failed."""
    *_, within, broken_within, how, copies = TASKS[name]
    why, asserts, covers = prepare(name, out, "")
    kinds = [f"{BROKEN}{i or ''}" for i in range(len(broken_copies(copies)))]
    for kind in kinds:
        why = why or prepare(name, out, kind)[0]
    if why:
        return [f"FAILED {name}: {why}"], 1
    results = []
    if how == "pdr":
        code, text, spent = abc(out, name, f"scorr; orpos; pdr -T {LIMIT}")
        ok = code == 0 and "Verification of invariant" in text and "was successful" in text and "Property proved." in text
    else:
        ok, text, spent = smt(out, name, ["-t", str(STEPS + 1)])
        if ok:
            ok, text, more = smt(out, name, ["-i", "-t", str(STEPS)])
            spent += more
    results.append((ok and asserts > 0, f"{asserts} properties proven for ever ({how})", text, spent))
    code, text, spent = abc(out, f"{name}-cover", f"bmc3 -a -F {within} -T {LIMIT}")
    ok = code == 0 and covers > 0 and f"solved {covers} out of {covers} outputs" in text
    results.append((ok, f"{covers} cover statements reached within {within} cycles", text, spent))
    for kind in kinds:
        code, text, spent = abc(out, f"{name}{kind}", f"orpos; bmc3 -F {broken_within} -T {LIMIT}")
        results.append((code == 0 and "was asserted in frame" in text, f"broken copy{kind[len(BROKEN):]} refuted within {broken_within} cycles", text, spent))
    lines = []
    for ok, what, text, spent in results:
        lines.append(f"{'ok    ' if ok else 'FAILED'} {name}: {what}, {spent:.1f} s")
        lines += [] if ok else [f"    {line}" for line in text.splitlines()[-12:]]
    return lines, sum(not ok for ok, *_ in results)


def digest(name):
    files = [CORE / f"{s}.sv" for s in TASKS[name][1]] + list(FORMAL.glob("*_props.svh"))
    return record.digest(files, __file__)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", type=pathlib.Path, required=True)
    p.add_argument("--only", choices=sorted(TASKS))
    record.add_options(p)
    a = p.parse_args()
    out = a.build.resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = [n for n in TASKS if not a.only or n == a.only]
    begin = time.monotonic()
    # The longest ones stand last in the table and start first.
    run_now, failed = record.prove_all(list(reversed(names)), a, digest, lambda n: prove(n, out))
    print(f"{run_now} tasks run, {failed} failed, {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
