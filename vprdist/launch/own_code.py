"""Where helpers and jobs take vprdist from: the folder that the driver took it from.

They start with `-P`, so that nobody's module in the working folder is loaded. But a driver started in a checkout has
vprdist from there: without being told, its jobs would run another copy that is installed, or find none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import vprdist
from vprdist.errors import LaunchError
from vprdist.private import Guard, Trust

SEARCH_PATH = "PYTHONPATH"
INSTALLED = ("site-packages", "dist-packages")
"""Folders that Python finds by itself; named first, what lies in them would hide modules of Python's own."""


def with_own_code(environment: Mapping[str, str], trust: Trust) -> dict[str, str]:
    """The environment, in which Python looks for vprdist where this process has it from; before anywhere else."""
    root = _root()
    if root is None or unnamed(trust) is not None:
        return dict(environment)
    others = environment.get(SEARCH_PATH, "").split(os.pathsep)
    words = [str(root), *(word for word in others if word and word != str(root))]
    return {**environment, SEARCH_PATH: os.pathsep.join(words)}


@lru_cache
def unnamed(trust: Trust) -> str | None:
    """Why jobs are not told where this process has vprdist from, in words; None where they are, or find it anyway."""
    root = _root()
    if root is None:
        return None
    if os.pathsep in str(root):
        return f"{root}: a folder with {os.pathsep!r} in its name cannot stand in {SEARCH_PATH}"
    try:
        Guard(trust).check(root / vprdist.__name__)
    except LaunchError as error:
        return str(error)
    return None


def _root() -> Path | None:
    """The folder with the package; None where it is installed."""
    root = Path(vprdist.__file__).absolute().parents[1]
    return None if root.name in INSTALLED else root
