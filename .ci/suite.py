"""Runs `cargo test` and reads what it says: every failure, and whether that explains how it ended."""
import dataclasses
import re

import command

PROGRAM = re.compile(r"^\s+Running (?:unittests )?(\S+) \(|^\s+(Doc-tests) \S+$")
COUNT = re.compile(r"^running (\d+) tests?$")
ENDED = re.compile(r"test result: (ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; (\d+) measured; .* finished in ")
FAILED = re.compile(r"^test (.+) \.\.\. FAILED$")
SLOW = re.compile(r"^test (.+) has been running for over 60 seconds$")
OVER = re.compile(r"^test (.+) \.\.\. ")
# What cargo names at the end, each of the programs that did not exit well.
NAMED = re.compile(r"^    `(?:-p \S+ )?(--(?:lib|doc|bin \S+|test \S+))`")
# What it says of one that did not end as one with failed tests does.
DIED = re.compile(r"^  process didn't exit successfully: `[^`]*` \((.*)\)$")
REAL_PART = re.compile(r"^real part: (.*)")
# What says nothing of why.
NOISE = re.compile(r"stack backtrace|RUST_BACKTRACE")


@dataclasses.dataclass
class Failure:
    name: str
    # What cargo calls its program: --lib, --bin chaos, --test all, --doc.
    target: list
    reason: str = "it says nothing of why"
    real_part: str = ""

    @property
    def again(self):
        return " ".join(["cargo test", *self.target, "--", "--exact", self.name])


@dataclasses.dataclass
class Program:
    """A test program, and the lines from its start to the next one's."""

    target: list
    lines: list = dataclasses.field(default_factory=list)

    @property
    def end(self):
        """Where its own result stands. What a test quotes of another runner comes before it."""
        return next((at for at in reversed(range(len(self.lines))) if ENDED.search(self.lines[at])), None)

    def passed(self):
        return 0 if self.end is None else int(ENDED.search(self.lines[self.end])[2])

    def failures(self):
        told = {name: Failure(name, self.target) for name in self.of(FAILED)}
        for name, section in self.sections(told):
            told[name].reason = reason(section) or told[name].reason
            told[name].real_part = next((found[1] for line in section if (found := REAL_PART.match(line))), "")
        return list(told.values()) + ([] if self.is_whole(len(told)) else [self.broken()])

    def of(self, pattern):
        """What stands before the details of the failures."""
        return list(dict.fromkeys(found[1] for line in self.lines[: self.details] if (found := pattern.match(line))))

    @property
    def details(self):
        return next((at for at, line in enumerate(self.lines) if line == "failures:"), len(self.lines))

    def sections(self, names):
        """What each failed test printed. A header counts only of a name that failed, and once."""
        left, name, section = set(names), None, []
        headers = {f"---- {name} stdout ----": name for name in names}
        # The list of names that ends the details begins with the last such line.
        ends = [at for at, line in enumerate(self.lines) if line == "failures:" and at > self.details]
        for line in self.lines[self.details : ends[-1] if ends else self.end]:
            if headers.get(line) in left:
                if name:
                    yield name, section
                name, section = headers[line], []
                left.discard(name)
            else:
                section.append(line)
        if name:
            yield name, section

    def is_whole(self, failed):
        """Its result is there, and counts as many tests as it said that it would run, and as many failures as it named."""
        counts = [int(found[1]) for line in self.lines if (found := COUNT.match(line))]
        if self.end is None or not counts:
            return False
        word, *numbers = ENDED.search(self.lines[self.end]).groups()
        return sum(map(int, numbers)) == counts[0] and int(numbers[1]) == failed and (word == "FAILED") == (failed > 0)

    def broken(self):
        last = " ".join(line.strip() for line in self.lines[-8:] if line.strip())[-600:]
        return Failure(f"the test program {' '.join(self.target)}", self.target, f"it did not come to its own end: {last}")

    def under_way(self):
        over = set(self.of(OVER))
        return [name for name in self.of(SLOW) if name not in over]


def reason(section):
    said = [line.strip() for line in section if not REAL_PART.match(line) and not NOISE.search(line)]
    first = next((at for at, line in enumerate(said) if "panicked at" in line), 0)
    return " ".join([line for line in said[first:] if line][:4])[:600]


def target_of(found):
    path = found[1]
    if not path:
        return ["--doc"]
    if path.startswith("tests/"):
        return ["--test", path.removeprefix("tests/").removesuffix("/main.rs").removesuffix(".rs")]
    return ["--lib"] if path.endswith("lib.rs") else ["--bin", "chaos"]


def programs(lines):
    all_of_them = []
    for line in lines:
        if found := PROGRAM.match(line):
            all_of_them.append(Program(target_of(found)))
        elif all_of_them:
            all_of_them[-1].lines.append(line)
    return all_of_them


def run(wanted, root, env, limit):
    """Shows what the tests say while they run; the tests that failed."""
    lines, code, in_time = command.shown(wanted, root, env, limit)
    return read(lines, code, in_time, limit, wanted)


def read(lines, code, in_time, limit, wanted):
    found = programs(lines)
    failures = [failure for program in found for failure in program.failures()]
    if not in_time:
        late = [(program, name) for program in found for name in program.under_way()]
        reason_of_it = f"not ended when the tests were cut off after {limit} s"
        failures += [Failure(name, program.target, reason_of_it) for program, name in late]
    # Its tests passed, and then it ended badly: of that only cargo tells.
    explained = {tuple(failure.target) for failure in failures}
    for target in {tuple(named[1].split()) for line in lines if (named := NAMED.match(line))} - explained:
        name = f"the test program {' '.join(target)}"
        failures.append(Failure(name, list(target), "it ended badly after its tests had passed"))
    # Behind a failed test this would not be seen.
    died = [found[1] for before, line in zip(lines, lines[1:]) if before == "Caused by:" and (found := DIED.match(line))]
    if died and not any(failure.name.startswith("the test program") for failure in failures):
        failures.append(Failure("the test program", [], f"it ended badly: {died[0]}"))
    # `--no-fail-fast` exits with 101 also for failed tests; then each of them has been named above.
    if not failures and (code != 0 or not in_time or not found):
        last = " ".join(line.strip() for line in lines[-8:] if line.strip())[-600:]
        failures.append(Failure(" ".join(wanted), [], f"exit code {code} without a failed test: {last}"))
    return failures


def passes_alone(failure, root, env):
    """Whether just this test runs, and passes."""
    print(f"once more, alone: {failure.again}", flush=True)
    wanted = ["cargo", "test", *failure.target, "--", "--exact", "--include-ignored", failure.name]
    lines, code, in_time = command.shown(wanted, root, env, 600)
    passed = [program.passed() for program in programs(lines)]
    return passed == [1] and not read(lines, code, in_time, 600, wanted)
