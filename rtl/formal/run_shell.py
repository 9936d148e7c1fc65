#!/usr/bin/env python3
"""Proves the properties of the shell with yosys and yosys-smtbmc (z3).   run_shell.py --build FOLDER [--only NAME]

For each module: bounded check from reset, induction (so the properties hold for ever), and cover statements, which show that the states
the properties speak about can be reached. Exit status 0 only if all of that succeeds; a time limit reached is a failure.
Data widths stay, depths and index widths are small: nothing in the modules depends on them but sizes.
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
SHELL = ROOT / "rtl" / "shell"
LIMIT = 300  # seconds a solver run

ABSTRACT = "../formal/kf_fifo_abstract"  # see there
VOTED = ["../core/kf_hold", "../core/kf_voted"]

# name: top, sources, parameters, (input, its width: shows that the parameters took hold), extra yosys commands, defines,
#       steps checked from reset, steps of induction, steps to cover within
TASKS = {
    "fifo": ("kf_fifo", ["kf_fifo"], {"W": 4, "LOG2_DEPTH": 2}, ("s_data", 4), "", "assume", 10, 3, 20),
    "irq": ("kf_irq", ["kf_irq"], {}, ("completions_i", 16), "", "assume", 12, 3, 12),
    "sq": ("kf_sq_dma", [ABSTRACT, *VOTED, "kf_sq_dma"], {"IDX_W": 4, "MAX_LOG2": 2, "LOG2_AHEAD": 1}, ("doorbell_value_i", 4), "",
           "assume", 10, 4, 40),
    "cq": ("kf_cq_dma", [ABSTRACT, *VOTED, "kf_cq_dma"], {"IDX_W": 4, "MAX_LOG2": 1, "LOG2_HELD": 1, "LOG2_UNDERWAY": 1},
           ("consume_value_i", 4), "", "assume", 8, 3, 45),
    # The counters become arbitrary numbers.
    "registers": ("kf_axil_regs", [*VOTED, "kf_irq", "kf_counter64", "kf_axil_regs"], {}, ("s_axil_wdata", 32),
                  "delete t:kf_counter64", "assume", 5, 4, 50),
    "shell": ("kf_shell", [ABSTRACT, "../formal/kf_axil_regs_abstract", "../core/kf_sleep", *VOTED, "kf_sq_dma", "kf_cq_dma", "kf_shell"],
              {"MAX_LOG2": 2, "LOG2_AHEAD": 1, "IDX_W": 5}, ("s_axil_wdata", 32), "",
              "assert", 4, 2, 60),
}


def run(command, log):
    begin = time.monotonic()
    try:
        p = subprocess.run(["nice"] + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False)
        text, code = p.stdout, p.returncode
    except subprocess.TimeoutExpired as e:
        text, code = (e.stdout or b"").decode() + f"\ntime limit of {LIMIT} s reached\n", 1
    log.write_text(text)
    return code, text, time.monotonic() - begin


def prepare(name, out):
    top, sources, params, (port, width), extra, given, *_ = TASKS[name]
    files = " ".join(str(SHELL / f"{s}.sv") for s in ["kf_regs_pkg"] + sources)
    script = [f"read_verilog -sv -formal -DKF_GIVEN={given} -DKF_TASK_{name.upper()} -I{ROOT / 'rtl' / 'formal'} {files}"]
    if params:  # all at once: one by one the module would be built with a mixture of old and new
        script.append("chparam " + " ".join(f"-set {k} {v}" for k, v in params.items()) + f" {top}")
    script += [f"hierarchy -check -top {top}", "proc", "check -assert", *extra.splitlines(), "flatten"]
    script += ["setundef -undriven -anyseq", "opt_clean", "memory -nordff -nomap", "opt -fast", "async2sync", "dffunmap",
               f"write_smt2 -wires {out / name}.smt2"]
    (out / f"{name}.ys").write_text("\n".join(script) + "\n")
    code, text, _ = run(["yosys", "-q", str(out / f"{name}.ys")], out / f"{name}.yosys.log")
    if code:
        return text
    smt = (out / f"{name}.smt2").read_text()
    if not re.search(rf"yosys-smt2-input {port} {width}\n", smt):
        return f"{port} is not {width} bits wide: the parameters were lost"
    return ""


def prove(name, out):
    """All of one task; returns the lines to print and how many failed."""
    *_, depth, k, within = TASKS[name]
    why = prepare(name, out)
    if why:
        return [f"FAILED {name}: {why[-2000:]}"], 1
    smt = out / f"{name}.smt2"
    text = smt.read_text()
    asserts, covers = len(re.findall(r"yosys-smt2-assert ", text)), len(re.findall(r"yosys-smt2-cover ", text))
    lines, failed = [], 0
    for kind, options in (("from reset", ["-t", str(depth)]), ("induction", ["-i", "-t", str(k)]), ("cover", ["-c", "-t", str(within)])):
        command = ["yosys-smtbmc", "-s", "z3", "--unroll", "--noprogress", *options, str(smt)]
        code, text, spent = run(command, out / f"{name}.{kind.split()[0]}.log")
        ok = code == 0 and "Status: PASSED" in text and (covers if kind == "cover" else asserts) > 0
        if kind == "cover":
            ok = ok and text.count("Reached cover statement") == covers
        lines.append(f"{'ok    ' if ok else 'FAILED'} {name}: {kind}, {covers if kind == 'cover' else asserts} properties, {spent:.1f} s")
        if not ok:
            failed += 1
            lines += [f"    {line}" for line in text.splitlines()[-12:]]
    return lines, failed


def digest(name):
    files = [SHELL / f"{s}.sv" for s in ["kf_regs_pkg", *TASKS[name][1]]] + list((ROOT / "rtl" / "formal").glob("*_props.svh"))
    return record.digest(files, __file__)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", type=pathlib.Path, required=True)
    p.add_argument("--only")
    record.add_options(p)
    a = p.parse_args()
    a.build.mkdir(parents=True, exist_ok=True)
    names = [n for n in TASKS if not a.only or n == a.only]
    if not names:
        p.error(f"no task {a.only}")
    begin = time.monotonic()
    # The longest ones stand last in the table and start first.
    run_now, failed = record.prove_all(list(reversed(names)), a, digest, lambda n: prove(n, a.build))
    print(f"{run_now} modules run, {failed} failed, {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
