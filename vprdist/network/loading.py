"""Pictures read by worker processes. They hand them over in shared memory, which containers have little of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vprdist.errors import LaunchError, UserError, WorkersHang, first_line

PART_S, PARTS = 30.0, 60
"""How long a batch may take: reading one takes seconds, a file server that is started again takes minutes.

It is waited for in parts: while a job is suspended its clock runs on, and that ends the part it falls in, no more.
"""
TIMED_OUT = "DataLoader timed out"
SHARED, FULL = "/dev/shm", 0.9
"""Where shared memory lies, and the share of it in use above which it may be what is missing."""


class Shareable(Protocol):
    """A batch that can be handed from one process to another."""

    @property
    def tensors(self) -> Sequence[Tensor]:
        """All of its tensors."""


B = TypeVar("B", bound=Shareable)


def loaded(
    dataset: Dataset[Any], workers: int, *, collate: Callable[[Any], B | UserError] | None = None, **options: Any
) -> Iterator[B]:
    """What `workers` processes read, or this one where there are none, in order.

    Args:
        collate: makes a batch of what the data set has; None: it has batches.
        options: of torch's data loader.

    Raises:
        UserError: the data set or `collate` handed one over; the workers have too little shared memory, or hang.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset, collate_fn=_Sharing(collate), num_workers=workers, timeout=PART_S if workers else 0,
        multiprocessing_context="fork" if workers else None,  # kept pictures are shared that way
        **options,
    )  # fmt: skip
    batches = iter(loader)
    try:
        while (batch := _next(batches, workers)) is not None:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    finally:
        del batches  # the workers end at once, though the error that is raised keeps this frame


def _next(batches: Iterator[Any], workers: int) -> Any:
    """None after the last."""
    for _ in range(PARTS):
        try:
            return next(batches, None)
        except RuntimeError as error:
            said = first_line(error)
            if "Bus error" not in said and TIMED_OUT not in said:
                raise
        if TIMED_OUT not in said:
            raise _too_little(said)
    raise _hanging(workers)


class _Sharing:
    """Puts a batch into shared memory in the worker's own time.

    torch does so in a thread of the worker, which prints what goes wrong and drops the batch: everybody waits for it.
    """

    def __init__(self, collate: Callable[[Any], Any] | None) -> None:
        self.collate = collate

    def __call__(self, items: Any) -> Any:
        batch = items if self.collate is None else self.collate(items)
        if get_worker_info() is None or isinstance(batch, UserError):
            return batch
        try:
            for tensor in batch.tensors:
                tensor.share_memory_()
        except RuntimeError as error:
            return _too_little(first_line(error))
        return batch


def _hanging(workers: int) -> WorkersHang:
    fault = f"{workers} worker process(es) gave no picture within {PARTS * PART_S:g} s"
    remedy = "Look whether the disks of pictures and caches answer on this machine; then let the trial go on."
    return WorkersHang("data loader", fault, None, f"{remedy} Or {_remedy()}" if _is_full() else remedy)


def _is_full() -> bool:
    """Whether shared memory is nearly full, or not there."""
    try:
        found = shutil.disk_usage(SHARED)
    except OSError:
        return True
    return found.used >= FULL * found.total


def _too_little(said: str) -> LaunchError:
    fault = "a worker's pictures do not fit into shared memory"
    return LaunchError(SHARED, fault, said, _remedy())


def _remedy() -> str:
    try:
        found = shutil.disk_usage(SHARED)
        room = f"{found.free / 1e6:.0f} of {found.total / 1e6:.0f} MB are free"
    except OSError:
        room = "it is not there"
    return f"{SHARED} is too small ({room}): give the container more (--shm-size=2g), or set `run.workers: 0`."
