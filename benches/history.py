#!/usr/bin/env python3
"""How long `chaos list` and `chaos trend` take with 10,000 runs in the history.

    cargo build --release && benches/history.py

The promise is 100 ms. `chaos --version` is measured beside them: what the process itself costs.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

RUNS = 10_000
EXPERIMENTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chaos", default="target/release/chaos")
    parser.add_argument("--times", type=int, default=21)
    args = parser.parse_args()
    chaos = str(pathlib.Path(args.chaos).resolve())
    with tempfile.TemporaryDirectory() as folder:
        reports = pathlib.Path(folder)
        run = [chaos, "run", "experiments/gpu-oom.yaml", "-q", "--reports", folder, "--time-scale", "0.001"]
        subprocess.run(run, stdout=subprocess.DEVNULL, check=False)
        sample = json.loads(next(reports.glob("*/result.json")).read_text())
        for number in range(RUNS):
            name = f"e{number % EXPERIMENTS}"
            day, minute = divmod(number, 1440)
            sample["run_id"], sample["experiment"] = f"{name}-{number:05}", name
            sample["started_at"] = f"2026-{1 + day:02}-01T{minute // 60:02}:{minute % 60:02}:00.000Z"
            at = reports / sample["run_id"]
            at.mkdir()
            (at / "result.json").write_text(json.dumps(sample))
        began = time.monotonic()
        listed = subprocess.run([chaos, "list", "--limit", "0", "--reports", folder], capture_output=True, check=True)
        assert listed.stdout.count(b"\n") == RUNS + 1, listed.stdout[:300]
        print(f"taken over for the first time: {time.monotonic() - began:.1f} s")
        for command in (["--version"], ["list"], ["list", "e3", "--outcome", "passed"], ["trend", "e3"], ["trend"]):
            times = []
            where = [] if command == ["--version"] else ["--reports", folder]
            for _ in range(args.times):
                began = time.monotonic()
                subprocess.run([chaos, *command, *where], stdout=subprocess.DEVNULL, check=True)
                times.append((time.monotonic() - began) * 1e3)
            print(f"{' '.join(command):<28} median {statistics.median(times):6.1f} ms, slowest {max(times):6.1f} ms")


main()
