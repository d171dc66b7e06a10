"""Workers that cannot hand their pictures over say so; nobody waits for them for ever."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vprdist.errors import DataError, UserError
from vprdist.network import loading
from vprdist.network.batch import Batch
from vprdist.network.loading import loaded


class Pictures(Dataset[Batch]):
    """Batches of one picture each."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Batch:
        return Batch(torch.full((1, 3, 8, 8), index, dtype=torch.uint8), None)


class NoRoom(Pictures):
    """Shared memory gives the worker no more than ten kilobytes."""

    def __getitem__(self, index: int) -> Batch:
        assert get_worker_info() is not None, "the limit is the worker's alone"
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return Batch(torch.zeros(1, 3, 80, 80, dtype=torch.uint8), None)


class Hanging(Pictures):
    """A disk that does not answer."""

    def __getitem__(self, index: int) -> Batch:
        time.sleep(0.6)
        return super().__getitem__(index)


def refusal(batches: Iterator[Batch]) -> str:
    """What is raised. Nothing of it is kept: a loader that lives on would be forked with the next one's workers."""
    try:
        numbers(batches)
    except UserError as error:
        return str(error)
    raise AssertionError("nothing is raised")


def numbers(batches: Iterator[Batch]) -> list[int]:
    return [int(batch.image[0, 0, 0, 0]) for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whoever_reads_them(workers: int) -> None:
    assert numbers(loaded(Pictures(), workers, batch_size=None)) == [0, 1, 2, 3, 4]


def test_a_mistake_that_a_worker_found_is_raised() -> None:
    def refuse(batch: Batch) -> Batch | DataError:
        return DataError("a.jpg", "the picture is cut") if int(batch.image[0, 0, 0, 0]) == 2 else batch

    assert refusal(loaded(Pictures(), 1, collate=refuse, batch_size=None)) == "a.jpg: the picture is cut."


def test_too_little_shared_memory_is_said_in_the_workers_own_words() -> None:
    said = refusal(loaded(NoRoom(), 2, batch_size=None))
    assert said.startswith("/dev/shm: a worker's pictures do not fit into shared memory: 'unable to "), said
    assert "File too large" in said and "run.workers: 0" in said


@pytest.mark.parametrize("free", [0.05, 0.5])
def test_workers_that_hang_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(loading, "PART_S", 0.1)
    monkeypatch.setattr(loading, "PARTS", 2)
    room = SimpleNamespace(total=10**9, used=int((1 - free) * 10**9), free=int(free * 10**9))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: room)
    said = refusal(loaded(Hanging(), 1, batch_size=None))
    assert said.startswith("data loader: 1 worker process(es) gave no picture within 0.2 s. Look whether the disks")
    assert ("/dev/shm" in said) == (free == 0.05), "it is blamed only where it is nearly full"


def test_a_job_that_was_suspended_goes_on_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock ran on meanwhile, so that the wait it was suspended in is over at once."""
    suspensions = [0, 1, 2, 5]
    get = _MultiProcessingDataLoaderIter._try_get_data
    waits = iter(range(1000))

    def over_at_once(self: Any, timeout: float) -> Any:
        return (False, None) if next(waits) in suspensions else get(self, timeout)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_try_get_data", over_at_once)
    assert numbers(loaded(Pictures(), 2, batch_size=None)) == [0, 1, 2, 3, 4]
    assert next(waits) > max(suspensions), "each of them was one"


def test_every_data_loader_is_this_one() -> None:
    package = Path(loading.__file__).parents[1]
    found = [path.name for path in package.rglob("*.py") if "DataLoader(" in path.read_text()]
    assert found == ["loading.py"]
