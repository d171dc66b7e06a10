"""Real Tune, submitit and processes: a sweep survives its driver, and the driver is one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import toy_driver
from searching import JOB as SEARCHING
from searching import PROFILE_4, drive, journal, resolve, spec
from toy import PROFILE, behave, toy_trials
from toy_driver import has_begun, start

from tests.waiting import until
from vprdist.errors import LaunchError
from vprdist.launch.dispatcher import Dispatcher
from vprdist.machine import process_alive
from vprdist.search import searcher
from vprdist.search.driver import run_search
from vprdist.search.searcher import build_scheduler
from vprdist.store.journal import JobRecord
from vprdist.store.proposals import Proposals
from vprdist.store.trial_folder import TrialFolder

OURS = Path("/tmp/ray"), Path("/dev/shm")


def folders(runs: Path, count: int) -> list[TrialFolder]:
    return [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]


def alive(record: JobRecord | None) -> bool:
    return record is not None and process_alive(record.pid, record.pid_start)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files. Tune has one there while it runs, and nothing in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def has_tune(temporary: Path) -> bool:
    return any(temporary.glob("vprdist-tune-*"))


def test_failures_are_reported_while_the_others_finish_and_nothing_is_left_in_the_end(
    tmp_path: Path, temporary: Path
) -> None:
    runs = tmp_path / "runs"
    behave(runs, steps=3, dt=0.01, die={"1": 99}, user_error=[2])
    output = start("search", runs, 4).communicate(timeout=300)[0]
    assert "results 2 failures 2 ray True" in output
    assert "toy 0: done, recall@1 0.000" in output
    assert "toy 2: failed, toy.csv: a place has no position" in output
    assert [len(folder.starts()) for folder in folders(runs, 4)] == [1, 2, 1, 1]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("way", ["search", "follow"])
def test_kill_9_and_the_same_command_again_and_once_more_without_ray(tmp_path: Path, way: str) -> None:
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start(way, tmp_path, 3)
    running = folders(tmp_path, 3)[:2]
    until(lambda: all(map(has_begun, running)))
    driver.kill()
    driver.wait()
    records = [folder.job() for folder in running]
    assert all(map(alive, records))

    (tmp_path / "go").touch()
    again = start(way, tmp_path, 3)
    assert "results 3 failures 0" in again.communicate(timeout=300)[0]
    assert [len(folder.starts()) for folder in folders(tmp_path, 3)] == [1, 1, 1]
    assert [folder.job() for folder in running] == records

    finished = start(way, tmp_path, 3, popen=subprocess.Popen)
    assert "results 3 failures 0 ray False" in finished.communicate(timeout=120)[0]


def test_the_driver_is_one_process_that_nobody_can_reach_whatever_is_in_flight(tmp_path: Path, temporary: Path) -> None:
    """No cluster of Ray's, no server, no process or thread a trial."""
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("follow", tmp_path, 6, PROFILE.model_copy(update={"max_concurrent": 6}))
    every = folders(tmp_path, 6)
    until(lambda: all(map(has_begun, every)))
    until(lambda: has_tune(temporary))
    process = psutil.Process(driver.pid)
    until(lambda: not process.children(recursive=True))  # those that submit are gone in a moment
    assert not process.net_connections(kind="inet")
    assert process.num_threads() < 6, "main, the dispatcher's, the readers', and one of pyarrow's"
    (tmp_path / "go").touch()
    assert "results 6 failures 0" in driver.communicate(timeout=300)[0]


@pytest.mark.parametrize(
    ("when", "number"), [("starting", signal.SIGINT), ("following", signal.SIGINT), ("ending", signal.SIGTERM)]
)
def test_ctrl_c_leaves_jobs_running_and_says_how_to_come_back(
    tmp_path: Path, temporary: Path, when: str, number: signal.Signals
) -> None:
    """A terminal sends Ctrl-C to everybody in the group, and SLURM SIGTERM to every process of a job."""
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("follow" if when == "following" else "search", tmp_path, 2)
    both = folders(tmp_path, 2)
    until(lambda: all(map(has_begun, both)))
    if when != "starting":
        until(lambda: has_tune(temporary))
    os.killpg(driver.pid, number)
    output = driver.communicate(timeout=180)[0]
    assert driver.returncode == 130, output
    assert "2 job(s) go on by themselves; start the same command again" in output
    assert "Traceback" not in output
    assert not has_tune(temporary)
    assert all(alive(folder.job()) for folder in both)
    (tmp_path / "go").touch()
    if when == "following":
        again = start("follow", tmp_path, 2)
        assert "results 2 failures 0" in again.communicate(timeout=300)[0]
    else:
        until(lambda: all(folder.has_result for folder in both))
    assert [len(folder.starts()) for folder in both] == [1, 1]


def test_duplicates_run_once_and_nothing_is_written_outside(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    behave(tmp_path / "runs", steps=1, dt=0.01)
    code = (
        "import os, ray; from toy import *; from toy_driver import *; from pathlib import Path\n"
        "from vprdist.search.driver import run_search\n"
        "before = dict(os.environ)\n"
        "runs, trials = Path(os.sys.argv[1]), [*toy_trials(2), *toy_trials(2)]\n"
        "out = run_search(trials, sweep_name='s', objective='recall@1', profile=PROFILE, runs=runs, job=JOB)\n"
        "assert list(out.results) == [trial.trial_id for trial in toy_trials(2)]\n"
        "assert dict(os.environ) == before, 'what Ray is told is taken back'\n"
    )
    before = [set(place.iterdir()) if place.exists() else None for place in OURS]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs")], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [len(folder.starts()) for folder in folders(tmp_path / "runs", 2)] == [1, 1]
    for folder in (home, work, temporary):
        assert list(folder.iterdir()) == []
    after = [set(place.iterdir()) if place.exists() else None for place in OURS]
    assert [now is None or then is None or not named(now - then) for now, then in zip(after, before, strict=True)]


def named(paths: set[Path]) -> list[Path]:
    """What a Ray that starts leaves in folders that others use too."""
    return [path for path in paths if path.name.startswith(("plasma", "session_", "ray"))]


def test_a_job_whose_end_is_slow_holds_up_neither_the_search_nor_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler's stop goes to the dispatcher's thread; the search asks for its next trial meanwhile."""
    slow, ended = [], Dispatcher._cancel

    def cancel(self: Dispatcher, trial_id: str) -> None:
        slow.append(trial_id)
        until(lambda: len(TrialFolder.of(tmp_path, best).rows()[0]) >= 4)  # the best one goes on
        ended(self, trial_id)

    best = resolve({"train.lr": 0.01}).trial_id
    monkeypatch.setattr(Dispatcher, "_cancel", cancel)
    search = spec({"scheduler": "asha", "grace_steps": 2, "max_steps": 8, "reduction": 3})
    outcome = drive(tmp_path, search, grid=(0.01, 7.0, 8.0))
    assert best in outcome.results
    assert set(slow) == set(outcome.stopped) == {resolve({"train.lr": lr}).trial_id for lr in (7.0, 8.0)}
    for trial_id in outcome.stopped:
        record = TrialFolder.of(tmp_path, trial_id).job()
        assert record is not None and record.state == "cancelled"
        assert not alive(record)


def test_what_ends_the_dispatchers_thread_ends_the_search_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(tmp_path, steps=1, hold=True)
    both = folders(tmp_path, 2)
    ticks, tick = [0], Dispatcher._tick

    def fail(self: Dispatcher, now: float) -> None:
        tick(self, now)
        if all(map(has_begun, both)):
            ticks[0] += 1
            raise LaunchError("squeue", "it answers nonsense", "?", "Mend it.")

    monkeypatch.setattr(Dispatcher, "_tick", fail)
    with pytest.raises(LaunchError, match="squeue: it answers nonsense"):
        toy_driver.search(tmp_path, 2, "asha")
    assert ticks == [1]
    assert all(alive(folder.job()) for folder in both)
    (tmp_path / "go").touch()
    until(lambda: all(folder.has_result for folder in both))


@pytest.mark.parametrize("method", ["on_trial_result", "on_trial_complete"])
def test_an_error_inside_of_tune_is_raised_as_it_is_and_jobs_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], method: str
) -> None:
    def broken(*of_tune: object, **more: object) -> None:
        raise ZeroDivisionError("a rung without trials")

    def build(search: object, objective: str) -> object:
        scheduler = build_scheduler(search, objective)  # type: ignore[arg-type]
        monkeypatch.setattr(scheduler, method, broken)
        return scheduler

    monkeypatch.setattr(searcher, "build_scheduler", build)
    trials = [resolve({"train.lr": lr}) for lr in (0.01, 0.012)]
    with pytest.raises(ZeroDivisionError, match="a rung without trials") as said:
        run_search(
            trials, sweep_name="s", objective="recall@1", profile=PROFILE_4, runs=tmp_path, job=SEARCHING,
            search=spec({"scheduler": "median", "max_steps": 8}),
            proposals=Proposals(tmp_path / "sweeps" / "searching" / "proposals.jsonl", resolve, "recall@1"),
        )  # fmt: skip
    assert "The same command again" in " ".join(said.value.__notes__)
    assert capfd.readouterr().err.count("Traceback") == 0, "it is shown once, by whoever ends the program"
    assert journal(tmp_path) == []
    begun = [folder for folder in map(TrialFolder, (tmp_path / "trials").iterdir()) if folder.starts()]
    assert begun
    until(lambda: all(folder.has_result for folder in begun))


def test_importing_launch_and_search_loads_no_torch_and_no_ray() -> None:
    code = """if True:
        import sys
        import vprdist.launch.dispatcher, vprdist.launch.node, vprdist.launch.submit, vprdist.launch.capacity
        import vprdist.search.driver, vprdist.search.progress, vprdist.search.readers
        heavy = {'torch', 'ray', 'submitit', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)
        assert not heavy, heavy
        import vprdist.search.in_process, vprdist.search.tune_callback
        assert 'torch' not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
