"""A devcluster in a folder of its own, for tests and drills."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vprdist.spec.profile import ClusterProfile

REPO = Path(__file__).resolve().parents[2]
DEVCLUSTER = REPO / "slurm" / "devcluster"


class NoSlurm(Exception):
    """It is not installed, or this is not root."""


@dataclass(frozen=True)
class DevCluster:
    """A running devcluster."""

    folder: Path
    options: tuple[str, ...]

    def control(self, *words: str) -> str:
        """slurm/devcluster on this cluster's folder; what it prints."""
        done = subprocess.run([DEVCLUSTER, *words, str(self.folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> None:
        self.control("up", *self.options)

    def fail(self, node: str) -> None:
        self.control("fail", "--at-once", node)

    def pid(self, daemon: str) -> int:
        """The process of a daemon: munged, mariadbd, slurmdbd, slurmctld, or a node's name."""
        rows = [line.split() for line in self.control("status").splitlines()]
        return next(int(row[2]) for row in rows if row[:2] == [daemon, "pid"])

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    def run(self, *command: str) -> str:
        """One of SLURM's commands; what it prints."""
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **self.environment}
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def occupy(self, node: str, seconds: float) -> None:
        """A more important job takes a whole node for a while."""
        where = ("--partition=high", f"--nodelist={node}", "--exclusive", "--mem=0", "--output=/dev/null")
        self.run("sbatch", *where, f"--wrap=sleep {seconds}")

    def profile(self, **changes: Any) -> ClusterProfile:
        """A profile for toy jobs."""
        values: dict[str, Any] = {
            "kind": "slurm", "partition": "low", "cpus_per_task": 1, "memory_gb": 0.5, "time_limit_min": 60,
            "signal_lead_s": 20, "poll_s": 1.0, "max_concurrent": 8, "check": False,
        }  # fmt: skip
        return ClusterProfile(**{**values, **changes})


@contextmanager
def devcluster(*options: str) -> Iterator[DevCluster]:
    """Start one; it is gone with the block, and its folder with it.

    Raises:
        NoSlurm: there can be none here, and why.
    """
    # A short path: munge's and MariaDB's sockets lie below it.
    folder = Path(tempfile.mkdtemp(prefix="vprdist-slurm-", dir="/tmp"))
    done = subprocess.run([DEVCLUSTER, "up", folder, *options], capture_output=True, text=True, check=False)
    if done.returncode == 2 and ("not installed" in done.stderr or "by root" in done.stderr):
        raise NoSlurm(f"no SLURM here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    try:
        yield DevCluster(folder, options)
    finally:
        subprocess.run([DEVCLUSTER, "down", folder, "--now"], check=True, capture_output=True)
        subprocess.run(["rm", "-rf", folder], check=True)
