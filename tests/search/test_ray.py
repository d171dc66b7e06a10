"""Ray that is slow, has no room, dies, or does not start at all: jobs and news go on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import toy_driver
from test_driver import alive, folders, processes_of_ray, ray_folders, trainables
from toy import JOB, PROFILE, behave, toy_trials
from toy_driver import has_begun, start

from tests.waiting import until
from vprdist.errors import RayUnavailable
from vprdist.search import ray_folder, ray_session, reaper
from vprdist.search.book import Outcome
from vprdist.search.driver import run_search
from vprdist.search.ray_session import PrivateRay
from vprdist.search.session import Session


class Told(list[str]):
    """What was told, line by line."""

    def has(self, words: str) -> Callable[[], bool]:
        return lambda: any(words in line for line in self)


def tries(monkeypatch: pytest.MonkeyPatch, fail: int, pauses: tuple[float, ...] = (0.0, 0.0)) -> list[int]:
    """Ray's start fails so often; no server is started. Returns a list that grows with each try."""
    seen: list[int] = []

    def begin(self: PrivateRay, ray: object, folder: Path) -> None:
        seen.append(len(seen) + 1)
        if len(seen) <= fail:
            raise Exception("The current node timed out during startup. This could happen because\nof many things")
        self.storage = folder
        self._up.set()
        self._settled.set()

    monkeypatch.setattr(PrivateRay, "_start", begin)
    monkeypatch.setattr(ray_session, "PAUSES_S", pauses)
    return seen


def test_ray_is_tried_again_each_try_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    seen = tries(monkeypatch, fail=2)
    with PrivateRay(1, told.append) as ray:
        until(lambda: ray.wait(0.1))
    assert seen == [1, 2, 3]
    words = "Ray did not start: The current node timed out during startup. Jobs go on; trying again in 0 s"
    assert told == [words, words]


def test_where_ray_is_needed_it_is_given_up_after_the_last_try(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    seen = tries(monkeypatch, fail=99)
    with (
        pytest.raises(RayUnavailable, match=r"did not start in 3 tries: The current node") as said,
        PrivateRay(1, told.append) as ray,
    ):
        until(lambda: ray.wait(0.1))
    assert (seen, len(told), said.value.exit_code) == ([1, 2, 3], 2, 75)


def test_where_ray_is_not_needed_the_giving_up_is_news_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    tries(monkeypatch, fail=99)
    with PrivateRay(1, told.append, needed=False) as ray:
        until(told.has("this grid goes on without it"))
        assert not ray.wait(0.0)


def test_who_leaves_waits_for_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    seen = tries(monkeypatch, fail=99, pauses=(3600.0,))
    with PrivateRay(1, told.append) as ray:
        until(told.has("trying again in 3600 s"))
    assert not ray._thread.is_alive()
    assert seen == [1]


def make_folder(told: Told, object_bytes: int = 0) -> Path:
    """The private folder's place; the folder is gone again."""
    with ray_folder.ray_folder(told.append, object_bytes) as folder:
        return folder.parent


def test_the_folder_goes_where_tmpdir_says(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    monkeypatch.setenv("TMPDIR", str(short_folder))
    assert make_folder(told) == short_folder.resolve()
    monkeypatch.delenv("TMPDIR")
    assert make_folder(told) == Path("/tmp")
    assert told == []
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize(("name", "why"), [("no", "No such file"), ("long" * 20, "its path is longer than")])
def test_a_tmpdir_that_is_not_fit_is_said(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    told, wished = Told(), short_folder / name
    if name != "no":
        wished.mkdir()
    monkeypatch.setenv("TMPDIR", str(wished))
    assert make_folder(told) == Path("/tmp")
    (line,) = told
    assert line.startswith(f"Ray's files are in /tmp: {wished}: {why}")


def test_the_longest_path_that_is_taken_holds_rays_sockets() -> None:
    base = "/" + "x" * (ray_folder.LONGEST - 1)
    session = "session_2026-11-29_03-16-08_123456_4194304"  # the largest pid that Linux has
    assert len(f"{base}/{ray_folder.PREFIX}abcdefgh/{ray_folder.OPEN}/{session}/sockets/plasma_store") == 107


@pytest.mark.parametrize("small", ["disk", "shared memory"])
def test_a_full_temporary_folder_is_said_with_its_path_and_the_remedy(
    small_disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, small: str
) -> None:
    told, disk = Told(), small_disk(1_000_000 if small == "disk" else 40_000_000)
    monkeypatch.setattr(ray_folder, "OTHERS", (str(disk),))
    monkeypatch.setattr(ray_folder, "LONGEST", 1000)
    monkeypatch.setattr(ray_folder, "SHARED_MEMORY", Path("/dev/shm") if small == "disk" else disk)
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(ray_session, "PAUSES_S", (0.0,))
    with pytest.raises(RayUnavailable, match="did not start in 2 tries"), PrivateRay(1, told.append) as ray:
        until(lambda: ray.wait(0.1))
    (line,) = told
    room = 16 if small == "disk" else 96
    assert f"no room for its files: {disk}: No space left on device ({room} MB are wanted)" in line
    assert "free some, or set TMPDIR" in line
    assert "Jobs go on" in line
    assert list(disk.iterdir()) == []


def test_what_a_killed_job_left_is_cleared_and_what_a_live_driver_has_is_not(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM kills the watcher with the driver."""
    monkeypatch.setenv("TMPDIR", str(short_folder))
    told = Told()
    with ray_folder.ray_folder(told.append, 0) as mine:
        left, elsewhere = short_folder / f"{ray_folder.PREFIX}left", short_folder / f"{ray_folder.PREFIX}elsewhere"
        for folder in (left, elsewhere):
            folder.mkdir()
            (folder / "machine").write_text((mine / "machine").read_text())
        (elsewhere / "machine").write_text("another:12345678")
        code = "import sys, pathlib, vprdist.search.ray_folder as it; it._clear(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, str(short_folder)], check=True)
        assert mine.exists()
        assert not left.exists()
        assert elsewhere.exists(), "its lock says nothing on this machine"


def test_the_next_driver_waits_for_the_watcher_of_the_last_and_is_not_ended_by_it(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that is killed and started again at once looks into a folder whose watcher is still at work."""
    monkeypatch.setenv("TMPDIR", str(short_folder))
    code = (
        "import sys, time, vprdist.search.ray_folder as it\n"
        "with it.ray_folder(print, 0) as folder:\n    print(folder, flush=True)\n    time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    left = Path(driver.stdout.readline().strip())
    (watcher,) = until(lambda: watchers(driver.pid))
    os.kill(watcher, signal.SIGSTOP)  # it comes late
    driver.kill()
    driver.wait()
    ray_folder._clear(short_folder)
    assert left.exists(), "its watcher will see to it"
    look = f"from vprdist.search.reaper import users_of; print(*users_of({str(left)!r}, {driver.pid}))"

    def to_be_ended() -> list[str]:
        return subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()

    with (left / reaper.LOCK).open():
        assert str(os.getpid()) not in to_be_ended()
    with (left / "socket").open("w"):
        assert str(os.getpid()) in to_be_ended()
    os.kill(watcher, signal.SIGCONT)
    until(lambda: not left.exists())


def test_the_watcher_outlives_what_slurm_sends_to_all(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(short_folder))
    with ray_folder.ray_folder(lambda text: None, 0):
        (watcher,) = until(lambda: watchers(os.getpid()))
        until(lambda: ignores_sigterm(watcher))
        os.kill(watcher, signal.SIGTERM)
        assert watchers(os.getpid()) == [watcher]
    assert watchers(os.getpid()) == []


def watchers(pid: int) -> list[int]:
    """Pids of the processes that watch over a driver's folder."""
    return [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if (words := words_of(path)) and len(words) > 4 and words[2].endswith("reaper.py") and words[4] == str(pid)
    ]


def words_of(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def ignores_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (ignored,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigIgn")]
    return bool(ignored >> (signal.SIGTERM - 1) & 1)


def search(runs: Path, count: int) -> Outcome:
    """A plain grid of toys, in this process."""
    return run_search(toy_trials(count), sweep_name="toy", objective="recall@1", profile=PROFILE, runs=runs, job=JOB)


def test_a_grid_comes_to_its_results_while_ray_is_still_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(tmp_path, steps=1, dt=0.01, user_error=[1])
    over = threading.Event()
    begun = tries(monkeypatch, fail=0)
    monkeypatch.setattr(PrivateRay, "_start", lambda self, ray, folder: begun.append(1) or over.wait(600))
    monkeypatch.setattr(PrivateRay, "__exit__", lambda self, *what: over.set())
    outcome = search(tmp_path, 3)
    assert begun == [1]
    assert (len(outcome.results), len(outcome.failures)) == (2, 1)


def test_a_grid_whose_last_result_comes_as_ray_is_up_has_nothing_left_for_tune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(tmp_path, steps=1, dt=0.01)
    tries(monkeypatch, fail=0)

    def until_up(self: Session) -> bool:
        until(lambda: self.tick() or not self.book.pending())
        return until(lambda: self.ray is not None and self.ray.wait(0.1))

    monkeypatch.setattr(Session, "_until_up", until_up)
    assert len(search(tmp_path, 2).results) == 2


def test_a_grid_goes_on_without_a_ray_that_never_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(tmp_path, steps=1, dt=0.01)
    tries(monkeypatch, fail=99)
    assert len(search(tmp_path, 2).results) == 2


def test_a_search_that_needs_ray_ends_without_it_and_its_jobs_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(tmp_path, steps=1, dt=0.01, hold=True)
    seen = tries(monkeypatch, fail=99)
    running = folders(tmp_path, 2)

    def patience() -> None:
        until(lambda: all(map(has_begun, running)))

    monkeypatch.setattr(ray_session, "_first_sentence", lambda error: patience() or "it is slow")
    with pytest.raises(RayUnavailable, match="Jobs that run go on"):
        toy_driver.search(tmp_path, 2, "median")
    assert seen == [1, 2, 3]
    assert all(alive(folder.job()) for folder in running)
    (tmp_path / "go").touch()
    until(lambda: all(folder.has_result for folder in running))


def listening(pid: int) -> set[str]:
    """The addresses at which a process waits for others."""
    with contextlib.suppress(psutil.Error):
        every = psutil.Process(pid).net_connections(kind="inet")
        return {entry.laddr.ip for entry in every if entry.status == psutil.CONN_LISTEN}
    return set()


def servers(driver_pid: int, name: str) -> list[int]:
    """Pids of the driver's Ray servers of that name."""
    return [pid for pid, words in processes_of_ray(driver_pid).items() if words.split(" ")[0].endswith(name)]


def test_a_ray_that_dies_is_started_again_and_listens_to_this_machine_alone(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("follow", tmp_path, 2)
    both = folders(tmp_path, 2)
    until(lambda: all(map(has_begun, both)))
    until(lambda: trainables(driver.pid))
    (folder,) = ray_folders(driver.pid)
    assert Path(folder).stat().st_mode & 0o077 == 0, "Ray opens its own folder to everybody: nobody comes so far"
    heard = {address for pid in (driver.pid, *processes_of_ray(driver.pid)) for address in listening(pid)}
    assert heard <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert heard
    (old,) = servers(driver.pid, "gcs_server")
    os.kill(old, signal.SIGKILL)
    until(lambda: set(servers(driver.pid, "gcs_server")) - {old} and trainables(driver.pid))
    (tmp_path / "go").touch()
    output = driver.communicate(timeout=300)[0]
    assert "results 2 failures 0" in output
    assert output.count("Ray died; jobs go on, it is started again") == 1
    assert "Traceback" not in output
    assert [len(folder.starts()) for folder in both] == [1, 1]


@pytest.mark.drill
def test_a_ray_too_slow_for_its_own_patience_is_started_again_and_leaves_nothing(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(short_folder))
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("follow", tmp_path, 2)
    (raylet,) = until(lambda: servers(driver.pid, "raylet"))
    os.kill(raylet, signal.SIGSTOP)
    until(lambda: trainables(driver.pid))
    (tmp_path / "go").touch()
    output = " ".join(driver.communicate(timeout=300)[0].split())
    words = "Ray did not start: The current node timed out during startup. Jobs go on; trying again in 5 s"
    assert output.count(words) == 1
    assert output.index("toy 0: started") < output.index(words), "the news is not held back"
    assert "results 2 failures 0" in output
    assert "Traceback" not in output
    assert list(short_folder.iterdir()) == []
