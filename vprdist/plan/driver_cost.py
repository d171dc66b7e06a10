"""What the driver costs the machine that it runs on: measured by tests/benchmarks/driver_cost.py."""

from __future__ import annotations

DRIVER_MB = 250.0
"""Memory (proportional set size) of a driver with up to 64 trials in flight, Ray Tune loaded; jobs add nothing."""
HEADROOM = 2.5
"""SLURM adds up the resident memory of all processes, the helpers of submissions among them, shared pages each time."""
TORCH_GB = 2.0
"""A process that looks at networks or weights, as where the user's cache does not know them on that node: 0.8 GB with
EfficientNet-Lite0 or ResNet50, 1.2 with VGG16, 1.9 with DINOv2's ViT-L; for DeepLabV3+ torch takes 0.7 GB, and a
checkpoint with its optimizer three times its weights."""


def driver_job_gb(probes_gb: float = 0.0) -> float:
    """Memory to ask of SLURM for a detached driver, GB.

    Args:
        probes_gb: of the values of probes (`plan.probe_memory`), when everything else is over.
    """
    return round(HEADROOM * DRIVER_MB / 1000 + TORCH_GB + probes_gb, 1)
