#!/usr/bin/env python3
"""Line and toggle coverage of the engine by its tests, from what Verilator counted.

usage: coverage.py FILE... [--line PERCENT] [--toggle PERCENT] [--show N]

A line or a bit counts as covered when any instance of its module reached it. Fails below the thresholds; --show lists the first N of what
was not reached, by file. A toggle is a bit that went both up and down; the ROMs' contents and what no build of this kind can move (unused
ports, constants) are not left out: the threshold says how much of that there is.
"""
import argparse
import collections
import re
import sys

FIELD = re.compile("\x01([^\x02]+)\x02([^\x01]*)")


def points(path):
    """{(kind, file, line, what): count}"""
    out = collections.Counter()
    with open(path, encoding="latin-1") as f:
        for record in f:
            m = re.match(r"C '(.*)' (\d+)$", record)
            if not m:
                continue
            fields = dict(FIELD.findall(m[1]))
            kind = fields.get("page", "").split("/")[0].removeprefix("v_")
            kind = "line" if kind == "branch" else kind
            if kind in ("line", "toggle"):
                out[kind, fields["f"].rsplit("/", 1)[-1], int(fields["l"]), fields.get("o", "") + (fields.get("n", "") if kind == "line" else "")] += int(m[2])
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("data", nargs="+")
    ap.add_argument("--line", type=float, default=0)
    ap.add_argument("--toggle", type=float, default=0)
    ap.add_argument("--show", type=int, default=0)
    a = ap.parse_args()
    found = collections.Counter()
    for path in a.data:
        for point, count in points(path).items():
            found[point] += count
    if not found:
        sys.exit("no coverage points")
    files = collections.defaultdict(lambda: {"line": [0, 0], "toggle": [0, 0]})
    for (kind, name, _, _), count in found.items():
        if name.endswith(".sv"):
            for key in (name, "all"):
                files[key][kind][0] += count > 0
                files[key][kind][1] += 1
    percent = lambda c: 100.0 * c[0] / c[1] if c[1] else 100.0
    for name in sorted(files, key=lambda n: (n == "all", n)):
        row = files[name]
        print(f"{name:22} " + "   ".join(f"{kind} {row[kind][0]:6}/{row[kind][1]:<6} {percent(row[kind]):6.2f} %" for kind in ("line", "toggle")))
    left = a.show
    for (kind, name, line, what), count in sorted(found.items(), key=lambda p: (p[0][1], p[0][0], p[0][2], p[0][3])):
        if not count and left and name.endswith(".sv"):
            left -= 1
            print(f"not reached: {kind} {name}:{line} {what}")
    bad = 0
    for kind, want in (("line", a.line), ("toggle", a.toggle)):
        if percent(files["all"][kind]) < want:
            print(f"{kind} coverage {percent(files['all'][kind]):.2f} % is below {want} %")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
