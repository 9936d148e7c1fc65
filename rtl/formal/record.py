"""What was proven, of which sources: proven.json, committed. A proof of the same circuit by the same tools comes out the same, and takes minutes.

A task's digest covers its sources without comments and blanks, the properties, the script that proves it and the version of yosys. Whoever changes
any of these has the proof run by the tests, and writes the record anew with --record when it has come out.
"""
import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess

FILE = pathlib.Path(__file__).with_name("proven.json")


def at_least_one(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': a whole number, at least 1")
    return int(text)


def add_options(parser):
    parser.add_argument("--jobs", type=at_least_one, default=2)
    parser.add_argument("--changed-only", action="store_true", help="leave out what proven.json says was proven of the same sources (what ./run test does)")
    parser.add_argument("--record", action="store_true", help="write into proven.json what comes out well")


def digest(files, script):
    """Of a task: its files, and the script, whose every byte counts."""
    version = subprocess.run(["yosys", "-V"], capture_output=True, text=True, check=True).stdout
    h = hashlib.sha256(f"{version}\n{pathlib.Path(script).read_text()}".encode())
    for file in sorted(map(pathlib.Path, files)):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", file.read_text(), flags=re.S)
        h.update(f"{file.name}\n{' '.join(text.split())}\n".encode())
    return h.hexdigest()[:32]


def stands(name, of):
    """The lines that were printed when it was proven; None: never, or of other sources."""
    entry = json.loads(FILE.read_text()).get(name) if FILE.exists() else None
    return entry["lines"] if entry and entry["digest"] == of else None


def prove_all(names, args, digest_of, prove):
    """Proves what `args` do not leave out, args.jobs at a time; prints the lines of each task. Returns (tasks run, how many proofs failed)."""
    run = []
    for name in names:
        lines = stands(name, digest_of(name)) if args.changed_only else None
        if lines:
            print("\n".join([*lines, f"       {name}: by {FILE.name}, of the same sources"]))
        else:
            run.append(name)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        under_way = {pool.submit(prove, name): name for name in run}
        for done in concurrent.futures.as_completed(under_way):
            name = under_way[done]
            lines, bad = done.result()
            print("\n".join(lines), flush=True)
            failed += bad
            if args.record and not bad:
                write(name, digest_of(name), lines)
    return len(run), failed


def write(name, of, lines):
    everything = json.loads(FILE.read_text()) if FILE.exists() else {}
    everything[name] = {"digest": of, "lines": [re.sub(r", [0-9.]+ s$", "", line) for line in lines]}
    FILE.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
