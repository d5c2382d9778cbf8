#!/usr/bin/env bash
# Every reader of what comes from outside under libFuzzer, each for so many seconds:
#
#   fuzz/run.sh [SECONDS] [READER...]
#
# Needs `cargo install cargo-fuzz`. No sanitizer: the code is safe Rust, and so any toolchain does. What crashes a reader lies in
# fuzz/artifacts/reader; fuzz/corpus/NAME takes it in once it is mended, so that `cargo test` reads it ever after.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
readers=("$@")
[ ${#readers[@]} -gt 0 ] || mapfile -t readers < <(sed -n 's/^    ("\([a-z-]*\)", .*),$/\1/p' src/readers.rs)
failed=0
cargo fuzz build --sanitizer none reader
for reader in "${readers[@]}"; do
  found=$(mktemp -d)
  seeds=("fuzz/corpus/$reader")
  [ "$reader" = experiment ] && seeds+=(experiments)
  [ "$reader" = schedule ] && seeds=(experiments/schedule)
  [ "$reader" = driver ] && seeds+=(src/driver/built_in)
  echo "== $reader"
  log=$found.log
  CHAOS_READER=$reader cargo fuzz run --sanitizer none reader "$found" "${seeds[@]}" -- \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 >"$log" 2>&1 || failed=1
  grep -E "stat::number_of_executed|cov: .*DONE|ERROR|panicked|SUMMARY" "$log" || true
  rm -rf "$found" "$log"
done
exit "$failed"
