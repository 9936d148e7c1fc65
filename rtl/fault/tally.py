#!/usr/bin/env python3
"""Adds up campaigns of the same sources, however long they take and wherever they run: tally.json, committed.

    tally.py                                      what has been flipped of the present sources
    tally.py --run FOLDER --hours 2 [--jobs 2]    flips on, in slices of 1000 of each program with seeds of their own, and adds each to tally.json

FOLDER: where the campaign is built first, of the present sources (a minute). A million flips take some nine hours of a processor, six with
CXX=clang++-16 CXXFLAGS=-march=native; a stop loses a slice at most. What stands under other sources than the present ones (or another judge) counts for nothing and is dropped by the next slice. Exit
status 1 when a flip did harm.
"""
import argparse
import collections
import hashlib
import json
import pathlib
import random
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
RTL = HERE.parent
FILE = HERE / "tally.json"
HARM = ("hang", "wrong", "forged", "leak")
LINE = re.compile(r"^(generate|ecka|sign|verify|check) +(\d+) flips in \d+ cycles: (.*) \(0 in signals known to be open\)$", re.M)


def digest():
    """Of the design and of the judge, without comments and blanks."""
    h = hashlib.sha256()
    judge = [HERE / "campaign.cpp", HERE / "batches.hpp", HERE / "targets.hpp", RTL / "test/engine.hpp", RTL / "test/curve.hpp"]
    for file in [*sorted((RTL / "arith").glob("*.sv")), *sorted((RTL / "core").glob("*.sv")), *judge]:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", file.read_text(encoding="utf-8"), flags=re.S)
        h.update(f"{file.name}\n{' '.join(text.split())}\n".encode())
    return h.hexdigest()[:32]


def load(sources):
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found if found.get("sources") == sources else {"sources": sources, "slices": []}


def show(tally):
    total = collections.defaultdict(collections.Counter)
    for piece in tally["slices"]:
        total[f"{piece['program']}, curve {piece['curve']}"].update({"flips": piece["flips"], **piece["outcomes"]})
    for name, counts in total.items():
        outcomes = ", ".join(f"{n} {what}" for what, n in counts.items() if what != "flips")
        print(f"{name}: {counts['flips']} flips: {outcomes}")
    if not total:
        print("nothing yet of these sources")


def run(folder, hours, jobs, curve, tally):
    end = time.monotonic() + 3600 * hours
    harm = 0
    while time.monotonic() < end:
        seed = random.SystemRandom().randrange(1 << 32)
        command = [folder / "fault", "--table", folder / "table.bin", "--count", "1000", "--seed", str(seed), "--curve", str(curve), "--jobs", str(jobs), "--events"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = LINE.findall(done.stdout)
        if done.returncode not in (0, 1) or len(found) != 5:
            sys.exit(f"the campaign ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        if done.returncode:
            print(f"seed {seed}:\n{done.stdout}", flush=True)
            harm = 1
        for program, flips, outcomes in found:
            counts = {what: int(n) for n, what in re.findall(r"(\d+) ([a-z ]+?)(?:,|$)", outcomes)}
            tally["slices"].append({"program": program, "curve": curve, "seed": seed, "flips": int(flips), "outcomes": counts})
        part = FILE.with_suffix(".part")
        part.write_text(json.dumps(tally, indent=None).replace('{"program"', '\n {"program"') + "\n", encoding="utf-8")
        part.replace(FILE)
        print(f"{sum(p['flips'] for p in tally['slices'])} flips", file=sys.stderr, flush=True)
    return harm


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=pathlib.Path, metavar="FOLDER")
    p.add_argument("--hours", type=float)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--curve", type=int, choices=(0, 1), help="with --run: 0 (P-256, if nothing is said) or 1 (brainpoolP256r1)")
    a = p.parse_args()
    if a.curve is not None and a.run is None:
        p.error("--curve: with --run FOLDER; all that was flipped is shown")
    if a.jobs < 1:
        p.error("--jobs: at least 1")
    if a.hours is not None and (a.run is None or a.hours <= 0):
        p.error("--hours: a number above 0, with --run FOLDER")
    tally = load(digest())
    harm = 0
    if a.run:
        try:
            # Never one that was built before: its flips would count for sources that it does not have.
            subprocess.run([RTL / "test/build.sh", "fault", a.run, "4"], check=True)
            harm = run(a.run.resolve(), a.hours or 1.0, a.jobs, a.curve or 0, tally)
        except subprocess.CalledProcessError:
            sys.exit(f"the campaign does not build in {a.run}")
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            harm = 130
    show(tally)
    return harm or any(piece["outcomes"].get(h, 0) for h in HARM for piece in tally["slices"])


if __name__ == "__main__":
    sys.exit(main())
