"""The ranks of one job: who am I, how do we meet, how do we gather."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from vprdist.files import write_json

MEETING_S = 300
"""How long ranks wait for each other before the job is given up."""


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

    def gather_rows(self, rows_ND: Tensor, total: int) -> Tensor:
        """Every rank's `share` rows as one (total, D) tensor in order, on every rank."""
        if self.world_size == 1:
            return rows_ND
        longest = -(-total // self.world_size)
        padded = rows_ND.new_zeros(longest, rows_ND.shape[1])
        padded[: len(rows_ND)] = rows_ND
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        sizes = [total * (r + 1) // self.world_size - total * r // self.world_size for r in range(self.world_size)]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over the ranks."""
        if self.world_size > 1:
            dist.all_reduce(value)
            value = value / self.world_size
        return value

    def any(self, flag: bool) -> bool:
        """True on every rank when it is True on one."""
        if self.world_size == 1:
            return flag
        value = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

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


@contextlib.contextmanager
def join(rank: int, world_size: int, local_rank: int, rendezvous: Path) -> Iterator[Ranks]:
    """Meet the other ranks; NCCL on GPUs, gloo on the CPU.

    Rank 0 lets the system choose a free port and publishes it in the file `rendezvous` on shared storage, so that
    jobs that share a node never clash. The file must be of this start of the job alone.

    Raises:
        TimeoutError: rank 0 did not appear in time.
    """
    device = pick_device(local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world_size == 1:
        yield Ranks(0, 1, device)
        return
    timeout = timedelta(seconds=MEETING_S)
    if rank == 0:
        host = socket.gethostname() if os.environ.get("SLURM_JOB_NUM_NODES", "1") != "1" else "127.0.0.1"
        store = TCPStore(host, 0, world_size, is_master=True, timeout=timeout, wait_for_workers=False)
        write_json(rendezvous, {"host": host, "port": store.port})
    else:
        host, port = _await_address(rendezvous)
        store = TCPStore(host, port, world_size, is_master=False, timeout=timeout)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    try:
        yield Ranks(rank, world_size, device)
    finally:
        dist.destroy_process_group()


def _await_address(rendezvous: Path) -> tuple[str, int]:
    end = time.monotonic() + MEETING_S
    while time.monotonic() < end:
        if rendezvous.exists():
            address = json.loads(rendezvous.read_text())
            return str(address["host"]), int(address["port"])
        time.sleep(0.05)
    # No mistake of the user's: another attempt may find a healthier node.
    raise TimeoutError(f"rank 0 did not publish its address in {rendezvous} within {MEETING_S} s; see its log")
