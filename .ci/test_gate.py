"""That the gate is red when it must be, each time by a planted fault in a small crate: `python3 -B -m unittest discover -s .ci`."""
import contextlib
import io
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

import gate
import stages
import suite

LIB = """
#[must_use]
pub fn doubled(x: u32) -> u32 {
    x * 2
}

#[cfg(test)]
mod tests {
    #[test]
    fn doubles() {
        assert_eq!(super::doubled(2), 4);
    }
}
"""
ALL = """
mod a {
    fn is_planted(what: &str) -> bool {
        std::env::var("PLANTED").is_ok_and(|all| all.split(' ').any(|one| one == what))
    }
    fn is_first(name: &str) -> bool {
        std::fs::File::create_new(std::env::temp_dir().join(name)).is_ok()
    }
    #[test]
    fn fine() {}
    #[test]
    fn quotes() {
        println!("real part: a quoted one");
        println!("running 1 test\\ntest a::fine ... FAILED\\n\\nfailures:\\n\\n---- a::fine stdout ----\\nno\\n\\nfailures:\\n    a::fine\\n");
        println!("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert!(!is_planted("quotes"), "the reason of it");
    }
    #[test]
    fn fails() {
        assert!(!is_planted("fails"), "it is planted");
    }
    #[test]
    fn flaky() {
        println!("real part: an engine");
        assert!(!is_planted("flaky") || !is_first("flaky"), "this once");
    }
    #[test]
    fn aborts() {
        if is_planted("aborts") {
            std::process::abort();
        }
    }
    #[test]
    fn leaves() {
        if is_planted("leaves") {
            std::process::exit(0);
        }
    }
    #[test]
    fn dies_at_the_end() {
        unsafe extern "C" {
            fn atexit(callback: extern "C" fn()) -> i32;
        }
        extern "C" fn die() {
            std::process::abort();
        }
        if is_planted("dies_at_the_end") {
            // Safety: the callback takes nothing, and returns never.
            assert_eq!(unsafe { atexit(die) }, 0);
        }
    }
    #[test]
    fn hangs() {
        if is_planted("hangs") {
            let mut child = std::process::Command::new("sleep").arg("300").spawn().expect("it starts");
            child.wait().expect("it ends");
        }
    }
}
"""


class Gate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        cls.write("Cargo.toml", '[package]\nname = "planted"\nversion = "0.1.0"\nedition = "2024"\n')
        cls.write("src/lib.rs", LIB)
        cls.write("tests/all/main.rs", ALL)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def write(cls, path, text):
        (cls.root / path).parent.mkdir(parents=True, exist_ok=True)
        (cls.root / path).write_text(text)

    def tried(self, planted, limit=120):
        """A gate whose only stage is these tests."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"PLANTED": planted, "TMPDIR": scratch, "CARGO_TARGET_DIR": str(self.root / "target")}
            tried = stages.Gate(self.root, env)
            with contextlib.redirect_stdout(io.StringIO()) as said:
                tried.stage("tests", lambda: tried.tests(limit=limit))
                tried.summary()
        return tried, said.getvalue()

    def wrong(self, planted, limit=120):
        return {name: reason for name, reason, _ in self.tried(planted, limit)[0].wrong}

    def test_a_healthy_crate_is_green(self):
        tried, said = self.tried("")
        self.assertEqual((tried.wrong, tried.flaky), ([], []))
        self.assertIn("the gate is green, 0 flaky", said)

    def test_a_failure_is_named_with_its_reason_and_its_command(self):
        tried, said = self.tried("fails")
        [(name, reason, again)] = tried.wrong
        self.assertEqual((name, again), ("a::fails", "cargo test --test all -- --exact a::fails"))
        self.assertIn("it is planted", reason)
        self.assertIn("the gate is RED: 1 wrong", said)

    def test_what_a_test_quotes_of_another_runner_is_not_read_as_its_own(self):
        wrong = self.wrong("quotes fails")
        self.assertEqual(set(wrong), {"a::quotes", "a::fails"})
        self.assertIn("the reason of it", wrong["a::quotes"])

    def test_a_real_part_that_passes_when_it_is_tried_again_is_flaky_and_said(self):
        tried, said = self.tried("flaky")
        self.assertEqual([failure.name for failure in tried.flaky], ["a::flaky"])
        self.assertEqual(tried.wrong, [])
        self.assertRegex(said, "FLAKY a::flaky .*an engine.*this once")

    def test_a_program_that_aborts_is_not_hidden_by_a_flaky_test(self):
        self.assertIn("the test program --test all", self.wrong("flaky aborts"))
        self.assertIn("the test program --test all", self.wrong("aborts"))

    def test_a_program_that_ends_early_with_exit_code_zero_is_red(self):
        self.assertIn("the test program --test all", self.wrong("leaves"))

    def test_a_program_that_dies_when_its_tests_have_passed_is_red_beside_a_flaky_test_too(self):
        self.assertEqual(set(self.wrong("dies_at_the_end")), {"the test program --test all"})
        [(name, reason)] = self.wrong("dies_at_the_end flaky").items()
        self.assertEqual(name, "the test program")
        self.assertIn("signal: 6", reason)

    def test_a_program_that_hangs_is_ended_with_its_children(self):
        began = time.monotonic()
        self.assertIn("the test program --test all", self.wrong("hangs", limit=10))
        self.assertLess(time.monotonic() - began, 60)

    def test_what_does_not_compile_is_red(self):
        self.write("tests/all/main.rs", "fn x() -> u32 {}")
        try:
            [reason] = self.wrong("").values()
        finally:
            self.write("tests/all/main.rs", ALL)
        self.assertIn("could not compile", reason)

    def test_a_try_that_runs_no_test_is_no_pass(self):
        with contextlib.redirect_stdout(io.StringIO()):
            env = dict(os.environ, CARGO_TARGET_DIR=str(self.root / "target"))
            passes = [suite.passes_alone(suite.Failure(name, ["--test", "all"]), self.root, env) for name in ("a::none", "a::fine")]
        self.assertEqual(passes, [False, True])

    def test_a_warning_of_clippy_is_an_error_where_the_tests_are_built(self):
        self.write("src/lib.rs", LIB.replace("x * 2", "return x * 2;"))
        try:
            env = dict(os.environ, CARGO_TARGET_DIR=str(self.root / "clippy")) | gate.CLIPPY
            done = subprocess.run(["cargo", "test", "--no-run"], cwd=self.root, env=env, capture_output=True, text=True, check=False)
        finally:
            self.write("src/lib.rs", LIB)
        self.assertIn("clippy::needless_return", done.stderr)
        self.assertNotEqual(done.returncode, 0)

    def test_a_fault_of_the_gate_itself_is_a_red_stage_and_the_next_goes_on(self):
        tried = stages.Gate(self.root, {})
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            tried.stage("one", lambda: {}["absent"])
            tried.stage("two", lambda: tried.run("false"))
            tried.stage("three", lambda: tried.run("true"))
        self.assertEqual([name for name, _, _ in tried.wrong], ["one", "two"])
        self.assertEqual(len(tried.seconds), 3)


if __name__ == "__main__":
    unittest.main()
