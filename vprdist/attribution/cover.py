"""How much of the pictures a player's classes cover, and how sure the segmenter is of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vprdist.errors import UserError
from vprdist.semantics.cache import open_cache
from vprdist.semantics.masks import FULL
from vprdist.semantics.resize import point_shares
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.trial import TrialSpec

MOST_IMAGES = 200


def cover_of(trial: TrialSpec, subsets: SubsetSpec) -> dict[str, dict[str, object]]:
    """By player `area` and `confidence`, as `spec.attribution.PlayerRow` has them, over the validation pictures.

    Evenly chosen ones, where there are many. Empty where the cache cannot be read any more: it explains effects, and
    makes none.
    """
    assert trial.input.cache is not None
    try:
        cache = open_cache(Path(trial.input.cache))
        sides = [side for side in cache.manifest.sides if side.city in trial.judged.data.validate_cities]
        every = [(side.city, side.side, key) for side in sides for key in cache.keys(side.city, side.side)]
        chosen = every[:: -(-len(every) // MOST_IMAGES) or 1]
        stacks = [cache.activations(*at) for at in chosen]
    except UserError:
        return {}
    if not stacks:
        return {}
    num_classes = len(cache.classes)
    area, sure, shown = np.zeros(num_classes), np.zeros(num_classes), np.zeros(num_classes)
    shares_HW = point_shares(cache.size, cache.grid)
    for stack_CHW in stacks:
        likeliest = stack_CHW.argmax(axis=0).ravel()
        area += (stack_CHW * shares_HW).sum(axis=(1, 2)) / (FULL * len(stacks))
        shown += np.bincount(likeliest, shares_HW.ravel(), num_classes)
        sure += np.bincount(likeliest, (shares_HW * stack_CHW.max(axis=0)).ravel() / FULL, num_classes)
    out: dict[str, dict[str, object]] = {}
    for player, names in subsets.players.items():
        own = [cache.classes.index(name) for name in names]
        confidence = float(sure[own].sum() / shown[own].sum()) if shown[own].any() else None
        out[player] = {"area": float(area[own].sum()), "confidence": confidence}
    return out
