"""`toy_driver.py dispatch|grid|search|follow RUNS COUNT`: a driver of toy trials, for tests to kill.

`follow` is a search with a scheduler, for which Tune follows every trial while it runs.

TOY_PROFILE in the environment is the profile as JSON; without it, this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

from toy import JOB, PROFILE, toy_trials

from tests import warm
from vprdist.launch.dispatcher import Dispatcher
from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder


def start(mode: str, runs: Path, count: int, profile: ClusterProfile = PROFILE, popen: Any = warm.Popen) -> warm.Popen:
    """The driver as a subprocess, a leader of its own process group as a shell would make it.

    `popen`: subprocess.Popen, for a Python that has loaded nothing.
    """
    command = [sys.executable, __file__, mode, str(runs), str(count)]
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    given = {"PYTHONPATH": os.pathsep.join(path), "TOY_PROFILE": profile.model_dump_json()}
    environment = {**os.environ, **given}
    return popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0, env=environment)


def given_profile() -> ClusterProfile:
    """The profile that `start` was told."""
    return ClusterProfile.model_validate_json(os.environ["TOY_PROFILE"]) if "TOY_PROFILE" in os.environ else PROFILE


def dispatch(runs: Path, count: int, all_at_once: bool = False) -> None:
    """Without Tune: want every trial, wait until all are done."""
    trials = toy_trials(count)
    with Dispatcher(given_profile(), runs, JOB, all_at_once=all_at_once) as dispatcher:
        dispatcher.retire_failures(trial.trial_id for trial in trials)
        for trial in trials:
            dispatcher.want(trial)
        wait_until_done(dispatcher, runs, count, timeout_s=3600)


def has_begun(folder: TrialFolder) -> bool:
    """Its rank 0 has started, and the driver knows its job: on a slow disk that comes later."""
    record = folder.job()
    submitted = record is not None and record.state == "submitted"
    return submitted and bool(folder.starts()) and not folder.is_submitting


def wait_until_done(dispatcher: Dispatcher, runs: Path, count: int, timeout_s: float = 180) -> None:
    """Until every toy trial has a result or a failure."""
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]
    deadline = time.monotonic() + timeout_s
    while not all(folder.has_result or folder.failure_file.exists() for folder in folders):
        dispatcher.check()
        assert time.monotonic() < deadline, dispatcher.phases()
        time.sleep(0.05)


def search(runs: Path, count: int, scheduler: Literal["asha"] | None = None) -> None:
    """With Tune."""
    from vprdist.search.driver import run_search
    from vprdist.search.leaving import SearchInterrupted
    from vprdist.search.progress import SweepProgress
    from vprdist.spec.search import SearchSpec
    from vprdist.store.proposals import Proposals

    trials = toy_trials(count)
    view = SweepProgress({trial.trial_id: f"toy {trial.seed}" for trial in trials}, "recall@1")
    try:
        outcome = run_search(
            trials, sweep_name="toy", objective="recall@1", profile=given_profile(), runs=runs, view=view, job=JOB,
            search=SearchSpec(scheduler=scheduler, max_steps=1000),
            proposals=Proposals(runs / "proposals.jsonl", lambda point: trials[0], "recall@1") if scheduler else None,
        )  # fmt: skip
    except SearchInterrupted as interrupted:
        print(interrupted)
        sys.exit(130)
    print(f"results {len(outcome.results)} failures {len(outcome.failures)} ray {'ray' in sys.modules}")


if __name__ == "__main__":
    grid = partial(dispatch, all_at_once=True)
    ways = {"dispatch": dispatch, "grid": grid, "search": search, "follow": partial(search, scheduler="asha")}
    ways[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
