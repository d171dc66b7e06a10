"""Points at random."""

from __future__ import annotations

from typing import Any

from vprdist.search.of_tune import through_optuna
from vprdist.spec.search import SearchSpec


def in_tune(search: SearchSpec, objective: str) -> Any:
    """Tune's searcher; the values of earlier points change nothing."""
    import optuna

    return through_optuna(search, objective, optuna.samplers.RandomSampler(seed=search.seed))
