"""What a rank knows of its job before torch is loaded: handed by the node to the trial function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vprdist.private import OURSELVES, Trust


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among the tasks of its job, and what its node offers. The default is one process by itself.

    Args:
        rank, world_size, local_rank: this process among the job's tasks.
        rendezvous: a file, of this start of the job alone, through which the ranks meet.
        ports: the first and last port at which rank 0 may be met; None: any free one.
        num_threads: CPU threads for this rank; None leaves the choice to the libraries.
        scratch: a folder on this node's own disk for copies of what is read often; None: read shared storage.
        trust: who else may write to the scratch folder's own path.
        device_share: of the device's memory, where other trials have the same one.
        should_stop: True once the job was asked to leave; asked at step boundaries.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    rendezvous: Path | None = None
    ports: tuple[int, int] | None = None
    num_threads: int | None = None
    scratch: Path | None = None
    trust: Trust = OURSELVES
    device_share: float = 1.0
    should_stop: Callable[[], bool] = lambda: False
