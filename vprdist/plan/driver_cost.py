"""What the driver costs the machine that it runs on: measured by tests/benchmarks/driver_cost.py."""

from __future__ import annotations

DRIVER_MB = 250.0
"""Memory (proportional set size) of a driver with up to 64 trials in flight, Ray Tune loaded; jobs add nothing."""
HEADROOM = 2.5
"""SLURM adds up the resident memory of all processes, the helpers of submissions among them, shared pages each time."""
WEIGHTS_GB = 2.0
"""A process that opens DeepLabV3+: torch takes 0.7 GB, a checkpoint with its optimizer three times its weights."""


def driver_job_gb(segments: bool = False, probes_gb: float = 0.0) -> float:
    """Memory to ask of SLURM for a detached driver, GB.

    Args:
        segments: the sweep names a segmenter, whose weights are tried before anything is submitted.
        probes_gb: of the values of probes (`plan.probe_memory`), when everything else is over.
    """
    return round(HEADROOM * DRIVER_MB / 1000 + segments * WEIGHTS_GB + probes_gb, 1)
