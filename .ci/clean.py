"""Removes what the tests of this folder left behind: after a try, and before one for what was cut off."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import zlib

# Every process of a try in this folder has it in its environment.
MARK = "CHAOS_GATE"


def value(root):
    return f"of {root}"


def folders(root):
    """How the temporary folders of this folder's tries are called."""
    return f"chaos-gate-{zlib.crc32(str(root).encode()):08x}-"


def up(root):
    """Ends processes, removes containers, networks, volumes, images and folders; says what should not have been there."""
    said = []
    for pid, name in left_processes(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        said.append(f"a process was left behind and was ended: {name}")
    said += of_the_engine(root)
    for folder in pathlib.Path(tempfile.gettempdir()).glob(folders(root) + "*"):
        shutil.rmtree(folder, ignore_errors=True)
    return said


def left_processes(root):
    wanted = f"{MARK}={value(root)}".encode()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [(pid, called(pid)) for pid in pids if pid != os.getpid() and has(pid, wanted)]


def called(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "it has ended meanwhile"


def has(pid, wanted):
    try:
        return wanted in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def of_the_engine(root):
    """By the label that the tests put on everything that they make there."""
    said = []
    for engine, what, listing, removal in [
        ("docker", "containers", ["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        ("docker", "networks", ["network", "ls", "--quiet"], ["network", "rm"]),
        ("docker", "volumes", ["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
        ("docker", "images", ["images", "--all", "--quiet"], ["rmi", "--force"]),
        ("podman", "containers", ["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        ("podman", "images", ["images", "--all", "--quiet"], ["rmi", "--force"]),
    ]:
        found = sorted(set(ask(engine, *listing, "--filter", f"label=chaos.test={root}").split()))
        if found:
            ask(engine, *removal, *found)
            # The image is made once and used by many: that it is there at the end is how it should be.
            if what != "images":
                said.append(f"{len(found)} {what} of {engine} were left behind and were removed")
    return said


def ask(engine, *arguments):
    try:
        return subprocess.run([engine, *arguments], capture_output=True, text=True, timeout=120).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
