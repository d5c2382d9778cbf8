"""What the tests of real parts need: looked at, and installed where that is possible, before anything is built."""
import os
import pathlib
import shutil
import subprocess
import time

import clean
from stages import Failed

# The program and the package that has it.
PROGRAMS = [
    ("chromium", "chromium"),
    ("promtool", "prometheus"),
    ("systemd-analyze", "systemd"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("podman", "podman"),
    ("python3", "python3-venv"),
]
FREE_DISK_GB, FREE_MEMORY_GB = 12, 3
ENGINE_WITHIN_S = 60
# From the moment on at which the tests are built.
WITHIN_S = 300


def look(root, servers):
    """Each in a line; the first that is missing and cannot be brought ends the gate, with the remedy."""
    room(root)
    missing = [(program, package) for program, package in PROGRAMS if not shutil.which(program)]
    if missing:
        install(missing)
    for program, package in PROGRAMS:
        path = shutil.which(program)
        if not path:
            raise Failed(f"there is no {program}", f"apt-get install {package}")
        print(f"{program}: {path}")
    # The package starts a server of its own; nothing here needs it.
    subprocess.run(["service", "prometheus", "stop"], capture_output=True, check=False)
    servers.start()
    engine()


def room(root):
    disk = shutil.disk_usage(root).free / 1e9
    print(f"free disk: {disk:.0f} GB")
    if disk < FREE_DISK_GB:
        raise Failed(f"only {disk:.0f} GB of disk are free, {FREE_DISK_GB} are needed", "remove `target` folders of old work trees")
    meminfo = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    memory = int(meminfo["MemAvailable"].split()[0]) / 1e6
    print(f"free memory: {memory:.0f} GB")
    if memory < FREE_MEMORY_GB:
        raise Failed(f"only {memory:.1f} GB of memory are free, {FREE_MEMORY_GB} are needed", "end what takes it")


def install(missing):
    names = ", ".join(program for program, _ in missing)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise Failed(f"there is no {names}", "install them, or run this as root where there is apt-get")
    print(f"to be installed: {names}", flush=True)
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    commands = [["apt-get", "update", "-qq"]]
    # What Podman recommends it with is half of a system.
    alone = sorted({package for _, package in missing} & {"podman"})
    others = sorted({package for _, package in missing} - {"podman"})
    commands += [["apt-get", "install", "-y", "-qq", *others]] if others else []
    commands += [["apt-get", "install", "-y", "-qq", "--no-install-recommends", *alone]] if alone else []
    for command in commands:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}", " ".join(command))


def engine():
    """Docker's engine: started where it does not answer, also where one that was ended hard left its pid file."""
    if not answers():
        pid_file = pathlib.Path("/var/run/docker.pid")
        if pid_file.exists() and not pathlib.Path(f"/proc/{pid_file.read_text().strip() or 0}").exists():
            pid_file.unlink()
        subprocess.run(["service", "docker", "start"], capture_output=True, check=False)
    began = time.monotonic()
    while not answers():
        if time.monotonic() - began > ENGINE_WITHIN_S:
            raise Failed(f"no Docker engine answers within {ENGINE_WITHIN_S} s", "service docker start; docker info")
        time.sleep(0.5)
    print("Docker engine: answers")


def answers():
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Servers:
    """What the drivers are tested against, in a virtual environment; brought while other things are built."""

    def __init__(self, root):
        self.root, self.folder, self.wanted = root, root / "target/backends", root / "tests/backends/requirements.txt"
        self.process = None

    def command(self):
        python = f"'{self.folder}/bin/python'"
        return (
            f"[ -x {python} ] || python3 -m venv '{self.folder}' && "
            f"{python} -m pip install --quiet --disable-pip-version-check -r '{self.wanted}'"
        )

    def start(self):
        # With the mark of this try, by which it is ended when the try is cut off.
        env = dict(os.environ) | {clean.MARK: clean.value(self.root)}
        self.process = subprocess.Popen(["bash", "-c", self.command()], stdin=subprocess.DEVNULL, env=env)

    def wait(self):
        try:
            code = self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"the Python packages are not there after {WITHIN_S} s", self.command()) from None
        if code != 0:
            raise Failed("the Python packages could not be installed; the output stands above", self.command())
