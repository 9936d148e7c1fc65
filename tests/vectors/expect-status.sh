#!/bin/sh
# expect-status.sh STATUS COMMAND...: succeeds when COMMAND ends with exactly that status.
want=$1
shift
"$@"
got=$?
[ "$got" -eq "$want" ] || { echo "exit status $got, expected $want" >&2; exit 1; }
