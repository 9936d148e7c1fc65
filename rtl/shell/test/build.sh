#!/bin/sh
# Builds the shell's bench with Verilator into a folder:   rtl/shell/test/build.sh FOLDER [STYLE]
set -e
root=$(cd "$(dirname "$0")/../../.." && pwd)
out=$1
[ -n "$out" ] || { echo "usage: build.sh FOLDER [STYLE]" >&2; exit 2; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
rtl="$root/rtl/shell"
nice verilator --cc --exe --build -j 2 -O3 -Wall --x-assign unique --x-initial unique --top-module kf_shell -GSTYLE="${2-0}" --Mdir "$out" \
  -CFLAGS "-std=c++20 -O1 -g1 -Wall -Wextra -I$root -fmacro-prefix-map=$root/=" -o test_shell \
  "$rtl/test/shell.vlt" "$rtl/kf_regs_pkg.sv" "$root/rtl/core/kf_sleep.sv" "$root/rtl/core/kf_hold.sv" "$root/rtl/core/kf_voted.sv" "$rtl/kf_fifo.sv" "$rtl/kf_irq.sv" "$rtl/kf_counter64.sv" "$rtl/kf_sq_dma.sv" "$rtl/kf_cq_dma.sv" \
  "$rtl/kf_axil_regs.sv" "$rtl/kf_shell.sv" "$rtl/test/bench.cpp" "$rtl/test/test_shell.cpp" > "$out/build.log" 2>&1 \
  || { cat "$out/build.log" >&2; exit 1; }
