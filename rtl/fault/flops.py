#!/usr/bin/env python3
"""Says which signals of a design are flops or memories, for Verilator: these can then be reached by their name, and the rest stays as fast as ever.

    flops.py --out FILE.vlt -- VERILATOR ARGUMENTS    as for the model itself: sources, top module, parameters

What is assigned by <= is a flop or memory, and so is an array that an initial block fills (a ROM). Verilator's own picture of the design (--xml-only)
says which these are; a name counts in all modules, so a wire that shares it can be reached as well (targets.hpp tells them apart).
"""
import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree
from pathlib import Path


def base(lhs):
    """The variable of what stands on the left: x of x[i][7:0], both of {x, y}."""
    if lhs.tag == "varref":
        return {lhs.get("name")}
    if lhs.tag == "concat":
        return set().union(*(base(part) for part in lhs))
    return base(list(lhs)[0])


def flops(design):
    names = set()
    for a in design.iter("assigndly"):
        names |= base(list(a)[-1])
    arrays = {t.get("id") for t in design.iter("unpackarraydtype")}
    variables = {(m.get("name"), v.get("name")): v.get("dtype_id") for m in design.iter("module") for v in m.iter("var")}
    for m in design.iter("module"):
        for block in m.iter("initial"):
            for a in block.iter("assign"):
                names |= {n for n in base(list(a)[-1]) if variables.get((m.get("name"), n)) in arrays}
    return names


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True, help="the configuration file that is written")
    ap.add_argument("verilator", nargs="+", help="the call of Verilator for the model, without what says where it goes")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory() as d:
        done = subprocess.run([*args.verilator, "--xml-only", "--xml-output", f"{d}/design.xml", "-Mdir", d], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"flops.py: {done.stderr}")
        names = flops(tree.parse(f"{d}/design.xml").getroot())
    if not names:
        sys.exit("flops.py: the design has no flop")
    Path(args.out).write_text("`verilator_config\n" + "".join(f'public_flat_rw -module "*" -var "{n}"\n' for n in sorted(names)))


if __name__ == "__main__":
    main()
