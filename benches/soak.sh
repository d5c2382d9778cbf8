#!/usr/bin/env bash
# The plan's hour of load in real time (an hour and five minutes; up to two where `longer` is needed), and what chaos itself took
# meanwhile: benches/soak.sh [FOLDER OF REPORTS]. CHAOS is the binary, target/release/chaos where it is not set.
set -euo pipefail
cd "$(dirname "$0")/.."
chaos=${CHAOS:-target/release/chaos}
reports=${1:-$(mktemp -d)}
"$chaos" run experiments/sustained.yaml --time-scale 1 --reports "$reports" & run=$!
code=0
highest=0
while kill -0 "$run" 2>/dev/null; do
  now=$(awk '/VmHWM/ { print $2 }' "/proc/$run/status" 2>/dev/null || echo 0)
  [ "${now:-0}" -le "$highest" ] || highest=$now
  sleep 5
done
wait "$run" || code=$?
echo "chaos itself: at most $((highest / 1024)) MiB; journal: $(du -ch "$reports"/*/events.jsonl | tail -1 | cut -f1)"
exit "$code"
