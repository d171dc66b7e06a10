"""Folders for scripts and logs of jobs: a path that SLURM, or submitit, would read as another one is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from vprdist.errors import LaunchError

STEERING = re.compile(r"[\x00-\x1f\x7f\\]")
"""A newline ends the `#SBATCH` line, and what follows would be a line of its own; a backslash is SLURM's own mark."""
PATTERNS = {"slurm": re.compile(r"%"), "local": re.compile(r"%[jtAa]")}
"""`%j`, `%x`, `%5N`, … of sbatch, and those that submitit fills in by itself: quoting does not help, nor does `%%`."""


def check_folder(folder: Path, kind: Literal["slurm", "local"]) -> None:
    """Jobs of a cluster of that kind can have their logs, and their script, below that folder.

    Spaces, quotes, `$`, `;` and the like are quoted wherever they meet a shell or sbatch.

    Raises:
        LaunchError: its path would be read as another one.
    """
    path = str(folder.absolute())
    shown, remedy = ascii(path)[1:-1], "Choose a folder without it in its path, or give it another name."
    if kind == "slurm" and (found := STEERING.search(path)):
        raise LaunchError(shown, "a job's script cannot name a path with this character", found[0], remedy)
    if found := PATTERNS[kind].search(path):
        word = path[found.start() : found.start() + 2]
        reader = "SLURM" if kind == "slurm" else "submitit"
        raise LaunchError(shown, f"a path must have no pattern that {reader} fills in", word, remedy)
