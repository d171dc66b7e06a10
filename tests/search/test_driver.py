"""Real Ray, real submitit, real processes: a sweep survives its driver, and Ray does not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy import JOB, PROFILE, behave, toy_trials
from toy_driver import has_begun, start

from tests.waiting import until
from vprdist.files import append_json_line
from vprdist.machine import process_alive
from vprdist.search.driver import run_search
from vprdist.search.reaper import users_of
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder


def folders(runs: Path, count: int) -> list[TrialFolder]:
    return [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]


def ray_folders(driver_pid: int) -> list[str]:
    """The driver's private folder, as the process that watches over it names it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if len(words) > 4 and words[2].endswith("reaper.py") and words[4] == str(driver_pid):
                found.append(words[3])
    return found


def processes_of_ray(driver_pid: int) -> dict[int, str]:
    """Command lines of processes that use the driver's private folder, whoever their parent is."""
    found = {}
    for folder in ray_folders(driver_pid):
        for pid in users_of(folder, driver_pid):
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def alive(record: JobRecord | None) -> bool:
    return record is not None and process_alive(record.pid, record.pid_start)


def test_failures_are_reported_while_the_others_finish_and_ray_is_gone_in_the_end(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(tmp_path, steps=3, dt=0.01, die={"1": 99}, user_error=[2])
    monkeypatch.setenv("TMPDIR", str(short_folder))
    driver = start("search", tmp_path, 4)
    output = driver.communicate(timeout=300)[0]
    assert "results 2 failures 2 ray True" in output
    assert "toy 0: done, recall@1 0.000" in output
    assert "toy 2: failed, toy.csv: a place has no position" in output
    assert [len(folder.starts()) for folder in folders(tmp_path, 4)] == [1, 2, 1, 1]
    assert ray_folders(driver.pid) == []
    assert list(short_folder.iterdir()) == []


def test_kill_9_and_the_same_command_again_and_once_more_without_ray(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("search", tmp_path, 3)
    running = folders(tmp_path, 3)[:2]
    until(lambda: all(map(has_begun, running)))
    until(lambda: len(processes_of_ray(driver.pid)) >= 6)
    (left,) = ray_folders(driver.pid)
    driver.kill()
    driver.wait()
    records = [folder.job() for folder in running]
    until(lambda: not users_of(left, driver.pid) and not Path(left).exists(), timeout_s=40)
    assert all(map(alive, records))

    (tmp_path / "go").touch()
    again = start("search", tmp_path, 3)
    assert "results 3 failures 0" in again.communicate(timeout=300)[0]
    assert [len(folder.starts()) for folder in folders(tmp_path, 3)] == [1, 1, 1]
    assert [folder.job() for folder in running] == records

    finished = start("search", tmp_path, 3)
    assert "results 3 failures 0 ray False" in finished.communicate(timeout=120)[0]


def trainables(driver_pid: int) -> list[int]:
    """Pids of the driver's Tune actors that serve a trial."""
    return [pid for pid, command in processes_of_ray(driver_pid).items() if "Trainable" in command]


def test_a_killed_tune_actor_costs_no_job(tmp_path: Path) -> None:
    """A plain grid has one reader, whatever the number of jobs."""
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("search", tmp_path, 2)
    both = folders(tmp_path, 2)
    until(lambda: all(map(has_begun, both)))
    (killed,) = until(lambda: trainables(driver.pid))
    records = [folder.job() for folder in both]
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(set(trainables(driver.pid)) - {killed}) == 1)
    assert all(map(alive, records)), "the jobs go on"
    (tmp_path / "go").touch()
    assert "results 2 failures 0" in driver.communicate(timeout=300)[0]
    assert [len(folder.starts()) for folder in both] == [1, 1]
    assert [folder.job() for folder in both] == records


@pytest.mark.parametrize(
    ("when", "number"), [("starting", signal.SIGINT), ("fitting", signal.SIGINT), ("ending", signal.SIGTERM)]
)
def test_ctrl_c_leaves_jobs_running_and_says_how_to_come_back(
    tmp_path: Path, when: str, number: signal.Signals
) -> None:
    """A terminal sends Ctrl-C to everybody in the group, and SLURM SIGTERM to every process of a job: to Ray too."""
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("search", tmp_path, 2)
    both = folders(tmp_path, 2)
    until(lambda: all(map(has_begun, both)))
    if when != "starting":
        until(lambda: trainables(driver.pid))
    os.killpg(driver.pid, number)
    output = driver.communicate(timeout=180)[0]  # Ray is left as soon as it has started
    assert driver.returncode == 130, output
    assert "2 job(s) go on by themselves; start the same command again" in output
    assert "Traceback" not in output
    assert processes_of_ray(driver.pid) == {}
    assert all(alive(folder.job()) for folder in both)
    (tmp_path / "go").touch()
    if when == "fitting":
        again = start("search", tmp_path, 2)
        assert "results 2 failures 0" in again.communicate(timeout=300)[0]
    else:
        until(lambda: all(folder.has_result for folder in both))
    assert [len(folder.starts()) for folder in both] == [1, 1]


def test_duplicates_run_once_and_nothing_is_written_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    behave(tmp_path / "runs", steps=1, dt=0.01)
    trials = [*toy_trials(2), *toy_trials(2)]
    before = dict(os.environ)
    outcome = run_search(
        trials, sweep_name="toy", objective="recall@1", profile=PROFILE, runs=tmp_path / "runs", job=JOB
    )
    assert list(outcome.results) == [trial.trial_id for trial in toy_trials(2)]
    assert [len(folder.starts()) for folder in folders(tmp_path / "runs", 2)] == [1, 1]
    assert list(home.iterdir()) == []
    assert list(work.iterdir()) == []
    ours = [key for key in os.environ if key.startswith(("RAY_AUTH", "TUNE_DISABLE"))]
    assert [os.environ[key] for key in ours] == [before.get(key) for key in ours], "what Ray is told is taken back"


def test_a_trial_that_waits_for_hours_is_looked_at_seldom_and_its_first_row_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers look at storage that a whole cluster shares: with 64 of them ten times a second is a load on it."""
    from vprdist.search import trainable

    clock, waits = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(trainable, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    reader = trainable.FolderTrainable.__new__(trainable.FolderTrainable)
    reader.setup({"runs": str(tmp_path), "trial_id": "a", "objective": "recall@1"})
    while clock[0] < 60:
        assert not reader.step()["done"]
    assert waits[0] <= 0.1
    assert len(waits) < 80
    assert max(waits) <= trainable.STEP_S
    append_json_line(TrialFolder.of(tmp_path, "a").metrics_file, {"kind": "evaluate", "step": 7, "recall@1": 0.5})
    assert reader.step()["training_step"] == 7
    waits.clear()
    reader.step()
    assert waits[0] <= 0.1, "where there was one row the next may be near"


def test_importing_launch_and_search_loads_no_torch_and_no_ray() -> None:
    code = """if True:
        import sys
        import vprdist.launch.dispatcher, vprdist.launch.node, vprdist.launch.submit, vprdist.launch.capacity
        import vprdist.search.driver, vprdist.search.progress
        heavy = {'torch', 'ray', 'submitit', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)
        assert not heavy, heavy
        import vprdist.search.trainable, vprdist.search.tune_callback
        assert 'torch' not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
