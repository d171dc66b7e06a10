"""A folder of shims that count how often SLURM's commands are called, and then are those commands."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

COMMANDS = ("squeue", "sacct", "sbatch", "scancel", "scontrol", "sinfo")


def counting_path(folder: Path, commands: Iterable[str] = COMMANDS) -> str:
    """Make the shims; returns the PATH that uses them. Each call leaves one line in `folder/calls`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in commands:
        real = shutil.which(name)
        if real is None:
            continue
        shim = folder / name
        shim.write_text(f'#!/bin/sh\necho {name} >> {folder}/calls\nexec {real} "$@"\n')
        shim.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def calls(folder: Path) -> Counter[str]:
    """How often each command was called since the last `forget`."""
    path = folder / "calls"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def forget(folder: Path) -> None:
    """Begin to count anew."""
    (folder / "calls").unlink(missing_ok=True)
