"""The process beside a driver: servers that never answer, secrets, several drivers, and the real driver of a sweep."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trackers.making import NAME, comparable, made_sweep, rows_of, write_pages
from tests.trackers.reading import READERS, ready, word  # noqa: F401
from tests.trackers.test_numbers import check_rows
from tests.waiting import until
from vprdist.cli import main
from vprdist.console import Console
from vprdist.machine import pid_start
from vprdist.spec.doors import TrackerName
from vprdist.trackers import beside
from vprdist.trackers.beside import Beside, tracked
from vprdist.trackers.telling import run_id_of

SECRET = "hunter2-hunter2-hunter2"
SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567", "MLFLOW_TRACKING_PASSWORD": SECRET,
    "MLFLOW_TRACKING_TOKEN": f"token-{SECRET}", "TRACKIO_WRITE_TOKEN": f"write-{SECRET}", "HF_TOKEN": f"hf-{SECRET}",
}  # fmt: skip


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts, and says nothing: the kernel takes what is sent."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def bytes_below(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_server_that_never_answers_holds_nobody_up_and_loses_nothing(
    tmp_path, monkeypatch, capsys, silent_server, name
):
    ready(name, monkeypatch, tmp_path)
    runs, folders = made_sweep(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{SECRET}@{silent_server}")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://{silent_server}")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", SECRETS["WANDB_API_KEY"])
    monkeypatch.setattr(beside, "STILL_S", 2.0)
    shown = console()
    with tracked(runs, NAME, [TrackerName.of(name)], shown):
        processes = until(children)  # one that begins does not say at once what it is
    said = shown.file.getvalue()
    assert f"Nothing is lost: vprdist track {NAME} --tracker {name} sends what is missing." in said
    assert not any(pid_start(pid) for pid in processes), "nothing of it is left"
    assert SECRET not in said and SECRET.encode() not in bytes_below(tmp_path)
    assert SECRETS["WANDB_API_KEY"].encode() not in bytes_below(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["track", NAME, "--tracker", name, "--runs", str(runs)]) == 0
    assert f"{name}: {len(folders) + 1} run(s) are at " in " ".join(capsys.readouterr().out.split())
    for folder in folders:
        check_rows(runs, name, folder)


def children() -> list[int]:
    """Processes that this one started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == os.getpid() and b"vprdist.trackers" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


def test_secrets_of_the_environment_are_nowhere(tmp_path, monkeypatch, word):  # noqa: F811
    runs, folders = made_sweep(tmp_path)
    write_pages(runs)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    shown = console()
    with tracked(runs, NAME, [TrackerName.of(word)], shown):
        pass
    assert "run(s) are at" in shown.file.getvalue(), "it has sent everything"
    below = bytes_below(tmp_path)
    for value in SECRETS.values():
        assert value not in shown.file.getvalue() and value.encode() not in below
    check_rows(runs, word, folders[0])


def test_a_process_whose_driver_was_killed_sends_the_rest_and_leaves(tmp_path, monkeypatch):
    ready("tensorboard", monkeypatch, tmp_path)
    runs, (folder,) = made_sweep(tmp_path, states=("finished",))
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom vprdist.spec.doors import TrackerName\n"
        "from vprdist.trackers.beside import Beside\n"
        f"one = Beside.start(Path({str(runs)!r}), {NAME!r}, TrackerName.of('tensorboard'))\n"
        "print(one.process.pid, flush=True)\ntime.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    born = pid_start(pid)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    until(lambda: pid_start(pid) != born)
    assert check_rows(runs, "tensorboard", folder).notes["state"] == "finished"


def test_two_drivers_of_a_sweep_do_not_send_twice(tmp_path, monkeypatch):
    ready("tensorboard", monkeypatch, tmp_path)
    runs, folders = made_sweep(tmp_path)
    choice, shown = TrackerName.of("tensorboard"), console()
    first = Beside.start(runs, NAME, choice)
    until(lambda: first.account and not first.account.left and first.account.runs)
    with tracked(runs, NAME, [choice], shown):
        pass
    assert "another process sends this sweep, and goes on" in shown.file.getvalue()
    first.let_go()
    assert first.wait(180, 600)
    for folder in folders:
        check_rows(runs, "tensorboard", folder)


OWN = '''
import json
from pathlib import Path


class Lines:
    """A tracker of a user's own: one line a call."""

    def __init__(self, place, ending: str = ".txt"):
        self.file = Path(place.folder) / f"lines{ending}"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.where, self.look = str(self.file), f"cat {self.file}"

    def open(self, facts, points, kept):
        return LinesRun(self.file, facts.run_id, points)


class LinesRun:
    def __init__(self, file, run_id, sent):
        self.file, self.run_id, self.sent = file, run_id, sent

    def log(self, points):
        with self.file.open("a") as stream:
            for point in points:
                for name, number in point.numbers.items():
                    stream.write(json.dumps([self.run_id, name, point.step, point.time, number]) + "\\n")

    def kept(self):
        return {}

    def finish(self, standing):
        with self.file.open("a") as stream:
            stream.write(json.dumps([self.run_id, standing.state]) + "\\n")
        return {}
'''


def test_a_class_of_ones_own_is_a_tracker(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    runs, folders = made_sweep(tmp_path, track="track: [{name: mine.py:Lines, ending: .jsonl}]")
    assert main(["track", NAME, "--runs", str(runs)]) == 0
    (made,) = (runs / "sweeps" / NAME / "track").glob("*/store/lines.jsonl")
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    for folder in folders:
        rows = [tuple(row[1:]) for row in lines if len(row) == 5 and row[0] == run_id_of(NAME, folder.trial_id)]
        assert comparable(rows) == comparable(rows_of(folder))


def test_a_class_of_ones_own_that_fails_says_so_and_costs_nothing(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN.replace("standing.state]", "1 / 0]"))
    made_sweep(tmp_path, track="track: [mine.py:Lines]")
    assert main(["track", NAME, "--runs", str(tmp_path / "runs")]) == 1
    assert "ZeroDivisionError: division by zero. Nothing is lost" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "it names no tracker. Name one by --tracker. Valid: wandb"),
        (["--tracker", "wandbx"], "--tracker: no such tracker: 'wandbx'. Did you mean 'wandb'?"),
        (["--tracker", "gone.py:Mine"], "--tracker: no such file"),
    ],
)
def test_a_wrong_word_is_one_message_and_nothing_is_written(tmp_path, capsys, words, message):
    runs, _ = made_sweep(tmp_path)
    assert main(["track", NAME, *words, "--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (runs / "sweeps" / NAME / "track").exists()
