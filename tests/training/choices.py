"""Trials that differ in one choice of the doors, on one small tree with a cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.training.making import make_cache, make_trial
from tests.worlds import write_small_tree
from vprdist.semantics.cache import open_cache
from vprdist.spec.named import Named
from vprdist.spec.trial import TrialSpec

World = tuple[Path, Path]
"""A tree, and its cache."""
FORMS = {
    "rgb": {"mode": "rgb"},
    "black": {"mode": "masked", "mask_reduce": "sum"},
    "features": {"mode": "masked", "mask_reduce": "sum", "mask_at": "features"},
    "channels": {"mode": "rgb+mask", "mask_reduce": "sum", "conv1_init": "inflate"},
}
SMALL = {
    "netvlad": {"clusters": 2}, "sralnet": {"clusters": 2, "shadows": 1}, "salad": {"clusters": 2, "out_channels": 8},
    "mixvpr": {"out_channels": 8, "rows": 2}, "boq": {"out_channels": 64, "queries": 4, "rows": 2},
    "gem+linear": {"out_channels": 16}, "multi_scale_gem": {"at": ["layer2", "layer3"]},
}  # fmt: skip
METRIC = {"metric": {"loss": "ContrastiveLoss"}}


def words(door: type[Named]) -> list[str]:
    """Its built-in words."""
    return [word for word in door.door.built_in if word != "none"]


def make_world(folder: Path) -> World:
    root = write_small_tree(folder / "tree", (80, 64))
    return root, make_cache(root, folder)


def trial_of(world: World, form: str, **sections: Any) -> TrialSpec:
    """One step of training in a form of the input, with some keys of some sections."""
    root, cache = world
    plain = make_trial(root, steps=1, image_size=(64, 80))
    assert plain.digests is not None
    values = plain.to_json() | {"digests": None}
    values["input"] = {**FORMS[form], "cache": str(cache)}
    for name, more in sections.items():
        values[name] |= more
    trial = TrialSpec.model_validate_json(json.dumps(values)).undigested
    held = None if trial.input.cache is None else open_cache(cache).manifest.digest_of(trial.measured_cities)
    return trial.resolved(plain.digests.model_copy(update={"cache": held}))


def of_loss(word: str, batches: str) -> dict[str, Any]:
    """The section `train` of a loss on a kind of batch."""
    own = {"negatives": "own" if batches == "triplets" else "hardest"} if word == "triplet" else {}
    return {
        "loss": {"name": word, **METRIC.get(word, {}), **own}, "batches": batches, "place_pictures": 3, "chunked": True,
        "mining": {"negatives": 2, "pool": 12, "positives": 2},
    }  # fmt: skip
