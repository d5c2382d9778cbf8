"""A try of the gate: its stages, what each took, what was wrong."""
import os
import subprocess
import time
import traceback

import command
import suite


class Failed(Exception):
    """Why a stage is red, and the command that repeats it."""

    def __init__(self, reason, again):
        super().__init__(reason)
        self.reason, self.again = reason, again


class Gate:
    def __init__(self, root, env):
        self.root, self.env = root, dict(os.environ) | env
        self.seconds, self.wrong, self.flaky, self.notes = [], [], [], []

    def stage(self, name, work):
        """What is wrong in a stage is kept, and the next one goes on."""
        print(f"\n=== {name}", flush=True)
        began = time.monotonic()
        try:
            work()
        except Failed as failed:
            self.wrong.append((name, failed.reason, failed.again))
        except Exception as error:  # The gate's own fault is a red stage, and no end of the gate.
            traceback.print_exc()
            self.wrong.append((name, f"{type(error).__name__}: {error}", "its traceback stands above"))
        finally:
            self.seconds.append((name, time.monotonic() - began))

    def run(self, *wanted, limit=1800):
        """A command with its output shown."""
        again = " ".join(wanted)
        with command.started(wanted, cwd=self.root, env=self.env) as process:
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                raise Failed(f"not ended after {limit} s", again) from None
        if code != 0:
            raise Failed(f"exit code {code}; its output stands above", again)

    def tests(self, *arguments, limit, **more):
        """The README's test command, to its end. A test of a real part is tried once more, and then counts as flaky."""
        env = self.env | more
        for failure in suite.run(["cargo", "test", "--no-fail-fast", *arguments], self.root, env, limit):
            if failure.real_part and suite.passes_alone(failure, self.root, env):
                self.flaky.append(failure)
            else:
                self.wrong.append((failure.name, failure.reason, failure.again))

    def summary(self):
        print("\n=== summary")
        for name, seconds in self.seconds:
            print(f"{seconds:7.0f} s  {name}")
        print(f"{sum(seconds for _, seconds in self.seconds):7.0f} s  together")
        for note in self.notes:
            print(f"note: {note}")
        for failure in self.flaky:
            print(f"FLAKY {failure.name} passed when tried once more (it needs: {failure.real_part}). First: {failure.reason}")
        for name, reason, again in self.wrong:
            print(f"WRONG {name}: {reason}\n      again: {again}")
        colour = f"RED: {len(self.wrong)} wrong" if self.wrong else "green"
        print(f"the gate is {colour}, {len(self.flaky)} flaky", flush=True)
