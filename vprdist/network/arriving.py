"""Batches on their way to the device, and what comes back: neither waits for the other, nor the device for them.

A GPU is asked for work and does it later. Whoever copies to it on the stream that computes, or asks it for a number,
makes it wait: pictures of 480x640 take a tenth of the network's time to arrive. So pictures are read ahead, come from
pinned memory on a stream of their own while the network is busy with those before, and answers are looked at when the
next ones were asked for. On the CPU nothing is ahead and all is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vprdist.errors import UserError
from vprdist.network.loading import Shareable, loaded

AHEAD = 2
"""So many batches are on their way beside the one that is worked on; each takes memory of the device."""


class Movable(Shareable, Protocol):
    """A batch that can be brought to a device."""

    def to(self, device: torch.device) -> Any:
        """The same there. From pinned memory nobody waits for it."""


B = TypeVar("B", bound=Movable)
Place = TypeVar("Place", bound=Sized)


def arriving(
    dataset: Dataset[Any], workers: int, device: torch.device, *, collate: Callable[[Any], B | UserError] | None = None,
    ahead: bool = True, **options: Any,
) -> Iterator[B]:  # fmt: skip
    """What `loaded` reads, in order, on the device.

    Args:
        ahead: where nobody works for the data loader, a thread reads while the device is busy. The data set, `collate`
            and what `options` has to draw from are then not to be changed meanwhile.
        collate, options: as `loaded`, and the same errors.
    """
    on_gpu = device.type == "cuda"
    batches: Iterator[B] = loaded(dataset, workers, collate=collate, pin_memory=on_gpu, **options)
    if on_gpu and not workers and ahead:
        batches = read_ahead(batches, lambda: torch.cuda.set_device(device))
    return _moved(batches, device) if on_gpu else (batch.to(device) for batch in batches)


def read_ahead(batches: Iterator[B], begin: Callable[[], object] = lambda: None) -> Iterator[B]:
    """The same batches, read by a thread while the caller works on those before; errors come in their places.

    Args:
        begin: called in the thread first.
    """
    with ThreadPoolExecutor(1, "reading", initializer=begin) as thread:
        read = deque(thread.submit(next, batches, None) for _ in range(AHEAD))
        while (batch := read.popleft().result()) is not None:
            read.append(thread.submit(next, batches, None))
            yield batch


def _moved(batches: Iterator[B], device: torch.device) -> Iterator[B]:
    """Batches of pinned memory on a GPU: each is copied while those before are worked on."""
    copying, done = _copying(device), deque[torch.cuda.Event]()
    for batch in batches:
        with torch.cuda.stream(copying):
            sent: B = batch.to(device)
        working = torch.cuda.current_stream(device)
        working.wait_stream(copying)
        for tensor in sent.tensors:
            tensor.record_stream(working)  # its memory is not given away while it is worked on
        yield sent
        del sent
        done.append(torch.cuda.current_stream(device).record_event())
        if len(done) > AHEAD:
            # The device has two batches left to do: nobody waits, and memory does not grow with what is asked for.
            done.popleft().synchronize()


@lru_cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    """The stream that copies to a device. One for all: memory that was used on one stream stays that stream's."""
    return torch.cuda.Stream(device)


class Answers(Generic[Place]):
    """Takes rows from the device to the CPU, in order, while the device goes on with what it was asked for since."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._coming: deque[tuple[Place, Tensor, torch.cuda.Event]] = deque()

    def take(self, place: Place, rows_ND: Tensor) -> None:
        """What to do with rows that arrived, (N, …) on the CPU."""
        raise NotImplementedError

    def put(self, place: Place, parts: Sequence[Tensor]) -> None:
        """Rows of some batches, the parts behind each other, as many of them as the place has room for."""
        rows_ND = torch.cat(list(parts))[: len(place)]
        if not self._on_gpu:
            self.take(place, rows_ND)
            return
        host_ND = torch.empty(rows_ND.shape, dtype=rows_ND.dtype, pin_memory=True)
        host_ND.copy_(rows_ND, non_blocking=True)
        self._coming.append((place, host_ND, torch.cuda.current_stream(rows_ND.device).record_event()))
        while len(self._coming) > AHEAD:
            self._take_first()

    def finish(self) -> None:
        """Take what is still on its way."""
        while self._coming:
            self._take_first()

    def _take_first(self) -> None:
        place, host_ND, arrived = self._coming.popleft()
        arrived.synchronize()
        self.take(place, host_ND)
