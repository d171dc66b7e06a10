"""Children of a warm Python are processes like any other; a job among them is the job that a cold one would be."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from toy import JOB, PROFILE, behave, toy_trials
from toy_driver import has_begun
from toy_driver import start as start_driver

from tests import warm as of_tests
from tests.waiting import until
from vprdist.launch import warm
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.warm import WarmProcess, WarmPython
from vprdist.store.trial_folder import TrialFolder

TELL = """
import json, os, sys
told = {name: os.environ.get(name) for name in ("WORD", "HOME", "LEFT_OUT")}
told |= {"argv": sys.argv[1:], "folder": os.getcwd(), "path": sys.path[0], "session": os.getsid(0), "pid": os.getpid()}
told |= {"group": os.getpgrp(), "parent": os.getppid(), "stdin": sys.stdin.read(), "name": __name__}
told |= {"files": sorted(int(name) for name in os.listdir("/proc/self/fd"))}
print(json.dumps(told))
print("complaint", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def python() -> Iterator[WarmPython]:
    made = WarmPython(["json", "numpy.random"], os.environ)
    yield made
    made.close()


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tell.py").write_text(TELL)
    return tmp_path


def started(
    python: WarmPython, folder: Path, module: str, words: Sequence[str] = (), environment: Any = None, **options: Any
) -> WarmProcess:
    with (folder / "in").open("w+") as told, (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        told.write("heard")
        told.seek(0)
        files = [told.fileno(), out.fileno(), err.fileno()]
        return python.start(module, words, files, environment or dict(os.environ), **options)


def test_it_has_the_place_that_a_process_of_its_own_would_have(python: WarmPython, modules: Path) -> None:
    environment = {"WORD": "mine", "PATH": os.environ["PATH"]}
    lock = os.open(modules / "lock", os.O_RDWR | os.O_CREAT)
    process = started(python, modules, "tell", ["a b", ""], environment, pass_fds=[lock])
    assert process.wait() == 0 == process.poll()
    told = json.loads((modules / "out").read_text())
    assert (told["WORD"], told["HOME"], told["argv"], told["stdin"]) == ("mine", None, ["a b", ""], "heard")
    assert (told["folder"], told["path"], told["name"]) == (str(modules), str(modules), "__main__")
    assert (told["pid"], told["session"], told["group"]) == (process.pid, os.getsid(0), os.getpgrp())
    assert {0, 1, 2, lock} < set(told["files"]) and len(told["files"]) == 5, "and the folder that it lists"
    assert (modules / "err").read_text() == "complaint\n"
    cold = subprocess.run([sys.executable, "-m", "tell", "a b", ""], input="heard", capture_output=True, text=True)
    same = ("argv", "folder", "path", "name", "stdin", "session", "group")
    assert {key: told[key] for key in same} == {key: json.loads(cold.stdout)[key] for key in same}

    started(python, modules, "tell", new_session=True).wait()
    told = json.loads((modules / "out").read_text())
    assert told["session"] == told["pid"] == told["group"]
    process = started(python, modules, "tell", new_group=True, safe_path=True, environment=dict(os.environ))
    assert process.wait() == 1, "modules of the working folder are none for it"
    assert "No module named tell" in (modules / "err").read_text()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("raise SystemExit('in words')", 1, "in words\n"),
        ("raise ValueError('odd')", 1, "ValueError: odd\n"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -2, "KeyboardInterrupt\n"),
        ("import atexit, sys; atexit.register(print, 'last', file=sys.stderr); sys.exit(3)", 3, "last\n"),
        ("import threading, time, sys\nthreading.Thread(target=lambda: (time.sleep(.3), "
         "print('thread', file=sys.stderr))).start()", 0, "thread\n"),
        ("import concurrent.futures, sys\n"
         "concurrent.futures.ThreadPoolExecutor().submit(print, 'pool', file=sys.stderr)", 0, "pool\n"),
        ("import sys, weakref\nclass Thing: pass\nthing = Thing()\n"
         "weakref.finalize(thing, print, 'own', file=sys.stderr)", 0, "own\n"),
    ],
)  # fmt: skip
def test_it_ends_as_python_ends(python: WarmPython, modules: Path, text: str, code: int, said: str) -> None:
    (modules / "task.py").write_text(text)
    assert started(python, modules, "task").wait(180) == code
    assert (modules / "err").read_text().endswith(said)
    cold = subprocess.run([sys.executable, "-m", "task"], capture_output=True, text=True)
    assert cold.returncode == code and cold.stderr.endswith(said)


def test_what_was_loaded_is_taken_apart_by_no_child(modules: Path) -> None:
    """torch has some two hundred such, that take longer than a fork."""
    (modules / "loaded.py").write_text(
        "import sys, weakref\nclass Thing: pass\nthing = Thing()\n"
        "weakref.finalize(thing, print, 'apart', file=sys.stderr)\n"
    )
    (modules / "task.py").write_text("import sys; print('loaded' in sys.modules)")
    path = os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])])
    python = WarmPython(["loaded"], {**os.environ, "PYTHONPATH": path})
    try:
        assert started(python, modules, "task").wait(180) == 0
    finally:
        python.close()
    assert (modules / "out").read_text() == "True\n"
    assert (modules / "err").read_text() == ""


def test_no_two_draw_the_same_numbers(python: WarmPython, modules: Path) -> None:
    draws = "random.random(), n.rand(), n.default_rng().random(), uuid.uuid4()"
    (modules / "draw.py").write_text(f"import random, numpy.random as n, uuid\nprint({draws})")
    drawn = list[str]()
    for _ in range(3):
        started(python, modules, "draw").wait()
        drawn += (modules / "out").read_text().split()
    assert len(set(drawn)) == 12


def test_a_lock_is_the_childs_until_it_ends(python: WarmPython, modules: Path) -> None:
    (modules / "hold.py").write_text("import sys; sys.stdin.read()")
    lock = os.open(modules / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    hears, says = os.pipe()
    with (modules / "out").open("w") as out:
        process = python.start("hold", [], [hears, out.fileno(), 2], dict(os.environ), pass_fds=[lock])
    os.close(hears)
    os.close(lock)
    with (modules / "lock").open() as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        os.close(says)
        assert process.wait() == 0
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_its_children_outlive_it_and_it_ends_with_the_last_one_who_could_ask(modules: Path) -> None:
    python = WarmPython([], os.environ)
    (modules / "wait.py").write_text("import time; time.sleep(600)")
    process = started(python, modules, "wait", new_session=True)
    server = python.process
    assert server is not None
    python.close()
    assert server.returncode == 0
    assert psutil.Process(process.pid).is_running() and process.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_where_the_warm_python_was_killed_a_cold_one_does_the_work(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_here", None)
    (modules / "write.py").write_text("print('written')")

    def write() -> WarmProcess | subprocess.Popen[bytes]:
        with (modules / "out").open("w") as out:
            process = warm.start_module("write", [], [0, out.fileno(), 2], dict(os.environ), loaded=["json"])
        assert process.wait() == 0 and (modules / "out").read_text() == "written\n"
        return process

    assert isinstance(write(), WarmProcess)
    first = warm._here
    assert first is not None and first.process is not None
    first.process.kill()
    write()  # by a cold one, or by a new warm one where the death is known already
    assert isinstance(write(), WarmProcess)
    assert warm._here is not first and warm._here is not None
    warm._here.close()


def test_a_warm_python_that_does_not_answer_starts_nothing_later(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still loads when whoever asked has lost patience: the work is done once, by a cold one."""
    monkeypatch.setattr(warm, "_here", None)
    monkeypatch.setattr(warm, "ANSWER_S", 0.5)
    (modules / "slow.py").write_text("import time; time.sleep(3)")
    (modules / "count.py").write_text("print('done', flush=True)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")])}
    with (modules / "out").open("a") as out:
        process = warm.start_module("count", [], [0, out.fileno(), 2], environment, loaded=["slow"])
    assert isinstance(process, subprocess.Popen) and process.wait() == 0
    assert warm._here is None
    time.sleep(4)  # a child that had been asked for would have come by now
    assert (modules / "out").read_text() == "done\n"


def test_one_that_was_kept_ends_with_what_it_was_kept_for_and_one_that_was_there_stays(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_here", None)
    (modules / "wait.py").write_text("import time; time.sleep(600)")
    (modules / "echo.py").write_text("import sys; print(sys.stdin.read())")
    with warm.kept(["json"]):
        heard = list[str]()
        assert warm.run_module("echo", (), "told", heard.append).stdout == "told\n" == heard[0]
        first = warm._here
        assert first is not None and first.process is not None and not first.is_gone
        process = started(first, modules, "wait", new_session=True)
        with warm.kept(["json"]):
            warm.run_module("echo", (), "")
        assert warm._here is first and not first.is_gone
    assert warm._here is None and first.is_gone
    assert process.poll() is None, "what it started goes on"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert warm.run_module("echo", (), "cold").stdout == "cold\n" and warm._here is None


def test_jobs_of_a_killed_driver_go_on_and_its_warm_python_ends(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.1, hold=True)
    driver = start_driver("dispatch", tmp_path, 2)
    folders = [TrialFolder.of(tmp_path, trial.trial_id) for trial in toy_trials(2)]
    until(lambda: all(map(has_begun, folders)))
    ranks = [psutil.Process(folder.starts()[-1]["pid"]) for folder in folders]
    assert not any("submitit.core._submit" in rank.cmdline() for rank in ranks), "jobs are forked"
    assert len({os.getsid(rank.pid) for rank in ranks} | {os.getsid(driver.pid)}) == 3
    for folder, rank in zip(folders, ranks, strict=True):
        record = folder.job()
        assert record.pid == rank.ppid() and os.getpgid(rank.pid) == record.process_group
    driver.kill()
    driver.wait()
    (tmp_path / "go").touch()
    until(lambda: all(folder.has_result for folder in folders))
    until(lambda: not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks))


def test_the_controller_of_a_forked_job_restarts_it_at_its_time_limit(tmp_path: Path) -> None:
    """submitit's own controller does: it warns by USR2, and starts anew what says that it wants to go on."""
    behave(tmp_path, steps=30, dt=0.2)
    (trial,) = toy_trials(1)
    profile = PROFILE.model_copy(update={"time_limit_min": 0.1, "signal_lead_s": 4})
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(profile, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: folder.is_over)
    assert folder.has_result, folder.failure()
    assert folder.result().starts > 1
    steps = [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]
    assert steps == sorted(steps) and steps[-1] == 30


def test_a_test_that_waits_in_vain_tells_what_was_said_and_where_the_process_is() -> None:
    code = "import time\ndef stays():\n    print('begun', flush=True)\n    time.sleep(600)\nstays()"
    with of_tests.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            process.communicate(timeout=0.1)
        process.kill()
    (note,) = caught.value.__notes__
    assert "in stays" in note
