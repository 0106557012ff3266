# shellcheck shell=sh
# Runs one program for a test and never outlives that test.
# Usage: sh -c <this> okra-supervise LOG CLEAN PROGRAM [ARGUMENT...]
#
# The test holds the other end of standard input. A line on it is a signal to pass on; its end means that
# the test is gone, however it died: the program is killed then, and CLEAN (a folder, or nothing) removed.
# First line of output: the program's process id. Exit code: the program's own, 128 + N for signal N.
exec 3<&0
log=$1 clean=$2
shift 2
"$@" </dev/null 3<&- >>"$log" 2>&1 &
child=$!
echo "$child"
exec >&-
{
  while read -r signal <&3; do kill -s "$signal" "$child" 2>/dev/null; done
  # From here on the supervisor must not be stopped by its parent, which ends as soon as the program is dead.
  trap '' TERM
  kill -s KILL "$child" 2>/dev/null
  tries=0
  while kill -0 "$child" 2>/dev/null && [ "$tries" -lt 250 ]; do
    tries=$((tries + 1))
    sleep 0.02
  done
  if [ -n "$clean" ]; then rm -rf -- "$clean"; fi
} &
reader=$!
exec 3<&-
wait "$child"
code=$?
kill -s TERM "$reader" 2>/dev/null
exit "$code"
