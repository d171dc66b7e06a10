"""SLURM's words for GPUs and sizes."""

from __future__ import annotations

import re


def num_gpus(gres: str) -> int:
    """GPUs in a list of generic resources: `gpu:a100:4(S:0-1),nvme:1` has 4, `gpu` and `gpu:a100` have one."""
    total = 0
    for entry in gres.split(","):
        words = entry.split("(")[0].removeprefix("gres:").removeprefix("gres/").split(":")
        if words[0] == "gpu":
            total += int(words[-1]) if words[-1].isdecimal() else 1
    return total


def with_gpus(gres: str, most: int) -> str:
    """The same list with at most so many GPUs; without an entry of GPUs where that is none."""
    entries = []
    for entry in gres.split(","):
        if num_gpus(entry) <= most:
            entries.append(entry)
        elif most:
            entries.append(re.sub(r":\d+$", "", entry) + f":{most}")
    return ",".join(entries)
