#!/usr/bin/env bash
# Line and toggle coverage of the engine by its tests, with thresholds:   rtl/test/coverage.sh FOLDER
# A quarter of an hour: counting every bit makes the simulation fifty times slower.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1?usage: coverage.sh FOLDER}
"$here/build.sh" coverage "$out" 1
cd "$out"
rm -f coverage.dat.*
KF_COVERAGE_FILE=coverage.dat KF_TABLE=$PWD/table.bin ./coverage >coverage.log 2>&1 || { cat coverage.log >&2; exit 1; }
exec "${PYTHON3-python3}" -B "$here/coverage.py" coverage.dat.* --line 96 --toggle 95
