#!/usr/bin/env bash
# Lint of the core: verilator -Wall on both tops under every style, II and build; Icarus as a second opinion. Exit status 0: clean.
set -euo pipefail
if [ $# -ne 0 ]; then
  echo "usage: run.sh   (no arguments) lints the core with verilator -Wall and Icarus; prints 'clean' and ends with 0, or what it found" >&2
  [ "$1" = --help ] && exit 0
  exit 2
fi
rtl=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=("$rtl/arith/kf_arith_pkg.sv" "$rtl/core/kf_uc.sv" "$rtl/core/kf_curve.sv" "$rtl/shell/kf_regs_pkg.sv")
files=("${packages[@]}")
for f in "$rtl"/core/*.sv "$rtl"/arith/*.sv "$rtl"/shell/*.sv; do
  [[ " ${packages[*]} " == *" $f "* ]] || files+=("$f")
done
engine=()
for f in "${files[@]}"; do case $f in */shell/* | */kf_ecc_top.sv) ;; *) engine+=("$f") ;; esac; done
bad=0 runs=0
for style in 0 1; do
  for ii in 1 2 4; do
    for test in 0 1; do
      runs=$((runs + 2))
      verilator --lint-only -Wall -GSTYLE=$style -GII=$ii "-GTEST_IMPORT=1'b$test" --top-module kf_ecc_top "$rtl/lint/waivers.vlt" "${files[@]}" || bad=1
      verilator --lint-only -Wall -GSTYLE=$style -GII=$ii "-GTEST_IMPORT=1'b$test" --top-module kf_engine "$rtl/lint/waivers.vlt" "${engine[@]}" || bad=1
    done
  done
done
# "sorry" and "no sensitivities" are Icarus's own limits, not findings.
said=$(iverilog -g2012 -t null -s kf_ecc_top "${files[@]}" 2>&1) || { bad=1; printf '%s\n' "$said"; }
printf '%s\n' "$said" | grep -vE 'sorry: constant selects|has no sensitivities|^$' && bad=1
# Every source opens with a comment and switches implicit nets off.
for f in "${files[@]}"; do
  head -1 "$f" | grep -q '^//' || { echo "$f: no header comment"; bad=1; }
  grep -q '^`default_nettype none' "$f" || { echo "$f: implicit nets"; bad=1; }
done
[ $bad -eq 0 ] && echo "clean: $runs parameter sets under Verilator, Icarus compiles"
exit $bad
