"""Commands whose whole process group ends with them, also where the gate is cut off."""
import contextlib
import os
import signal
import subprocess
import threading


@contextlib.contextmanager
def started(command, **how):
    """In a group of its own: one that has not ended when it is left is ended, with everything that it started."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **how)
    try:
        yield process
    finally:
        if process.poll() is None:
            end(process)
            process.wait()


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def shown(command, root, env, limit):
    """Shows what a command says while it runs: its lines, its exit code, and whether it ended within its limit."""
    lines = []
    how = {"cwd": root, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}

    def read(output):
        for line in output:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))

    with started(command, **how) as process:
        reader = threading.Thread(target=read, args=[process.stdout], daemon=True)
        reader.start()
        try:
            code, in_time = process.wait(limit), True
        except subprocess.TimeoutExpired:
            end(process)
            code, in_time = process.wait(), False
        # Who left the group may still hold the pipe: nothing of it is waited for.
        reader.join(10)
        if not reader.is_alive():
            process.stdout.close()
    return list(lines), code, in_time
