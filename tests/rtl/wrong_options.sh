#!/usr/bin/env bash
# Each of these must end with exit status 2 and name what is wrong. Runs in the folder where the benches were built.
set -u
bad=0
refused() {
  local said status
  said=$("$@" 2>&1)
  status=$?
  if [ $status -ne 2 ] || [ -z "$said" ]; then
    printf '%s: exit status %s, said: %s\n' "$*" $status "$said"
    bad=1
  fi
}
refused tiny1/tiny
refused tiny1/tiny curves.txt table.bin one
refused tiny1/tiny curves.txt table.bin 1 0
refused tiny1/tiny curves.txt table.bin 1 16 more
refused fault4/fault --count many
refused fault4/fault --count 0
refused fault4/fault --count
refused fault4/fault --seed 1x
refused fault4/fault --curve 2
refused fault4/fault --target '('
refused fault4/fault --what
refused shell/test_shell --rounds 0
refused shell/test_shell --seed
refused shell/test_shell --seed -1
refused shell/test_shell --onyl mixture
refused shell/test_shell --only mixtrue
refused fault4/fault --table nowhere
refused fault4/fault --table fault4/table.bin --from 5000 --to 100
exit $bad
