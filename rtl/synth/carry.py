#!/usr/bin/env python3
"""Longest carry chain of a netlist that yosys wrote as JSON (write_json after synth_xilinx or synth_ecp5).

usage: carry.py NETLIST.json [--top NAME] [--limit BITS] [--list N]

A chain is a run of CARRY4 / CARRY8 (CO -> CI) or CCU2C (COUT -> CIN) cells. Its length is counted in bits, up to the last bit whose sum or
carry somebody reads. Hierarchy is not followed: flatten before. Exit status 1 when a chain is longer than --limit.
"""

import argparse
import collections
import json
import sys

# cell type -> bits, output that continues a chain and its index, input that continues one, outputs by bit
KINDS = {
    "CARRY4": (4, ("CO", 3), "CI", [[("O", i), ("CO", i)] for i in range(4)]),
    "CARRY8": (8, ("CO", 7), "CI", [[("O", i), ("CO", i)] for i in range(8)]),
    "CCU2C": (2, ("COUT", 0), "CIN", [[("S0", 0)], [("S1", 0), ("COUT", 0)]]),
}


def chains(module):
    """[(bits, cells, name of the first cell), ...], longest first."""
    cells = module["cells"]
    loads = collections.Counter()
    for port in module["ports"].values():
        if port["direction"] != "input":
            loads.update(bit for bit in port["bits"] if isinstance(bit, int))
    carries = {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                loads.update(bit for bit in bits if isinstance(bit, int))
        if cell["type"] in KINDS:
            carries[name] = cell

    def bit(cell, port, index=0):
        bits = cell["connections"].get(port, [])
        return bits[index] if index < len(bits) and isinstance(bits[index], int) else None

    by_input = {}
    for name, cell in carries.items():
        wire = bit(cell, KINDS[cell["type"]][2])
        if wire is not None:
            by_input.setdefault(wire, []).append(name)
    following = {}
    for name, cell in carries.items():
        port, index = KINDS[cell["type"]][1]
        following[name] = by_input.get(bit(cell, port, index), [])
    heads = set(carries) - {later for laters in following.values() for later in laters}

    def used(cell):
        """Bits of the last cell of a chain that somebody reads."""
        outputs = KINDS[cell["type"]][3]
        return max((i + 1 for i, ports in enumerate(outputs) if any(loads[bit(cell, *port)] for port in ports)), default=0)

    found = []
    seen = set()
    for head in heads:
        stack = [(head, 0, 1)]
        while stack:
            name, before, count = stack.pop()
            seen.add(name)
            if following[name]:
                stack += [(later, before + KINDS[carries[name]["type"]][0], count + 1) for later in following[name]]
            else:
                found.append((before + used(carries[name]), count, head))
    if seen != set(carries):
        sys.exit("carry.py: a carry chain closes on itself")
    return sorted(found, reverse=True)


def top_module(design, name=None):
    modules = design["modules"]
    if name:
        return name, modules[name]
    tops = [m for m, body in modules.items() if int(body["attributes"].get("top", "0"), 2)]
    if len(tops) != 1:
        sys.exit("carry.py: name the module with --top")
    return tops[0], modules[tops[0]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("netlist")
    parser.add_argument("--top")
    parser.add_argument("--limit", type=int, help="fail when a chain has more bits")
    parser.add_argument("--list", type=int, default=5, help="chains to show")
    args = parser.parse_args()
    with open(args.netlist) as file:
        name, module = top_module(json.load(file), args.top)
    found = chains(module)
    longest = found[0][0] if found else 0
    print(f"{name}: {len(found)} carry chains, longest {longest} bits")
    for bits, count, head in found[: args.list]:
        print(f"  {bits:4d} bits, {count} cells, from {head}")
    if args.limit is not None and longest > args.limit:
        print(f"longer than the limit of {args.limit} bits")
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as e:  # a file or a program that is not there
        sys.exit(f"{e.filename}: {e.strerror}")
