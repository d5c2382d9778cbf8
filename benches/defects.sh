#!/usr/bin/env bash
# The verdicts of an experiment against the healthy backend and against each planted defect, as a table.
#
#   benches/defects.sh [HEALTHY_RUNS] [AT_ONCE] [FILE]
#
# Exit 0 when every healthy run passed and every defect was found by the check that should find it.
set -u
cd "$(dirname "$0")/.."
healthy=${1:-20} at_once=${2:-3} file=${3:-experiments/gpu-oom.yaml}
cargo build --release --quiet || exit 1
chaos=$PWD/target/release/chaos
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# defect and the check that names it
expected='oom-kills-queue all_jobs_complete
oom-crashes-server no_crash
oom-no-retry retried_smaller
oom-fakes-success all_jobs_complete
sheds-after-accept all_jobs_complete
accepted-then-dropped all_jobs_complete
healthy-but-dead queue_drains
ui-stuck-after-oom all_jobs_complete
vram-kept-after-oom all_jobs_complete
wedged-after-oom queue_drains
swapped-results all_jobs_complete'

one() { # name seed check
  local defect=() code
  [ "$1" = healthy ] || defect=(--defect "$1")
  "$chaos" run "$file" "${defect[@]}" --seed "$2" --reports "$out/$1-$2" --format json -q >"$out/$1-$2.json" 2>/dev/null
  code=$?
  python3 - "$out/$1-$2.json" "$1" "$2" "$3" "$code" <<'PY'
import json, sys
path, name, seed, check, code = sys.argv[1:]
checks = {c["name"]: c for c in json.load(open(path))["checks"]}
if name == "healthy":
    right = code == "0"
    said = "; ".join(f'{n}: {c["verdict"]} ({c["observed"]})' for n, c in checks.items() if c["verdict"] != "passed") or "everything passed"
else:
    right = code == "1" and checks[check]["verdict"] == "failed"
    said = f'{check}: {checks[check]["observed"]}'
print(f'| {name} | {seed} | {code} | {"right" if right else "WRONG"} | {said} |')
PY
}
export -f one; export chaos out file

{ for seed in $(seq "$healthy"); do echo "healthy $seed -"; done
  while read -r defect check; do echo "$defect 1 $check"; done <<<"$expected"; } |
  xargs -P "$at_once" -L 1 bash -c 'one "$0" "$1" "$2"' >"$out/rows"

echo "| backend | seed | exit | verdict | what was said |"
echo "| --- | --- | --- | --- | --- |"
sort -t'|' -k2,2 -k3,3n "$out/rows"
echo
echo "$(grep -c '| right |' "$out/rows") right, $(grep -c '| WRONG |' "$out/rows") wrong"
! grep -q '| WRONG |' "$out/rows" && [ -s "$out/rows" ]
