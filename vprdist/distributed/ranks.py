"""The ranks of one job: who am I, how do we meet, how do we gather."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vprdist.distributed.meeting import LostRankError as LostRankError
from vprdist.distributed.meeting import meet
from vprdist.distributed.world import World
from vprdist.errors import Stopped
from vprdist.machine import kept_memory

COLLECTIVE_S = 3600
"""How long a rank waits inside a collective: rank 0 may search a large gallery while the others wait. A rank that dies
is noticed at once all the same, since its connections close."""


SIGNAL_S = 3.0
CONTEXT_BYTES = 500 << 20
"""Memory that CUDA and its libraries take of a GPU for each process, beside its tensors."""
CONNECTION_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused")
"""What gloo says when the other end of one of its connections is gone."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of its job."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This rank's part of `count` items, contiguous, sizes differing by at most one."""
        low, high = (count * r // self.world_size for r in (self.rank, self.rank + 1))
        return slice(low, high)

    def gather_first(self, rows_ND: Tensor) -> list[Tensor] | None:
        """Every rank's rows, in the order of the ranks, on rank 0; None elsewhere. All must have one shape."""
        if self.world_size == 1:
            return [rows_ND]
        parts = [torch.empty_like(rows_ND) for _ in range(self.world_size)] if self.is_first else None
        dist.gather(rows_ND.contiguous(), parts, dst=0)
        return parts

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the ranks."""
        if self.world_size > 1:
            dist.all_reduce(value)
            value = value / self.world_size
        return value

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag True on every rank when it is True on one. It travels on the CPU: no GPU is waited for."""
        if self.world_size == 1:
            return flags
        values = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return tuple(map(bool, values.tolist()))

    def gather_with_gradient(self, rows_ND: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks in order; only this rank's own carry a gradient.

        A loss that every rank computes from all rows thus gives each rank the whole gradient of its own.

        Args:
            counts: how many rows each rank has.
        """
        if self.world_size == 1:
            return rows_ND
        longest = max(counts)
        padded = rows_ND.new_zeros(longest, rows_ND.shape[1])
        padded[: len(rows_ND)] = rows_ND.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        parts[self.rank] = rows_ND
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def share_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite every rank's tensors with those of rank 0."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()


def pick_device(local_rank: int) -> torch.device:
    """This rank's GPU where there is one: the only visible one, or the one of its local rank."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def device_name(device: torch.device) -> str:
    """The GPU, or the CPU and its threads."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu x{torch.get_num_threads()}"


def _keep_to_share(device: torch.device, share: float) -> None:
    """Other trials have the same GPU: what this one's tensors may take is its part of what all contexts leave."""
    if share < 1:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(max(share / 2, share - CONTEXT_BYTES / total), device)


def _make_exact(device: torch.device) -> None:
    """The same seed gives the same result on this GPU, and float32 is float32."""
    torch.cuda.set_device(device)
    # One convolution algorithm for one shape, chosen without a stopwatch.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # TF32, cuDNN's default for convolutions, keeps ten bits of a float32: who wants speed says bf16.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextlib.contextmanager
def join(world: World, rendezvous: Path) -> Iterator[Ranks]:
    """Meet the other ranks; NCCL on GPUs, gloo on the CPU, where memory that is freed is kept meanwhile.

    Args:
        rendezvous: the file through which they meet, where `world` does not name one (`meeting`).

    Raises:
        TimeoutError: rank 0 or another did not appear in time.
        LaunchError: every one of the profile's ports is taken, or others had a hand in the meeting.
        LostRankError: another rank died, or left with an error of its own.
        Stopped: another rank left since the job was asked to.
    """
    device = pick_device(world.local_rank)
    if device.type == "cuda":
        _make_exact(device)
        _keep_to_share(device, world.device_share)
    with kept_memory(device.type), _met(world, rendezvous, device):
        yield Ranks(world.rank, world.world_size, device)


@contextlib.contextmanager
def _met(world: World, rendezvous: Path, device: torch.device) -> Iterator[None]:
    """All ranks, or this one alone; errors as `join`."""
    if world.world_size == 1:
        yield
        return
    store = meet(world, world.rendezvous or rendezvous)
    # What lies on the CPU goes through gloo on GPU jobs too: flags that stop a run must not wait for a GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend, store=store, rank=world.rank, world_size=world.world_size, timeout=timedelta(seconds=COLLECTIVE_S)
    )
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in CONNECTION_LOST):
            raise
        if _asked_to_leave(world):
            raise Stopped from None  # the other rank saw the signal first
        raise LostRankError(world.rank) from None
    finally:
        dist.destroy_process_group()


def _asked_to_leave(world: World) -> bool:
    """Whether the whole job is asked to leave: a signal reaches ranks some moments apart."""
    end = time.monotonic() + SIGNAL_S
    while not world.should_stop():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
