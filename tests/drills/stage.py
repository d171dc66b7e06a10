"""Where a fault is played: a devcluster, a run folder, a driver that is started again when it ends, and the count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.devclusters import REPO, DevCluster
from vprdist.files import write_json
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

HERE, LAUNCH = Path(__file__).resolve().parent, REPO / "tests" / "launch"
sys.path[:0] = [str(HERE), str(LAUNCH)]

from chain import LAST, whole_chain  # noqa: E402  (found by path, here and on the node)
from toy import toy_trials  # noqa: E402

PATIENCE_S = 300.0
MOST_DRIVERS = 12
"""No fault takes as many: a driver that ends again and again is itself at fault."""


class Stuck(AssertionError):
    """What was waited for did not come."""


@dataclass
class Stage:
    """One run folder, its chains, and the driver that is at work on them.

    Attributes:
        steps, dt: of a trial, and the seconds of each.
        haste: share of the faults' own pauses that is kept.
        exits: how the drivers ended, in order; a negative number is the signal that ended one.
        said: what they printed.
    """

    cluster: DevCluster
    runs: Path
    count: int = 4
    steps: int = 16
    dt: float = 0.4
    haste: float = 1.0
    changes: dict[str, object] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    said: str = ""
    driver: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.behave(self.steps, self.dt)

    def behave(self, steps: int, dt: float) -> None:
        """What trials that start from now on do."""
        self.steps, self.dt = steps, dt
        write_json(self.runs / "chain.json", {"steps": steps, "dt": dt})

    @property
    def profile(self) -> ClusterProfile:
        return self.cluster.profile(**{"max_concurrent": 3, **self.changes})

    @property
    def folders(self) -> list[TrialFolder]:
        return [TrialFolder.of(self.runs, trial.trial_id) for trial in toy_trials(self.count)]

    # ------------------------------------------------------------------ the driver

    def start(self, **environment: str) -> None:
        """Start a driver."""
        command = [sys.executable, str(HERE / "chain.py"), str(self.runs), str(self.count)]
        path = os.pathsep.join(map(str, (HERE, LAUNCH, REPO)))
        self.driver = subprocess.Popen(
            [*command, self.profile.model_dump_json()], stdout=self._log("ab"), stderr=subprocess.STDOUT, text=True,
            process_group=0, env={**os.environ, **self.cluster.environment, "PYTHONPATH": path, **environment},
        )  # fmt: skip

    def _log(self, mode: str) -> int:
        return os.open(self.runs.parent / f"{self.runs.name}-driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def ended(self) -> bool:
        """Whether there is no driver now; one that has ended is counted."""
        if self.driver is not None and self.driver.poll() is not None:
            self.exits.append(self.driver.returncode)
            self.driver = None
        return self.driver is None

    def signal(self, number: signal.Signals) -> None:
        """Send the driver a signal, as a shell or the system would."""
        if not self.ended():
            assert self.driver is not None
            os.kill(self.driver.pid, number)

    def finish(self) -> None:
        """Until every trial is over, with a driver started again whenever one ends, as a person would."""
        (self.runs / "go").touch()
        self.until(lambda: all(folder.is_over for folder in self.folders), "every trial to end", revive=True)
        self.until(self.ended, "the driver to end")
        if self.exits[-1:] != [0]:  # the last one came to an untidy end: a person asks again
            self.start()
            self.until(self.ended, "the driver to end")

    def pause(self, seconds: float) -> None:
        """Leave things broken for a while."""
        time.sleep(seconds * self.haste)

    def until(self, condition: Callable[[], object], what: str, revive: bool = False) -> None:
        """Wait for what must be true."""
        deadline = time.monotonic() + PATIENCE_S
        while (revive and self.revived()) or not condition():
            if time.monotonic() > deadline:
                raise Stuck(f"{self.runs}: waited {PATIENCE_S:.0f} s in vain for {what}")
            time.sleep(0.05)

    def revived(self) -> bool:
        """Start a driver where there is none; whether it was so."""
        if ended := self.ended():
            if len(self.exits) > MOST_DRIVERS:
                raise Stuck(f"{self.runs}: {len(self.exits)} drivers ended: {self.exits}")
            self.start()
        return ended

    # ------------------------------------------------------------------ what runs

    def steps_of(self, folder: TrialFolder) -> list[dict[str, object]]:
        """Rows of training."""
        return [row for row in folder.rows()[0] if row["kind"] == "train"]

    def in_the_middle(self, others: int = 0) -> TrialFolder:
        """A trial that runs, some steps after its start and some before its end; with more beside it."""
        found: list[TrialFolder] = []

        def look() -> bool:
            found[:] = [f for f in self.folders if f.is_running and 2 <= len(self.steps_of(f)) <= self.steps - LAST]
            return len(found) > others

        self.until(look, "a trial in the middle", revive=True)
        return found[0]

    def host_of(self, folder: TrialFolder) -> str:
        return str(folder.starts()[-1]["host"])

    def jobs_of(self, folder: TrialFolder) -> list[str]:
        """Jobs that SLURM has or had of this run folder's trial, in its words: their tokens come first. Those that
        squeue has forgotten are not among them."""
        words = "%k %A %T %r %N"
        asked = ("squeue", "--noheader", "--states=all", f"--name=vprdist-{folder.trial_id}", f"--format={words}")
        mine = {path.name.split("-")[-1] for path in folder.log.glob("attempt-*")}
        return [line for line in self.cluster.run(*asked).splitlines() if line[:8] in mine]

    def job_of(self, folder: TrialFolder) -> JobRecord:
        record = folder.job()
        assert record is not None and record.job_id is not None
        return record


@dataclass
class Count:
    """What became of the trials of one stage. `lost` to `failed` must be 0."""

    trials: int = 0
    results: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    failed: int = 0
    jobs: int = 0
    unwanted: int = 0
    starts: int = 0
    attempts: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, doubled, changed or given up."""
        return self.results == self.trials and not self.wrong


def count(stage: Stage) -> Count:
    """Read the folders the slow way: every step of every trial, and the hash that it must end with."""
    found = Count()
    for trial, folder in zip(toy_trials(stage.count), stage.folders, strict=True):
        rows, record = stage.steps_of(folder), folder.job()
        found.trials += 1
        found.starts += len(folder.all_starts())
        found.attempts += 0 if record is None else record.attempt
        failure = folder.failure()
        if failure is not None:
            found.failed += 1
            found.wrong.append(f"{folder.trial_id}: {failure.kind}: {failure.reason}")
        if not folder.has_result:
            found.lost += failure is None
            continue
        found.results += 1
        if folder.result().environment["chain"] != whole_chain(trial.seed, stage.steps):
            found.changed += 1
            found.wrong.append(f"{folder.trial_id}: its result is not that of an undisturbed run")
        begun = {str(row["token"]) for row in folder.all_starts()}
        jobs, allowed = stage.jobs_of(folder), 0 if record is None else record.attempt + record.lost
        unwanted = [line for line in jobs if leaves_at_once(folder, line)]
        found.jobs, found.unwanted = found.jobs + len(jobs), found.unwanted + len(unwanted)
        if max(len(begun), len(jobs) - len(unwanted)) > allowed:
            found.doubled += 1
            found.wrong.append(f"{folder.trial_id}: jobs {jobs}, begun {sorted(begun)}; {allowed} are accounted for")
        starts = [int(str(row["start"])) for row in rows]
        if starts != sorted(starts) or sum(row["kind"] == "evaluate" for row in folder.rows()[0]) != 1:
            found.doubled += 1
            found.wrong.append(f"{folder.trial_id}: two copies of it ran at once: starts {starts}")
        if {int(str(row["step"])) for row in rows} != set(range(1, stage.steps + 1)):
            found.lost += 1
            found.wrong.append(f"{folder.trial_id}: a step is missing")
    return found


def leaves_at_once(folder: TrialFolder, line: str) -> bool:
    """Whether a job of `Stage.jobs_of` is none of the driver's attempts: its sbatch was not answered, but it is there
    all the same. It waits in vain for its call, or finds another job in the journal."""
    token, job_id = line.split()[:2]
    (log,) = folder.log.glob(f"attempt-*-{token[:8]}")
    if not (log / f"{job_id}_submitted.pkl").exists():
        return True
    return any("is not wanted any more" in path.read_text(errors="replace") for path in log.glob(f"{job_id}_*_log.out"))
