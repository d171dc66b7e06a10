"""How many jobs a machine bears at once, and what each of them gets. A job may run several trials."""

from __future__ import annotations

from typing import NamedTuple

from vprdist.machine import usable_cores, usable_memory_gb, visible_gpus
from vprdist.spec.profile import ClusterProfile

TRIAL_GB = 2.5
"""Memory that a trial of the demo needs at most, where the profile does not say."""
SLURM_CONCURRENT, PROPOSED_CONCURRENT = 64, 8
"""Trials in flight where nobody says. All of them cost the driver one thread, and the queue shares the cluster out;
but a searcher that goes by results proposes better the fewer it has not seen yet."""


class Capacity(NamedTuple):
    """Jobs at once, threads for each rank (None: what the node gives), GPUs for each job, this machine's GPUs."""

    concurrent: int
    threads: int | None
    gpus_per_trial: int = 0
    gpus: tuple[int, ...] = ()


def capacity(profile: ClusterProfile, proposes: bool = False) -> Capacity:
    """What the profile's cluster bears; on SLURM the queue decides.

    Args:
        proposes: a searcher proposes trials from the results of earlier ones.
    """
    if profile.kind == "local":
        return local_capacity(profile)
    usual = PROPOSED_CONCURRENT if proposes else SLURM_CONCURRENT
    return Capacity(profile.max_concurrent or usual, profile.rank_cpus, profile.num_node_gpus)


def local_capacity(
    profile: ClusterProfile,
    cores: int | None = None,
    memory_gb: float | None = None,
    gpus: tuple[int, ...] | None = None,
) -> Capacity:
    """What this machine bears: as many jobs as its GPUs, or else cores, allow, within its memory.

    Args:
        profile: a local profile; its `max_concurrent`, `cpus_per_task`, `memory_gb` win where set.
        cores: of this machine; found out when None, as are `memory_gb` and `gpus`.
    """
    cores = usable_cores() if cores is None else cores
    memory_gb = usable_memory_gb() if memory_gb is None else memory_gb
    gpus = visible_gpus() if gpus is None else gpus
    per_trial = profile.gpus_per_node or profile.ranks
    if len(gpus) < per_trial:
        gpus, per_trial = (), 0
    concurrent = profile.max_concurrent
    if concurrent is None:
        cpus = profile.ranks * (profile.cpus_per_task or profile.side_by_side)
        by_device = len(gpus) // per_trial if gpus else cores // cpus
        concurrent = max(1, min(by_device, int(memory_gb // (profile.memory_gb or TRIAL_GB * profile.side_by_side))))
    if gpus:
        concurrent = min(concurrent, len(gpus) // per_trial)
    threads = profile.cpus_per_task or max(1, cores // (concurrent * profile.ranks))
    return Capacity(concurrent, threads, per_trial, gpus)
