"""Removes what the tests of this folder left behind: after a try, and before one for what was cut off."""
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
    processes = left_processes(root)
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if processes:
        said.append(f"{len(processes)} processes were left behind and were ended")
    said += of_the_engine(root)
    for folder in pathlib.Path(tempfile.gettempdir()).glob(folders(root) + "*"):
        shutil.rmtree(folder, ignore_errors=True)
    return said


def left_processes(root):
    wanted = f"{MARK}={value(root)}".encode()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid() and has(name, wanted)]


def has(pid, wanted):
    try:
        return wanted in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def of_the_engine(root):
    """By the label that the tests put on everything that they make there."""
    said = []
    for what, listing, removal in [
        ("containers", ["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        ("networks", ["network", "ls", "--quiet"], ["network", "rm"]),
        ("volumes", ["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
        ("images", ["images", "--all", "--quiet"], ["rmi", "--force"]),
    ]:
        found = sorted(set(docker(*listing, "--filter", f"label=chaos.test={root}").split()))
        if found:
            docker(*removal, *found)
            # The image is made once and used by many: that it is there at the end is how it should be.
            if what != "images":
                said.append(f"{len(found)} {what} were left behind and were removed")
    return said


def docker(*arguments):
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
