#!/usr/bin/env python3
"""The verdict matrix: every planted defect and every healthy backend against its experiment, over several seeds.

    benches/verdicts.py [--seeds 10] [--at-once 3] [--only REGEX] [--table FILE]

What is expected stands in benches/verdicts.txt. A defect is found when a check that names it fails; a healthy backend must
pass. "inconclusive" is no wrong verdict, and is counted; one that the noise of this machine made is run once more at the end, alone
(with a single seed every one is). Exit 0 when no verdict was wrong and no row was all inconclusive; with a single seed a healthy
backend's row may be.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXPERIMENTS = pathlib.Path(os.environ.get("EXPERIMENTS", ROOT / "experiments"))
CHAOS = pathlib.Path(os.environ.get("CHAOS", ROOT / "target/release/chaos"))

# What a verdict says that fell for noise of the machine, for lateness of chaos, or for load that could not be sent.
NOISE = re.compile("too noisy to tell|chaos itself was|chaos itself stood still|could be sent")


def rows():
    lines = (ROOT / "benches/verdicts.txt").read_text().splitlines()
    return [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#")]


def run(backend, experiment, expected, seed, reports):
    """One run: right, inconclusive or WRONG, and what was said."""
    planted = []
    if backend.startswith("mode:"):
        planted = ["--mode", backend.removeprefix("mode:")]
    elif backend != "healthy":
        planted = ["--defect", backend]
    command = [CHAOS, "run", EXPERIMENTS / f"{experiment}.yaml", *planted, "--seed", str(seed)]
    done = subprocess.run([*command, "--reports", reports, "--format", "json", "-q"], capture_output=True, text=True, timeout=900)
    try:
        result = json.loads(done.stdout)
    except json.JSONDecodeError:
        return "WRONG", f"exit {done.returncode}: {done.stderr.strip()[-300:]}"
    checks = {check["name"]: check for check in result["checks"]}
    if planted and planted[0] == "--defect":
        return found(checks, expected.split(","), done.returncode)
    return healthy(checks, expected.split(","), done.returncode)


def found(checks, names, code):
    named = [checks[name] for name in names if name in checks]
    failed = [check for check in named if check["verdict"] == "failed"]
    # A guard that stops the run (3) is no less red.
    if code in (1, 3) and failed:
        return "right", f'{failed[0]["name"]}: {failed[0]["observed"]}'
    others = [check["name"] for check in checks.values() if check["verdict"] == "failed"]
    said = "; ".join(f'{check["name"]}: {check["verdict"]}: {check["observed"]}' for check in named)
    # Found by another check than the one that names it, or not found: neither will do.
    word = "inconclusive" if code == 6 else "WRONG"
    return word, f"exit {code}; failed: {others}; {said}"


def healthy(checks, names, code):
    wanted = [check for check in checks.values() if names == ["*"] or check["name"] in names or "?" + check["name"] in names]
    may_be_open = lambda check: "?" + check["name"] in names and check["verdict"] == "inconclusive"
    bad = [check for check in wanted if check["verdict"] != "passed" and not may_be_open(check)]
    if not bad and (names != ["*"] or code == 0):
        return "right", "passed"
    word = "WRONG" if not bad or any(check["verdict"] == "failed" for check in bad) else "inconclusive"
    return word, f"exit {code}; " + "; ".join(f'{check["name"]}: {check["verdict"]}: {check["observed"]} {check["evidence"][:2]}' for check in bad)


def table(outcomes):
    lines = ["| backend | experiment | expected of | right | inconclusive | wrong | said, for example |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for (backend, experiment, expected), seen in outcomes.items():
        count = collections.Counter(word for word, _ in seen)
        example = seen[0][1][:150].replace("|", "/")
        lines.append(f'| {backend} | {experiment} | {expected.replace("*", "all checks")} | {count["right"]} | {count["inconclusive"]} | {count["WRONG"]} | {example} |')
    return "\n".join(lines) + "\n"


def note(outcomes, row, seed, outcome):
    outcomes[row].append(outcome)
    if outcome[0] != "right":
        print(f"{outcome[0]}: {row[0]} {row[1]} seed {seed}: {outcome[1]}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--only", default="", help="only rows (backend experiment) that match this")
    parser.add_argument("--table", type=pathlib.Path, help="write the table here too")
    args = parser.parse_args()
    if "CHAOS" not in os.environ:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    wanted = [row for row in rows() if re.search(args.only, " ".join(row[:2]))]
    outcomes = {row: [] for row in wanted}
    with tempfile.TemporaryDirectory() as reports, concurrent.futures.ThreadPoolExecutor(args.at_once) as pool:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        tasks = {pool.submit(run, *row, seed, reports): (row, seed) for seed in seeds for row in wanted}
        noisy = []
        for task in concurrent.futures.as_completed(tasks):
            row, seed = tasks[task]
            # Of one seed alone nothing else tells whether it was this machine: then every one gets its second try.
            again = args.seeds == 1 or NOISE.search(task.result()[1])
            if task.result()[0] == "inconclusive" and again:
                noisy.append((row, seed))
            else:
                note(outcomes, row, seed, task.result())
        for row, seed in noisy:
            print(f"again, alone: {row[0]} {row[1]} seed {seed}", file=sys.stderr, flush=True)
            note(outcomes, row, seed, run(*row, seed, reports))
    text = table(outcomes)
    print(text)
    if args.table:
        args.table.write_text(text)
    total = collections.Counter(word for seen in outcomes.values() for word, _ in seen)
    print(f'{total["right"]} right, {total["inconclusive"]} inconclusive, {total["WRONG"]} wrong')
    # One healthy run that is not decided, and says so, is no wrong verdict; a defect that is never found is.
    found_by_none = [row for row, seen in outcomes.items() if all(word == "inconclusive" for word, _ in seen)]
    undecided = [row for row in found_by_none if args.seeds > 1 or not (row[0] == "healthy" or row[0].startswith("mode:"))]
    sys.exit(1 if total["WRONG"] or undecided else 0)


main()
