"""What a rank finds on its node: its GPUs, and a port to meet the others at."""

from __future__ import annotations

import multiprocessing
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from vprdist.errors import LaunchError
from vprdist.files import read_json
from vprdist.launch.node import visible_gpus
from vprdist.ranks import join, pick_device
from vprdist.world import World


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "2"}, None),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_STEP_GPUS": "1"}, None),  # SLURM or a person wants none to be seen
        ({"SLURM_STEP_GPUS": "2,3"}, "2,3"),
        ({"SLURM_JOB_GPUS": "0", "SLURM_STEP_GPUS": "1"}, "1"),
        ({"SLURM_JOB_GPUS": "0,1"}, "0,1"),
    ],
)
def test_gpus_are_slurms_where_the_variable_was_lost(environ, wanted):
    assert visible_gpus(environ) == wanted


@pytest.mark.parametrize(("visible", "local_rank", "index"), [(4, 2, 2), (1, 3, 0), (2, 3, 1)])
def test_a_rank_takes_the_gpu_of_its_local_rank_or_the_only_one(monkeypatch, visible, local_rank, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    assert pick_device(local_rank) == torch.device("cuda", index)


def taken(stack: ExitStack, count: int) -> list[int]:
    """Neighbouring ports, all of them listened at."""
    for first in range(42000, 60000, 17):
        with ExitStack() as attempt:
            try:
                for port in range(first, first + count):
                    server = attempt.enter_context(socket.create_server(("127.0.0.1", port)))
                    server.listen()
            except OSError:
                continue
            stack.enter_context(attempt.pop_all())
            return list(range(first, first + count))
    raise AssertionError("no free ports at all")


def other_rank(rank: int, meeting: Path, results: multiprocessing.Queue) -> None:
    with join(World(rank=rank, world_size=2, rendezvous=meeting), meeting) as ranks:
        results.put((ranks.rank, *ranks.any(rank == 1)))


def meet(ports: tuple[int, int], meeting: Path) -> int:
    """Two ranks meet; the port at which they did."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    second = context.Process(target=other_rank, args=(1, meeting, results))
    second.start()
    with join(World(rank=0, world_size=2, rendezvous=meeting, ports=ports), meeting) as ranks:
        assert ranks.any(False) == (True,), "the other one says yes"
    assert results.get(timeout=30) == (1, True)
    second.join(30)
    return int(read_json(meeting)["port"])


def test_a_port_that_somebody_has_is_left_to_them(tmp_path):
    with ExitStack() as stack:
        first, *_, last = ports = taken(stack, 3)
        words = rf"one of the profile's is free; found \[{first}, {last}\]"
        alone = World(rank=0, world_size=2, ports=(first, last))
        with pytest.raises(LaunchError, match=words), join(alone, tmp_path / "never"):
            pass
        assert not (tmp_path / "never").exists(), "nobody is sent to a port that is not ours"
        # One more port than are taken: it is found, wherever the search begins.
        free = next(p for p in (first - 1, last + 1) if not_taken(p))
        wide = (min(free, first), max(free, last))
        assert meet(wide, tmp_path / "meeting") == free
        assert free not in ports


def not_taken(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
