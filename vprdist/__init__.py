"""vprdist: which semantic classes help a network recognise a place?

A notebook uses three functions: `load` reads a sweep of a run folder, `run` runs one, `evaluate` measures descriptors
or predictions by the rules of a data set. They are imported when they are first asked for.

Example:
    >>> import vprdist
    >>> sweep = vprdist.load("runs/sweeps/table1")
    >>> sweep.leaderboard
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vprdist.api.attribution import Attribution as Attribution
    from vprdist.api.evaluate import Evaluation as Evaluation
    from vprdist.api.evaluate import evaluate as evaluate
    from vprdist.api.leaderboard import Comparison as Comparison
    from vprdist.api.leaderboard import Leaderboard as Leaderboard
    from vprdist.api.load import load as load
    from vprdist.api.pictures import Pictures as Pictures
    from vprdist.api.run import run as run
    from vprdist.api.sweep import Sweep as Sweep
    from vprdist.api.table import Table as Table
    from vprdist.errors import UserError as UserError

__version__ = "0.2.0"

_OFFERED = {
    "Attribution": "api.attribution", "Comparison": "api.leaderboard", "Evaluation": "api.evaluate",
    "Leaderboard": "api.leaderboard", "Pictures": "api.pictures", "Sweep": "api.sweep", "Table": "api.table",
    "UserError": "errors", "evaluate": "api.evaluate", "load": "api.load", "run": "api.run",
}  # fmt: skip
"""What is offered here, and the module that has it."""
__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_OFFERED[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})
