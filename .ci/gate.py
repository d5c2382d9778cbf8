#!/usr/bin/env python3
"""The gate: what must hold of every submission. `.ci/run` calls it, `.ci/full` with `--full`.

It installs what it needs, runs every stage to its end so that one try shows all that is wrong, says why it is red and
what each stage took, and leaves no process, container, image or folder behind. See docs/testing.md.
"""
import argparse
import pathlib
import shutil
import signal
import sys
import tempfile

import clean
import parts
from stages import Failed, Gate

ROOT = pathlib.Path(__file__).resolve().parent.parent
# As `cargo clippy` calls it, while everything is built once: by itself it would first check all dependencies anew, which takes
# four minutes. `.ci/full` calls it by itself, too.
CLIPPY = {"RUSTC_WORKSPACE_WRAPPER": "clippy-driver", "CLIPPY_ARGS": "__CLIPPY_HACKERY__".join(["-D", "warnings", ""])}
# What the long tests and the sweeps look at: see `often` in tests/all/common/mod.rs.
FULL = {"CHAOS_TEST_FULL": "1"}
README_JOB = ["cargo", "run", "--", "run", "experiments/gpu-oom.yaml"]


def everything(gate, servers, full):
    gate.stage("formatting", lambda: formatting(gate))
    gate.stage("the gate itself", lambda: gate.run(sys.executable, "-B", "-m", "unittest", "discover", "-s", ".ci"))
    gate.stage("clippy, and the tests are built", lambda: gate.run("cargo", "test", "--no-run", "--quiet"))
    gate.stage("the servers of the drivers' tests are there", servers.wait)
    if full:
        gate.stage("all tests", lambda: gate.tests(limit=7200, **FULL))
    else:
        gate.stage("tests", lambda: gate.tests(limit=1500))
    gate.stage("the README's main job", lambda: gate.run(*README_JOB, limit=300))
    if full:
        gate.stage("clippy by itself", lambda: clippy(gate))
        gate.stage("licences, duplicates, advisories", lambda: dependencies(gate))
        gate.stage("the release is built", lambda: gate.run("cargo", "build", "--release"))
        # Not decided (6) is no failure here: machines of a CI are noisy, and chaos says so instead of guessing.
        suite = "target/release/chaos run experiments/*.yaml --quiet || [ $? = 6 ]"
        gate.stage("the plan's suite", lambda: gate.run("bash", "-c", suite))
        matrix = ["benches/verdicts.py", "--seeds", "3", "--at-once", "3"]
        gate.stage("the verdict matrix at three seeds", lambda: gate.run(*matrix, limit=5400))


def formatting(gate):
    gate.run("cargo", "fmt", "--all", "--check")
    gate.run("cargo", "fmt", "--manifest-path", "fuzz/Cargo.toml", "--check")


def clippy(gate):
    for name in CLIPPY:
        del gate.env[name]
    gate.run("cargo", "clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings")


def dependencies(gate):
    """Of what the program is made. The database of advisories is a repository, which not every machine reaches."""
    if not shutil.which("cargo-deny"):
        gate.run("cargo", "install", "--quiet", "--locked", "--debug", "--root", "target/tools", "cargo-deny")
        gate.env["PATH"] += f":{ROOT}/target/tools/bin"
    gate.run("cargo", "deny", "check", "licenses", "bans", "sources")
    try:
        gate.run("timeout", "60", "cargo", "deny", "fetch", "db")
    except Failed:
        gate.notes.append("left out: the advisories (their database cannot be reached)")
    else:
        gate.run("cargo", "deny", "check", "advisories")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--full", action="store_true", help="all tests, the release, the plan's suite, the verdict matrix")
    full = arguments.parse_args().full
    # Cut off, it still tidies up.
    for cut, code in [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]:
        signal.signal(cut, lambda *_, code=code: sys.exit(code))
    clean.up(ROOT)
    scratch = tempfile.mkdtemp(prefix=clean.folders(ROOT))
    gate = Gate(ROOT, {"CHAOS_TEST_REAL": "1", "TMPDIR": scratch, clean.MARK: clean.value(ROOT)} | CLIPPY)
    servers = parts.Servers(ROOT)
    ended = False
    try:
        gate.stage("what it needs", lambda: parts.look(ROOT, servers))
        if not gate.wrong:
            everything(gate, servers, full)
        ended = True
    finally:
        if not ended:
            gate.wrong.append(("the gate", "it was cut off", ".ci/run"))
        gate.notes += clean.up(ROOT)
        shutil.rmtree(scratch, ignore_errors=True)
        gate.summary()
    return 1 if gate.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
