"""What the driver costs the machine that it runs on: measured by tests/benchmarks/driver_cost.py."""

from __future__ import annotations

from typing import NamedTuple

BASE_MB, READER_MB = 480.0, 115.0
BASE_PROCESSES = 9
HEADROOM = 2.5
"""SLURM adds up the resident memory of all processes, shared pages each time: 0.97 GB were seen where 0.6 were used."""
WEIGHTS_GB = 2.0
"""A process that opens DeepLabV3+: torch takes 0.7 GB, a checkpoint with its optimizer three times its weights."""


class DriverCost(NamedTuple):
    """Memory (proportional set size, MB) and processes of a driver with all that it starts."""

    memory_mb: float
    processes: int


def driver_cost(readers: int) -> DriverCost:
    """Ray's own processes, and so many that read trials' folders (`SearchSpec.readers`); jobs add nothing."""
    return DriverCost(BASE_MB + READER_MB * readers, BASE_PROCESSES + readers)


def driver_job_gb(readers: int, segments: bool = False, probes_gb: float = 0.0) -> float:
    """Memory to ask of SLURM for a detached driver, GB.

    Args:
        segments: the sweep names a segmenter, whose weights are tried before anything is submitted.
        probes_gb: of the values of probes (`plan.probe_memory`), when everything else is over.
    """
    return round(HEADROOM * driver_cost(readers).memory_mb / 1000 + segments * WEIGHTS_GB + probes_gb, 1)
