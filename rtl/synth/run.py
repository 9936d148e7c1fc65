#!/usr/bin/env python3
"""Synthesises the core with yosys and compares with the committed table (table.json).

    run.py                              the whole table: three families, II = 1, 2, 4 (tens of minutes)
    run.py --family xcup --ii 4         one row (what ./run soak does)
    run.py --write                      puts what was found into table.json, with a hash of the sources that it was found for
    run.py --family xcup --ii 4 --fresh reads the committed row and fails where it is of other sources (what ./run test does, for II = 1 too: a
                                        second instead of ten minutes); comments and blanks do not count
    run.py --show                       prints the committed table as Markdown; rows of earlier sources are marked

Fails when: yosys reports conflicting drivers or latches, a count is below its floor (logic was lost) or, for xcup, above what the core may have, a count of the committed table has
grown by more than a tenth, or the longest carry chain exceeds 170 bits. Counts of cells are no frequency: nothing here was placed or routed.
Families: xcup (UltraScale+), xc7 (7 series), ecp5 (Lattice ECP5).
"""
import argparse
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RTL = os.path.join(HERE, "..")
sys.path.insert(0, HERE)
import carry  # noqa: E402

PACKAGES = ["arith/kf_arith_pkg.sv", "core/kf_uc.sv", "core/kf_curve.sv", "shell/kf_regs_pkg.sv"]
# The multiply-adds of the tiles into DSP48E2 blocks, which yosys does for DSP48E1 only: dsp48e2.v. Otherwise the steps of synth_xilinx.
XCUP = "synth_xilinx -family xcup -uram -flatten -top kf_synth"
DSP48E2 = (
    "techmap -map +/mul2dsp.v -map HERE/dsp48e2.v -D DSP_NAME=$__MUL27X18 -D DSP_A_MAXWIDTH=27 -D DSP_B_MAXWIDTH=18 "
    "-D DSP_A_MAXWIDTH_PARTIAL=18 -D DSP_A_MINWIDTH=2 -D DSP_B_MINWIDTH=2 -D DSP_Y_MINWIDTH=9 -D DSP_SIGNEDONLY=1; select a:mul2dsp; "
    "setattr -unset mul2dsp; opt_expr -fine; wreduce; select -clear; xilinx_dsp -family xc7; chtype -set $mul t:$__soft_mul"
)
FAMILIES = {
    "xcup": {"synth": f"{XCUP} -run begin:map_dsp; memory_dff; {DSP48E2}; {XCUP} -run coarse:; chtype -set DSP48E2 t:DSP48E1", "tile": (26, 17, 2), "ultra": True},
    "xc7": {"synth": "synth_xilinx -family xc7 -flatten -top kf_synth", "tile": (24, 17, 2), "ultra": False},
    "ecp5": {"synth": "synth_ecp5 -top kf_synth", "tile": (18, 17, 4), "ultra": False},
}
# Cells that count for each column; the number is their weight in units of the column.
COLUMNS = {
    "DSP": {r"DSP48E\d": 1, r"MULT18X18D": 1},
    "LUT": {r"LUT[1-6]": 1, r"CCU2C": 2},  # logic
    "LUT memory": {r"RAM32M": 4, r"RAM64M": 4, r"RAM32M16": 8, r"RAM64M8": 8, r"RAM\d+X1D": 2, r"SRL16E": 1, r"SRLC32E": 1, r"TRELLIS_DPR16X4": 4},
    "FF": {r"FD[RSCP]E?": 1, r"TRELLIS_FF": 1},
    "BRAM36": {r"RAMB36E\d": 1, r"RAMB18E\d": 0.5},
    "BRAM18": {r"DP16KD": 1},
    "URAM": {r"URAM288": 1},
}
FLOORS = {"DSP": 60, "LUT": 6000, "FF": 9000}
CEILINGS = {"DSP": 400, "LUT": 40000}  # of xcup, whose table is in UltraRAM
CARRY_LIMIT = 170


def columns(cells):
    out = {}
    for name, kinds in COLUMNS.items():
        n = 0
        for cell, count in cells.items():
            weight = max((w for pattern, w in kinds.items() if re.fullmatch(pattern, cell)), default=0)
            n += weight * count
        if n:
            out[name] = int(n) if n == int(n) else n
    return out


def sources():
    found = []
    for folder in ("core", "arith", "shell"):
        found += sorted(f"{folder}/{f}" for f in os.listdir(os.path.join(RTL, folder)) if f.endswith(".sv"))
    return PACKAGES + [f for f in found if f not in PACKAGES]


def digest(family, ii):
    """What a row depends on: the sources without their comments and blanks, and what yosys is told."""
    h = hashlib.sha256(json.dumps([FAMILIES[family], ii, COLUMNS, inspect.getsource(synthesise), inspect.getsource(table_ram)]).encode())
    for source in [*sources(), *(["synth/dsp48e2.v"] if "dsp48e2.v" in FAMILIES[family]["synth"] else [])]:
        text = open(os.path.join(RTL, source), encoding="ascii").read()
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
        h.update(f"{source}\n{' '.join(text.split())}\n".encode())
    return h.hexdigest()[:32]


def table_ram(source, folder, ultra):
    """The path of a source; where there is no UltraRAM, of a copy that asks for block RAM instead."""
    path = os.path.join(RTL, source)
    text = open(path, encoding="ascii").read()
    if ultra or '"ultra"' not in text:
        return path
    copy = os.path.join(folder, os.path.basename(source))
    with open(copy, "w", encoding="ascii") as f:
        f.write(text.replace('ram_style = "ultra"', 'ram_style = "block"'))
    return copy


def synthesise(family, ii, yosys, keep):
    """Cells and longest carry chain of kf_ecc_top with this II."""
    with tempfile.TemporaryDirectory() as d:
        ports = re.search(r"module kf_ecc_top.*?\) \(\n(.*?)\n\);", open(os.path.join(RTL, "core/kf_ecc_top.sv"), encoding="ascii").read(), re.S)[1]
        # Parameters through a wrapper: chparam on a top module is not to be relied on.
        wrapper = os.path.join(d, "kf_synth.sv")
        with open(wrapper, "w", encoding="ascii") as f:
            ta, tb, k = FAMILIES[family]["tile"]  # of the multiplier, for the DSP blocks of the family
            f.write(f"module kf_synth (\n{ports}\n);\n  kf_ecc_top #(.STYLE(0), .II({ii}), .TA({ta}), .TB({tb}), .K({k})) u_top (.*);\nendmodule\n")
        netlist, log = os.path.join(keep or d, f"{family}-{ii}.json"), os.path.join(keep or d, f"{family}-{ii}.log")
        files = " ".join(table_ram(f, d, FAMILIES[family]["ultra"]) for f in sources())
        # The two copies of the control are kept apart until all is mapped: no pass may find that they are equal and merge them.
        apart = "setattr -mod -unset keep_hierarchy A:keep_hierarchy; flatten"
        script = f"read_verilog -sv {files} {wrapper}; {FAMILIES[family]['synth'].replace('HERE', HERE)}; {apart}; check; stat; write_json {netlist}"
        start = time.monotonic()
        run = subprocess.run([yosys, "-q", "-l", log, "-p", script], capture_output=True, text=True)
        text = open(log, encoding="utf-8", errors="replace").read() if os.path.exists(log) else ""
        if run.returncode:
            raise RuntimeError(f"yosys failed: {run.stderr.strip()[-600:]}")
        wrong = [line for line in text.splitlines() if re.search(r"conflicting drivers|Driver-driver conflict|multiple drivers|^(Warning: )?Latch inferred", line)]
        if wrong:
            raise RuntimeError("; ".join(wrong[:5]))
        cells = {}
        _, module = carry.top_module(json.load(open(netlist, encoding="utf-8")))
        for cell in module["cells"].values():
            cells[cell["type"]] = cells.get(cell["type"], 0) + 1
        latches = sum(n for t, n in cells.items() if t in ("LDCE", "LDPE") or "LATCH" in t.upper())
        if latches:
            raise RuntimeError(f"{latches} latches")
        row = columns(cells)
        row["carry"] = max((c[0] for c in carry.chains(module)), default=0)
        row["sources"] = digest(family, ii)
        return row, time.monotonic() - start


def judge(row, old):
    bad = [f"{k} {row.get(k, 0)} is below the floor {v}" for k, v in FLOORS.items() if row.get(k, 0) < v]
    if row["carry"] > CARRY_LIMIT:
        bad.append(f"a carry chain of {row['carry']} bits; {CARRY_LIMIT} are allowed")
    bad += [f"{k} {row.get(k, 0)} is above the {v} that the core may have" for k, v in (CEILINGS if "URAM" in row else {}).items() if row.get(k, 0) > v]
    if old:
        bad += [f"{k} has grown from {old.get(k, 0)} to {v}" for k, v in row.items() if k != "sources" and v > 1.1 * old.get(k, 0) + 1]
    return bad


def markdown(table):
    head = ["family", "II", "DSP", "LUT", "LUT memory", "FF", "BRAM36", "BRAM18", "URAM", "carry"]
    out = ["| " + " | ".join(head) + " |", "|---|--:|" + "--:|" * (len(head) - 2)]
    for family in FAMILIES:
        for ii in (1, 2, 4):
            row = table.get(f"{family} II={ii}")
            if row:
                mark = "" if row.get("sources") == digest(family, ii) else " (earlier sources)"
                out.append(f"| {family}{mark} | {ii} | " + " | ".join(str(row.get(k, "")) for k in head[2:]) + " |")
    return "\n".join(out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--family", choices=list(FAMILIES), action="append")
    ap.add_argument("--ii", type=int, choices=(1, 2, 4), action="append")
    ap.add_argument("--write", action="store_true")
    ap.add_argument("--show", action="store_true")
    ap.add_argument("--fresh", action="store_true", help="synthesise nothing: are the committed rows of these sources?")
    ap.add_argument("--keep", metavar="DIR", help="leave netlists and logs there")
    ap.add_argument("--yosys", default="yosys")
    a = ap.parse_args()
    if a.show and (a.family or a.ii or a.fresh or a.write or a.keep):
        ap.error("--show prints the whole committed table; nothing goes with it")
    if a.fresh and (a.write or a.keep):
        ap.error("--fresh synthesises nothing: neither --write nor --keep goes with it")
    path = os.path.join(HERE, "table.json")
    table = json.load(open(path, encoding="ascii")) if os.path.exists(path) else {}
    if a.show:
        print(markdown(table))
        return 0
    if a.keep:
        os.makedirs(a.keep, exist_ok=True)
    bad = 0
    for family in a.family or FAMILIES:
        for ii in a.ii or (1, 2, 4):
            key = f"{family} II={ii}"
            if a.fresh:
                row = table.get(key, {})
                findings = judge(row, None) if row else ["no such row is committed"]
                if row and row.get("sources") != digest(family, ii):
                    findings = [f"the committed row is of other sources: run.py --family {family} --ii {ii} --write"]
                print(f"{key}: {row}" + "".join(f"\n  {x}" for x in findings))
                bad += len(findings)
                continue
            print(f"{key}: synthesising", flush=True)
            try:
                row, seconds = synthesise(family, ii, a.yosys, a.keep)
            except RuntimeError as e:
                print(f"{key}: {e}")
                bad += 1
                continue
            findings = judge(row, None if a.write else table.get(key))
            print(f"{key}: {row} in {seconds:.0f} s" + "".join(f"\n  {x}" for x in findings), flush=True)
            bad += len(findings)
            table[key] = row
            if a.write:  # after each row: it takes long
                with open(path, "w", encoding="ascii") as f:
                    json.dump(dict(sorted(table.items())), f, indent=1)
                    f.write("\n")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as e:  # a file or a program that is not there
        sys.exit(f"{e.filename}: {e.strerror}")
