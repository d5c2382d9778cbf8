#!/usr/bin/env bash
# Both experiments on a machine with an NVIDIA GPU, PyTorch and aiohttp: benches/gpu/run.sh CHAOS [FOLDER]. About six minutes.
# With OLD=PATH a second binary judges the same servers, for a comparison.
set -uo pipefail
chaos=$(realpath "$1"); out=$(realpath "${2:-.}"); cd "$(dirname "$0")"
work=$(mktemp -d); export HOME=$work CHAOS_STATE_DIR=$work/state
nvidia-smi --query-gpu=timestamp,memory.used,memory.total,utilization.gpu,temperature.gpu --format=csv,nounits
"$chaos" doctor 2>&1 | grep -i -A2 gpu
(while sleep 1; do echo "$(date +%s.%N),$(nvidia-smi --query-gpu=memory.used,utilization.gpu,temperature.gpu --format=csv,noheader,nounits)"; done > "$out/smi.csv") & smi=$!
trap 'kill $smi' EXIT
one() { # name, binary, arguments
  echo "=== $1"
  timeout 140 "$2" run "${@:3}" --reports "$work/$1" 2>&1 | sed -n '/^$/,$p' | grep -v '^ *[0-9.]*s '
  cp "$work/$1"/*/series.csv "$out/$1.csv" 2>/dev/null
  gzip -c "$work/$1"/*/events.jsonl > "$out/$1.events.gz"
}
sed 's/server.py\]/server.py, --defect, keep]/; s/name: gpu-oom-real/name: gpu-keep-real/' oom.yaml > keep.yaml
one oom "$chaos" oom.yaml
one leak "$chaos" leak.yaml
one keep "$chaos" keep.yaml
one keep-told "$chaos" keep.yaml --set target.with.reusable=torch_reusable_bytes
sed 's/server.py\]/server.py, --streams]/; s/name: gpu-oom-real/name: gpu-streams-real/' oom.yaml > streams.yaml
one streams "$chaos" streams.yaml
if [ -n "${OLD:-}" ]; then
  sed 's/^gpu:.*//' driver.yaml > old-driver.yaml
  for name in oom leak; do sed 's#./driver.yaml#./old-driver.yaml#' $name.yaml > old-$name.yaml; one old-$name "$OLD" old-$name.yaml; rm old-$name.yaml; done
  rm old-driver.yaml
fi
rm -f keep.yaml streams.yaml
