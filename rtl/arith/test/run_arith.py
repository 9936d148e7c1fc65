#!/usr/bin/env python3
"""Lints the arithmetic units, builds bench_arith for every II and tile asked for, and runs it.

usage: run_arith.py --build FOLDER [--ii 1,2,4] [--tiles 26x17x2,...] [--operations N] [--seed S]

--operations is the number of products and of sums a bench checks (both styles each); 1000000 is the full run. Exit status 0 only if lint is
clean in every configuration and every bench passed.
"""

import argparse
import pathlib
import random
import subprocess
import sys

ARITH = pathlib.Path(__file__).resolve().parents[1]
LIMIT = 1200  # seconds a command


def run(*command, show=False):
    """True when the command ended with 0. Its output is shown when wanted or when it failed."""
    p = subprocess.run(["nice", *map(str, command)], timeout=LIMIT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if show or p.returncode:
        print("+", *command)
        print(p.stdout, end="", flush=True)
    return p.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--ii", default="1,2,4")
    parser.add_argument("--tiles", default="26x17x2", help="TA x TB x K; all three families: 26x17x2,24x17x2,18x17x4")
    parser.add_argument("--operations", type=int, default=200000)
    parser.add_argument("--seed", type=lambda text: int(text, 0), default=random.SystemRandom().getrandbits(32))
    args = parser.parse_args()
    build = args.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    print(f"run_arith: seed {args.seed}")

    package = ARITH / "kf_arith_pkg.sv"
    others = sorted(set(ARITH.glob("kf_*.sv")) - {package})
    ok = True
    for style in (0, 1):
        for ii in (1, 2, 4):
            ok &= run("verilator", "--lint-only", "-Wall", "-y", ARITH, package, ARITH / "kf_mulmod.sv", "--top-module", "kf_mulmod",
                      f"-GSTYLE={style}", f"-GII={ii}")
            ok &= run("iverilog", "-g2012", "-t", "null", "-s", "kf_mulmod", f"-Pkf_mulmod.STYLE={style}", f"-Pkf_mulmod.II={ii}",
                      package, *others)
        ok &= run("verilator", "--lint-only", "-Wall", "-y", ARITH, package, ARITH / "kf_addmod.sv", "--top-module", "kf_addmod",
                  f"-GSTYLE={style}")
        ok &= run("iverilog", "-g2012", "-t", "null", "-s", "kf_addmod", f"-Pkf_addmod.STYLE={style}", package, *others)

    for ii, tile in [(ii, tile) for tile in args.tiles.split(",") for ii in args.ii.split(",")]:
        folder = build / f"ii{ii}-{tile}"
        ta, tb, k = tile.split("x")
        built = run("verilator", "-Wall", "-O3", "--cc", "--exe", "--build", "--Mdir", folder, "-CFLAGS", "-O2 -std=c++20",
                    "-LDFLAGS", "-lcrypto", "-y", ARITH, package, ARITH / "test" / "kf_arith_tb.sv", ARITH / "test" / "bench_arith.cpp",
                    "--top-module", "kf_arith_tb", f"-GII={ii}", f"-GTA={ta}", f"-GTB={tb}", f"-GK={k}", "-o", "bench_arith")
        ok &= built and run(folder / "bench_arith", "--mul", args.operations, "--add", args.operations, "--seed", args.seed, show=True)
    print("run_arith:", "ok" if ok else "FAILED")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
