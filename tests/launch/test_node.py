"""What a rank finds on its node: its GPUs, and a port to meet the others at."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
import torch
from toy import JOB, behave, toy_trials

from vprdist.disk import DiskError
from vprdist.distributed.ranks import join, pick_device
from vprdist.distributed.world import World
from vprdist.errors import DataError, LaunchError, WorkersHang
from vprdist.files import read_json
from vprdist.launch.node import run_job, visible_gpus
from vprdist.launch.params import THREAD_VARIABLES
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder


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


@pytest.mark.parametrize(
    ("share", "total_gb", "fraction"), [(1.0, 80, None), (0.25, 80, 0.25 - 500 / 1024 / 80), (0.5, 1, 0.25)]
)
def test_a_trial_beside_others_takes_its_share_of_what_their_contexts_leave(monkeypatch, share, total_gb, fraction):
    """There is no GPU here: what torch is told is looked at."""
    told = []
    gpu = SimpleNamespace(total_memory=total_gb << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda part, device: told.append(part))
    with join(World(device_share=share), Path("unused")):
        pass
    wanted = [] if fraction is None else [pytest.approx(fraction, abs=1e-6)]
    assert told == wanted


@pytest.mark.parametrize(("cluster", "attempt", "final"), [("slurm", 1, False), ("slurm", 2, True), ("local", 1, True)])
def test_what_is_wrong_on_one_node_alone_is_tried_on_another(tmp_path, monkeypatch, cluster, attempt, final):
    """Data, cache and weights were right when the job was submitted: a node may have lost the disk they lie on."""
    behave(tmp_path, user_error=[0])
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    folder.write_trial(trial)
    record = JobRecord(
        state="submitted", cluster=cluster, name="vprdist-x", token="token", attempt=attempt, job=JOB, parameters={},
        machine="m", num_threads=1,
    )  # fmt: skip
    folder.write_job(record)
    world = SimpleNamespace(global_rank=0, local_rank=0, num_tasks=1, num_nodes=1, job_id="7")
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: world)
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(DataError, match="a place has no position"):
            run_job(str(folder.path), "token", JOB)
    finally:
        signal.signal(signal.SIGUSR2, before)
    failure = folder.failure()
    assert (failure is not None and failure.kind == "mistake") == final


@pytest.mark.parametrize("fault", ["full disk", "workers hang"])
def test_what_the_machine_lacks_for_a_while_is_no_mistake_of_the_trials(tmp_path, monkeypatch, fault):
    """The job dies of it with the path in its last words; its other attempts are made."""
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    folder.write_trial(trial)
    record = JobRecord(
        state="submitted", cluster="local", name="vprdist-x", token="token", attempt=1, job=JOB, parameters={},
        machine="m", num_threads=1,
    )  # fmt: skip
    folder.write_job(record)
    world = SimpleNamespace(global_rank=0, local_rank=0, num_tasks=1, num_nodes=1, job_id="7")
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: world)

    def fail(*words: object) -> None:
        if fault == "workers hang":
            raise WorkersHang("data loader", "1 worker process(es) gave no picture within 1800 s")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.path / "checkpoint"))

    monkeypatch.setattr("toy.run_toy", fail)
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    before = signal.getsignal(signal.SIGUSR2)
    try:
        said = r"checkpoint: the disk is full\. Make room .* The job is tried again|gave no picture"
        with pytest.raises((DiskError, WorkersHang), match=said):
            run_job(str(folder.path), "token", JOB)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert folder.failure() is None


def taken(stack: ExitStack, count: int) -> list[int]:
    """Neighbouring ports, all of them listened at, below those that the system gives to whoever asks for any."""
    for first in range(21000, 26000, 17):
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
    assert results.get(timeout=120) == (1, True)
    second.join(30)
    return int(read_json(meeting)["port"])


def test_a_port_that_somebody_has_is_left_to_them(tmp_path):
    with ExitStack() as stack:
        first, *_, last = ports = taken(stack, 3)
        words = rf"none of the profile's is free: \[{first}, {last}\]"
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
