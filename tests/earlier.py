"""The code of an earlier version, out of the repository's history, and processes that run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
COMMIT = "f8a1861"
"""Version 0.1 before the rooms were moved: what is on disks and in queues."""

HOLD = '''
"""Holds processes in the middle, as a debugger would; the code of the earlier version stays as it is.

Imported by Python itself before anything else. HOLD names trials by `loss gem_p`: once such a trial has published its
second checkpoint, its job waits until `go` is in the run folder. Modules that stay are not looked through for cycles:
that is a third of the time of a process that loads torch.
"""

import atexit
import gc
import json
import os
import time
from pathlib import Path

gc.set_threshold(100_000)
atexit.register(gc.freeze)
publish, seen = os.replace, 0


def replace(source, target, **words):
    global seen
    publish(source, target, **words)
    if Path(target).name != "last.pt" or "HOLD" not in os.environ:
        return
    folder, seen = Path(target).parents[1], seen + 1
    trial = json.loads((folder / "trial.json").read_text())
    name = "{} {}".format(trial["train"]["loss"], trial["network"]["gem_p"])
    if seen == 2 and name in json.loads(os.environ["HOLD"]):
        (folder.parents[1] / f"held-{folder.name}").touch()
        while not (folder.parents[1] / "go").exists():
            time.sleep(0.02)


os.replace = replace
'''


class Version:
    """A version's code in a folder, run by processes that import it from there.

    Args:
        code: the folder that holds `vprdist`.
        more: further folders to import from.
    """

    def __init__(self, code: Path, *more: Path) -> None:
        self.code, self.path = code, os.pathsep.join(map(str, (code, *more)))

    def start(self, *words: str, program: str = sys.executable, **environment: str) -> subprocess.Popen[str]:
        """`python …`, or another program, a leader of its own process group as a shell would make it."""
        return subprocess.Popen(
            [program, *words], cwd=self.code, env={**os.environ, "PYTHONPATH": self.path, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
        )  # fmt: skip

    def run(self, *words: str, program: str = sys.executable, **environment: str) -> str:
        """What `python …`, or another program, prints; it must end well."""
        process = self.start(*words, program=program, **environment)
        try:
            printed, _ = process.communicate(timeout=570)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, printed
        return printed


def earlier_version(folder: Path) -> Version:
    """The earlier version, laid out in a folder; skips where this is no clone with its commit."""
    packed = git("archive", COMMIT, "vprdist", "sweeps", "slurm")
    if packed.returncode:
        pytest.skip(f"no commit {COMMIT} here: {packed.stderr.decode().strip()[:200]}")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    (folder / "sitecustomize.py").write_text(HOLD)
    earlier = Version(folder)
    where = earlier.run("-c", "import vprdist; print(vprdist.__file__)").strip()
    assert Path(where).is_relative_to(folder), "the earlier version imports its own code"
    return earlier


def git(*words: str) -> subprocess.CompletedProcess[bytes]:
    """What git says of this repository; one without git, or that is no clone, fails as a missing commit does."""
    command: Sequence[str] = ("git", "-C", str(REPO), *words)
    try:
        return subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, b"", str(error).encode())


def today(*more: Path) -> Version:
    """The code that is tested."""
    return Version(REPO, *more)
