"""`toy_driver.py dispatch|search RUNS COUNT`: a driver of toy trials, for tests to kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from toy import JOB, PROFILE, toy_trials

from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.folder import TrialFolder


def start(mode: str, runs: Path, count: int) -> subprocess.Popen[str]:
    """The driver as a subprocess, a leader of its own process group as a shell would make it."""
    command = [sys.executable, __file__, mode, str(runs), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0, env=environment
    )


def dispatch(runs: Path, count: int) -> None:
    """Without Ray: want every trial, wait until all are done."""
    trials = toy_trials(count)
    with Dispatcher(PROFILE, runs, JOB) as dispatcher:
        dispatcher.retire_failures(trial.trial_id for trial in trials)
        for trial in trials:
            dispatcher.want(trial)
        wait_until_done(dispatcher, runs, count)


def wait_until_done(dispatcher: Dispatcher, runs: Path, count: int, timeout_s: float = 60) -> None:
    """Until every toy trial has a result or a failure."""
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]
    deadline = time.monotonic() + timeout_s
    while not all(folder.has_result or folder.failure_file.exists() for folder in folders):
        dispatcher.check()
        assert time.monotonic() < deadline, dispatcher.phases()
        time.sleep(0.05)


def search(runs: Path, count: int) -> None:
    """With Ray."""
    from vprdist.search.driver import SearchInterrupted, run_search
    from vprdist.search.progress import SweepProgress

    trials = toy_trials(count)
    view = SweepProgress({trial.trial_id: f"toy {trial.seed}" for trial in trials}, "recall@1")
    try:
        outcome = run_search(
            trials, sweep_name="toy", objective="recall@1", profile=PROFILE, runs=runs, view=view, job=JOB
        )
    except SearchInterrupted as interrupted:
        print(interrupted)
        sys.exit(130)
    print(f"results {len(outcome.results)} failures {len(outcome.failures)} ray {'ray' in sys.modules}")


if __name__ == "__main__":
    {"dispatch": dispatch, "search": search}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
