"""Every kind of misfortune that the drill knows: one function each, played on a stage whose driver is at work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.drills.stage import Stage

Strike = Callable[[Stage], None]


@dataclass(frozen=True)
class Fault:
    """One kind of misfortune. `part`: what it befalls. `accounting`: it takes a cluster with slurmdbd."""

    name: str
    part: str
    strike: Strike
    accounting: bool = False
    small_disk: bool = False

    @property
    def text(self) -> str:
        """What happens, in one line."""
        return (self.strike.__doc__ or "").splitlines()[0].rstrip(".")


FAULTS: dict[str, Fault] = {}


def fault(part: str, *, accounting: bool = False, small_disk: bool = False) -> Callable[[Strike], Strike]:
    """Enter a function into the list of faults, under its own name."""

    def enter(strike: Strike) -> Strike:
        name = strike.__name__.replace("_", "-")
        FAULTS[name] = Fault(name, part, strike, accounting, small_disk)
        return strike

    return enter


# ---------------------------------------------------------------------- the driver


@fault("driver")
def driver_killed(stage: Stage) -> None:
    """kill -9 of the driver, three times."""
    for _ in range(3):
        stage.in_the_middle()
        stage.pause(1)
        stage.signal(signal.SIGKILL)
        stage.until(stage.ended, "the driver to be dead")


@fault("driver")
def driver_killed_while_it_submits(stage: Stage) -> None:
    """kill -9 of the driver between intent and sbatch's answer."""
    stage.until(lambda: any(folder.is_submitting for folder in stage.folders), "a submission", revive=True)
    stage.signal(signal.SIGKILL)
    stage.until(stage.ended, "the driver to be dead")


@fault("driver")
def driver_interrupted(stage: Stage) -> None:
    """Ctrl-C: the driver leaves, its jobs go on."""
    stage.in_the_middle()
    stage.signal(signal.SIGINT)
    stage.until(stage.ended, "the driver to leave")


@fault("driver")
def driver_suspended(stage: Stage) -> None:
    """A laptop's lid is closed for 15 s."""
    stage.in_the_middle()
    stage.signal(signal.SIGSTOP)
    stage.pause(15)
    stage.signal(signal.SIGCONT)


@fault("driver")
def two_drivers(stage: Stage) -> None:
    """The same command is given twice."""
    stage.in_the_middle()
    first = stage.driver
    stage.start()
    second, stage.driver = stage.driver, first
    assert second is not None
    stage.until(lambda: second.poll() is not None or stage.ended(), "one of two drivers to end")
    stage.until(lambda: second.poll() is not None, "the second driver to end")
    stage.exits.append(second.returncode)


# ---------------------------------------------------------------------- jobs


@fault("job")
def job_killed(stage: Stage) -> None:
    """kill -9 of a trial's process."""
    os.kill(int(stage.in_the_middle().starts()[-1]["pid"]), signal.SIGKILL)


@fault("job")
def job_preempted(stage: Stage) -> None:
    """A more important job takes the node."""
    stage.cluster.occupy(stage.host_of(stage.in_the_middle()), 2)


@fault("job")
def job_requeued_by_hand(stage: Stage) -> None:
    """scontrol requeue, by an operator: no signal comes first."""
    stage.cluster.run("scontrol", "requeue", str(stage.job_of(stage.in_the_middle()).job_id))


@fault("job")
def job_at_its_time_limit(stage: Stage) -> None:
    """USR2, as some time before the limit."""
    stage.cluster.run("scancel", "--signal=USR2", "--full", str(stage.job_of(stage.in_the_middle()).job_id))


@fault("job")
def job_suspended(stage: Stage) -> None:
    """scontrol suspend, and resume after 10 s."""
    job = str(stage.job_of(stage.in_the_middle()).job_id)
    stage.cluster.run("scontrol", "suspend", job)
    stage.pause(10)
    stage.cluster.run("scontrol", "resume", job)


# ---------------------------------------------------------------------- nodes


@fault("node")
def node_fails(stage: Stage) -> None:
    """The plug is pulled on a node; it boots again after 10 s."""
    stage.cluster.fail(stage.host_of(stage.in_the_middle()))
    stage.pause(10)
    stage.cluster.up()


@fault("node")
def node_daemon_killed(stage: Stage) -> None:
    """kill -9 of a node's slurmd; its jobs run on, and it comes back after 10 s."""
    os.kill(stage.cluster.pid(stage.host_of(stage.in_the_middle())), signal.SIGKILL)
    stage.pause(10)
    stage.cluster.up()


@fault("node")
def all_nodes_fail(stage: Stage) -> None:
    """A power cut takes every node at once."""
    stage.in_the_middle(others=1)
    for node in ("gpu01", "gpu02"):
        stage.cluster.fail(node)
    stage.cluster.up()


# ---------------------------------------------------------------------- controller and accounting


@fault("controller")
def controller_silent(stage: Stage) -> None:
    """slurmctld answers nobody for 20 s."""
    stage.in_the_middle()
    with stopped(stage.cluster.pid("slurmctld")):
        stage.pause(20)


@fault("controller")
def controller_killed(stage: Stage) -> None:
    """kill -9 of slurmctld; it is started again after 15 s."""
    stage.in_the_middle()
    os.kill(stage.cluster.pid("slurmctld"), signal.SIGKILL)
    stage.pause(15)
    stage.cluster.up()


@fault("controller")
def controller_killed_while_the_driver_starts(stage: Stage) -> None:
    """slurmctld is dead when the same command is given again."""
    stage.in_the_middle()
    stage.signal(signal.SIGKILL)
    os.kill(stage.cluster.pid("slurmctld"), signal.SIGKILL)
    stage.until(stage.ended, "the driver to be dead")
    stage.start()
    stage.pause(10)
    stage.cluster.up()


@fault("accounting", accounting=True)
def accounting_killed(stage: Stage) -> None:
    """kill -9 of slurmdbd while squeue forgets jobs after 2 s; started again after 15 s."""
    folder = stage.in_the_middle()
    os.kill(stage.cluster.pid("slurmdbd"), signal.SIGKILL)
    os.kill(int(folder.starts()[-1]["pid"]), signal.SIGKILL)
    stage.pause(15)
    stage.cluster.up()


@fault("accounting", accounting=True)
def job_killed_and_forgotten(stage: Stage) -> None:
    """kill -9 of a trial's process; only accounting knows of it afterwards."""
    os.kill(int(stage.in_the_middle().starts()[-1]["pid"]), signal.SIGKILL)


# ---------------------------------------------------------------------- disk


@fault("disk", small_disk=True)
def disk_full(stage: Stage) -> None:
    """Nothing can be written to the run folder for 10 s."""
    stage.in_the_middle()
    ballast = stage.runs.parent / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    stage.pause(10)
    ballast.unlink()


@fault("disk")
def temporary_folder_full(stage: Stage) -> None:
    """The folder for temporary files takes nothing more when the driver starts."""
    stage.in_the_middle()
    stage.signal(signal.SIGKILL)
    stage.until(stage.ended, "the driver to be dead")
    with full_folder(stage.runs.parent / "tmp") as folder:
        stage.start(TMPDIR=str(folder))
        stage.pause(10)


# ---------------------------------------------------------------------- helpers


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full_folder(folder: Path) -> Iterator[Path]:
    """A file system without a free byte; its space comes back with the end of the block."""
    with small_disk(folder, 1 << 16):
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        yield folder
