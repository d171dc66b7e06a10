"""`vprdist.load`: a sweep by its name or folder."""

from __future__ import annotations

import os
from pathlib import Path

from vprdist.api.sweep import Sweep, board_of
from vprdist.errors import UserError
from vprdist.store.manifest import sweep_folder


def load(sweep: str | os.PathLike[str], runs: str | os.PathLike[str] = "runs") -> Sweep:
    """What a sweep's trials have left so far: results, intervals, comparisons, queries, figures, pictures.

    Args:
        sweep: its name, or its folder (`runs/sweeps/NAME`), which says the run folder too.
        runs: the run folder, where a name is given.

    Raises:
        UserError: there is no such sweep, or its manifest cannot be read.

    Example:
        >>> import vprdist
        >>> sweep = vprdist.load("runs/sweeps/table1")
        >>> sweep.leaderboard.to_pandas()[["name", "recall@1", "recall@1_low", "recall@1_high"]]
        >>> sweep.figure("recall")
    """
    folder = _folder(sweep, Path(runs).resolve())
    return Sweep(board_of(folder))


def _folder(sweep: str | os.PathLike[str], runs: Path) -> Path:
    """The sweep's folder; a name that is also that of a folder here is a name."""
    try:
        word = os.fspath(sweep)
    except TypeError:
        fault = "a sweep must be its name or its folder"
        raise UserError("load", fault, type(sweep).__name__, 'As in load("runs/sweeps/table1").') from None
    path = Path(word)
    if len(path.parts) > 1 or path.is_absolute():
        found = path.resolve()
        if found.parent.name == "sweeps":
            return found
        remedy = 'As in load("runs/sweeps/table1"), or load("table1", runs="runs").'
        raise UserError(path, "the folder of a sweep must lie in a folder `sweeps`", None, remedy)
    return sweep_folder(runs, word)
