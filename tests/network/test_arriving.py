"""Batches that are read ahead are those that would be read otherwise, errors come in their places, no thread stays.

What a GPU adds, streams and pinned memory, is compared in tests/gpu.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from tests.network.test_loading import Pictures, numbers, refusal
from vprdist.errors import DataError
from vprdist.network.arriving import AHEAD, Answers, arriving, read_ahead
from vprdist.network.batch import Batch
from vprdist.network.loading import loaded

CPU = torch.device("cpu")


def refuse(batch: Batch) -> Batch | DataError:
    return DataError("a.jpg", "the picture is cut") if int(batch.image[0, 0, 0, 0]) == 3 else batch


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_in_order_whoever_reads_them(workers: int) -> None:
    assert numbers(arriving(Pictures(), workers, CPU, batch_size=None)) == [0, 1, 2, 3, 4]
    assert refusal(arriving(Pictures(), workers, CPU, collate=refuse, batch_size=None)).startswith("a.jpg: ")


def test_a_thread_reads_ahead_and_no_further() -> None:
    """While one batch is worked on, the next ones are read; a reader that ran off would fill the memory."""
    read, begun = list[int](), list[str]()
    enough = threading.Semaphore(0)

    def reading() -> Iterator[Batch]:
        for number in range(6):
            read.append(number)
            enough.release()
            yield Batch(torch.full((1, 3, 8, 8), number, dtype=torch.uint8), None)

    found = list[int]()
    for batch in read_ahead(reading(), lambda: begun.append(threading.current_thread().name)):
        found.append(int(batch.image[0, 0, 0, 0]))
        for _ in range(AHEAD + 1 if len(found) == 1 else len(found) + AHEAD <= 6):
            assert enough.acquire(timeout=60), "the next ones are read while this one is worked on"
        assert len(read) <= len(found) + AHEAD
    assert found == read == [0, 1, 2, 3, 4, 5] and len(begun) == 1 and begun[0] != threading.current_thread().name


def test_an_error_comes_in_its_place_and_no_thread_stays() -> None:
    before = threading.active_count()
    found = list[int]()
    ahead = read_ahead(loaded(Pictures(), 0, collate=refuse, batch_size=None))
    with pytest.raises(DataError, match=r"a\.jpg"):
        found.extend(int(batch.image[0, 0, 0, 0]) for batch in ahead)
    assert found == [0, 1, 2]
    stopped = read_ahead(loaded(Pictures(), 0, batch_size=None))
    assert int(next(stopped).image[0, 0, 0, 0]) == 0
    stopped.close()
    assert threading.active_count() == before


class Kept(Answers[npt.NDArray[np.float32]]):
    def take(self, place: npt.NDArray[np.float32], rows_ND: Tensor) -> None:
        place[:] = rows_ND.numpy()


def test_answers_are_the_rows_of_all_parts_that_there_is_room_for() -> None:
    out, rows = np.zeros((7, 2), np.float32), torch.arange(16.0).reshape(8, 2)
    kept = Kept(CPU)
    kept.put(out[:4], [rows[:2], rows[2:4]])
    kept.put(out[4:], [rows[4:6], rows[6:]])
    kept.finish()
    assert np.array_equal(out, rows[:7].numpy())
