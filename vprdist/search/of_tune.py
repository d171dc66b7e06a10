"""The searchers that Tune brings along, as this project uses them. Imported only when a search needs them."""

from __future__ import annotations

import warnings
from typing import Any

from vprdist.spec.search import Choice, SearchSpec


def through_optuna(search: SearchSpec, objective: str, sampler: Any) -> Any:
    """Optuna with one of its samplers; choices are indices to it, since values may be lists."""
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space: dict[str, Any] = {}
    for axis, domain in search.domains.items():
        if isinstance(domain, Choice):
            space[axis] = tune.choice(list(range(len(domain.values))))
        elif domain.kind == "randint":
            space[axis] = tune.randint(int(domain.low), int(domain.high) + 1)
        else:
            space[axis] = getattr(tune, domain.kind)(domain.low, domain.high)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's wrapper of it calls itself experimental too
        return OptunaSearch(space, metric=objective, mode=search.mode, sampler=sampler)
