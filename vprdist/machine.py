"""What this process may use of its machine."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 by itself; others emulate it, slowly."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and its control group's share."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
