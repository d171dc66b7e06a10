"""Points by Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

import warnings
from typing import Any

from vprdist.search.of_tune import through_optuna
from vprdist.spec.search import SearchSpec


def in_tune(search: SearchSpec, objective: str) -> Any:
    """Tune's searcher; axes are looked at together."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # multivariate TPE calls itself experimental
        sampler = optuna.samplers.TPESampler(seed=search.seed, multivariate=True, group=True)
    return through_optuna(search, objective, sampler)
