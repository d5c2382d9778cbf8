"""Runs `cargo test` and reads what it says."""
import dataclasses
import re
import subprocess
import threading

BINARY = re.compile(r"^\s*Running (?:unittests )?(\S+) \(")
FAILED = re.compile(r"^test (\S+) \.\.\. FAILED")
SLOW = re.compile(r"^test (\S+) has been running for over 60 seconds")
SECTION = re.compile(r"^---- (\S+) stdout ----")
REAL_PART = re.compile(r"^real part: (.*)")


@dataclasses.dataclass
class Failure:
    name: str
    # What cargo calls its binary: --lib, --bin chaos, --test all.
    target: list
    reason: str = "it says nothing of why"
    real_part: str = ""

    @property
    def again(self):
        return " ".join(["cargo test", *self.target, "--", "--exact", self.name])


def target_of(path):
    if path.startswith("tests/"):
        return ["--test", path.removeprefix("tests/").removesuffix("/main.rs").removesuffix(".rs")]
    return ["--lib"] if path.endswith("lib.rs") else ["--bin", "chaos"]


def run(command, root, env, limit):
    """Shows what the tests say while they run; the tests that failed."""
    process = subprocess.Popen(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    cut_off = threading.Timer(limit, process.kill)
    cut_off.start()
    lines = []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
        code, in_time = process.wait(), cut_off.is_alive()
    finally:
        # Also when the gate itself is cut off.
        cut_off.cancel()
        process.kill()
        process.wait()
    return read(lines, code, in_time, limit, command)


def read(lines, code, in_time, limit, command):
    failures, under_way = {}, set()
    target, inside = ["--lib"], None
    for line in lines:
        if found := BINARY.match(line):
            target, inside = target_of(found[1]), None
        elif found := FAILED.match(line):
            failures[found[1]] = Failure(found[1], target)
        elif found := SLOW.match(line):
            under_way.add(found[1])
        elif found := SECTION.match(line):
            inside = failures.setdefault(found[1], Failure(found[1], target))
            said = []
        elif line.startswith("failures:") or line.startswith("test result:"):
            inside = None
        elif inside:
            if found := REAL_PART.match(line):
                inside.real_part = found[1]
            elif len(said) < 4 and (said or "panicked at" in line) and "stack backtrace" not in line and "RUST_BACKTRACE" not in line:
                said.append(line.strip())
                inside.reason = " ".join(said)[:600]
        if line.startswith("test ") and " ... " in line:
            under_way.discard(line.split()[1])
    if not in_time:
        for name in sorted(under_way):
            failures.setdefault(name, Failure(name, target, f"not ended when the tests were cut off after {limit} s"))
    if code != 0 and not failures:
        failures["cargo test"] = Failure("cargo test", [], f"exit code {code} without a failed test: {' '.join(command)}")
    return list(failures.values())


def passes_alone(failure, root, env):
    print(f"once more, alone: {failure.again}", flush=True)
    command = ["cargo", "test", *failure.target, "--", "--exact", "--include-ignored", failure.name]
    return not run(command, root, env, 600)
