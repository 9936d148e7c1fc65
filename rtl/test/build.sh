#!/usr/bin/env bash
# Builds a bench of the engine with Verilator:   rtl/test/build.sh KIND FOLDER [II]
#   bench     random jobs against OpenSSL, speed        test      what the engine promises (public signals)
#   tiny      two curves over 8-bit primes              coverage  the tests, counting lines and toggles
#   pipelined like bench, with the pipelined multiplier
#   fault     the fault campaign (rtl/fault): every flop and memory can be reached by its name, nothing sleeps
#   leak      the leakage assessment (rtl/leak), synthesised style
#   entropy   kf_entropy alone: words against OpenSSL, alarms, flips
# CXX, CXXFLAGS and JOBS from the environment count: CXX=clang++-16 CXXFLAGS=-march=native simulates a third faster than the default.
set -euo pipefail
rtl=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kind=${1-} out=${2-} ii=${3-1}
case $kind in bench | test | tiny | coverage | pipelined | fault | leak | entropy) ;; *) echo "usage: build.sh bench|test|tiny|coverage|pipelined|fault|leak|entropy FOLDER [II]" >&2; exit 2 ;; esac
[ -n "$out" ] || { echo "build.sh: in which folder?" >&2; exit 2; }
case $ii in 1 | 2 | 4) ;; *) echo "build.sh: II is 1, 2 or 4, not '$ii'" >&2; exit 2 ;; esac
mkdir -p "$out"
out=$(cd "$out" && pwd)

python3=${PYTHON3-python3} roms=$rtl/core
if [ "$kind" = tiny ]; then
  "$python3" -B "$rtl/microcode/gen.py" --out "$out" --tiny 8 --table "$out/table.bin"
  roms=$out
else
  "$python3" -B "$rtl/microcode/gen.py" --table "$out/table.bin"
fi
generated=(kf_curve.sv kf_ucode_rom.sv kf_const_rom.sv kf_expo_rom.sv)
top=kf_engine
files=("$rtl/arith/kf_arith_pkg.sv" "$rtl/core/kf_uc.sv")
for f in "${generated[@]}"; do files+=("$roms/$f"); done
for f in "$rtl"/core/*.sv "$rtl"/arith/*.sv; do
  case ${f##*/} in kf_arith_pkg.sv | kf_uc.sv | kf_ecc_top.sv | kf_curve.sv | kf_ucode_rom.sv | kf_const_rom.sv | kf_expo_rom.sv) ;; *) files+=("$f") ;; esac
done

if [ "$kind" = entropy ]; then
  top=kf_entropy files=()
  for f in kf_sbox kf_aes kf_drbg_seq kf_drbg kf_health kf_entropy; do files+=("$rtl/core/$f.sv"); done
fi

log2=$((ii == 4 ? 2 : ii - 1))
options=(--cc --exe -O3 --x-assign fast --x-initial fast --noassert --top-module $top -Mdir "$out")
cflags="-std=c++20 -I$rtl/test -DKF_II=$ii -DKF_LOG_II=$log2" libs=-lcrypto style=1 opt=-O3
# Tests reseed often and wait for a dry source less long than a product.
few="-GLOG2_RESEED=4 -GLOG2_STARVE=13"
case $kind in
  bench) main=bench_engine.cpp ;;
  pipelined) main=bench_engine.cpp; style=0 ;;
  tiny) main=test_tiny.cpp; options+=("-GSELF_TEST=1'b0") ;;
  test) options+=($few); main=test_engine.cpp; libs="$libs -lgtest -lgtest_main -lpthread"; opt=-O2 ;;
  coverage)
    main=test_engine.cpp libs="$libs -lgtest -lgtest_main -lpthread" opt=-O1 cflags="$cflags -DKF_COVERAGE"
    options+=(--coverage-line --coverage-toggle $few)
    ;;
  leak) main=../leak/tvla.cpp; style=0; options+=(--vpi "-GSLEEP=0") ;;
  fault) main=../fault/campaign.cpp; options+=(--vpi "-GSLEEP=0" $few) ;;
  entropy)
    main=test_entropy.cpp libs="$libs -lgtest -lgtest_main -lpthread" opt=-O2
    answer=$(sed -n "s/.*KNOWN_ANSWER = 128'h\([0-9a-f]*\).*/\1/p" "$rtl/core/kf_entropy.sv")
    cflags="$cflags -DKF_KNOWN_ANSWER=$answer"
    options+=(--vpi -GLOG2_RESEED=3 -GLOG2_STARVE=10)
    ;;
esac
[ $top = kf_entropy ] || options+=(-GSTYLE=$style -GII="$ii" "-GTEST_IMPORT=1'b1")
if [ "$main" = test_engine.cpp ]; then options+=("$rtl/test/engine.vlt"); fi
if [[ " ${options[*]} " == *" --vpi "* ]]; then # flops and memories by name
  parameters=()
  for o in "${options[@]}"; do case $o in -G*) parameters+=("$o") ;; esac; done
  "$python3" -B "$rtl/fault/flops.py" --out "$out/flops.vlt" -- verilator --top-module $top "${parameters[@]}" "${files[@]}"
  options+=("$out/flops.vlt")
fi
if command -v ccache >/dev/null; then export OBJCACHE=${OBJCACHE-ccache}; fi
run() { "$@" >>"$out/build.log" 2>&1 || { cat "$out/build.log" >&2; exit 1; }; }
: >"$out/build.log"
run verilator "${options[@]}" -CFLAGS "$cflags" -LDFLAGS "$libs" -o "$kind" "${files[@]}" "$rtl/test/$main"
# Verilator sets the wide temporaries of its functions to zero in every cycle, though each is written before it is read: a fifth of the speed.
run sed -i -E 's/^    VL_ZERO_W\([0-9]+, __V(func|dly)[A-Za-z0-9_]*\);$//' "$out"/V${top}___024root__DepSet_*.cpp
if [[ " ${options[*]} " == *" --vpi "* ]] && [ $top = kf_engine ]; then # evaluated.hpp says why
  inputs=$(grep -c 'VL_IN.*(' "$out/V${top}___024root.h" || true)
  [ "$inputs" = 16 ] || { echo "build.sh: the engine has $inputs inputs; Engine::inputs_changed (engine.hpp) compares 16" >&2; exit 1; }
  run sed -i -E 's/(vlSelf->__VicoTriggered\.at\(0U\) = \(0U == vlSelf->__VicoIterCount\));/\1 \&\& kf::rtl::changed_outside;/' "$out"/V${top}___024root__DepSet_*.cpp
  grep -q 'kf::rtl::changed_outside' "$out"/V${top}___024root__DepSet_*.cpp || { echo "build.sh: this Verilator writes another evaluation than the one known here" >&2; exit 1; }
  opt="$opt -include $rtl/test/evaluated.hpp"
fi
# Verilator's makefile says -Os, which costs a third.
run make -C "$out" -f V$top.mk -j "${JOBS-1}" ${CXX:+CXX="$CXX" LINK="$CXX"} OPT_FAST="$opt" OPT_GLOBAL="$opt" "$kind"
