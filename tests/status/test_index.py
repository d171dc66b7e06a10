"""The index of a sweep's finished trials: as told as the folders themselves, whatever became of either."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vprdist.files import write_json
from vprdist.status import every
from vprdist.status.every import facts_of
from vprdist.status.facts import Facts, Queue, read_facts
from vprdist.status.find import find_sweep
from vprdist.store import index
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

COUNT = 60


def finish(folder: TrialFolder, number: int) -> None:
    """What a finished trial leaves, as far as status reads it."""
    begin = 1_700_000_000.0 + number
    folder.write_job(JobRecord(
        state="submitted", cluster="local", name=f"vprdist-{folder.trial_id}", token="a" * 16, attempt=1, job="toy:job",
        max_requeues=1, machine="m", lost=0, parameters={"nodes": 1}, job_id=str(number),
    ))  # fmt: skip
    folder.add_start({"start": "a-0-0", "attempt": 1, "token": "a" * 16, "host": f"node{number}", "time": begin})
    rows = [{"kind": "train", "step": step, "steps": 4, "loss": 0.1, "time": begin + step} for step in (1, 4)]
    folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder.result_file, {"metrics": {"recall@1": number / 100, "recall@5": 0.9}, "wall_s": 7.0})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep whose trials are finished, all but the last two."""
    monkeypatch.setattr(index, "SETTLED_NS", -1)
    trials = [f"{number:016x}" for number in range(COUNT)]
    rows = [{"trial": trial, "name": f"row {trial[-3:]}", "seed": 0} for trial in trials]
    write_json(tmp_path / "sweeps" / "toy" / "manifest.json", {"objective": "recall@1", "trials": rows})
    for number, trial in enumerate(trials[:-2]):
        finish(TrialFolder.of(tmp_path, trial), number)
    return tmp_path


def told(runs: Path) -> list[Facts]:
    return facts_of(find_sweep(runs, "toy"), Queue(None), {}, 0.0)


def read(runs: Path) -> list[Facts]:
    """The slow way: every trial from its own files."""
    sweep = find_sweep(runs, "toy")
    return [read_facts(folder, sweep.names[i], "recall@1", Queue(None), {}, 0.0) for i, folder in sweep.trials.items()]


def place(runs: Path) -> Path:
    return runs / "sweeps" / "toy" / "index.json"


def test_finished_trials_are_told_from_the_index_and_read_no_more(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = read(runs)
    assert wanted[7].objective == 0.07 and wanted[7].spent_h > 0 and wanted[7].steps == 4
    assert told(runs) == wanted and place(runs).exists()
    asked: list[str] = []

    def noted(folder: TrialFolder, *rest: object) -> Facts:
        asked.append(folder.trial_id)
        return read_facts(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(every, "read_facts", noted)
    before = place(runs).stat().st_ino
    assert told(runs) == wanted
    assert asked == [f"{COUNT - 2:016x}", f"{COUNT - 1:016x}"], "those that are not finished alone"
    assert place(runs).stat().st_ino == before, "what is no news is not written again"
    finish(TrialFolder.of(runs, f"{COUNT - 1:016x}"), 99)
    assert told(runs)[-1].objective == 0.99 and told(runs) == read(runs)
    assert asked[2:] == [f"{COUNT - 2:016x}", f"{COUNT - 1:016x}", f"{COUNT - 2:016x}"]


def _replaced(folder: TrialFolder) -> None:
    write_json(folder.result_file, {"metrics": {"recall@1": 0.5}, "wall_s": 7.0})


def _grown(folder: TrialFolder) -> None:
    with folder.metrics_file.open("a") as stream:
        stream.write(json.dumps({"kind": "train", "step": 9, "steps": 9, "time": 1_700_000_300.0}) + "\n")


def _back_in_time(folder: TrialFolder) -> None:
    """Another text of the same length, and the time of writing put back."""
    before = folder.result_file.stat()
    text = folder.result_file.read_text()
    with folder.result_file.open("r+") as stream:
        stream.write(text.replace('"wall_s": 7.0', '"wall_s": 9.0'))
    os.utime(folder.result_file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _tried_before(folder: TrialFolder) -> None:
    (folder.log / "starts-1.jsonl").write_text(json.dumps({"host": "old", "time": 1_800_000_000.0}) + "\n")


def _damaged(folder: TrialFolder) -> None:
    folder.result_file.write_text("{")


def _gone(folder: TrialFolder) -> None:
    shutil.rmtree(folder.path)


def _a_copy(folder: TrialFolder) -> None:
    folder.path.rename(folder.path.with_name("away"))
    shutil.copytree(folder.path.with_name("away"), folder.path)  # with the times of the original
    folder.job_file.write_text(folder.job_file.read_text().replace('"nodes":1', '"nodes":2').replace("1\n", "1 \n"))


CHANGES = (_replaced, _grown, _back_in_time, _tried_before, _damaged, _gone, _a_copy)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_change_of_any_file_is_told(runs: Path, change: Callable[[TrialFolder], None]) -> None:
    before = told(runs)
    change(TrialFolder.of(runs, f"{7:016x}"))
    assert told(runs) == read(runs) == told(runs)
    if change is not _a_copy:
        assert told(runs)[7] != before[7]
    if change is _tried_before:  # a file of an earlier attempt counts as the others do
        earlier = TrialFolder.of(runs, f"{7:016x}").log / "starts-1.jsonl"
        earlier.write_text(earlier.read_text().replace("1800000000.0", "1850000000.0"))
        assert told(runs) == read(runs)


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b'"spent_h":') + 12
    data[at] = ord("9") if data[at] != ord("9") else ord("8")
    path.write_bytes(data)


def _other_version(path: Path) -> None:
    head, _, rest = path.read_text().partition(" ")
    path.write_text(f"{head[::-1]} {rest}")


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARMS: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink, "empty": lambda path: path.write_text(""), "flipped": _flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "no text": lambda path: path.write_bytes(b"\xff\n\n"),
    "another version's": _other_version, "a folder": _a_folder, "a pipe": _a_pipe,
    "of other objectives": lambda path: path.write_text(path.read_text().replace("recall@1\n", "recall@5\n", 1)),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_index_costs_time_alone(runs: Path, harm: str) -> None:
    told(runs)
    HARMS[harm](place(runs))
    assert told(runs) == read(runs)


def test_a_folder_that_cannot_be_written_to_has_no_index(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, rights: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(index, "publish", refuse)
    assert told(runs) == read(runs) and not place(runs).exists()


def test_a_file_that_may_still_change_under_its_stamp_is_not_kept(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "SETTLED_NS", 10**9 * 3600)
    assert told(runs) == read(runs) and not place(runs).exists(), "everything was written within this hour"


def test_a_file_that_changes_while_it_is_read_is_read_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder.of(runs, f"{7:016x}")

    def read_then_changed(given: TrialFolder, *rest: object) -> Facts:
        facts = read_facts(given, *rest)  # type: ignore[arg-type]
        if given.trial_id == folder.trial_id:
            _replaced(folder)
        return facts

    with monkeypatch.context() as patch:
        patch.setattr(every, "read_facts", read_then_changed)
        assert told(runs)[7].objective == 0.07
    assert told(runs)[7].objective == 0.5


def test_two_views_may_write_at_once(runs: Path) -> None:
    """In turns that are the worst for it, and as processes."""
    sweep = find_sweep(runs, "toy")
    first = index.Index(sweep.folder, Facts, sweep.objective, every.CODE)
    for trial, folder in sweep.trials.items():
        facts = read_facts(folder, sweep.names[trial], "recall@1", Queue(None), {}, 0.0)
        if facts.state == "done":
            first.keep(folder, index.stamp_of(folder), facts)
    _replaced(TrialFolder.of(runs, f"{7:016x}"))
    wanted = told(runs)  # a second view that has seen more writes before the first
    first.write(1)
    assert told(runs) == wanted == read(runs)
    place(runs).unlink()
    words = [sys.executable, "-m", "vprdist", "status", "toy", "--json", "--runs", str(runs)]
    views = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    shown = [json.loads(view.communicate()[0])["trials"] for view in views]
    assert shown[0] == shown[1] == shown[2] == [facts.to_json() for facts in wanted]


def test_few_trials_have_no_index_and_those_that_are_gone_leave_it(runs: Path) -> None:
    told(runs)
    size = place(runs).stat().st_size
    manifest = json.loads((runs / "sweeps" / "toy" / "manifest.json").read_text())
    manifest["trials"] = manifest["trials"][:52]
    write_json(runs / "sweeps" / "toy" / "manifest.json", manifest)
    assert told(runs) == read(runs) and place(runs).stat().st_size < size
    manifest["trials"] = manifest["trials"][:10]
    write_json(runs / "sweeps" / "toy" / "manifest.json", manifest)
    place(runs).unlink()
    assert told(runs) == read(runs) and not place(runs).exists()


def test_stamps_are_those_of_the_files(runs: Path) -> None:
    folder = TrialFolder.of(runs, f"{3:016x}")
    stamp = index.stamp_of(folder)
    newest = max(path.stat().st_ctime_ns for path in (folder.result_file, folder.log, folder.starts_file))
    assert stamp.newest_ns >= newest and stamp.earlier == () and abs(time.time_ns() - stamp.newest_ns) < 3600 * 10**9
    assert stamp == index.stamp_of(folder) == index.stamp_of(folder, ())
