"""A full disk and a folder without locks are told of with the path and a remedy, wherever they are met."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from vprdist.console import guarded
from vprdist.disk import DiskError
from vprdist.evaluation import descriptors
from vprdist.files import append_json_line, locked, write_json, write_text
from vprdist.launch import cluster
from vprdist.parquet import write_columns
from vprdist.semantics.build_locks import Builders
from vprdist.semantics.planning import PlannedShard
from vprdist.spec.computation import COMPUTATION
from vprdist.store.driving import driving
from vprdist.tensors import save_tensors

REPO = Path(__file__).resolve().parents[1]
ROWS = [float(number) / 7 for number in range(4000)]


@contextmanager
def no_room(size: int = 512) -> Iterator[None]:
    """No file may grow beyond that: a real refusal of the system's, without a disk to fill."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(path: Path) -> None:
    save_tensors(path, {"weight": torch.zeros(5000)})


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_json(path, ROWS), lambda path: write_columns(path, {"a": ROWS}), save,
        lambda path: append_json_line(path, {"rows": ROWS}),
    ],
)  # fmt: skip
def test_whatever_is_written_names_its_path_and_leaves_nothing_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Any
) -> None:
    path = tmp_path / "result"

    def work(console: object) -> int:
        with no_room():
            write(path)
        return 0

    assert guarded(work) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: no larger files are allowed here. Make room ("), said
    assert "MB and " in said and "vprdist prune" in said and "jobs go on; then start the same command again" in said
    assert not [each for each in tmp_path.iterdir() if each.suffix == ".tmp"]


def test_a_mapping_that_the_disk_cannot_hold_is_refused_before_it_is_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later the process would be killed, by a signal that says nothing."""
    monkeypatch.setattr(descriptors, "MAPPED_BYTES", 0)
    assert descriptors.allocate(4, 4, "float32").shape == (4, 4)
    with no_room(), pytest.raises(OSError) as raised:
        descriptors.allocate(100, 100, "float32")
    assert raised.value.errno == errno.EFBIG and raised.value.filename


SMALL_DISK = 'mount -t tmpfs -o size=64k tmpfs $0 && cp -r $1 $0/runs; cat /dev/zero > $0/filler; shift; exec "$@"'


def test_a_command_on_a_full_disk_is_one_message(tmp_path: Path) -> None:
    mount, runs = tmp_path / "mount", tmp_path / "runs"
    mount.mkdir()
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here: it needs the right to (root, or user namespaces)")
    rows = [{"trial": "0123456789abcdef", "name": "rgb", "seed": 0}]
    manifest = {"name": "s", "objective": "recall@1", "cluster": "local", "computation": COMPUTATION, "trials": rows}
    write_json(runs / "sweeps" / "s" / "manifest.json", manifest)
    write_text(runs / "sweeps" / "s" / "sweep.yaml", "name: s\n")
    words = [sys.executable, "-m", "vprdist", "cancel", "s", "--yes", "--runs", str(mount / "runs")]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SMALL_DISK, str(mount), str(runs), *words], capture_output=True, text=True,
        cwd=REPO, check=False,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert last.startswith(f"error: {mount}/runs/") and ": the disk is full. Make room (0.0 MB" in last, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without `-o flock`, NFS 3 without its lock service."""

    def refuse(*words: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)


def wait(context: Any) -> None:
    with context:
        pass


@pytest.mark.usefixtures("lockless")
@pytest.mark.parametrize(
    "take",
    [
        lambda folder: wait(locked(folder / "lock")), lambda folder: wait(locked(folder / "lock", blocking=False)),
        lambda folder: wait(driving(folder)), lambda folder: wait(Builders(folder)),
        lambda folder: cluster._take(folder / "lock"),
    ],
)  # fmt: skip
def test_a_folder_without_locks_is_refused_and_not_waited_for(tmp_path: Path, take: Any) -> None:
    with pytest.raises(DiskError) as raised:
        take(tmp_path)
    said = str(raised.value)
    assert said.startswith(f"{tmp_path}: files cannot be locked in this folder: 'No locks available'."), said
    assert "-o flock" in said


@pytest.mark.usefixtures("lockless")
def test_a_builder_without_locks_does_not_take_every_shard_for_somebody_elses(tmp_path: Path) -> None:
    shard = PlannedShard(id="0" * 16, city="ada", side="query", first=0, keys=())
    with pytest.raises(DiskError):
        wait(Builders(tmp_path).making(shard))
